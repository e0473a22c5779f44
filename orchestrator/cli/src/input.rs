//! From words of the command line to an input: JSON, files, single fields.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use baton_engine::definition::InputSchema;
use serde_json::{Map, Value};

use crate::error::CliError;
use crate::suggest::nearest;

/// So many files of a folder are looked at for the one that was meant.
const FILES_LOOKED_AT_MAX: usize = 1_000;

/// JSON, or `@FILE`, or `@-`.
pub(crate) fn json(text: &str, what: &str) -> Result<Value, CliError> {
    let text = match text.strip_prefix('@') {
        Some(path) => file(Path::new(path))?,
        None => text.to_owned(),
    };
    serde_json::from_str(&text)
        .map_err(|error| CliError::usage(format!("{what} is no JSON: {error}")))
}

/// A file, or the standard input for `-`.
pub(crate) fn file(path: &Path) -> Result<String, CliError> {
    let read = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|source| unread(path, source))
}

/// A file that cannot be read: with the one beside it that may have been meant, and where to look.
pub(crate) fn unread(path: &Path, source: std::io::Error) -> CliError {
    let folder = path
        .ancestors()
        .skip(1)
        .map(|folder| match folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => folder,
        })
        .find(|folder| folder.is_dir());
    let next = match (&source.kind(), folder) {
        (ErrorKind::NotFound, Some(folder)) => format!("ls {}", folder.display()),
        (ErrorKind::InvalidData, _) => format!(
            "save it as UTF-8: `file {0}` says what it is now; `iconv -f UTF-16 -t UTF-8 {0}` makes UTF-8 of that, or `-f ISO-8859-1`",
            path.display()
        ),
        _ => format!("ls -ld {}", path.display()),
    };
    let near = match source.kind() {
        ErrorKind::NotFound => beside(path),
        _ => None,
    };
    CliError::File {
        path: path.to_path_buf(),
        near,
        next,
        source,
    }
}

/// The file of the same folder whose name is nearest.
fn beside(path: &Path) -> Option<String> {
    let folder = path.parent()?;
    let looked = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    let there = std::fs::read_dir(looked).ok()?.take(FILES_LOOKED_AT_MAX);
    let names: Vec<String> = there
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let name = path.file_name()?.to_str()?;
    let near = nearest(name, names.iter().map(String::as_str))?;
    Some(folder.join(near).display().to_string())
}

/// What an input's schema wants of its fields: `42` is a number or text, as it says. Of a field it says nothing of, JSON where it can be, else text.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    schema: Option<Value>,
}

impl Wanted {
    pub(crate) const fn by(schema: Option<Value>) -> Self {
        Self { schema }
    }

    /// A field as it was typed, as the value that is meant.
    pub(crate) fn value(&self, key: &str, text: &str) -> Value {
        let plain = Value::String(text.to_owned());
        let Ok(json) = serde_json::from_str::<Value>(text) else {
            return plain;
        };
        let Some(schema) = self.of_field(key) else {
            return json;
        };
        let fits = |value: &Value| schema.check(value).is_ok();
        if !fits(&json) && fits(&plain) {
            plain
        } else {
            json
        }
    }

    /// The schema of one field, with what it may refer to.
    fn of_field(&self, key: &str) -> Option<InputSchema> {
        let root = self.schema.as_ref()?;
        let mut own = root["properties"].get(key)?.clone();
        if let Value::Object(own) = &mut own {
            for shared in ["$defs", "definitions"] {
                if let Some(all) = root.get(shared) {
                    own.entry(shared).or_insert_with(|| all.clone());
                }
            }
        }
        InputSchema::compile(own).ok()
    }
}

/// The input of a saga, the data of an event: JSON, with every `-f` put into it. `what` is the option it comes from.
pub(crate) fn fields_into(
    input: Option<&str>,
    what: &str,
    fields: &[String],
    wanted: &Wanted,
) -> Result<Value, CliError> {
    let mut base = match input {
        Some(text) => json(text, what)?,
        None => Value::Object(Map::new()),
    };
    for field in fields {
        let (key, text) = pair(field, "--field")?;
        let value = wanted.value(key, text);
        let Value::Object(map) = &mut base else {
            return Err(CliError::usage(format!(
                "--field needs an object in {what}"
            )));
        };
        map.insert(key.to_owned(), value);
    }
    Ok(base)
}

/// Every label.
pub(crate) fn labels(given: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    given
        .iter()
        .map(|text| pair(text, "--label").map(|(key, value)| (key.to_owned(), value.to_owned())))
        .collect()
}

pub(crate) fn pair<'a>(text: &'a str, what: &str) -> Result<(&'a str, &'a str), CliError> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or_else(|| {
            CliError::usage(format!(
                "{what} `{text}` is not KEY=VALUE, such as {}",
                match what {
                    "--label" => "site=vienna",
                    _ => "text=Hello",
                }
            ))
        })
}

/// A label to search by, as the API takes it.
pub(crate) fn label(given: &str) -> Result<String, CliError> {
    pair(given, "--label").map(|(key, value)| format!("{key}={value}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_json_where_they_can_be() {
        let fields = ["n=5".into(), "ip=10.0.0.1".into(), "all=[1,2]".into()];
        let input = fields_into(
            Some(r#"{"kept":true,"n":1}"#),
            "--input",
            &fields,
            &Wanted::default(),
        )
        .unwrap();
        assert_eq!(
            input,
            json!({"kept": true, "n": 5, "ip": "10.0.0.1", "all": [1, 2]})
        );
    }

    #[test]
    fn a_file_that_is_not_utf_8_is_to_be_saved_as_that() {
        let next = |kind: ErrorKind| unread(Path::new("x.yaml"), kind.into()).next("check");
        let told = next(ErrorKind::InvalidData).unwrap();
        assert!(
            told.starts_with("save it as UTF-8: `file x.yaml`"),
            "{told}"
        );
        let other = next(ErrorKind::PermissionDenied);
        assert_eq!(other.as_deref(), Some("ls -ld x.yaml"));
    }

    #[test]
    fn a_field_becomes_what_its_schema_wants() {
        let wanted = Wanted::by(Some(json!({
            "$defs": { "Name": { "type": "string" } },
            "properties": {
                "text": { "type": "string" }, "name": { "$ref": "#/$defs/Name" }, "n": { "type": "integer" },
                "maybe": { "anyOf": [{ "$ref": "#/$defs/Name" }, { "type": "null" }] }, "either": { "type": ["string", "integer"] },
            },
        })));
        for (key, text, value) in [
            ("text", "42", json!("42")),
            ("text", "true", json!("true")),
            ("text", "\"42\"", json!("42")),
            ("name", "1e3", json!("1e3")),
            ("maybe", "7", json!("7")),
            ("maybe", "null", Value::Null),
            ("n", "42", json!(42)),
            ("n", "many", json!("many")),
            ("either", "42", json!(42)),
            ("other", "42", json!(42)),
        ] {
            assert_eq!(wanted.value(key, text), value, "{key}={text}");
        }
    }

    #[test]
    fn what_cannot_be_used_says_so() {
        assert!(fields_into(Some("[1]"), "--input", &["a=1".into()], &Wanted::default()).is_err());
        assert!(fields_into(Some("{"), "--input", &[], &Wanted::default()).is_err());
        assert!(labels(&["x".into()]).is_err());
        assert!(labels(&["=x".into()]).is_err());
    }
}
