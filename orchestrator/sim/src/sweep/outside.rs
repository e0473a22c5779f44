//! Whoever is outside of a scene: who is asked, what happens that a step waits for, who cancels; and when the saga has come to rest, with
//! all that lie within it.

use std::collections::BTreeMap;

use baton_engine::definition::{Approver, StepKind};
use baton_engine::state::Phase;
use baton_engine::{Approval, Input, Operator, Role, SagaState, Status, TimerKey};
use baton_messages::{Direction, InputId, SagaId, StepId, StepKey, Wanted};

use super::events;
use super::scene::{Scene, Turn};
use super::trouble::Trouble;
use crate::event::Event;
use crate::world::{BEGIN_MS, World};

/// How long whoever is asked thinks, and how long an event is on its way.
const THINKS_MS: u64 = 2_000;
/// How long before a wait is over something comes late and in time.
const JUST_BEFORE_MS: u64 = 3_000;
/// How long a world goes on after its saga has come to rest and nothing is on its way any more.
const AFTERLIFE_MS: u64 = 30 * 60 * 1000;
/// By when a saga has come to rest, whatever it waits for.
const REST_MS_MAX: u64 = 3 * 366 * 24 * 60 * 60 * 1000;

impl World {
    /// After everything that was written about the saga, or about one within it: does anybody have to do anything, and has it come to rest?
    pub(crate) fn attend(&mut self) {
        let fresh = self.fresh();
        if fresh.is_empty() {
            return;
        }
        let Some(scene) = &mut self.scene else { return };
        let rested = scene.rests;
        scene.rests = {
            let disk = self.store.disk();
            let top = disk.mirror.get(&scene.saga);
            top.is_some_and(|state| rests(&disk.mirror, state))
        };
        let afterlife = (self.now + AFTERLIFE_MS).max(scene.mail_until + AFTERLIFE_MS);
        self.until = match (scene.rests, rested && scene.sagas.len() > 1) {
            (true, false) => afterlife,
            // who waits for another goes on asking it, and would for ever
            (true, true) => self.until.max(scene.mail_until + AFTERLIFE_MS),
            (false, _) => BEGIN_MS + REST_MS_MAX,
        };
        for state in fresh {
            self.attend_to(&state);
        }
    }

    /// The sagas that were written since they were last looked at.
    fn fresh(&mut self) -> Vec<SagaState> {
        let mut fresh = Vec::new();
        let Some(scene) = &mut self.scene else {
            return fresh;
        };
        let disk = self.store.disk();
        for (saga, known) in &mut scene.sagas {
            let state = disk.mirror.get(saga);
            if let Some(state) = state.filter(|state| state.seq != known.seen) {
                known.seen = state.seq;
                fresh.push(state.clone());
            }
        }
        fresh
    }

    fn attend_to(&mut self, state: &SagaState) {
        self.cancels(state);
        let waits: Vec<(StepKey, Phase, u64)> = state
            .live()
            .filter(|(_, step)| matches!(step.phase, Phase::Asked | Phase::Listening))
            .map(|(spot, step)| {
                let due = step.due.map_or(u64::MAX, |due| due.0);
                (spot.key(), step.phase, due)
            })
            .collect();
        for (key, phase, due) in waits {
            let new = self
                .scene
                .as_mut()
                .is_some_and(|scene| scene.attended.insert((state.id, key.clone())));
            match (new, phase) {
                (true, Phase::Asked) => self.asks(state.id, &key, due),
                (true, _) => self.listens(&key.step, state, due),
                (false, _) => {}
            }
        }
    }

    /// Somebody cancels the saga at the top, whose step or whatever lies within it is under way, or done.
    fn cancels(&mut self, state: &SagaState) {
        let Some(scene) = &mut self.scene else { return };
        let Some(target) = &scene.target else { return };
        if !scene.is_target_saga(state.id) {
            return;
        }
        let phase = state.step(&target.at.step).map(|step| step.phase);
        let under_way = phase.is_some_and(|phase| phase != Phase::Waiting);
        let by_trouble = scene.trouble == Trouble::Cancelled && under_way;
        let by_turn = target.turn == Some(Turn::Cancelled) && phase == Some(Phase::Succeeded);
        let saga = scene.saga;
        let active = {
            let disk = self.store.disk();
            disk.mirror.get(&saga).is_some_and(SagaState::active)
        };
        if scene.cancelled || !active || !(by_trouble || by_turn) {
            return;
        }
        scene.cancelled = true;
        scene.strikes += u32::from(by_trouble);
        let operator = self.operator();
        self.meddled.insert(saga);
        self.request(saga, Input::Cancel(operator));
    }

