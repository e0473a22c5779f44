//! Words of a JSON Schema that mean nothing: a validator passes over what it does not know, and what somebody meant by it is never asked for. Told are those that
//! are nearly a known word, and those that look like keys of the value, written where words of the schema stand.

use serde_json::{Map, Value};

use super::reader::nearest;
use super::schema_faults::{self, TYPES};
use super::subschemas::{self, part};

/// The words that hold no schemas; the others are in [`subschemas::KEYWORDS`].
const WORDS: [&str; 43] = [
    "$anchor",
    "$comment",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$recursiveAnchor",
    "$recursiveRef",
    "$ref",
    "$schema",
    "$vocabulary",
    "const",
    "contentEncoding",
    "contentMediaType",
    "default",
    "dependentRequired",
    "deprecated",
    "description",
    "enum",
    "example",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "id",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "nullable",
    "pattern",
    "readOnly",
    "required",
    "title",
    "type",
    "uniqueItems",
    "writeOnly",
];
/// What other notations call a type.
const OTHER_TYPES: [&str; 12] = [
    "bool", "date", "dict", "float", "int", "list", "long", "map", "str", "text", "uint", "uuid",
];
/// How deep a value is looked into that may be a schema.
const DEPTH_MAX: usize = 8;
/// Words told of one schema, at most.
const TOLD_MAX: usize = 50;

/// A word that means nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OddWord {
    /// Where it stands, a JSON pointer.
    pub(super) at: String,
    pub(super) what: String,
    pub(super) help: String,
}

/// Those of a schema, in the order they are met.
pub(super) fn odd_words(schema: &Value) -> Vec<OddWord> {
    let mut found = Vec::new();
    schema_faults::walk(schema, "", &mut |at, map| {
        for (word, value) in map {
            if found.len() < TOLD_MAX
                && !is_known(word)
                && !word.starts_with("x-")
                && let Some(help) = help(word, value, map)
            {
                found.push(OddWord {
                    at: format!("{at}/{}", part(word)),
                    what: format!("JSON Schema has no `{word}`: nothing is held against it"),
                    help,
                });
            }
        }
    });
    found
}

/// What is likely meant; none where it may well be somebody's own word.
fn help(word: &str, value: &Value, beside: &Map<String, Value>) -> Option<String> {
    if is_schema(value, DEPTH_MAX) {
        let near = near(word).filter(|near| subschemas::of_name(near).is_some());
        return Some(match near {
            Some(near) if !beside.contains_key(near) => format!("did you mean `{near}`?"),
            _ => format!("write it under `properties:`, as `{word}: {{ type: … }}`"),
        });
    }
    Some(format!("did you mean `{}`?", near(word)?))
}

fn near(word: &str) -> Option<&'static str> {
    match word {
        "min" => return Some("minimum"),
        "max" => return Some("maximum"),
        _ => {}
    }
    let holding = subschemas::KEYWORDS.iter().map(|keyword| keyword.name);
    // a short word is near to everything
    let all = WORDS.into_iter().chain(holding);
    nearest(word, all.filter(|known| known.len() > 3))
}

fn is_known(word: &str) -> bool {
    WORDS.contains(&word) || subschemas::of_name(word).is_some()
}

/// Whether a value looks like a schema, or like keys with their schemas.
fn is_schema(value: &Value, depth: usize) -> bool {
    match value {
        Value::String(word) => {
            TYPES.contains(&word.as_str()) || OTHER_TYPES.contains(&word.as_str())
        }
        Value::Object(map) if depth > 0 => {
            let mut entries = map.iter();
            entries.any(|(word, value)| is_known(word) || is_schema(value, depth - 1))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(schema: &Value) -> Vec<(String, String)> {
        let all = odd_words(schema).into_iter();
        all.map(|word| (word.at, word.help)).collect()
    }

    fn one(at: &str, help: &str) -> (String, String) {
        (at.to_owned(), help.to_owned())
    }

    #[test]
    fn keys_that_stand_where_words_of_the_schema_stand_are_told() {
        let schema = json!({ "host": "string", "port": { "type": "integer" } });
        assert_eq!(
            told(&schema),
            [
                one(
                    "/host",
                    "write it under `properties:`, as `host: { type: … }`"
                ),
                one(
                    "/port",
                    "write it under `properties:`, as `port: { type: … }`"
                ),
            ]
        );
    }

    #[test]
    fn a_misspelt_word_is_guessed_wherever_it_stands() {
        let schema = json!({
            "type": "object",
            "propertys": { "host": { "type": "string" } },
            "require": ["host"],
            "$defs": { "n": { "type": "integer", "max": 3, "minimun": 1 } },
        });
        assert_eq!(
            told(&schema),
            [
                one("/propertys", "did you mean `properties`?"),
                one("/require", "did you mean `required`?"),
                one("/$defs/n/max", "did you mean `maximum`?"),
                one("/$defs/n/minimun", "did you mean `minimum`?"),
            ]
        );
    }

    #[test]
    fn what_is_known_or_somebodys_own_is_left_alone() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "x-form": { "type": "wide" },
            "unit": "seconds",
            "properties": { "require": { "type": "string", "examples": ["a"] } },
            "$defs": { "host": { "oneOf": [{ "const": 1 }, { "not": {} }] } },
        });
        assert!(told(&schema).is_empty(), "{:?}", told(&schema));
    }
}
