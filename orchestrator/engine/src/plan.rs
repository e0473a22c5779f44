//! What a definition is going to do, before anything runs: the order, what runs side by side, how long it may take, and for each step what
//! is taken back when it fails. The same rules as `advance` and `decide`, over all runs at once.

mod asks;
mod back;
mod unwind;
mod within;

use std::collections::{BTreeMap, BTreeSet};

use baton_messages::{Effect, Manifest, StepId, TaskType};
use serde::Serialize;
use serde_json::Value;

use crate::catalogue::Catalogue;
use crate::decide::limits::{QUEUE_MS_DEFAULT, backoff_ms};
use crate::definition::{
    Attempts, Definition, NoSagas, OnError, OnTimeout, SagaStep, Sagas, Step, StepKind, TaskStep,
    duration_ms_of,
};
use crate::reservation::{ReservationKind, Want};
pub use asks::{Asks, Rung};
pub use back::{How, TakenBack, Undo, When};
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

/// A way through the steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Way {
    /// The steps on it.
    pub steps: Vec<StepId>,
    /// How long at most, in milliseconds; none when something on it has no end.
    pub limit_ms: Option<u64>,
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
    /// How many there may be.
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
        let limits: Vec<Option<u64>> = steps.iter().map(|step| self.limit_ms(step)).collect();
        let backs: Vec<Option<TakenBack>> =
            steps.iter().map(|step| self.taken_back(step)).collect();
        let unwinds = |step: &Step| self.fails(step) == Failing::Unwinds;
        let mut unwound = self.unwound(&order, &backs, unwinds);
        let planned = steps.iter().map(|step| {
            let (within, more_within) = match step.child().map(|child| self.within(child)) {
                Some(Within::Plan(plan)) => (Some(plan), false),
                Some(Within::Large) => (None, true),
                Some(Within::Unknown) | None => (None, false),
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
                limit_ms: limits[step.index],
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
            asks: asks::asks(self.definition),
            steps: planned,
            stages,
            longest: self.longest(&before, &order, &limits),
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

    /// How long a step takes at most once somebody has it.
    fn limit_ms(&self, step: &'a Step) -> Option<u64> {
        if self.runs[step.index] == Runs::Never {
            return Some(0);
        }
        match &step.kind {
            StepKind::Task(task) => {
                let one = self.task_limit_ms(task)?;
                Some(one.saturating_mul(self.rounds(step)))
            }
            StepKind::Sleep(how_long) => duration_ms_of(&how_long.eval(&self.scope).ok()?).ok(),
            StepKind::Wait(wait) => Some(wait.timeout_ms),
            StepKind::Approve(approve) => Some(approve.timeout_ms),
            StepKind::Emit(_) => Some(0),
            StepKind::Saga(saga) => {
                let one = saga.timeout_ms.or_else(|| self.limit_of_group(saga))?;
                Some(one.saturating_mul(self.rounds(step)))
            }
        }
    }

    /// How long an item of a group takes at most.
    fn limit_of_group(&self, saga: &'a SagaStep) -> Option<u64> {
        saga.group.as_ref()?;
        match self.within(saga) {
            Within::Plan(plan) => plan.longest.limit_ms,
            Within::Large | Within::Unknown => None,
        }
    }

    /// How a step is done for each item of a list.
    fn each(&self, step: &Step) -> Option<Each> {
        let fan = step.fan.as_ref()?;
        let items = fan.items.eval(&self.scope).ok();
        let items = items.and_then(|items| u32::try_from(items.as_array()?.len()).ok());
        Some(Each {
            items,
            most: fan.most(),
            max_parallel: fan.max_parallel,
            tolerate: fan.tolerate.to_string(),
        })
    }

    /// How many items come one after the other where as many as may be are under way at once; one of a step without a list.
    fn rounds(&self, step: &Step) -> u64 {
        self.each(step).map_or(1, |each| {
            let items = each.items.unwrap_or(each.most);
            u64::from(items.div_ceil(each.max_parallel.max(1)))
        })
    }

    fn task_limit_ms(&self, task: &TaskStep) -> Option<u64> {
        let manifest = self.manifest(task)?;
        let tries = tries(task, manifest);
        let (timeout, attempts) = (tries.timeout_ms, tries.attempts?);
        let (retry, usual) = (&task.retry, &manifest.retry);
        let first = retry.backoff_ms.unwrap_or(usual.backoff_ms);
        let factor = retry.factor.unwrap_or(usual.factor);
        let longest = retry.max_ms.unwrap_or(usual.max_ms);
        let mut all = timeout;
        for used in 1..attempts {
            let wait = backoff_ms(first, factor, longest, used);
            all = all.saturating_add(timeout).saturating_add(wait);
        }
        Some(all)
    }

    /// The way through the steps that takes longest; one that has no end is longer than any.
    fn longest(&self, before: &[Vec<usize>], order: &[usize], limits: &[Option<u64>]) -> Way {
        let length = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
        let mut until = vec![0_u64; before.len()];
        let mut from: Vec<Option<usize>> = vec![None; before.len()];
        for index in order {
            let last = before[*index]
                .iter()
                .copied()
                .max_by_key(|b| (until[*b], std::cmp::Reverse(*b)));
            from[*index] = last;
            let start = last.map_or(0, |last| until[last]);
            until[*index] = start.saturating_add(length(limits[*index]));
        }
        let end = (0..until.len()).max_by_key(|i| (until[*i], *i));
        let mut way = Vec::new();
        let mut at = end;
        while let Some(index) = at {
            way.push(index);
            at = from[index];
        }
        way.reverse();
        way.retain(|index| self.runs[*index] != Runs::Never);
        let ends = way.iter().all(|index| limits[*index].is_some());
        Way {
            steps: self.ids(&way),
            limit_ms: end.filter(|_| ends).map(|end| until[end]),
        }
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
