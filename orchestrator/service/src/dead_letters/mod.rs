//! The intake of dead letters: what lies on `baton.dead` and `baton.unroutable` goes into the store, byte for byte, and the saga of a dead
//! task is told in the same commit. What is delivered again after it was kept is the same letter, also when it has no id (`arriving.rs`).
//!
//! A letter that was delivered again and again may be what kills its orchestrator. It is tried alone (`hot/trial.rs`); after a few deaths it
//! is kept unread, and where even that kills it is left in its queue, untouched, and said so: never lost, and never tried for ever.

mod adopted;
mod again;
mod arriving;
mod came;
mod retention;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use adopted::Adopted;
pub(crate) use again::attempt_of;
use arriving::{Over, Taken};
use baton_bus::{Bus, ConsumeSpec, Delivery, HeaderValue, Headers, Losses, Properties};
use baton_driver::DeadLetterRow;
use baton_engine::Input;
use baton_messages::dead::{
    ERROR_HEADER, EXCHANGE_HEADER, KEY_HEADER, QUEUE_HEADER, REASON_HEADER,
};
use baton_messages::{DeadReason, InboxMessage, MessageId, SagaId, TaskMessage, topology};
use baton_store::arrivals::Arrived;
use came::{Came, Kept, letters};
pub(crate) use retention::expire;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::clock;
use crate::cluster::Router;
use crate::health::Health;
use crate::hot::mail::Letter;
use crate::hot::suspect;
use crate::hot::trial::DEATHS_MAX;
use crate::masks;
use crate::replay::{Replay, typed};

/// Most dead letters held in memory: they may be of any size.
const PREFETCH: u16 = 32;
/// Most of a queue of others: each may be as large as the broker takes.
const ADOPTED_PREFETCH: u16 = 16;
/// First and longest pause before the store is asked again.
const AGAIN_MIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// Bytes of bodies in one commit, but for one that is larger alone: each is copied into its row.
const COMMIT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Letters in one commit: one message may be many.
const COMMIT_LETTERS_MAX: usize = 128;
/// After how long without a message it is looked whether a queue of others is consumed at all.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The namespace of the ids of dead letters: `UUIDv5` of the DNS namespace and `baton.dead-letters`.
fn namespace() -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"baton.dead-letters")
}

/// Where letters come from.
#[derive(Debug, Clone)]
enum Source {
    /// A queue of ours.
    Own(&'static str),
    /// One of another system.
    Adopted(Arc<Adopted>),
}

impl Source {
    fn queue(&self) -> &str {
        match self {
            Self::Own(queue) => queue,
            Self::Adopted(adopted) => &adopted.queue,
        }
    }

    const fn prefetch(&self) -> u16 {
        match self {
            Self::Own(_) => PREFETCH,
            Self::Adopted(_) => ADOPTED_PREFETCH,
        }
    }

    /// The row of a letter, and what its saga is told.
    fn letter(&self, delivery: &Delivery) -> Letter {
        match self {
            Self::Own(_) => letter(delivery),
            Self::Adopted(adopted) => (Box::new(adopted.row(delivery, None)), None),
        }
    }

