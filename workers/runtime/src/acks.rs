//! Acknowledging what has been answered for, with as few frames as can be: what is done without a gap from the oldest delivery on is
//! acknowledged at once, what lies behind a gap one by one.
//!
//! The book holds every delivery that is not answered yet, from before it is looked at until its answer has gone out. So an acknowledgement
//! of many never covers one that is still at work, or whose own answer is on its way.
//!
//! A stale acknowledgement is no error: its channel is gone, the broker delivers the message again, and the report that was confirmed for it
//! is recognised by its ids.
//!
//! A delivery that brought several tasks is answered when each of them is: given back when one of them was, acknowledged otherwise.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use baton_bus::{AckTag, Delivery};
use futures::future::join_all;
use tokio::sync::Notify;

/// What is not answered yet, by channel.
#[derive(Default)]
pub(crate) struct AckBook {
    open: Mutex<HashMap<u64, BTreeMap<u64, Parts>>>,
    /// Something was answered.
    changed: Notify,
}

/// What a delivery brought, as far as it is not answered for.
#[derive(Debug, Clone, Copy)]
struct Parts {
    /// How many; at none the answer of the whole is on its way.
    left: usize,
    /// Whether one of them was given back.
    back: bool,
}

const WHOLE: Parts = Parts {
    left: 1,
    back: false,
};

/// How a delivery is answered once its last part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Done,
    GivenBack,
}

impl AckBook {
    /// Enters what has just been delivered, before anything else is done with it.
    pub(crate) fn enter(&self, batch: &[Delivery]) {
        let mut open = self.lock();
        for delivery in batch {
            let tag = delivery.tag;
            open.entry(tag.epoch).or_default().insert(tag.tag, WHOLE);
        }
    }

    /// What was delivered under this tag are so many: each is answered for by itself from here on.
    pub(crate) fn divide(&self, tag: AckTag, parts: usize) {
        let mut open = self.lock();
        let of_channel = open.get_mut(&tag.epoch);
        if let Some(whole) = of_channel.and_then(|of_channel| of_channel.get_mut(&tag.tag)) {
            whole.left = parts;
        }
    }

    /// One part is answered for; how the whole is answered, if this was the last. What the book does not hold any more is answered by each part: its channel is gone, or
    /// will be.
    fn one_less(&self, tag: AckTag, back: bool) -> Option<Answer> {
        let mut open = self.lock();
        let of_channel = open.get_mut(&tag.epoch);
        let mut alone = WHOLE;
        let parts = of_channel
            .and_then(|of_channel| of_channel.get_mut(&tag.tag))
            .unwrap_or(&mut alone);
        parts.back |= back;
        parts.left = parts.left.saturating_sub(1);
        (parts.left == 0).then_some(if parts.back {
            Answer::GivenBack
        } else {
            Answer::Done
        })
    }

    /// Forgets a channel that is gone.
    pub(crate) fn forget(&self, epoch: u64) {
        self.lock().remove(&epoch);
        self.changed.notify_waiters();
    }

    /// Nobody answers for this one any more: its channel is gone, and the broker hands it out again.
    pub(crate) fn lost(&self, delivery: &Delivery) {
        self.settled(&[delivery.tag]);
    }

    /// Returns when this one is answered, or lost.
    pub(crate) async fn answered(&self, tag: AckTag) {
        loop {
            let mut changed = pin!(self.changed.notified());
            // heard from here on: an answer between the look and the wait is not missed
            changed.as_mut().enable();
            if !self.is_open(tag) {
                return;
            }
            changed.await;
        }
    }

    fn is_open(&self, tag: AckTag) -> bool {
        let open = self.lock();
        open.get(&tag.epoch)
            .is_some_and(|of_channel| of_channel.contains_key(&tag.tag))
    }

    /// Gives one back, unused. Of several that came together the whole goes back, when the last of them is answered: those that were done are known by their reports.
    pub(crate) async fn give_back(&self, delivery: &Delivery) {
        if self.one_less(delivery.tag, true).is_some() {
            self.send_back(delivery).await;
        }
    }

    async fn send_back(&self, delivery: &Delivery) {
        if delivery.nack_requeue().await.is_err() {
            tracing::debug!(queue = %delivery.queue, "given back, but the broker had taken it back already");
        }
        self.settled(&[delivery.tag]);
    }

    /// Acknowledges every one.
    pub(crate) async fn acknowledge(&self, done: impl IntoIterator<Item = Delivery>) {
        let mut by_channel: BTreeMap<u64, Vec<Delivery>> = BTreeMap::new();
        for delivery in done {
            match self.one_less(delivery.tag, false) {
                Some(Answer::Done) => {
                    let of_channel = by_channel.entry(delivery.tag.epoch).or_default();
                    of_channel.push(delivery);
                }
                Some(Answer::GivenBack) => self.send_back(&delivery).await,
                None => {}
            }
        }
        for (epoch, mut done) in by_channel {
            done.sort_unstable_by_key(|delivery| delivery.tag.tag);
            let whole = self.whole(epoch, &done);
            let behind_gaps = done.get(whole..).unwrap_or_default();
            let last_whole = whole.checked_sub(1).and_then(|last| done.get(last));
            let mut stale = 0;
            if let Some(last) = last_whole {
                stale += usize::from(last.ack_with_earlier().await.is_err());
            }
            let singles = join_all(behind_gaps.iter().map(Delivery::ack)).await;
            stale += singles.iter().filter(|ack| ack.is_err()).count();
            if stale > 0 {
                tracing::debug!(
                    epoch,
                    stale,
                    "done, but the channel of these deliveries is gone"
                );
            }
            let tags: Vec<AckTag> = done.iter().map(|delivery| delivery.tag).collect();
            self.settled(&tags);
        }
    }

    /// How many of `done`, which is sorted, are the oldest open ones without a gap.
    fn whole(&self, epoch: u64, done: &[Delivery]) -> usize {
        let open = self.lock();
        let Some(open) = open.get(&epoch) else {
            return 0;
        };
        let tags = done.iter().map(|delivery| delivery.tag.tag);
        open.keys().zip(tags).take_while(|(o, d)| *o == d).count()
    }

    fn settled(&self, tags: &[AckTag]) {
        {
            let mut open = self.lock();
            for tag in tags {
                if let Some(of_channel) = open.get_mut(&tag.epoch) {
                    of_channel.remove(&tag.tag);
                }
            }
        }
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, BTreeMap<u64, Parts>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
