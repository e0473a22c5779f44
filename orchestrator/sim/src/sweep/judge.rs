//! What must hold at the end of a play, of the saga that was swept and of every one that lies within it. The judge is the ledger of what has
//! really happened, and a naive reading of the scripts; neither knows the engine.

use baton_engine::definition::OnError as Said;
use baton_engine::{SagaState, Status, replay};
use baton_messages::{SagaId, StepId, StepKey};

use super::scene::{Scene, Turn};
use super::script::tolerated_above;
use crate::kin::{children_of, heard_late};
use crate::oracle::describe;
use crate::plan::{Idle, OnError, SagaPlan, StepPlan};
use crate::reference;
use crate::world::World;

impl World {
    /// The laws: the saga rests in one of three ways, and so does each within it, their logs say the same again, every reason in them is one, the
    /// world is as they say, what is left is for a named person, and a script that says what must come is obeyed.
    pub(super) fn judge_scene(&self) -> Result<(), String> {
        let Some(scene) = &self.scene else {
            return Ok(());
        };
        let top = scene.saga;
        let within = scene.sagas.keys().copied().filter(|saga| *saga != top);
        let sagas: Vec<SagaId> = std::iter::once(top).chain(within).collect();
        let mut all = Vec::new();
        for saga in sagas {
            let Some(plan) = self.plans.get(&saga) else {
                continue;
            };
            match self.state_of(saga) {
                Some(state) => all.push((plan.clone(), state)),
                None if saga == top => return Err("it never started".into()),
                // it was told to begin, and nobody has heard it
                None => {}
            }
        }
        let at = |plan: &SagaPlan| self.named(plan.id);
        for (plan, state) in &all {
            self.judge_log(plan, state)
                .map_err(|what| format!("{}{what}", at(plan)))?;
        }
        if !self.all_ended() {
            let open = all.iter().filter(|(_, state)| !state.status.ended());
            let open: Vec<String> = open.map(|(_, state)| describe(state)).collect();
            return Err(format!("has not ended: {}", open.join("; ")));
        }
        for (plan, state) in &all {
            self.judge_saga(plan, state)
                .map_err(|what| format!("{}{what}", at(plan)))?;
        }
        self.judge_ends(&all)?;
        self.judge_parked(&all)?;
        self.judge_script(top)
    }

    /// The saga as the disk has it.
    pub(super) fn state_of(&self, saga: SagaId) -> Option<SagaState> {
        self.store.disk().mirror.get(&saga).cloned()
    }

    /// How all of it stands: whatever became of the saga at the top, a person may be asked in one within it.
    pub(super) fn end_of_all(&self) -> Status {
        let Some(scene) = &self.scene else {
            return Status::New;
        };
        let disk = self.store.disk();
        let status = |saga: &SagaId| disk.mirror.get(saga).map(|state| state.status);
        let top = status(&scene.saga).unwrap_or(Status::New);
        let mut all = scene.sagas.keys().filter_map(status);
        if all.any(|status| status == Status::Parked) {
            return Status::Parked;
        }
        top
    }

    /// Which saga is spoken of, where it is not the one at the top.
    fn named(&self, saga: SagaId) -> String {
        let known = self.scene.as_ref().and_then(|scene| scene.sagas.get(&saga));
        let above = known.map(|known| known.above.as_slice()).unwrap_or(&[]);
        let names: Vec<&str> = above.iter().map(StepId::as_str).collect();
        if names.is_empty() {
            return String::new();
        }
        format!("{}: ", names.join("/"))
    }

    fn judge_log(&self, plan: &SagaPlan, state: &SagaState) -> Result<(), String> {
        let disk = self.store.disk();
        let mut replayed = SagaState::new(plan.id);
        replay(&mut replayed, disk.entries(plan.id))
            .map_err(|error| format!("its log does not replay: {error}"))?;
        if replayed != *state {
            return Err("its log replays to something else".into());
        }
        self.judge_reasons(plan, disk.entries(plan.id))
    }

    /// Each step of one saga.
    fn judge_saga(&self, plan: &SagaPlan, state: &SagaState) -> Result<(), String> {
        let status = state.status.as_str();
        for step in &plan.steps {
            for key in keys_of(step, state) {
                self.judge_step(plan, step, &key, state)
                    .map_err(|what| format!("{status}, but {key} {what}"))?;
            }
        }
        for step in &plan.steps {
            self.judge_idle(plan, step, state)
                .and_then(|()| self.judge_child(plan, step, state))
                .map_err(|what| format!("{status}, but {} {what}", step.id))?;
        }
        Ok(())
    }

    /// When the saga at the top has ended nothing within it goes on, but for what is a person's because it was heard too late.
    fn judge_ends(&self, all: &[(SagaPlan, SagaState)]) -> Result<(), String> {
        let top = all.first().map(|(_, state)| state.status);
        if !top.is_some_and(Status::ended) {
            return Ok(());
        }
        let open = all
            .iter()
            .find(|(_, state)| !state.status.ended() && !heard_late(state));
        open.map_or(Ok(()), |(plan, state)| {
            Err(format!(
                "ended, but {}{}",
                self.named(plan.id),
                describe(state)
            ))
        })
    }

