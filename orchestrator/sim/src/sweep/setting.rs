//! What a saga is played with: its definition, and those of the sagas within it, as the simulated world reads them, its input, and what its
//! tasks return.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use baton_engine::decide::limits::QUEUE_MS_DEFAULT;
use baton_engine::definition::{
    Attempts, OnError as Said, OnTimeout, Step, StepKind, TaskStep, UndoPlan,
};
use baton_engine::{Catalogue, Definition};
use baton_messages::{Direction, Effect, SagaId, StepId, TaskType};
use serde_json::Value;

use super::Unready;
use super::kinds::{self, kind};
use super::tree::{Above, StepPath, Tree};
use super::value::{Flavour, value};
use super::values::Values;
use crate::plan::{
    Comes, Decides, FanPlan, Idle, Kind, OnError, SagaPlan, Script, StepPlan, UndoSaid, UndoWhen,
};
use crate::rng::Rng;

/// Attempts of a step that is tried for ever, as far as anybody counts.
const FOREVER: u32 = u32::MAX;

/// One saga of a setting.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) definition: Arc<Definition>,
    /// It, every step of which goes well.
    pub(crate) plan: SagaPlan,
    /// What its tasks return.
    pub(crate) returns: BTreeMap<StepId, Value>,
    /// What a task of another type finds that is asked whether one happened: a value of its own type.
    pub(crate) finds: BTreeMap<StepId, Value>,
    /// What the events say that it waits for, where that was given.
    pub(crate) events: BTreeMap<StepId, Value>,
    /// Attempts of each undo, where its step says how many.
    pub(crate) undos: BTreeMap<StepId, u32>,
}

/// One way a saga is played.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// The id of the saga at the top.
    pub(crate) id: SagaId,
    /// Every saga, by the steps that lead to it.
    pub(crate) parts: BTreeMap<Above, Part>,
    /// The input of the one at the top.
    pub(crate) input: Value,
    /// Whether it completes when all is well: then a script says what must come.
    pub(crate) completes: bool,
    /// Every kind of task it needs somebody for.
    pub(crate) kinds: Vec<&'static Kind>,
}

impl Setting {
    /// Sagas with their values; which steps are wanted and how many items they have is known only once it was played.
    pub(super) fn new(tree: &Tree, catalogue: &Catalogue, values: Values) -> Result<Self, Unready> {
        let id = SagaId(Rng::new(1).uuid());
        let (input, mut returns) = values;
        let mut parts = BTreeMap::new();
        let mut kinds: Vec<&'static Kind> = Vec::new();
        for (above, one) in &tree.all {
            let mut part = part(id, above, &one.definition, catalogue, &mut kinds)?;
            for step in &one.definition.steps {
                let at = StepPath::new(above, &step.id);
                if let Some(value) = returns.remove(&at) {
                    part.finds
                        .extend(found(step, catalogue, &value).map(|it| (step.id.clone(), it)));
                    part.returns.insert(step.id.clone(), value);
                }
                if let Some(data) = tree.event(&at) {
                    part.events.insert(step.id.clone(), data.clone());
                }
            }
            parts.insert(above.clone(), part);
        }
        Ok(Self {
            id,
            parts,
            input,
            completes: false,
            kinds,
        })
    }

    /// One of its sagas.
    pub(crate) fn part(&self, above: &[StepId]) -> Option<&Part> {
        self.parts.get(above)
    }

    /// A step as the simulated world reads it.
    pub(crate) fn step(&self, at: &StepPath) -> Option<&StepPlan> {
        self.part(&at.above)?.plan.step(&at.step)
    }

    /// Whether a step is tried until it goes.
    pub(crate) fn forever(&self, at: &StepPath, way: Direction) -> bool {
        let part = self.part(&at.above);
        match way {
            Direction::Do => self.step(at).is_some_and(|step| step.attempts == FOREVER),
            Direction::Undo => part.is_some_and(|part| part.undos.get(&at.step) == Some(&FOREVER)),
            Direction::Probe => false,
        }
    }

