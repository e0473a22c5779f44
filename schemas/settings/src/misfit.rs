//! A value of the wrong kind in plain words: the key, what it is, and what it has to be. The words of the library that reads it speak of its own types.

use config::{ConfigError, Value, ValueKind};
use serde::de::{DeserializeOwned, IntoDeserializer as _};

use crate::nearest::nearest;

/// How the library begins its word on a choice that is none.
const NO_VARIANT: &str = "does not have variant constructor ";

/// What the standard library says of an address that is none.
const NO_ADDRESS: &str = "invalid socket address syntax";

/// The key that is wrong, where it is known, and what is wrong with it. `T` is what the values were to be read as, and `all` is all of them.
pub(crate) fn said<T: DeserializeOwned>(
    error: &ConfigError,
    all: &Value,
) -> (Option<String>, String) {
    match error {
        ConfigError::NotFound(key) => (None, format!("`{key}` is missing")),
        ConfigError::Type {
            unexpected,
            expected,
            key: Some(key),
            ..
        } => {
            let wanted = wanted(expected);
            let what = format!("`{key}` is {}, and has to be {wanted}", is(unexpected));
            (Some(key.clone()), what)
        }
        ConfigError::At {
            error,
            key: Some(key),
            ..
        } => {
            let key = key.trim_end_matches('.').to_owned();
            let what = at::<T>(&key, &error.to_string(), all);
            (Some(key), what)
        }
        other => (None, other.to_string()),
    }
}

/// What is wrong with a key, from what the library says of it.
fn at<T: DeserializeOwned>(key: &str, message: &str, all: &Value) -> String {
    if let Some((_, given)) = message.split_once(NO_VARIANT) {
        let choices = choices::<T>(given, all).map_or_else(
            || "is none of its choices".to_owned(),
            |choices| format!("has to be {choices}"),
        );
        return format!("`{key}` is \"{given}\", and {choices}");
    }
    if message.contains("should be represented by either string or table") {
        return format!("`{key}` has to be one word, in quotes");
    }
    let unknown = message
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split_once("`, "));
    if let Some((field, rest)) = unknown {
        let known: Vec<&str> = in_ticks(rest);
        let near = nearest(field, known.iter().copied());
        let hint = near.map_or_else(
            || format!("there are {}", known.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        return format!("`{key}` has no key `{field}`; {hint}");
    }
    if message == NO_ADDRESS {
        return format!("`{key}` has to be an address with a port, such as 127.0.0.1:8470");
    }
    format!("`{key}`: {message}")
}

/// The words that are allowed where this one is not. The library does not say; one that reads the same values as TOML does.
fn choices<T: DeserializeOwned>(given: &str, all: &Value) -> Option<String> {
    let error = T::deserialize(toml_of(all).into_deserializer()).err()?;
    let message = error.message();
    let rest = message.strip_prefix(&format!("unknown variant `{given}`, expected "))?;
    let words = in_ticks(rest);
    let (last, first) = words.split_last()?;
    Some(match first {
        [] => format!("\"{last}\""),
        first => format!("\"{}\" or \"{last}\"", first.join("\", \"")),
    })
}

/// The words between backticks.
fn in_ticks(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn toml_of(value: &Value) -> toml::Value {
    match &value.kind {
        ValueKind::Nil => toml::Value::String(String::new()),
        ValueKind::Boolean(value) => (*value).into(),
        ValueKind::I64(value) => (*value).into(),
        ValueKind::Float(value) => (*value).into(),
        ValueKind::String(text) => text.as_str().into(),
        ValueKind::Array(items) => items.iter().map(toml_of).collect::<Vec<_>>().into(),
        ValueKind::Table(table) => table
            .iter()
            .map(|(key, value)| (key.clone(), toml_of(value)))
            .collect::<toml::Table>()
            .into(),
        // TOML has no larger numbers
        ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => i64::MAX.into(),
    }
}

/// What a value is.
fn is(found: &impl std::fmt::Display) -> String {
    let text = found.to_string();
    let value = text
        .split_once('`')
        .map(|(_, rest)| rest.trim_end_matches('`'));
    match (text.as_str(), value) {
        ("unit value", _) => "nothing".to_owned(),
        ("sequence", _) => "a list".to_owned(),
        ("map", _) => "a section".to_owned(),
        (text, Some(value)) if !text.starts_with("string") => value.to_owned(),
        (text, _) => text.replacen("string", "the text", 1),
    }
}

/// What a value has to be.
fn wanted(expected: &str) -> String {
    let most = |bits: &str| match bits {
        "8" => Some(u64::from(u8::MAX)),
        "16" => Some(u64::from(u16::MAX)),
        "32" => Some(u64::from(u32::MAX)),
        _ => None,
    };
    let unsigned = expected.strip_prefix("an unsigned ");
    match (unsigned, expected) {
        (Some(rest), _) => {
            let bits = rest.split(' ').next().unwrap_or_default();
            match most(bits) {
                Some(most) => format!("a whole number from 0 to {most}"),
                None => "a whole number from 0".to_owned(),
            }
        }
        (None, text) if text.contains("integer") => "a whole number".to_owned(),
        (None, "a boolean") => "true or false".to_owned(),
        (None, "a string") => "text".to_owned(),
        (None, "an array") => "a list".to_owned(),
        (None, "a map") => "a section".to_owned(),
        (None, "a floating point") => "a number".to_owned(),
        (None, other) => other.to_owned(),
    }
}
