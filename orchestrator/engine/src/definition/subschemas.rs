//! The schemas inside a JSON Schema: which of its keywords hold some, and whether those are held against the same value or against a part of it. The one
//! list of keywords, for whoever walks a schema.

use serde_json::{Map, Value};

/// How a keyword holds schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// One, or, in older drafts, a list of them.
    One,
    List,
    /// By name.
    Map,
    /// By name, or a list of keys in place of one, of older drafts.
    MapOrKeys,
}

/// What the schemas of a keyword are held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Against {
    /// The very value the schema around them is.
    Same,
    /// The value of one key each.
    Key,
    /// Values of keys by how they are named: several may be held against one.
    Keys,
    /// The values of all keys that nothing else is said of.
    OtherKeys,
    /// An item of a list.
    Item,
    /// All items, beside what else is said of them.
    Items,
    /// Nothing: they are there to be referred to.
    Nothing,
}

/// A keyword that holds schemas.
pub(super) struct Keyword {
    pub(super) name: &'static str,
    pub(super) holds: Holds,
    pub(super) against: Against,
}

const fn keyword(name: &'static str, holds: Holds, against: Against) -> Keyword {
    Keyword {
        name,
        holds,
        against,
    }
}

/// All of them.
pub(super) static KEYWORDS: [Keyword; 22] = [
    keyword("allOf", Holds::List, Against::Same),
    keyword("anyOf", Holds::List, Against::Same),
    keyword("oneOf", Holds::List, Against::Same),
    keyword("not", Holds::One, Against::Same),
    keyword("if", Holds::One, Against::Same),
    keyword("then", Holds::One, Against::Same),
    keyword("else", Holds::One, Against::Same),
    keyword("dependentSchemas", Holds::Map, Against::Same),
    // older drafts have it, and it is applied in the newest one as well
    keyword("dependencies", Holds::MapOrKeys, Against::Same),
    keyword("properties", Holds::Map, Against::Key),
    keyword("patternProperties", Holds::Map, Against::Keys),
    keyword("additionalProperties", Holds::One, Against::OtherKeys),
    keyword("unevaluatedProperties", Holds::One, Against::OtherKeys),
    keyword("propertyNames", Holds::One, Against::OtherKeys),
    keyword("items", Holds::One, Against::Item),
    keyword("prefixItems", Holds::List, Against::Item),
    keyword("additionalItems", Holds::One, Against::Item),
    keyword("unevaluatedItems", Holds::One, Against::Item),
    keyword("contains", Holds::One, Against::Items),
    keyword("contentSchema", Holds::One, Against::Nothing),
    keyword("$defs", Holds::Map, Against::Nothing),
    keyword("definitions", Holds::Map, Against::Nothing),
];

/// The keyword of this name, when it holds schemas.
pub(super) fn of_name(name: &str) -> Option<&'static Keyword> {
    KEYWORDS.iter().find(|keyword| keyword.name == name)
}

/// A schema inside another: below which keyword, where from there, and itself.
pub(super) struct Within<'s> {
    pub(super) keyword: &'static Keyword,
    /// A JSON pointer from the schema around it.
    pub(super) at: String,
    pub(super) schema: &'s Value,
}

/// The schemas a schema holds.
pub(super) fn within(schema: &Map<String, Value>) -> Vec<Within<'_>> {
    let mut found = Vec::new();
    for (name, value) in schema {
        let Some(keyword) = of_name(name) else {
            continue;
        };
        let mut add = |at: String, schema| {
            found.push(Within {
                keyword,
                at,
                schema,
            });
        };
        match (keyword.holds, value) {
            (Holds::Map | Holds::MapOrKeys, Value::Object(all)) => {
                let no_keys = |schema: &Value| keyword.holds == Holds::Map || !schema.is_array();
                for (key, schema) in all.iter().filter(|(_, schema)| no_keys(schema)) {
                    add(format!("/{name}/{}", part(key)), schema);
                }
            }
            (Holds::List | Holds::One, Value::Array(all)) => {
                for (n, schema) in all.iter().enumerate() {
                    add(format!("/{name}/{n}"), schema);
                }
            }
            (Holds::One, schema) => add(format!("/{name}"), schema),
            (Holds::Map | Holds::MapOrKeys | Holds::List, _) => {}
        }
    }
    found
}

/// A key as a part of a JSON pointer.
pub(super) fn part(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// A part of a JSON pointer as the key it is.
pub(super) fn key_of(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}
