//! The state of one saga: what the fold of its records gives. Holds every value a decision needs, so that deciding reads
//! nothing else; serialised whole as a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use baton_messages::{
    Direction, Effect, Failure, Hold, InputId, PoolName, RunId, SagaId, StepId, StepKey, TaskType,
    Timestamp, WorkerId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::child::{Child, Parent};
use crate::definition::{EventPattern, TaskStep};
use crate::fan::Fan;
use crate::record::Unasked;
use crate::reservation::Reservation;
use crate::work_item::WorkItem;

/// The version of the snapshot's shape. One of an earlier version is read, what it lacks was not there then; one of a later version is not: the records are
/// folded again, and whoever does not know one of them leaves the saga alone.
///
/// 2: whose work items are and by when, and moves to another version of the definition.
pub const SNAPSHOT_VERSION: u32 = 2;

/// Where a saga stands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Not started yet: no record.
    New,
    /// Going forward.
    Running,
    /// Taking back what was done.
    Compensating,
    /// Nothing can move before a person acts on an open work item.
    Parked,
    /// Everything was done.
    Completed,
    /// Everything that was done is undone.
    Compensated,
    /// Given up by an operator, with a reason.
    Abandoned,
}

impl Status {
    /// Whether the saga has ended: nothing more happens unless late evidence arrives.
    #[must_use]
    pub const fn ended(self) -> bool {
        matches!(self, Self::Completed | Self::Compensated | Self::Abandoned)
    }

    /// The word for people and filters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::Parked => "parked",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Why a saga takes back what it did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A step failed for good.
    StepFailed {
        /// Which; an item of one, where that brought it down.
        step: StepKey,
        /// How.
        failure: Failure,
    },
    /// An operator said so.
    Cancelled {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// The deadline passed before the pivot.
    Deadline,
    /// After the end, a report showed that a step held as not done had happened.
    LateEvidence {
        /// Which.
        step: StepKey,
    },
    /// The saga whose step it is takes back what it did, or wants it no more.
    Parent {
        /// Which.
        saga: SagaId,
        /// Why.
        why: String,
    },
    /// As a child it could not begin: nothing of it has happened.
    Refused {
        /// Why.
        failure: Failure,
    },
}

/// Where a step stands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// For what comes before it.
    Waiting,
    /// Nobody serves its task type; `due` ends the wait.
    Unserved,
    /// An attempt of `do` is open.
    Trying,
    /// Until `due`, then the next attempt.
    Backoff,
    /// The outcome is unknown; from `due` on a probe's answer counts.
    Settling,
    /// An attempt of `probe` is open.
    Probing,
    /// Until `due`, then the next attempt of `probe`.
    ProbeBackoff,
    /// Until `due`.
    Sleeping,
    /// For an event, until `due`.
    Listening,
    /// For a person's decision, until `due`.
    Asked,
    /// Its items are under way.
    FannedOut,
    /// For the child saga it is, which is asked again at `due`.
    InChild,
    /// Done.
    Succeeded,
    /// Not wanted: its `if` was false, or an operator skipped it. Its output is null.
    Skipped,
    /// Failed and tolerated (`on_error: continue`). Its output is null.
    Continued,
    /// Failed for good with nothing changed.
    Failed,
    /// Nobody can tell whether it happened; held as if it had.
    Doubtful,
    /// A person has to decide about `do`.
    Parked,
    /// An attempt of `undo` is open.
    Undoing,
    /// Nobody serves its undo; `due` ends the wait.
    UndoUnserved,
    /// Until `due`, then the next attempt of `undo`.
    UndoBackoff,
    /// For its child saga to take back what it did; asked again at `due`.
    UndoInChild,
    /// A person has to decide about `undo`.
    UndoParked,
    /// Taken back.
    Undone,
}

impl Phase {
    /// Whether steps that come after this one may go on.
    #[must_use]
    pub const fn done(self) -> bool {
        matches!(self, Self::Succeeded | Self::Skipped | Self::Continued)
    }

    /// Whether a person is asked how it goes on.
    #[must_use]
    pub const fn asks(self) -> bool {
        matches!(self, Self::Parked | Self::UndoParked)
    }

