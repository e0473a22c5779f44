//! The task: one message that asks a worker to run one attempt of a step in one direction.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::IdempotencyKey;
use crate::inbox::AttemptRef;
use crate::manifest::Hold;
use crate::names::{Direction, InboxKey, PoolName, TaskType};
use crate::present::present;
use crate::time::Timestamp;

/// What travels on `baton.tasks`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum TaskMessage {
    /// Run one attempt.
    #[serde(rename = "task@1")]
    Task(Task),
}

impl TaskMessage {
    /// The AMQP `type` property of this message: kind and version.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Task(_) => "task@1",
        }
    }
}

/// One attempt of a step, in one direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Which attempt this is; every report repeats it.
    pub of: AttemptRef,
    /// The automation to run.
    pub task_type: TaskType,
    /// The pool whose queue carries it.
    pub pool: PoolName,
    /// The name of the effect, the same for every attempt; handed to the automation.
    pub idempotency_key: IdempotencyKey,
    /// Where reports go: the routing key on `baton.inbox`.
    pub inbox: InboxKey,
    /// How the worker holds it: chosen by the type, never by the redelivered flag.
    pub hold: Hold,
    /// After this instant the worker does not act but reports `not run`; checked last thing before acting.
    pub not_after: Timestamp,
    /// Only of `hold: late`: after this instant the worker asks before it acts, as for `hold: claim`; checked last thing before acting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_after: Option<Timestamp>,
    /// The longest the attempt may act, in milliseconds, measured by the worker from the moment it acts.
    pub timeout_ms: u64,
    /// How long the attempt counts as alive without a heartbeat that lists it, in milliseconds; only for `hold: claim`.
    pub lease_ms: u64,
    /// Which of the automation's ways to run, where it is another than the direction says: `undo: { task: … }` of a definition names an automation
    /// that is run (`do`) in order to undo a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Direction>,
    /// The input, fitting the type's input schema. Of `undo` and `probe`: the input `do` was given.
    pub input: Value,
    /// Of `undo`: what `do` returned, where it is known.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub output: Option<Value>,
    /// The before-image known when this was dispatched (a grant may bring a newer one).
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub before: Option<Value>,
    /// The last progress checkpoint known when this was dispatched.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub progress: Option<Value>,
    /// The number of each lock its saga acts under, by the lock's name. Whoever is given that lock later has a higher one: a system that remembers the
    /// highest number it has seen can refuse what comes with a lower one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fences: BTreeMap<String, u64>,
}
