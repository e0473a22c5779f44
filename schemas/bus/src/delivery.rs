//! One message that came in, and the ways to answer for it.
//!
//! An answer belongs to the channel the message came on. When that channel is gone the broker delivers the message
//! again; an answer that comes later is refused here ([`Stale`]) and never reaches another channel.

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use baton_messages::dead::{ID_HEADER, QUEUE_HEADER, id_of};
use lapin::{
    BasicProperties, Channel,
    options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions},
    types::ShortString,
};
use uuid::Uuid;

use crate::{
    error::Stale,
    header::{HeaderValue, Headers, from_amqp, from_table, short, to_table},
};

/// Deliveries of one message after which a consumer of ours puts it aside, whatever the broker's policy says: it may be
/// what kills its consumers.
pub const DELIVERY_LIMIT: u64 = 10;

/// In which quorum queues count redeliveries.
const DELIVERY_COUNT_HEADER: &str = "x-delivery-count";

/// Names one delivery: the channel's generation and the number on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckTag {
    /// Which channel of which consumer; no two ever have the same.
    pub epoch: u64,
    /// The delivery on that channel.
    pub tag: u64,
}

/// Headers in which the broker counts deliveries: the same message has another one each time.
const COUNTED: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

/// The AMQP properties of a message, beside `message_id`, `type` and the headers, which stand in [`Delivery`] itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// MIME type of the body.
    pub content_type: Option<String>,
    /// Encoding of the body, such as gzip.
    pub content_encoding: Option<String>,
    /// 2 for persistent.
    pub delivery_mode: Option<u8>,
    /// 0 to 255.
    pub priority: Option<u8>,
    /// Ours: the saga.
    pub correlation_id: Option<String>,
    /// Where an answer would go.
    pub reply_to: Option<String>,
    /// Time to live in milliseconds, as text.
    pub expiration: Option<String>,
    /// Seconds since 1970.
    pub timestamp: Option<u64>,
    /// The login of the publisher, checked by the broker.
    pub user_id: Option<String>,
    /// The program that published it.
    pub app_id: Option<String>,
    /// Out of use.
    pub cluster_id: Option<String>,
}

/// One message that came in. It must be answered: acknowledged, or given back.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message itself.
    pub body: Vec<u8>,
    /// The queue it was taken from.
    pub queue: Arc<str>,
    /// The exchange it had been published to.
    pub exchange: String,
    /// Its routing key.
    pub key: String,
    /// AMQP `message_id`; foreign messages may have none, or one of any shape.
    pub message_id: Option<String>,
    /// AMQP `type`.
    pub kind: Option<String>,
    /// Its headers; for one of them see [`Delivery::header`].
    pub headers: Lazy<Headers>,
    /// Its other properties.
    pub properties: Lazy<Properties>,
    /// False: certainly never delivered before. True proves nothing.
    pub redelivered: bool,
    /// Which delivery of this message this is, as far as the broker counts; compare with [`DELIVERY_LIMIT`].
    pub deliveries: u64,
    /// Names the delivery.
    pub tag: AckTag,
    pub(crate) generation: Arc<Generation>,
}

/// One channel of a consumer, from its opening to its end.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) epoch: u64,
    pub(crate) channel: Channel,
    over: AtomicBool,
}

impl Generation {
    pub(crate) fn new(epoch: u64, channel: Channel) -> Self {
        Self {
            epoch,
            channel,
            over: AtomicBool::new(false),
        }
    }

