//! What is wrong with a JSON Schema that a definition writes out: every mistake where it stands, in words for whoever wrote it; and what is left of the
//! schema without them, so that the rest of the definition is still held against it.

use std::collections::BTreeMap;

use jsonschema::ValidationError;
use serde_json::{Value, json};

use super::reader::nearest;
use super::subschemas::{self, Holds, key_of};

/// Mistakes told of one schema, at most.
const FAULTS_MAX: usize = 50;
/// The names of types.
pub(super) const TYPES: [&str; 7] = [
    "array", "boolean", "integer", "null", "number", "object", "string",
];
const A_SCHEMA: &str = "write a mapping, such as `{ type: string }`; `true` allows anything";

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// Where it stands, a JSON pointer.
    pub(super) at: String,
    /// Where the schema stands that it makes unreadable.
    schema: String,
    pub(super) what: String,
    pub(super) help: String,
}

/// Every mistake of a schema, in the order of the pointers; none when it is one.
pub(super) fn faults(schema: &Value) -> Vec<Fault> {
    let mut found: BTreeMap<String, Fault> = BTreeMap::new();
    let mut add = |fault: Fault| {
        if found.len() < FAULTS_MAX {
            found.entry(fault.at.clone()).or_insert(fault);
        }
    };
    if let Ok(meta) = jsonschema::meta::validator_for(schema) {
        meta.iter_errors(schema)
            .take(FAULTS_MAX)
            .for_each(|error| add(of_shape(schema, &error)));
    }
    let based = holds_id(schema);
    walk(schema, "", &mut |at, map| {
        if let Some(fault) = of_pattern(at, map.get("pattern")) {
            add(fault);
        }
        for pattern in keys_of(map.get("patternProperties")) {
            let place = format!("{at}/patternProperties/{}", subschemas::part(pattern));
            let fault = no_pattern(pattern).map(|(what, help)| Fault {
                at: place,
                schema: at.to_owned(),
                what,
                help,
            });
            fault.into_iter().for_each(&mut add);
        }
        if let Some(fault) = of_reference(schema, at, map.get("$ref"), based) {
            add(fault);
        }
    });
    found.into_values().collect()
}

/// The schema with what is wrong in it replaced by what allows anything.
pub(super) fn without(schema: &Value, faults: &[Fault]) -> Value {
    let mut left = schema.clone();
    for fault in faults {
        if let Some(place) = left.pointer_mut(&fault.schema) {
            *place = json!(true);
        }
    }
    left
}

/// Calls `look` with every schema that can be read, and where it stands.
pub(super) fn walk<'s>(
    schema: &'s Value,
    at: &str,
    look: &mut impl FnMut(&str, &'s serde_json::Map<String, Value>),
) {
    let Value::Object(map) = schema else { return };
    look(at, map);
    for within in subschemas::within(map) {
        walk(within.schema, &format!("{at}{}", within.at), look);
    }
}

/// Whether a schema inside goes by a name of its own: references are not pointers into the document then.
fn holds_id(schema: &Value) -> bool {
    let mut found = false;
    walk(schema, "", &mut |at, map| {
        found |= !at.is_empty() && map.contains_key("$id");
    });
    found
}

fn keys_of(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let map = value.and_then(Value::as_object);
    map.into_iter().flatten().map(|(key, _)| key.as_str())
}

/// Where a pointer into a schema leads: the innermost schema on the way, and what of it.
struct Way {
    schema: String,
    /// The keyword after it; none when the pointer leads to the schema itself.
    keyword: Option<String>,
}

fn way(at: &str) -> Way {
    let mut way = Way {
        schema: String::new(),
        keyword: None,
    };
    let mut parts = at.split('/').skip(1);
    let mut so_far = String::new();
    while let Some(part) = parts.next() {
        so_far.push('/');
        so_far.push_str(part);
        let name = key_of(part);
        let known = subschemas::of_name(&name);
        way.keyword = Some(name);
        let Some(keyword) = known else { return way };
        if keyword.holds != Holds::One {
            let Some(part) = parts.next() else { return way };
            so_far.push('/');
            so_far.push_str(part);
        }
        way.schema.clone_from(&so_far);
        way.keyword = None;
    }
    way
}

/// What the schema of schemas says, in words.
fn of_shape(schema: &Value, error: &ValidationError<'_>) -> Fault {
    let at = error.instance_path().to_string();
    let value = schema.pointer(&at).unwrap_or(&Value::Null);
    let Way {
        schema: holder,
        keyword,
    } = way(&at);
    let (what, help) = match keyword.as_deref() {
        None => no_schema(&at, value),
        Some("type") => no_type(value),
        Some("required") => (
            "`required` is a list of keys".to_owned(),
            "write it beside `properties`, with the keys that must be there: `required: [ip]`"
                .to_owned(),
        ),
        Some("enum") => (
            "`enum` is a list of values".to_owned(),
            "write `enum: [fast, slow]`".to_owned(),
        ),
        Some(word) => of_keyword(word, error),
    };
    Fault {
        at,
        schema: holder,
        what,
        help,
    }
}

