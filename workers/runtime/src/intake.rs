//! Takes tasks from one queue: looks at each, takes a permit for it, and begins it.
//!
//! The prefetch of each queue is the concurrency of the whole worker, the permits are shared by its queues: what is delivered beyond them
//! waits here unacknowledged, bounded by the prefetch. A permit is taken after the delivery, not before it: a queue that is empty must
//! not keep the permit that another one's task could use.
//!
//! Several tasks may come in one delivery: each takes a permit of its own, and the delivery is answered when each of them is (`acks.rs`).
//!
//! A task is polled once where it is taken. Most short ones have ended by then and never become a task of the runtime.
//!
//! What was delivered again and again may be what kills its worker while it is read. It is read alone: the next such one, of whichever queue, only when
//! it is acknowledged or parked. So whoever dies of a message takes none with it that came before, and the one that is parked in the end is the one. All that a worker has
//! in hand when it dies is counted alike, and only what is answered before the next one is read is certainly in nobody's company. Deliveries that this process caused itself, since
//! it lost its channel, count for nothing: nobody died of them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use baton_bus::{AckTag, Consumer, Delivery, ParkError, park};
use baton_messages::{RunId, Task};
use futures::FutureExt as _;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::hold::{InHand, hold};
use crate::inspect::{Read, Refusal, Suspicion, inspect};
use crate::registry::Served;
use crate::shared::Shared;

/// Most deliveries taken up at once; the prefetch bounds them before this does.
const BATCH_MAX: usize = 256;
/// Pause before parking is tried again.
const PARK_AGAIN: Duration = Duration::from_secs(1);

/// One queue's intake.
pub(crate) struct Intake {
    pub(crate) shared: Arc<Shared>,
    pub(crate) served: Arc<Served>,
    pub(crate) tasks: TaskTracker,
}

impl Intake {
    /// Takes from `consumer` until the worker drains; then gives back what was not begun.
    pub(crate) async fn run(self, mut consumer: Consumer) {
        let draining = self.shared.draining.clone();
        let mut channel: Option<u64> = None;
        let mut suspicion = Suspicion::default();
        loop {
            let batch = tokio::select! {
                biased;
                () = draining.cancelled() => break,
                batch = consumer.next_batch(BATCH_MAX, Duration::ZERO) => batch,
            };
            let Some(batch) = batch else { break };
            // All of one batch came on one channel; the one before it is gone when this is another.
            let epoch = batch.first().map(|delivery| delivery.tag.epoch);
            if let Some(gone) = channel.filter(|_| channel != epoch) {
                self.shared.acks.forget(gone);
            }
            channel = epoch;
            self.shared.acks.enter(&batch);
            for delivery in batch {
                let suspected = suspicion.next(delivery.tag, delivery.deliveries);
                if suspected.alone {
                    self.take_alone(delivery, suspected.refused).await;
                } else {
                    self.take(delivery, suspected.refused).await;
                }
            }
        }
        let given_back = consumer.give_back().await;
        tracing::debug!(
            task.kind = %self.served.manifest.task_type,
            given_back,
            "nothing more is taken from a queue"
        );
    }

    /// Takes one under suspicion, and waits until it is answered. No longer than a claim may take: what is not answered by then has lived through being
    /// read, and lacks its inbox, or the queue of dead letters, for which the others shall not wait.
    async fn take_alone(&self, delivery: Delivery, refused: Option<Refusal>) {
        let alone = tokio::select! {
            biased;
            () = self.shared.draining.cancelled() => None,
            alone = self.shared.trial.acquire() => alone.ok(),
        };
        let Some(_alone) = alone else {
            return self.shared.acks.give_back(&delivery).await;
        };
        if refused.is_none() {
            // the last line of a worker that dies of it
            tracing::warn!(
                queue = %delivery.queue, message_id = delivery.message_id.as_deref().unwrap_or(""), deliveries = delivery.deliveries,
                "a message was delivered again and again without being answered; it is read alone"
            );
        }
        let Some(tag) = self.take(delivery, refused).await else {
            return;
        };
        let longest = Duration::from_millis(self.shared.options.grant_wait_ms_max);
        tokio::select! {
            biased;
            () = self.shared.draining.cancelled() => {}
            _ = tokio::time::timeout(longest, self.shared.acks.answered(tag)) => {}
        }
    }

