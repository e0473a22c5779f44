//! JSON with holes: what a definition hands to a task, an output, a label.
//!
//! A string that is only `${ … }` yields the expression's value with its type. Otherwise it is text with holes: text goes in as it is,
//! numbers and booleans as JSON writes them, lists and objects as compact JSON; null is an error, because "null" in a host name or a
//! mail is never what somebody meant. `$${` stands for the characters `${`. Keys of objects are literal.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::compile::compile_node;
use super::expression::checked;
use super::path::absent_root;
use super::uses::Uses;
use super::{Expr, ExprError, RESULT_BYTES_MAX, Scope, convert};

/// A JSON tree whose strings may hold `${ … }`, compiled.
#[derive(Debug, Clone)]
pub struct Template {
    root: Node,
    /// Bytes of JSON its fixed parts take, so that evaluation knows what is left for the holes.
    fixed_bytes: usize,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Literal(Value),
    Hole {
        at: String,
        expr: Expr,
    },
    Text {
        at: String,
        pieces: Vec<Piece>,
    },
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
    /// Of each of these variables as much as is said here, by their names.
    Captured(BTreeMap<String, Uses>),
}

impl Node {
    /// What stands for a part that cannot be read.
    pub(super) fn unreadable(at: &str) -> Self {
        Self::Hole {
            at: at.to_owned(),
            expr: Expr::unreadable(),
        }
    }
}

/// A part of a text with holes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Hole(Expr),
}

/// Two are the same when they are written the same: what they yield is the same over every scope then.
impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root
    }
}

impl Template {
    /// Compiles every string of a JSON tree.
    ///
    /// # Errors
    /// The first [`ExprError`], with the JSON pointer of the string it is in.
    pub fn compile(value: &Value) -> Result<Self, ExprError> {
        Self::compile_all(value).map_err(|mut errors| errors.swap_remove(0))
    }

    /// As [`Self::compile`], with every error, in the order of the tree; never an empty list.
    ///
    /// # Errors
    /// All of them.
    pub fn compile_all(value: &Value) -> Result<Self, Vec<ExprError>> {
        let (template, errors) = Self::readable(value);
        if errors.is_empty() {
            Ok(template)
        } else {
            Err(errors)
        }
    }

    /// What can be read of a JSON tree, and every error in it, in its order. In place of what cannot be read stands what nobody knows anything of:
    /// with an error it is to be looked at, and never evaluated.
    pub(crate) fn readable(value: &Value) -> (Self, Vec<ExprError>) {
        let mut errors = Vec::new();
        let root = compile_node(value, "", 0, &mut errors);
        let fixed_bytes = fixed_bytes(&root);
        if fixed_bytes > RESULT_BYTES_MAX && errors.is_empty() {
            let what = format!("is larger than {RESULT_BYTES_MAX} bytes");
            errors.push(ExprError::new("", what, "hand on a reference to the data"));
        }
        (Self { root, fixed_bytes }, errors)
    }

    /// What stands for one that cannot be read.
    pub(crate) fn unreadable() -> Self {
        Self {
            root: Node::unreadable(""),
            fixed_bytes: 0,
        }
    }

    /// A template that is this very value, whatever its strings look like.
    #[must_use]
    pub fn literal(value: Value) -> Self {
        Self {
            root: Node::Literal(value),
            fixed_bytes: 0,
        }
    }

    /// An object of variables by their names, each as far as something else reads it: what expressions that are evaluated elsewhere may read there.
    #[must_use]
    pub(crate) const fn captured(uses: BTreeMap<String, Uses>) -> Self {
        Self {
            root: Node::Captured(uses),
            fixed_bytes: 0,
        }
    }

    /// What it captures of each variable, when it is made to do that.
    pub(crate) const fn captures(&self) -> Option<&BTreeMap<String, Uses>> {
        match &self.root {
            Node::Captured(uses) => Some(uses),
            _ => None,
        }
    }

    /// The value over the variables of `scope`.
    ///
    /// # Errors
    /// [`ExprError`] of the first hole that has no value, or when the whole is too large.
    pub fn eval(&self, scope: &dyn Scope) -> Result<Value, ExprError> {
        if let Node::Literal(value) = &self.root {
            return Ok(value.clone());
        }
        let mut left = RESULT_BYTES_MAX.saturating_sub(self.fixed_bytes);
        eval_node(&self.root, scope, &mut left)
    }

    /// The text with this in place of all that is computed, when it is a text with holes.
    pub(crate) fn filled(&self, with: &str) -> Option<String> {
        let Node::Text { pieces, .. } = &self.root else {
            return None;
        };
        let mut text = String::new();
        for piece in pieces {
            text.push_str(match piece {
                Piece::Text(fixed) => fixed,
                Piece::Hole(_) => with,
            });
        }
        Some(text)
    }

    /// The variables all its expressions read.
    #[must_use]
    pub fn roots(&self) -> BTreeSet<String> {
        let captured = self.captures().into_iter().flat_map(BTreeMap::keys);
        let read = self.expressions().into_iter();
        let read = read.flat_map(|(_, expr)| expr.roots());
        read.chain(captured).cloned().collect()
    }

