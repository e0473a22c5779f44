//! Where the schema of a task type's input lets a secret stand: whoever checks a definition and whoever runs its tasks read it the same way.

use serde_json::Value;

/// How deep a schema is followed: ours are flat; a reference within a schema may lead in circles.
const DEPTH_MAX: usize = 64;
/// Deeper than this, places are not named to people.
const NAMED_DEPTH_MAX: usize = 6;

/// Whether, on the way along `path` into a value, some schema says `x-secret`.
#[must_use]
pub fn takes_secret(schema: &Value, path: &[String]) -> bool {
    allows(schema, schema, path, 0)
}

fn allows(root: &Value, schema: &Value, path: &[String], depth: usize) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    if is_secret(schema) {
        return true;
    }
    if branches(root, schema).any(|inner| allows(root, inner, path, depth + 1)) {
        return true;
    }
    let Some((key, rest)) = path.split_first() else {
        return false;
    };
    let below = |inner: &Value| allows(root, inner, rest, depth + 1);
    let property = schema.get("properties").and_then(|all| all.get(key));
    if let Some(inner) = property {
        return below(inner);
    }
    let other = if key.parse::<usize>().is_ok() {
        schema
            .get("items")
            .or_else(|| schema.get("additionalProperties"))
    } else {
        schema.get("additionalProperties")
    };
    other.is_some_and(below)
}

fn is_secret(schema: &Value) -> bool {
    schema.get("x-secret").and_then(Value::as_bool) == Some(true)
}

/// What a schema refers to, and the schemas it chooses from.
fn branches<'s>(root: &'s Value, schema: &'s Value) -> impl Iterator<Item = &'s Value> {
    let referred = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|at| root.pointer(at.strip_prefix('#')?));
    let choices = ["anyOf", "oneOf", "allOf"];
    let choices = choices
        .into_iter()
        .filter_map(|key| schema.get(key)?.as_array());
    referred.into_iter().chain(choices.flatten())
}

/// The places where a secret may stand, for people: `auth.bearer`, `headers.*`.
#[must_use]
pub fn secret_places(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(schema, schema, &mut Vec::new(), 0, &mut found);
    found
}

fn collect<'s>(
    root: &'s Value,
    schema: &'s Value,
    path: &mut Vec<&'s str>,
    depth: usize,
    found: &mut Vec<String>,
) {
    if depth > DEPTH_MAX || path.len() > NAMED_DEPTH_MAX {
        return;
    }
    if is_secret(schema) {
        let place = path.join(".");
        if !found.contains(&place) {
            found.push(place);
        }
        return;
    }
    for inner in branches(root, schema) {
        collect(root, inner, path, depth + 1, found);
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    let properties = properties.into_iter().flatten();
    let others = ["items", "additionalProperties"];
    let others = others
        .iter()
        .filter_map(|key| Some(("*", schema.get(*key).filter(|inner| inner.is_object())?)));
    let below = properties.map(|(key, inner)| (key.as_str(), inner));
    for (key, inner) in below.chain(others) {
        path.push(key);
        collect(root, inner, path, depth + 1, found);
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_are_named_and_taken_alike() {
        let schema = json!({
            "properties": {
                "auth": { "$ref": "#/$defs/Auth" },
                "headers": { "additionalProperties": { "x-secret": true } },
                "list": { "items": { "properties": { "pass": { "x-secret": true } } } },
                "url": { "type": "string" },
            },
            "$defs": { "Auth": { "oneOf": [{ "properties": { "bearer": { "x-secret": true } } }, { "$ref": "#/$defs/Auth" }] } },
        });
        assert_eq!(
            secret_places(&schema),
            ["auth.bearer", "headers.*", "list.*.pass"]
        );
        let takes = |path: &[&str]| {
            let path: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
            takes_secret(&schema, &path)
        };
        assert!(takes(&["auth", "bearer"]) && takes(&["headers", "X-Key"]));
        assert!(takes(&["list", "0", "pass"]));
        assert!(!takes(&["url"]) && !takes(&["auth"]) && !takes(&["nothing", "there"]));
    }
}
