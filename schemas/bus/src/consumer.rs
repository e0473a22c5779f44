//! Consuming without end: whatever happens to queue, channel or connection, the consumer is built again.
//!
//! The client signals the end of a consumer in several ways, and some of them look like silence later on. So every
//! error and every end of the stream means the same here: this channel is finished. Its deliveries become stale, a new
//! channel is opened after a pause, under a new epoch. Nothing runs beside the caller: all of it happens inside
//! [`Consumer::next`], and what is under way survives when that future is dropped.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, StreamExt};
use lapin::{
    Channel,
    options::{
        BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions,
        QueueDeclareOptions,
    },
    types::FieldTable,
};
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};
use tracing::{debug, info, warn};

use crate::{
    backoff::Backoff,
    connect::chain,
    delivery::{AckTag, Delivery, Generation, stale},
    error::Stale,
    guard::KeptOpen,
    header::{HeaderValue, short, to_table},
    supervisor::{Cell, live},
};

/// Time for opening a channel and starting to consume, once there is a connection.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// Time for the broker to answer that a consumer is cancelled or a channel closed.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);

/// What to consume.
#[derive(Clone, Debug)]
pub struct ConsumeSpec {
    /// The queue's name.
    pub queue: String,
    /// Most deliveries unanswered at once; the only bound of what is held in memory, so never 0.
    pub prefetch: u16,
    /// Makes the queue anew on each connection, as its only user.
    pub exclusive_queue: Option<ExclusiveQueue>,
    /// Shown in the broker's list of consumers.
    pub consumer_tag: String,
}

/// A queue that lives and dies with the connection.
#[derive(Clone, Debug, Default)]
pub struct ExclusiveQueue {
    /// Exchange and key, for each binding.
    pub bindings: Vec<(String, String)>,
    /// Arguments of the declaration; better set by policy.
    pub arguments: Vec<(String, HeaderValue)>,
}

/// Deliveries of one queue.
pub struct Consumer {
    spec: Arc<ConsumeSpec>,
    queue: Arc<str>,
    hub: Hub,
    generation: Option<Arc<Generation>>,
    stream: Option<lapin::Consumer>,
    opening: Option<Opening>,
    /// Runs while nothing comes; see [`Consumer::refresh`].
    silence: Option<Pin<Box<tokio::time::Sleep>>>,
    backoff: Backoff,
    /// What [`Consumer::next_batch`] had gathered when it was dropped.
    gathered: VecDeque<Delivery>,
    stopping: bool,
    /// The last reason told, so that a queue that is long in coming is told once.
    told: Option<String>,
    _counted: TaskTrackerToken,
}

type Opening = Pin<Box<dyn Future<Output = Result<Opened, String>> + Send>>;

struct Opened {
    generation: Arc<Generation>,
    stream: lapin::Consumer,
}

/// What all consumers of a bus share.
#[derive(Clone)]
pub(crate) struct Hub {
    pub(crate) cell: Cell,
    pub(crate) epochs: Arc<AtomicU64>,
    /// When nothing new is to be taken.
    pub(crate) stop: CancellationToken,
    pub(crate) reconnect_ms: (u64, u64),
    pub(crate) idle_refresh: Duration,
    pub(crate) _kept_open: Arc<KeptOpen>,
}

impl Consumer {
    pub(crate) fn new(mut spec: ConsumeSpec, hub: Hub, counted: TaskTrackerToken) -> Self {
        spec.prefetch = spec.prefetch.max(1);
        let (min, max) = hub.reconnect_ms;
        Self {
            queue: spec.queue.as_str().into(),
            spec: Arc::new(spec),
            hub,
            generation: None,
            stream: None,
            opening: None,
            silence: None,
            backoff: Backoff::new(min, max),
            gathered: VecDeque::new(),
            stopping: false,
            told: None,
            _counted: counted,
        }
    }

