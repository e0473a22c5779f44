//! What a definition is going to do, before anything runs: the order, what runs side by side, how long it may take, and for each step what
//! is taken back when it fails. The same rules as `advance` and `decide`, over all runs at once.

mod asks;
mod back;
mod times;
mod unwind;
mod within;

use std::collections::{BTreeMap, BTreeSet};

use baton_messages::{Effect, Manifest, StepId, TaskType};
use serde::Serialize;
use serde_json::Value;

use crate::catalogue::Catalogue;
use crate::decide::limits::QUEUE_MS_DEFAULT;
use crate::definition::{
    Around, Attempts, Definition, NoSagas, OnError, OnTimeout, Sagas, Step, StepKind, TaskStep,
};
use crate::reservation::{ReservationKind, Want};
pub use asks::{Asks, Rung};
pub use back::{How, TakenBack, Undo, When};
use times::Time;
pub use times::{WaitsFor, Way};
pub use unwind::Rest;
use within::{Seen, Within};

/// A whole plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The name of the definition.
    pub definition: String,
    /// Its version.
    pub version: u32,
    /// What is taken before the first step, all or none; its names as they are written, where the input does not say them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub takes: Vec<Want>,
    /// How long after it has what it takes it may be before its pivot, or before its end where it has none, in milliseconds: then it turns back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Whose its work items are and by when, where it says so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<Asks>,
    /// The steps by the stage they begin in: those of one stage may run side by side.
    pub stages: Vec<Vec<StepId>>,
    /// The steps, in the order of the document.
    pub steps: Vec<Planned>,
    /// The way that takes longest by time limits.
    pub longest: Way,
    /// All that may be taken back, where steps refer to it: of a plan that is too large to have that below each of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taken_back: Vec<Vec<Undo>>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Its id.
    pub id: StepId,
    /// What it does: `task`, `sleep`, `wait`, `approve`, `emit`, `saga`, `group`.
    pub kind: &'static str,
    /// Of what: the task type, the type of the event, who decides, how long.
    pub of: String,
    /// How it is done for each item of a list, where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub each: Option<Each>,
    /// The plan of the saga it is, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Box<Plan>>,
    /// Whether more lies within it than is shown here: that saga has a plan of its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more_within: bool,
    /// What it waits for; of the pivot everything that does not come after it.
    pub after: Vec<StepId>,
    /// Its stage, from 0.
    pub stage: usize,
    /// Whether it runs.
    pub runs: Runs,
    /// From its dispatch on the saga only goes forward.
    pub pivot: bool,
    /// How long it takes at most once a worker has it, with all its attempts and the waits between them, in milliseconds; none when it has
    /// no end, or when nobody knows yet.
    pub limit_ms: Option<u64>,
    /// What it, or what lies within it, may wait for beside.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub waits_for: BTreeSet<WaitsFor>,
    /// How long it may wait for a worker beside, in milliseconds.
    pub queue_ms: Option<u64>,
    /// How often it is tried and for how long, where it is a task that somebody has announced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tries: Option<Tries>,
    /// How it is taken back, where it ever is: neither the pivot nor what only runs once that was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<TakenBack>,
    /// From the pivot on: what happens where nobody knows whether it happened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Doubt>,
    /// What happens when it fails for good.
    pub fails: Fails,
}

/// How often a task is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tries {
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: u64,
    /// How many there are; none: for ever.
    pub attempts: Option<u32>,
}

/// What happens where nobody knows whether a step happened that is not taken back. Nothing is guessed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Doubt {
    /// What is asked first: the saga goes forward where it says that it happened, and it is tried again where it did not.
    pub probe: Option<TaskType>,
    /// Whether it is tried again where nobody can tell: twice does no harm.
    pub again: bool,
    /// Whether the saga goes on without knowing in the end; else a person decides.
    pub goes_on: bool,
}

/// A step that is done for each item of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Each {
    /// How many items there are; none when that is known only at run time.
    pub items: Option<u32>,
    /// How many there may be, by the step and by the schema the list comes from.
    pub most: u32,
    /// How many are under way at once.
    pub max_parallel: u32,
    /// How many may fail: a number, or a share such as `10%`.
    pub tolerate: String,
}

/// Whether a step runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runs {
    /// Always.
    Always,
    /// When its `if` is true.
    Perhaps,
    /// Never, with this input.
    Never,
}

