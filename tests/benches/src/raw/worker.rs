//! The worker's side of the reference: a result for every task, the task acknowledged when the broker has the result.

use std::io::Write as _;

use anyhow::{Result, bail};
use futures::StreamExt as _;
use lapin::options::BasicAckOptions;
use tokio::sync::mpsc;

use super::link::{Link, confirmed};
use super::{BATCH_MAX, BATCHES_IN_FLIGHT, BODY_BYTES, RESULTS, TASKS};

/// What it prints when it takes tasks.
pub(crate) const READY: &str = "raw worker takes tasks";

/// Works until the broker goes away or somebody ends this process.
pub(crate) async fn run(url: &str, connections: usize) -> Result<()> {
    let link = Link::open(url, connections).await?;
    let mut ready = link.consume(TASKS).await?.ready_chunks(BATCH_MAX);
    writeln!(std::io::stdout(), "{READY}")?;
    let body = vec![b'r'; BODY_BYTES];
    let (sent, mut to_confirm) = mpsc::channel(BATCHES_IN_FLIGHT);
    let publishing = async {
        while let Some(batch) = ready.next().await {
            let count = batch.len();
            let mut last_tag = 0;
            for delivery in batch {
                last_tag = delivery?.delivery_tag;
            }
            let confirms = link.publish(RESULTS, &body, count).await?;
            if sent.send((last_tag, confirms)).await.is_err() {
                break;
            }
        }
        bail!("the broker ended the consumer")
    };
    let acknowledging = async {
        while let Some((tag, confirms)) = to_confirm.recv().await {
            confirmed(confirms).await?;
            link.consuming
                .basic_ack(tag, BasicAckOptions { multiple: true })
                .await?;
        }
        Ok(())
    };
    tokio::try_join!(publishing, acknowledging).map(|(never, ())| never)
}
