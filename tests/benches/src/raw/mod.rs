//! The reference: the same messages over the same broker with nothing in between. What lapin gives to somebody who uses
//! it well, and so the most that an orchestrator on lapin can be asked for.
//!
//! A step: the orchestrator's side publishes a persistent task to a quorum queue, confirmed; a worker, its own process,
//! publishes a persistent result, confirmed, and acknowledges the task after that; the orchestrator's side takes the
//! result and acknowledges it. Confirms are pipelined, acknowledgements are multiple, everything ready is taken at once.

mod flow;
mod link;
mod orchestrator;
pub(crate) mod worker;

use std::time::Duration;

use anyhow::Result;
use baton_harness::{Launch, Process};

use crate::cpu::Cpu;
pub(crate) use flow::{fill, flow};
pub(crate) use link::Link;

/// Tasks of the reference.
pub(crate) const TASKS: &str = "bench.raw.task";
/// Results of the reference.
const RESULTS: &str = "bench.raw.result";
/// Bytes of each body, as of a small task of ours.
const BODY_BYTES: usize = 500;
/// Deliveries the broker hands out before the first is acknowledged.
const PREFETCH: u16 = 1_000;
/// Most deliveries handled as one batch.
const BATCH_MAX: usize = 512;
/// Batches whose confirms are awaited; more are not published before the first is through.
const BATCHES_IN_FLIGHT: usize = 64;

/// What one run of the reference gave.
#[derive(Debug, Clone)]
pub(crate) struct RawRun {
    /// Steps in the time from the first publish to the last result.
    pub(crate) steps: usize,
    pub(crate) took: Duration,
    /// Round trip of every step, in the order of their ends.
    pub(crate) trips: Vec<Duration>,
    /// CPU of the orchestrator's side.
    pub(crate) orchestrator: Cpu,
    pub(crate) worker: Cpu,
}

impl RawRun {
    pub(crate) fn steps_per_s(&self) -> f64 {
        self.steps as f64 / self.took.as_secs_f64()
    }
}

/// The reference on one broker: queues, the worker's process and a link to the broker, ready for runs.
pub(crate) struct Raw {
    link: Link,
    worker: Process,
}

impl Raw {
    /// Makes the queues and starts the worker. `connections` is 1 or 2 for each process.
    pub(crate) async fn start(url: &str, connections: usize) -> Result<Self> {
        let link = Link::open(url, connections).await?;
        link.make_queues().await?;
        let mut worker = Launch::program("raw-worker", std::env::current_exe()?)
            .args(["raw-worker", url, &connections.to_string()])
            .start();
        worker
            .wait_for_line(worker::READY, Duration::from_secs(30))
            .await;
        Ok(Self { link, worker })
    }

    /// Runs so many steps with at most `in_flight` of them under way.
    pub(crate) async fn run(&self, steps: usize, in_flight: usize) -> Result<RawRun> {
        let (mine, its) = (Cpu::own()?, Cpu::of(self.worker.pid())?);
        let (took, trips) = orchestrator::run(&self.link, steps, in_flight).await?;
        Ok(RawRun {
            steps,
            took,
            trips,
            orchestrator: Cpu::own()?.since(mine),
            worker: Cpu::of(self.worker.pid())?.since(its),
        })
    }

    /// Ends the worker and removes the queues, so that the next run finds nothing of this one.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.worker.kill9();
        self.link.remove_queues().await?;
        self.link.close().await
    }
}
