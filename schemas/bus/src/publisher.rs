//! Publishing without loss: confirmed, mandatory, in batches, with a verdict for each message.
//!
//! **The barrier.** The broker returns an unroutable message before it confirms it, but the client hangs that return on
//! whichever confirm completes next. So no confirm is believed alone: a batch has its channel for itself, all of its
//! confirms are awaited, every return among them is matched by message id, and only then a verdict is given. Between
//! batches nothing is in flight on the channel, so a return can never reach another batch. Where the channel broke in
//! the middle, a return may have been lost with it: then a mandatory message that was confirmed counts as unknown.
//!
//! **Order.** Within one call messages go out in the order given. Two calls may overtake each other, on two lanes.

use std::{
    borrow::Cow,
    collections::HashMap,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use baton_messages::{MessageId, headers};
use futures::future::join_all;
use lapin::{
    BasicProperties, Channel, Confirmation, message::BasicReturnMessage,
    options::BasicPublishOptions,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    connect::chain,
    guard::KeptOpen,
    header::{HeaderValue, short, to_table},
    lanes::{LanePool, LentLane},
    state::{BusState, Link},
};

/// AMQP's longest short string: names of exchanges and routing keys.
const NAME_BYTES_MAX: usize = 255;

/// How many publishes are awaited together: as many as `join_all` keeps in one block, polled in their order. Where the
/// time is over, all of a piece count as unknown.
const PIECE: usize = 30;

/// AMQP's reply code of a message that reached no queue.
const NO_ROUTE: u16 = 312;

/// AMQP's delivery mode of a message that is kept on disk.
pub(crate) const PERSISTENT: u8 = 2;

/// One message on its way out.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where to; never the default exchange, which no alternate exchange can stand behind.
    pub exchange: Cow<'static, str>,
    /// Routing key.
    pub key: String,
    /// The message itself.
    pub body: Vec<u8>,
    /// The same bytes published again carry the same id; also what a returned message is recognised by.
    pub message_id: MessageId,
    /// AMQP `type`: the kind of message, with its version.
    pub kind: &'static str,
    /// AMQP `correlation_id`: the saga.
    pub correlation_id: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, HeaderValue)>,
    /// Whether a message that reaches no queue comes back as [`Sent::Returned`].
    pub mandatory: bool,
    /// Whether it survives the broker.
    pub persistent: bool,
    /// When it was made, in milliseconds since 1970; AMQP keeps the seconds.
    pub timestamp_ms: u64,
    /// AMQP `content_type`.
    pub content_type: Cow<'static, str>,
}

impl Outgoing {
    /// A persistent, mandatory JSON message without further headers: what nearly all of ours are.
    pub fn json(
        exchange: impl Into<Cow<'static, str>>,
        key: impl Into<String>,
        kind: &'static str,
        message_id: MessageId,
        body: Vec<u8>,
        timestamp_ms: u64,
    ) -> Self {
        Self {
            exchange: exchange.into(),
            key: key.into(),
            body,
            message_id,
            kind,
            correlation_id: None,
            headers: Vec::new(),
            mandatory: true,
            persistent: true,
            timestamp_ms,
            content_type: Cow::Borrowed(headers::JSON),
        }
    }
}

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The broker has it: on disk at a majority, when it is persistent and its queue a quorum queue.
    Confirmed,
    /// No queue took it.
    Returned {
        /// AMQP reply code, 312 for "no route".
        code: u16,
        /// AMQP reply text.
        text: String,
    },
    /// The queue refused it: it is full, or has lost its majority.
    Nacked,
    /// It was certainly not sent: there was no connection, or the broker takes nothing now. Published again it is not there twice.
    NotSent {
        /// What hindered it.
        why: String,
    },
    /// Nobody knows: the channel was lost or the time is over. Publish it again with the same id.
    Unknown {
        /// What was lost.
        why: String,
    },
}

impl Sent {
    /// Why it may not be there; empty of what is confirmed.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            Self::Confirmed => String::new(),
            Self::Returned { code, text } => format!("{code} {text}"),
            Self::Nacked => "a queue refused it: it is full, or has lost its majority".to_owned(),
            Self::NotSent { why } | Self::Unknown { why } => why.clone(),
        }
    }
}

/// Publishes; cheap to clone, usable from any task.
#[derive(Clone)]
pub struct Publisher {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) pool: LanePool,
    pub(crate) state: tokio::sync::watch::Receiver<BusState>,
    pub(crate) confirm_limit: Duration,
    pub(crate) batch_max: usize,
    /// The name of this process, which what it puts aside bears.
    pub(crate) instance: String,
    /// Calls under way, so that a shutdown can wait for them.
    pub(crate) calls: TaskTracker,
    /// When nothing more is taken.
    pub(crate) closed: CancellationToken,
    pub(crate) _kept_open: Arc<KeptOpen>,
}

/// A message as the client wants it.
pub(crate) struct Publication {
    /// What a return is recognised by; none only for a foreign message, which goes out in a batch of its own.
    pub(crate) id: Option<MessageId>,
    pub(crate) exchange: String,
    pub(crate) key: String,
    pub(crate) mandatory: bool,
    pub(crate) body: Vec<u8>,
    pub(crate) properties: BasicProperties,
}