    /// It as it turned out to be: which steps are wanted, and how many items there are.
    pub(crate) fn known(
        mut self,
        ran: &BTreeSet<StepPath>,
        items: &BTreeMap<StepPath, u32>,
    ) -> Self {
        for (above, part) in &mut self.parts {
            for step in &mut part.plan.steps {
                let at = StepPath::new(above, &step.id);
                step.wanted = ran.contains(&at);
                let count = items.get(&at).copied().unwrap_or(0);
                if let Some(fan) = &mut step.fan {
                    fan.scripts = vec![Script::default(); usize::try_from(count).unwrap_or(0)];
                }
            }
        }
        self
    }

    /// Whether anything of a step can be taken back by a task: its own effect, or one of a saga that it is.
    pub(crate) fn has_undo(&self, at: &StepPath) -> bool {
        let Some(step) = self.step(at) else {
            return false;
        };
        if step.idle != Idle::Child {
            return has_undo(step);
        }
        let within = at.within();
        let Some(part) = self.part(&within) else {
            return false;
        };
        let mut steps = part.plan.steps.iter();
        steps.any(|step| self.has_undo(&StepPath::new(&within, &step.id)))
    }
}

/// One saga, as the simulated world reads it.
fn part(
    id: SagaId,
    above: &[StepId],
    definition: &Arc<Definition>,
    catalogue: &Catalogue,
    kinds: &mut Vec<&'static Kind>,
) -> Result<Part, Unready> {
    let mut steps = Vec::new();
    let mut undos = BTreeMap::new();
    let order = in_order(definition);
    for at in &order {
        let Some(step) = definition.steps.get(*at) else {
            continue;
        };
        steps.push(planned(step, above, &order, catalogue, kinds)?);
        let said = step.task().and_then(|task| match &task.undo {
            UndoPlan::Task(undo) => Some(&undo.retry),
            UndoPlan::Own => Some(&task.own_undo.retry),
            UndoPlan::None { .. } => None,
        });
        let times = said.and_then(|retry| attempts(retry.attempts));
        undos.extend(times.map(|times| (step.id.clone(), times)));
    }
    Ok(Part {
        definition: definition.clone(),
        plan: SagaPlan {
            id,
            name: definition.saga.clone(),
            yaml: definition.source.to_string(),
            steps,
            deadline_ms: definition.deadline_ms,
        },
        returns: BTreeMap::new(),
        finds: BTreeMap::new(),
        events: BTreeMap::new(),
        undos,
    })
}

/// What a task of another type finds where it is asked whether a step happened: what the step returned, if it could return that itself, and else what its own schema says.
fn found(step: &Step, catalogue: &Catalogue, returned: &Value) -> Option<Value> {
    let task = step.task()?;
    let probe = task.probe.as_ref();
    let probe = probe.filter(|probe| probe.task_type != task.task_type)?;
    let known = catalogue.get(&probe.task_type)?;
    if known.check_output(returned).is_ok() {
        return Some(returned.clone());
    }
    value(&known.manifest.output, Flavour::Full, step.id.as_str()).ok()
}

/// One step.
fn planned(
    step: &Step,
    above: &[StepId],
    order: &[usize],
    catalogue: &Catalogue,
    kinds: &mut Vec<&'static Kind>,
) -> Result<StepPlan, Unready> {
    let mut plan = StepPlan {
        id: step.id.clone(),
        kind: None,
        idle: Idle::Sleep,
        after: place_of(&step.after, order),
        wanted: true,
        sleep_ms: 0,
        pivot: step.pivot,
        on_error: on_error(step.on_error),
        attempts: 1,
        queue_ms: QUEUE_MS_DEFAULT,
        undo: UndoSaid::Own,
        undo_when: UndoWhen::Always,
        undo_once: false,
        script: Script::default(),
        fan: step.fan.as_ref().map(|fan| FanPlan {
            scripts: Vec::new(),
            parallel: fan.max_parallel,
            tolerate: u32::from(fan.tolerate.any()),
        }),
        within: None,
    };
    match &step.kind {
        StepKind::Task(task) => of_task(&mut plan, above, task, catalogue, kinds)?,
        StepKind::Sleep(_) => {}
        StepKind::Wait(wait) => {
            plan.on_error = on_timeout(wait.on_timeout);
            plan.idle = Idle::Wait {
                comes: Comes::After(1),
                since: wait.since_ms > 0,
                prefix: false,
                timeout_ms: wait.timeout_ms,
            };
        }
        StepKind::Approve(approve) => {
            plan.idle = Idle::Approve {
                decides: Decides::Yes,
                goes_on: approve.goes_on_rejected,
                on_timeout: on_timeout(approve.on_timeout),
                timeout_ms: approve.timeout_ms,
            };
        }
        StepKind::Emit(_) => plan.idle = Idle::Emit,
        StepKind::Saga(_) => plan.idle = Idle::Child,
    }
    Ok(plan)
}