    /// The same of one that is not read.
    fn opaque(&self, delivery: &Delivery, deaths: u32) -> Letter {
        match self {
            Self::Own(_) => opaque(delivery, deaths),
            Self::Adopted(adopted) => {
                let row = adopted.row(delivery, Some(unread(deaths)));
                (Box::new(row), None)
            }
        }
    }
}

/// Takes in every queue of dead letters, and those of others that are adopted.
pub(crate) fn take_in_all(
    parts: &mut JoinSet<&'static str>,
    bus: &Bus,
    instance: &str,
    desk: &Desk,
    adopted: &[Adopted],
) {
    let own = [topology::DEAD, topology::UNROUTABLE].map(Source::Own);
    let theirs = adopted.iter().cloned().map(Arc::new).map(Source::Adopted);
    for source in own.into_iter().chain(theirs) {
        let (bus, instance, desk) = (bus.clone(), instance.to_owned(), desk.clone());
        parts.spawn(async move {
            take_in(bus, source, instance, desk).await;
            "dead letters"
        });
    }
}

/// Takes in one queue until the bus stops its consumers or the loop is gone.
async fn take_in(bus: Bus, source: Source, instance: String, desk: Desk) {
    let mut consumer = bus
        .consume(ConsumeSpec {
            queue: source.queue().to_owned(),
            prefetch: source.prefetch(),
            exclusive_queue: None,
            consumer_tag: format!("dead-letters-{instance}"),
        })
        .await;
    let mut losses = Losses::default();
    let mut left: Vec<Delivery> = Vec::new();
    let mut over = Over::default();
    let is_adopted = matches!(source, Source::Adopted(_));
    if is_adopted {
        desk.consumes(source.queue(), consumer.is_open());
    }
    loop {
        let next = consumer.next_batch(usize::from(source.prefetch()), Duration::ZERO);
        // dropped at any time it loses none
        let Ok(batch) = tokio::time::timeout(LOOK_EVERY, next).await else {
            if is_adopted {
                desk.consumes(source.queue(), consumer.is_open());
            }
            if consumer.is_open() && !over.is_empty() {
                desk.over(&source, over.all()).await;
            }
            continue;
        };
        let Some(batch) = batch else {
            desk.over(&source, over.all()).await;
            return;
        };
        let Some(first) = batch.first() else { continue };
        losses.saw(first.tag);
        let known = over.of_channel(first.tag.epoch);
        if is_adopted {
            desk.consumes(source.queue(), true);
        }
        let batch = letters(&source, batch);
        let each = batch.iter().map(|came| &came.delivery);
        let arrived = desk.arrived(source.queue(), known, each).await;
        let turn = desk.turn.acquire().await;
        let (suspects, others): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .zip(arrived)
            .partition(|(came, _)| losses.suspects(came.delivery.deliveries));
        let mut kept = Kept::default();
        for some in in_bytes(&others) {
            let letters = some.iter().map(|(came, arrival)| {
                let of = &came.delivery;
                Taken::new(of, *arrival, source.letter(of))
            });
            desk.kept(&letters.collect::<Vec<_>>()).await;
            for (came, arrival) in some {
                kept.add(came, *arrival, &mut over).await;
            }
        }
        for (came, arrival) in suspects {
            let Some(taken) = desk.one_at_last(&source, &came.delivery, arrival).await else {
                // the channel is gone, and it comes again
                kept.leave(&came);
                continue;
            };
            if taken {
                kept.add(&came, arrival, &mut over).await;
            } else {
                kept.leave(&came);
                left.retain(Delivery::is_current);
                left.push(came.delivery);
            }
        }
        drop(turn);
        if over.is_urgent() {
            desk.over(&source, over.all()).await;
        }
        desk.health.set_left(source.queue(), left.len());
    }
}

/// Parts of a batch whose bodies may be in one commit together; each has one at least.
fn in_bytes(batch: &[(Came, Arrived)]) -> Vec<&[(Came, Arrived)]> {
    let (mut parts, mut rest) = (Vec::new(), batch);
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |(one, _): &&(Came, Arrived)| {
            bytes += one.delivery.body.len();
            bytes <= COMMIT_BYTES_MAX
        };
        let n = rest.iter().take(COMMIT_LETTERS_MAX).take_while(fits);
        let n = n.count().max(1);
        let (part, after) = rest.split_at(n);
        parts.push(part);
        rest = after;
    }
    parts
}

/// Where dead letters are taken in. One at a time, from whichever queue, where one of them may be what kills us.
#[derive(Clone)]
pub(crate) struct Desk {
    router: Arc<Router>,
    health: Arc<Health>,
    replay: Replay,
    turn: Arc<Semaphore>,
}

/// How a letter under suspicion is tried: first as any other is, then as it came.
const READ: u32 = 0;
const OPAQUE: u32 = 1;

