//! Sends a message of others back to work as it was: body byte for byte, every header and property that does nothing by itself. Confirmed and mandatory,
//! alone in its batch, so that whatever comes back is this message.

use lapin::{BasicProperties, types::ShortString};

use crate::{
    delivery::{Delivery, Properties},
    header::{Headers, short, to_table},
    park::kept_headers,
    publisher::{PERSISTENT, Publication, Publisher, Sent},
};

/// A message of any shape.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    /// Where to; empty: the queue that is called as `key` is.
    pub exchange: String,
    /// Routing key.
    pub key: String,
    /// The message itself.
    pub body: Vec<u8>,
    /// AMQP `message_id`, of any shape.
    pub message_id: Option<String>,
    /// AMQP `type`.
    pub kind: Option<String>,
    /// Its other properties. A login and a time to live are left out: the broker refuses another's login, and what is sent again is not to expire again.
    pub properties: Properties,
    /// Its headers.
    pub headers: Headers,
}

impl Raw {
    /// A message as it came, to be put elsewhere. Headers by which a broker acts, or in which it counts deaths, are kept under `baton-dead-…` names, as [`crate::park()`] keeps
    /// them: older brokers drop a message whose notes say that it has been there.
    #[must_use]
    pub fn moved(delivery: &Delivery, exchange: String, key: String) -> Self {
        Self {
            exchange,
            key,
            body: delivery.body.clone(),
            message_id: delivery.message_id.clone(),
            kind: delivery.kind.clone(),
            properties: (*delivery.properties).clone(),
            headers: kept_headers(&delivery.headers),
        }
    }
}

impl Publisher {
    /// Publishes it and says what became of it. Never fails and never hangs, as [`Publisher::publish`].
    pub async fn publish_raw(&self, raw: Raw) -> Sent {
        let sent = self.publish_all(vec![publication(raw)]).await.pop();
        sent.unwrap_or_else(|| Sent::Unknown {
            why: "no verdict".to_owned(),
        })
    }
}

type SetText = fn(BasicProperties, ShortString) -> BasicProperties;

fn publication(raw: Raw) -> Publication {
    let from = raw.properties;
    let mode = from.delivery_mode.unwrap_or(PERSISTENT);
    let mut to = BasicProperties::default().with_delivery_mode(mode);
    let texts: [(Option<String>, SetText); 8] = [
        (raw.message_id, BasicProperties::with_message_id),
        (raw.kind, BasicProperties::with_type),
        (from.content_type, BasicProperties::with_content_type),
        (
            from.content_encoding,
            BasicProperties::with_content_encoding,
        ),
        (from.correlation_id, BasicProperties::with_correlation_id),
        (from.reply_to, BasicProperties::with_reply_to),
        (from.app_id, BasicProperties::with_app_id),
        (from.cluster_id, BasicProperties::with_cluster_id),
    ];
    for (text, set) in texts {
        if let Some(text) = text {
            to = set(to, short(text));
        }
    }
    if let Some(priority) = from.priority {
        to = to.with_priority(priority);
    }
    if let Some(seconds) = from.timestamp {
        to = to.with_timestamp(seconds);
    }
    if !raw.headers.is_empty() {
        to = to.with_headers(to_table(raw.headers));
    }
    Publication {
        id: None,
        exchange: raw.exchange,
        key: raw.key,
        mandatory: true,
        body: raw.body,
        properties: to,
    }
}
