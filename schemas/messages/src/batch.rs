//! Several reports, or several requests for sagas, for one inbox in one message, and several tasks for one queue. A broker's cost is the number of messages, not their
//! bytes; a worker under load has many reports waiting for the same inbox anyway, a service may have many sagas to ask for, and an orchestrator many short tasks of one
//! type. What holds for one alone holds for each in here; the envelope itself says nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::inbox::{Checkpoint, Finished, InboxMessage, Start, Started};
use crate::task::TaskMessage;

/// Most reports in one batch: as many as make the message's own cost vanish, few enough that one turn of an orchestrator takes several.
pub const REPORTS_MAX: usize = 128;
/// Most requests for sagas in one batch, for the same reasons.
pub const STARTS_MAX: usize = 128;
/// Most tasks in one batch: as many as make the message's own cost vanish. How many a worker takes it says itself ([`crate::headers::TOGETHER`]).
pub const TASKS_MAX: usize = 64;
/// The size a batch is filled up to, in bytes of body: a few AMQP frames. A report that is larger goes alone.
pub const BATCH_BYTES_MAX: usize = 96 * 1024;

/// Reports of one worker for one inbox, in the order they were made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportBatch {
    /// They.
    #[serde(deserialize_with = "reports")]
    #[schemars(length(min = 1, max = REPORTS_MAX))]
    pub reports: Vec<Report>,
}

/// Requests of one caller for one inbox, taken in their order. Each saga is started or refused by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartBatch {
    /// They.
    #[serde(deserialize_with = "starts")]
    #[schemars(length(min = 1, max = STARTS_MAX))]
    pub starts: Vec<Start>,
}

/// Several tasks on `baton.tasks`, only for a queue whose workers have all said that they take tasks of this type together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum TasksMessage {
    /// They.
    #[serde(rename = "tasks@1")]
    Tasks(TaskBatch),
}

/// Tasks of one type for one pool, in no order that means anything. Each is held, run and reported as if it had come alone; the message is acknowledged when each of
/// them is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskBatch {
    /// They, each under the tag it has alone.
    #[serde(deserialize_with = "tasks")]
    #[schemars(length(min = 1, max = TASKS_MAX))]
    pub tasks: Vec<TaskMessage>,
}

impl TasksMessage {
    /// The AMQP `type` property of this message: kind and version.
    pub const KIND: &'static str = "tasks@1";

    /// As [`Self::KIND`].
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Tasks(_) => Self::KIND,
        }
    }
}

/// What may stand in a batch of reports: what a worker says of one attempt, under the same tag as alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Report {
    /// A worker asks to act on a claimed task.
    #[serde(rename = "started@1")]
    Started(Started),
    /// A running task has something to keep.
    #[serde(rename = "checkpoint@1")]
    Checkpoint(Checkpoint),
    /// An attempt has ended.
    #[serde(rename = "finished@1")]
    Finished(Finished),
}

impl From<Report> for InboxMessage {
    fn from(report: Report) -> Self {
        match report {
            Report::Started(m) => Self::Started(m),
            Report::Checkpoint(m) => Self::Checkpoint(m),
            Report::Finished(m) => Self::Finished(m),
        }
    }
}

fn reports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Report>, D::Error> {
    let reports = Vec::deserialize(deserializer)?;
    bounded(reports, REPORTS_MAX)
}

fn tasks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TaskMessage>, D::Error> {
    let tasks = Vec::deserialize(deserializer)?;
    bounded(tasks, TASKS_MAX)
}

fn starts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Start>, D::Error> {
    let starts = Vec::deserialize(deserializer)?;
    bounded(starts, STARTS_MAX)
}

fn bounded<T, E: serde::de::Error>(some: Vec<T>, most: usize) -> Result<Vec<T>, E> {
    let n = some.len();
    if (1..=most).contains(&n) {
        return Ok(some);
    }
    Err(E::invalid_length(
        n,
        &"at least one and not more than a batch may hold",
    ))
}
