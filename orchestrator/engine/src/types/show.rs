//! Types in words: short in messages, with their keys in lists.

use super::{Object, Type};

/// How many keys of an object, or texts of an enumeration, are shown.
const SHOWN_MAX: usize = 6;
/// How deep keys are shown.
const DEPTH_MAX: usize = 2;

impl std::fmt::Display for Type {
    /// In a word: an object is an object.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&words(self, 0))
    }
}

impl Type {
    /// With what is known of the values of a kind: one of some texts, whole numbers within bounds.
    pub(crate) fn exact(&self) -> String {
        let mut shown: Vec<String> = Vec::new();
        for one in self.alternatives() {
            let word = match one {
                Self::Text(None) => "any string".to_owned(),
                Self::Int(whole) => whole.to_string(),
                other => words(other, 1),
            };
            if !shown.contains(&word) {
                shown.push(word);
            }
        }
        shown.join(" or ")
    }

    /// With the keys of objects.
    pub(crate) fn long(&self) -> String {
        words(self, DEPTH_MAX)
    }
}

fn words(of: &Type, depth: usize) -> String {
    match of {
        Type::Any => "any".to_owned(),
        Type::Null => "null".to_owned(),
        Type::Bool => "boolean".to_owned(),
        Type::Int(_) => "integer".to_owned(),
        Type::Uint => "unsigned integer".to_owned(),
        Type::Double => "double".to_owned(),
        Type::Text(Some(known)) if depth > 0 || known.len() > 1 => {
            let shown: Vec<String> = known
                .iter()
                .take(SHOWN_MAX)
                .map(|text| format!("\"{text}\""))
                .collect();
            let more = if known.len() > SHOWN_MAX {
                " or …"
            } else {
                ""
            };
            format!("{}{more}", shown.join(" or "))
        }
        Type::Text(_) => "string".to_owned(),
        Type::Bytes => "bytes".to_owned(),
        Type::Kind => "type".to_owned(),
        Type::List(item) if item.is_never() => "empty list".to_owned(),
        Type::List(item) => format!("list of {}", words(item, depth)),
        Type::Object(object) if depth == 0 || object.unknown() => "object".to_owned(),
        Type::Object(object) => keys(object, depth),
        Type::Optional(held) => format!("optional {}", words(held, depth)),
        Type::OneOf(all) if all.is_empty() => "nothing".to_owned(),
        Type::OneOf(all) => one_of(all, depth),
    }
}

fn one_of(all: &[Type], depth: usize) -> String {
    let whole = all.iter().any(|one| matches!(one, Type::Int(_)));
    let number = whole && all.contains(&Type::Double);
    let mut shown: Vec<String> = Vec::new();
    if number {
        shown.push("number".to_owned());
    }
    // null is read last: `string or null`
    let rest = all.iter().filter(|one| **one != Type::Null);
    for one in rest.chain(all.iter().filter(|one| **one == Type::Null)) {
        let word = words(one, depth);
        let told = (number && one.is_number()) || shown.contains(&word);
        if !told {
            shown.push(word);
        }
    }
    shown.join(" or ")
}

fn keys(object: &Object, depth: usize) -> String {
    let mut shown: Vec<String> = object
        .properties
        .iter()
        .take(SHOWN_MAX)
        .map(|(key, property)| {
            let mark = if property.required { "" } else { "?" };
            format!("{key}{mark}: {}", words(&property.of, depth - 1))
        })
        .collect();
    if object.properties.len() > SHOWN_MAX || object.has_others() {
        shown.push("…".to_owned());
    }
    if shown.is_empty() {
        return "{}".to_owned();
    }
    format!("{{ {} }}", shown.join(", "))
}
