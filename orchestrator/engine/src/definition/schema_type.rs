//! The types a JSON Schema allows, as far as it says so: what the data-flow checker compares.

use std::collections::BTreeSet;

use serde_json::Value;

/// How many references are followed: more is a circle.
const REFERENCES_MAX: usize = 16;

/// JSON Schema's types; none known means any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Types(Option<BTreeSet<String>>);

impl Types {
    /// What a schema allows. Only `type`, `const` and `enum` are read; anything else may be anything.
    pub(super) fn of(schema: &Value) -> Self {
        let set = match (schema.get("type"), schema.get("const"), schema.get("enum")) {
            (Some(Value::String(one)), _, _) => Some(BTreeSet::from([one.clone()])),
            (Some(Value::Array(all)), _, _) => {
                let words = all.iter().filter_map(Value::as_str);
                Some(words.map(str::to_owned).collect())
            }
            (_, Some(value), _) => Some(BTreeSet::from([word(value).to_owned()])),
            (_, _, Some(Value::Array(all))) => {
                Some(all.iter().map(|value| word(value).to_owned()).collect())
            }
            _ => None,
        };
        Self(set)
    }

    /// What a value is.
    pub(super) fn of_value(value: &Value) -> Self {
        Self::one(word(value))
    }

    /// One type.
    pub(super) fn one(word: &str) -> Self {
        Self(Some(BTreeSet::from([word.to_owned()])))
    }

    /// Whether some value of these may be one of those. A number may be whole, so that `number` may fit `integer`.
    pub(super) fn may_fit(&self, takes: &Self) -> bool {
        let (Some(is), Some(takes)) = (&self.0, &takes.0) else {
            return true;
        };
        let number = |word: &str| matches!(word, "number" | "integer");
        is.iter().any(|is| {
            let mut takes = takes.iter();
            takes.any(|takes| is == takes || (number(is) && number(takes)))
        })
    }
}

impl std::fmt::Display for Types {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            None => f.write_str("anything"),
            Some(words) => {
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                f.write_str(&words.join(" or "))
            }
        }
    }
}

fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The schema a schema points to within its document, or itself.
pub(super) fn resolve<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let mut at = schema;
    for _ in 0..REFERENCES_MAX {
        let pointer = at.get("$ref").and_then(Value::as_str);
        let Some(found) = pointer
            .and_then(|text| text.strip_prefix('#'))
            .and_then(|pointer| root.pointer(pointer))
        else {
            return at;
        };
        at = found;
    }
    &Value::Null
}
