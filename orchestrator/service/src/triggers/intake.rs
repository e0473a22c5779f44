//! Consumes `baton.triggers`: a bounded prefetch, a batch at a time. What cannot be read is put aside whole; what can is acknowledged when
//! all it causes is committed, and never before. While the loop has no room, nothing is taken, and the broker keeps what comes.

use std::time::Duration;

use baton_bus::{ConsumeSpec, Delivery};
use baton_messages::topology;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::{Incoming, Shared, cloudevents};
use crate::decode::Unusable;
use crate::hot::parking::put_aside;

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
    // Never more than the prefetch: each holds a delivery that is not answered.
    let mut answering: JoinSet<()> = JoinSet::new();
    while let Some(batch) = consumer.next_batch(batch_max, LINGER).await {
        while answering.try_join_next().is_some() {}
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
        if events.is_empty() {
            continue;
        }
        let (done, told) = oneshot::channel();
        let incoming = Incoming {
            events,
            secret: None,
            keep: false,
            kept: None,
            done: Some(done),
        };
        if taker.send(incoming).await.is_err() {
            break;
        }
        answering.spawn(async move {
            // not told: the process stops; what is not acknowledged comes again
            if told.await.is_ok() {
                for delivery in &deliveries {
                    // a stale one comes again and is recognised
                    let _ = delivery.ack().await;
                }
            }
        });
    }
    // What was taken before the end is finished in the time that is left.
    while answering.join_next().await.is_some() {}
}

async fn aside(shared: Shared, delivery: Delivery, why: Unusable) {
    tracing::warn!(
        reason = why.reason.as_str(),
        error = %why.error,
        queue = &*delivery.queue,
        message_id = delivery.message_id.as_deref().unwrap_or(""),
        "an event cannot be used and is put aside"
    );
    put_aside(&shared.bus.publisher(), &delivery, &why).await;
    // a stale one comes again and is put aside under the same id
    let _ = delivery.ack().await;
}
