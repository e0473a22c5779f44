//! From a message to a `CloudEvents` 1.0 event, or to the reason why it is none: structured mode by its content type, binary mode by its
//! headers, as the AMQP binding (`cloudEvents:`, `cloudEvents_`) and HTTP bridges (`ce-`, `ce_`) write them.

use base64::Engine as _;
use baton_bus::{Delivery, HeaderValue};
use baton_messages::{BODY_BYTES_MAX, DeadReason, Event};
use serde_json::{Map, Value, json};

use super::mended::unmarked;
use crate::decode::{Unusable, place};

/// What attributes are called in headers, with the name behind it.
const PREFIXES: [&str; 4] = ["cloudevents:", "cloudevents_", "ce-", "ce_"];
/// The media type of one event in JSON.
const STRUCTURED: &str = "application/cloudevents+json";
/// What every event has.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];
/// Longest source and id: both stand in an index.
const NAME_BYTES_MAX: usize = 2048;

/// Reads one delivery.
///
/// # Errors
/// [`Unusable`]: to be parked with this reason.
pub(crate) fn of_delivery(delivery: &Delivery) -> Result<Event, Unusable> {
    let attributes = delivery.headers.iter().filter_map(|(name, value)| {
        let name = attribute(name)?;
        Some((name, of_header(value)?))
    });
    let event = of_parts(
        delivery.properties.content_type.as_deref(),
        attributes.collect(),
        &delivery.body,
    )?;
    if super::live::claims_a_hook(&event) {
        return Err(Unusable::new(
            DeadReason::Misfit,
            "sources `/v1/hooks/…` and types `hook.…` are those of signed requests; nobody else may say so",
        ));
    }
    Ok(event)
}

/// Reads an event from its parts: the content type, what headers say of attributes, the body.
///
/// # Errors
/// [`Unusable`], without the content.
pub(crate) fn of_parts(
    content_type: Option<&str>,
    attributes: Map<String, Value>,
    body: &[u8],
) -> Result<Event, Unusable> {
    if body.len() > BODY_BYTES_MAX {
        return Err(Unusable::new(
            DeadReason::TooLarge,
            format!("{} bytes; at most {BODY_BYTES_MAX} are read", body.len()),
        ));
    }
    let media = media_type(content_type);
    let event = if media == STRUCTURED {
        structured(body)
    } else if media.starts_with("application/cloudevents") {
        Err(Unusable::new(
            DeadReason::UnknownKind,
            format!("{media} is not read; send {STRUCTURED}, one event in each message"),
        ))
    } else if attributes.is_empty() {
        Err(undecodable(format!(
            "no CloudEvents event: neither the content type {STRUCTURED} nor headers such as `cloudEvents:type`"
        )))
    } else {
        binary(content_type, attributes, body)
    }?;
    for (name, text) in [("id", &event.id), ("source", &event.source)] {
        if text.len() > NAME_BYTES_MAX {
            return Err(undecodable(format!(
                "`{name}` has {} bytes; at most {NAME_BYTES_MAX} are read",
                text.len()
            )));
        }
    }
    Ok(unmarked(event))
}

/// The name of the attribute a header carries.
pub(crate) fn attribute(header: &str) -> Option<String> {
    let lower = header.to_ascii_lowercase();
    let name = PREFIXES
        .iter()
        .find_map(|prefix| lower.strip_prefix(prefix))?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn undecodable(error: impl Into<String>) -> Unusable {
    Unusable::new(DeadReason::Undecodable, error)
}

/// The media type in lower case, without parameters.
fn media_type(content_type: Option<&str>) -> String {
    let text = content_type.unwrap_or_default();
    let media = text.split(';').next().unwrap_or_default();
    media.trim().to_ascii_lowercase()
}

/// Whether a content type says JSON: as such, or as what a format is written in.
pub(crate) fn is_json(content_type: Option<&str>) -> bool {
    let media = media_type(content_type);
    media.ends_with("/json") || media.ends_with("+json")
}

fn structured(body: &[u8]) -> Result<Event, Unusable> {
    let all: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| undecodable(format!("no JSON object: {}", place(&error))))?;
    if all.contains_key("data") && all.contains_key("data_base64") {
        return Err(undecodable("has both `data` and `data_base64`"));
    }
    of_map(all)
}

