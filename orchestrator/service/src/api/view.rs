//! A saga as people and programs are shown it: folded, its steps in the order of the definition, each with its attempts and why it waits.

use std::collections::BTreeMap;

use baton_driver::{Purged, SagaRow};
use baton_engine::definition::StepKind;
use baton_engine::record::Record;
use baton_engine::state::{self, Cause, Phase, Prepared, StepState};
use baton_engine::{Definition, Entry, SagaState, Status, WorkItem};
use baton_messages::{
    DeadReason, Direction, Failure, RunId, SagaId, Standing, StepId, StepKey, TaskType, Timestamp,
    Wanted, WorkerId,
};
use baton_store::LetterRow;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::dead_letters::Stands;
use super::items::{Fan, OUTPUTS_MAX, fan_view};
use super::reservations::Reserved;
use super::why;

/// A saga in a list.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "SagaRow")]
pub(crate) struct Row {
    /// It.
    pub(crate) id: SagaId,
    /// What it runs.
    pub(crate) definition: String,
    /// Which version of it.
    pub(crate) version: u32,
    /// Where it stands.
    pub(crate) status: Status,
    /// Whether an operator has stopped it from starting anything.
    pub(crate) paused: bool,
    /// What it is searched by.
    pub(crate) labels: BTreeMap<String, String>,
    /// Who or what started it.
    pub(crate) by: String,
    /// When it started.
    pub(crate) started_at: Timestamp,
    /// When its status last changed.
    pub(crate) changed_at: Timestamp,
    /// When it ended.
    pub(crate) ended_at: Option<Timestamp>,
}

impl From<&SagaRow> for Row {
    fn from(row: &SagaRow) -> Self {
        Self {
            id: row.saga,
            definition: row.definition.clone(),
            version: row.version,
            status: row.status,
            paused: row.paused,
            labels: row.labels.clone(),
            by: row.by.clone(),
            started_at: row.started_at,
            changed_at: row.changed_at,
            ended_at: row.ended_at,
        }
    }
}

/// One saga, whole.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Saga")]
pub(crate) struct Saga {
    /// It.
    id: SagaId,
    /// What it runs.
    definition: String,
    /// Which version of it.
    version: u32,
    /// Where it stands.
    status: Status,
    /// Whether an operator has stopped it from starting anything.
    paused: bool,
    /// What it is searched by.
    labels: BTreeMap<String, String>,
    /// Who or what started it.
    by: String,
    /// What it was started with.
    input: Value,
    /// What it returns, once completed.
    output: Option<Value>,
    /// When it started.
    started_at: Timestamp,
    /// When it ended.
    ended_at: Option<Timestamp>,
    /// When anything last happened to it.
    changed_at: Timestamp,
    /// When it has to have reached its pivot.
    deadline_at: Option<Timestamp>,
    /// Whether the pivot was sent: from then on only forward.
    past_pivot: bool,
    /// The saga whose step it is, of a child.
    parent: Option<Parent>,
    /// What it takes before its first step, if it takes anything.
    pub(crate) reservation: Option<Reserved>,
    /// Why it takes back what it did, if it does.
    unwinding: Option<Cause>,
    /// That it was moved to the version it runs, and from which; the last time, where it was moved several times.
    upgraded: Option<state::Upgraded>,
    /// Who gave it up, if it is abandoned.
    pub(crate) abandoned: Option<Abandoned>,
    /// Its steps, in the order of the definition.
    pub(super) steps: Vec<Step>,
    /// What people have to decide.
    work_items: Vec<WorkItem>,
    /// Messages of it that died, newest first: at most 20, where one saga is asked for.
    pub(crate) dead_letters: Vec<DeadOfSaga>,
    /// When it next moves by itself.
    next_wake: Option<Timestamp>,
    /// How many records it has: the number of the last one.
    records: u64,
    /// Set when its records were taken out of the store: then only how it ended is known, and neither steps nor input are shown.
    purged: Option<Gone>,
    /// The clock of the orchestrator as it answers.
    now: Timestamp,
}

