//! The fast way: an expression that only names a place (`a.b[0]["c"]`, `a.b[index]`) is resolved on the JSON, without CEL. It gives the same value
//! as CEL would, or fails where CEL would; a property test holds the two together.

use cel::common::ast::{Expr as Ast, IdedExpr, LiteralValue, operators};
use serde_json::Value;

use super::{ExprError, Scope};

/// One step down from a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// Into an object.
    Key(String),
    /// Into a list.
    Index(usize),
    /// Into either, at what another place holds.
    At(Box<Path>),
}

/// A root variable and the way down from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) root: String,
    pub(super) segments: Vec<Segment>,
}

/// How many keys an error names: enough to spot a typing error, little enough to read.
const KEYS_SHOWN_MAX: usize = 12;

impl Path {
    /// The path an expression is, if it is nothing but one.
    pub(super) fn of(ast: &IdedExpr) -> Option<Self> {
        let mut segments = Vec::new();
        let mut at = ast;
        loop {
            match &at.expr {
                Ast::Ident(root) => {
                    segments.reverse();
                    let root = root.trim_start_matches('.').to_owned();
                    return Some(Self { root, segments });
                }
                Ast::Select(select) if !select.test => {
                    segments.push(Segment::Key(select.field.clone()));
                    at = &select.operand;
                }
                Ast::Call(call) if call.func_name == operators::INDEX && call.target.is_none() => {
                    let [operand, index] = call.args.as_slice() else {
                        return None;
                    };
                    segments.push(segment(index)?);
                    at = operand;
                }
                _ => return None,
            }
        }
    }

    /// The value at the end of the path.
    pub(super) fn resolve<'s>(
        &self,
        text: &str,
        scope: &'s dyn Scope,
    ) -> Result<&'s Value, ExprError> {
        let mut value = scope
            .get(&self.root)
            .ok_or_else(|| absent_root(text, &self.root))?;
        for (depth, segment) in self.segments.iter().enumerate() {
            let next = match (segment, value) {
                (Segment::Key(key), Value::Object(map)) => map.get(key),
                (Segment::Index(index), Value::Array(list)) => list.get(*index),
                (Segment::At(path), inside) => at(inside, path.resolve(text, scope)?),
                _ => None,
            };
            value = next.ok_or_else(|| self.absent(text, depth, value))?;
        }
        Ok(value)
    }

    fn absent(&self, text: &str, depth: usize, value: &Value) -> ExprError {
        let whole = self.spelled(depth + 1);
        let parent = self.spelled(depth);
        match value {
            Value::Null => ExprError::new(
                text,
                format!("`{whole}` does not exist: `{parent}` is null"),
                "a skipped step, or one that failed with `on_error: continue`, has the output null: guard with has(…), or take a default with .?name.orValue(…)",
            ),
            Value::Object(map) => ExprError::new(
                text,
                format!(
                    "`{whole}` does not exist: `{parent}` has {}",
                    keys_of(map.keys())
                ),
                match self.segments.get(depth) {
                    Some(Segment::At(key)) => {
                        let key = key.spelled(key.segments.len());
                        format!("ask for it first: `{key} in {parent} ? {whole} : …`, or take a default: `{parent}[?{key}].orValue(…)`")
                    }
                    _ => "correct the name, guard it with has(…), or take a default with .?name.orValue(…)".to_owned(),
                },
            ),
            Value::Array(list) => ExprError::new(
                text,
                format!(
                    "`{whole}` does not exist: `{parent}` is a list of {}",
                    list.len()
                ),
                format!("a list is read by a number, from 0 on: ask size({parent}) first"),
            ),
            other => ExprError::new(
                text,
                format!("`{whole}` does not exist: `{parent}` is {}", kind_of(other)),
                format!("only objects and lists have something inside: read `{parent}` itself"),
            ),
        }
    }

    /// The first `depth` segments as they would be written.
    fn spelled(&self, depth: usize) -> String {
        let mut text = self.root.clone();
        for segment in self.segments.iter().take(depth) {
            match segment {
                Segment::Key(key) => {
                    text.push('.');
                    text.push_str(key);
                }
                Segment::Index(index) => text.push_str(&format!("[{index}]")),
                Segment::At(path) => {
                    text.push_str(&format!("[{}]", path.spelled(path.segments.len())));
                }
            }
        }
        text
    }
}

/// The error of a variable that is not in scope.
pub(super) fn absent_root(text: &str, root: &str) -> ExprError {
    ExprError::new(
        text,
        format!("there is no `{root}` here"),
        "an expression reads `input` and the outputs of the steps before it, by their ids",
    )
}

/// What a JSON value is, for people.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

pub(super) fn keys_of<'k>(keys: impl ExactSizeIterator<Item = &'k String>) -> String {
    let count = keys.len();
    if count == 0 {
        return "no keys".to_owned();
    }
    let shown: Vec<&str> = keys.take(KEYS_SHOWN_MAX).map(String::as_str).collect();
    let more = if count > shown.len() { ", …" } else { "" };
    format!("the keys {}{more}", shown.join(", "))
}

/// What lies in a value at a number or a key.
fn at<'v>(inside: &'v Value, place: &Value) -> Option<&'v Value> {
    match (inside, place) {
        (Value::Array(list), Value::Number(index)) => {
            let fits = |at: &f64| at.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(at);
            // as CEL has it, a whole number with a fraction of 0 is one
            let whole = || index.as_f64().filter(fits).map(|at| at as u64);
            list.get(usize::try_from(index.as_u64().or_else(whole)?).ok()?)
        }
        (Value::Object(map), Value::String(key)) => map.get(key),
        _ => None,
    }
}

fn segment(index: &IdedExpr) -> Option<Segment> {
    match &index.expr {
        Ast::Literal(LiteralValue::String(key)) => Some(Segment::Key(key.inner().to_owned())),
        Ast::Literal(LiteralValue::Int(n)) => usize::try_from(*n.inner()).ok().map(Segment::Index),
        Ast::Literal(_) => None,
        _ => Path::of(index).map(|path| Segment::At(Box::new(path))),
    }
}
