//! Puts aside a message that nobody can use: whole, byte for byte, with the reason, confirmed, and only then acknowledged.
//!
//! Everything the message carried stays under its own name, except what would do something on the way: those headers
//! and properties are kept under `baton-dead-…` names. When such a message is put back to work, they are taken off.

use std::time::{SystemTime, UNIX_EPOCH};

use baton_messages::{
    DeadReason,
    dead::{
        AT_HEADER, BY_HEADER, DELIVERIES_HEADER, ERROR_HEADER, EXCHANGE_HEADER, ID_HEADER,
        KEY_HEADER, PREFIX, QUEUE_HEADER, REASON_HEADER, id_of,
    },
    topology::DEAD,
};
use lapin::{BasicProperties, types::ShortString};
use uuid::Uuid;

use crate::{
    delivery::{Delivery, Properties},
    error::ParkError,
    header::{HeaderValue, Headers, short, to_table},
    publisher::{Publication, Publisher, Sent},
};

/// Longest error text kept in a header, in bytes: headers have to fit one frame of 128 KiB with all the rest.
const ERROR_BYTES_MAX: usize = 4096;

/// Longest name of a process that is kept.
const NAME_BYTES_MAX: usize = 255;

/// Most bytes of headers of a dead letter as they are written: with the properties they have to fit one frame of the least size a broker
/// offers as a rule. A message may come with as much as fits a frame without what is added here.
const HEADER_BYTES_MAX: usize = 120 * 1024;

/// Header that names what had to be left out.
const CUT_HEADER: &str = "baton-dead-cut-headers";

/// Headers by which the broker acts on a message, or counts what happened to it.
const BROKER_HEADERS: [&str; 4] = ["x-delivery-count", "x-acquired-count", "CC", "BCC"];

/// And all that begin so.
const BROKER_PREFIXES: [&str; 4] = [
    "x-death",
    "x-first-death-",
    "x-last-death-",
    "x-opt-rabbitmq-",
];

/// Whether the broker acts on a header of this name, or counts in it what happened to a message.
#[must_use]
pub fn is_the_brokers(header: &str) -> bool {
    BROKER_HEADERS.contains(&header)
        || BROKER_PREFIXES
            .iter()
            .any(|start| header.starts_with(start))
}

/// The address of `RabbitMQ`'s direct reply-to: publishing with it needs a consumer on the same channel.
const DIRECT_REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// Publishes the message to `baton.dead` with the reason and an error text for people. After `Ok`, acknowledge it.
///
/// # Errors
/// [`ParkError`]: it is not certain that it was put aside. Do not acknowledge; try again, or leave it to be redelivered.
pub async fn park(
    publisher: &Publisher,
    delivery: &Delivery,
    why: &DeadReason,
    error: &str,
) -> Result<(), ParkError> {
    let by = &publisher.shared.instance;
    let dead = dead_letter(delivery, *why, error, by);
    match publisher.publish_all(vec![dead]).await.pop() {
        Some(Sent::Confirmed) => {
            metrics::counter!("baton_bus_parked_total", "reason" => why.as_str()).increment(1);
            Ok(())
        }
        Some(Sent::Returned { code, text }) => Err(ParkError::Returned {
            exchange: DEAD.to_owned(),
            code,
            text,
        }),
        Some(Sent::Nacked) => Err(ParkError::Nacked),
        Some(Sent::NotSent { why } | Sent::Unknown { why }) => Err(ParkError::Unknown { why }),
        None => Err(ParkError::Unknown {
            why: "no verdict".to_owned(),
        }),
    }
}

/// [`park()`], then [`Delivery::ack`]. Not for a consumer that acknowledges with [`crate::Consumer::ack_until`].
///
/// # Errors
/// As [`park()`]; or [`ParkError::Acknowledge`], when it is parked and will come again all the same.
pub async fn park_and_ack(
    publisher: &Publisher,
    delivery: &Delivery,
    why: &DeadReason,
    error: &str,
) -> Result<(), ParkError> {
    park(publisher, delivery, why, error).await?;
    delivery
        .ack()
        .await
        .map_err(|source| ParkError::Acknowledge { source })
}