    /// Tries once to begin, when there is a connection to begin on.
    pub(crate) async fn begin(&mut self) {
        let connected = self
            .hub
            .cell
            .borrow()
            .as_ref()
            .is_some_and(|live| live.is_connected());
        if connected {
            self.open_once(Duration::ZERO).await;
        }
    }

    /// The next delivery; nothing only after [`Consumer::stop_taking`] or the end of the bus, when all that had been
    /// prefetched has been handed out. May be dropped at any time without losing one.
    pub async fn next(&mut self) -> Option<Delivery> {
        if let Some(delivery) = self.gathered.pop_front() {
            return Some(delivery);
        }
        loop {
            if self.stream.is_some() {
                match self.take_next().await {
                    Ok(delivery) => return Some(delivery),
                    Err(NoItem::StopAsked) => self.stop_taking().await,
                    Err(NoItem::End) if self.stopping => {
                        self.stream = None;
                        return None;
                    }
                    Err(NoItem::End) => {}
                }
            } else {
                if self.stopping || self.hub.stop.is_cancelled() {
                    self.stopping = true;
                    return None;
                }
                let pause = if self.generation.is_none() && self.told.is_none() {
                    Duration::ZERO
                } else {
                    self.backoff.pause()
                };
                self.open_once(pause).await;
            }
        }
    }

    /// Waits for one delivery, then takes what else is there, up to `max`, waiting for more at most `linger`. All of
    /// one batch came on the same channel, in order: acknowledge with the last one's tag.
    pub async fn next_batch(&mut self, max: usize, linger: Duration) -> Option<Vec<Delivery>> {
        let first = self.next().await?;
        self.gathered.push_front(first);
        let deadline = tokio::time::Instant::now() + linger;
        while self.gathered.len() < max {
            let Some(stream) = self.stream.as_mut() else {
                break;
            };
            let item = match stream.next().now_or_never() {
                Some(item) => item,
                None if linger.is_zero() => break,
                None => match tokio::time::timeout_at(deadline, stream.next()).await {
                    Ok(item) => item,
                    Err(_) => break,
                },
            };
            match self.taken(item) {
                Ok(delivery) => self.gathered.push_back(delivery),
                Err(_) => break,
            }
        }
        let fits = self.same_epoch(max.max(1));
        Some(self.gathered.drain(..fits).collect())
    }

    /// How many of what is gathered, from the front, came on one channel.
    fn same_epoch(&self, max: usize) -> usize {
        let epoch = self.gathered.front().map(|d| d.tag.epoch);
        self.gathered
            .iter()
            .take(max)
            .take_while(|d| Some(d.tag.epoch) == epoch)
            .count()
    }

    /// Acknowledges this delivery and all before it on its channel. From one task only, and not mixed with
    /// [`Delivery::ack`].
    ///
    /// # Errors
    /// [`Stale`] when that channel is gone: they are delivered again.
    pub async fn ack_until(&mut self, tag: &AckTag) -> Result<(), Stale> {
        match &self.generation {
            Some(generation) if generation.epoch == tag.epoch => {
                generation.ack(tag.tag, true).await
            }
            _ => Err(stale(tag.tag)),
        }
    }