fn of_keyword(word: &str, error: &ValidationError<'_>) -> (String, String) {
    match subschemas::of_name(word).map(|keyword| keyword.holds) {
        Some(Holds::Map | Holds::MapOrKeys) => (
            format!("`{word}` is a mapping of names to schemas"),
            format!("write `{word}: {{ ip: {{ type: string }} }}`"),
        ),
        Some(Holds::List) => (
            format!("`{word}` is a list of schemas"),
            format!("write `{word}: [{{ type: string }}, …]`"),
        ),
        Some(Holds::One) | None => (
            format!("`{word}`: {error}"),
            format!("see `{word}` at https://json-schema.org/understanding-json-schema"),
        ),
    }
}

/// What stands where a schema should be.
fn no_schema(at: &str, value: &Value) -> (String, String) {
    let what = "a schema is a mapping, or true or false".to_owned();
    let name = key_of(at.rsplit('/').next().unwrap_or_default());
    let help = match value.as_str().filter(|word| TYPES.contains(word)) {
        Some(word) => format!("write `{name}: {{ type: {word} }}`"),
        None => A_SCHEMA.to_owned(),
    };
    (what, help)
}

fn no_type(value: &Value) -> (String, String) {
    let words: Vec<&str> = match value {
        Value::String(word) => vec![word],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let known = || format!("there are {}", TYPES.join(", "));
    let Some(odd) = words.into_iter().find(|word| !TYPES.contains(word)) else {
        return (
            "`type` names a type, or is a list of such names, each once".to_owned(),
            known(),
        );
    };
    let help = match (nearest(odd, TYPES.into_iter()), odd) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, "int" | "long" | "uint") => "write `integer`".to_owned(),
        (None, "float" | "double" | "decimal") => "write `number`".to_owned(),
        (None, "str" | "text" | "date" | "ip" | "uuid" | "email") => {
            "write `string`; what it looks like is said by `format` or `pattern`".to_owned()
        }
        (None, "bool") => "write `boolean`".to_owned(),
        (None, "list" | "set") => "write `array`".to_owned(),
        (None, "map" | "dict" | "hash") => "write `object`".to_owned(),
        (None, "any") => "leave `type` out: anything is allowed then".to_owned(),
        (None, _) => known(),
    };
    (format!("`{odd}` is no type"), help)
}

fn of_pattern(at: &str, pattern: Option<&Value>) -> Option<Fault> {
    let (what, help) = no_pattern(pattern?.as_str()?)?;
    Some(Fault {
        at: format!("{at}/pattern"),
        schema: at.to_owned(),
        what,
        help,
    })
}

fn no_pattern(pattern: &str) -> Option<(String, String)> {
    jsonschema::validator_for(&json!({ "pattern": pattern })).err()?;
    Some((
        format!("`{pattern}` is no regular expression"),
        "put quotes around it, single ones where it has a backslash: '^[0-9]+\\.[0-9]+$'"
            .to_owned(),
    ))
}

/// A reference that leads nowhere. Where a schema inside goes by a name of its own, what begins with `#` is read by whoever knows of which document it is.
fn of_reference(root: &Value, at: &str, reference: Option<&Value>, based: bool) -> Option<Fault> {
    let reference = reference?.as_str()?;
    let (what, help) = match reference.strip_prefix('#') {
        None => not_in_here(root, reference)?,
        Some(_) if based => return None,
        Some(within) => not_within(root, reference, within)?,
    };
    Some(Fault {
        at: format!("{at}/$ref"),
        schema: at.to_owned(),
        what,
        help,
    })
}

/// What leads to another document: none is fetched.
fn not_in_here(root: &Value, reference: &str) -> Option<(String, String)> {
    let ids = names_by(root, "$id");
    let is_own = |id: &&str| reference.starts_with(id.trim_end_matches('#'));
    // a schema with a name of its own may be meant
    let relative = !reference.contains("://") && !ids.is_empty();
    if relative || ids.iter().any(is_own) {
        return None;
    }
    // some are known without anybody fetching them: the schemas of schemas
    jsonschema::validator_for(&json!({ "$ref": reference })).err()?;
    let help = near_reference(root, reference).unwrap_or_else(|| {
        "copy what is meant under `$defs:`, at the top of the schema, and refer to it there: `$ref: \"#/$defs/NAME\"`"
            .to_owned()
    });
    let what = format!("`{reference}` is another document, and none is fetched");
    Some((what, help))
}

/// What leads to no part of this document.
fn not_within(root: &Value, reference: &str, within: &str) -> Option<(String, String)> {
    // one with escapes of URIs is read by whoever knows those
    let escaped = within.contains('%');
    let is_there = match within {
        "" => true,
        way if way.starts_with('/') => root.pointer(way).is_some(),
        anchor => ["$anchor", "$dynamicAnchor"]
            .iter()
            .any(|key| names_by(root, key).contains(&anchor)),
    };
    if escaped || is_there {
        return None;
    }
    let help = near_reference(root, reference).unwrap_or_else(|| {
        let leads = "write what is referred to under `$defs:`, at the top of the schema";
        match within.starts_with('/') {
            true => leads.to_owned(),
            false => format!("{leads}, and the way to it: `$ref: \"#/$defs/{within}\"`"),
        }
    });
    let what = format!("there is no `{reference}` in this schema");
    Some((what, help))
}

