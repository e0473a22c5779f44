//! What stands between `${` and `}`: safe, bounded, without side effects. The same expression over the same values gives the same
//! result on every machine, because results enter records and records are folded again for ever.
//!
//! Three ways to a value, cheapest first: a constant is returned; a plain path (`a.b[0].c`) is resolved on the JSON itself; anything
//! else is CEL, with only the variables it reads bound. `rewrite` makes CEL deterministic (maps are walked in the order of their
//! keys), bounded (a budget of work) and forgiving of skipped steps (`has(step.x)` is false when `step` is null).

mod compile;
mod convert;
mod expression;
mod machine;
mod path;
mod read;
mod rewrite;
mod shape;
mod syntax;
mod template;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_syntax;
mod tokens;
mod uses;

pub(crate) use convert::json_bytes;
pub use convert::secret_at;
pub use expression::Expr;
pub(crate) use machine::parse_with_places;
pub(crate) use path::kind_of;
pub use rewrite::TYPE_NAMES;
pub(crate) use rewrite::children;
pub(crate) use shape::Shape;
pub use template::Template;
pub(crate) use uses::{Uses, joined};

/// The longest text of one expression, in bytes: what a person can still read, and what the parser handles in a moment.
pub const EXPRESSION_BYTES_MAX: usize = 4 * 1024;

/// The largest value an expression or a template may yield, in bytes of compact JSON: half of what a message may carry.
pub const RESULT_BYTES_MAX: usize = 256 * 1024;

/// The key of a reference to a secret: `{"$secret": "name"}`, resolved by the worker and nowhere else.
pub const SECRET_KEY: &str = "$secret";

/// Where an expression finds its variables: `input`, the outputs of steps, in a loop `item` and `index`.
pub trait Scope {
    /// The value of a variable; `None` when there is no such variable. A step that was skipped has the value null.
    fn get(&self, name: &str) -> Option<&serde_json::Value>;
}

/// Variables in a map, for callers that have them so.
impl Scope for std::collections::BTreeMap<String, serde_json::Value> {
    fn get(&self, name: &str) -> Option<&serde_json::Value> {
        Self::get(self, name)
    }
}

/// Why an expression or template was refused or gave no value. It never repeats the values it met: they may be private.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExprError {
    /// JSON pointer to the string in its template, `/rules/0/port`; empty for an expression that stands alone.
    pub at: String,
    /// The expression's text, cut to 200 characters.
    pub expression: String,
    /// What is wrong.
    pub what: String,
    /// How to mend it; may be empty.
    pub hint: String,
    /// Where in the expression's text it is wrong, in characters, where that is known.
    pub offset: Option<usize>,
    /// How many characters from there on it is about.
    pub width: usize,
}

impl ExprError {
    pub(crate) fn new(expression: &str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            at: String::new(),
            expression: expression.chars().take(200).collect(),
            what: what.into(),
            hint: hint.into(),
            offset: None,
            width: 0,
        }
    }

    const fn at_chars(mut self, offset: usize, width: usize) -> Self {
        self.offset = Some(offset);
        self.width = width;
        self
    }

    fn under(mut self, at: &str) -> Self {
        at.clone_into(&mut self.at);
        self
    }
}

impl std::fmt::Display for ExprError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.at.is_empty() {
            write!(f, "at {}: ", self.at)?;
        }
        write!(f, "`{}`: {}", self.expression, self.what)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for ExprError {}
