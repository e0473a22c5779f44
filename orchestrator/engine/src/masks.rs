//! What looks like a secret in a message of anybody's, covered. By the names of fields and headers, and by the shapes of keys and tokens; it can only guess, so
//! that a body is shown in full to those alone who may read it. Pure.

use std::borrow::Cow;
use std::sync::LazyLock;

use baton_messages::secret_place::takes_secret;
use regex::{Captures, Regex};
use serde_json::{Map, Value};

use crate::definition::group_in;

/// What stands instead.
const COVER: &str = "***";
/// A field is covered when its name, without `-`, `_`, `.` and blanks, has one of these in it.
const PARTS: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "authorization",
    "cookie",
    "kennwort",
];
/// Or when it is one of these.
const WORDS: [&str; 7] = ["pwd", "pass", "auth", "pin", "otp", "cvv", "cvc"];
/// A reference to a secret is none itself.
const REFERENCE: &str = "$secret";

/// Secrets by their shape, each with what stands around them in groups 1 and 2.
static SHAPES: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let names = r"[\w.\- ]*(?:password|passwd|passphrase|secret|token|api[-_ ]?key|access[-_ ]?key|private[-_ ]?key|credential|authorization|cookie|kennwort)[\w.\- ]*";
    let all = [
        // a private key, whole or cut off
        r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)[\s\S]*?(-----END|$)".to_owned(),
        // a login in an address
        r"(://[^/\s:@]{0,200}:)[^/\s@]{1,400}(@)".to_owned(),
        // a JSON Web Token; keys of known makers
        r"()\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*()".to_owned(),
        r"()\b(?:AKIA|ASIA)[A-Z0-9]{16}()\b".to_owned(),
        r"()\b(?:ghp|gho|ghs|glpat|xox[abp]|sk)[-_][\w-]{16,}()".to_owned(),
        r"(?i)(\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}()".to_owned(),
        // a field of JSON, also of one that is cut off
        format!(r#"(?i)("{names}"\s*:\s*)(?:"(?:[^"\\]|\\.)*"?|[^\s,}}\]"{{\[]+)()"#),
        // the same quoted within a text, as errors quote it
        format!(
            r#"(?i)(\\"{names}\\"\s*:\s*)(?:\\"(?:[^"\\]|\\[^"])*(?:\\"|$)|[^\s,}}\]"\\{{\[]+)()"#
        ),
        // name="a value of words"
        format!(r#"(?im)(\b{names}\s*[=:]\s*)(?:"[^"]*"?|'[^']*'?)()"#),
        r#"(?im)(\b(?:pwd|pass|pin|otp|cvv|cvc)\s*[=:]\s*)[^\s&;,<>]+()"#.to_owned(),
        // name=value, name: value, to the end of the value
        format!(r#"(?im)(\b{names}\s*[=:]\s*)[^\s"&;,<>]+()"#),
        // an element of XML
        format!(r"(?i)(<{names}>)[^<]*(</|$)"),
    ];
    // each is written above: a test reads them all
    all.iter().filter_map(|one| Regex::new(one).ok()).collect()
});

fn is_secret(name: &str) -> bool {
    let bare: String = name
        .chars()
        .filter(|c| !"-_. ".contains(*c))
        .flat_map(char::to_lowercase)
        .collect();
    PARTS.iter().any(|part| bare.contains(part)) || WORDS.contains(&bare.as_str())
}

/// Text with what looks like a secret covered.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    let mut covered = Cow::Borrowed(text);
    for shape in SHAPES.iter() {
        if shape.is_match(&covered) {
            let with = |found: &Captures<'_>| format!("{}{COVER}{}", &found[1], &found[2]);
            covered = Cow::Owned(shape.replace_all(&covered, with).into_owned());
        }
    }
    covered
}

/// The same for whoever may not read it as it is.
#[must_use]
pub fn text_for(whole: bool, of: String) -> String {
    if whole { of } else { text(&of).into_owned() }
}

