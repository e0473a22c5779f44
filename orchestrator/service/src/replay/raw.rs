//! A letter of others as the message it was: headers are made again from what was kept of them, and what the broker or the parking wrote on it is taken
//! off. Pure.

use baton_bus::{HeaderValue, Properties, Raw};
use baton_driver::DeadLetterRow;
use baton_messages::dead::{PREFIX, REPLAY_OF_HEADER, REPLAYS_HEADER};
use serde_json::Value;

use super::route::Target;
use super::typed;

/// The message, on its way to `target` for the `replays`th time.
pub(super) fn message(letter: &DeadLetterRow, target: &Target, replays: u32) -> Raw {
    let kept = letter.properties["headers"].as_object();
    let own = kept.into_iter().flatten().filter(|(name, _)| stays(name));
    let mut headers = typed::headers(own, &letter.properties[typed::TYPES]);
    let count = HeaderValue::I64(i64::from(replays));
    headers.insert(REPLAYS_HEADER.to_owned(), count);
    let of = letter.id.to_string();
    headers.insert(REPLAY_OF_HEADER.to_owned(), of.into());
    Raw {
        exchange: target.exchange.clone(),
        key: target.key.clone(),
        body: letter.body.clone(),
        message_id: letter.message_id.clone(),
        kind: letter.kind.clone(),
        properties: properties(&letter.properties),
        headers,
    }
}

/// Whether a header is the message's own.
pub(crate) fn stays(name: &str) -> bool {
    !name.starts_with(PREFIX) && !baton_bus::is_the_brokers(name)
}

fn properties(kept: &Value) -> Properties {
    let text = |name: &str| kept[name].as_str().map(str::to_owned);
    let byte = |name: &str| kept[name].as_u64().and_then(|n| u8::try_from(n).ok());
    Properties {
        content_type: text("content_type"),
        content_encoding: text("content_encoding"),
        delivery_mode: byte("delivery_mode"),
        priority: byte("priority"),
        correlation_id: text("correlation_id"),
        reply_to: text("reply_to"),
        expiration: None,
        timestamp: kept["timestamp"].as_u64(),
        user_id: None,
        app_id: text("app_id"),
        cluster_id: text("cluster_id"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::route::tests::letter;
    use super::*;

    fn target() -> Target {
        Target {
            exchange: "orders".to_owned(),
            key: "new".to_owned(),
        }
    }

    #[test]
    fn what_the_broker_and_the_parking_wrote_is_taken_off_and_the_rest_stays() {
        let mut of = letter(None, b"\xff\x00body");
        of.message_id = Some("any shape".to_owned());
        of.properties = json!({
            "content_type": "text/x", "priority": 3, "timestamp": 7, "expiration": "5", "user_id": "them", "deliveries": 2,
            "headers": {
                "baton-dead-reason": "other", "baton-dead-x-death": [], "x-death": [{ "count": 1 }], "x-first-death-queue": "q",
                "x-last-death-reason": "rejected", "x-delivery-count": 3, "x-opt-rabbitmq-x": 1, "CC": ["a"],
                "mine": "ß", "n": -4, "f": 0.5, "on": true, "none": null, "list": [1, "two"], "at": { "timestamp": 9 },
                "bytes": { "base64": "/wA=" }, "small": 7, "cash": { "decimal": { "scale": 2, "value": 314 } }, "table": { "a": 1, "b": 2 },
            },
            "header_types": { "/small": "i32" },
        });
        let raw = message(&of, &target(), 2);
        assert_eq!((raw.exchange.as_str(), raw.key.as_str()), ("orders", "new"));
        assert_eq!(raw.body, b"\xff\x00body");
        assert_eq!(raw.message_id.as_deref(), Some("any shape"));
        assert_eq!(raw.properties.content_type.as_deref(), Some("text/x"));
        assert_eq!(raw.properties.priority, Some(3));
        assert_eq!(raw.properties.timestamp, Some(7));
        assert_eq!(
            (raw.properties.expiration, raw.properties.user_id),
            (None, None)
        );
        let names: Vec<&str> = raw.headers.keys().map(String::as_str).collect();
        let own = [
            "at",
            "baton-replay-of",
            "baton-replays",
            "bytes",
            "cash",
            "f",
            "list",
            "mine",
            "n",
            "none",
            "on",
            "small",
            "table",
        ];
        assert_eq!(names, own);
        assert_eq!(raw.headers["baton-replays"], HeaderValue::I64(2));
        assert_eq!(raw.headers["bytes"], HeaderValue::TextBytes(vec![0xff, 0]));
        assert_eq!(raw.headers["at"], HeaderValue::Timestamp(9));
        let cash = HeaderValue::Decimal {
            scale: 2,
            value: 314,
        };
        assert_eq!(raw.headers["cash"], cash);
        assert_eq!(raw.headers["none"], HeaderValue::Void);
        assert_eq!(raw.headers["n"], HeaderValue::I64(-4));
        assert_eq!(raw.headers["small"], HeaderValue::I32(7));
    }
}
