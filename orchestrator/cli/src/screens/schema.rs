//! A JSON Schema as a list of fields a person reads: name, type, whether it has to be there, what it means.

use serde_json::{Map, Value};

/// Deeper than this a field is shown as `mapping`.
const DEPTH_MAX: usize = 4;

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    /// `content`; nested ones are indented.
    pub(crate) name: String,
    /// `text`, `list of number`, `text | base64`.
    pub(crate) kind: String,
    /// Whether it has to be there.
    pub(crate) required: bool,
    /// Whether it may be null.
    pub(crate) nullable: bool,
    /// What it is when absent.
    pub(crate) default: Option<String>,
    /// What it means, and what it may be.
    pub(crate) meaning: String,
    /// How deep it is nested.
    pub(crate) depth: usize,
}

/// Every field of an object's schema, those that have to be there first.
pub(crate) fn fields(schema: &Value) -> Vec<Field> {
    let mut found = Vec::new();
    collect(schema, schema, 0, true, &mut found);
    found
}

/// `alone`: its fields are no choice among others.
fn collect(root: &Value, schema: &Value, depth: usize, alone: bool, found: &mut Vec<Field>) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let required: Vec<&str> = schema["required"]
        .as_array()
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let mut names: Vec<&String> = properties.keys().collect();
    names.sort_by_key(|name| (!required.contains(&name.as_str()), place(&required, name)));
    for name in names {
        let given = &properties[name];
        let (resolved, nested) = (resolve(root, given), depth + 1 < DEPTH_MAX);
        found.push(Field {
            name: name.clone(),
            kind: kind(root, given),
            required: alone && required.contains(&name.as_str()),
            nullable: nullable(root, given),
            default: given
                .get("default")
                .filter(|value| !value.is_null())
                .map(plain),
            meaning: meaning(given, resolved),
            depth,
        });
        if nested && !is_secret_text(resolved) {
            let inner = items(root, resolved).unwrap_or(resolved);
            collect(root, inner, depth + 1, true, found);
            for variant in mappings(root, inner) {
                collect(root, variant, depth + 1, false, found);
            }
        }
    }
}

fn place(required: &[&str], name: &str) -> usize {
    required
        .iter()
        .position(|one| *one == name)
        .unwrap_or(usize::MAX)
}

/// What a reference leads to; an `anyOf` with null is what it is otherwise.
fn resolve<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let mut at = schema;
    for _ in 0..DEPTH_MAX {
        if let Some(path) = at["$ref"].as_str() {
            at = path
                .strip_prefix('#')
                .and_then(|path| root.pointer(path))
                .unwrap_or(at);
            continue;
        }
        let choices = at["anyOf"].as_array().map_or(&[][..], Vec::as_slice);
        let mut real = choices.iter().filter(|one| one["type"] != "null");
        match (real.next(), real.next()) {
            (Some(only), None) => at = only,
            _ => return at,
        }
    }
    at
}

/// Whether null is one of the values.
fn nullable(root: &Value, schema: &Value) -> bool {
    let mut at = schema;
    for _ in 0..DEPTH_MAX {
        match at["$ref"].as_str().and_then(|path| path.strip_prefix('#')) {
            Some(path) => at = root.pointer(path).unwrap_or(&Value::Null),
            None => break,
        }
    }
    let among = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let is_null = |one: &Value| one["type"] == "null";
    at["type"] == "null"
        || among(&at["type"]).iter().any(|name| name == "null")
        || among(&at["enum"]).iter().any(Value::is_null)
        || [&at["anyOf"], &at["oneOf"]]
            .into_iter()
            .any(|choices| among(choices).iter().any(is_null))
}

fn items<'s>(root: &'s Value, schema: &'s Value) -> Option<&'s Value> {
    schema.get("items").map(|items| resolve(root, items))
}

/// Text that may be given as a reference to a secret.
fn is_secret_text(schema: &Value) -> bool {
    schema["x-secret"] == true && schema["anyOf"].is_array()
}

/// Those of several choices that are mappings, whatever the others are.
fn mappings<'s>(root: &'s Value, schema: &'s Value) -> Vec<&'s Value> {
    let choices = schema["oneOf"]
        .as_array()
        .or_else(|| schema["anyOf"].as_array());
    let choices = choices.map_or(&[][..], Vec::as_slice);
    let resolved = choices.iter().map(|one| resolve(root, one));
    resolved
        .filter(|one| one["properties"].is_object())
        .collect()
}

/// The mappings of which a value is one: each with the fields that tell it from the others.
fn variants<'s>(root: &'s Value, schema: &'s Value) -> Option<Vec<&'s Value>> {
    let choices = schema["oneOf"]
        .as_array()
        .or_else(|| schema["anyOf"].as_array())?;
    let choices: Vec<&Value> = choices.iter().map(|one| resolve(root, one)).collect();
    let mappings = choices.iter().all(|one| one["properties"].is_object());
    (choices.len() > 1 && mappings).then_some(choices)
}

