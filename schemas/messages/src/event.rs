//! The event: a `CloudEvents` 1.0 message, as anybody may publish it on `baton.events` and as we publish our own.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::present::present;

/// The version of the specification that is read.
pub const SPECVERSION: &str = "1.0";

/// The AMQP `type` of an event in structured mode, as the name of its schema.
pub const EVENT_KIND: &str = "event";

/// A `CloudEvents` 1.0 event in its JSON form (structured mode).
///
/// The one message of ours whose unknown fields are kept: `CloudEvents` puts extension attributes beside the others.
/// Source: `CloudEvents` 1.0.2, JSON event format, section 3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Always `1.0`.
    #[serde(deserialize_with = "one_point_zero")]
    #[schemars(extend("const" = SPECVERSION))]
    pub specversion: String,
    /// Unique together with `source`.
    #[serde(deserialize_with = "plain_text")]
    #[schemars(extend("pattern" = PLAIN_TEXT))]
    pub id: String,
    /// Where it happened, a URI reference.
    #[serde(deserialize_with = "plain_text")]
    #[schemars(extend("pattern" = PLAIN_TEXT))]
    pub source: String,
    /// What happened, a reverse-DNS word; also the routing key.
    #[serde(rename = "type", deserialize_with = "plain_text")]
    #[schemars(extend("pattern" = PLAIN_TEXT))]
    pub kind: String,
    /// What it is about, within the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Content type of `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datacontenttype: Option<String>,
    /// Schema of `data`, a URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataschema: Option<String>,
    /// The payload, when it is JSON.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub data: Option<Value>,
    /// The payload, when it is bytes, in base 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
    /// Extension attributes.
    #[serde(flatten)]
    pub extensions: BTreeMap<String, Value>,
}

/// What the required attributes look like: not empty, no control characters.
/// Source: `CloudEvents` 1.0.2, sections "Type System" and "Required Attributes".
const PLAIN_TEXT: &str = r"^[^\x00-\x1f\x7f-\x9f]+$";

fn one_point_zero<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if text == SPECVERSION {
        Ok(text)
    } else {
        Err(D::Error::custom(format_args!(
            "specversion is `{text}`, only `{SPECVERSION}` is read"
        )))
    }
}

/// Ids and sources enter derived saga ids, which lean on there being no control character in them.
fn plain_text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        Err(D::Error::custom(
            "id, source and type of an event must not be empty",
        ))
    } else if text.chars().any(char::is_control) {
        Err(D::Error::custom(
            "id, source and type of an event must not contain control characters",
        ))
    } else {
        Ok(text)
    }
}
