//! What an expression that failed had read: the names, of which kind each is, how long, which keys; never a value, since that may be private.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Scope;
use super::path::{keys_of, kind_of};
use super::uses::Uses;

/// Places that are named: an expression that reads more is looked at by its text.
const PLACES_MAX: usize = 4;
/// Characters of it all: names of keys come from outside, and may be long.
const CHARS_MAX: usize = 400;

/// What it reads, as `; it reads …`; nothing where it reads nothing.
pub(super) fn told(uses: &BTreeMap<String, Uses>, scope: &dyn Scope) -> String {
    let mut found = Vec::new();
    for (root, uses) in uses {
        if let Some(value) = scope.get(root) {
            places(root, uses, value, &mut found);
        }
    }
    if found.is_empty() {
        return String::new();
    }
    let more = if found.len() > PLACES_MAX {
        ", …"
    } else {
        ""
    };
    found.truncate(PLACES_MAX);
    let text = format!("; it reads {}{more}", found.join(", "));
    match text.char_indices().nth(CHARS_MAX) {
        None => text,
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
    }
}

/// The deepest places of a value that are read and there; of an object that lacks what is read, itself.
fn places(name: &str, uses: &Uses, value: &Value, found: &mut Vec<String>) {
    if found.len() > PLACES_MAX {
        return;
    }
    let (Uses::Keys(keys), Value::Object(map)) = (uses, value) else {
        return found.push(format!("`{name}` ({})", shape(value)));
    };
    if keys.is_empty() || keys.keys().any(|key| !map.contains_key(key)) {
        found.push(format!("`{name}` ({})", shape(value)));
    }
    for (key, uses) in keys {
        if let Some(inside) = map.get(key) {
            places(&format!("{name}.{key}"), uses, inside, found);
        }
    }
}

fn shape(value: &Value) -> String {
    match value {
        Value::Array(list) => format!("a list, {} long", list.len()),
        Value::Object(map) => format!("an object with {}", keys_of(map.keys())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            kind_of(value).to_owned()
        }
    }
}
