//! What is known of a value before there is one: an expression that reads nothing, a text that is written out, one of those that a schema names. What can never
//! work is refused where it stands; of what works for some of them alone the others are told.

use std::collections::BTreeMap;

use baton_messages::PoolName;
use serde_json::Value;

use super::Flow;
use super::places::Place;
use crate::definition::diagnostic::code;
use crate::definition::duration::duration_ms_of;
use crate::definition::reserves::usable;
use crate::expr::{Expr, Shape, Template};
use crate::types::{Scope, Type, infer};

/// What a text has to be where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// The name of a pool.
    Pool,
    /// The name of a lock.
    Lock,
    /// What a limit counts apart.
    Key,
    /// A length of time.
    Sleep,
}

impl Rule {
    /// Whether it is one; why not, for people.
    fn holds(self, value: &Value) -> Result<(), String> {
        let text = || match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match self {
            Self::Pool => PoolName::new(&text())
                .map(drop)
                .map_err(|error| error.to_string()),
            Self::Lock => usable(text(), "the name of a lock").map(drop),
            Self::Key => usable(text(), "what a limit counts apart").map(drop),
            Self::Sleep => duration_ms_of(value).map(drop),
        }
    }

    /// What is wrong with a text with holes, whatever is filled in.
    fn never(self, template: &Template) -> Option<Value> {
        if self == Self::Sleep {
            return None;
        }
        // a hole may well give nothing, and one sign that may stand anywhere
        let filled = |with: &str| template.filled(with).map(Value::String);
        let (empty, short) = (filled("")?, filled("a")?);
        // what another language would fill in is told as that
        let looks_filled_in = |text: &str| text.contains(['{', '}', '$']);
        let is_foreign = empty.as_str().is_some_and(looks_filled_in);
        let is_wrong = self.holds(&empty).is_err() && self.holds(&short).is_err();
        let shown = if self == Self::Pool { "…" } else { "" };
        filled(shown).filter(|_| is_wrong && !is_foreign)
    }

    const fn key(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Lock => "locks",
            Self::Key => "key",
            Self::Sleep => "sleep",
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Pool | Self::Lock | Self::Key => code::NAME,
            Self::Sleep => code::DURATION,
        }
    }

    const fn help(self) -> &'static str {
        match self {
            Self::Pool => {
                "write the name of a pool; what a schema or an expression gives here has to be one too"
            }
            Self::Lock | Self::Key => {
                "write a shorter name; what a schema or an expression gives here has to fit too"
            }
            Self::Sleep => {
                "write `10s`, `15m`, `7d`; what a schema or an expression gives here has to be such too"
            }
        }
    }
}

/// What an expression yields that reads nothing, where it yields anything.
pub(super) fn constant(expr: &Expr) -> Option<Value> {
    evaluated(expr)?.ok()
}

/// Parts of the names of functions that walk a list: the work of all others grows with their text alone, so that a document full of them is still looked at
/// in a moment.
const WALKS: [&str; 5] = ["all", "exists", "filter", "map", "Map"];

/// What comes of an expression that reads nothing and walks through nothing; none of any other.
fn evaluated(expr: &Expr) -> Option<Result<Value, String>> {
    let walks = WALKS.iter().any(|name| expr.text().contains(name));
    if walks || expr.is_unreadable() || !expr.roots().is_empty() {
        return None;
    }
    let nothing = BTreeMap::<String, Value>::new();
    Some(expr.eval(&nothing).map_err(|error| error.what))
}

impl Flow<'_> {
    /// That what names something, or is a length of time, can be that: as far as its values are known.
    pub(super) fn held_to(&mut self, template: &Template, rule: Rule, scope: &Scope, at: &str) {
        let (values, all) = match rule.never(template) {
            Some(text) => (vec![text], true),
            None => known_values(template, scope),
        };
        let wrong: Vec<String> = values
            .iter()
            .filter_map(|value| rule.holds(value).err())
            .collect();
        let Some(why) = wrong.first() else { return };
        let place = Place {
            pointer: at,
            nth: 0,
        };
        let mark = template
            .as_hole()
            .map_or_else(|| self.tree.mark_at(at), |expr| self.whole(expr, place));
        let (key, help) = (rule.key(), rule.help().to_owned());
        if all && wrong.len() == values.len() {
            self.error(rule.code(), mark, format!("`{key}`: {why}"), help);
        } else {
            let message = format!("`{key}` may not fit: {why}");
            self.warning(code::MAY_NOT_FIT, mark, message, help);
        }
    }

    /// That an expression which reads nothing yields something.
    pub(super) fn has_a_value(&mut self, expr: &Expr, place: Place<'_>) {
        let Some(Err(why)) = evaluated(expr) else {
            return;
        };
        let message = format!("`{}` always fails: {why}", expr.text());
        let mark = self.whole(expr, place);
        let help =
            "it reads nothing, so that it is the same for every saga: write what it is to be";
        self.error(code::OPERANDS, mark, message, help.to_owned());
    }

    /// That a condition asks something. `true` and `false` in plain words are meant, but where nothing would ever come of what they stand at.
    pub(super) fn asks_something(&mut self, expr: &Expr, pointer: &str) {
        let Some(Value::Bool(always)) = constant(expr) else {
            return;
        };
        let text = expr.text();
        let is_plain = matches!(text, "true" | "false");
        if is_plain && (always || pointer.ends_with("/if")) {
            return;
        }
        let mark = self.whole(expr, Place { pointer, nth: 0 });
        if !always && pointer.ends_with("/undo/when") {
            let message = format!("`{text}` is always false, and nothing is ever taken back");
            let help = "write `undo: none`, and `because: …`".to_owned();
            return self.error(code::BECAUSE, mark, message, help);
        }
        let so = match (always, pointer.starts_with("/on/"), pointer) {
            (true, ..) => "",
            (false, true, _) => ", and nothing ever comes of this trigger",
            (false, false, at) if at.ends_with("/wait/when") => ", and no event is ever taken",
            (false, false, _) => ", and the step is never done",
        };
        let message = format!("`{text}` is always {always}{so}");
        let help = "write what it depends on (`input`, a step before), or leave it out".to_owned();
        self.warning(code::CONSTANT, mark, message, help);
    }
}

/// What a template may yield, as far as it is known, and whether it yields nothing else.
fn known_values(template: &Template, scope: &Scope) -> (Vec<Value>, bool) {
    match template.shape() {
        Shape::Literal(value) => (vec![value.clone()], true),
        Shape::Hole(expr) if expr.is_unreadable() => (Vec::new(), false),
        Shape::Hole(expr) if expr.roots().is_empty() => {
            (constant(expr).into_iter().collect(), true)
        }
        Shape::Hole(expr) => known_texts(&infer(expr, scope).of),
        Shape::Text(_) | Shape::List(_) | Shape::Object(_) => (Vec::new(), false),
    }
}

/// The texts of a type that are known, and whether it is nothing else.
fn known_texts(of: &Type) -> (Vec<Value>, bool) {
    let (mut texts, mut all) = (Vec::new(), true);
    for one in of.alternatives() {
        match one {
            Type::Text(Some(known)) => {
                texts.extend(known.iter().map(|text| Value::from(text.as_str())));
            }
            _ => all = false,
        }
    }
    (texts, all)
}
