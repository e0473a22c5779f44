//! What stands before what: nothing that is not done may stand before what has begun, what was done is undone in the order it was done in, and what the pivot waits for is done.

use std::collections::BTreeSet;

use baton_messages::{Effect, StepId};

use super::{Both, REASONS_MAX, Reason, ReasonKind, begun};
use crate::definition::{Step, StepKind};
use crate::state::{Phase, StepState};

/// Everything that is out of order.
pub(super) fn reasons(both: &Both<'_>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for (id, state) in both.begun() {
        // enough: a long chain that was turned around would name each pair
        if reasons.len() >= REASONS_MAX {
            break;
        }
        let (Some(was), Some(next)) = (both.was(id), both.next(id)) else {
            // said of the step itself
            continue;
        };
        reasons.extend(before(both, (was, next), state));
        reasons.extend(undo_order(both, (was, next), state));
        if next.pivot && was.pivot && state.phase != Phase::Skipped {
            reasons.extend(barrier(both, (was, next)));
        }
    }
    reasons
}

impl<'a> Both<'a> {
    pub(super) fn was(&self, id: &StepId) -> Option<&'a Step> {
        self.versions.was.steps.get(*self.was_of.get(id)?)
    }

    pub(super) fn next(&self, id: &StepId) -> Option<&'a Step> {
        self.versions.next.steps.get(*self.next_of.get(id)?)
    }

    /// Whether one is done that stands in the new version.
    fn done(&self, id: &StepId) -> bool {
        self.state.step(id).is_some_and(|step| step.phase.done())
    }

    /// The ids of steps of the new version.
    fn next_ids(&self, places: &BTreeSet<usize>) -> impl Iterator<Item = &'a StepId> {
        let steps = &self.versions.next.steps;
        places.iter().filter_map(|at| Some(&steps.get(*at)?.id))
    }

    /// Whether one stood before another in the old version.
    fn stood_before(&self, one: &StepId, other: &Step) -> bool {
        self.was_of
            .get(one)
            .is_some_and(|at| other.ancestors.contains(at))
    }
}

/// What stands before a step that has begun, and would have had to be done first. What stood there in the old version as well (an operator has skipped the step out
/// of its turn) is nothing new.
fn before(both: &Both<'_>, (was, next): (&Step, &Step), state: &StepState) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for id in both.next_ids(&next.ancestors) {
        if both.stood_before(id, was) {
            continue;
        }
        let done = both.state.step(id).filter(|one| one.phase.done());
        let Some(done) = done else {
            let what = format!("it stands before {}, which has begun", next.id);
            reasons.push(Reason::of_step(ReasonKind::Before, id, what));
            continue;
        };
        let in_turn = done.done_at.zip(state.began_at).is_none_or(|(a, b)| a <= b);
        if !in_turn {
            let what = format!("it stands before {}, which had begun earlier", next.id);
            reasons.push(Reason::of_step(ReasonKind::Before, id, what));
        }
    }
    reasons
}

/// Undo goes against the order: of two steps that both may have changed something, the one that came after the other has to go on doing so.
fn undo_order(both: &Both<'_>, (was, next): (&Step, &Step), state: &StepState) -> Vec<Reason> {
    if looks_only(was, state) && !was.pivot {
        return Vec::new();
    }
    let steps = &both.versions.was.steps;
    let ancestors = was.ancestors.iter().filter_map(|at| steps.get(*at));
    let mut reasons = Vec::new();
    for ancestor in ancestors {
        let Some(of) = both.state.step(&ancestor.id).filter(|one| begun(one)) else {
            continue;
        };
        let stays = both
            .next_of
            .get(&ancestor.id)
            .is_none_or(|at| next.ancestors.contains(at));
        if stays || (looks_only(ancestor, of) && !ancestor.pivot) {
            continue;
        }
        let what = format!(
            "it came after {}, and would not any more: what both did is undone in that order",
            ancestor.id
        );
        reasons.push(Reason::of_step(ReasonKind::UndoOrder, &next.id, what));
    }
    reasons
}

/// The pivot has begun: what is not behind it was done before it.
fn barrier(both: &Both<'_>, (was, next): (&Step, &Step)) -> Vec<Reason> {
    let behind = |one: &Step| one.index == next.index || next.descendants.contains(&one.index);
    let others = both.versions.next.steps.iter().filter(|one| !behind(one));
    let mut reasons = Vec::new();
    for one in others.filter(|one| !both.done(&one.id)) {
        let waited_for = both
            .was_of
            .get(&one.id)
            .is_some_and(|at| !was.descendants.contains(at));
        if !waited_for && !next.ancestors.contains(&one.index) {
            let what = format!("the pivot {} has begun, and would wait for it", next.id);
            reasons.push(Reason::of_step(ReasonKind::Before, &one.id, what));
        }
    }
    reasons
}

/// Whether a step can have changed nothing that would have to be undone.
pub(super) fn looks_only(defined: &Step, state: &StepState) -> bool {
    match &defined.kind {
        StepKind::Sleep(_) | StepKind::Wait(_) | StepKind::Approve(_) | StepKind::Emit(_) => true,
        StepKind::Saga(_) => state.child.is_none() && state.fan.is_none(),
        StepKind::Task(_) => {
            let looks = |one: &StepState| {
                let ready = one.forward.as_ref();
                !one.may_have_effect && ready.is_none_or(|ready| ready.facts.effect == Effect::None)
            };
            state.fan.is_none() && looks(state)
        }
    }
}