impl From<Outgoing> for Publication {
    fn from(out: Outgoing) -> Self {
        let mut properties = BasicProperties::default()
            .with_message_id(out.message_id.to_string().into())
            .with_type(short(out.kind))
            .with_app_id(headers::APP_ID.into())
            .with_content_type(short(out.content_type))
            .with_timestamp(out.timestamp_ms / 1000)
            .with_delivery_mode(if out.persistent { PERSISTENT } else { 1 });
        if let Some(id) = out.correlation_id {
            properties = properties.with_correlation_id(short(id));
        }
        if !out.headers.is_empty() {
            properties = properties.with_headers(to_table(out.headers));
        }
        Self {
            id: Some(out.message_id),
            exchange: out.exchange.into_owned(),
            key: out.key,
            mandatory: out.mandatory,
            body: out.body,
            properties,
        }
    }
}

impl Publisher {
    /// Publishes all of them and says what became of each, in the same order.
    ///
    /// Never fails and never hangs: while the broker is away or blocks, it waits up to the confirm time limit for it to
    /// come back; what was not sent by then is [`Sent::NotSent`], what is not known [`Sent::Unknown`]. After one batch has run into the limit, the rest of
    /// the call is not tried any more.
    pub async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Sent> {
        self.publish_all(batch.into_iter().map(Publication::from).collect())
            .await
    }

    pub(crate) async fn publish_all(&self, mut rest: Vec<Publication>) -> Vec<Sent> {
        let _counted = self.shared.calls.token();
        let mut verdicts = Vec::with_capacity(rest.len());
        while !rest.is_empty() {
            let after = rest.split_off(rest.len().min(self.shared.batch_max));
            let (mut sent, in_time) = self.publish_batch(rest).await;
            verdicts.append(&mut sent);
            rest = after;
            if !in_time {
                let why = "not sent: the messages before it ran into the time limit".to_owned();
                let unsent = vec![Sent::NotSent { why }; rest.len()];
                count(&unsent);
                verdicts.extend(unsent);
                break;
            }
        }
        verdicts
    }

    /// One batch on one lane; the flag says whether it ended before the time limit.
    async fn publish_batch(&self, batch: Vec<Publication>) -> (Vec<Sent>, bool) {
        let begun = Instant::now();
        let deadline = tokio::time::Instant::now() + self.shared.confirm_limit;
        let lane = tokio::select! {
            biased;
            () = self.shared.closed.cancelled() => Err("not sent: the bus is shut down".to_owned()),
            lane = tokio::time::timeout_at(deadline, self.shared.pool.get()) => match lane {
                Ok(Ok(lane)) => Ok(lane),
                Ok(Err(error)) => Err(format!("not sent: {}", chain(&error))),
                Err(_) => Err(format!("not sent within {} ms: {}", self.shared.confirm_limit.as_millis(), self.hindrance())),
            },
        };
        let (sent, in_time) = match lane {
            Ok(lane) => {
                let sent = self.on_lane(lane, batch, deadline).await;
                metrics::histogram!("baton_bus_confirm_seconds")
                    .record(begun.elapsed().as_secs_f64());
                sent
            }
            Err(why) => (
                vec![Sent::NotSent { why }; batch.len()],
                tokio::time::Instant::now() < deadline,
            ),
        };
        count(&sent);
        (sent, in_time)
    }

    async fn on_lane(
        &self,
        mut lane: LentLane,
        batch: Vec<Publication>,
        deadline: tokio::time::Instant,
    ) -> (Vec<Sent>, bool) {
        lane.settled = false;
        let marks: Vec<Mark> = batch.iter().map(Mark::of).collect();
        let mut confirms: Vec<Option<lapin::Result<Confirmation>>> =
            batch.iter().map(|_| None).collect();
        let in_time =
            tokio::time::timeout_at(deadline, confirm_all(&lane.channel, batch, &mut confirms))
                .await
                .is_ok();
        let whole = confirms.iter().all(|c| matches!(c, Some(Ok(_))));
        if whole {
            lane.settled = true;
        } else {
            // closes the channel, so that nothing of this batch lingers on it
            drop(LentLane::take(lane));
        }
        let late = || {
            format!(
                "no confirm within {} ms: {}",
                self.shared.confirm_limit.as_millis(),
                self.hindrance()
            )
        };
        (verdicts(&marks, confirms, whole, &late), in_time)
    }

    /// What most likely stands in the way right now.
    fn hindrance(&self) -> String {
        match &self.shared.state.borrow().publishing {
            Link::Down { why } => format!("no connection to the broker ({why})"),
            Link::Blocked { why, .. } => format!("the broker blocks publishers ({why})"),
            Link::Up { .. } => "the broker is slow, or all lanes are busy".to_owned(),
        }
    }
}

