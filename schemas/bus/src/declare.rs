//! Makes exchanges, queues and bindings, and says clearly what could not be made.
//!
//! The broker answers a refusal by closing the channel, so each thing gets a channel that may die. Declaring is
//! idempotent, and our arguments never vary between versions; what somebody else made otherwise is used as it is.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use baton_messages::topology::{Binding, Exchange, ExchangeKind, Queue, Topology};
use lapin::{
    Channel, ErrorKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use tracing::{debug, info, warn};

use crate::{bus::Bus, connect::chain, error::BusError, header::short, supervisor::Live};

/// Time for one declaration or question; quorum queues of a busy cluster take seconds to form.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// AMQP's reply codes for what can be wrong with a declaration.
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;

/// What to tell somebody whose user may not declare.
const ADVICE: &str = "baton topology apply makes it, with an account that may administer the broker; deploy/BROKER.md says how";

/// How [`Bus::declare`] went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclareReport {
    /// How many things are as they should be, because they were made now or stood so before.
    pub declared: usize,
    /// Things that exist, though this user may not declare them; their arguments are unseen.
    pub unseen: Vec<Named>,
    /// Things that exist, but otherwise than we want them. They are used as they are.
    pub drifted: Vec<Named>,
    /// Things that do not exist, and that this user may not make.
    pub missing: Vec<Named>,
}

/// One exchange, queue or binding, and what the broker said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Such as "queue baton.inbox.00".
    pub what: String,
    /// The broker's words.
    pub broker_said: String,
}

impl DeclareReport {
    /// Whether all that is needed exists.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }
}

impl fmt::Display for DeclareReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} in place",
            self.declared + self.unseen.len() + self.drifted.len()
        )?;
        for named in &self.drifted {
            write!(
                f,
                "; {} differs and is used as it is ({})",
                named.what, named.broker_said
            )?;
        }
        for named in &self.missing {
            write!(f, "; {} is missing ({})", named.what, named.broker_said)?;
        }
        if !self.missing.is_empty() {
            write!(f, "; {ADVICE}")?;
        }
        Ok(())
    }
}

/// What is in a queue and who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// Messages waiting; those delivered and unanswered are not among them.
    pub ready: u32,
    /// Consumers.
    pub consumers: u32,
}

/// A channel that may die, and the connection it is on.
struct Dying {
    live: Arc<Live>,
    channel: Channel,
}

/// One thing to be declared.
enum Thing<'a> {
    Exchange(&'a Exchange),
    Queue(&'a Queue),
    Binding(&'a Binding),
}

impl fmt::Display for Thing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange(exchange) => write!(f, "exchange {}", exchange.name),
            Self::Queue(queue) => write!(f, "queue {}", queue.name),
            Self::Binding(b) => write!(
                f,
                "binding {} -> {} with key {:?}",
                b.exchange, b.queue, b.key
            ),
        }
    }
}

impl Thing<'_> {
    async fn declare(&self, channel: &Channel) -> lapin::Result<()> {
        match self {
            Self::Exchange(exchange) => declare_exchange(channel, exchange, false).await,
            Self::Queue(queue) => {
                let options = QueueDeclareOptions::durable();
                let declaring =
                    channel.queue_declare(short(&*queue.name), options, arguments(queue));
                declaring.await.map(|_| ())
            }
            Self::Binding(b) => {
                let (queue, exchange, key) =
                    (short(&*b.queue), short(&*b.exchange), short(&*b.key));
                let options = QueueBindOptions::default();
                channel
                    .queue_bind(queue, exchange, key, options, FieldTable::default())
                    .await
            }
        }
    }

    /// Asks whether it exists; `None` where AMQP has no such question.
    async fn look(&self, channel: &Channel) -> Option<lapin::Result<()>> {
        match self {
            Self::Exchange(exchange) => Some(declare_exchange(channel, exchange, true).await),
            Self::Queue(queue) => Some(look_at_queue(channel, &queue.name).await.map(|_| ())),
            Self::Binding(_) => None,
        }
    }
}

