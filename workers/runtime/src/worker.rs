//! One worker: its parts put together, and the order in which it ends.
//!
//! ```text
//! baton.task.<pool>.<type> ──▶ intake ──▶ hold (late | claim) ──▶ entered ──▶ report lane ──▶ baton.inbox
//!                                            ▲ grant, cancel, drain
//! baton.control.<worker> ────▶ control ──────┘          presence ──▶ baton.fleet (heartbeats renew leases)
//! ```
//!
//! The end, in order: take nothing new and give back what was not begun; let what runs finish within the grace; ask the rest to stop, and
//! drop what does not; see every report confirmed; say goodbye; close the bus.

use std::sync::Arc;
use std::time::Duration;

use baton_bus::{Bus, ConsumeSpec};
use baton_messages::topology;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::acks::AckBook;
use crate::control::{listen, obey};
use crate::intake::Intake;
use crate::lane::lane;
use crate::options::{CONCURRENCY_MAX, WorkerOptions};
use crate::presence::{announce, beat, leave};
use crate::registry::Registry;
use crate::runs::Runs;
use crate::shared::Shared;
use crate::stop::Why;

/// How long the dropped runs of a drain may take to be gone: grace to answer, threads waited for, and some air.
const DROPPED_WAIT: Duration = Duration::from_secs(8);
/// How long a drain waits for its last reports to be confirmed. What is not confirmed by then is not lost: a late task is handed on, and
/// the lease of a claimed one runs out.
const REPORTS_WAIT: Duration = Duration::from_secs(10);
/// How long saying goodbye may take.
const LEAVING_WAIT: Duration = Duration::from_secs(1);
/// How long the bus may take to close.
const BUS_WAIT: Duration = Duration::from_secs(5);

/// Why a worker cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Too many or no tasks at once.
    #[error("concurrency {0} is not from 1 to {CONCURRENCY_MAX}")]
    Concurrency(u32),
    /// Nothing to take tasks from.
    #[error("no pool is named: a worker takes the tasks of its pools")]
    NoPool,
    /// Nothing to run.
    #[error("no automation is registered: a worker runs automations")]
    NoAutomation,
}

/// One worker, not yet running.
pub struct Worker {
    bus: Bus,
    registry: Registry,
    shared: Arc<Shared>,
    reports: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    reports_over: CancellationToken,
    tasks: TaskTracker,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("id", &self.shared.options.id)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

/// Looks at a worker, and drains it, from elsewhere.
#[derive(Clone)]
pub struct WorkerHandle {
    shared: Arc<Shared>,
}

impl WorkerHandle {
    /// How many tasks are in hand: running, waiting for a grant, or ended and not yet confirmed.
    #[must_use]
    pub fn in_hand(&self) -> usize {
        self.shared.in_hand()
    }

    /// Whether it takes nothing new any more.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.draining.is_cancelled()
    }

    /// Takes nothing new from now on; [`Worker::run`] returns when all is ended.
    pub fn drain(&self) {
        self.shared.draining.cancel();
    }
}

impl Worker {
    /// Puts a worker together. Nothing runs before [`Worker::run`].
    ///
    /// # Errors
    /// [`WorkerError`] when it could never run a task.
    pub fn new(bus: Bus, registry: Registry, options: WorkerOptions) -> Result<Self, WorkerError> {
        if options.concurrency == 0 || options.concurrency > CONCURRENCY_MAX {
            return Err(WorkerError::Concurrency(options.concurrency));
        }
        if options.pools.is_empty() {
            return Err(WorkerError::NoPool);
        }
        if registry.types().next().is_none() {
            return Err(WorkerError::NoAutomation);
        }
        let runs = Arc::new(Runs::default());
        let reports_over = CancellationToken::new();
        let acks = Arc::new(AckBook::default());
        let (lane, reports) = lane(
            bus.publisher(),
            runs.clone(),
            acks.clone(),
            reports_over.clone(),
        );
        let shared = Arc::new(Shared {
            lane,
            runs,
            acks,
            permits: Arc::new(Semaphore::new(options.concurrency as usize)),
            trial: Semaphore::new(1),
            publisher: bus.publisher(),
            called: Notify::new(),
            draining: CancellationToken::new(),
            options,
        });
        Ok(Self {
            bus,
            registry,
            shared,
            reports: Box::pin(reports),
            reports_over,
            tasks: TaskTracker::new(),
        })
    }