/// A dead letter that speaks of a saga.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct DeadOfSaga {
    id: Uuid,
    /// Where it stands.
    state: Stands,
    /// Why it died.
    reason: DeadReason,
    /// The kind of message.
    kind: Option<String>,
    /// When it was taken in.
    at: Timestamp,
    /// The attempt its saga minted for it the last time it was replayed.
    attempt: Option<u32>,
}

impl From<LetterRow> for DeadOfSaga {
    fn from(row: LetterRow) -> Self {
        Self {
            id: row.letter.id,
            state: row.now.state.into(),
            reason: row.letter.reason,
            kind: row.letter.kind,
            at: row.letter.at,
            attempt: row.now.attempt.map(|of| of.attempt),
        }
    }
}

/// Who gave a saga up, leaving what was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Abandoned {
    by: String,
    /// Why, in that person's words.
    reason: String,
    at: Timestamp,
}

impl Abandoned {
    /// Out of the entry that ended the saga so: the operator's action is in the same.
    pub(crate) fn of(entry: &Entry) -> Option<Self> {
        let ends = |record: &Record| {
            matches!(
                record,
                Record::Ended {
                    status: Status::Abandoned,
                    ..
                }
            )
        };
        if !entry.records.iter().any(ends) {
            return None;
        }
        entry.records.iter().find_map(|record| match record {
            Record::Applied {
                action, by, reason, ..
            } if action == "abandon" => Some(Self {
                by: by.clone(),
                reason: reason.clone(),
                at: entry.at,
            }),
            _ => None,
        })
    }
}

/// That a saga's records were taken out of the store.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Purged")]
pub(crate) struct Gone {
    /// When.
    pub(crate) at: Timestamp,
    /// The file they lie in, below `retention.archive_dir` of the orchestrator that drove it; none: they were archived nowhere.
    pub(crate) archive: Option<String>,
}

impl From<Purged> for Gone {
    fn from(purged: Purged) -> Self {
        Self {
            at: purged.at,
            archive: purged.archive,
        }
    }
}

/// What a step does.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "StepKind")]
enum Kind {
    /// Has a worker run a task.
    Task,
    /// Lets time pass.
    Sleep,
    /// Waits for an event.
    Wait,
    /// Waits for a person.
    Approve,
    /// Publishes an event.
    Emit,
    /// Is another saga.
    Saga,
}

impl Kind {
    const fn of(kind: &StepKind) -> Self {
        match kind {
            StepKind::Task(_) => Self::Task,
            StepKind::Sleep(_) => Self::Sleep,
            StepKind::Wait(_) => Self::Wait,
            StepKind::Approve(_) => Self::Approve,
            StepKind::Emit(_) => Self::Emit,
            StepKind::Saga(_) => Self::Saga,
        }
    }
}

/// One step, or one item of it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Step {
    id: StepKey,
    /// Its task type, where it is a task.
    task: Option<TaskType>,
    /// What it does; none where its definition cannot be read any more.
    kind: Option<Kind>,
    /// The pool whose workers may take it, once that is known.
    pool: Option<String>,
    /// Where it stands.
    phase: Phase,
    /// Since when.
    since: Timestamp,
    /// When it began.
    began_at: Option<Timestamp>,
    /// When it was done, or had failed for good; what comes after is its undo.
    done_at: Option<Timestamp>,
    /// The saga it is, once that was begun.
    pub(super) child: Option<Child>,
    /// Its items, where it is done for each of a list.
    fan: Option<Fan>,
    /// When its phase ends by itself.
    due: Option<Timestamp>,
    /// Which doing of it, from 1.
    round: u32,
    /// Its attempts of this round, oldest first.
    attempts: Vec<Attempt>,
    /// How often it was tried.
    tries: u32,
    /// Whether the world may be otherwise because of it.
    may_have_effect: bool,
    /// Whether it counts as taken back although nothing was: its `undo.when` was false.
    undo_unwanted: bool,
    /// Whether it is the pivot.
    pivot: bool,
    /// What it was given.
    input: Option<Value>,
    /// What it returned; of a step with many items nothing, since each item has its own.
    output: Option<Value>,
    /// The state it found before it acted.
    before: Option<Value>,
    /// What it said last while it ran.
    progress: Option<Value>,
    /// What last went wrong.
    last_failure: Option<Failure>,
    /// Why it does not go on right now.
    why: Option<String>,
    /// The same with `{}` in place of a length of time, for who shows it for longer: counted to or from `why_at`.
    why_words: Option<String>,
    /// See `why_words`.
    why_at: Option<Timestamp>,
}

