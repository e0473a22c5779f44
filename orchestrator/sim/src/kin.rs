//! Sagas that are steps of others: how they are drawn, how the world comes to know one when its parent begins it, and what must hold of a tree.

use std::fmt::Write as _;
use std::sync::Arc;

use baton_engine::definition::group_in;
use baton_engine::state::Phase;
use baton_engine::{Definition, SagaState, Status, WorkItemKind};
use baton_messages::{ChildWanted, SagaId, StepId, StepKey};

use crate::generate;
use crate::mood::Mood;
use crate::plan::{FanPlan, Idle, OnError, SagaPlan, Script, StepPlan, UndoSaid, UndoWhen};
use crate::rng::Rng;
use crate::world::World;

/// Definitions of children in one world: the second has a step that is the first, so that they lie three deep.
const KIN: u64 = 3;
/// So many draws before a world goes without a definition that has to be of some kind.
const DRAWS: u64 = 24;
/// How much longer a tree may take to its end than a saga alone: a word that was lost is asked for after half an hour at the latest, once in each level.
const ASKED_MS: u64 = 2 * 60 * 60 * 1_000;

impl World {
    /// Draws the definitions of children, each from a chance of its own, so that other worlds stay as they are.
    pub(crate) fn draw_kin(&mut self, rng: &mut Rng) {
        for n in 0..KIN {
            let drawn = (0..DRAWS).find_map(|again| {
                let number = 1_000 + n * DRAWS + again;
                let plan = generate::saga(rng, &self.mood, number, true);
                // Whoever may turn back names no saga that only goes forward.
                (!plan.steps.iter().any(|step| step.pivot)).then_some(plan)
            });
            let Some(mut plan) = drawn else { return };
            self.with_kin(rng, &mut plan);
            self.note(&format!("kin {}", plan.yaml));
            self.kin.insert(plan.name.clone(), plan);
        }
    }

    /// Gives a saga some steps that are others, of those that are known.
    pub(crate) fn with_kin(&self, rng: &mut Rng, plan: &mut SagaPlan) {
        let names: Vec<&str> = self.kin.keys().map(String::as_str).collect();
        with_some(rng, plan, &names, false);
    }

    /// A child is told to begin, or not to: from here on the world knows it.
    pub(crate) fn meet(&mut self, wanted: &ChildWanted) {
        if self.plans.contains_key(&wanted.child) {
            return;
        }
        if let Some(scene) = &mut self.scene {
            let Some((plan, definition)) = scene.meet(wanted) else {
                return self.breaks(format!("{} is no saga of this scene", wanted.definition));
            };
            self.definitions.insert(plan.id, definition);
            self.plans.insert(plan.id, plan);
            return;
        }
        let Some((template, definition)) = self.met(wanted) else {
            return self.breaks(format!("{} is no saga of this world", wanted.definition));
        };
        let plan = SagaPlan {
            id: wanted.child,
            ..template
        };
        self.definitions.insert(plan.id, definition);
        self.report.children += 1;
        self.report.grouped += u64::from(group_in(&wanted.definition).is_some());
        self.plans.insert(plan.id, plan);
    }

    /// What a child is: a saga of its own, or a group in the document of the one at the top.
    fn met(&self, wanted: &ChildWanted) -> Option<(SagaPlan, Arc<Definition>)> {
        let Some((_, way)) = group_in(&wanted.definition) else {
            let plan = self.kin.get(&wanted.definition)?;
            let definition = Definition::parse(&plan.yaml).ok()?;
            return Some((plan.clone(), Arc::new(definition)));
        };
        let plan = self.groups.get(&wanted.definition)?;
        let top = self.definitions.get(&wanted.root)?;
        Some((plan.clone(), top.group(way)?.clone()))
    }

    /// How much longer a saga of this world may take because of words that are asked for again.
    pub(crate) fn longer_ms(&self) -> u64 {
        if self.kin.is_empty() {
            return 0;
        }
        let plans = self.plans.values().chain(self.kin.values());
        let waits = plans.flat_map(|plan| plan.steps.iter().map(StepPlan::idle_ms));
        ASKED_MS + waits.sum::<u64>()
    }

    /// Whether anything of the child of a step, or of one of its items, still stands.
    pub(crate) fn child_stands(&self, saga: SagaId, step: &StepPlan) -> bool {
        if step.idle != Idle::Child {
            return false;
        }
        let children = {
            let disk = self.store.disk();
            let state = disk.mirror.get(&saga);
            state.map_or_else(Vec::new, |state| children_of(state, &step.id))
        };
        children
            .into_iter()
            .any(|(key, child)| !self.settled_by_hand(&(saga, key)) && self.saga_stands(child))
    }

    /// Whether anything that a saga, or one below it, did still stands.
    fn saga_stands(&self, saga: SagaId) -> bool {
        let Some(plan) = self.plans.get(&saga) else {
            return false;
        };
        plan.steps.iter().any(|step| {
            let stands = |key| self.stands(step, &(saga, key));
            let own = step.keys().into_iter().any(stands);
            own || self.child_stands(saga, step)
        })
    }