/// JSON with what looks like a secret covered.
#[must_use]
pub fn value(of: &Value) -> Value {
    match of {
        Value::String(words) => Value::String(text(words).into_owned()),
        Value::Array(items) => Value::Array(items.iter().map(value).collect()),
        Value::Object(fields) if begins_an_item(fields) => {
            Value::Object(fields.iter().map(field_of_item).collect())
        }
        Value::Object(fields) => Value::Object(fields.iter().map(field).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) => of.clone(),
    }
}

/// Under which name properties have bytes that JSON has no type for, in base64.
const BYTES: &str = "base64";

/// Properties and headers of a message with what looks like a secret covered, and with all that came as bytes: nobody can say what in those is one.
#[must_use]
pub fn properties(of: &Value) -> Value {
    value(&without_bytes(of))
}

fn without_bytes(of: &Value) -> Value {
    match of {
        Value::Object(fields) if fields.len() == 1 && fields.contains_key(BYTES) => {
            serde_json::json!({ BYTES: COVER })
        }
        Value::Object(fields) => {
            let fields = fields.iter();
            fields
                .map(|(name, of)| (name.clone(), without_bytes(of)))
                .collect()
        }
        Value::Array(items) => items.iter().map(without_bytes).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => of.clone(),
    }
}

/// An input with what its task type's schema calls a secret covered (`x-secret`), and what looks like one. A reference to a secret is none itself.
#[must_use]
pub fn input(schema: Option<&Value>, of: &Value) -> Value {
    let mut covered = value(of);
    if let Some(schema) = schema {
        cover(schema, &mut covered, &mut Vec::new());
    }
    covered
}

fn cover(schema: &Value, of: &mut Value, path: &mut Vec<String>) {
    if is_reference(of) {
        return;
    }
    match of {
        Value::Object(fields) => {
            for (name, inner) in fields {
                path.push(name.clone());
                cover(schema, inner, path);
                path.pop();
            }
        }
        Value::Array(items) => {
            for (n, inner) in items.iter_mut().enumerate() {
                path.push(n.to_string());
                cover(schema, inner, path);
                path.pop();
            }
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            if takes_secret(schema, path) {
                *of = Value::from(COVER);
            }
        }
    }
}

fn field((name, of): (&String, &Value)) -> (String, Value) {
    let covered = if is_reference(of) {
        of.clone()
    } else if is_secret(name) && !of.is_null() {
        Value::from(COVER)
    } else {
        value(of)
    };
    (name.clone(), covered)
}

/// Whether this tells an item of a group to begin. What is around the group has its own names there; but an item is called `item` whatever the list is called
/// it comes from, so that it is covered as if that were a secret's name.
fn begins_an_item(fields: &Map<String, Value>) -> bool {
    let definition = fields.get("definition").and_then(Value::as_str);
    definition.is_some_and(|name| group_in(name).is_some())
}

fn field_of_item((name, of): (&String, &Value)) -> (String, Value) {
    let (name, mut covered) = field((name, of));
    if name == "input"
        && let Some(item) = covered.get_mut("item")
    {
        *item = Value::from(COVER);
    }
    (name, covered)
}

fn is_reference(of: &Value) -> bool {
    let only = |fields: &Map<String, Value>| fields.len() == 1 && fields.contains_key(REFERENCE);
    of.as_object().is_some_and(only)
}