    /// Whether it is the same value whatever the variables are.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        matches!(self.root, Node::Literal(_))
    }

    /// The value, when it is always the same.
    #[must_use]
    pub fn as_literal(&self) -> Option<&Value> {
        match &self.root {
            Node::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// The expression, when the whole template is one that has to be evaluated.
    #[must_use]
    pub fn as_hole(&self) -> Option<&Expr> {
        match &self.root {
            Node::Hole { expr, .. } => Some(expr),
            _ => None,
        }
    }

    /// Every expression in it that reads something, with the JSON pointer of its string.
    #[must_use]
    pub fn expressions(&self) -> Vec<(&str, &Expr)> {
        let mut found = Vec::new();
        collect(&self.root, &mut found);
        found
    }

    /// What it looks like, for whoever checks what flows through it.
    #[must_use]
    pub(crate) fn shape(&self) -> super::Shape<'_> {
        super::shape::of(&self.root)
    }

    /// Whether every value in it is computed, and of nothing but this variable.
    #[must_use]
    pub fn is_computed_from(&self, variable: &str) -> bool {
        let roots = self.roots();
        node_is_computed(&self.root) && roots.len() == 1 && roots.contains(variable)
    }

    /// Whether a reference to a secret stands in it.
    #[must_use]
    pub fn holds_secret(&self) -> bool {
        node_holds_secret(&self.root)
    }
}

fn node_is_computed(node: &Node) -> bool {
    match node {
        Node::Literal(_) | Node::Captured(_) => false,
        Node::Hole { .. } | Node::Text { .. } => true,
        Node::List(nodes) => nodes.iter().all(node_is_computed),
        Node::Object(entries) => entries.iter().all(|(_, node)| node_is_computed(node)),
    }
}

fn node_holds_secret(node: &Node) -> bool {
    match node {
        Node::Literal(value) => convert::holds_secret(value),
        Node::Hole { .. } | Node::Text { .. } | Node::Captured(_) => false,
        Node::List(nodes) => nodes.iter().any(node_holds_secret),
        Node::Object(entries) => entries.iter().any(|(_, node)| node_holds_secret(node)),
    }
}

fn collect<'t>(node: &'t Node, found: &mut Vec<(&'t str, &'t Expr)>) {
    match node {
        Node::Literal(_) | Node::Captured(_) => {}
        Node::Hole { at, expr } => found.push((at, expr)),
        Node::Text { at, pieces } => {
            for piece in pieces {
                if let Piece::Hole(expr) = piece {
                    found.push((at, expr));
                }
            }
        }
        Node::List(nodes) => nodes.iter().for_each(|node| collect(node, found)),
        Node::Object(entries) => entries.iter().for_each(|(_, node)| collect(node, found)),
    }
}

fn fixed_bytes(node: &Node) -> usize {
    match node {
        Node::Literal(value) => convert::result_bytes(value).unwrap_or(RESULT_BYTES_MAX + 1),
        Node::Hole { .. } | Node::Captured(_) => 0,
        Node::Text { pieces, .. } => pieces.iter().fold(2, |sum, piece| match piece {
            Piece::Text(text) => sum + text.len(),
            Piece::Hole(_) => sum,
        }),
        Node::List(nodes) => {
            nodes
                .iter()
                .map(|node| fixed_bytes(node) + 1)
                .sum::<usize>()
                + 2
        }
        Node::Object(entries) => {
            entries
                .iter()
                .map(|(key, node)| key.len() + 4 + fixed_bytes(node))
                .sum::<usize>()
                + 2
        }
    }
}

fn eval_node(node: &Node, scope: &dyn Scope, left: &mut usize) -> Result<Value, ExprError> {
    match node {
        Node::Literal(value) => Ok(value.clone()),
        Node::Hole { at, expr } => eval_hole(expr, scope, left).map_err(|error| error.under(at)),
        Node::Text { at, pieces } => eval_text(pieces, scope, left)
            .map(Value::String)
            .map_err(|error| error.under(at)),
        Node::List(nodes) => {
            let items = nodes.iter().map(|node| eval_node(node, scope, left));
            items.collect::<Result<_, _>>().map(Value::Array)
        }
        Node::Object(entries) => {
            let mut object = Map::new();
            for (key, node) in entries {
                object.insert(key.clone(), eval_node(node, scope, left)?);
            }
            Ok(Value::Object(object))
        }
        Node::Captured(uses) => eval_captured(uses, scope, left),
    }
}

/// What is captured came from outside like the result of any expression, and is held to the same.
fn eval_captured(
    all: &BTreeMap<String, Uses>,
    scope: &dyn Scope,
    left: &mut usize,
) -> Result<Value, ExprError> {
    let mut object = Map::new();
    for (name, uses) in all {
        let value = scope.get(name).ok_or_else(|| absent_root(name, name))?;
        let value = uses.of(value);
        let bytes = checked(name, &value, *left)?;
        *left = left.saturating_sub(bytes + name.len() + 4);
        object.insert(name.clone(), value);
    }
    Ok(Value::Object(object))
}

fn eval_hole(expr: &Expr, scope: &dyn Scope, left: &mut usize) -> Result<Value, ExprError> {
    let (value, bytes) = expr.eval_measured(scope, *left)?;
    *left = left.saturating_sub(bytes);
    Ok(value)
}

fn eval_text(pieces: &[Piece], scope: &dyn Scope, left: &mut usize) -> Result<String, ExprError> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(plain) => text.push_str(plain),
            Piece::Hole(expr) => match eval_hole(expr, scope, left)? {
                Value::String(part) => text.push_str(&part),
                Value::Null => {
                    let hint = "take another value for null: `x != null ? x : \"\"`, or `.?name.orValue(\"\")` where it may be absent";
                    return Err(ExprError::new(
                        expr.text(),
                        "is null, and text has no null",
                        hint,
                    ));
                }
                other => text.push_str(&other.to_string()),
            },
        }
    }
    Ok(text)
}
