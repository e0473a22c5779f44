//! A text of an input that may be a secret: given as it is, or as a reference `{"$secret": "name"}`, which the runtime has replaced by the
//! secret before an automation sees it. Its schema says so, so that a reference fits wherever a text would, and nowhere else.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::task_error::TaskError;

/// The key of a reference, and the only one it has.
pub const SECRET_KEY: &str = "$secret";

/// A text that may be a secret. It is never shown: `Debug` writes `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Inner);

#[derive(Clone, PartialEq, Eq)]
enum Inner {
    Text(String),
    Reference(String),
}

impl SecretText {
    /// The text itself.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self(Inner::Text(text.into()))
    }

    /// A reference, as a definition writes `${ secret("name") }`: for examples.
    #[must_use]
    pub fn reference(name: impl Into<String>) -> Self {
        Self(Inner::Reference(name.into()))
    }

    /// The text, to be used and not to be kept, logged or returned.
    ///
    /// # Errors
    /// A failed attempt when it is still a reference: this worker resolves no secrets.
    pub fn reveal(&self) -> Result<&str, TaskError> {
        match &self.0 {
            Inner::Text(text) => Ok(text),
            Inner::Reference(name) => Err(TaskError::failed(
                "secret-unresolved",
                format!(
                    "the secret {name} was not resolved: set [secrets.{name}] in the configuration of the worker"
                ),
            )),
        }
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Inner::Text(text) => serializer.serialize_str(text),
            Inner::Reference(name) => {
                serializer.collect_map(std::iter::once((SECRET_KEY, name.as_str())))
            }
        }
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self::text(text)),
            Value::Object(map) if map.len() == 1 => match map.get(SECRET_KEY) {
                Some(Value::String(name)) => Ok(Self::reference(name)),
                _ => Err(D::Error::custom(
                    "a text or a reference to a secret is wanted",
                )),
            },
            _ => Err(D::Error::custom(
                "a text or a reference to a secret is wanted",
            )),
        }
    }
}

impl JsonSchema for SecretText {
    fn schema_name() -> Cow<'static, str> {
        "SecretText".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": { "$secret": { "type": "string" } },
                    "required": ["$secret"],
                    "additionalProperties": false
                }
            ],
            "x-secret": true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_text_is_used_a_reference_is_not_and_neither_is_shown() {
        let text: SecretText = serde_json::from_value(json!("hunter2")).unwrap();
        assert_eq!(text.reveal().unwrap(), "hunter2");
        assert_eq!(format!("{text:?}"), "***");
        let reference: SecretText = serde_json::from_value(json!({"$secret": "db"})).unwrap();
        assert_eq!(reference.reveal().unwrap_err().code(), "secret-unresolved");
        assert_eq!(
            serde_json::to_value(&reference).unwrap(),
            json!({"$secret": "db"})
        );
        for wrong in [
            json!({"$secret": 1}),
            json!({"a": "b"}),
            json!({"$secret": "a", "b": 1}),
            json!(1),
        ] {
            serde_json::from_value::<SecretText>(wrong).unwrap_err();
        }
    }
}
