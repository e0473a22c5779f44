//! How workers make themselves known on `baton.fleet`, which every orchestrator hears: what they can do, that they live,
//! what they run. Presence is shown by these; leases are extended by them; neither is stored on the bus.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::RunId;
use crate::inbox::AttemptRef;
use crate::manifest::Manifest;
use crate::names::{PoolName, WorkerId};
use crate::time::Timestamp;

/// How often a worker sends its heartbeat, in milliseconds.
pub const HEARTBEAT_MS: u64 = 5_000;
/// How long a claimed attempt counts as alive without a heartbeat that lists it, in milliseconds, where nothing else is set:
/// six heartbeats, so that a slow minute of broker or network costs no work.
pub const LEASE_MS_DEFAULT: u64 = 30_000;
/// What a worker keeps of its lease to kill its runs and confirm their death, in milliseconds.
pub const KILL_GRACE_MS: u64 = 10_000;

/// What travels on `baton.fleet`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum FleetMessage {
    /// A worker says what it can do; sent at start, on every reconnect, at a roll call, and once a minute.
    #[serde(rename = "announcement@1")]
    Announcement(Announcement),
    /// A worker lives and runs these.
    #[serde(rename = "heartbeat@1")]
    Heartbeat(Heartbeat),
    /// A worker goes, by its own will.
    #[serde(rename = "leaving@1")]
    Leaving(Leaving),
    /// An orchestrator speaks to itself, to know that it can hear.
    #[serde(rename = "canary@1")]
    Canary(Canary),
}

/// What a worker can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Announcement {
    /// Who.
    pub worker: WorkerId,
    /// Its pools.
    pub pools: Vec<PoolName>,
    /// The version of its program.
    pub version: String,
    /// How many tasks it runs at once.
    pub concurrency: u32,
    /// Its task types, whole.
    pub types: Vec<Manifest>,
    /// Its clock.
    pub at: Timestamp,
}

/// A worker lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Who.
    pub worker: WorkerId,
    /// Number of this heartbeat since the worker started.
    pub number: u64,
    /// Every claimed run it holds.
    pub running: Vec<Running>,
    /// Its clock.
    pub at: Timestamp,
}

/// One claimed run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// The attempt.
    pub of: AttemptRef,
    /// The execution.
    pub run: RunId,
}

/// A worker goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Leaving {
    /// Who.
    pub worker: WorkerId,
}

/// An orchestrator's word to itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// Whose.
    pub orchestrator: String,
    /// Its number.
    pub number: u64,
}

impl FleetMessage {
    /// The AMQP `type` property of this message: kind and version.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Announcement(_) => "announcement@1",
            Self::Heartbeat(_) => "heartbeat@1",
            Self::Leaving(_) => "leaving@1",
            Self::Canary(_) => "canary@1",
        }
    }
}
