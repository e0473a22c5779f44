//! A model of a worker: what it serves, what it holds, and how each run stands. What it does with them is in [`crate::run`].

use std::collections::BTreeMap;

use baton_messages::{
    Direction, Finished, Hold, PoolName, RunId, Task, TaskResult, Timestamp, WorkerId,
};
use serde_json::Value;

use crate::broker::Message;
use crate::event::Said;
use crate::fault::Fault;
use crate::plan::{Kind, Play};

/// What a worker keeps of its lease, and gives a run after its time limit, to kill it.
pub const KILL_GRACE_MS: u64 = 10_000;
/// How often a worker that holds claims sends a heartbeat.
pub const HEARTBEAT_MS: u64 = 5_000;
/// How long before a claim without an answer is asked again.
pub const ASK_AGAIN_MS: u64 = 2_000;
/// How long a claim is asked for in all.
pub const ASK_MS_MAX: u64 = 30_000;

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Delivered, not begun.
    Held,
    /// Its claim is asked for.
    Asking,
    /// Its automation runs.
    Entered,
    /// It has ended; its report is on its way.
    Ended,
}

/// One execution of one attempt.
#[derive(Debug, Clone)]
pub struct Run {
    /// The task.
    pub task: Task,
    /// The execution.
    pub id: RunId,
    /// The delivery, while it is not acknowledged.
    pub delivery: Option<Message<Task>>,
    /// Whether it was delivered before.
    pub redelivered: bool,
    /// Whether it asks although its type is held late.
    pub asks: bool,
    /// The connection it came by.
    pub connection: u64,
    /// How far it has come.
    pub stage: Stage,
    /// When its automation was entered.
    pub entered_at: Option<u64>,
    /// When its lease was last renewed, as the worker sees it.
    pub renewed_at: u64,
    /// When its claim was first asked for.
    pub asked_at: u64,
    /// What its automation will do.
    pub play: Play,
    /// Whether it has acted.
    pub acted: bool,
    /// The before-image it was told of.
    pub known_before: Option<Value>,
    /// The before-image it stored itself.
    pub stored_before: Option<Value>,
    /// Whether it was asked to stop.
    pub cancelled: bool,
    /// What came of an undo or a probe.
    pub answer: Option<TaskResult>,
}

impl Run {
    /// Whether it asks before it acts, and then lives under a lease: by its type, or because another may hold the same sending. That a
    /// delivery is not marked as redelivered proves that nobody had it before; that it is marked proves nothing, and so it asks.
    #[must_use]
    pub const fn claims(&self) -> bool {
        matches!(self.task.hold, Hold::Claim) || self.asks
    }

    /// From when on its worker lets it do nothing more, and why.
    #[must_use]
    pub fn killed_at(&self) -> (u64, &'static str) {
        let time = self
            .entered_at
            .map_or(u64::MAX, |at| at + self.task.timeout_ms + KILL_GRACE_MS);
        let lease = if self.claims() {
            self.lease_end()
        } else {
            u64::MAX
        };
        if lease < time {
            (lease, "lease-lost")
        } else {
            (time, "timeout")
        }
    }

    /// When its lease is over, as its worker counts.
    #[must_use]
    pub fn lease_end(&self) -> u64 {
        let grace = KILL_GRACE_MS.min(self.task.lease_ms / 2);
        self.renewed_at + self.task.lease_ms - grace / 2
    }

    /// Whether it only takes back or only asks.
    #[must_use]
    pub fn is(&self, direction: Direction) -> bool {
        self.task.of.direction == direction
    }
}

/// One worker process, over all its lives.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Its name.
    pub id: WorkerId,
    /// Which life of it this is: what was scheduled for an earlier one is void.
    pub life: u64,
    /// Whether it runs.
    pub up: bool,
    /// Until when it is stopped.
    pub stopped_until: u64,
    /// Whether it takes nothing new.
    pub draining: bool,
    /// Whether it is connected.
    pub connected: bool,
    /// Which connection this is.
    pub connection: u64,
    /// How far its clock is ahead, or behind.
    pub skew_ms: i64,
    /// Its pool.
    pub pool: PoolName,
    /// What it serves.
    pub kinds: Vec<&'static Kind>,
    /// How many tasks it runs at once.
    pub slots: usize,
    /// What it runs.
    pub runs: BTreeMap<u64, Run>,
    /// The number of its next run.
    pub next_run: u64,
    /// Whether its heart beats.
    pub beating: bool,
    /// Heartbeats of this life.
    pub beats: u64,
    /// What it has to say and has not handed over; gone with its process.
    pub ready: Vec<Said>,
}

impl Worker {
    /// A worker that has not come up yet.
    #[must_use]
    pub const fn new(
        id: WorkerId,
        pool: PoolName,
        kinds: Vec<&'static Kind>,
        slots: usize,
    ) -> Self {
        Self {
            id,
            life: 0,
            up: false,
            stopped_until: 0,
            draining: false,
            connected: false,
            connection: 0,
            skew_ms: 0,
            pool,
            kinds,
            slots,
            runs: BTreeMap::new(),
            next_run: 0,
            beating: false,
            beats: 0,
            ready: Vec::new(),
        }
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self, now_ms: u64) -> Timestamp {
        Timestamp(now_ms.saturating_add_signed(self.skew_ms))
    }

    /// Whether it can be spoken to.
    #[must_use]
    pub const fn hears(&self) -> bool {
        self.up && self.connected
    }

    /// Whether it takes a task.
    #[must_use]
    pub fn takes(&self, now_ms: u64) -> bool {
        self.hears()
            && !self.draining
            && self.stopped_until <= now_ms
            && self.runs.len() < self.slots
    }

    /// The report of a run.
    #[must_use]
    pub fn report(
        &self,
        run: &Run,
        result: TaskResult,
        now_ms: u64,
        fault: Option<Fault>,
    ) -> Finished {
        let whole = !run.redelivered && self.connected && run.connection == self.connection;
        Finished {
            of: run.task.of.clone(),
            run: run.id,
            worker: self.id.clone(),
            started: run.entered_at.is_some(),
            sole: run.task.hold == Hold::Claim || whole,
            result,
            before: if fault == Some(Fault::ImageLost) {
                None
            } else {
                run.stored_before.clone()
            },
            progress: None,
            started_at: self.clock(run.entered_at.unwrap_or(now_ms)),
            finished_at: self.clock(now_ms),
        }
    }
}
