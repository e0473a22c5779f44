//! `TypeServed`: somebody serves a task type (again). Steps that waited for it are offered.

use baton_messages::{Direction, StepKey, TaskType};

use super::{DecideError, Deciding, Handled, Verdict};
use crate::advance::dependents_gone;
use crate::state::Phase;

pub(super) fn type_served(d: &mut Deciding<'_>, task_type: &TaskType) -> Handled {
    if !d.state.active() || d.state.paused {
        return Ok(Verdict::Duplicate);
    }
    let waiting: Vec<(StepKey, Direction)> = d
        .state
        .live()
        .filter_map(|(spot, step)| Some((spot.key(), step.unserved()?)))
        .collect();
    for (id, direction) in waiting {
        if wants(d, &id, direction, task_type)? {
            d.offer_unserved(&id, direction)?;
        }
    }
    Ok(Verdict::Applied)
}

/// Whether this is the type the step waits for.
fn wants(
    d: &Deciding<'_>,
    id: &StepKey,
    direction: Direction,
    served: &TaskType,
) -> Result<bool, DecideError> {
    let runs = d.step(id)?.runs(direction, d.defined(id)?.task());
    Ok(runs == Some(served))
}

impl Deciding<'_> {
    /// Offers what nobody served before: made ready now, if it was not.
    pub(crate) fn offer_unserved(
        &mut self,
        id: &StepKey,
        direction: Direction,
    ) -> Result<(), DecideError> {
        let back = direction == Direction::Undo && self.state.unwinding.is_some();
        if back && !dependents_gone(self, self.defined(id)?.index) {
            // Evidence came that something after it has happened: that one is undone first.
            return self.move_to(id, Phase::Doubtful, None, None, None);
        }
        if self.step(id)?.prepared(direction).is_some() {
            return self.offer(id, direction);
        }
        match direction {
            Direction::Undo => self.prepare_and_offer_undo(id),
            Direction::Do | Direction::Probe => self.prepare_and_offer(id),
        }
    }
}
