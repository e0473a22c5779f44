//! What is taken back when a step fails, of every step of a plan. Written out below each step it would be the square of their number: of a large plan what stands elsewhere is referred to,
//! so that what is written grows with the steps and not with their square.

use std::collections::BTreeSet;

use baton_messages::StepId;
use serde::Serialize;

use super::within::undos;
use super::{How, Planner, Runs, TakenBack, Undo, When};
use crate::definition::{OnError, Step};

/// Undos that are written out below all steps of one plan; where there are more, what stands elsewhere is referred to.
const WRITTEN_MAX: usize = 5_000;
/// Undos, or ids, that are written out below one step then.
const WRITTEN_OF_STEP_MAX: usize = 8;

/// What follows the undos that are written out, of a plan that is too large to have all of them below each step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rest {
    /// The same as when another step fails.
    As {
        /// Which.
        step: StepId,
    },
    /// All that stands in [`super::Plan::taken_back`], in that order, but for these.
    AllBut {
        /// Which.
        steps: Vec<StepId>,
        /// How many undos that are.
        count: usize,
    },
    /// So many more, in the reverse order of what ran.
    More {
        /// How many.
        count: usize,
    },
}

/// What is taken back when one step fails.
#[derive(Debug, Default)]
pub(super) struct Unwind {
    /// In this order; what stands together is taken back side by side.
    pub(super) undo: Vec<Vec<Undo>>,
    /// And then.
    pub(super) rest: Option<Rest>,
}

/// The same of every step.
#[derive(Debug, Default)]
pub(super) struct Unwound {
    /// By index; none of a step whose failure takes nothing back.
    pub(super) of: Vec<Option<Unwind>>,
    /// All that may be taken back, where steps refer to it.
    pub(super) taken_back: Vec<Vec<Undo>>,
}

/// Undos by the indices of their steps.
type Wave = Vec<(usize, When)>;

/// A plan whose unwinds are made.
struct Unwinding<'a, 'p> {
    planner: &'a Planner<'p>,
    backs: &'a [Option<TakenBack>],
    /// The steps from the last to the first: each after all that come after it.
    back: Vec<usize>,
    /// Whether a step may be taken back at all, by index.
    base: Vec<bool>,
    /// What is taken back when a step fails, by index.
    waves: Vec<Option<Vec<Wave>>>,
}

