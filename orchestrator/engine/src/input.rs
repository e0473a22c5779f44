//! Everything that can come in about a saga. One variant, one file in `decide/`.

use std::collections::BTreeMap;

use baton_messages::{
    AttemptRef, Checkpoint, ChildSaid, ChildWanted, DeadReason, Event, Finished, InputId,
    MessageId, RunId, Start, Started, StepId, StepKey, TaskType, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::role::Role;
use crate::state::Phase;
use crate::timer::TimerKey;
use crate::work_item::Assignment;

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

/// The name of the token alone: whom its bearer says to act for proves nothing.
pub(crate) fn bare(by: &str) -> &str {
    by.split_once(ON_BEHALF_OF).map_or(by, |(name, _)| name)
}

impl Operator {
    /// The name of the token alone: whom its bearer says to act for proves nothing.
    #[must_use]
    pub fn name(&self) -> &str {
        bare(&self.by)
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

/// What an operator has a step tried with instead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepEdit {
    /// The whole input, as values: no expression is evaluated in it.
    pub input: Value,
    /// Another task type, in place of the one it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<TaskType>,
}

impl StepEdit {
    /// The word for it.
    #[must_use]
    pub const fn action(&self) -> &'static str {
        match self.task_type {
            Some(_) => "substitute",
            None => "edit",
        }
    }
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
    /// The saga whose step this one is says what it wants of it; the first time it begins.
    ChildWanted(ChildWanted),
    /// The child of a step says how it stands.
    ChildSaid(ChildSaid),
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
    /// Try a parked step, or a parked undo, with another input, or by another task type.
    EditStep {
        /// Which.
        step: StepKey,
        /// With what.
        edit: StepEdit,
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
    /// Whose a work item is from now on, and by when.
    AssignItem {
        /// Its number.
        number: u32,
        /// What.
        assignment: Assignment,
        /// By whom.
        operator: Operator,
    },
    /// The store has given it all it wants before its first step; always the same, however often it is told.
    Admitted {
        /// The number of each lock.
        fences: BTreeMap<String, u64>,
    },
    /// It could begin, had not so many of its kind been begun lately.
    HeldBack,
    /// Let it through, however many of its kind were begun lately.
    Admit(Operator),
    /// Take a lock from it.
    BreakLock {
        /// Which.
        name: String,
        /// By whom.
        operator: Operator,
    },
    /// Go on under another version of its definition.
    Upgrade {
        /// Which.
        to: u32,
        /// Only if it still runs this one: whoever moves many has seen it there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<u32>,
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
            Self::ChildWanted(_) => "child-wanted",
            Self::ChildSaid(_) => "child-said",
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
            Self::EditStep { .. } => "edit-step",
            Self::SkipStep { .. } => "skip-step",
            Self::ResolveStep { .. } => "resolve-step",
            Self::Acknowledge { .. } => "acknowledge",
            Self::AssignItem { .. } => "assign-item",
            Self::Admitted { .. } => "admitted",
            Self::HeldBack => "held-back",
            Self::Admit(_) => "admit",
            Self::BreakLock { .. } => "break-lock",
            Self::Upgrade { .. } => "upgrade",
            Self::Abandon(_) => "abandon",
            Self::Broken { .. } => "broken",
        }
    }
}