/// What happens when a step fails for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "then", rename_all = "kebab-case")]
pub enum Fails {
    /// It cannot.
    Never,
    /// The saga goes on without its output.
    GoesOn,
    /// A person decides.
    Parks,
    /// What was done is taken back.
    Unwinds {
        /// Itself, when nobody knows whether it happened: beside what does not come before it.
        in_doubt: Option<Undo>,
        /// Where this pivot was sent, a person decides instead: all of this holds only where it was not: its `if` has it skipped, or it failed before and is tolerated.
        #[serde(skip_serializing_if = "Option::is_none")]
        only_without: Option<StepId>,
        /// In this order; what stands together is taken back side by side.
        undo: Vec<Vec<Undo>>,
        /// And then, where all of it would be too much below each step.
        #[serde(skip_serializing_if = "Option::is_none")]
        rest: Option<Rest>,
    },
}

/// Plans a definition; with an input, what depends on it alone is taken into account.
#[must_use]
pub fn plan(definition: &Definition, catalogue: &Catalogue, input: Option<&Value>) -> Plan {
    plan_among(definition, catalogue, &NoSagas, input)
}

/// The same, with the sagas within it, as far as they are known.
#[must_use]
pub fn plan_among(
    definition: &Definition,
    catalogue: &Catalogue,
    sagas: &dyn Sagas,
    input: Option<&Value>,
) -> Plan {
    let seen = Seen::default();
    let planner = Planner {
        definition,
        catalogue,
        sagas,
        seen: &seen,
        depth: 0,
        runs: runs(definition, input),
        scope: input
            .map(|input| BTreeMap::from([("input".to_owned(), input.clone())]))
            .unwrap_or_default(),
        takes: takes(definition, input),
        around: Vec::new(),
    };
    planner.plan()
}

/// What happens when a step fails for good, by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failing {
    Never,
    GoesOn,
    Parks,
    Unwinds,
}

struct Planner<'a> {
    definition: &'a Definition,
    catalogue: &'a Catalogue,
    sagas: &'a dyn Sagas,
    seen: &'a Seen,
    /// How deep this saga lies.
    depth: u32,
    runs: Vec<Runs>,
    takes: Vec<Want>,
    /// What expressions may read by now.
    scope: BTreeMap<String, Value>,
    /// Where it is a group: what it stands in, the nearest first.
    around: Vec<Around<'a>>,
}

/// What is taken, by its names where the input says them.
fn takes(definition: &Definition, input: Option<&Value>) -> Vec<Want> {
    let Some(reserves) = &definition.reserves else {
        return Vec::new();
    };
    let labels = |input: &Value| crate::decide::labels(definition, input);
    let known = input.and_then(|input| {
        let wants = reserves.wants(&definition.saga, input, &labels(input));
        wants.ok()
    });
    if let Some(wants) = known {
        return wants;
    }
    let locks = reserves.locks.iter().map(|lock| Want {
        kind: ReservationKind::Lock,
        name: lock.text.clone(),
        max: 1,
        per_ms: None,
    });
    let limits = [
        (ReservationKind::Concurrency, &reserves.concurrency),
        (ReservationKind::BlastRadius, &reserves.blast_radius),
    ];
    let limits = limits.into_iter().filter_map(|(kind, limit)| {
        let limit = limit.as_ref()?;
        let key = limit.key.as_ref().map(|key| format!("/{}", key.text()));
        Some(Want {
            kind,
            name: format!("{}{}", definition.saga, key.unwrap_or_default()),
            max: limit.max,
            per_ms: limit.per_ms,
        })
    });
    locks.chain(limits).collect()
}

fn runs(definition: &Definition, input: Option<&Value>) -> Vec<Runs> {
    let scope = input.map(|input| BTreeMap::from([("input".to_owned(), input.clone())]));
    let of = |step: &Step| match (&step.condition, &scope) {
        (None, _) => Runs::Always,
        (Some(condition), Some(scope)) if condition.roots().iter().all(|root| root == "input") => {
            match condition.eval(scope) {
                Ok(Value::Bool(true)) => Runs::Always,
                Ok(Value::Bool(false)) => Runs::Never,
                _ => Runs::Perhaps,
            }
        }
        (Some(_), _) => Runs::Perhaps,
    };
    definition.steps.iter().map(of).collect()
}