    /// Whether it is being taken back, or has been.
    #[must_use]
    pub const fn backward(self) -> bool {
        matches!(
            self,
            Self::Doubtful
                | Self::Undoing
                | Self::UndoUnserved
                | Self::UndoBackoff
                | Self::UndoInChild
                | Self::UndoParked
                | Self::Undone
        )
    }
}

/// How often and when something is tried again; every value already decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryFacts {
    /// Attempts in all; none = for ever, on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Wait before the second attempt.
    pub backoff_ms: u64,
    /// What the wait is multiplied by each time.
    pub factor: f64,
    /// The longest wait.
    pub max_ms: u64,
    /// Whether the wait is drawn from zero up to its length.
    pub jitter: bool,
}

/// What was known of a task type when a step was prepared: the facts its outcome is judged by, whatever the catalogue says later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskFacts {
    /// The automation.
    pub task_type: TaskType,
    /// Who may take it.
    pub pool: PoolName,
    /// What it does to the world.
    pub effect: Effect,
    /// Whether a second run with the same key does no harm.
    pub idempotent: bool,
    /// Whether its automation brings an undo.
    pub undo: bool,
    /// Whether its automation brings a probe.
    pub probe: bool,
    /// How a worker holds it.
    pub hold: Hold,
    /// Longest time of one attempt.
    pub timeout_ms: u64,
    /// How long a claimed attempt lives without a heartbeat.
    pub lease_ms: u64,
    /// How long one offer stands: `not_after` is this long after the offer.
    pub offer_ms: u64,
    /// How long the step may wait for a worker in all.
    pub queue_ms: u64,
    /// How long the world needs to come to rest.
    pub settle_ms: u64,
    /// How it is tried again.
    pub retry: RetryFacts,
}

/// One direction of a step made ready: facts and input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// What was known.
    pub facts: TaskFacts,
    /// The evaluated input.
    pub input: Value,
    /// A task of its own (`undo: { task: … }`): its automation runs, instead of being asked to take something back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_task: bool,
}

/// How far an attempt has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Sent; nobody has claimed or reported it.
    Offered,
    /// Claimed by a run, under a lease.
    Claimed {
        /// The run.
        run: RunId,
        /// Its worker.
        worker: WorkerId,
    },
    /// Closed by its report.
    Reported,
    /// Closed by time or lease without a report: it may have acted.
    Closed,
    /// Closed, and certain not to have acted: no attempt was used.
    NotRun,
}

/// One attempt of a step in one direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which way.
    pub direction: Direction,
    /// Which try, from 1.
    pub number: u32,
    /// Which sending of it, from 1.
    pub dispatch: u32,
    /// How far it has come.
    pub stage: Stage,
    /// When it was first offered; of one that follows an unheard one, when that was: since then its step waits for a worker.
    pub first_offered_at: Timestamp,
    /// When its present offer was made: `not_after` counts from here.
    pub offered_at: Timestamp,
    /// From then on it is certain that nobody acts for it any more.
    pub last_moment: Timestamp,
    /// How long whoever has not asked may act; none: to the last moment, or, of a claimed one, not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unasked: Option<Unasked>,
    /// False once more than one worker may have come to hold it: sent twice, or its report said so.
    pub sole: bool,
    /// The broker has not taken it (or nobody knows): it is to be sent again, its clocks stand still while the saga goes forward.
    pub held: bool,
    /// A held attempt of which it is not certain that the broker does not have it.
    pub maybe_sent: bool,
    /// How its worker holds it.
    pub hold: Hold,
    /// Nobody reported it until its last moment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unheard: bool,
    /// The runs whose reports were taken: the same report again is a duplicate, one of another run is evidence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunId>,
}

impl Attempt {
    /// Whether somebody may still act for it and has not reported.
    #[must_use]
    pub const fn open(&self) -> bool {
        matches!(self.stage, Stage::Offered | Stage::Claimed { .. })
    }

    /// From then on it is certain that nobody acts for it who has not asked.
    #[must_use]
    pub fn unasked_end(&self) -> Timestamp {
        self.unasked.map_or(self.last_moment, |unasked| unasked.end)
    }

    /// Over for the one who reported (or for the broker), but another worker may hold the same task and act without asking: no undo and
    /// no probe before that has an end. Whoever asks is refused, so that only a task held late lingers.
    #[must_use]
    pub fn lingering(&self, now: Timestamp) -> bool {
        self.lingers() && now < self.unasked_end()
    }