/// What is said under a key of every schema there is.
fn names_by<'s>(root: &'s Value, key: &str) -> Vec<&'s str> {
    let mut names = Vec::new();
    walk(root, "", &mut |_, map| {
        names.extend(map.get(key).and_then(Value::as_str));
    });
    names
}

/// What may have been meant: a shared schema of that name, or of nearly that one.
fn near_reference(root: &Value, reference: &str) -> Option<String> {
    let names = ["$defs", "definitions"].iter().flat_map(|key| {
        let names = keys_of(root.get(*key));
        names.map(move |name| format!("#/{key}/{}", subschemas::part(name)))
    });
    let names: Vec<String> = names.collect();
    let bare = reference.trim_start_matches('#');
    let same = names
        .iter()
        .find(|name| name.rsplit('/').next() == Some(bare));
    let near = || nearest(reference, names.iter().map(String::as_str));
    let meant = same.map(String::as_str).or_else(near)?;
    Some(format!("did you mean `{meant}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(schema: &Value) -> Vec<(String, String)> {
        let all = faults(schema).into_iter();
        all.map(|fault| (fault.at, fault.what)).collect()
    }

    #[test]
    fn every_mistake_is_told_where_it_stands_and_the_rest_is_a_schema() {
        let schema = json!({
            "type": "object",
            "required": ["a"],
            "properties": {
                "a": "string",
                "b": { "type": "strin" },
                "c": { "type": "string", "required": true },
                "d": { "type": "string", "pattern": "[" },
                "e": { "$ref": "#/$defs/hots" },
                "pattern": { "type": "integer" },
            },
            "$defs": { "host": { "type": "object", "properties": [] } },
        });
        let wanted = [
            (
                "/$defs/host/properties",
                "`properties` is a mapping of names to schemas",
            ),
            ("/properties/a", "a schema is a mapping, or true or false"),
            ("/properties/b/type", "`strin` is no type"),
            ("/properties/c/required", "`required` is a list of keys"),
            ("/properties/d/pattern", "`[` is no regular expression"),
            (
                "/properties/e/$ref",
                "there is no `#/$defs/hots` in this schema",
            ),
        ];
        let wanted = wanted.map(|(at, what)| (at.to_owned(), what.to_owned()));
        assert_eq!(said(&schema), wanted);
        let left = without(&schema, &faults(&schema));
        assert!(said(&left).is_empty());
        assert_eq!(left["properties"]["pattern"], json!({ "type": "integer" }));
        assert_eq!(left["required"], json!(["a"]));
        assert!(jsonschema::validator_for(&left).is_ok());
    }

    #[test]
    fn a_reference_is_a_way_into_the_same_schema() {
        let schema = json!({
            "properties": {
                "far": { "$ref": "https://example.com/host.json" },
                "file": { "$ref": "host.json" },
                "bare": { "$ref": "host" },
                "anchor": { "$ref": "#foo" },
                "named": { "$ref": "#here" },
                "escaped": { "$ref": "#/$defs/a%20b" },
                "known": { "$ref": "https://json-schema.org/draft/2020-12/schema" },
                "self": { "$ref": "#" },
                "wrong": { "type": "strin" },
            },
            "$defs": { "host": { "$anchor": "here" }, "a b": {} },
        });
        let wanted = [
            (
                "/properties/anchor/$ref",
                "there is no `#foo` in this schema",
            ),
            (
                "/properties/bare/$ref",
                "`host` is another document, and none is fetched",
            ),
            (
                "/properties/far/$ref",
                "`https://example.com/host.json` is another document, and none is fetched",
            ),
            (
                "/properties/file/$ref",
                "`host.json` is another document, and none is fetched",
            ),
            ("/properties/wrong/type", "`strin` is no type"),
        ];
        let wanted = wanted.map(|(at, what)| (at.to_owned(), what.to_owned()));
        assert_eq!(said(&schema), wanted);
        let all = faults(&schema);
        assert_eq!(all[1].help, "did you mean `#/$defs/host`?");
        assert!(jsonschema::validator_for(&without(&schema, &all)).is_ok());
        let named = json!({
            "$id": "https://example.com/a",
            "properties": { "b": { "$ref": "https://example.com/a#/$defs/b" }, "c": { "$ref": "a" } },
        });
        assert!(said(&named).is_empty(), "{:?}", said(&named));
    }

    #[test]
    fn a_schema_that_is_one_has_none() {
        let schema = json!({
            "type": ["object", "null"],
            "properties": {
                "type": { "type": "string", "pattern": "^a$" },
                "properties": { "properties": { "$ref": { "enum": ["#/x"] } } },
                "tree": { "$ref": "#" },
                "host": { "$ref": "#/$defs/host" },
            },
            "patternProperties": { "^x-": true },
            "$defs": { "host": { "oneOf": [{ "const": 1 }, { "not": {} }] } },
        });
        assert!(said(&schema).is_empty(), "{:?}", said(&schema));
    }
}