    /// From now on every answer is stale.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(crate) fn is_current(&self) -> bool {
        !self.over.load(Ordering::Acquire) && self.channel.status().connected()
    }

    fn check(&self, tag: u64) -> Result<(), Stale> {
        if !self.is_current() {
            return Err(stale(tag));
        }
        Ok(())
    }

    /// Acknowledges one, or all up to this one.
    pub(crate) async fn ack(&self, tag: u64, multiple: bool) -> Result<(), Stale> {
        self.check(tag)?;
        let done = self
            .channel
            .basic_ack(tag, BasicAckOptions { multiple })
            .await;
        done.map_err(|_| stale(tag))
    }

    pub(crate) async fn nack(&self, tag: u64, multiple: bool) -> Result<(), Stale> {
        self.check(tag)?;
        let options = BasicNackOptions {
            multiple,
            requeue: true,
        };
        let done = self.channel.basic_nack(tag, options).await;
        done.map_err(|_| stale(tag))
    }

    async fn reject(&self, tag: u64) -> Result<(), Stale> {
        self.check(tag)?;
        let done = self
            .channel
            .basic_reject(tag, BasicRejectOptions { requeue: true })
            .await;
        done.map_err(|_| stale(tag))
    }
}

pub(crate) fn stale(tag: u64) -> Stale {
    metrics::counter!("baton_bus_stale_acks_total").increment(1);
    Stale { tag }
}

impl Delivery {
    /// Whether the channel it came on is still whole: while it is, the broker has handed this delivery to nobody else.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.generation.is_current()
    }

    /// All that a message is, in one name: the same whenever it is delivered, however often that was. Two that are alike in everything have the same.
    #[must_use]
    pub fn print(&self) -> Uuid {
        let headers: Vec<_> = self
            .headers
            .iter()
            .filter(|(name, _)| !COUNTED.contains(&name.as_str()))
            .collect();
        let parts = [
            self.queue.to_string(),
            self.exchange.clone(),
            self.key.clone(),
            format!("{:?}", self.message_id),
            format!("{:?}", self.kind),
            format!("{:?}", *self.properties),
            format!("{headers:?}"),
        ];
        // a body may be large, and is not copied
        let of_body = Uuid::new_v5(&Uuid::NAMESPACE_OID, &self.body);
        Uuid::new_v5(&of_body, parts.join("\u{1f}").as_bytes())
    }

    /// One of several messages that came as one, as it would have come alone: under its own id, kind and saga, with its own body, and with all else the whole has. It bears the
    /// whole's tag: the whole is answered when each of its parts is.
    #[must_use]
    pub fn part(&self, kind: &str, message_id: &str, saga: Option<String>, body: Vec<u8>) -> Self {
        let mut raw = (*self.headers.raw)
            .clone()
            .with_type(short(kind))
            .with_message_id(short(message_id));
        if let Some(saga) = saga {
            raw = raw.with_correlation_id(short(saga));
        }
        // where the whole was parked, each part is what it would be if it had been parked alone
        if self.header(ID_HEADER).is_some() {
            let queue = self.header(QUEUE_HEADER);
            let queue = queue.as_ref().and_then(HeaderValue::as_text).unwrap_or("");
            let parked_as = id_of(queue, message_id, &body).to_string();
            let mut headers = headers(&raw);
            headers.insert(ID_HEADER.to_owned(), parked_as.as_str().into());
            raw = raw.with_headers(to_table(headers));
        }
        let raw = Arc::new(raw);
        Self {
            body,
            message_id: Some(message_id.to_owned()),
            kind: Some(kind.to_owned()),
            headers: Lazy::of(raw.clone(), headers),
            properties: Lazy::of(raw, properties),
            queue: self.queue.clone(),
            exchange: self.exchange.clone(),
            key: self.key.clone(),
            redelivered: self.redelivered,
            deliveries: self.deliveries,
            tag: self.tag,
            generation: self.generation.clone(),
        }
    }

    /// Done with it: the broker may forget it. Not to be mixed with [`crate::Consumer::ack_until`] on one consumer.
    ///
    /// # Errors
    /// [`Stale`] when its channel is gone: it is delivered again.
    pub async fn ack(&self) -> Result<(), Stale> {
        self.generation.ack(self.tag.tag, false).await
    }

    /// Acknowledges this delivery and every earlier one of its channel that is not answered yet, in one frame. For a consumer that
    /// keeps its own book of what is answered: no answer to one of them may be on its way at the same time.
    ///
    /// # Errors
    /// [`Stale`] when its channel is gone: they are delivered again.
    pub async fn ack_with_earlier(&self) -> Result<(), Stale> {
        self.generation.ack(self.tag.tag, true).await
    }

    /// Gives it back unused, through no fault of its own: newer brokers do not count it against its limit.
    ///
    /// # Errors
    /// [`Stale`] when its channel is gone: it is delivered again anyway.
    pub async fn nack_requeue(&self) -> Result<(), Stale> {
        self.generation.nack(self.tag.tag, false).await
    }

    /// Gives it back after it failed: counts against its limit of deliveries.
    ///
    /// # Errors
    /// [`Stale`] when its channel is gone: it is delivered again anyway.
    pub async fn reject_requeue(&self) -> Result<(), Stale> {
        self.generation.reject(self.tag.tag).await
    }

    /// One header, without reading the others.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<HeaderValue> {
        header(&self.properties.raw, name)
    }

    pub(crate) fn of(
        from: lapin::message::Delivery,
        queue: &Arc<str>,
        generation: &Arc<Generation>,
    ) -> Self {
        let raw = Arc::new(from.properties);
        let count = header(&raw, DELIVERY_COUNT_HEADER).and_then(|count| count.as_u64());
        Self {
            body: from.data,
            queue: queue.clone(),
            exchange: from.exchange.into(),
            key: from.routing_key.into(),
            message_id: text(raw.message_id()),
            kind: text(raw.kind()),
            deliveries: deliveries(count, from.redelivered),
            headers: Lazy::of(raw.clone(), headers),
            properties: Lazy::of(raw, properties),
            redelivered: from.redelivered,
            tag: AckTag {
                epoch: generation.epoch,
                tag: from.delivery_tag,
            },
            generation: generation.clone(),
        }
    }
}

