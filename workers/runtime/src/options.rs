//! What a worker is told when it is built, with every bound of it.

use baton_messages::fleet::HEARTBEAT_MS;
use baton_messages::{NameError, PoolName, WorkerId};

use crate::secrets::Secrets;

/// The most tasks one worker may run at once: its heartbeat lists them all and stays far below the largest message.
pub const CONCURRENCY_MAX: u32 = 2_000;

/// Who a worker is and within which bounds it works.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Its name, unique among all workers of one broker.
    pub id: WorkerId,
    /// The pools whose queues it takes from.
    pub pools: Vec<PoolName>,
    /// How many tasks it runs at once; also the prefetch of each of its queues. From 1 to [`CONCURRENCY_MAX`].
    pub concurrency: u32,
    /// How long a drain lets running tasks finish, in milliseconds.
    pub drain_grace_ms: u64,
    /// How long a run that was asked to stop may still answer before it is dropped, in milliseconds.
    pub kill_grace_ms: u64,
    /// After how long without an answer a claim is asked again, in milliseconds.
    pub grant_ask_ms: u64,
    /// After how long without an answer a claim is given up, in milliseconds: a worker must not hold its permits for an
    /// orchestrator that is away, and a task that was not run is offered again at no cost.
    pub grant_wait_ms_max: u64,
    /// How often it says that it lives, in milliseconds.
    pub heartbeat_ms: u64,
    /// How often it says what it can do, in milliseconds, beside once on every connection. More often than a minute, since an
    /// orchestrator that has just come up knows no other way to hear of its workers.
    pub announce_ms: u64,
    /// The version of its program.
    pub version: String,
    /// Where it finds the secrets tasks refer to; nowhere by default.
    pub secrets: Secrets,
}

impl WorkerOptions {
    /// The defaults, under this name, in the pool `default`.
    ///
    /// # Errors
    /// [`NameError`] when `id` is no worker's name.
    pub fn new(id: &str) -> Result<Self, NameError> {
        Ok(Self {
            id: WorkerId::new(id)?,
            pools: vec![PoolName::default_pool()],
            concurrency: 16,
            drain_grace_ms: 30_000,
            kill_grace_ms: 2_000,
            grant_ask_ms: 2_000,
            grant_wait_ms_max: 60_000,
            heartbeat_ms: HEARTBEAT_MS,
            announce_ms: 15_000,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            secrets: Secrets::default(),
        })
    }
}
