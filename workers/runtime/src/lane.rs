//! The one way out for reports: what is ready goes out in one confirmed batch, those for one inbox together in one message, is tried again until
//! the broker has it, and only then is the task it answers acknowledged and its permit free.
//!
//! While the broker takes nothing, reports wait here. They are bounded without being counted: each unconfirmed end of a run still holds
//! the permit of that run, and a run waits for each of its checkpoints.

use std::sync::Arc;
use std::time::Duration;

use baton_bus::{Delivery, Publisher, Sent};
use baton_messages::{
    BODY_BYTES_MAX, Failure, Finished, InboxKey, MessageId, OUTPUT_BYTES_MAX, ProbeAnswer,
    TaskResult, Timestamp,
};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::acks::AckBook;
use crate::parcel::{Letter, Parcels, Said};
use crate::runs::Runs;
use crate::sink::SinkError;

/// How many reports may wait to be taken up. More only moves the waiting from here into the runs.
const QUEUE_MAX: usize = 1_024;
/// Most reports in one batch: as much as one lane of the bus takes at once.
const BATCH_MAX: usize = 512;
/// How many batches are on their way at once: one being confirmed while the next is written.
const BATCHES_MAX: usize = 2;
/// A batch larger than this says that there is load, and that waiting a moment for more saves more than it costs.
const LINGER_OVER: usize = 8;
/// How long that moment is.
const LINGER: Duration = Duration::from_millis(1);
/// Pause before a report is tried again; doubled each time up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(200);
/// The longest pause: a broker that is back should not wait long for what it missed.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// From this many tries on it is said in the log, once.
const TRIES_SAID: u32 = 3;

/// Hands reports to the lane.
#[derive(Clone)]
pub(crate) struct Lane {
    items: mpsc::Sender<Item>,
}

/// The end of one run, and what it holds until the end is known.
pub(crate) struct End {
    pub(crate) finished: Finished,
    pub(crate) inbox: InboxKey,
    /// Whether nobody else can have run it for another reason than its delivery: it was granted.
    pub(crate) exclusive: bool,
    /// What is still to be acknowledged; its body is no longer needed.
    pub(crate) delivery: Option<Delivery>,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

enum Item {
    End(Box<End>),
    Message {
        letter: Box<Letter>,
        confirmed: oneshot::Sender<()>,
    },
}

pub(crate) struct Tried {
    item: Item,
    tries: u32,
    due: Instant,
}

impl Lane {
    /// Takes over the end of a run; returns when it is taken, not when it is confirmed.
    pub(crate) async fn end(&self, end: End) {
        // Closed only after every run has ended.
        let _ = self.items.send(Item::End(Box::new(end))).await;
    }

    /// Publishes a report to an inbox; returns when it is confirmed, however long that takes.
    pub(crate) async fn confirmed(
        &self,
        inbox: &InboxKey,
        said: Said<'_>,
        id: MessageId,
        at: Timestamp,
    ) -> Result<(), SinkError> {
        let (confirmed, was_confirmed) = oneshot::channel();
        let letter = Letter {
            inbox: inbox.clone(),
            id,
            kind: said.kind(),
            saga: said.saga(),
            at,
            body: Letter::written(&said)?,
        };
        let item = Item::Message {
            letter: Box::new(letter),
            confirmed,
        };
        self.items.send(item).await.map_err(|_| SinkError::Closed)?;
        was_confirmed.await.map_err(|_| SinkError::Closed)
    }
}

/// Makes the lane and what runs it. It ends when it is `over` and everything that was handed in has been confirmed.
pub(crate) fn lane(
    publisher: Publisher,
    runs: Arc<Runs>,
    acks: Arc<AckBook>,
    over: CancellationToken,
) -> (Lane, impl Future<Output = ()>) {
    let (items, taken) = mpsc::channel(QUEUE_MAX);
    let work = Work {
        publisher,
        runs,
        acks,
        items: taken,
        again: Vec::new(),
        last: 0,
        over,
    };
    (Lane { items }, work.run())
}

struct Work {
    publisher: Publisher,
    runs: Arc<Runs>,
    acks: Arc<AckBook>,
    items: mpsc::Receiver<Item>,
    again: Vec<Tried>,
    last: usize,
    over: CancellationToken,
}

type OnItsWay = BoxFuture<'static, (Vec<Vec<Tried>>, Vec<Sent>)>;

impl Work {
    async fn run(mut self) {
        let mut on_their_way: FuturesUnordered<OnItsWay> = FuturesUnordered::new();
        let mut open = true;
        while open || !self.again.is_empty() || !on_their_way.is_empty() {
            let room = on_their_way.len() < BATCHES_MAX;
            let due = self.again.iter().map(|tried| tried.due).min();
            let mut fresh = Vec::new();
            tokio::select! {
                biased;
                Some((batch, sent)) = on_their_way.next() => {
                    self.settle(batch, sent).await;
                    continue;
                }
                taken = self.items.recv_many(&mut fresh, BATCH_MAX), if open && room => {
                    open = taken > 0;
                    if taken > 0 && self.last > LINGER_OVER {
                        tokio::time::sleep(LINGER).await;
                        while fresh.len() < BATCH_MAX && let Ok(item) = self.items.try_recv() {
                            fresh.push(item);
                        }
                    }
                    self.last = fresh.len();
                }
                () = until(due), if room => {}
                () = self.over.cancelled(), if open && !self.items.is_closed() => self.items.close(),
            }
            let batch = self.batch(fresh);
            if !batch.is_empty() {
                on_their_way.push(self.publish(batch));
            }
        }
    }