    /// At the end: a step that is another saga, or an item of one, stands as that saga does.
    pub(crate) fn judge_child(
        &self,
        plan: &SagaPlan,
        step: &StepPlan,
        state: &SagaState,
    ) -> Result<(), String> {
        if step.idle != Idle::Child {
            return Ok(());
        }
        for (key, child) in children_of(state, &step.id) {
            if self.settled_by_hand(&(plan.id, key.clone())) {
                continue;
            }
            let Some(at) = state.at(&key) else { continue };
            let disk = self.store.disk();
            let child = disk.mirror.get(&child);
            let stands = child.map(|child| child.status);
            // a word that came after its end, of an effect nobody knew of, is for a person: whoever begun it has heard the end before
            let late = child.is_some_and(heard_late);
            // One that was given up by a person is nobody's any more; so is what lies below it.
            let left = state.status == Status::Abandoned || stands == Some(Status::Abandoned);
            let right = match (state.status, at.phase) {
                _ if left => true,
                (Status::Completed, Phase::Succeeded) => stands == Some(Status::Completed),
                (Status::Completed, Phase::Continued) | (Status::Compensated, _) => {
                    stands == Some(Status::Compensated) || late
                }
                _ => true,
            };
            if !right {
                return Err(format!("is {:?}, and its child is {stands:?}", at.phase));
            }
        }
        Ok(())
    }
}

/// The children of a step, or of its items.
pub(crate) fn children_of(state: &SagaState, step: &StepId) -> Vec<(StepKey, SagaId)> {
    let all = state.all().map(|(spot, at)| (spot.key(), at));
    let own = all.filter(|(key, _)| key.step == *step);
    own.filter_map(|(key, at)| Some((key, at.child.as_ref()?.id)))
        .collect()
}

/// Draws a saga with others within it, up to four deep and for each of two, as a sweep plays it; with those that lie within it.
#[must_use]
pub fn family(rng: &mut Rng, mood: &Mood, number: u64) -> (SagaPlan, Vec<SagaPlan>) {
    let mut kin: Vec<SagaPlan> = Vec::new();
    let drawn = (0..KIN * DRAWS).map(|n| 1_000 + n);
    for n in drawn {
        let mut plan = generate::saga(rng, mood, n, true);
        // Whoever may turn back names no saga that only goes forward.
        if plan.steps.iter().any(|step| step.pivot) {
            continue;
        }
        let names: Vec<&str> = kin.iter().map(|plan| plan.name.as_str()).collect();
        with_some(rng, &mut plan, &names, true);
        kin.push(plan);
        if kin.len() as u64 == KIN {
            break;
        }
    }
    let mut top = generate::saga(rng, mood, number, false);
    let names: Vec<&str> = kin.iter().map(|plan| plan.name.as_str()).collect();
    with_some(rng, &mut top, &names, true);
    (top, kin)
}

/// Gives a saga one or two steps that are some of these; where `fans`, some of them for each of two.
fn with_some(rng: &mut Rng, plan: &mut SagaPlan, names: &[&str], fans: bool) {
    if names.is_empty() {
        return;
    }
    for n in 0..rng.range(1, 2) {
        let Ok(id) = StepId::new(&format!("k{n}")) else {
            continue;
        };
        let Some(name) = names.get(rng.index(names.len())) else {
            continue;
        };
        let after: Vec<usize> = (0..plan.steps.len())
            .filter(|_| rng.per_mille(400))
            .collect();
        let on_error = rng.pick(
            &[
                OnError::Compensate,
                OnError::Compensate,
                OnError::Park,
                OnError::Continue,
            ],
            OnError::Compensate,
        );
        let timeout_ms = rng.per_mille(200).then(|| rng.range(20_000, 400_000));
        let mut step = child(id, after, on_error);
        if fans && on_error != OnError::Continue && rng.per_mille(300) {
            step.fan = Some(FanPlan {
                scripts: vec![Script::default(); 2],
                parallel: 2,
                tolerate: u32::from(rng.per_mille(300)),
            });
        }
        describe(&mut plan.yaml, &step, &plan.steps, name, timeout_ms);
        plan.steps.push(step);
    }
}

fn child(id: StepId, after: Vec<usize>, on_error: OnError) -> StepPlan {
    StepPlan {
        id,
        kind: None,
        idle: Idle::Child,
        after,
        wanted: true,
        sleep_ms: 0,
        pivot: false,
        on_error,
        attempts: 1,
        queue_ms: 0,
        undo: UndoSaid::Own,
        undo_when: UndoWhen::Always,
        undo_once: false,
        script: Script::default(),
        fan: None,
        within: None,
    }
}

fn describe(
    yaml: &mut String,
    step: &StepPlan,
    steps: &[StepPlan],
    name: &str,
    timeout_ms: Option<u64>,
) {
    let after = step.after.iter().filter_map(|at| steps.get(*at));
    let after: Vec<&str> = after.map(|step| step.id.as_str()).collect();
    let _ = writeln!(
        yaml,
        "  - id: {}\n    after: [{}]\n    saga: {name}@1\n    with: {{ never: false, saga: kin }}",
        step.id,
        after.join(", ")
    );
    if let Some(fan) = &step.fan {
        let _ = writeln!(yaml, "    for_each: [1, 2]\n    tolerate: {}", fan.tolerate);
    }
    if let Some(ms) = timeout_ms {
        let _ = writeln!(yaml, "    timeout: {ms}ms");
    }
    match step.on_error {
        OnError::Compensate => {}
        OnError::Park => yaml.push_str("    on_error: park\n"),
        OnError::Continue => yaml.push_str("    on_error: continue\n"),
    }
}

/// Whether a saga is parked only for what was heard after its end.
pub(crate) fn heard_late(child: &SagaState) -> bool {
    let mut asks = child.work_items.values().filter(|item| item.kind.blocks());
    child.status == Status::Parked && asks.all(|item| item.kind == WorkItemKind::LateEvidence)
}