    /// When something comes that a step waits for, by what its trouble is; none: never.
    fn comes_in(&mut self, saga: SagaId, step: &StepId, due: u64) -> (Option<u64>, bool) {
        let now = self.now;
        let Some(scene) = &mut self.scene else {
            return (None, false);
        };
        if scene.turned_at(saga, step, |turn| matches!(turn, Turn::Never(_))) {
            return (None, false);
        }
        let soon = THINKS_MS.min(due.saturating_sub(now) / 2);
        if !scene.is_target(saga, (step, None), Direction::Do) {
            return (Some(soon), false);
        }
        let late = due.saturating_sub(now).saturating_sub(JUST_BEFORE_MS);
        let (at, twice) = match scene.trouble {
            Trouble::Never => (None, false),
            Trouble::SaidLate => (Some(late.max(soon)), false),
            Trouble::SaidTwice => (Some(soon), true),
            _ => return (Some(soon), false),
        };
        scene.strikes += 1;
        (at, twice)
    }

    fn asks(&mut self, saga: SagaId, key: &StepKey, due: u64) {
        let (at, twice) = self.comes_in(saga, &key.step, due);
        let Some(scene) = &mut self.scene else { return };
        let no = scene.trouble == Trouble::Rejected
            && scene.is_target(saga, (&key.step, None), Direction::Do);
        scene.strikes += u32::from(no);
        let rejects =
            no || scene.turned_at(saga, &key.step, |turn| matches!(turn, Turn::Rejected(_)));
        let decision = if rejects {
            Approval::Reject
        } else {
            Approval::Approve
        };
        let Some(at) = at else { return };
        self.after(at, Event::Decides(saga, key.clone(), decision));
        if twice {
            self.after(at + 40, Event::Decides(saga, key.clone(), decision));
        }
    }

    /// A person decides.
    pub(crate) fn decides(&mut self, saga: SagaId, step: StepKey, decision: Approval) {
        let Some(scene) = &self.scene else { return };
        let by = scene
            .part_of(saga)
            .and_then(|part| part.definition.step(&step.step))
            .and_then(|step| match &step.kind {
                StepKind::Approve(approve) => Some(approve.by.clone()),
                _ => None,
            });
        let (by, role) = match by {
            Some(Approver::Person(name)) => (name, Role::Operator),
            Some(Approver::Role(role)) => ("somebody".to_owned(), role),
            None => return,
        };
        let operator = Operator {
            id: InputId(self.rng.uuid()),
            by,
            role,
            reason: "swept".into(),
            seen: None,
        };
        let input = Input::Approve {
            step,
            decision,
            operator,
        };
        self.request(saga, input);
    }

    fn listens(&mut self, step: &StepId, state: &SagaState, due: u64) {
        let (at, twice) = self.comes_in(state.id, step, due);
        let Some(scene) = &mut self.scene else { return };
        let (event, made) = events::event(scene.part_of(state.id), step, state);
        if !made {
            let path = scene.path_of(state.id, step);
            scene.unmade.extend(path);
        }
        let Some(at) = at else { return };
        self.after(at, Event::Happens(Box::new(event.clone())));
        if twice {
            let other = baton_messages::Event {
                id: format!("{} again", event.id),
                ..event.clone()
            };
            self.after(at + 20, Event::Happens(Box::new(event)));
            self.after(at + 40, Event::Happens(Box::new(other)));
        }
    }
}

impl Scene {
    /// Whether this step is one by which the saga turns back, in that way.
    fn turned_at(&self, saga: SagaId, step: &StepId, so: impl Fn(&Turn) -> bool) -> bool {
        let turn = self.target.as_ref().and_then(|target| target.turn.as_ref());
        let at = turn.filter(|turn| so(turn)).and_then(Turn::at);
        at.is_some() && at == self.path_of(saga, step).as_ref()
    }
}

/// Whether nothing will happen to a saga any more by itself: it has ended, a person has to decide about it, or about one within it for which alone it
/// waits.
fn rests(all: &BTreeMap<SagaId, SagaState>, state: &SagaState) -> bool {
    if state.status.ended() {
        return true;
    }
    if state.live().any(|(_, step)| step.open_attempt().is_some()) {
        return false;
    }
    let (mut goes_on, mut waits) = (false, state.status == Status::Parked);
    state.each_timer(|_, key| match key() {
        TimerKey::StepDue { step } if waits_for_a_person(all, state, &step) => waits = true,
        _ => goes_on = true,
    });
    waits && !goes_on
}

/// Whether a step is a saga that rests, and has said so.
fn waits_for_a_person(
    all: &BTreeMap<SagaId, SagaState>,
    state: &SagaState,
    step: &StepKey,
) -> bool {
    let at = state.at(step);
    let Some((at, child)) = at.and_then(|at| Some((at, at.child.as_ref()?))) else {
        return false;
    };
    let in_child = matches!(at.phase, Phase::InChild | Phase::UndoInChild);
    let recalled = child.want == Wanted::Done && child.until.is_some();
    let below = all.get(&child.id);
    in_child && !recalled && below.is_some_and(|below| !below.status.ended() && rests(all, below))
}

/// How many items each step with `for_each` had, as the steps of one saga are named.
pub(super) fn items_of(state: &SagaState) -> BTreeMap<StepId, u32> {
    let mut all = BTreeMap::new();
    for (spot, _) in state.all() {
        let key = spot.key();
        if let Some(item) = key.item {
            let most = all.entry(key.step).or_insert(0);
            *most = (item + 1).max(*most);
        }
    }
    all
}
