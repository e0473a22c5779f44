//! Everything that can come in about a saga. One variant, one file in `decide/`.

use baton_messages::{
    AttemptRef, Checkpoint, DeadReason, Event, Finished, InputId, MessageId, RunId, Start, Started,
    StepId, StepKey, TaskType, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::role::Role;
use crate::state::Phase;
use crate::timer::TimerKey;

/// Who acts, why, and on what he decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operator {
    /// Minted by the first sender; the same action sent again carries the same id.
    pub id: InputId,
    /// Who.
    pub by: String,
    /// What he may do.
    #[serde(default)]
    pub role: Role,
    /// Why.
    pub reason: String,
    /// What he saw of the step; the action is refused when it has moved since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

/// Between a token's name and the name of whom its bearer acts for.
pub const ON_BEHALF_OF: &str = " on behalf of ";

impl Operator {
    /// The name of the token alone: whom its bearer says to act for proves nothing.
    #[must_use]
    pub fn name(&self) -> &str {
        self.by
            .split_once(ON_BEHALF_OF)
            .map_or(self.by.as_str(), |(name, _)| name)
    }
}

/// What an operator saw when he decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Seen {
    /// The step's phase.
    pub phase: Phase,
    /// Its last attempt of `do`.
    pub attempt: u32,
}

/// How an operator settles a step by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resolution {
    /// It is done, with this output.
    Done {
        /// What later steps read.
        output: Value,
    },
    /// It is undone, or never happened.
    Undone,
}

/// What a person says to an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// Yes.
    Approve,
    /// No.
    Reject,
}

impl Approval {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }
}

/// Everything that can come in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// Begin.
    Start(Start),
    /// A worker claims an attempt.
    TaskStarted(Started),
    /// A run stores a value.
    Checkpoint(Checkpoint),
    /// An attempt ended.
    TaskFinished(Finished),
    /// A task was dead-lettered.
    TaskDead {
        /// The id of its message.
        message: MessageId,
        /// Why.
        reason: DeadReason,
        /// A sentence.
        error: String,
    },
    /// The broker had nowhere to put a task.
    TaskUnroutable(AttemptRef),
    /// The broker did not confirm a task.
    TaskUnconfirmed {
        /// Which.
        of: AttemptRef,
        /// False: it was refused for certain; true: nobody knows.
        maybe_sent: bool,
    },
    /// A held task is to be sent again, or one whose publishing a crash left in doubt.
    Resend(AttemptRef),
    /// A task type is served (again).
    TypeServed(TaskType),
    /// A claimed attempt's lease is over.
    LeaseOver {
        /// Which attempt.
        of: AttemptRef,
        /// Which run.
        run: RunId,
    },
    /// A timer of this saga is due.
    TimerFired(TimerKey),
    /// An event came of a type a step waits for.
    EventArrived {
        /// Always the same for this event and this step: [`InputId::of_arrival`].
        id: InputId,
        /// Which step.
        step: StepId,
        /// It.
        event: Box<Event>,
        /// When it was received, by the clock of whoever took it in.
        received_at: Timestamp,
    },
    /// A trigger was hit again while this saga has its key.
    Joined {
        /// Always the same for this event and this trigger: [`InputId::of_joined`].
        id: InputId,
        /// Which trigger of its definition.
        trigger: u32,
        /// Where the event comes from.
        source: String,
        /// Its id there.
        event: String,
    },
    /// A person decides what a step asks.
    Approve {
        /// Which.
        step: StepKey,
        /// How.
        decision: Approval,
        /// By whom; the reason is the note.
        operator: Operator,
    },
    /// Take back what was done.
    Cancel(Operator),
    /// Start nothing new.
    Pause(Operator),
    /// Go on.
    Resume(Operator),
    /// Try a parked step, or a parked undo, again.
    RetryStep {
        /// Which.
        step: StepKey,
        /// By whom.
        operator: Operator,
    },
    /// Go on without a step.
    SkipStep {
        /// Which.
        step: StepKey,
        /// By whom.
        operator: Operator,
    },
    /// Settle a step by hand.
    ResolveStep {
        /// Which.
        step: StepKey,
        /// How.
        resolution: Resolution,
        /// By whom.
        operator: Operator,
    },
    /// A work item that only informs was seen.
    Acknowledge {
        /// Its number.
        number: u32,
        /// By whom.
        operator: Operator,
    },
    /// Give up.
    Abandon(Operator),
    /// An input could not be decided (the engine failed on it): park the saga, keep the input.
    Broken {
        /// Minted by whoever noticed.
        id: InputId,
        /// What went wrong.
        error: String,
    },
}

impl Input {
    /// One word for logs and metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::TaskStarted(_) => "task-started",
            Self::Checkpoint(_) => "checkpoint",
            Self::TaskFinished(_) => "task-finished",
            Self::TaskDead { .. } => "task-dead",
            Self::TaskUnroutable(_) => "task-unroutable",
            Self::TaskUnconfirmed { .. } => "task-unconfirmed",
            Self::Resend(_) => "resend",
            Self::TypeServed(_) => "type-served",
            Self::LeaseOver { .. } => "lease-over",
            Self::TimerFired(_) => "timer-fired",
            Self::EventArrived { .. } => "event-arrived",
            Self::Joined { .. } => "joined",
            Self::Approve { .. } => "approve",
            Self::Cancel(_) => "cancel",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::RetryStep { .. } => "retry-step",
            Self::SkipStep { .. } => "skip-step",
            Self::ResolveStep { .. } => "resolve-step",
            Self::Acknowledge { .. } => "acknowledge",
            Self::Abandon(_) => "abandon",
            Self::Broken { .. } => "broken",
        }
    }
}