    /// Whether the end of whoever has not asked is waited for although it has closed.
    #[must_use]
    pub const fn lingers(&self) -> bool {
        !self.open() && matches!(self.hold, Hold::Late) && !self.sole
    }
}

/// What a step waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listens {
    /// Events of this type.
    pub event: EventPattern,
    /// Received then or later.
    pub since: Timestamp,
}

/// The state of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepState {
    /// Where it stands.
    pub phase: Phase,
    /// When its phase ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// Which doing of it, from 1.
    pub round: u32,
    /// `do`, ready; shared with the record that made it so, as the two below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<Arc<Prepared>>,
    /// `undo`, ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backward: Option<Arc<Prepared>>,
    /// `probe`, ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asking: Option<Arc<Prepared>>,
    /// What it returned.
    #[serde(
        default,
        deserialize_with = "baton_messages::present::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub output: Option<Value>,
    /// Whether the world may be otherwise because of it. Sticks until a probe or an undo clears it.
    pub may_have_effect: bool,
    /// Whether somebody else may have had the effect that its output speaks of: another try, or another worker with the same one. What it returned may then be about what that one left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub doubted: bool,
    /// Whether it counts as taken back although nothing was: its `undo.when` was false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unwanted: bool,
    /// Who did it by hand, where a person did and it is not taken back: no undo of a worker or of a child knows what that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_hand: Option<Box<str>>,
    /// The before-image, with the attempt that stored it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<(u32, Value)>,
    /// The last progress.
    #[serde(
        default,
        deserialize_with = "baton_messages::present::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub progress: Option<Value>,
    /// Rounds that ended because an operator had it tried with another input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edited: Vec<EditedRound>,
    /// Its attempts of this round, oldest first.
    pub attempts: Vec<Attempt>,
    /// Attempts of `do` that no longer count, because an operator asked for another go.
    #[serde(default)]
    pub forgiven: u32,
    /// Attempts of `undo` that no longer count, for the same reason.
    #[serde(default)]
    pub undo_forgiven: u32,
    /// Attempts of `probe` that no longer count: they asked about an earlier doubt, or nobody ran them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub probe_forgiven: u32,
    /// The events it waits for, while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listens: Option<Listens>,
    /// Its child saga, once it has been begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<Box<Child>>,
    /// Its items, once they are known, where it is done for each of a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fan: Option<Box<Fan>>,
    /// The last failure, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_at: Option<Timestamp>,
    /// When it was done, or had failed for good: what comes after is its undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Timestamp>,
    /// When its phase last changed.
    pub since: Timestamp,
}

