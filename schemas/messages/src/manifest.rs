//! A task type's manifest: what its workers announce, what the catalogue keeps, what the engine decides by.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::names::TaskType;

/// The longest time limit a type may have and still be held late: a broker closes the channel of a consumer that
/// sits on a delivery for 30 minutes, and a lost worker's task is handed on only when its connection dies.
pub const LATE_TIMEOUT_MS_MAX: u64 = 5 * 60 * 1000;

/// What an automation does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Only looks: nothing to undo, ever.
    None,
    /// Changes something that can be put back.
    Reversible,
    /// Changes something for good (a mail sent).
    Irreversible,
}

/// How a worker holds a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// Run, report confirmed, then acknowledge: the broker hands the task on when the worker dies.
    Late,
    /// Report `started`, acknowledge, act only when granted; from then on a lease.
    Claim,
}

/// How a step of this type is tried again where its definition does not say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryDefaults {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// Wait before the second attempt, in milliseconds.
    pub backoff_ms: u64,
    /// What the wait is multiplied by each time.
    pub factor: f64,
    /// The longest wait, in milliseconds.
    pub max_ms: u64,
}

impl Default for RetryDefaults {
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff_ms: 1_000,
            factor: 2.0,
            max_ms: 60_000,
        }
    }
}

/// What is known of a task type. The same major version never changes incompatibly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name and major version.
    pub task_type: TaskType,
    /// One line for people.
    pub summary: String,
    /// JSON Schema of the input.
    pub input: Value,
    /// JSON Schema of the output.
    pub output: Value,
    /// What it does to the world.
    pub effect: Effect,
    /// Whether running it twice with the same key leaves what running it once leaves.
    pub idempotent: bool,
    /// Whether it stores the state it found before it acts.
    pub before_image: bool,
    /// Whether it can take its effect back.
    pub undo: bool,
    /// Whether it can find out if its effect happened.
    pub probe: bool,
    /// Whether it can say what it would do without doing it.
    pub dry_run: bool,
    /// Name of the lock that keeps two sagas off what it acts on, if any, for people who write the `locks` of a saga: nobody takes it by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// Time limit of one attempt where the step sets none, in milliseconds.
    pub timeout_ms_default: u64,
    /// The longest time limit a step may set, in milliseconds.
    pub timeout_ms_max: u64,
    /// How long the world needs to come to rest before a probe's answer counts, in milliseconds.
    pub settle_ms: u64,
    /// How it is tried again by default.
    pub retry: RetryDefaults,
    /// What the worker's host must have, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// Inputs that show its use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Value>,
}

impl Manifest {
    /// How tasks of this type are held: late when a second run does no harm, nothing must be remembered before acting, and it is short.
    #[must_use]
    pub fn hold(&self) -> Hold {
        if self.idempotent && !self.before_image && self.timeout_ms_max <= LATE_TIMEOUT_MS_MAX {
            Hold::Late
        } else {
            Hold::Claim
        }
    }
}