impl Planner<'_> {
    /// What is taken back when each step fails for which `unwinds` holds. `order` has each step after all it waits for.
    pub(super) fn unwound(
        &self,
        order: &[usize],
        backs: &[Option<TakenBack>],
        unwinds: impl Fn(&Step) -> bool,
    ) -> Unwound {
        let steps = &self.definition.steps;
        let base = steps.iter().zip(backs).map(|(step, back)| {
            let never = self.runs.get(step.index) == Some(&Runs::Never);
            back.is_some() && !never && !self.is_from_pivot_on(step)
        });
        let mut all = Unwinding {
            planner: self,
            backs,
            back: order.iter().rev().copied().collect(),
            base: base.collect(),
            waves: Vec::new(),
        };
        let waves = steps
            .iter()
            .map(|step| unwinds(step).then(|| all.waves_of(step)));
        all.waves = waves.collect();
        all.written()
    }

    /// Whether a step is never taken back: it is the pivot, or comes after it and runs only where that was sent. Whether that is skipped may be known by the input.
    pub(super) fn is_from_pivot_on(&self, step: &Step) -> bool {
        let Some(pivot) = self.definition.pivot() else {
            return false;
        };
        match self.runs.get(pivot.index) {
            _ if step.pivot => true,
            Some(Runs::Never) => false,
            Some(Runs::Always) if pivot.on_error != OnError::Continue => {
                step.ancestors.contains(&pivot.index)
            }
            Some(Runs::Always | Runs::Perhaps) | None => self.definition.only_forward(step),
        }
    }

    /// The pivot, of a step that comes after it and may run whether it was sent or not: where it was, nothing is taken back.
    pub(super) fn perhaps_past(&self, step: &Step) -> Option<StepId> {
        let pivot = self.definition.pivot()?;
        let perhaps = match self.runs.get(pivot.index) {
            Some(Runs::Perhaps) => true,
            // one that is tolerated may fail before it is sent
            Some(Runs::Always) => pivot.on_error == OnError::Continue,
            Some(Runs::Never) | None => false,
        };
        let after = step.ancestors.contains(&pivot.index) && !self.is_from_pivot_on(step);
        (perhaps && after).then(|| pivot.id.clone())
    }

    /// Some steps in the order in which they are taken back: first those on which none of the others depends; of each wave the last of the document first, as they are offered.
    pub(super) fn waves(&self, back: &[usize], wanted: impl Fn(usize) -> bool) -> Vec<Vec<usize>> {
        let steps = &self.definition.steps;
        // how many waves there are up to what depends on a step, and with the step itself
        let mut with = vec![0_usize; steps.len()];
        let mut place = vec![None; steps.len()];
        for index in back {
            let Some(step) = steps.get(*index) else {
                continue;
            };
            let dependents = step.dependents.iter().filter_map(|other| with.get(*other));
            let until = dependents.copied().max().unwrap_or(0);
            let is_one = wanted(*index);
            if let Some(with) = with.get_mut(*index) {
                *with = until + usize::from(is_one);
            }
            if let Some(place) = place.get_mut(*index).filter(|_| is_one) {
                *place = Some(until);
            }
        }
        let mut waves: Vec<Vec<usize>> = vec![Vec::new(); with.into_iter().max().unwrap_or(0)];
        for (index, place) in place.into_iter().enumerate().rev() {
            if let Some(wave) = place.and_then(|place| waves.get_mut(place)) {
                wave.push(index);
            }
        }
        waves
    }
}

impl Unwinding<'_, '_> {
    /// What comes before what failed, and what may have begun beside it. Of a list the other items are taken back too.
    fn waves_of(&self, failed: &Step) -> Vec<Wave> {
        let pivot = self.planner.definition.pivot();
        let after_pivot =
            |index: usize| pivot.is_some_and(|pivot| pivot.descendants.contains(&index));
        // the pivot waits for all that does not come after it, and what does waits for the pivot, skipped or not
        let late = after_pivot(failed.index);
        let reached = |index: usize| {
            self.base.get(index) == Some(&true)
                && (index != failed.index || failed.fan.is_some())
                && !failed.descendants.contains(&index)
                && (late || !after_pivot(index))
        };
        let when = |index: &usize| {
            let before_pivot = late && !after_pivot(*index);
            match failed.pivot || before_pivot || failed.ancestors.contains(index) {
                true => When::Done,
                false => When::Begun,
            }
        };
        let waves = self.planner.waves(&self.back, reached).into_iter();
        waves
            .map(|wave| {
                wave.into_iter()
                    .map(|index| (index, when(&index)))
                    .collect()
            })
            .collect()
    }

    fn written(&self) -> Unwound {
        let weight = |index: usize| match self.backs.get(index) {
            Some(Some(back)) => 1 + within(&back.how),
            Some(None) | None => 0,
        };
        let all = self.waves.iter().flatten().flatten().flatten();
        let total: usize = all.map(|(index, _)| weight(*index)).sum();
        if total <= WRITTEN_MAX {
            let of = self.waves.iter().map(|waves| {
                let undo = self.undos(waves.as_ref()?, true);
                Some(Unwind { undo, rest: None })
            });
            return Unwound {
                of: of.collect(),
                taken_back: Vec::new(),
            };
        }
        let steps = self.planner.definition.steps.iter();
        let of: Vec<Option<Unwind>> = steps
            .zip(&self.waves)
            .map(|(step, waves)| Some(self.shared(step, waves.as_ref()?)))
            .collect();
        let refers = |unwind: &Unwind| matches!(unwind.rest, Some(Rest::AllBut { .. }));
        let taken_back = match of.iter().flatten().any(refers) {
            true => self.undos(&self.all(), false),
            false => Vec::new(),
        };
        Unwound { of, taken_back }
    }

