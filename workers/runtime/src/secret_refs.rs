//! References to secrets in an input: where they stand, whether the schema of the type lets them stand there, and what they are replaced by.
//!
//! A reference may stand only where the schema says `x-secret`. Everywhere else it would end up in a file, a log or an answer, because nobody
//! who wrote the automation thought of a secret there.

use baton_messages::secret_place::takes_secret;
use serde_json::Value;

use crate::secret_text::SECRET_KEY;

/// Most references in one input.
const REFERENCES_MAX: usize = 32;

/// A reference that may not stand where it does.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RefError {
    #[error(
        "the secret {name} stands at `{at}`, where this type takes none; it may only stand where the schema of its input says `x-secret`"
    )]
    Misplaced { name: String, at: String },
    #[error("the input refers to more than {REFERENCES_MAX} secrets")]
    TooMany,
    #[error("at `{at}`, `{SECRET_KEY}` is no reference: it takes one name and nothing else")]
    Crooked { at: String },
}

/// Whether every reference in `input` stands where `schema` lets it.
pub(crate) fn check(input: &Value, schema: &Value) -> Result<(), RefError> {
    let mut found = Vec::new();
    collect(input, &mut Vec::new(), &mut found)?;
    for (path, name) in found {
        if !takes_secret(schema, &path) {
            let at = format!("/{}", path.join("/"));
            return Err(RefError::Misplaced { name, at });
        }
    }
    Ok(())
}

/// The names referred to, each once.
pub(crate) fn names(input: &Value) -> Vec<String> {
    let mut found = Vec::new();
    // What is crooked has been refused before.
    let _ = collect(input, &mut Vec::new(), &mut found);
    let mut names: Vec<String> = found.into_iter().map(|(_, name)| name).collect();
    names.sort();
    names.dedup();
    names
}

/// Puts `secret` where `name` is referred to.
pub(crate) fn replace(input: &mut Value, name: &str, secret: &str) {
    if reference(input).is_some_and(|found| found == name) {
        *input = Value::String(secret.to_owned());
        return;
    }
    match input {
        Value::Array(items) => items.iter_mut().for_each(|i| replace(i, name, secret)),
        Value::Object(map) => map.values_mut().for_each(|i| replace(i, name, secret)),
        _ => {}
    }
}

fn reference(value: &Value) -> Option<&str> {
    let map = value.as_object().filter(|map| map.len() == 1)?;
    map.get(SECRET_KEY)?.as_str()
}

fn collect(
    value: &Value,
    path: &mut Vec<String>,
    found: &mut Vec<(Vec<String>, String)>,
) -> Result<(), RefError> {
    if let Some(name) = reference(value) {
        found.push((path.clone(), name.to_owned()));
        return if found.len() > REFERENCES_MAX {
            Err(RefError::TooMany)
        } else {
            Ok(())
        };
    }
    let mut below = |key: String, inner: &Value| {
        path.push(key);
        let collected = collect(inner, path, found);
        path.pop();
        collected
    };
    match value {
        Value::Array(items) => {
            for (number, inner) in items.iter().enumerate() {
                below(number.to_string(), inner)?;
            }
        }
        Value::Object(map) => {
            if map.contains_key(SECRET_KEY) {
                let at = format!("/{}", path.join("/"));
                return Err(RefError::Crooked { at });
            }
            for (key, inner) in map {
                below(key.clone(), inner)?;
            }
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "properties": {
                "url": { "type": "string" },
                "headers": { "additionalProperties": { "anyOf": [{ "type": "string" }], "x-secret": true } },
                "auth": { "anyOf": [{ "$ref": "#/$defs/Auth" }, { "type": "null" }] },
                "body": { "x-secret": true },
                "list": { "items": { "properties": { "pass": { "x-secret": true } } } },
                "circle": { "$ref": "#/$defs/Circle" }
            },
            "$defs": {
                "Auth": { "oneOf": [{ "properties": { "bearer": { "x-secret": true } } }] },
                "Circle": { "$ref": "#/$defs/Circle" }
            }
        })
    }

    #[test]
    fn a_reference_stands_only_where_the_schema_lets_it() {
        let secret = json!({ "$secret": "db" });
        for good in [
            json!({ "headers": { "X-Key": secret } }),
            json!({ "auth": { "bearer": secret } }),
            json!({ "body": { "a": [{ "b": secret }] } }),
            json!({ "list": [{ "pass": "x" }, { "pass": secret }] }),
            json!({ "url": "plain" }),
        ] {
            assert_eq!(check(&good, &schema()), Ok(()), "{good}");
        }
        for bad in [
            json!({ "url": secret }),
            json!({ "headers": secret }),
            json!({ "auth": { "user": secret } }),
            json!({ "list": [{ "other": secret }] }),
            json!({ "unknown": secret }),
            json!({ "circle": { "a": secret } }),
            secret.clone(),
        ] {
            assert!(
                matches!(check(&bad, &schema()), Err(RefError::Misplaced { .. })),
                "{bad}"
            );
        }
        for crooked in [
            json!({ "body": { "$secret": 1 } }),
            json!({ "body": { "$secret": "a", "b": 1 } }),
        ] {
            assert!(
                matches!(check(&crooked, &schema()), Err(RefError::Crooked { .. })),
                "{crooked}"
            );
        }
        let many: Vec<&Value> = std::iter::repeat_n(&secret, REFERENCES_MAX + 1).collect();
        assert_eq!(
            check(&json!({ "body": many }), &schema()),
            Err(RefError::TooMany)
        );
    }

    #[test]
    fn references_are_replaced_and_nothing_else() {
        let mut input = json!({ "a": { "$secret": "x" }, "b": [{ "$secret": "y" }, "x"], "c": { "$secret": "x" } });
        assert_eq!(names(&input), ["x", "y"]);
        replace(&mut input, "x", "1");
        assert_eq!(
            input,
            json!({ "a": "1", "b": [{ "$secret": "y" }, "x"], "c": "1" })
        );
    }
}
