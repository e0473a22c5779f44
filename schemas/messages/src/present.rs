//! Optional JSON values whose null is a value: a before-image of null ("there was nothing") is not the same as no
//! before-image, and a worker told the one instead of the other would undo to the wrong state.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Reads a field that is there, null included, as `Some`; with `#[serde(default)]` an absent one is `None`.
///
/// For every stored or sent `Option<Value>`: `#[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]`.
///
/// # Errors
/// Those of reading a JSON value.
pub fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}