impl<'a> Planner<'a> {
    fn plan(&self) -> Plan {
        let steps = &self.definition.steps;
        let before: Vec<Vec<usize>> = steps.iter().map(|step| self.before(step)).collect();
        let order = order(&before);
        let mut stage = vec![0; steps.len()];
        for index in &order {
            stage[*index] = before[*index]
                .iter()
                .map(|b| stage[*b] + 1)
                .max()
                .unwrap_or(0);
        }
        let mut stages: Vec<Vec<StepId>> = Vec::new();
        for (step, at) in steps.iter().zip(&stage) {
            if stages.len() <= *at {
                stages.resize(*at + 1, Vec::new());
            }
            stages[*at].push(step.id.clone());
        }
        let withins: Vec<Within> = steps.iter().map(|step| self.within(step)).collect();
        let times = steps.iter().zip(&withins);
        let times: Vec<Time> = times
            .map(|(step, within)| self.time(step, within))
            .collect();
        let longest = self.longest(&before, &order, &times);
        let backs: Vec<Option<TakenBack>> =
            steps.iter().map(|step| self.taken_back(step)).collect();
        let unwinds = |step: &Step| self.fails(step) == Failing::Unwinds;
        let mut unwound = self.unwound(&order, &backs, unwinds);
        let parts = steps.iter().zip(withins).zip(times);
        let planned = parts.map(|((step, within), time)| {
            let (within, more_within) = match within {
                Within::Plan(plan) => (Some(plan), false),
                Within::Large => (None, true),
                Within::Unknown => (None, false),
            };
            Planned {
                id: step.id.clone(),
                kind: kind(step),
                of: of(step),
                each: self.each(step),
                within,
                more_within,
                after: self.ids(&before[step.index]),
                stage: stage[step.index],
                runs: self.runs[step.index],
                pivot: step.pivot,
                limit_ms: time.limit_ms,
                waits_for: time.waits_for,
                queue_ms: step
                    .task()
                    .map(|task| task.queue_timeout_ms.unwrap_or(QUEUE_MS_DEFAULT)),
                tries: self.tries(step),
                undo: self.undo_of(step, &backs),
                doubt: self.doubt(step),
                fails: match self.fails(step) {
                    Failing::Never => Fails::Never,
                    Failing::GoesOn => Fails::GoesOn,
                    Failing::Parks => Fails::Parks,
                    Failing::Unwinds => {
                        let unwind = unwound.of.get_mut(step.index).and_then(Option::take);
                        let unwind = unwind.unwrap_or_default();
                        Fails::Unwinds {
                            in_doubt: self.in_doubt(step, &backs),
                            only_without: self.perhaps_past(step),
                            undo: unwind.undo,
                            rest: unwind.rest,
                        }
                    }
                },
            }
        });
        let planned: Vec<Planned> = planned.collect();
        Plan {
            definition: self.definition.saga.clone(),
            version: self.definition.version,
            takes: self.takes.clone(),
            deadline_ms: self.definition.deadline_ms,
            asks: asks::asks(self.definition),
            steps: planned,
            stages,
            longest,
            taken_back: unwound.taken_back,
        }
    }

    fn ids(&self, indices: &[usize]) -> Vec<StepId> {
        let steps = indices.iter().filter_map(|i| self.definition.steps.get(*i));
        steps.map(|step| step.id.clone()).collect()
    }

    /// What a step waits for. The pivot waits for all that does not come after it.
    fn before(&self, step: &Step) -> Vec<usize> {
        if !step.pivot {
            return step.after.clone();
        }
        let all = 0..self.definition.steps.len();
        all.filter(|i| *i != step.index && !step.descendants.contains(i))
            .collect()
    }

    fn manifest(&self, task: &TaskStep) -> Option<&Manifest> {
        self.catalogue
            .get(&task.task_type)
            .map(|known| &known.manifest)
    }

