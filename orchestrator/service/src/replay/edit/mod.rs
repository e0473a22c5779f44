//! An edited copy of a dead letter, and what of a letter may be edited: its body, its content type, and those headers that are the sender's own. Pure; whether the copy
//! can be used is asked of the same reading that a replay goes through. The original stays as it came.

mod difference;
mod pointer;

use std::collections::BTreeMap;

use baton_driver::DeadLetterRow;
use baton_messages::headers::VERSION_HEADER;
use serde_json::{Map, Value};

pub(crate) use difference::{body_difference, difference};
pub(crate) use pointer::set;

use super::raw;
use super::route::{Kind, kind};
use crate::triggers::cloudevents;

/// Longest name of a header: AMQP's short text.
const NAME_BYTES_MAX: usize = 255;
/// Deepest header: what is deeper nobody reads.
const DEPTH_MAX: usize = 8;
/// Every name of ours begins so; who was told what of a message is not edited.
const OURS: &str = "baton-";

/// What is to be changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Changes {
    /// The whole body.
    pub(crate) body: Option<Vec<u8>>,
    /// Values of a JSON body, by pointer (RFC 6901); none takes the place away.
    pub(crate) set: Vec<(String, Option<Value>)>,
    /// Headers; none takes one away.
    pub(crate) headers: BTreeMap<String, Option<Value>>,
    /// The content type.
    pub(crate) content_type: Option<String>,
}

/// The copy, or why there is none.
pub(crate) fn edited(letter: &DeadLetterRow, changes: Changes) -> Result<DeadLetterRow, String> {
    let of = kind(letter);
    if of == Kind::Task {
        return Err(
            "it is a task, which is never sent as it is: what its step is given is edited where its saga waits for a person, not here; see `baton show` of its saga, and the work item there".to_owned(),
        );
    }
    let mut copy = letter.clone();
    if let Some(body) = changes.body {
        copy.body = body;
    }
    for (place, value) in &changes.set {
        let text = std::str::from_utf8(&copy.body)
            .map_err(|_| "its body is no text, so no place in it can be set; give it whole")?;
        copy.body = set(text, place, value.as_ref())?.into_bytes();
    }
    if !copy.properties.is_object() {
        copy.properties = Value::Object(Map::new());
    }
    if let Some(content_type) = changes.content_type {
        if content_type.len() > NAME_BYTES_MAX {
            return Err(format!("a content type has at most {NAME_BYTES_MAX} bytes"));
        }
        copy.properties["content_type"] = content_type.into();
    }
    if changes.headers.is_empty() {
        return Ok(copy);
    }
    if !copy.properties["headers"].is_object() {
        copy.properties["headers"] = Value::Object(Map::new());
    }
    for (name, value) in changes.headers {
        may_change(of, &name)?;
        let Some(headers) = copy.properties["headers"].as_object_mut() else {
            break;
        };
        match value {
            None => {
                headers.remove(&name);
            }
            Some(value) if depth(&value) > DEPTH_MAX => {
                return Err(format!("header `{name}` is nested too deep"));
            }
            Some(value) => {
                headers.insert(name, value);
            }
        }
    }
    Ok(copy)
}

/// Whether a header is one a sender says something with.
fn may_change(of: Kind, name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!("a header's name has 1 to {NAME_BYTES_MAX} bytes"));
    }
    let (fits, which) = match of {
        Kind::Inbox => (name == VERSION_HEADER, "baton-version alone"),
        Kind::Event => (
            cloudevents::attribute(name).is_some(),
            "those of CloudEvents, such as ce-type or cloudEvents:type",
        ),
        Kind::Foreign => (
            raw::stays(name) && !name.starts_with(OURS) && name != "traceparent",
            "those of its sender: not what the broker acts by or writes (x-death, CC, BCC …), and not Baton's own",
        ),
        Kind::Task => (false, "none"),
    };
    if fits {
        return Ok(());
    }
    Err(format!(
        "header `{name}` is not edited; of such a message may be edited: {which}"
    ))
}

fn depth(value: &Value) -> usize {
    let below = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(fields) => fields.values().map(depth).max(),
        _ => return 0,
    };
    1 + below.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::route::tests::letter;
    use super::*;

    fn header(name: &str, value: Option<Value>) -> Changes {
        Changes {
            headers: [(name.to_owned(), value)].into_iter().collect(),
            ..Changes::default()
        }
    }

    #[test]
    fn a_copy_has_what_was_changed_and_the_rest_as_it_was() {
        let mut of = letter(None, br#"{"a": 1.0, "b":  [1,{"c":2}]}"#);
        of.properties = json!({ "priority": 3, "headers": { "theirs": "x", "gone": 1 } });
        let changes = Changes {
            set: vec![("/b/1/c".to_owned(), Some(json!("two")))],
            headers: [
                ("theirs".to_owned(), Some(json!("y"))),
                ("gone".to_owned(), None),
            ]
            .into_iter()
            .collect(),
            content_type: Some("text/x".to_owned()),
            ..Changes::default()
        };
        let copy = edited(&of, changes).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&copy.body),
            r#"{"a":1.0,"b":[1,{"c":"two"}]}"#
        );
        assert_eq!(
            copy.properties,
            json!({ "priority": 3, "content_type": "text/x", "headers": { "theirs": "y" } })
        );
        assert_eq!((copy.id, &copy.queue), (of.id, &of.queue));
    }

    #[test]
    fn only_what_a_sender_says_is_edited() {
        let theirs = letter(None, b"x");
        for name in ["x-death", "CC", "baton-replays", "baton-dead-reason", ""] {
            assert!(
                edited(&theirs, header(name, Some(json!(1)))).is_err(),
                "{name}"
            );
        }
        let report = letter(Some("finished@1"), b"{}");
        assert!(edited(&report, header("theirs", None)).is_err());
        assert!(edited(&report, header("baton-version", None)).is_ok());
        let event = letter(Some("cloudevent@1"), b"{}");
        assert!(edited(&event, header("ce-type", Some(json!("a.b")))).is_ok());
        assert!(edited(&event, header("theirs", None)).is_err());
        let task = letter(Some("task@1"), b"{}");
        let why = edited(&task, Changes::default()).unwrap_err();
        assert!(why.contains("where its saga waits"), "{why}");
        let deep = (0..20).fold(json!(1), |inner, _| json!([inner]));
        assert!(edited(&theirs, header("deep", Some(deep))).is_err());
    }
}
