//! Records: what has happened to a saga, append-only, the truth. Every computed value stands in them (an evaluated input, a drawn
//! backoff), so that folding evaluates nothing. New kinds are added beside old ones; old ones are read for ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_messages::{
    CheckpointKind, Direction, Event, Failure, InputId, RefusedWhy, RunId, StepId, StepKey,
    TaskResult, Timestamp, WorkerId,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::definition::EventPattern;
use crate::state::{Cause, Phase, Prepared, Status};
use crate::work_item::WorkItem;

/// All records of one decision: made at one instant, committed together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was decided; never before the entry before it.
    pub at: Timestamp,
    /// What was decided.
    pub records: Vec<Record>,
}

/// How long a task that is held late may be acted on by whoever has not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unasked {
    /// After this instant a worker asks before it acts.
    pub ask_after: Timestamp,
    /// From then on whoever began without asking has certainly ended.
    pub end: Timestamp,
}

/// Why an attempt was closed without a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClosedWhy {
    /// Its last moment passed.
    LastMoment,
    /// Its lease ended: the worker is lost.
    LeaseOver,
    /// Withdrawn before anybody claimed it; a later claim is refused.
    Withdrawn,
    /// The broker had nowhere to put it.
    Unroutable,
    /// It was dead-lettered.
    Dead,
    /// Its offer stood until its end and nobody claimed it.
    Expired,
    /// Its offer stood until its end and nobody reported it: most likely nobody took it, and whoever did may have acted. It uses up no
    /// attempt, only the time the step may wait for a worker.
    Unheard,
}