/// A round that ended because an operator had the step done with another input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditedRound {
    /// Which.
    pub round: u32,
    /// Whether it was reported as done afterwards, and a person told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reported: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl StepState {
    /// A step that has not begun.
    #[must_use]
    pub fn waiting(since: Timestamp) -> Self {
        Self {
            phase: Phase::Waiting,
            due: None,
            round: 1,
            edited: Vec::new(),
            forward: None,
            backward: None,
            asking: None,
            output: None,
            may_have_effect: false,
            doubted: false,
            unwanted: false,
            by_hand: None,
            before: None,
            progress: None,
            attempts: Vec::new(),
            forgiven: 0,
            undo_forgiven: 0,
            probe_forgiven: 0,
            listens: None,
            child: None,
            fan: None,
            last_failure: None,
            began_at: None,
            done_at: None,
            since,
        }
    }

    /// What is prepared for a direction.
    #[must_use]
    pub fn prepared(&self, direction: Direction) -> Option<&Prepared> {
        match direction {
            Direction::Do => self.forward.as_deref(),
            Direction::Undo => self.backward.as_deref(),
            Direction::Probe => self.asking.as_deref(),
        }
    }

    /// What runs in a direction: what was made ready; before that, what its definition names.
    #[must_use]
    pub fn runs<'a>(
        &'a self,
        direction: Direction,
        defined: Option<&'a TaskStep>,
    ) -> Option<&'a TaskType> {
        let ready = self.prepared(direction).map(|ready| &ready.facts.task_type);
        ready.or_else(|| defined.map(|task| task.runs(direction)))
    }

    /// The way it waits for somebody who serves it, if it does.
    #[must_use]
    pub const fn unserved(&self) -> Option<Direction> {
        match self.phase {
            Phase::Unserved => Some(Direction::Do),
            Phase::UndoUnserved => Some(Direction::Undo),
            _ => None,
        }
    }

    /// The number of the last attempt in a direction; zero before the first.
    #[must_use]
    pub fn last_attempt(&self, direction: Direction) -> u32 {
        self.attempts
            .iter()
            .filter(|a| a.direction == direction)
            .map(|a| a.number)
            .max()
            .unwrap_or(0)
    }

    /// One attempt.
    #[must_use]
    pub fn attempt(&self, direction: Direction, number: u32) -> Option<&Attempt> {
        self.attempts
            .iter()
            .rev()
            .find(|a| a.direction == direction && a.number == number)
    }

    /// The attempt that is open, if one is.
    #[must_use]
    pub fn open_attempt(&self) -> Option<&Attempt> {
        self.attempts.iter().rev().find(|a| a.open())
    }

    /// Whether undo or probe has to wait: an attempt is open, or one that was reported may still run elsewhere.
    #[must_use]
    pub fn unsettled(&self, now: Timestamp) -> bool {
        self.attempts
            .iter()
            .any(|a| a.open() || (self.acts(a) && a.lingering(now)))
    }

    /// Whether a run of this attempt that nobody knows of could change anything: what only looks is not waited for.
    fn acts(&self, attempt: &Attempt) -> bool {
        let only_looks = || {
            let forward = self.forward.as_ref();
            forward.is_some_and(|ready| ready.facts.effect == Effect::None)
        };
        match attempt.direction {
            Direction::Do => !only_looks(),
            Direction::Probe => false,
            Direction::Undo => true,
        }
    }

    /// Until when attempts that have closed may still run elsewhere.
    #[must_use]
    pub fn lingers_until(&self) -> Option<Timestamp> {
        self.attempts
            .iter()
            .filter(|a| self.acts(a) && a.lingers())
            .map(Attempt::unasked_end)
            .max()
    }
}

/// Where a step, or an item of one, is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot<'a>(pub &'a StepId, pub Option<u32>);

impl Spot<'_> {
    /// Its name.
    #[must_use]
    pub fn key(self) -> StepKey {
        StepKey {
            step: self.0.clone(),
            item: self.1,
        }
    }
}

/// That a saga went on under another version of its definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Upgraded {
    /// The version it was started under.
    pub started: u32,
    /// The version it ran before.
    pub from: u32,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Why, in that person's words.
    pub reason: String,
}

/// The state of one saga.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SagaState {
    /// Its id.
    pub id: SagaId,
    /// The definition it runs.
    pub definition: String,
    /// Its version.
    pub version: u32,
    /// Where it stands.
    pub status: Status,
    /// Whether an operator has stopped it from starting anything.
    pub paused: bool,
    /// Its input.
    pub input: Value,
    /// What it is searched by.
    pub labels: BTreeMap<String, String>,
    /// Who or what started it.
    pub by: String,
    /// When.
    pub started_at: Timestamp,
    /// When it has to have reached its pivot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_at: Option<Timestamp>,
    /// Why it unwinds, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unwinding: Option<Cause>,
    /// Whether the pivot was dispatched: from then on only forward.
    pub past_pivot: bool,
    /// Its steps; boxed, since a leaf of the map has room for eleven and most sagas have fewer.
    pub steps: BTreeMap<StepId, Box<StepState>>,
    /// Open work items by number.
    pub work_items: BTreeMap<u32, WorkItem>,
    /// Number of the last work item ever opened.
    pub work_items_opened: u32,
    /// Its output, once completed.
    #[serde(
        default,
        deserialize_with = "baton_messages::present::present",
        skip_serializing_if = "Option::is_none"
    )]
    pub output: Option<Value>,
    /// Of a child that has completed: why it returns nothing although its definition says what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_output: Option<String>,
    /// Inputs with an id that were applied.
    pub applied: BTreeSet<InputId>,
    /// How many hits of triggers have joined it.
    #[serde(default)]
    pub joined: u32,
    /// How many records it has.
    pub seq: u64,
    /// When the last one was made.
    pub last_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Of a child: whether it had completed once, whatever became of it since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub had_completed: bool,
    /// The saga whose step it is, of a child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Box<Parent>>,
    /// What it takes before its first step, if it takes anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Box<Reservation>>,
    /// The last time it went on under another version of its definition, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgraded: Option<Box<Upgraded>>,
    /// When its records were taken out of the store: then nothing but how it ended is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged_at: Option<Timestamp>,
}