    /// What happens when a step fails for good, nothing of it being done.
    fn fails(&self, step: &Step) -> Failing {
        let on_timeout = match &step.kind {
            StepKind::Wait(wait) => Some(wait.on_timeout),
            // A no is a failure for good, whatever follows when nobody answers.
            StepKind::Approve(approve) => approve.goes_on_rejected.then_some(approve.on_timeout),
            StepKind::Emit(emit) if emit.subject.is_none() && emit.data.is_none() => {
                return Failing::Never;
            }
            StepKind::Task(_) | StepKind::Sleep(_) | StepKind::Emit(_) | StepKind::Saga(_) => None,
        };
        // the pivot itself is taken for undone when it failed with nothing changed
        let past_pivot = !step.pivot && self.is_from_pivot_on(step);
        match (step.on_error, on_timeout) {
            _ if self.runs[step.index] == Runs::Never => Failing::Never,
            (OnError::Continue, _) | (_, Some(OnTimeout::Continue)) => Failing::GoesOn,
            (OnError::Park, _) | (_, Some(OnTimeout::Park)) => Failing::Parks,
            (OnError::Compensate, _) if past_pivot => Failing::Parks,
            (OnError::Compensate, _) => Failing::Unwinds,
        }
    }

    /// What happens where nobody knows whether it happened, of a step that is not taken back.
    fn doubt(&self, step: &Step) -> Option<Doubt> {
        let task = step.task().filter(|_| self.is_from_pivot_on(step))?;
        let manifest = self.manifest(task)?;
        if manifest.effect == Effect::None || self.runs.get(step.index) == Some(&Runs::Never) {
            return None;
        }
        let own = manifest.probe.then(|| task.task_type.clone());
        let can = |probe: &TaskType| {
            let known = self.catalogue.get(probe);
            known.is_some_and(|known| known.manifest.probe)
        };
        let probe = match &task.probe {
            Some(named) => Some(named.task_type.clone()).filter(can),
            None => own,
        };
        Some(Doubt {
            probe,
            again: manifest.idempotent,
            goes_on: step.on_error == OnError::Continue,
        })
    }

    /// How often a task is tried.
    fn tries(&self, step: &Step) -> Option<Tries> {
        let task = step.task()?;
        Some(tries(task, self.manifest(task)?))
    }
}

/// How often a task is tried.
fn tries(task: &TaskStep, manifest: &Manifest) -> Tries {
    let timeout = task.timeout_ms.unwrap_or(manifest.timeout_ms_default);
    Tries {
        timeout_ms: timeout.min(manifest.timeout_ms_max),
        attempts: match task.retry.attempts {
            None => Some(manifest.retry.attempts.max(1)),
            Some(Attempts::Times(times)) => Some(times.get()),
            Some(Attempts::Forever) => None,
        },
    }
}

/// The steps in an order in which each comes after all it waits for.
fn order(before: &[Vec<usize>]) -> Vec<usize> {
    let mut done: BTreeSet<usize> = BTreeSet::new();
    let mut order = Vec::with_capacity(before.len());
    while order.len() < before.len() {
        let free = (0..before.len())
            .filter(|i| !done.contains(i) && before[*i].iter().all(|b| done.contains(b)));
        let free: Vec<usize> = free.collect();
        if free.is_empty() {
            break;
        }
        done.extend(&free);
        order.extend(free);
    }
    order
}

const fn kind(step: &Step) -> &'static str {
    match &step.kind {
        StepKind::Task(_) => "task",
        StepKind::Sleep(_) => "sleep",
        StepKind::Wait(_) => "wait",
        StepKind::Approve(_) => "approve",
        StepKind::Emit(_) => "emit",
        StepKind::Saga(saga) if saga.group.is_some() => "group",
        StepKind::Saga(_) => "saga",
    }
}

fn of(step: &Step) -> String {
    match &step.kind {
        StepKind::Task(task) => task.task_type.to_string(),
        StepKind::Sleep(how_long) => match how_long.as_literal() {
            Some(Value::String(text)) => text.clone(),
            Some(other) => format!("{other}ms"),
            None => "computed".to_owned(),
        },
        StepKind::Wait(wait) => wait.event.to_string(),
        StepKind::Approve(approve) => approve.by.to_string(),
        StepKind::Emit(emit) => emit.kind.clone(),
        StepKind::Saga(saga) => match &saga.group {
            Some(group) if group.definition.steps.len() == 1 => "of 1 step".to_owned(),
            Some(group) => format!("of {} steps", group.definition.steps.len()),
            None => format!("{}@{}", saga.name, saga.version),
        },
    }
}
