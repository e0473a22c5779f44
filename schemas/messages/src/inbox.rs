//! All that sagas are told over the bus: the three reports of a worker, and a request to start a saga.
//! Travels on `baton.inbox`, keyed by the inbox number of the saga.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::batch::{ReportBatch, StartBatch};
use crate::child::{ChildSaid, ChildWanted};
use crate::ids::{IdempotencyKey, InputId, MessageId, RunId, SagaId};
use crate::names::{Direction, StepId, WorkerId};
use crate::present::present;
use crate::time::Timestamp;

/// What travels on `baton.inbox`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum InboxMessage {
    /// A worker asks to act on a claimed task.
    #[serde(rename = "started@1")]
    Started(Started),
    /// A running task has something to keep.
    #[serde(rename = "checkpoint@1")]
    Checkpoint(Checkpoint),
    /// An attempt has ended.
    #[serde(rename = "finished@1")]
    Finished(Finished),
    /// Somebody asks for a saga.
    #[serde(rename = "start@1")]
    Start(Start),
    /// The echo of a marker that its owner sent through its own inbox: all that was confirmed before it has been read.
    #[serde(rename = "marker@1")]
    Marker(Marker),
    /// Several reports of one worker at once.
    #[serde(rename = "batch@1")]
    Batch(ReportBatch),
    /// Somebody asks for several sagas at once.
    #[serde(rename = "starts@1")]
    Starts(StartBatch),
    /// A saga says what it wants of the child of one of its steps.
    #[serde(rename = "child-wanted@1")]
    ChildWanted(ChildWanted),
    /// A child says to its parent how it stands.
    #[serde(rename = "child-said@1")]
    ChildSaid(ChildSaid),
}

/// Which attempt of which step a message speaks of.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct AttemptRef {
    /// The saga.
    pub saga: SagaId,
    /// Its step.
    pub step: StepId,
    /// The item, of a step that is a loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// Which way.
    pub direction: Direction,
    /// Which doing of the step, from 1.
    pub round: u32,
    /// Which try of this direction in this round, from 1.
    pub attempt: u32,
    /// Which sending of this attempt, from 1: grows when nobody ran it and it is offered again.
    pub dispatch: u32,
}

impl AttemptRef {
    /// The id of the task message of this dispatch.
    #[must_use]
    pub fn message_id(&self) -> MessageId {
        MessageId::of_task(
            self.saga,
            &self.step,
            self.item,
            self.direction,
            self.round,
            self.attempt,
            self.dispatch,
        )
    }

    /// The key of the effect this attempt works on. `probe` asks about the effect of `do`, `undo` takes that same effect back; each direction has its own key.
    #[must_use]
    pub fn idempotency_key(&self) -> IdempotencyKey {
        IdempotencyKey::of(self.saga, &self.step, self.item, self.direction, self.round)
    }
}

/// A worker holds a claimed task and asks whether it may act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Started {
    /// The attempt.
    pub of: AttemptRef,
    /// This execution; the first of a current attempt wins.
    pub run: RunId,
    /// Whom to answer.
    pub worker: WorkerId,
    /// The worker's clock.
    pub at: Timestamp,
}

/// The two kinds of checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckpointKind {
    /// What was found before acting: write-once for a step, lowest attempt first.
    Before,
    /// How far it has come: the last one counts.
    Progress,
}

/// A small value a running task has stored durably before it acts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The attempt.
    pub of: AttemptRef,
    /// The execution.
    pub run: RunId,
    /// Which kind.
    pub kind: CheckpointKind,
    /// Number of this checkpoint within the run, from 1.
    pub number: u32,
    /// The value.
    pub value: Value,
}

/// An attempt has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finished {
    /// The attempt.
    pub of: AttemptRef,
    /// The execution.
    pub run: RunId,
    /// By whom.
    pub worker: WorkerId,
    /// Whether the automation was entered at all.
    pub started: bool,
    /// Whether no other worker can have run this dispatch: it was not redelivered and the channel it came by is still whole.
    pub sole: bool,
    /// What came of it.
    pub result: TaskResult,
    /// The before-image this run stored, repeated.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub before: Option<Value>,
    /// The last progress this run stored, repeated.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub progress: Option<Value>,
    /// The worker's clock when the automation was entered (or refused).
    pub started_at: Timestamp,
    /// The worker's clock when it ended.
    pub finished_at: Timestamp,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum TaskResult {
    /// Done; the output fits the type's output schema. Of `undo`: taken back, the output is null.
    Succeeded {
        /// What it returned.
        output: Value,
    },
    /// Provably nothing was changed and nothing started is still alive.
    Failed(Failure),
    /// It may or may not have happened.
    Unknown(Failure),
    /// The automation was not entered: too late, given back, refused.
    NotRun {
        /// Why.
        reason: String,
    },
    /// The answer of a probe.
    Probed(ProbeAnswer),
}

/// Why an attempt did not succeed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// A short stable word for machines: `timeout`, `panicked`, `http-503`, `input-misfit`.
    pub code: String,
    /// A sentence for people, without secrets.
    pub message: String,
    /// Whether another attempt may come out otherwise.
    pub retryable: bool,
    /// The soonest another attempt makes sense, in milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ProbeAnswer {
    /// `do` happened; the output it would have returned.
    Happened {
        /// Fits the type's output schema.
        output: Value,
    },
    /// `do` did not happen.
    DidNot,
    /// It cannot be told.
    CannotTell {
        /// Why not.
        reason: String,
    },
}

/// A request to start a saga.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Minted by the first sender; the same request sent again carries the same id.
    pub id: InputId,
    /// The saga to start; derived, so that the same cause is the same saga.
    pub saga: SagaId,
    /// The definition's name.
    pub definition: String,
    /// Its version; the newest when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The input.
    pub input: Value,
    /// Labels beside those of the definition.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Who or what asked: `event com.example.alarm/42`, `operator:anna`.
    pub by: String,
}

/// Sent by the owner of a partition through its own inbox before it judges by silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Marker {
    /// The orchestrator that sent it.
    pub from: String,
    /// Its number.
    pub number: u64,
}

impl InboxMessage {
    /// The saga this speaks of; none for a marker, and none for a batch, which speaks of many.
    #[must_use]
    pub const fn saga(&self) -> Option<SagaId> {
        match self {
            Self::Started(m) => Some(m.of.saga),
            Self::Checkpoint(m) => Some(m.of.saga),
            Self::Finished(m) => Some(m.of.saga),
            Self::Start(m) => Some(m.saga),
            Self::ChildWanted(m) => Some(m.child),
            Self::ChildSaid(m) => Some(m.parent.saga),
            Self::Marker(_) | Self::Batch(_) | Self::Starts(_) => None,
        }
    }

    /// The AMQP `type` property of this message: kind and version.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Started(_) => "started@1",
            Self::Checkpoint(_) => "checkpoint@1",
            Self::Finished(_) => "finished@1",
            Self::Start(_) => "start@1",
            Self::Marker(_) => "marker@1",
            Self::Batch(_) => "batch@1",
            Self::Starts(_) => "starts@1",
            Self::ChildWanted(_) => "child-wanted@1",
            Self::ChildSaid(_) => "child-said@1",
        }
    }
}
