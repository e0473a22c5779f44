//! Puts aside what nobody can use, beside the loop: a broker that takes nothing must not hold up those whose messages are fine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_bus::{AckTag, Delivery, Publisher, park};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

use super::elsewhere;
use super::piece::Told;
use crate::decode::Unusable;
use crate::masks;

/// How many are put aside at once: each takes a lane of the publisher, and tasks need lanes more.
const PARKING_MAX: usize = 2;
/// How many messages are sent on at once.
const FORWARDS_MAX: usize = 16;
/// First and longest pause before one that could not be put aside is tried again.
const AGAIN_MIN: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(10);

/// One that is under way for longer cannot be put aside: more than a broken connection and a pause take.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Messages being put aside. No more than the prefetch of their consumer, since none of them is acknowledged yet, and the reports of the one
/// message that is taken apart.
pub(crate) struct Parking {
    publisher: Publisher,
    turns: Arc<Semaphore>,
    forwards: Arc<Semaphore>,
    parking: JoinSet<(u64, AckTag)>,
    /// Since when each is under way, counted: several may come from one delivery.
    since: BTreeMap<u64, Instant>,
    begun: u64,
}

impl Parking {
    pub(crate) fn new(publisher: Publisher) -> Self {
        Self {
            publisher,
            turns: Arc::new(Semaphore::new(PARKING_MAX)),
            forwards: Arc::new(Semaphore::new(FORWARDS_MAX)),
            parking: JoinSet::new(),
            since: BTreeMap::new(),
            begun: 0,
        }
    }

    /// Begins to put one aside.
    pub(crate) fn park(&mut self, delivery: Delivery, why: Unusable) {
        tracing::warn!(
            reason = why.reason.as_str(),
            error = %masks::text(&why.error),
            queue = &*delivery.queue,
            message_id = delivery.message_id.as_deref().unwrap_or(""),
            "a message cannot be used and is put aside"
        );
        let number = self.begun;
        self.begun += 1;
        self.since.insert(number, Instant::now());
        let (publisher, turns) = (self.publisher.clone(), self.turns.clone());
        self.parking.spawn(async move {
            let _turn = turns.acquire().await;
            put_aside(&publisher, &delivery, &why).await;
            (number, delivery.tag)
        });
    }

    /// Begins to send on what a message holds for other inboxes; tried until the broker has it, or the channel it came on is gone and it comes again.
    pub(crate) fn forward(&mut self, delivery: &Delivery, away: BTreeMap<u8, Vec<Told>>) {
        let letters = elsewhere::letters(delivery, away);
        let number = self.begun;
        self.begun += 1;
        self.since.insert(number, Instant::now());
        let (publisher, turns) = (self.publisher.clone(), self.forwards.clone());
        let delivery = delivery.clone();
        self.parking.spawn(async move {
            let _turn = turns.acquire().await;
            let mut pause = AGAIN_MIN;
            while delivery.is_current() && !elsewhere::send(&publisher, letters.clone()).await {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(AGAIN_MAX);
            }
            (number, delivery.tag)
        });
    }

    /// The next one that is put aside (or is no longer ours); waits for ever while none is under way.
    ///
    /// # Errors
    /// When the task that did it failed: which message that was is lost with it, and with it how far may be acknowledged.
    pub(crate) async fn parked(&mut self) -> Result<AckTag, JoinError> {
        match self.parking.join_next().await {
            Some(parked) => {
                let (number, tag) = parked?;
                self.since.remove(&number);
                Ok(tag)
            }
            None => std::future::pending().await,
        }
    }

    /// How many are under way.
    pub(crate) fn len(&self) -> usize {
        self.since.len()
    }

    /// How many cannot be put aside: none while the oldest is young.
    pub(crate) fn stuck(&self) -> usize {
        let old = |since: &Instant| since.elapsed() > STUCK_AFTER;
        if self.since.values().any(old) {
            self.since.len()
        } else {
            0
        }
    }
}

/// Puts one message aside, however long that takes; returns as well when it is no longer ours.
pub(crate) async fn put_aside(publisher: &Publisher, delivery: &Delivery, why: &Unusable) {
    let mut pause = AGAIN_MIN;
    while delivery.is_current() {
        match park(publisher, delivery, &why.reason, &why.error).await {
            Ok(()) => return,
            Err(error) if pause == AGAIN_MIN => {
                tracing::warn!(%error, "a message could not be put aside; it is tried again and not acknowledged before");
            }
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN_MAX);
    }
}