/// A body with what looks like a secret covered: as it came where there is nothing, of JSON read and written again, of other text by its shapes.
#[must_use]
pub fn body(words: &str) -> Cow<'_, str> {
    if let Ok(read) = serde_json::from_str::<Value>(words) {
        let covered = value(&read);
        return if covered == read {
            Cow::Borrowed(words)
        } else {
            Cow::Owned(covered.to_string())
        };
    }
    text(words)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_shape_can_be_read() {
        assert_eq!(SHAPES.len(), 12);
    }

    #[test]
    fn what_is_called_a_secret_is_covered_however_deep_and_however_it_is_written() {
        let of = r#"{"user":"ann","a":[{"Api-Key":"hunter2"}],"pass\u0077ord":17,"ref":{"token":{"$secret":"t"}}}"#;
        let covered = body(of);
        assert!(!covered.contains("hunter2") && !covered.contains("17"));
        let read: Value = serde_json::from_str(&covered).unwrap();
        assert_eq!(
            read,
            json!({ "user": "ann", "a": [{ "Api-Key": "***" }], "password": "***", "ref": { "token": { "$secret": "t" } } })
        );
    }

    #[test]
    fn what_an_item_of_a_group_is_given_is_as_covered_as_it_was_around_it() {
        let wanted = |definition: &str| json!({ "child-wanted": { "definition": definition, "input": { "item": "hunter2", "index": 1, "input": { "password": "hunter3", "site": "vie" } } } });
        let covered = value(&wanted("hosts/each"));
        let input = &covered["child-wanted"]["input"];
        assert_eq!(
            *input,
            json!({ "item": "***", "index": 1, "input": { "password": "***", "site": "vie" } })
        );
        let of_a_saga = value(&wanted("hosts"));
        assert_eq!(of_a_saga["child-wanted"]["input"]["item"], json!("hunter2"));
    }

    #[test]
    fn what_a_schema_calls_a_secret_is_covered_and_a_reference_to_one_is_not() {
        let schema = json!({ "properties": {
            "headers": { "additionalProperties": { "x-secret": true } }, "url": { "type": "string" },
        } });
        let of = json!({ "url": "https://h/", "headers": { "X-Site": "hunter2", "X-Key": { "$secret": "k" } }, "list": [{ "pin": 7 }] });
        let covered = input(Some(&schema), &of);
        let wanted = json!({ "url": "https://h/", "headers": { "X-Site": "***", "X-Key": { "$secret": "k" } }, "list": [{ "pin": "***" }] });
        assert_eq!(covered, wanted);
        assert_eq!(input(None, &of)["headers"]["X-Site"], "hunter2");
    }

    #[test]
    fn headers_that_came_as_bytes_are_covered_whatever_they_are() {
        let of = json!({ "app_id": "a", "headers": {
            "login": { "base64": "aHVudGVyMg==" }, "all": [{ "base64": "/wA=" }, { "site": "vie", "pwd": "x" }], "at": { "timestamp": 7 },
        } });
        let wanted = json!({ "app_id": "a", "headers": {
            "login": { "base64": "***" }, "all": [{ "base64": "***" }, { "site": "vie", "pwd": "***" }], "at": { "timestamp": 7 },
        } });
        assert_eq!(properties(&of), wanted);
    }

    #[test]
    fn text_that_is_no_json_is_covered_by_its_shapes() {
        for of in [
            r#"{"password": "hunter2", "cut o"#,
            r#"{"password": "hunter2 and more"#,
            "user=ann&client_secret=hunter2&x=1",
            "Authorization: Bearer hunter2hunter2",
            "amqp://ann:hunter2@host/",
            "<DbPassword>hunter2</DbPassword>",
            "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----",
            "it is eyJhunter2x.eyJhunter2x.hunter2",
            r#"expected a number in {\"password\":\"hunter2\"} at line 1"#,
            r#"expected a number in {\"password\": hunter2"#,
            "password=\"hunter2\"",
            "password = 'or hunter2'",
            "pwd=hunter2",
            "pin: hunter2",
        ] {
            let covered = body(of);
            assert!(
                !covered.contains("hunter2") && covered.contains("***"),
                "{covered}"
            );
        }
    }

    #[test]
    fn what_is_none_stays_byte_for_byte() {
        for of in [
            "{ \"order\" :\t7.0, \"note\": \"ship it\" }",
            "no {JSON",
            "https://host/path?x=1",
            "",
        ] {
            assert_eq!(body(of), of);
        }
    }

    #[test]
    fn nesting_that_nobody_can_read_ends() {
        let deep = "[".repeat(100_000) + "\"password\": \"hunter2\"";
        assert!(!body(&deep).contains("hunter2"));
    }
}