impl Bus {
    /// Declares everything, or finds out what is there. A missing thing is no error but stands in the report.
    ///
    /// # Errors
    /// [`BusError`] when the broker does not answer, or refuses for another reason than permission or arguments.
    pub async fn declare(&self, topology: &Topology) -> Result<DeclareReport, BusError> {
        let mut report = DeclareReport::default();
        let mut channel = None;
        let exchanges = topology.exchanges.iter().map(Thing::Exchange);
        let queues = topology.queues.iter().map(Thing::Queue);
        let bindings = topology.bindings.iter().map(Thing::Binding);
        for thing in exchanges.chain(queues).chain(bindings) {
            let usable = match channel.take() {
                Some(usable) => usable,
                None => self.channel(&thing.to_string()).await?,
            };
            match self
                .answered(
                    &usable.live,
                    &thing.to_string(),
                    thing.declare(&usable.channel),
                )
                .await?
            {
                Ok(()) => {
                    report.declared += 1;
                    channel = Some(usable);
                }
                Err(error) => self.refused(&thing, error, &mut report).await?,
            }
        }
        if report.is_complete() && report.drifted.is_empty() {
            // Asked for again and again, to mend what was deleted: only the first time, and after trouble, is it news.
            if self.inner.in_place.swap(true, Ordering::Relaxed) {
                debug!(declared = report.declared, "the topology is in place");
            } else {
                info!(declared = report.declared, "the topology is in place");
            }
        } else {
            self.inner.in_place.store(false, Ordering::Relaxed);
            warn!(report = %report, "the topology is not as it should be");
        }
        Ok(report)
    }

    /// Sorts a refusal into the report, asking whether the thing is there at all.
    async fn refused(
        &self,
        thing: &Thing<'_>,
        error: lapin::Error,
        report: &mut DeclareReport,
    ) -> Result<(), BusError> {
        let named = |error: &lapin::Error| Named {
            what: thing.to_string(),
            broker_said: chain(error),
        };
        match reply_code(&error) {
            Some(PRECONDITION_FAILED) => report.drifted.push(named(&error)),
            Some(NOT_FOUND) => report.missing.push(named(&error)),
            Some(ACCESS_REFUSED) => {
                let on = self.channel(&thing.to_string()).await?;
                let look = async { Ok(thing.look(&on.channel).await) };
                match self.answered(&on.live, &thing.to_string(), look).await? {
                    Ok(None | Some(Ok(()))) => report.unseen.push(named(&error)),
                    Ok(Some(Err(_))) | Err(_) => report.missing.push(named(&error)),
                }
            }
            _ => return Err(refusal(&thing.to_string(), error)),
        }
        Ok(())
    }

    /// How much waits in a queue; `None` when there is no such queue.
    ///
    /// # Errors
    /// [`BusError`] when the broker does not answer or refuses.
    pub async fn queue_depth(&self, queue: &str) -> Result<Option<QueueDepth>, BusError> {
        let operation = format!("a look at queue {queue}");
        let on = self.channel(&operation).await?;
        match self
            .answered(&on.live, &operation, look_at_queue(&on.channel, queue))
            .await?
        {
            Ok(depth) => Ok(Some(depth)),
            Err(error) if reply_code(&error) == Some(NOT_FOUND) => Ok(None),
            Err(error) => Err(refusal(&operation, error)),
        }
    }

    /// Deletes a queue that nobody uses and nothing waits in; whether it is gone. The broker's own condition answers
    /// with a connection error on quorum queues, so it is looked at first: a message that comes in between goes too.
    ///
    /// # Errors
    /// [`BusError`] when the broker does not answer or refuses.
    pub async fn delete_queue(&self, queue: &str) -> Result<bool, BusError> {
        match self.queue_depth(queue).await? {
            None => return Ok(true),
            Some(QueueDepth {
                ready: 0,
                consumers: 0,
            }) => {}
            Some(_) => return Ok(false),
        }
        let operation = format!("deleting queue {queue}");
        let on = self.channel(&operation).await?;
        let deleting = on
            .channel
            .queue_delete(short(queue), QueueDeleteOptions::default());
        match self.answered(&on.live, &operation, deleting).await? {
            Ok(_) => Ok(true),
            Err(error) => Err(refusal(&operation, error)),
        }
    }