    /// Parked: somebody is named, and what still stands of a saga that turned back is his.
    fn judge_parked(&self, all: &[(SagaPlan, SagaState)]) -> Result<(), String> {
        for (plan, state) in all {
            if state.status != Status::Parked {
                continue;
            }
            let named = self.named(plan.id);
            let blocks = || state.work_items.values().filter(|item| item.kind.blocks());
            if blocks().next().is_none() {
                return Err(format!("{named}parked, and nobody is asked for anything"));
            }
            if let Some(item) =
                blocks().find(|item| item.owner.is_empty() || item.choices.is_empty())
            {
                return Err(format!("{named}parked, and `{}` is nobody's", item.title));
            }
        }
        if self.end_of_all() != Status::Parked {
            return Ok(());
        }
        for (plan, state) in all.iter().filter(|(plan, _)| self.turns_back(plan.id)) {
            for (at, step) in plan.steps.iter().enumerate() {
                let stands = keys_of(step, state)
                    .into_iter()
                    .find(|key| self.stands(step, &(plan.id, key.clone())));
                if let Some(key) = stands.filter(|_| !self.asked_about(plan, state, at)) {
                    return Err(format!(
                        "{}parked; {key} still has its effect, and nobody is asked about it",
                        self.named(plan.id)
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether a saga takes back what it did, or is to because one above it does.
    fn turns_back(&self, saga: SagaId) -> bool {
        let Some(state) = self.state_of(saga) else {
            return false;
        };
        let above = above(&state);
        state.unwinding.is_some() || above.is_some_and(|(saga, _)| self.turns_back(saga))
    }

    /// Whether a person is asked about a step, or about what has to be taken back before it, in whatever saga that is.
    fn asked_about(&self, plan: &SagaPlan, state: &SagaState, at: usize) -> bool {
        let mut held = reference::after_all(plan, at);
        held.insert(at);
        let held: Vec<&StepPlan> = held.iter().filter_map(|at| plan.steps.get(*at)).collect();
        let blocks = state.work_items.values().filter(|item| item.kind.blocks());
        let mut asked = blocks.filter_map(|item| item.step.as_ref());
        if asked.any(|key| held.iter().any(|step| step.id == key.step)) {
            return true;
        }
        let mut below = held.iter().flat_map(|step| children_of(state, &step.id));
        if below.any(|(_, child)| self.asks_within(child)) {
            return true;
        }
        let Some((saga, step)) = above(state) else {
            return false;
        };
        let Some((plan, state)) = self.plans.get(&saga).zip(self.state_of(saga)) else {
            return false;
        };
        let at = plan.steps.iter().position(|one| one.id == step);
        at.is_some_and(|at| self.asked_about(plan, &state, at))
    }

    /// Whether a person is asked for anything in a saga, or in one within it.
    fn asks_within(&self, saga: SagaId) -> bool {
        let Some(state) = self.state_of(saga) else {
            return false;
        };
        if state.work_items.values().any(|item| item.kind.blocks()) {
            return true;
        }
        let mut all = state.all();
        all.any(|(_, step)| {
            let child = step.child.as_ref();
            child.is_some_and(|child| self.asks_within(child.id))
        })
    }

    /// Against the naive reference, where the script alone says what must come.
    fn judge_script(&self, top: SagaId) -> Result<(), String> {
        let Some((scene, plan)) = self.scene.as_ref().zip(self.plans.get(&top)) else {
            return Ok(());
        };
        let mut parts = scene.setting.parts.values();
        let timed = parts.any(|part| {
            let mut children = part.definition.steps.iter().filter_map(|step| step.child());
            part.definition.deadline_ms.is_some() || children.any(|saga| saga.timeout_ms.is_some())
        });
        if scene.mixed
            || softly(scene)
            || !scene.setting.completes
            || !scene.trouble.foretold()
            || timed
        {
            return Ok(());
        }
        let (allowed, end) = (reference::foretell(plan), self.end_of_all());
        if allowed.contains(&end) {
            return Ok(());
        }
        let words: Vec<&str> = allowed.iter().map(|status| status.as_str()).collect();
        Err(format!(
            "is {}; by its definition it has to be {}",
            end.as_str(),
            words.join(" or ")
        ))
    }
}

/// The saga whose step this one is.
fn above(state: &SagaState) -> Option<(SagaId, StepId)> {
    let parent = state.parent.as_ref()?;
    Some((parent.of.saga, parent.of.step.clone()))
}

/// Whether what befalls the target may be tolerated: what reads a null instead of an output may fail by itself.
fn softly(scene: &Scene) -> bool {
    let Some(target) = &scene.target else {
        return false;
    };
    let part = scene.setting.part(&target.at.above);
    let step = part.and_then(|part| part.definition.step(&target.at.step));
    let tolerated = step.is_some_and(|step| {
        step.on_error == Said::Continue || step.fan.as_ref().is_some_and(|fan| fan.tolerate.any())
    });
    let plan = scene.plans.get(&target.at.above);
    let idle = plan.and_then(|plan| plan.step(&target.at.step));
    let idle = idle.is_some_and(|step| match step.idle {
        Idle::Wait { .. } => step.on_error == OnError::Continue,
        Idle::Approve {
            goes_on,
            on_timeout,
            ..
        } => goes_on || on_timeout == OnError::Continue,
        Idle::Sleep | Idle::Emit | Idle::Child => false,
    });
    tolerated
        || idle
        || target.turn == Some(Turn::Cancelled)
        || tolerated_above(scene, &target.at.above)
}

/// What of a step has an effect by itself: the step, or each of the items it has turned out to have.
fn keys_of(step: &StepPlan, state: &SagaState) -> Vec<StepKey> {
    let keys = state.all().map(|(spot, _)| spot.key());
    let own = |key: &StepKey| key.step == step.id && key.item.is_some() == step.fan.is_some();
    keys.filter(own).collect()
}