/// Sends all, then awaits all confirms. In one task, and in order: the client numbers each publish when it is first
/// polled. Polling by hand spares a waker and a queue for each message, and a piece at a time spares a place of its own.
async fn confirm_all(
    channel: &Channel,
    batch: Vec<Publication>,
    confirms: &mut [Option<lapin::Result<Confirmation>>],
) {
    let mut rest = batch.into_iter();
    let mut pieces = Vec::with_capacity(rest.len().div_ceil(PIECE));
    while rest.len() > 0 {
        let piece = rest.by_ref().take(PIECE);
        pieces.push(join_all(piece.map(|message| send(channel, message))));
    }
    let mut done: Vec<Option<Vec<_>>> = pieces.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (piece, done) in pieces.iter_mut().zip(&mut done) {
            if let Poll::Ready(all) = Pin::new(piece).poll(cx) {
                *done = Some(all);
            }
        }
        Poll::Ready(())
    })
    .await;
    for ((piece, done), confirms) in pieces.into_iter().zip(done).zip(confirms.chunks_mut(PIECE)) {
        let all = match done {
            Some(all) => all,
            None => piece.await,
        };
        for (confirm, one) in confirms.iter_mut().zip(all) {
            *confirm = Some(one);
        }
    }
}

async fn send(channel: &Channel, message: Publication) -> lapin::Result<Confirmation> {
    if message.too_long() {
        // never sent; told apart again when the verdict is given
        return Ok(Confirmation::NotRequested);
    }
    let options = BasicPublishOptions {
        mandatory: message.mandatory,
        immediate: false,
    };
    let confirm = channel
        .basic_publish(
            message.exchange.into(),
            message.key.into(),
            options,
            &message.body,
            message.properties,
        )
        .await?;
    confirm.await
}

impl Publication {
    fn too_long(&self) -> bool {
        self.exchange.len() > NAME_BYTES_MAX || self.key.len() > NAME_BYTES_MAX
    }
}

/// What has to be remembered of a message to judge it.
struct Mark {
    id: Option<MessageId>,
    mandatory: bool,
}

impl Mark {
    fn of(message: &Publication) -> Self {
        Self {
            id: message.id,
            mandatory: message.mandatory,
        }
    }
}

/// Returned messages of a batch by id, with code and text.
type Returns = HashMap<Option<MessageId>, (u16, String)>;

/// The other half of the barrier: first all returns, then a verdict for each.
fn verdicts(
    marks: &[Mark],
    confirms: Vec<Option<lapin::Result<Confirmation>>>,
    whole: bool,
    late: &dyn Fn() -> String,
) -> Vec<Sent> {
    let mut returns = Returns::new();
    let acks: Vec<Ack> = confirms
        .into_iter()
        .map(|confirm| match confirm {
            Some(Ok(Confirmation::Ack(back))) => {
                note_return(&mut returns, back);
                Ack::Yes
            }
            Some(Ok(Confirmation::Nack(back))) => {
                note_return(&mut returns, back);
                Ack::No
            }
            Some(Ok(Confirmation::NotRequested)) => Ack::NeverSent,
            Some(Err(error)) => Ack::Lost(chain(&error)),
            None => Ack::Lost(late()),
        })
        .collect();
    // alone in its batch, whatever came back is this message: a foreign one may have an id we cannot read
    let alone = if marks.len() == 1 {
        returns.values().next().cloned()
    } else {
        None
    };
    marks
        .iter()
        .zip(acks)
        .map(|(mark, ack)| {
            let back = alone.as_ref().or_else(|| returns.get(&mark.id));
            match (back, ack) {
                (Some((code, text)), _) => Sent::Returned {
                    code: *code,
                    text: text.clone(),
                },
                (None, Ack::Yes) if whole || !mark.mandatory => Sent::Confirmed,
                (None, Ack::Yes) => Sent::Unknown {
                    why: "confirmed, but the channel was lost before it was sure that it was not returned".to_owned(),
                },
                (None, Ack::No) => Sent::Nacked,
                (None, Ack::NeverSent) => Sent::Returned {
                    code: NO_ROUTE,
                    text: format!("not sent: exchange or routing key is longer than {NAME_BYTES_MAX} bytes"),
                },
                (None, Ack::Lost(why)) => Sent::Unknown { why },
            }
        })
        .collect()
}

enum Ack {
    Yes,
    No,
    NeverSent,
    Lost(String),
}

fn note_return(returns: &mut Returns, back: Option<BasicReturnMessage>) {
    if let Some(back) = back {
        let id = back.delivery.properties.message_id().as_ref();
        let id = id.and_then(|id| id.as_str().parse().ok());
        returns.insert(id, (back.reply_code, back.reply_text.to_string()));
    }
}

fn count(sent: &[Sent]) {
    let (mut confirmed, mut returned, mut nacked, mut unknown) = (0, 0, 0, 0);
    for one in sent {
        match one {
            Sent::Confirmed => confirmed += 1,
            Sent::Returned { .. } => returned += 1,
            Sent::Nacked => nacked += 1,
            Sent::NotSent { .. } | Sent::Unknown { .. } => unknown += 1,
        }
    }
    for (result, n) in [
        ("confirmed", confirmed),
        ("returned", returned),
        ("nacked", nacked),
        ("unknown", unknown),
    ] {
        if n > 0 {
            metrics::counter!("baton_bus_published_total", "result" => result).increment(n);
        }
    }
}