    /// Takes a binding away; one that is not there is no error.
    ///
    /// # Errors
    /// [`BusError`] when the broker does not answer or refuses.
    pub async fn unbind(&self, binding: &Binding) -> Result<(), BusError> {
        let operation = format!("taking away {}", Thing::Binding(binding));
        let on = self.channel(&operation).await?;
        let unbinding = on.channel.queue_unbind(
            short(&*binding.queue),
            short(&*binding.exchange),
            short(&*binding.key),
            FieldTable::default(),
        );
        match self.answered(&on.live, &operation, unbinding).await? {
            Ok(()) => Ok(()),
            // queue or exchange are gone, and the binding with them
            Err(error) if reply_code(&error) == Some(NOT_FOUND) => Ok(()),
            Err(error) => Err(refusal(&operation, error)),
        }
    }

    /// A channel that may die.
    async fn channel(&self, operation: &str) -> Result<Dying, BusError> {
        let live = self.connection(operation, ANSWER_LIMIT).await?;
        let opening = live.connection.create_channel();
        let opened = self.answered(&live, operation, opening).await?;
        let channel = opened.map_err(|error| refusal(operation, error))?;
        Ok(Dying { live, channel })
    }

    /// The answer in time; without one, the connection is cut when it is silent altogether.
    async fn answered<T>(
        &self,
        live: &Live,
        operation: &str,
        asked: impl Future<Output = lapin::Result<T>>,
    ) -> Result<lapin::Result<T>, BusError> {
        if let Ok(answer) = tokio::time::timeout(ANSWER_LIMIT, asked).await {
            return Ok(answer);
        }
        live.cut_if_silent(operation).await;
        Err(BusError::NoAnswer {
            operation: operation.to_owned(),
            limit_ms: u64::try_from(ANSWER_LIMIT.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

async fn declare_exchange(
    channel: &Channel,
    exchange: &Exchange,
    passive: bool,
) -> lapin::Result<()> {
    let kind = match exchange.kind {
        ExchangeKind::Direct => lapin::ExchangeKind::Direct,
        ExchangeKind::Fanout => lapin::ExchangeKind::Fanout,
        ExchangeKind::Topic => lapin::ExchangeKind::Topic,
    };
    let options = ExchangeDeclareOptions {
        passive,
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare(short(&*exchange.name), kind, options, FieldTable::default())
        .await
}

async fn look_at_queue(channel: &Channel, queue: &str) -> lapin::Result<QueueDepth> {
    let options = QueueDeclareOptions::durable().passive();
    let seen = channel
        .queue_declare(short(queue), options, FieldTable::default())
        .await?;
    Ok(QueueDepth {
        ready: seen.message_count(),
        consumers: seen.consumer_count(),
    })
}

/// The arguments that no policy can set, in the words of AMQP.
fn arguments(queue: &Queue) -> FieldTable {
    let mut arguments = FieldTable::default();
    for (name, value) in queue.arguments() {
        let value = match value {
            serde_json::Value::Bool(on) => AMQPValue::Boolean(on),
            serde_json::Value::String(text) => AMQPValue::LongString(text.into()),
            // no argument of ours is anything else
            other => AMQPValue::LongString(other.to_string().into()),
        };
        arguments.insert(name.into(), value);
    }
    arguments
}

fn reply_code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

fn refusal(operation: &str, error: lapin::Error) -> BusError {
    BusError::Refused {
        operation: operation.to_owned(),
        source: Box::new(error),
    }
}