    /// Takes nothing new. What had been prefetched still comes from [`Consumer::next`], then nothing; and what is in
    /// hand can still be answered.
    pub async fn stop_taking(&mut self) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        self.opening = None;
        self.silence = None;
        let (Some(generation), Some(stream)) = (&self.generation, &self.stream) else {
            return;
        };
        let cancelling = generation
            .channel
            .basic_cancel(stream.tag(), BasicCancelOptions::default());
        if !matches!(
            tokio::time::timeout(CANCEL_LIMIT, cancelling).await,
            Ok(Ok(()))
        ) {
            // no orderly end: the channel goes, and the broker delivers all of it again
            self.end("the consumer could not be cancelled");
        }
    }

    /// Takes nothing new and gives back what was prefetched and not handed out; how many.
    pub async fn give_back(&mut self) -> usize {
        self.stop_taking().await;
        let mut given_back = 0;
        while let Ok(Some(delivery)) = tokio::time::timeout(CANCEL_LIMIT, self.next()).await {
            if delivery.nack_requeue().await.is_ok() {
                given_back += 1;
            }
        }
        given_back
    }

    /// Whether deliveries can come right now.
    pub fn is_open(&self) -> bool {
        self.stream.is_some() && !self.stopping
    }

    async fn take_next(&mut self) -> Item {
        let Some(stream) = self.stream.as_mut() else {
            return Err(NoItem::End);
        };
        // the usual case under load: something is there
        if let Some(item) = stream.next().now_or_never() {
            self.silence = None;
            return self.taken(item);
        }
        let limit = self.hub.idle_refresh;
        let silence = self
            .silence
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        let item = tokio::select! {
            biased;
            item = stream.next() => item,
            () = self.hub.stop.cancelled(), if !self.stopping => return Err(NoItem::StopAsked),
            () = silence, if !self.stopping => return self.refresh(),
        };
        self.silence = None;
        self.taken(item)
    }

    /// Changes the channel after a long silence, when nothing is in hand. A broker may hold a consumer that gets nothing
    /// any more and say nothing of it: 3.10 does when a quorum queue is deleted and made again at once. It registers the
    /// old channel with the new queue, and then takes each delivery for one it has made before.
    fn refresh(&mut self) -> Item {
        self.silence = None;
        // each delivery in somebody's hand holds its generation; a queue of our own dies with its channel
        let in_hand = self
            .generation
            .as_ref()
            .map_or(0, |g| Arc::strong_count(g) - 1);
        if in_hand == 0 && self.spec.exclusive_queue.is_none() {
            debug!(
                queue = &*self.queue,
                "nothing came for long; consuming on a new channel"
            );
            self.leave_channel();
        }
        Err(NoItem::End)
    }

    fn taken(&mut self, item: Option<lapin::Result<lapin::message::Delivery>>) -> Item {
        let why = match (item, &self.generation) {
            (Some(Ok(delivery)), Some(generation)) => {
                metrics::counter!("baton_bus_deliveries_total").increment(1);
                return Ok(Delivery::of(delivery, &self.queue, generation));
            }
            (Some(Err(error)), _) => chain(&error),
            (None, _) if self.stopping => return Err(NoItem::End),
            (None, _) => "the broker cancelled the consumer; was the queue deleted?".to_owned(),
            (Some(Ok(_)), None) => "a delivery without a channel".to_owned(),
        };
        self.end(&why);
        Err(NoItem::End)
    }

    /// This channel is finished, for a reason worth telling.
    fn end(&mut self, why: &str) {
        self.leave_channel();
        self.tell(why);
    }

    fn leave_channel(&mut self) {
        self.stream = None;
        self.silence = None;
        if let Some(generation) = &self.generation {
            generation.end();
            close_soon(generation.channel.clone());
        }
    }

    fn connection_is_lost(&self) -> bool {
        let live = self.hub.cell.borrow();
        live.as_ref().is_none_or(|live| !live.is_connected())
    }

    fn tell(&mut self, why: &str) {
        if self.told.as_deref() == Some(why) {
            debug!(queue = &*self.queue, why, "still not consuming");
        } else {
            // Nobody has declared it yet: the usual thing at the start of a worker, no fault.
            if why.contains("NOT_FOUND") {
                info!(
                    queue = &*self.queue,
                    "the queue is not there yet; it is waited for"
                );
            } else if self.connection_is_lost() {
                // Its supervisor says so, once for all that was on it.
                debug!(
                    queue = &*self.queue,
                    why, "not consuming without a connection"
                );
            } else {
                warn!(
                    queue = &*self.queue,
                    why, "not consuming; it is tried again"
                );
            }
            self.told = Some(why.to_owned());
        }
    }

    /// One try, or what is left of one that was under way.
    async fn open_once(&mut self, pause: Duration) {
        let opening = self.opening.get_or_insert_with(|| {
            Box::pin(open(
                self.hub.cell.clone(),
                self.hub.epochs.clone(),
                self.spec.clone(),
                pause,
            ))
        });
        let opened = tokio::select! {
            biased;
            () = self.hub.stop.cancelled() => return,
            opened = opening => opened,
        };
        self.opening = None;
        match opened {
            Ok(opened) => {
                info!(
                    queue = &*self.queue,
                    epoch = opened.generation.epoch,
                    "consuming"
                );
                self.backoff.reset();
                // told stays a reason to pause before the next try, but the same trouble later is told again
                self.told = Some(String::new());
                self.generation = Some(opened.generation);
                self.stream = Some(opened.stream);
            }
            Err(why) => self.tell(&why),
        }
    }
}

