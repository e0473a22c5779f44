//! One compiled expression and the cheapest way to its value.

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::common::ast::{Expr as Ast, IdedExpr, LiteralValue};
use serde_json::{Value, json};

use super::path::Path;
use super::uses::{Uses, uses};
use super::{
    EXPRESSION_BYTES_MAX, ExprError, RESULT_BYTES_MAX, SECRET_KEY, Scope, convert, machine, rewrite,
};

/// The text of what stands for an expression that cannot be read: none itself.
const UNREADABLE: &str = "…";

/// One compiled CEL expression. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Expr {
    inner: Arc<Inner>,
}

/// Two are the same when their text is.
impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.inner.text == other.inner.text
    }
}

#[derive(Debug)]
struct Inner {
    text: String,
    roots: Vec<String>,
    plan: Plan,
}

/// How the value is got, cheapest first.
#[derive(Debug)]
enum Plan {
    Constant(Value),
    Secret(Value),
    Path(Path),
    Cel {
        ast: IdedExpr,
        uses: BTreeMap<String, Uses>,
    },
}

impl Expr {
    /// Compiles the text of one expression, without `${` and `}`. `secret("name")` alone yields a reference `{"$secret": "name"}`.
    ///
    /// # Errors
    /// [`ExprError`] when the text is too long, cannot be parsed, or uses `secret` as a part of something.
    pub fn compile(text: &str) -> Result<Self, ExprError> {
        let text = text.trim();
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(ExprError::new(
                text,
                format!(
                    "is {} bytes long; {EXPRESSION_BYTES_MAX} are allowed",
                    text.len()
                ),
                "let a task compute this",
            ));
        }
        if text.is_empty() {
            return Err(ExprError::new(
                text,
                "is empty",
                "write an expression, or `$${` for the characters themselves",
            ));
        }
        let mut ast = machine::parse(text)?;
        let uses = uses(&ast);
        let roots: Vec<String> = uses.keys().cloned().collect();
        let plan = if let Some(secret) = secret_of(text, &ast)? {
            Plan::Secret(secret)
        } else if let Some(value) = constant_of(&ast) {
            Plan::Constant(value)
        } else if let (Some(path), false) = (Path::of(&ast), roots.is_empty()) {
            Plan::Path(path)
        } else {
            rewrite::rewrite(&mut ast);
            Plan::Cel { ast, uses }
        };
        Ok(Self {
            inner: Arc::new(Inner {
                text: text.to_owned(),
                roots,
                plan,
            }),
        })
    }

    /// What stands for one that cannot be read, so that all around it is looked at: it reads nothing, and nobody knows what it yields.
    pub(crate) fn unreadable() -> Self {
        Self {
            inner: Arc::new(Inner {
                text: UNREADABLE.to_owned(),
                roots: Vec::new(),
                plan: Plan::Constant(Value::Null),
            }),
        }
    }

    /// Whether it stands for one that cannot be read.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.inner.text == UNREADABLE
    }

    /// The value over the variables of `scope`.
    ///
    /// # Errors
    /// [`ExprError`] when a name does not exist, an operation does not fit its operands, the result is no JSON, is too large, or when
    /// values from outside would pass as a reference to a secret.
    pub fn eval(&self, scope: &dyn Scope) -> Result<Value, ExprError> {
        self.eval_measured(scope, RESULT_BYTES_MAX)
            .map(|(value, _)| value)
    }

    /// As [`Self::eval`], with at most `bytes_max` of JSON; says how many it is.
    pub(super) fn eval_measured(
        &self,
        scope: &dyn Scope,
        bytes_max: usize,
    ) -> Result<(Value, usize), ExprError> {
        let text = &self.inner.text;
        let value = match &self.inner.plan {
            Plan::Constant(value) | Plan::Secret(value) => value.clone(),
            Plan::Path(path) => {
                let found = path.resolve(text, scope)?;
                let bytes = self.checked(found, bytes_max)?;
                return Ok((found.clone(), bytes));
            }
            Plan::Cel { ast, uses } => {
                let value = machine::run(ast, uses, text, scope)?;
                let bytes = self.checked(&value, bytes_max)?;
                return Ok((value, bytes));
            }
        };
        let bytes = convert::result_bytes(&value).unwrap_or(RESULT_BYTES_MAX);
        Ok((value, bytes))
    }

    fn checked(&self, value: &Value, bytes_max: usize) -> Result<usize, ExprError> {
        checked(&self.inner.text, value, bytes_max)
    }

    /// The variables it reads, sorted: `input`, ids of steps.
    #[must_use]
    pub fn roots(&self) -> &[String] {
        &self.inner.roots
    }

    /// What it reads of each variable.
    pub(crate) fn uses(&self) -> BTreeMap<String, Uses> {
        match &self.inner.plan {
            Plan::Constant(_) | Plan::Secret(_) => BTreeMap::new(),
            Plan::Cel { uses, .. } => uses.clone(),
            // it was read before, so that it is read again
            Plan::Path(path) => machine::parse(&self.inner.text).map_or_else(
                |_| BTreeMap::from([(path.root.clone(), Uses::Whole)]),
                |ast| uses(&ast),
            ),
        }
    }

    /// Its text, trimmed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.inner.text
    }

    /// Whether it is `secret("name")`.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        matches!(self.inner.plan, Plan::Secret(_))
    }

    /// Its value when it reads nothing and needs no CEL.
    pub(super) fn constant(&self) -> Option<&Value> {
        match &self.inner.plan {
            Plan::Constant(value) | Plan::Secret(value) => Some(value),
            Plan::Path(_) | Plan::Cel { .. } => None,
        }
    }

    /// The same expression without its short cuts, to hold the two against each other.
    #[cfg(test)]
    pub(super) fn compile_slow(text: &str) -> Result<Self, ExprError> {
        let mut ast = machine::parse(text)?;
        let roots: Vec<String> = uses(&ast).into_keys().collect();
        rewrite::rewrite(&mut ast);
        let whole = |root: &String| (root.clone(), Uses::Whole);
        let uses = roots.iter().map(whole).collect();
        let plan = Plan::Cel { ast, uses };
        Ok(Self {
            inner: Arc::new(Inner {
                text: text.to_owned(),
                roots,
                plan,
            }),
        })
    }

    #[cfg(test)]
    pub(super) fn is_path(&self) -> bool {
        matches!(self.inner.plan, Plan::Path(_))
    }
}

