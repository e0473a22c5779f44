//! Records: what has happened to a saga, append-only, the truth. Every computed value stands in them (an evaluated input, a drawn
//! backoff), so that folding evaluates nothing. New kinds are added beside old ones; old ones are read for ever.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_messages::{
    CheckpointKind, Direction, Event, Failure, InputId, ParentRef, RefusedWhy, RunId, SagaId,
    Standing, StepId, StepKey, TaskResult, Timestamp, Wanted, WorkerId,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::definition::EventPattern;
use crate::reservation::Want;
use crate::state::{Cause, Phase, Prepared, Status, StepState};
use crate::work_item::{Assigned, WorkItem};

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

/// That a person has done what a step was to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByHand {
    /// Who.
    pub by: String,
    /// Whether there is something to take back: the step changes the world where a worker, or a child, does it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub effect: bool,
    /// Whether the step is the pivot: from here only forward.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pivot: bool,
}

impl ByHand {
    /// What is known of the step from then on.
    pub(crate) fn mark(&self, step: &mut StepState) {
        if self.effect {
            step.by_hand = Some(self.by.as_str().into());
            step.may_have_effect = true;
        }
    }
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
        /// Of one that goes to [`Phase::Undone`]: its `undo.when` was false, so that nothing was taken back.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unwanted: bool,
        /// Of one that goes to [`Phase::Succeeded`]: a person did it. Absent in records from before anybody was asked to take such a thing back; those
        /// mean what they meant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by_hand: Option<Box<ByHand>>,
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
    /// An operator has a step done with another input: another effect altogether, of which nothing says what was stored for the one before. A new round follows.
    Edited {
        /// Which step.
        step: StepKey,
    },
    /// A round that ended by an edit was reported as done all the same.
    EditedReported {
        /// Which step.
        step: StepKey,
        /// Which round.
        round: u32,
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
    /// A work item that stayed open was given to the next.
    WorkItemEscalated {
        /// Its number.
        number: u32,
        /// To whom.
        to: String,
    },
    /// Somebody said whose a work item is, or by when.
    WorkItemAssigned(Box<Assigned>),
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
        /// Those received before that do not count; what clocks may differ is taken off already.
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
    /// The child of a step begins (the command follows the commit).
    ChildBegun {
        /// Which step.
        step: StepKey,
        /// Which saga it is.
        child: SagaId,
        /// The definition it runs.
        definition: String,
        /// Its version.
        version: u32,
        /// Its input.
        input: Arc<Value>,
        /// Until when it has to be done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// When it is told again, if nothing is heard of it.
        due: Timestamp,
        /// Whether this is the pivot: from here only forward.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pivot: bool,
    },
    /// A child is told what is wanted of it (the command follows the commit).
    ChildTold {
        /// Of which step.
        step: StepKey,
        /// What.
        want: Wanted,
        /// Why.
        why: String,
        /// When it is told again, if nothing new is heard of it.
        due: Timestamp,
    },
    /// A child has said how it stands.
    ChildHeard {
        /// Of which step.
        step: StepKey,
        /// How many records it had.
        seq: u64,
        /// What.
        standing: Standing,
    },
    /// This saga is a child: a step of another one.
    IsChild {
        /// Whose.
        parent: ParentRef,
        /// The saga at the top.
        root: SagaId,
        /// How deep it lies.
        depth: u32,
        /// The numbers of the locks of the sagas above it, under which it acts.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        fences: BTreeMap<String, u64>,
    },
    /// It takes these before its first step (the store's rows follow with the commit), and waits until it is admitted.
    Reserving {
        /// All of them, in their order.
        wants: Vec<Want>,
        /// When the store is asked again, if nothing is heard before.
        due: Timestamp,
        /// Until when it waits at most, of a child.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// It still waits: the store is asked again.
    AdmissionAsked {
        /// When it is asked the next time.
        due: Timestamp,
    },
    /// It was given all it wanted.
    Admitted {
        /// The number of each lock.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        fences: BTreeMap<String, u64>,
        /// When it has to have reached its pivot: that time begins now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_at: Option<Timestamp>,
    },
    /// An operator lets it through, however many of its kind were begun lately.
    LetThrough {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// An operator has taken a lock from it: it goes on without.
    LockBroken {
        /// Which.
        name: String,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// It goes on under another version of its definition: what has begun is as it was, and what has not is what that one says.
    Upgraded {
        /// The version it ran.
        from: u32,
        /// The one it runs from here on.
        to: u32,
        /// The ids of all its steps from here on.
        steps: Vec<StepId>,
        /// When it has to have reached its pivot.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_at: Option<Timestamp>,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// The parent says what it wants; it is answered (the command follows the commit).
    ParentHeard {
        /// The number of its word.
        number: u32,
        /// What.
        want: Wanted,
        /// Whether it is paused, and this saga because of it.
        paused: bool,
    },
    /// The parent is told how this saga stands (the command follows the commit).
    ParentTold,
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
        /// Of a child: why it returns nothing although its definition says what.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        no_output: Option<String>,
    },
    /// Something came that changes nothing.
    Noted {
        /// What.
        what: String,
    },
}

impl Record {
    /// The step, or the item of one, that a record changes.
    pub(crate) const fn subject(&self) -> Option<&StepKey> {
        match self {
            Self::Prepared { step, .. }
            | Self::Cleared { step }
            | Self::Moved { step, .. }
            | Self::Forgiven { step, .. }
            | Self::NewRound { step }
            | Self::Edited { step }
            | Self::EditedReported { step, .. }
            | Self::ChildBegun { step, .. }
            | Self::ChildTold { step, .. }
            | Self::ChildHeard { step, .. } => Some(step),
            Self::Offered { of, .. }
            | Self::Resent { of, .. }
            | Self::Held { of, .. }
            | Self::Claimed { of, .. }
            | Self::Checkpointed { of, .. }
            | Self::Reported { of, .. }
            | Self::Closed { of, .. }
            | Self::Evidence { of, .. } => Some(&of.step),
            Self::Started { .. }
            | Self::FannedOut { .. }
            // What has just begun is under way.
            | Self::ItemBegun { .. }
            | Self::Answered { .. }
            | Self::CancelSent { .. }
            | Self::Unwinding { .. }
            | Self::PivotReleased
            | Self::DeadlinePassed
            | Self::WorkItemOpened { .. }
            | Self::WorkItemClosed { .. }
            | Self::WorkItemEscalated { .. }
            | Self::WorkItemAssigned(_)
            | Self::Applied { .. }
            | Self::Subscribed { .. }
            | Self::Emitted { .. }
            | Self::IsChild { .. }
            | Self::Reserving { .. }
            | Self::AdmissionAsked { .. }
            | Self::Admitted { .. }
            | Self::LetThrough { .. }
            | Self::LockBroken { .. }
            | Self::Upgraded { .. }
            | Self::ParentHeard { .. }
            | Self::ParentTold
            | Self::Joined { .. }
            | Self::Paused
            | Self::Resumed
            | Self::StatusChanged { .. }
            | Self::Ended { .. }
            | Self::Noted { .. } => None,
        }
    }
}