/// One attempt, by its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptKey {
    /// Which step.
    pub step: StepKey,
    /// Which way.
    pub direction: Direction,
    /// Which doing of the step.
    pub round: u32,
    /// Which try.
    pub attempt: u32,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// The saga began.
    Started {
        /// The definition's name.
        definition: String,
        /// Its version.
        version: u32,
        /// The input.
        input: Value,
        /// What it is searched by.
        labels: BTreeMap<String, String>,
        /// Who or what asked.
        by: String,
        /// The request that asked.
        id: InputId,
        /// When it has to have reached its pivot.
        deadline_at: Option<Timestamp>,
        /// The ids of its steps.
        steps: Vec<StepId>,
    },
    /// A direction of a step was made ready.
    Prepared {
        /// Which step.
        step: StepKey,
        /// Which way.
        direction: Direction,
        /// With what.
        prepared: Arc<Prepared>,
    },
    /// A step is done for each of these from here on.
    FannedOut {
        /// Which step.
        step: StepId,
        /// The items, computed once; shared with the state.
        items: Arc<Vec<Value>>,
        /// How many of them may fail without the step failing.
        tolerated: u32,
    },
    /// The next item of a step begins.
    ItemBegun {
        /// The step and the item's number.
        step: StepKey,
    },
    /// An attempt is sent (the command follows the commit).
    Offered {
        /// Which attempt.
        of: AttemptKey,
        /// Which sending of it.
        dispatch: u32,
        /// When it is certainly over without a report.
        last_moment: Timestamp,
        /// How long whoever does not ask may act, where it may be begun without asking.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unasked: Option<Unasked>,
        /// Whether this is the pivot: from here only forward.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pivot: bool,
    },
    /// The same sending is sent once more: nobody knew whether the broker had it. Its clocks start anew.
    Resent {
        /// Which attempt.
        of: AttemptKey,
        /// Which sending of it.
        dispatch: u32,
        /// When it is certainly over without a report.
        last_moment: Timestamp,
        /// How long whoever does not ask may act, where it may be begun without asking.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unasked: Option<Unasked>,
    },
    /// The broker did not take a sending (or nobody knows): it is to be sent again.
    Held {
        /// Which attempt.
        of: AttemptKey,
        /// Whether the broker may have it.
        maybe_sent: bool,
    },
    /// A run claimed an attempt and may act.
    Claimed {
        /// Which attempt.
        of: AttemptKey,
        /// Which run.
        run: RunId,
        /// Its worker.
        worker: WorkerId,
        /// The sending it answers.
        dispatch: u32,
    },
    /// A claim was answered without changing anything: granted again, or refused.
    Answered {
        /// Which attempt.
        of: AttemptKey,
        /// Which run.
        run: RunId,
        /// Its worker.
        worker: WorkerId,
        /// The sending it answers.
        dispatch: u32,
        /// None: granted (again).
        refused: Option<RefusedWhy>,
    },
    /// A run stored a value.
    Checkpointed {
        /// Which attempt.
        of: AttemptKey,
        /// Which kind.
        kind: CheckpointKind,
        /// The value.
        value: Value,
    },
    /// An attempt was closed by its report.
    Reported {
        /// Which attempt.
        of: AttemptKey,
        /// Which run.
        run: RunId,
        /// Whether no other worker can hold the same sending.
        sole: bool,
        /// Whether the automation was entered.
        started: bool,
        /// How long it ran by its worker's clock, where it was entered: what is held late says nothing before its report.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ran_ms: Option<u64>,
        /// By whom, where no claim has said so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<WorkerId>,
        /// What came of it.
        result: TaskResult,
    },
    /// An attempt was closed without a report.
    Closed {
        /// Which attempt.
        of: AttemptKey,
        /// Why.
        why: ClosedWhy,
        /// Whether it may have acted.
        maybe_acted: bool,
    },
    /// A report came for an attempt that was closed without one.
    Evidence {
        /// Which attempt.
        of: AttemptKey,
        /// Which run.
        run: RunId,
        /// What it says.
        result: TaskResult,
    },
    /// A probe found that `do` did not happen, all attempts being closed.
    Cleared {
        /// Which step.
        step: StepKey,
    },
    /// A step went into another phase.
    Moved {
        /// Which step.
        step: StepKey,
        /// Where to.
        to: Phase,
        /// When that phase ends by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due: Option<Timestamp>,
        /// Its output, where it has one now.
        #[serde(
            default,
            deserialize_with = "baton_messages::present::present",
            skip_serializing_if = "Option::is_none"
        )]
        output: Option<Value>,
        /// What went wrong, where something did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// Attempts so far no longer count: an operator asked for another go.
    Forgiven {
        /// Which step.
        step: StepKey,
        /// Which way.
        direction: Direction,
    },
    /// A step is done (or undone) anew: its round grows, its old attempts are over.
    NewRound {
        /// Which step.
        step: StepKey,
    },
    /// The saga takes back what it did.
    Unwinding {
        /// Why.
        cause: Cause,
    },
    /// The pivot failed with nothing changed: the saga may be taken back again.
    PivotReleased,
    /// The deadline passed.
    DeadlinePassed,
    /// A running attempt is asked to stop (a hint).
    CancelSent {
        /// Which attempt.
        of: AttemptKey,
        /// The sending.
        dispatch: u32,
        /// Its worker, when it is claimed.
        worker: Option<WorkerId>,
    },
    /// A work item was opened.
    WorkItemOpened {
        /// It.
        item: Box<WorkItem>,
    },
    /// A work item was closed.
    WorkItemClosed {
        /// Its number.
        number: u32,
        /// By whom or by what.
        by: String,
    },
    /// An operator's (or another identified) input was applied.
    Applied {
        /// Its id.
        id: InputId,
        /// What it was, one word.
        action: String,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// A step waits for an event from here on: the subscription is kept with this record.
    Subscribed {
        /// Which step.
        step: StepId,
        /// For which.
        event: EventPattern,
        /// Those received before that do not count.
        since: Timestamp,
        /// Until when.
        due: Timestamp,
    },
    /// An event is published (the command follows the commit).
    Emitted {
        /// By which step.
        step: StepId,
        /// It.
        event: Box<Event>,
    },
    /// A trigger was hit again while this saga had its key.
    Joined {
        /// The id of this hit.
        id: InputId,
        /// Which trigger.
        trigger: u32,
        /// Where the event comes from.
        source: String,
        /// Its id there.
        event: String,
    },
    /// Nothing new starts.
    Paused,
    /// Things start again.
    Resumed,
    /// The saga's status changed.
    StatusChanged {
        /// Where to.
        to: Status,
    },
    /// The saga ended.
    Ended {
        /// How.
        status: Status,
        /// What it returns.
        #[serde(
            default,
            deserialize_with = "baton_messages::present::present",
            skip_serializing_if = "Option::is_none"
        )]
        output: Option<Value>,
    },
    /// Something came that changes nothing.
    Noted {
        /// What.
        what: String,
    },
}
