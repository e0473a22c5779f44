//! The orchestrator's side of the reference: keeps its window of tasks in flight and acknowledges the results.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt as _;
use lapin::options::BasicAckOptions;
use lapin::options::BasicCancelOptions;
use tokio::sync::mpsc;

use super::link::{Link, confirmed};
use super::{BATCH_MAX, BATCHES_IN_FLIGHT, BODY_BYTES, RESULTS, TASKS};

/// Runs the steps and returns how long they took, first publish to last result, and the round trip of each.
pub(super) async fn run(
    link: &Link,
    steps: usize,
    in_flight: usize,
) -> Result<(Duration, Vec<Duration>)> {
    let consumer = link.consume(RESULTS).await?;
    let tag = consumer.tag();
    let mut ready = consumer.ready_chunks(BATCH_MAX);
    let body = vec![b't'; BODY_BYTES];
    let (sent, mut to_confirm) = mpsc::channel(BATCHES_IN_FLIGHT);
    let started = Instant::now();
    let following = async {
        let mut trips = Vec::with_capacity(steps);
        // tasks come back in the order they were sent in: one queue, one worker
        let mut since = VecDeque::with_capacity(in_flight);
        let mut free = in_flight.min(steps);
        let mut unsent = steps;
        while trips.len() < steps {
            let count = free.min(unsent);
            if count > 0 {
                since.extend(std::iter::repeat_n(Instant::now(), count));
                sent.send(link.publish(TASKS, &body, count).await?).await?;
                unsent -= count;
            }
            let batch = ready
                .next()
                .await
                .context("the broker ended the consumer")?;
            free = batch.len();
            let mut last = 0;
            for delivery in batch {
                last = delivery?.delivery_tag;
                let sent_at = since.pop_front().context("a result nobody asked for")?;
                trips.push(sent_at.elapsed());
            }
            link.consuming
                .basic_ack(last, BasicAckOptions { multiple: true })
                .await?;
        }
        let took = started.elapsed();
        drop(sent);
        Ok((took, trips))
    };
    let confirming = async {
        while let Some(confirms) = to_confirm.recv().await {
            confirmed(confirms).await?;
        }
        anyhow::Ok(())
    };
    let (ran, ()) = tokio::try_join!(following, confirming)?;
    link.consuming
        .basic_cancel(tag, BasicCancelOptions::default())
        .await?;
    Ok(ran)
}