fn binary(
    content_type: Option<&str>,
    mut all: Map<String, Value>,
    body: &[u8],
) -> Result<Event, Unusable> {
    for reserved in ["data", "data_base64"] {
        if all.contains_key(reserved) {
            return Err(undecodable(format!("`{reserved}` is no attribute")));
        }
    }
    if let Some(content_type) = content_type {
        all.insert("datacontenttype".to_owned(), json!(content_type));
    }
    if !body.is_empty() {
        let (name, value) = data(&media_type(content_type), body)?;
        all.insert(name.to_owned(), value);
    }
    of_map(all)
}

/// The payload by its media type: JSON as JSON, text as text, anything else in base 64. Without a type it is JSON where it can be read so.
pub(crate) fn data(media: &str, body: &[u8]) -> Result<(&'static str, Value), Unusable> {
    let media = media_type(Some(media));
    let is_json = is_json(Some(&media));
    if is_json || media.is_empty() {
        match serde_json::from_slice(body) {
            Ok(value) => return Ok(("data", value)),
            Err(error) if is_json => {
                return Err(undecodable(format!(
                    "the data is said to be JSON: {}",
                    place(&error)
                )));
            }
            Err(_) => {}
        }
    }
    if media.starts_with("text/")
        && let Ok(text) = std::str::from_utf8(body)
    {
        return Ok(("data", json!(text)));
    }
    let encoded = base64::engine::general_purpose::STANDARD.encode(body);
    Ok(("data_base64", json!(encoded)))
}

fn of_map(all: Map<String, Value>) -> Result<Event, Unusable> {
    for name in REQUIRED {
        match all.get(name) {
            Some(Value::String(_)) => {}
            Some(_) => return Err(undecodable(format!("`{name}` is no text"))),
            None => return Err(undecodable(format!("`{name}` is missing"))),
        }
    }
    if all["specversion"] != baton_messages::event::SPECVERSION {
        return Err(Unusable::new(
            DeadReason::UnknownKind,
            "another version of CloudEvents; 1.0 is read",
        ));
    }
    serde_json::from_value(Value::Object(all)).map_err(|_| {
        // the error's own text quotes the message
        undecodable(
            "id, source and type have to be text without control characters, not empty; subject, time, datacontenttype and dataschema text; data_base64 base 64",
        )
    })
}