fn dead_letter(delivery: &Delivery, why: DeadReason, error: &str, by: &str) -> Publication {
    let mut headers = kept_headers(&delivery.headers);
    cut_headers(&mut headers);
    let properties = kept_properties(delivery, &mut headers);
    let mut note = |name: &str, value: HeaderValue| headers.insert(name.to_owned(), value);
    let id = match delivery.message_id.as_deref() {
        Some(message_id) => id_of(&delivery.queue, message_id, &delivery.body),
        None => Uuid::new_v4(),
    };
    note(ID_HEADER, id.to_string().as_str().into());
    note(REASON_HEADER, why.as_str().into());
    note(ERROR_HEADER, cut_text(error, ERROR_BYTES_MAX).into());
    note(QUEUE_HEADER, (&*delivery.queue).into());
    note(EXCHANGE_HEADER, delivery.exchange.as_str().into());
    note(KEY_HEADER, delivery.key.as_str().into());
    note(AT_HEADER, HeaderValue::I64(now_ms()));
    note(BY_HEADER, cut_text(by, NAME_BYTES_MAX).into());
    let deliveries = i64::try_from(delivery.deliveries).unwrap_or(i64::MAX);
    note(DELIVERIES_HEADER, HeaderValue::I64(deliveries));
    Publication {
        id: None,
        exchange: DEAD.to_owned(),
        key: delivery.key.clone(),
        mandatory: true,
        body: delivery.body.clone(),
        properties: properties.with_headers(to_table(headers)),
    }
}

/// Headers that stay under their names, and those that act under names of ours.
pub(crate) fn kept_headers(headers: &Headers) -> Headers {
    headers
        .iter()
        .map(|(name, value)| {
            let acts = is_the_brokers(name);
            let name = if acts {
                format!("{PREFIX}{name}")
            } else {
                name.clone()
            };
            (name, value.clone())
        })
        .collect()
}

/// Leaves out the largest headers until the rest fits a frame, and says which: a message that cannot be put aside would come again for ever.
fn cut_headers(headers: &mut Headers) {
    let bytes = |name: &str, value: &HeaderValue| 1 + name.len() + value.bytes();
    let mut left: usize = headers.iter().map(|(name, value)| bytes(name, value)).sum();
    let mut cut = Vec::new();
    while left > HEADER_BYTES_MAX {
        let largest = headers
            .iter()
            .max_by_key(|(name, value)| bytes(name, value));
        let Some((name, size)) = largest.map(|(name, value)| (name.clone(), bytes(name, value)))
        else {
            break;
        };
        headers.remove(&name);
        left -= size;
        cut.push(format!("{} ({size} bytes)", cut_text(&name, 255)));
    }
    if !cut.is_empty() {
        let told = cut_text(&cut.join(", "), ERROR_BYTES_MAX).into();
        headers.insert(CUT_HEADER.to_owned(), told);
    }
}

type SetText = fn(BasicProperties, ShortString) -> BasicProperties;

/// The properties as they were, but persistent, and without those that would do something: a time to live, a login that
/// is not ours, a reply address of another channel.
fn kept_properties(delivery: &Delivery, headers: &mut Headers) -> BasicProperties {
    let from: &Properties = &delivery.properties;
    let mut to = BasicProperties::default().with_delivery_mode(2);
    let mut aside =
        |name: &str, value: HeaderValue| headers.insert(format!("{PREFIX}{name}"), value);
    if let Some(text) = &from.expiration {
        aside("expiration", text.as_str().into());
    }
    if let Some(text) = &from.user_id {
        aside("user-id", text.as_str().into());
    }
    if let Some(mode) = from.delivery_mode.filter(|mode| *mode != 2) {
        aside("delivery-mode", HeaderValue::I64(mode.into()));
    }
    match &from.reply_to {
        Some(address) if address.starts_with(DIRECT_REPLY_TO) => {
            aside("reply-to", address.as_str().into());
        }
        Some(address) => to = to.with_reply_to(short(&**address)),
        None => {}
    }
    let texts: [(&Option<String>, SetText); 7] = [
        (&delivery.message_id, BasicProperties::with_message_id),
        (&delivery.kind, BasicProperties::with_type),
        (&from.content_type, BasicProperties::with_content_type),
        (
            &from.content_encoding,
            BasicProperties::with_content_encoding,
        ),
        (&from.correlation_id, BasicProperties::with_correlation_id),
        (&from.app_id, BasicProperties::with_app_id),
        (&from.cluster_id, BasicProperties::with_cluster_id),
    ];
    for (text, set) in texts {
        if let Some(text) = text {
            to = set(to, short(&**text));
        }
    }
    if let Some(priority) = from.priority {
        to = to.with_priority(priority);
    }
    if let Some(seconds) = from.timestamp {
        to = to.with_timestamp(seconds);
    }
    to
}

fn cut_text(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len()))
        .rev()
        .find(|&i| text.is_char_boundary(i));
    &text[..end.unwrap_or(0)]
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