/// A delivery, or why there is none.
type Item = Result<Delivery, NoItem>;

enum NoItem {
    StopAsked,
    End,
}

async fn open(
    mut cell: Cell,
    epochs: Arc<AtomicU64>,
    spec: Arc<ConsumeSpec>,
    pause: Duration,
) -> Result<Opened, String> {
    tokio::time::sleep(pause).await;
    let Some(live) = live(&mut cell).await else {
        return Err("the bus is shut down".to_owned());
    };
    let opening = async {
        let channel = live.connection.create_channel().await?;
        let mut unused = Unused(Some(channel.clone()));
        // a limit for each consumer: quorum queues refuse the other kind
        channel
            .basic_qos(spec.prefetch, BasicQosOptions { global: false })
            .await?;
        if let Some(exclusive) = &spec.exclusive_queue {
            make_exclusive(&channel, &spec.queue, exclusive).await?;
        }
        let stream = channel
            .basic_consume(
                short(&*spec.queue),
                short(&*spec.consumer_tag),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await?;
        let epoch = epochs.fetch_add(1, Ordering::Relaxed) + 1;
        unused.0 = None;
        lapin::Result::Ok(Opened {
            generation: Arc::new(Generation::new(epoch, channel)),
            stream,
        })
    };
    match tokio::time::timeout(OPEN_LIMIT, opening).await {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => {
            live.cut_if_silent(&spec.queue).await;
            Err(format!("no answer within {} s", OPEN_LIMIT.as_secs()))
        }
    }
}

/// A channel nobody uses yet. Given up while the broker is still to answer (its queue may have no leader), it is closed by name: the client leaves one open whose consumer is begun
/// after nobody waits for it any more, and where one consumer at a time is active the broker would hand everything to that one.
struct Unused(Option<Channel>);

impl Drop for Unused {
    fn drop(&mut self) {
        if let Some(channel) = self.0.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            close_soon(channel);
        }
    }
}

async fn make_exclusive(
    channel: &Channel,
    queue: &str,
    exclusive: &ExclusiveQueue,
) -> lapin::Result<()> {
    let options = QueueDeclareOptions::exclusive().auto_delete();
    let arguments = to_table(exclusive.arguments.iter().cloned());
    channel
        .queue_declare(short(queue), options, arguments)
        .await?;
    for (exchange, key) in &exclusive.bindings {
        let options = QueueBindOptions::default();
        channel
            .queue_bind(
                short(queue),
                short(&**exchange),
                short(&**key),
                options,
                FieldTable::default(),
            )
            .await?;
    }
    Ok(())
}

/// Closes a channel beside the caller: deliveries in hand keep it from closing by itself.
fn close_soon(channel: Channel) {
    if channel.status().connected() {
        tokio::spawn(async move {
            let closed =
                tokio::time::timeout(CANCEL_LIMIT, channel.close(200, "consumer ended".into()))
                    .await;
            if !matches!(closed, Ok(Ok(()))) {
                debug!("a consumer's channel went without a proper close");
            }
        });
    }
}
