//! The messages of the document: headers, content type, and where the schema of the body stands.

use baton_messages::{DeadReason, dead, headers};
use serde_json::{Map, Value, json};

use super::BINDING;
use crate::documents::MESSAGES;
use crate::schemas::Kind;

/// What is parked has the body it came with; it is a kind of its own only by its headers.
pub(super) const DEAD_LETTER: &str = "dead-letter";
/// What came back has no headers of ours.
pub(super) const RETURNED: &str = "unroutable";

pub(super) fn messages(kinds: &[Kind]) -> Value {
    let ours = kinds
        .iter()
        .filter(|kind| kind.family != "manifest")
        .map(|kind| (kind.name.clone(), message(kind)));
    let others = [
        (DEAD_LETTER.to_owned(), dead_letter()),
        (
            RETURNED.to_owned(),
            json!({
                "title": "What the broker could route nowhere",
                "summary": "Any message of ours, as it was published.",
                "contentType": headers::JSON,
                "payload": { "description": "Whatever it was, byte for byte." },
            }),
        ),
    ];
    ours.chain(others).collect::<Map<_, _>>().into()
}

fn message(kind: &Kind) -> Value {
    let content = if kind.family == "event" {
        headers::CLOUDEVENTS_JSON
    } else {
        headers::JSON
    };
    let mut message = json!({
        "name": kind.name,
        "title": kind.name,
        "summary": kind.summary,
        "contentType": content,
        "headers": if kind.family == "event" { event_headers() } else { our_headers() },
        "payload": {
            "schemaFormat": "application/schema+json;version=2020-12",
            "schema": { "$ref": format!("./{MESSAGES}/{}.json", kind.name) },
        },
        "bindings": { "amqp": {
            "contentEncoding": "UTF-8", "messageType": kind.name, "bindingVersion": BINDING,
        } },
    });
    if kind.family == "task" || kind.family == "inbox" {
        message["correlationId"] = json!({
            "description": "The saga, also in the property correlation_id; the trace id of `traceparent` is the same 128 bits.",
            "location": format!("$message.header#/{}", headers::TRACEPARENT),
        });
    }
    message
}

fn our_headers() -> Value {
    let mut properties = Map::new();
    properties.insert(
        headers::VERSION_HEADER.into(),
        json!({
            "type": "integer", "minimum": 1, "maximum": headers::VERSION,
            "description": "Version of this contract; a reader that knows only older ones parks the message.",
        }),
    );
    properties.insert(headers::TRACEPARENT.into(), traceparent());
    json!({ "type": "object", "required": [headers::VERSION_HEADER], "properties": properties })
}

/// Events come from anybody: nothing of ours is asked of them.
fn event_headers() -> Value {
    let mut properties = Map::new();
    properties.insert(headers::TRACEPARENT.into(), traceparent());
    json!({ "type": "object", "properties": properties })
}

fn traceparent() -> Value {
    json!({
        "type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
        "description": "W3C Trace Context; of what concerns a saga, the trace id is the saga id.",
    })
}

fn dead_letter() -> Value {
    let text = |about: &str| json!({ "type": "string", "description": about });
    let number = |about: &str| json!({ "type": "integer", "minimum": 0, "description": about });
    let reasons: Vec<Value> = DeadReason::ALL.iter().map(|reason| json!(reason)).collect();
    let properties: Map<String, Value> = [
        (
            dead::REASON_HEADER,
            json!({ "type": "string", "enum": reasons }),
        ),
        (dead::ERROR_HEADER, text("A sentence for people.")),
        (dead::QUEUE_HEADER, text("The queue it was taken from.")),
        (
            dead::EXCHANGE_HEADER,
            text("The exchange it had been published to."),
        ),
        (
            dead::ID_HEADER,
            json!({ "type": "string", "format": "uuid", "description": "The id of this dead letter: derived from queue and message_id, or made by chance without one." }),
        ),
        (dead::KEY_HEADER, text("Its routing key.")),
        (
            dead::AT_HEADER,
            number("When it was parked, milliseconds since the Unix epoch."),
        ),
        (dead::BY_HEADER, text("Who parked it.")),
        (
            dead::DELIVERIES_HEADER,
            number("How often it had been delivered."),
        ),
    ]
    .into_iter()
    .map(|(name, schema)| (name.to_owned(), schema))
    .collect();
    json!({
        "name": DEAD_LETTER,
        "title": "Dead letter",
        "summary": "What nobody could use, kept whole.",
        "description": "Properties and body are those of the message that died; what the broker itself dead-letters has its own \
            headers (x-death) and none of these.",
        "headers": { "type": "object", "properties": properties },
        "payload": { "description": "Whatever it was, byte for byte." },
        "bindings": { "amqp": { "bindingVersion": BINDING } },
    })
}
