//! One way through the broker alone: so many published and confirmed, then so many consumed and acknowledged.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use lapin::options::{BasicAckOptions, BasicCancelOptions};

use super::link::{Link, confirmed};
use super::{BATCH_MAX, TASKS};

/// How long each half took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) published: Duration,
    pub(crate) consumed: Duration,
}

/// Publishes so many into a queue; done when the broker has them. The confirms of one batch are awaited while the next is on its way.
pub(crate) async fn fill(link: &Link, queue: &str, body_bytes: usize, count: usize) -> Result<()> {
    let body = vec![b't'; body_bytes];
    let mut open = Vec::new();
    let mut left = count;
    while left > 0 {
        let some = left.min(BATCH_MAX);
        let sent = link.publish(queue, &body, some).await?;
        confirmed(std::mem::replace(&mut open, sent)).await?;
        left -= some;
    }
    confirmed(open).await
}

/// Both halves, one after the other, on a queue of its own.
pub(crate) async fn flow(link: &Link, body_bytes: usize, count: usize) -> Result<Flow> {
    link.make_queues().await?;
    let began = Instant::now();
    fill(link, TASKS, body_bytes, count).await?;
    let published = began.elapsed();
    let began = Instant::now();
    let consumer = link.consume(TASKS).await?;
    let tag = consumer.tag();
    let mut ready = consumer.ready_chunks(BATCH_MAX);
    let mut taken = 0;
    while taken < count {
        let batch = ready
            .next()
            .await
            .context("the broker ended the consumer")?;
        taken += batch.len();
        let mut last = 0;
        for delivery in batch {
            last = delivery?.delivery_tag;
        }
        let multiple = BasicAckOptions { multiple: true };
        link.consuming.basic_ack(last, multiple).await?;
    }
    let consumed = began.elapsed();
    link.consuming
        .basic_cancel(tag, BasicCancelOptions::default())
        .await?;
    link.remove_queues().await?;
    Ok(Flow {
        published,
        consumed,
    })
}