    /// A handle to look at it while it runs.
    #[must_use]
    pub fn handle(&self) -> WorkerHandle {
        WorkerHandle {
            shared: self.shared.clone(),
        }
    }

    /// Works until `cancel` is cancelled, or a drain is asked for on the bus; then ends in order, and closes the bus.
    ///
    /// The bus must not be told to stop by the same token: reports go out and cancels come in until the end.
    pub async fn run(self, cancel: CancellationToken) {
        let shared = self.shared.clone();
        let reports = tokio::spawn(self.reports);
        // Control first, on a connection that is there: a grant must find somebody who listens.
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.bus.ready() => {}
        }
        let control = listen(&self.bus, &shared.options.id).await;
        let mut always = JoinSet::new();
        always.spawn(obey(shared.clone(), control));
        always.spawn(announce(
            shared.clone(),
            self.registry.manifests(),
            self.bus.state(),
        ));
        always.spawn(beat(shared.clone(), self.registry.all()));
        let mut intakes = intakes(&self.bus, &self.registry, &shared, &self.tasks);
        tracing::info!(
            worker = %shared.options.id, concurrency = shared.options.concurrency,
            types = intakes.len(), "working"
        );
        tokio::select! {
            biased;
            () = cancel.cancelled() => shared.draining.cancel(),
            () = shared.draining.cancelled() => {}
            // A part that is gone takes nothing more, or beats no more, and nobody would see it: whoever starts this worker starts it again.
            Some(ended) = intakes.join_next() => given_up(&shared, ended),
            Some(Err(ended)) = always.join_next() => given_up(&shared, Err(ended)),
        }
        tracing::info!(in_hand = shared.in_hand(), "draining: nothing new is taken");
        while intakes.join_next().await.is_some() {}
        finish_tasks(&shared, &self.tasks).await;
        self.reports_over.cancel();
        if tokio::time::timeout(REPORTS_WAIT, reports).await.is_err() {
            tracing::warn!(
                "the last reports could not be confirmed in time; their tasks are handed on by the broker, or when their leases are over"
            );
        }
        always.shutdown().await;
        // A goodbye is a courtesy; the leases say the same a little later.
        let _ = tokio::time::timeout(LEAVING_WAIT, leave(&shared)).await;
        self.bus.shutdown(BUS_WAIT).await;
        tracing::info!("ended");
    }
}

fn given_up(shared: &Shared, ended: Result<(), JoinError>) {
    let error = ended.err().map(|error| error.to_string());
    tracing::error!(
        error,
        "a part of the worker ended by itself, which is a defect; it ends in order, start it again"
    );
    shared.draining.cancel();
}

/// One intake for each type in each pool.
fn intakes(
    bus: &Bus,
    registry: &Registry,
    shared: &Arc<Shared>,
    tasks: &TaskTracker,
) -> JoinSet<()> {
    let mut intakes = JoinSet::new();
    let prefetch = u16::try_from(shared.options.concurrency).unwrap_or(u16::MAX);
    for pool in &shared.options.pools {
        for (task_type, served) in registry.types() {
            let spec = ConsumeSpec {
                queue: topology::task_queue(pool, task_type),
                prefetch,
                exclusive_queue: None,
                consumer_tag: format!("{}.{pool}.{task_type}", shared.options.id),
            };
            let (bus, shared, served, tasks) =
                (bus.clone(), shared.clone(), served.clone(), tasks.clone());
            intakes.spawn(async move {
                let consumer = bus.consume(spec).await;
                let intake = Intake {
                    shared,
                    served,
                    tasks,
                };
                intake.run(consumer).await;
            });
        }
    }
    intakes
}

/// Lets what runs finish; what does not within the grace is asked to stop, and dropped.
async fn finish_tasks(shared: &Shared, tasks: &TaskTracker) {
    tasks.close();
    let grace = Duration::from_millis(shared.options.drain_grace_ms);
    if tokio::time::timeout(grace, tasks.wait()).await.is_ok() {
        return;
    }
    tracing::warn!(
        in_hand = shared.in_hand(),
        "the grace period of the drain is over: what still runs is ended"
    );
    shared.runs.stop_all(Why::Drained);
    let wait = Duration::from_millis(shared.options.kill_grace_ms) + DROPPED_WAIT;
    if tokio::time::timeout(wait, tasks.wait()).await.is_err() {
        tracing::error!(
            in_hand = shared.in_hand(),
            "some runs cannot be ended: an automation blocks its thread; use Context::blocking in it"
        );
    }
}
