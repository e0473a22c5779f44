//! The event: a `CloudEvents` 1.0 message, as anybody may publish it on `baton.events` and as we publish our own.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A `CloudEvents` 1.0 event in its JSON form (structured mode).
///
/// The one message of ours whose unknown fields are kept: `CloudEvents` puts extension attributes beside the others.
/// Source: `CloudEvents` 1.0.2, JSON event format, section 3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Always `1.0`.
    pub specversion: String,
    /// Unique together with `source`.
    pub id: String,
    /// Where it happened, a URI reference.
    pub source: String,
    /// What happened, a reverse-DNS word; also the routing key.
    #[serde(rename = "type")]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// The payload, when it is bytes, in base 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_base64: Option<String>,
    /// Extension attributes.
    #[serde(flatten)]
    pub extensions: BTreeMap<String, Value>,
}
