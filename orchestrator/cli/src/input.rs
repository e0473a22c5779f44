//! From words of the command line to an input: JSON, files, single fields.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::CliError;

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
    read.map_err(|source| CliError::File {
        path: path.to_path_buf(),
        source,
    })
}

/// The input of a saga, the data of an event: JSON, with every `-f` put into it. `what` is the option it comes from.
pub(crate) fn fields_into(
    input: Option<&str>,
    what: &str,
    fields: &[String],
) -> Result<Value, CliError> {
    let mut base = match input {
        Some(text) => json(text, what)?,
        None => Value::Object(Map::new()),
    };
    for field in fields {
        let (key, text) = pair(field, "--field")?;
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
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

fn pair<'a>(text: &'a str, what: &str) -> Result<(&'a str, &'a str), CliError> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or_else(|| CliError::usage(format!("{what} `{text}` is not KEY=VALUE")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_json_where_they_can_be() {
        let fields = ["n=5".into(), "ip=10.0.0.1".into(), "all=[1,2]".into()];
        let input = fields_into(Some(r#"{"kept":true,"n":1}"#), "--input", &fields).unwrap();
        assert_eq!(
            input,
            json!({"kept": true, "n": 5, "ip": "10.0.0.1", "all": [1, 2]})
        );
    }

    #[test]
    fn what_cannot_be_used_says_so() {
        assert!(fields_into(Some("[1]"), "--input", &["a=1".into()]).is_err());
        assert!(fields_into(Some("{"), "--input", &[]).is_err());
        assert!(labels(&["x".into()]).is_err());
        assert!(labels(&["=x".into()]).is_err());
    }
}