/// The saga whose step another one is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Parent {
    /// It.
    saga: SagaId,
    /// Its step, or the item of it.
    step: StepKey,
    /// Which doing of that step, from 1.
    round: u32,
    /// The saga at the top, with which it compensates.
    root: SagaId,
    /// How deep it lies: a child of the root is 1.
    depth: u32,
}

impl Parent {
    fn of(parent: &baton_engine::child::Parent) -> Self {
        Self {
            saga: parent.of.saga,
            step: parent.of.key(),
            round: parent.of.round,
            root: parent.root,
            depth: parent.depth,
        }
    }
}

/// The saga that a step is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Child {
    /// It.
    pub(super) id: SagaId,
    /// What it runs.
    definition: String,
    /// Which version of it.
    version: u32,
    /// What is wanted of it.
    want: Wanted,
    /// Where it stands now; none where it has not begun.
    pub(super) status: Option<Status>,
    /// Until when it has to be done.
    until: Option<Timestamp>,
}

impl Child {
    fn of(child: &baton_engine::child::Child) -> Self {
        Self {
            id: child.id,
            definition: child.definition.clone(),
            version: child.version,
            want: child.want,
            status: child.standing.as_ref().map(status),
            until: child.until,
        }
    }
}

/// Where a child stands, by what it said last.
const fn status(standing: &Standing) -> Status {
    match standing {
        Standing::UnderWay {
            parked: Some(_), ..
        } => Status::Parked,
        Standing::UnderWay {
            compensating: true, ..
        } => Status::Compensating,
        Standing::UnderWay { .. } => Status::Running,
        Standing::Completed { .. } => Status::Completed,
        Standing::Compensated { .. } => Status::Compensated,
        Standing::Abandoned => Status::Abandoned,
    }
}

/// One attempt of a step.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Attempt {
    /// Which way.
    direction: Direction,
    /// Which try, from 1.
    number: u32,
    /// Which sending of it, from 1.
    dispatch: u32,
    /// How far it has come.
    stage: Stage,
    /// Who claimed it.
    worker: Option<WorkerId>,
    /// The run that claimed it.
    run: Option<RunId>,
    /// When it was first offered.
    first_offered_at: Timestamp,
    /// When its present offer was made.
    offered_at: Timestamp,
    /// From when on nobody acts for it any more.
    last_moment: Timestamp,
    /// Whether the broker has not taken it yet.
    held: bool,
    /// Whether no other worker can hold it.
    sole: bool,
}

/// How far an attempt has come.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Stage {
    /// Sent; nobody has claimed or reported it.
    Offered,
    /// Claimed by a run, under a lease.
    Claimed,
    /// Closed by its report.
    Reported,
    /// Closed without a report: it may have acted.
    Closed,
    /// Closed, and certain not to have acted.
    NotRun,
}

/// The steps in the order of the document it began under, as the first record has them.
pub(crate) fn step_order(first: &Entry) -> Vec<String> {
    let steps = first.records.iter().find_map(|record| match record {
        Record::Started { steps, .. } => Some(steps.iter().map(ToString::to_string).collect()),
        _ => None,
    });
    steps.unwrap_or_default()
}