/// A result is bounded, and what came from outside never turns into a reference to a secret: whoever can send an event
/// could else name any secret and have it put into a request.
pub(super) fn checked(text: &str, value: &Value, bytes_max: usize) -> Result<usize, ExprError> {
    if convert::holds_secret(value) {
        return Err(ExprError::new(
            text,
            format!(
                "yields an object with the key `{SECRET_KEY}`, which only secret(\"name\") may make"
            ),
            "name the secret in the definition",
        ));
    }
    convert::result_bytes(value)
        .filter(|bytes| *bytes <= bytes_max)
        .ok_or_else(|| {
            ExprError::new(
                text,
                format!(
                    "yields more than {bytes_max} bytes (of {RESULT_BYTES_MAX} for a whole value)"
                ),
                "hand on a reference to the data, such as a file name or a URL",
            )
        })
}

fn constant_of(ast: &IdedExpr) -> Option<Value> {
    let Ast::Literal(literal) = &ast.expr else {
        return None;
    };
    match literal {
        LiteralValue::Boolean(b) => Some(Value::Bool(*b.inner())),
        LiteralValue::Int(n) => Some(Value::from(*n.inner())),
        LiteralValue::UInt(n) => Some(Value::from(*n.inner())),
        LiteralValue::Double(n) => serde_json::Number::from_f64(*n.inner()).map(Value::Number),
        LiteralValue::String(s) => Some(Value::String(s.inner().to_owned())),
        LiteralValue::Null => Some(Value::Null),
        LiteralValue::Bytes(_) => None,
    }
}

/// The reference that `secret("name")` is; an error when `secret` is called in any other way.
fn secret_of(text: &str, ast: &IdedExpr) -> Result<Option<Value>, ExprError> {
    if !rewrite::calls(ast, "secret") {
        return Ok(None);
    }
    if let Ast::Call(call) = &ast.expr
        && call.func_name == "secret"
        && call.target.is_none()
        && let [argument] = call.args.as_slice()
        && let Ast::Literal(LiteralValue::String(name)) = &argument.expr
        && !name.inner().is_empty()
    {
        return Ok(Some(json!({ SECRET_KEY: name.inner() })));
    }
    Err(ExprError::new(
        text,
        "secret(…) stands inside a larger expression or has no fixed name",
        "a secret is a whole value: `\"${ secret('NAME') }\"` alone, with the name in quotes",
    ))
}