impl SagaState {
    /// A saga that nothing is known of yet.
    #[must_use]
    pub fn new(id: SagaId) -> Self {
        Self {
            id,
            definition: String::new(),
            version: 0,
            status: Status::New,
            paused: false,
            input: Value::Null,
            labels: BTreeMap::new(),
            by: String::new(),
            started_at: Timestamp(0),
            deadline_at: None,
            unwinding: None,
            past_pivot: false,
            steps: BTreeMap::new(),
            work_items: BTreeMap::new(),
            work_items_opened: 0,
            output: None,
            no_output: None,
            applied: BTreeSet::new(),
            joined: 0,
            seq: 0,
            last_at: Timestamp(0),
            ended_at: None,
            had_completed: false,
            parent: None,
            reservation: None,
            upgraded: None,
            purged_at: None,
        }
    }

    /// Started and not ended.
    #[must_use]
    pub const fn active(&self) -> bool {
        !self.status.ended() && !matches!(self.status, Status::New)
    }

    /// The version of its definition that it was started under, whatever it runs now.
    #[must_use]
    pub fn started_version(&self) -> u32 {
        let upgraded = self.upgraded.as_deref();
        upgraded.map_or(self.version, |upgraded| upgraded.started)
    }

    /// One step's state.
    #[must_use]
    pub fn step(&self, id: &StepId) -> Option<&StepState> {
        self.steps.get(id).map(Box::as_ref)
    }

    /// A step, or one item of one.
    #[must_use]
    pub fn at(&self, key: &StepKey) -> Option<&StepState> {
        let step = self.steps.get(&key.step)?;
        match key.item {
            None => Some(step),
            Some(item) => step.fan.as_ref()?.get(item),
        }
    }

    /// Every step, and every item that is not settled.
    pub fn live(&self) -> impl Iterator<Item = (Spot<'_>, &StepState)> {
        self.steps.iter().flat_map(|(id, step)| {
            let items = step.fan.iter().flat_map(|fan| &fan.live);
            let items = items.map(move |(n, item)| (Spot(id, Some(*n)), item.as_ref()));
            std::iter::once((Spot(id, None), step.as_ref())).chain(items)
        })
    }

    /// Every step, and every item that has begun, settled or not.
    pub fn all(&self) -> impl Iterator<Item = (Spot<'_>, &StepState)> {
        let shelved = self.steps.iter().flat_map(|(id, step)| {
            let items = step.fan.iter().flat_map(|fan| &fan.shelf);
            items.map(move |(n, item)| (Spot(id, Some(*n)), item.as_ref()))
        });
        self.live().chain(shelved)
    }

    /// What a step or an item returned; that of an item stands in its step's once all are done.
    #[must_use]
    pub fn output_of(&self, key: &StepKey) -> Option<&Value> {
        let own = self.at(key)?.output.as_ref();
        own.or_else(|| {
            let all = self.steps.get(&key.step)?.output.as_ref()?;
            let one = all.get(usize::try_from(key.item?).ok()?)?;
            (!one.is_null()).then_some(one)
        })
    }

    /// Whether nothing of a step may have an effect, now or later.
    #[must_use]
    pub fn gone(&self, id: &StepId, now: Timestamp) -> bool {
        self.step(id).is_none_or(|step| {
            let fan = step.fan.as_ref();
            !step.may_have_effect && !step.unsettled(now) && fan.is_none_or(|fan| fan.gone(now))
        })
    }

    /// The steps that wait for events, with what each waits for; none once the saga has ended.
    pub fn listening(&self) -> impl Iterator<Item = (&StepId, &Listens)> {
        let steps = self.steps.iter().filter(|_| self.active());
        steps.filter_map(|(id, step)| Some((id, step.listens.as_ref()?)))
    }

    /// The open work item of a step, if there is one.
    #[must_use]
    pub fn work_item_of(&self, step: &StepKey) -> Option<&WorkItem> {
        self.work_items
            .values()
            .find(|item| item.step.as_ref() == Some(step))
    }
}