/// Something about a message that is read out of what came only when somebody looks at it: on the hot way nobody does.
#[derive(Clone)]
pub struct Lazy<T> {
    raw: Arc<BasicProperties>,
    read: fn(&BasicProperties) -> T,
    found: OnceLock<T>,
}

impl<T> Lazy<T> {
    const fn of(raw: Arc<BasicProperties>, read: fn(&BasicProperties) -> T) -> Self {
        Self {
            raw,
            read,
            found: OnceLock::new(),
        }
    }
}

impl<T> Deref for Lazy<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.found.get_or_init(|| (self.read)(&self.raw))
    }
}

impl<T: fmt::Debug> fmt::Debug for Lazy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The broker counts the deliveries before this one; where it does not count, the flag says at least whether any was.
fn deliveries(counted_before: Option<u64>, redelivered: bool) -> u64 {
    let flagged = if redelivered { 2 } else { 1 };
    counted_before.map_or(flagged, |before| before.saturating_add(1))
}

fn text(field: &Option<ShortString>) -> Option<String> {
    field.as_ref().map(|text| text.as_str().to_owned())
}

fn header(from: &BasicProperties, name: &str) -> Option<HeaderValue> {
    let table = from.headers().as_ref()?;
    table.inner().get(name).map(from_amqp)
}

fn headers(from: &BasicProperties) -> Headers {
    from.headers().as_ref().map(from_table).unwrap_or_default()
}

fn properties(from: &BasicProperties) -> Properties {
    Properties {
        content_type: text(from.content_type()),
        content_encoding: text(from.content_encoding()),
        delivery_mode: *from.delivery_mode(),
        priority: *from.priority(),
        correlation_id: text(from.correlation_id()),
        reply_to: text(from.reply_to()),
        expiration: text(from.expiration()),
        timestamp: *from.timestamp(),
        user_id: text(from.user_id()),
        app_id: text(from.app_id()),
        cluster_id: text(from.cluster_id()),
    }
}

#[cfg(test)]
mod tests {
    use super::deliveries;

    #[test]
    fn deliveries_are_counted_where_the_broker_counts() {
        assert_eq!(deliveries(None, false), 1);
        assert_eq!(deliveries(None, true), 2);
        assert_eq!(deliveries(Some(0), false), 1);
        assert_eq!(deliveries(Some(9), true), 10);
    }
}