    /// What is fresh, and what is to be tried again by now.
    fn batch(&mut self, fresh: Vec<Item>) -> Vec<Tried> {
        let now = Instant::now();
        let first = |item| Tried {
            item,
            tries: 0,
            due: now,
        };
        let mut batch: Vec<Tried> = fresh.into_iter().map(first).collect();
        let (due, later) = std::mem::take(&mut self.again)
            .into_iter()
            .partition(|tried| tried.due <= now);
        self.again = later;
        batch.extend::<Vec<Tried>>(due);
        batch
    }

    fn publish(&self, batch: Vec<Tried>) -> OnItsWay {
        let mut parcels = Parcels::default();
        for mut tried in batch {
            if let Some(letter) = tried.item.letter() {
                parcels.put(letter, tried);
            }
        }
        let (messages, carried) = parcels.sealed();
        let publisher = self.publisher.clone();
        Box::pin(async move {
            let sent = publisher.publish(messages).await;
            (carried, sent)
        })
    }

    async fn settle(&mut self, batch: Vec<Vec<Tried>>, sent: Vec<Sent>) {
        let mut done = Vec::with_capacity(batch.iter().map(Vec::len).sum());
        for (carried, sent) in batch.into_iter().zip(sent) {
            for tried in carried {
                match (&sent, tried.item) {
                    (Sent::Confirmed, Item::Message { confirmed, .. }) => {
                        // A run that was dropped meanwhile does not listen any more.
                        let _ = confirmed.send(());
                    }
                    (Sent::Confirmed, Item::End(end)) => {
                        let again = self.runs.remove(end.finished.run);
                        done.extend(again);
                        done.extend(end.delivery);
                        drop(end.permit);
                    }
                    (sent, item) => self.retry(item, tried.tries, sent),
                }
            }
        }
        self.acks.acknowledge(done).await;
    }

    fn retry(&mut self, item: Item, tries: u32, sent: &Sent) {
        let tries = tries + 1;
        if tries == TRIES_SAID {
            tracing::warn!(
                said = ?sent,
                "a report does not reach its inbox; it is kept and tried again until it does. \
                 If it is returned, the inbox queue is missing: start an orchestrator, or declare it \
                 with an account that may administer the broker: baton topology apply"
            );
        }
        metrics::counter!("baton_worker_reports_retried_total").increment(1);
        let pause = RETRY_MIN
            .saturating_mul(1_u32 << tries.min(8).saturating_sub(1))
            .min(RETRY_MAX);
        self.again.push(Tried {
            item,
            tries,
            due: Instant::now() + pause,
        });
    }
}

impl Item {
    /// None when nobody waits for it any more (a claim that was given up must not be heard after its `not run`).
    fn letter(&mut self) -> Option<Letter> {
        match self {
            Self::Message { confirmed, .. } if confirmed.is_closed() => None,
            Self::Message { letter, .. } => Some((**letter).clone()),
            Self::End(end) => end.letter(),
        }
    }
}

impl End {
    /// Made anew on each try, with the same id: whether the run is the sole one is judged as late as can be.
    fn letter(&mut self) -> Option<Letter> {
        let finished = &mut self.finished;
        finished.sole = self.exclusive || self.delivery.as_ref().is_some_and(is_sole);
        // Only values that came from JSON are in it, so that it can be written.
        let mut body = Letter::written(&Said::Finished(finished)).ok()?;
        // Most reports are small as a whole: nothing of them is measured.
        if body.len() > OUTPUT_BYTES_MAX
            && let Some(why) = why_too_large(finished, body.len())
        {
            body = Letter::written(&Said::Finished(&too_large(finished, why))).ok()?;
        }
        Some(Letter {
            inbox: self.inbox.clone(),
            id: MessageId::of_report("finished", self.finished.run, 1),
            kind: "finished@1",
            saga: self.finished.of.saga,
            at: self.finished.finished_at,
            body,
        })
    }
}

/// Why a report of `bytes` cannot be sent as it is, if it cannot.
fn why_too_large(finished: &Finished, bytes: usize) -> Option<String> {
    let output = match &finished.result {
        TaskResult::Succeeded { output } | TaskResult::Probed(ProbeAnswer::Happened { output }) => {
            serde_json::to_vec(output).map_or(bytes, |json| json.len())
        }
        _ => 0,
    };
    if output > OUTPUT_BYTES_MAX {
        return Some(format!(
            "the output has {output} bytes, more than the {OUTPUT_BYTES_MAX} an output may have"
        ));
    }
    (bytes > BODY_BYTES_MAX).then(|| {
        format!("the report has {bytes} bytes, more than the {BODY_BYTES_MAX} a message may have")
    })
}

/// Whether no other worker can have been handed this delivery, as far as can be known now.
fn is_sole(delivery: &Delivery) -> bool {
    !delivery.redelivered && delivery.deliveries <= 1 && delivery.is_current()
}

/// The same report without what made it too large: what the run did stands, and nobody can be told what it returned.
fn too_large(finished: &Finished, why: String) -> Finished {
    Finished {
        result: TaskResult::Unknown(Failure {
            code: "output-too-large".to_owned(),
            message: why,
            retryable: false,
            retry_after_ms: None,
        }),
        // Both have been confirmed as checkpoints; repeating them is a courtesy.
        before: None,
        progress: None,
        ..finished.clone()
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
