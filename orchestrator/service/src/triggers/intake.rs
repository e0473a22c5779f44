//! Consumes `baton.triggers`: a bounded prefetch, a batch at a time. What cannot be read is put aside whole; what can is acknowledged when
//! all it causes is committed, and never before. While the loop has no room, nothing is taken, and the broker keeps what comes.
//!
//! How often an event was delivered says nothing about itself, since all that is in hand with it is counted alike. One that was delivered again
//! and again is tried alone (`hot/trial.rs`), and put aside only when the orchestrator died over it, and over nothing else, a few times.

use std::time::Duration;

use baton_bus::{ConsumeSpec, Delivery, Losses};
use baton_messages::{DeadReason, Event, topology};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::{Incoming, Shared, cloudevents};
use crate::decode::Unusable;
use crate::hot::parking::put_aside;
use crate::hot::suspect;
use crate::hot::trial::{DEATHS_MAX, TRY_MAX};
use crate::masks;

/// Longest wait for what an earlier process had kept: some tries of it. Whatever takes longer holds up no event that comes.
const CAUGHT_UP_MAX: Duration = Duration::from_secs(30);
/// How long a batch waits for more: a flood makes batches by itself, a single event should not wait.
const LINGER: Duration = Duration::ZERO;

/// Consumes until the bus stops its consumers or the taker is gone.
pub(super) async fn consume(
    shared: Shared,
    taker: mpsc::Sender<Incoming>,
    prefetch: u16,
    batch_max: usize,
    instance: String,
) {
    let mut consumer = shared
        .bus
        .consume(ConsumeSpec {
            queue: topology::TRIGGERS.to_owned(),
            prefetch,
            exclusive_queue: None,
            consumer_tag: format!("triggers-{instance}"),
        })
        .await;
    let mut losses = Losses::default();
    // Never more than the prefetch: each holds a delivery that is not answered.
    let mut answering: JoinSet<()> = JoinSet::new();
    // Those of them that were tried alone and came to no end in time: nothing waits for them.
    let mut slow: JoinSet<()> = JoinSet::new();
    while let Some(batch) = consumer.next_batch(batch_max, LINGER).await {
        while answering.try_join_next().is_some() || slow.try_join_next().is_some() {}
        if let Some(first) = batch.first() {
            losses.saw(first.tag);
        }
        let (suspects, batch): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|delivery| losses.suspects(delivery.deliveries));
        let (mut events, mut deliveries) = (Vec::new(), Vec::new());
        for delivery in batch {
            match cloudevents::of_delivery(&delivery) {
                Ok(event) => {
                    events.push(event);
                    deliveries.push(delivery);
                }
                Err(why) => {
                    answering.spawn(aside(shared.clone(), delivery, why));
                }
            }
        }
        if let Some(done) = hand_on(&taker, events).await {
            answering.spawn(answered(done, deliveries));
        }
        for suspect in suspects {
            // nothing else in hand
            while answering.join_next().await.is_some() {}
            match alone(&shared, &taker, &suspect).await {
                Tried::Over => {}
                Tried::Unusable(why) => {
                    answering.spawn(aside(shared.clone(), suspect, why));
                }
                Tried::Slow(done) => {
                    slow.spawn(answered(done, vec![suspect]));
                }
            }
        }
        if taker.is_closed() {
            break;
        }
    }
    // What was taken before the end is finished in the time that is left.
    while answering.join_next().await.is_some() {}
    while slow.join_next().await.is_some() {}
}

/// What came of an event that was tried alone.
enum Tried {
    /// It is answered, or the process stops.
    Over,
    /// It is put aside.
    Unusable(Unusable),
    /// It takes longer than what kills a process does: the try is over, and it is answered when it is done.
    Slow(oneshot::Receiver<()>),
}

/// Has events taken in; told when all they cause is committed. None when there are none, or the taker is gone.
async fn hand_on(
    taker: &mpsc::Sender<Incoming>,
    events: Vec<Event>,
) -> Option<oneshot::Receiver<()>> {
    if events.is_empty() {
        return None;
    }
    let (done, told) = oneshot::channel();
    let incoming = Incoming {
        events,
        secret: None,
        keep: false,
        again: Vec::new(),
        kept: None,
        done: Some(done),
    };
    taker.send(incoming).await.ok().map(|()| told)
}

async fn answered(done: oneshot::Receiver<()>, deliveries: Vec<Delivery>) {
    // not told: the process stops; what is not acknowledged comes again
    if done.await.is_ok() {
        for delivery in &deliveries {
            // a stale one comes again and is recognised
            let _ = delivery.ack().await;
        }
    }
}

/// Tries one event that was delivered again and again, with nothing beside it.
async fn alone(shared: &Shared, taker: &mpsc::Sender<Incoming>, delivery: &Delivery) -> Tried {
    // What an earlier process had kept is carried out first, each of it alone: whoever held the one try meanwhile would wait for that, and that for him. Told or
    // not: it may be over as well.
    let _ = shared.router.caught_up(CAUGHT_UP_MAX).await;
    let Some(begun) = shared.router.alone(suspect::name(delivery), 0).await else {
        return Tried::Over;
    };
    if begun.deaths >= DEATHS_MAX {
        let error = format!(
            "the orchestrator died {} times while it worked on this event alone; it was delivered {} times",
            begun.deaths, delivery.deliveries
        );
        return Tried::Unusable(Unusable::new(DeadReason::DeliveredTooOften, error));
    }
    let event = match cloudevents::of_delivery(delivery) {
        Ok(event) => event,
        Err(why) => {
            begun.over();
            return Tried::Unusable(why);
        }
    };
    let Some(done) = hand_on(taker, vec![event]).await else {
        return Tried::Over;
    };
    match in_time(done).await {
        Ok(true) => {
            begun.over();
            // a stale one comes again and is recognised
            let _ = delivery.ack().await;
            Tried::Over
        }
        Ok(false) => Tried::Over,
        // dropped, the try says nothing about it
        Err(done) => Tried::Slow(done),
    }
}

/// Whether all that an event causes is committed, or the process stops before; given back where neither comes in time.
async fn in_time(mut done: oneshot::Receiver<()>) -> Result<bool, oneshot::Receiver<()>> {
    match tokio::time::timeout(TRY_MAX, &mut done).await {
        Ok(told) => Ok(told.is_ok()),
        Err(_) => Err(done),
    }
}

async fn aside(shared: Shared, delivery: Delivery, why: Unusable) {
    tracing::warn!(
        reason = why.reason.as_str(),
        error = %masks::text(&why.error),
        queue = &*delivery.queue,
        message_id = delivery.message_id.as_deref().unwrap_or(""),
        "an event cannot be used and is put aside"
    );
    put_aside(&shared.bus.publisher(), &delivery, &why).await;
    // a stale one comes again and is put aside under the same id
    let _ = delivery.ack().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_try_that_takes_long_is_waited_for_no_longer_and_answered_all_the_same() {
        let (done, told) = oneshot::channel();
        let began = tokio::time::Instant::now();
        let Err(told) = in_time(told).await else {
            panic!("it has not come to an end")
        };
        assert!(began.elapsed() >= TRY_MAX);
        done.send(()).unwrap();
        assert!(told.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_is_over_when_its_end_is_told_or_never_will_be() {
        let (done, told) = oneshot::channel();
        done.send(()).unwrap();
        assert!(matches!(in_time(told).await, Ok(true)));
        let (done, told) = oneshot::channel();
        drop(done);
        assert!(matches!(in_time(told).await, Ok(false)));
    }
}