impl Desk {
    pub(crate) fn new(router: Arc<Router>, health: Arc<Health>, replay: Replay) -> Self {
        Self {
            router,
            health,
            replay,
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Says once whether a queue of others is consumed, whenever that changes.
    fn consumes(&self, queue: &str, consumed: bool) {
        if !self.health.set_adopted(queue, consumed) {
            return;
        }
        if consumed {
            tracing::info!(queue, "an adopted queue is taken in");
        } else {
            tracing::warn!(
                queue,
                "an adopted queue is not consumed: it is not there, or may not be read; it is tried again"
            );
        }
    }

    /// Arrivals of a queue are acknowledged: none that comes is one of them. Said once: what stays in the list makes at most one of another.
    async fn over(&self, source: &Source, over: Vec<Uuid>) {
        if over.is_empty() {
            return;
        }
        self.arrived(source.queue(), over, std::iter::empty()).await;
    }

    /// The same as [`Desk::one`], until it is told: whoever begins to lead may not drive the leading partition yet. None when the channel is gone.
    async fn one_at_last(
        &self,
        source: &Source,
        delivery: &Delivery,
        arrival: Arrived,
    ) -> Option<bool> {
        let mut pause = AGAIN_MIN;
        while delivery.is_current() {
            if let Some(taken) = self.one(source, delivery, arrival).await {
                return Some(taken);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN_MAX);
        }
        None
    }

    /// Takes in one letter under suspicion. True when it is kept; false when not even its bytes can be, so that it has to stay where it is;
    /// none when the process stops.
    async fn one(&self, source: &Source, delivery: &Delivery, arrival: Arrived) -> Option<bool> {
        let message = suspect::name(delivery);
        let mut died = 0;
        for part in [READ, OPAQUE] {
            let begun = self.router.alone(message, part).await?;
            died += begun.deaths;
            if begun.deaths < DEATHS_MAX {
                let letter = if part == READ {
                    source.letter(delivery)
                } else {
                    source.opaque(delivery, died)
                };
                let taken = Taken::new(delivery, arrival, letter);
                self.kept(&[taken]).await;
                begun.over();
                return Some(true);
            }
        }
        tracing::error!(
            queue = &*delivery.queue,
            message_id = delivery.message_id.as_deref().unwrap_or(""),
            deaths = died,
            "a dead letter cannot be kept, not even unread: the orchestrator died over it each time. It stays in its queue, untouched; take it out there by hand"
        );
        Some(false)
    }
}

/// A letter as it came: neither is its body read nor its saga told, which are what may have killed us.
fn opaque(delivery: &Delivery, deaths: u32) -> Letter {
    let correlation = delivery.properties.correlation_id.as_deref();
    let error = unread(deaths);
    let saga = correlation.and_then(|id| id.parse().ok());
    let row = row(delivery, DeadReason::DeliveredTooOften, error, saga);
    (Box::new(row), None)
}

fn unread(deaths: u32) -> String {
    format!(
        "the orchestrator died {deaths} times while it took in this dead letter alone; it is kept unread, and no saga was told of it"
    )
}

/// The row of a dead letter, and what its saga is told.
fn letter(delivery: &Delivery) -> Letter {
    let reason = reason(delivery);
    let error = text(delivery, ERROR_HEADER).unwrap_or_else(|| match reason {
        DeadReason::Unroutable => "the broker had no queue for it".to_owned(),
        _ => format!(
            "dead-lettered by the broker: {}",
            died(delivery, "reason").unwrap_or_else(|| "no reason given".to_owned())
        ),
    });
    let told = told(delivery, reason, &error);
    let row = row(delivery, reason, error, saga(delivery));
    (Box::new(row), told)
}

fn row(
    delivery: &Delivery,
    reason: DeadReason,
    error: String,
    saga: Option<SagaId>,
) -> DeadLetterRow {
    DeadLetterRow {
        id: id(delivery, reason),
        at: clock::now(),
        reason,
        error,
        queue: text(delivery, QUEUE_HEADER)
            .or_else(|| died(delivery, "queue"))
            .unwrap_or_default(),
        exchange: text(delivery, EXCHANGE_HEADER)
            .or_else(|| died(delivery, "exchange"))
            .unwrap_or_else(|| delivery.exchange.clone()),
        key: text(delivery, KEY_HEADER).unwrap_or_else(|| delivery.key.clone()),
        message_id: delivery.message_id.clone(),
        kind: delivery.kind.clone(),
        saga,
        properties: Value::Object(properties(delivery)),
        body: delivery.body.clone(),
    }
}

fn text(delivery: &Delivery, header: &str) -> Option<String> {
    let value = delivery.headers.get(header)?;
    value.as_text().map(str::to_owned)
}

/// What the broker noted when it dead-lettered the message the last time.
fn died(delivery: &Delivery, name: &str) -> Option<String> {
    let death = broker_death(&delivery.headers)?;
    death.get(name)?.as_text().map(str::to_owned)
}

fn reason(delivery: &Delivery) -> DeadReason {
    if &*delivery.queue == topology::UNROUTABLE {
        return DeadReason::Unroutable;
    }
    text(delivery, REASON_HEADER).map_or_else(
        || given_up(died(delivery, "reason").as_deref()),
        |parked| DeadReason::of(&parked),
    )
}

/// What it means that the broker itself dead-lettered a message, by the word in its note of that (`x-death`). It is the same in whichever queue it lies.
fn given_up(noted: Option<&str>) -> DeadReason {
    match noted {
        Some("delivery_limit") => DeadReason::DeliveredTooOften,
        _ => DeadReason::BrokerRejected,
    }
}

/// The broker's own note of the last time it dead-lettered the message.
fn broker_death(headers: &Headers) -> Option<&Headers> {
    last_death(headers.get("x-death")?)
}

fn last_death(deaths: &HeaderValue) -> Option<&Headers> {
    let HeaderValue::Array(deaths) = deaths else {
        return None;
    };
    match deaths.first()? {
        HeaderValue::Table(table) => Some(table),
        _ => None,
    }
}

/// The id of the letter a message is. From what it was named when it was parked; else from its own id, why it is dead and what the broker noted of that death: the same message
/// in another queue, or sent again, is another letter. Of one without any id, from all that it is: whether another like it is the same nobody can say, so that is a letter of its own
/// (`arriving.rs`).
fn id(delivery: &Delivery, reason: DeadReason) -> Uuid {
    if let Some(parked) = arriving::parked_as(delivery) {
        return arriving::identity(delivery, &["parked".to_owned(), parked.to_string()]);
    }
    let message = delivery.message_id.as_deref().unwrap_or("");
    if message.is_empty() {
        return delivery.print();
    }
    let what = [
        message.to_owned(),
        reason.as_str().to_owned(),
        text(delivery, QUEUE_HEADER).unwrap_or_default(),
        arriving::noted(broker_death(&delivery.headers)),
    ];
    arriving::identity(delivery, &what)
}

/// The saga it speaks of: its body knows best, then its correlation id.
fn saga(delivery: &Delivery) -> Option<SagaId> {
    let from_body = || {
        if let Ok(TaskMessage::Task(task)) = serde_json::from_slice(&delivery.body) {
            return Some(task.of.saga);
        }
        serde_json::from_slice::<InboxMessage>(&delivery.body)
            .ok()?
            .saga()
    };
    from_body().or_else(|| delivery.properties.correlation_id.as_deref()?.parse().ok())
}

/// What the saga of a dead task is told. A task whose body is broken is still known by its properties.
fn told(delivery: &Delivery, reason: DeadReason, error: &str) -> Option<(SagaId, Box<Input>)> {
    let (saga, message) = match serde_json::from_slice(&delivery.body) {
        Ok(TaskMessage::Task(task)) => (task.of.saga, task.of.message_id()),
        Err(_)
            if delivery
                .kind
                .as_deref()
                .is_some_and(|k| k.starts_with("task@")) =>
        {
            let id: MessageId = delivery.message_id.as_deref()?.parse().ok()?;
            (saga(delivery)?, id)
        }
        Err(_) => return None,
    };
    let input = Input::TaskDead {
        message,
        reason,
        // the letter has it whole; of the saga it is shown to everybody
        error: masks::text(error).into_owned(),
    };
    Some((saga, Box::new(input)))
}

fn properties(delivery: &Delivery) -> Map<String, Value> {
    let Properties {
        content_type,
        content_encoding,
        delivery_mode,
        priority,
        correlation_id,
        reply_to,
        expiration,
        timestamp,
        user_id,
        app_id,
        cluster_id,
    } = &*delivery.properties;
    let headers: Map<String, Value> = delivery
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.to_json()))
        .collect();
    let mut all = Map::new();
    let texts = [
        ("content_type", content_type),
        ("content_encoding", content_encoding),
        ("correlation_id", correlation_id),
        ("reply_to", reply_to),
        ("expiration", expiration),
        ("user_id", user_id),
        ("app_id", app_id),
        ("cluster_id", cluster_id),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            all.insert(name.to_owned(), json!(text));
        }
    }
    let numbers = [
        ("delivery_mode", delivery_mode.map(u64::from)),
        ("priority", priority.map(u64::from)),
        ("timestamp", *timestamp),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            all.insert(name.to_owned(), json!(number));
        }
    }
    all.insert("deliveries".to_owned(), json!(delivery.deliveries));
    all.insert("headers".to_owned(), Value::Object(headers));
    let types = typed::types_of(&delivery.headers);
    if !types.is_empty() {
        all.insert(typed::TYPES.to_owned(), Value::Object(types));
    }
    all
}
