//! What every part of one worker knows.

use std::sync::Arc;

use baton_bus::Publisher;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::acks::AckBook;
use crate::lane::Lane;
use crate::options::WorkerOptions;
use crate::runs::Runs;

/// What every part of one worker knows.
pub(crate) struct Shared {
    pub(crate) options: WorkerOptions,
    pub(crate) lane: Lane,
    pub(crate) runs: Arc<Runs>,
    pub(crate) acks: Arc<AckBook>,
    /// One permit for each task that runs, from before it begins until its report is confirmed.
    pub(crate) permits: Arc<Semaphore>,
    /// One permit for all queues: whoever reads a message under suspicion has it until that message is answered. Taken before a permit to run, and
    /// nobody who runs waits for it.
    pub(crate) trial: Semaphore,
    pub(crate) publisher: Publisher,
    /// An orchestrator has asked who is there.
    pub(crate) called: Notify,
    /// Nothing new is taken from here on.
    pub(crate) draining: CancellationToken,
}

impl Shared {
    /// How many tasks are in hand: running, waiting for a grant, or ended and not yet confirmed.
    pub(crate) fn in_hand(&self) -> usize {
        (self.options.concurrency as usize).saturating_sub(self.permits.available_permits())
    }
}