    /// Takes one; its tag while it is still to be answered on its own account.
    async fn take(&self, mut delivery: Delivery, refused: Option<Refusal>) -> Option<AckTag> {
        let tag = delivery.tag;
        let read = refused.map_or_else(|| inspect(&delivery, &self.served.manifest.task_type), Err);
        let read = match read {
            Ok(read) => read,
            Err(refusal) => {
                self.refuse(delivery, refusal);
                return Some(tag);
            }
        };
        // It has been read; what is kept of the delivery is what it takes to answer it.
        delivery.body = Vec::new();
        match read {
            Read::Alone(task) => self.begin(*task, delivery).await.then_some(tag),
            Read::Together(parts) => {
                self.shared.acks.divide(tag, parts.len());
                let mut on_its_own = false;
                for part in parts {
                    on_its_own |= match part {
                        Ok(task) => self.begin(*task, delivery.clone()).await,
                        Err((alone, refusal)) => {
                            self.refuse(*alone, refusal);
                            true
                        }
                    };
                }
                on_its_own.then_some(tag)
            }
        }
    }

    fn refuse(&self, delivery: Delivery, refusal: Refusal) {
        let shared = self.shared.clone();
        self.tasks.spawn(put_aside(shared, delivery, refusal));
    }

    /// Begins one, when there is a permit for it. False where it is not to be answered on its own account: a run of ours has it already, or it has gone back.
    async fn begin(&self, task: Task, mut delivery: Delivery) -> bool {
        if delivery.redelivered {
            match self.shared.runs.adopt(&task.of, delivery) {
                Some(ours) => delivery = ours,
                // answered with the run that has it, however long that takes
                None => return false,
            }
        }
        let permit = tokio::select! {
            biased;
            () = self.shared.draining.cancelled() => None,
            permit = self.shared.permits.clone().acquire_owned() => permit.ok(),
        };
        let Some(permit) = permit else {
            self.shared.acks.give_back(&delivery).await;
            return false;
        };
        let in_hand = InHand {
            task,
            run: RunId(uuid::Uuid::now_v7()),
            served: self.served.clone(),
            delivery: Some(delivery),
            answered: Arc::default(),
            permit,
            taken: Instant::now(),
        };
        let mut held = Box::pin(held(self.shared.clone(), in_hand));
        if futures::poll!(held.as_mut()).is_pending() {
            self.tasks.spawn(held);
        }
        true
    }
}

/// Holds one task to its end. A panic of the automation is its outcome (`entered.rs`); one around it, in what drops a run or looks at its input,
/// ends that run alone: no heartbeat names it any more, and its delivery goes back.
async fn held(shared: Arc<Shared>, in_hand: InHand) {
    let (run, delivery) = (in_hand.run, in_hand.delivery.clone());
    let answered = in_hand.answered.clone();
    let of = in_hand.task.of.clone();
    let holding = AssertUnwindSafe(hold(shared.clone(), in_hand)).catch_unwind();
    if holding.await.is_err() {
        tracing::error!(
            saga.id = %of.saga, step = %of.step, attempt = of.attempt,
            "holding a task panicked; the log above says where. It is given back"
        );
        let again = shared.runs.remove(run);
        // one that is answered, or about to be, is not answered twice: that would count for another that came with it
        let unanswered = delivery.filter(|_| !answered.load(Ordering::Relaxed));
        for delivery in again.iter().chain(&unanswered) {
            shared.acks.give_back(delivery).await;
        }
    }
}

/// Parks what cannot be used, whole, and acknowledges it only then. While it cannot be parked it stays unacknowledged.
async fn put_aside(shared: Arc<Shared>, delivery: Delivery, refusal: Refusal) {
    let mut said = false;
    loop {
        match park(
            &shared.publisher,
            &delivery,
            &refusal.reason,
            &refusal.error,
        )
        .await
        {
            Ok(()) => {
                tracing::warn!(
                    queue = %delivery.queue, message_id = delivery.message_id.as_deref(),
                    reason = refusal.reason.as_str(), error = refusal.error,
                    "a message nobody can use was parked"
                );
                return shared.acks.acknowledge([delivery]).await;
            }
            Err(error) => {
                say_once(&mut said, &delivery, &error);
                if !delivery.is_current() {
                    return shared.acks.lost(&delivery);
                }
            }
        }
        tokio::select! {
            () = shared.draining.cancelled() => return shared.acks.give_back(&delivery).await,
            () = tokio::time::sleep(PARK_AGAIN) => {}
        }
    }
}

fn say_once(said: &mut bool, delivery: &Delivery, error: &ParkError) {
    if !std::mem::replace(said, true) {
        tracing::error!(
            queue = %delivery.queue, %error,
            "a message nobody can use cannot be parked either; it is kept and tried again"
        );
    }
}