/// `bearer`, `user and password`: the fields a mapping has to have, or all it may have.
fn named(variant: &Value) -> String {
    let required = variant["required"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let mut names: Vec<&str> = required.iter().filter_map(Value::as_str).collect();
    if names.is_empty() {
        let all = variant["properties"].as_object();
        names = all
            .map(|all| all.keys().map(String::as_str).collect())
            .unwrap_or_default();
    }
    names.join(" and ")
}

fn kind(root: &Value, schema: &Value) -> String {
    let schema = resolve(root, schema);
    if is_secret_text(schema) {
        return "text or secret".to_owned();
    }
    if let Some(variants) = variants(root, schema) {
        let names: Vec<String> = variants.into_iter().map(named).collect();
        return format!("mapping, one of: {}", names.join(", "));
    }
    if let Some(words) = words(schema) {
        return words.join(" | ");
    }
    if let Some(types) = several_types(schema) {
        let one = |name: &Value| {
            let mut alone = schema.clone();
            alone["type"] = name.clone();
            kind(root, &alone)
        };
        return types.into_iter().map(one).collect::<Vec<_>>().join(" or ");
    }
    match type_name(schema) {
        "array" => match schema.get("items") {
            Some(items) if nullable(root, items) => {
                format!("list of {} or nothing", kind(root, items))
            }
            Some(items) => format!("list of {}", kind(root, items)),
            None => "list".to_owned(),
        },
        "object" => match schema["additionalProperties"].as_object() {
            Some(values) if !values.is_empty() => {
                format!("mapping to {}", kind(root, &Value::Object(values.clone())))
            }
            _ => "mapping".to_owned(),
        },
        "string" => match schema["format"].as_str() {
            Some(format) => format!("text ({format})"),
            None => "text".to_owned(),
        },
        "integer" => "whole number".to_owned(),
        "boolean" => "true | false".to_owned(),
        "" => {
            let choices = schema["oneOf"]
                .as_array()
                .or_else(|| schema["anyOf"].as_array());
            let kinds: Vec<String> = choices
                .map_or(&[][..], Vec::as_slice)
                .iter()
                .filter(|one| one["type"] != "null")
                .map(|one| kind(root, one))
                .collect();
            if kinds.is_empty() && schema["x-secret"] == true {
                "anything, secrets too".to_owned()
            } else if kinds.is_empty() {
                "anything".to_owned()
            } else {
                kinds.join(" or ")
            }
        }
        other => other.to_owned(),
    }
}

/// The types it may be of, null aside, where it may be of several.
fn several_types(schema: &Value) -> Option<Vec<&Value>> {
    let names = schema["type"].as_array()?.iter();
    let real: Vec<&Value> = names.filter(|name| *name != "null").collect();
    (real.len() > 1).then_some(real)
}

/// The first type that is not null.
fn type_name(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(name) => name,
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null")
            .unwrap_or_default(),
        _ if schema["properties"].is_object() => "object",
        _ => "",
    }
}

/// The words that are allowed, when there are only some.
fn words(schema: &Value) -> Option<Vec<String>> {
    if let Some(value) = schema.get("const") {
        return Some(vec![plain(value)]);
    }
    if let Some(all) = schema["enum"].as_array() {
        return Some(all.iter().filter(|one| !one.is_null()).map(plain).collect());
    }
    let all = schema["oneOf"].as_array()?;
    all.iter().map(|one| one.get("const").map(plain)).collect()
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn meaning(given: &Value, resolved: &Value) -> String {
    let text = given["description"]
        .as_str()
        .or_else(|| resolved["description"].as_str());
    let mut text = text.unwrap_or_default().replace('\n', " ");
    let limits = resolved.as_object().map(limits).unwrap_or_default();
    if !limits.is_empty() {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&format!("({})", limits.join(", ")));
    }
    text
}

/// What a value may be at most, as far as a type alone does not say it.
fn limits(schema: &Map<String, Value>) -> Vec<String> {
    let known = [
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("pattern", "pattern"),
    ];
    let said = known.iter().filter_map(|(key, words)| {
        let value = schema.get(*key)?;
        let trivial = *key == "minimum" && value.as_f64() == Some(0.0);
        (!trivial).then(|| format!("{words} {}", plain(value)))
    });
    items_limit(schema).into_iter().chain(said).collect()
}