fn of_task(
    plan: &mut StepPlan,
    above: &[StepId],
    task: &TaskStep,
    catalogue: &Catalogue,
    kinds: &mut Vec<&'static Kind>,
) -> Result<(), Unready> {
    let undone_by = match &task.undo {
        UndoPlan::Task(undo) => Some(&undo.task_type),
        UndoPlan::Own | UndoPlan::None { .. } => None,
    };
    let probed_by = task.probe.as_ref().map(|probe| &probe.task_type);
    let known = |task_type: &TaskType| {
        let known = catalogue.get(task_type);
        known.ok_or_else(|| Unready::Unknown {
            step: StepPath::new(above, &plan.id),
            task_type: task_type.clone(),
        })
    };
    let manifest = &known(&task.task_type)?.manifest;
    let probe = match probed_by {
        Some(other) => Some(known(other)?.manifest.probe),
        None => None,
    };
    let said = kinds::Said {
        undone_by_another: undone_by.is_some(),
        probed_by_another: probe,
    };
    let own = kind(manifest, said);
    let plainly = kinds::Said {
        undone_by_another: false,
        probed_by_another: None,
    };
    for other in undone_by.into_iter().chain(probed_by) {
        kinds.push(kind(&known(other)?.manifest, plainly));
    }
    kinds.push(own);
    let once = match &task.undo {
        UndoPlan::Task(undo) => {
            let its_own = known(&undo.task_type)?.manifest.idempotent;
            !undo.idempotent.unwrap_or(its_own)
        }
        UndoPlan::Own | UndoPlan::None { .. } => false,
    };
    plan.undo_once = once;
    plan.kind = Some(own);
    plan.attempts = attempts(task.retry.attempts).unwrap_or(manifest.retry.attempts.max(1));
    plan.queue_ms = task.queue_timeout_ms.unwrap_or(QUEUE_MS_DEFAULT);
    plan.undo = match &task.undo {
        UndoPlan::Own => UndoSaid::Own,
        UndoPlan::None { .. } => UndoSaid::None,
        UndoPlan::Task(_) => UndoSaid::Task,
    };
    if task.undo_when.is_some() {
        plan.undo_when = UndoWhen::Written;
    }
    Ok(())
}

/// Whether a step has something that can be taken back by a task.
fn has_undo(step: &StepPlan) -> bool {
    let effect = step.kind.is_some_and(|kind| kind.effect != Effect::None);
    effect
        && match step.undo {
            UndoSaid::Own => step.kind.is_some_and(|kind| kind.undo),
            UndoSaid::None => false,
            UndoSaid::Task => true,
        }
}

const fn attempts(said: Option<Attempts>) -> Option<u32> {
    match said {
        None => None,
        Some(Attempts::Times(times)) => Some(times.get()),
        Some(Attempts::Forever) => Some(FOREVER),
    }
}

const fn on_error(said: Said) -> OnError {
    match said {
        Said::Compensate => OnError::Compensate,
        Said::Park => OnError::Park,
        Said::Continue => OnError::Continue,
    }
}

const fn on_timeout(said: OnTimeout) -> OnError {
    match said {
        OnTimeout::Fail => OnError::Compensate,
        OnTimeout::Park => OnError::Park,
        OnTimeout::Continue => OnError::Continue,
    }
}

/// The steps so that each comes after those it waits for.
fn in_order(definition: &Definition) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    while order.len() < definition.steps.len() {
        let ready = definition.steps.iter().position(|step| {
            !order.contains(&step.index) && step.after.iter().all(|at| order.contains(at))
        });
        // a definition that was read has no circle
        let Some(ready) = ready else { break };
        order.push(ready);
    }
    order
}

fn place_of(after: &[usize], order: &[usize]) -> Vec<usize> {
    let place = |at: &usize| order.iter().position(|one| one == at);
    let mut all: Vec<usize> = after.iter().filter_map(place).collect();
    all.sort_unstable();
    all
}