/// An attribute's value: text, a whole number, or true or false; what has no such form is left out.
fn of_header(value: &HeaderValue) -> Option<Value> {
    match value {
        HeaderValue::Bool(b) => Some(json!(b)),
        HeaderValue::I64(n) => Some(json!(n)),
        HeaderValue::I8(n) => Some(json!(n)),
        HeaderValue::I16(n) => Some(json!(n)),
        HeaderValue::I32(n) => Some(json!(n)),
        HeaderValue::Timestamp(seconds) => {
            let at = baton_messages::Timestamp(seconds.saturating_mul(1000));
            Some(json!(baton_engine::definition::rfc3339(at)))
        }
        HeaderValue::Bytes(bytes) | HeaderValue::TextBytes(bytes) => Some(json!(
            base64::engine::general_purpose::STANDARD.encode(bytes)
        )),
        value => value
            .as_text()
            .map(|text| json!(text))
            .or_else(|| value.as_u64().map(|n| json!(n))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(all: &[(&str, Value)]) -> Map<String, Value> {
        all.iter()
            .filter_map(|(name, value)| Some((attribute(name)?, value.clone())))
            .collect()
    }

    fn said(prefix: &str) -> Map<String, Value> {
        attributes(&[
            (&format!("{prefix}specversion"), json!("1.0")),
            (&format!("{prefix}id"), json!("1")),
            (&format!("{prefix}source"), json!("/s")),
            (&format!("{prefix}type"), json!("com.example.a")),
            (&format!("{prefix}region"), json!("eu")),
            ("x-other", json!("not an attribute")),
        ])
    }

    #[test]
    fn binary_mode_is_read_whoever_wrote_the_headers() {
        for prefix in ["cloudEvents:", "cloudEvents_", "ce-", "ce_", "CE-"] {
            let event = of_parts(
                Some("application/json; charset=utf-8"),
                said(prefix),
                b"{\"n\":1}",
            )
            .unwrap();
            assert_eq!(event.kind, "com.example.a", "{prefix}");
            assert_eq!(event.data, Some(json!({"n": 1})));
            assert_eq!(event.extensions.len(), 1, "{:?}", event.extensions);
            assert_eq!(event.extensions["region"], json!("eu"));
        }
    }

    #[test]
    fn the_payload_follows_its_type() {
        let read = |content_type, body: &[u8]| of_parts(content_type, said("ce-"), body);
        let bytes = read(Some("image/png"), &[0xff, 0]).unwrap();
        assert_eq!(
            (bytes.data, bytes.data_base64.as_deref()),
            (None, Some("/wA="))
        );
        let text = read(Some("text/plain"), b"hello").unwrap();
        assert_eq!(text.data, Some(json!("hello")));
        let untyped = read(None, b"[1]").unwrap();
        assert_eq!(untyped.data, Some(json!([1])));
        let untyped = read(None, b"hello").unwrap();
        assert_eq!(untyped.data_base64.as_deref(), Some("aGVsbG8="));
        let empty = read(Some("application/json"), b"").unwrap();
        assert_eq!((empty.data, empty.data_base64), (None, None));
        let wrong = read(Some("application/vnd.x+json"), b"{hunter2").unwrap_err();
        assert_eq!(wrong.reason, DeadReason::Undecodable);
        assert!(!wrong.error.contains("hunter2"), "{}", wrong.error);
    }

    #[test]
    fn structured_mode_is_read_and_its_mistakes_are_named_without_the_content() {
        let read = |body: &str| {
            of_parts(
                Some("application/cloudevents+json"),
                Map::new(),
                body.as_bytes(),
            )
        };
        let event =
            read(r#"{"specversion":"1.0","id":"1","source":"/s","type":"a","data":null,"x":7}"#)
                .unwrap();
        assert_eq!(event.extensions["x"], json!(7));
        for (body, word) in [
            ("hunter2", "JSON"),
            (
                r#"{"specversion":"1.0","source":"hunter2","type":"a"}"#,
                "`id` is missing",
            ),
            (
                r#"{"specversion":"1.0","id":7,"source":"hunter2","type":"a"}"#,
                "`id` is no text",
            ),
            (
                r#"{"specversion":"0.3","id":"1","source":"hunter2","type":"a"}"#,
                "version",
            ),
            (
                r#"{"specversion":"1.0","id":"","source":"hunter2","type":"a"}"#,
                "not empty",
            ),
            (
                r#"{"specversion":"1.0","id":"1","source":"hunter2","type":"a","subject":7}"#,
                "subject",
            ),
            (
                r#"{"specversion":"1.0","id":"1","source":"hunter2","type":"a","data":1,"data_base64":"AA=="}"#,
                "both",
            ),
        ] {
            let error = read(body).unwrap_err().error;
            assert!(error.contains(word), "{body}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_is_no_event_at_all_is_said() {
        let none = of_parts(Some("application/json"), Map::new(), b"{}").unwrap_err();
        assert!(
            none.error.contains("no CloudEvents event"),
            "{}",
            none.error
        );
        let batch = of_parts(
            Some("application/cloudevents-batch+json"),
            Map::new(),
            b"[]",
        )
        .unwrap_err();
        assert_eq!(batch.reason, DeadReason::UnknownKind);
        let large = vec![b' '; BODY_BYTES_MAX + 1];
        let large = of_parts(Some(STRUCTURED), Map::new(), &large).unwrap_err();
        assert_eq!(large.reason, DeadReason::TooLarge);
    }
}