/// How many items a list may have.
fn items_limit(schema: &Map<String, Value>) -> Option<String> {
    let given = |key| schema.get(key).and_then(Value::as_u64);
    let count = |number: u64| match number {
        1 => "1 item".to_owned(),
        more => format!("{more} items"),
    };
    match (
        given("minItems").filter(|least| *least > 0),
        given("maxItems"),
    ) {
        (Some(least), Some(most)) if least == most => Some(count(most)),
        (Some(least), Some(most)) => Some(format!("{least} to {}", count(most))),
        (Some(least), None) => Some(format!("at least {}", count(least))),
        (None, Some(most)) => Some(format!("at most {}", count(most))),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_choice_of_mappings_names_each_and_its_fields() {
        let secret = json!({ "x-secret": true, "anyOf": [{ "type": "string" }, { "type": "object", "properties": { "$secret": {} } }] });
        let schema = json!({
            "$defs": { "Auth": { "oneOf": [
                { "type": "object", "properties": { "bearer": secret }, "required": ["bearer"] },
                { "type": "object", "properties": { "basic": { "type": "object", "properties": { "user": { "type": "string" }, "password": secret }, "required": ["user", "password"] } }, "required": ["basic"] },
            ] } },
            "properties": { "auth": { "anyOf": [{ "$ref": "#/$defs/Auth" }, { "type": "null" }] } },
        });
        let seen: Vec<(String, String, usize)> = fields(&schema)
            .into_iter()
            .map(|field| (field.name, field.kind, field.depth))
            .collect();
        let expected = [
            ("auth", "mapping, one of: bearer, basic", 0),
            ("bearer", "text or secret", 1),
            ("basic", "mapping", 1),
            ("user", "text", 2),
            ("password", "text or secret", 2),
        ];
        let expected =
            expected.map(|(name, kind, depth)| (name.to_owned(), kind.to_owned(), depth));
        assert_eq!(seen, expected);
    }

    #[test]
    fn how_many_items_a_list_may_have_is_said_once() {
        let said = |limits: Value| {
            let schema = json!({ "properties": { "of": limits } });
            fields(&schema)[0].meaning.clone()
        };
        let both = json!({ "type": "array", "minItems": 1, "maxItems": 32 });
        assert_eq!(said(both), "(1 to 32 items)");
        assert_eq!(said(json!({ "minItems": 1 })), "(at least 1 item)");
        assert_eq!(
            said(json!({ "minItems": 0, "maxItems": 1 })),
            "(at most 1 item)"
        );
        assert_eq!(said(json!({ "minItems": 2, "maxItems": 2 })), "(2 items)");
    }

    #[test]
    fn the_fields_of_a_mapping_are_shown_where_a_text_would_do_as_well() {
        let schema = json!({
            "$defs": { "Header": { "type": "object", "properties": { "header": { "type": "string" } }, "required": ["header"] } },
            "properties": { "job": { "anyOf": [{ "type": "string" }, { "$ref": "#/$defs/Header" }] } },
        });
        let seen: Vec<(String, String, usize, bool)> = fields(&schema)
            .into_iter()
            .map(|field| (field.name, field.kind, field.depth, field.required))
            .collect();
        let expected = [
            ("job", "text or mapping", 0, false),
            ("header", "text", 1, false),
        ];
        let expected =
            expected.map(|(name, kind, depth, req)| (name.to_owned(), kind.to_owned(), depth, req));
        assert_eq!(seen, expected);
    }

    #[test]
    fn references_words_lists_and_nulls_are_read() {
        let schema = json!({
            "$defs": { "How": { "description": "How.", "oneOf": [{ "const": "a" }, { "const": "b" }] } },
            "properties": {
                "z": { "type": "string", "description": "First." },
                "how": { "$ref": "#/$defs/How", "default": "a" },
                "many": { "type": "array", "items": { "type": "object", "properties": { "n": { "type": "integer", "maximum": 5 } } } },
                "maybe": { "anyOf": [{ "$ref": "#/$defs/How" }, { "type": "null" }] },
                "map": { "type": "object", "additionalProperties": { "type": "string" } },
                "either": { "anyOf": [{ "type": "string" }, { "type": "integer" }, { "type": "null" }] },
                "both": { "type": ["string", "boolean", "null"] },
                "some": { "type": "array", "items": { "type": ["string", "null"] } },
                "any": true
            },
            "required": ["z"]
        });
        let fields = fields(&schema);
        let kinds: Vec<(String, String)> = fields
            .iter()
            .map(|field| (field.name.clone(), field.kind.clone()))
            .collect();
        let expected = [
            ("z", "text"),
            ("any", "anything"),
            ("how", "a | b"),
            ("many", "list of mapping"),
            ("n", "whole number"),
            ("map", "mapping to text"),
            ("maybe", "a | b"),
            ("either", "text or whole number"),
            ("some", "list of text or nothing"),
            ("both", "text or true | false"),
        ];
        let null: Vec<&str> = fields
            .iter()
            .filter(|field| field.nullable)
            .map(|field| field.name.as_str())
            .collect();
        assert_eq!(null, ["both", "either", "maybe"]);
        let mut sorted = expected
            .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
            .to_vec();
        sorted.sort();
        let mut got = kinds;
        assert_eq!(got[0].0, "z", "what has to be there stands first");
        got.sort();
        assert_eq!(got, sorted);
        let how = fields.iter().find(|field| field.name == "how").unwrap();
        assert_eq!(
            (how.default.as_deref(), how.meaning.as_str()),
            (Some("a"), "How.")
        );
        let n = fields.iter().find(|field| field.name == "n").unwrap();
        assert_eq!((n.depth, n.meaning.as_str()), (1, "(at most 5)"));
    }
}