    /// All that may be taken back.
    fn all(&self) -> Vec<Wave> {
        let may = |index: usize| self.base.get(index) == Some(&true);
        let waves = self.planner.waves(&self.back, may).into_iter();
        waves
            .map(|wave| wave.into_iter().map(|index| (index, When::Begun)).collect())
            .collect()
    }

    /// As little as says all of it: what differs from what stands below a step before it, or what of all is not taken back; where neither is short the beginning.
    fn shared(&self, failed: &Step, waves: &[Wave]) -> Unwind {
        let count: usize = waves.iter().map(Vec::len).sum();
        if count <= WRITTEN_OF_STEP_MAX {
            return Unwind {
                undo: self.undos(waves, false),
                rest: None,
            };
        }
        if let Some(unwind) = self.as_before(failed, waves) {
            return unwind;
        }
        let taken: BTreeSet<usize> = waves.iter().flatten().map(|(index, _)| *index).collect();
        let steps = self.planner.definition.steps.iter().zip(&self.base);
        let left = steps.filter(|(step, may)| **may && !taken.contains(&step.index));
        let left: Vec<StepId> = left.map(|(step, _)| step.id.clone()).collect();
        if left.len() <= WRITTEN_OF_STEP_MAX {
            return Unwind {
                undo: Vec::new(),
                rest: Some(Rest::AllBut { steps: left, count }),
            };
        }
        let mut room = WRITTEN_OF_STEP_MAX;
        let first = waves.iter().map_while(|wave| {
            let part: Wave = wave.iter().take(room).copied().collect();
            room -= part.len();
            (!part.is_empty()).then_some(part)
        });
        let first: Vec<Wave> = first.collect();
        Unwind {
            undo: self.undos(&first, false),
            rest: Some(Rest::More {
                count: count - WRITTEN_OF_STEP_MAX,
            }),
        }
    }

    /// A few undos, and then the same as when a step right before it fails.
    fn as_before(&self, failed: &Step, waves: &[Wave]) -> Option<Unwind> {
        let steps = &self.planner.definition.steps;
        failed.after.iter().rev().find_map(|before| {
            let known = self.waves.get(*before)?.as_ref()?;
            let more = waves.len().checked_sub(known.len())?;
            let (own, rest) = waves.split_at_checked(more)?;
            let few = own.iter().map(Vec::len).sum::<usize>() <= WRITTEN_OF_STEP_MAX;
            (few && rest == known.as_slice() && !rest.is_empty()).then_some(())?;
            let step = steps.get(*before)?.id.clone();
            Some(Unwind {
                undo: self.undos(own, false),
                rest: Some(Rest::As { step }),
            })
        })
    }

    fn undos(&self, waves: &[Wave], with_those_within: bool) -> Vec<Vec<Undo>> {
        let one = |(index, when): &(usize, When)| {
            let step = self.planner.definition.steps.get(*index)?;
            let back = self.backs.get(*index)?.as_ref()?;
            let how = match with_those_within {
                true => back.how.clone(),
                false => back.how.by_itself(),
            };
            Some(Undo {
                step: step.id.clone(),
                how,
                only_when: back.only_when.clone(),
                when: *when,
            })
        };
        let wave = |wave: &Wave| wave.iter().filter_map(one).collect();
        waves.iter().map(wave).collect()
    }
}

/// How many undos lie within one.
fn within(how: &How) -> usize {
    match how {
        How::Saga { undo, .. } => undos(undo),
        How::Own { .. } | How::Task { .. } | How::NotUndone { .. } | How::ByHand | How::Unknown => {
            0
        }
    }
}