/// One saga, whole.
pub(crate) fn saga(
    state: &SagaState,
    definition: Option<&Definition>,
    order: &[String],
    purged: Option<Purged>,
    now: Timestamp,
) -> Saga {
    // a saga that was moved has the steps of the version it runs now
    let place = |id: &StepId| match definition.and_then(|known| known.step(id)) {
        Some(step) => Some(step.index),
        None => order.iter().position(|known| known == id.as_str()),
    };
    let mut steps: Vec<(&StepId, &StepState)> = state
        .steps
        .iter()
        .map(|(id, step)| (id, step.as_ref()))
        .collect();
    steps.sort_by_key(|(id, _)| place(id).unwrap_or(usize::MAX));
    Saga {
        id: state.id,
        dead_letters: Vec::new(),
        definition: state.definition.clone(),
        version: state.version,
        status: state.status,
        paused: state.paused,
        labels: state.labels.clone(),
        by: state.by.clone(),
        input: state.input.clone(),
        output: state.output.clone(),
        started_at: state.started_at,
        ended_at: state.ended_at,
        changed_at: state.last_at,
        deadline_at: state.deadline_at,
        past_pivot: state.past_pivot,
        parent: state.parent.as_deref().map(Parent::of),
        reservation: state.reservation.as_deref().map(Reserved::of),
        unwinding: state.unwinding.clone(),
        upgraded: state.upgraded.as_deref().cloned(),
        abandoned: None,
        steps: steps
            .into_iter()
            .map(|(id, step)| one_step(state, definition, &id.into(), step, now))
            .collect(),
        work_items: state.work_items.values().cloned().collect(),
        next_wake: state.next_wake(),
        records: state.seq,
        purged: purged.map(Gone::from),
        now,
    }
}

pub(super) fn one_step(
    state: &SagaState,
    definition: Option<&Definition>,
    id: &StepKey,
    step: &StepState,
    now: Timestamp,
) -> Step {
    let defined = definition.and_then(|definition| definition.step(&id.step));
    let ready = step.forward.as_ref();
    let task = ready
        .map(|ready| ready.facts.task_type.clone())
        .or_else(|| defined?.task().map(|task| task.task_type.clone()));
    let input =
        |ready: &Option<std::sync::Arc<Prepared>>| ready.as_ref().map(|ready| ready.input.clone());
    let why = why::waits(state, definition, id, step, now);
    Step {
        id: id.clone(),
        task,
        kind: defined.map(|step| Kind::of(&step.kind)),
        pool: ready.map(|ready| ready.facts.pool.to_string()),
        phase: step.phase,
        since: step.since,
        began_at: step.began_at,
        done_at: step.done_at,
        child: step.child.as_deref().map(Child::of),
        fan: step
            .fan
            .as_ref()
            .map(|fan| fan_view(state, definition, &id.step, fan, now)),
        due: step.due,
        round: step.round,
        attempts: step.attempts.iter().map(attempt).collect(),
        tries: step.last_attempt(Direction::Do),
        may_have_effect: step.may_have_effect,
        undo_unwanted: step.unwanted,
        pivot: defined.is_some_and(|step| step.pivot),
        input: input(&step.forward).or_else(|| Some(step.child.as_ref()?.input.as_ref().clone())),
        output: step
            .fan
            .as_ref()
            .is_none_or(|fan| fan.len() <= OUTPUTS_MAX)
            .then(|| state.output_of(id).cloned())
            .flatten(),
        before: step.before.as_ref().map(|(_, value)| value.clone()),
        progress: step.progress.clone(),
        last_failure: step.last_failure.clone(),
        why: why.as_ref().map(|why| why.said(now)),
        why_at: why.as_ref().and_then(|why| why.at),
        why_words: why.map(|why| why.words),
    }
}

fn attempt(attempt: &state::Attempt) -> Attempt {
    let (stage, worker, run) = match &attempt.stage {
        state::Stage::Offered => (Stage::Offered, None, None),
        state::Stage::Claimed { run, worker } => (Stage::Claimed, Some(worker.clone()), Some(*run)),
        state::Stage::Reported => (Stage::Reported, None, None),
        state::Stage::Closed => (Stage::Closed, None, None),
        state::Stage::NotRun => (Stage::NotRun, None, None),
    };
    Attempt {
        direction: attempt.direction,
        number: attempt.number,
        dispatch: attempt.dispatch,
        stage,
        worker,
        run,
        first_offered_at: attempt.first_offered_at,
        offered_at: attempt.offered_at,
        last_moment: attempt.last_moment,
        held: attempt.held,
        sole: attempt.sole,
    }
}
