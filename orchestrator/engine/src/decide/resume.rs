//! Resume: what was held back by a pause starts; timers that came due meanwhile fire at once.

use baton_messages::{Direction, StepKey};

use super::{DecideError, Deciding, Handled, Refusal, Verdict};
use crate::input::Operator;
use crate::record::Record;
use crate::state::Phase;

pub(super) fn resume(d: &mut Deciding<'_>, operator: &Operator) -> Handled {
    if let Some(verdict) = d.precheck(operator) {
        return Ok(verdict);
    }
    if !d.state.paused {
        return Ok(Verdict::Refused(Refusal::NotNow {
            action: "resume",
            why: "it is not paused".into(),
        }));
    }
    d.applied(operator, "resume")?;
    go_on(d)?;
    Ok(Verdict::Applied)
}

/// Things start again, here and in every child that is under way.
pub(super) fn go_on(d: &mut Deciding<'_>) -> Result<(), DecideError> {
    d.emit(Record::Resumed)?;
    d.tell_children()?;
    // Whoever came to serve them during the pause was not heard: they are offered once, and wait again if nobody is there.
    let waiting: Vec<(StepKey, Direction)> = d
        .state
        .live()
        .filter_map(|(spot, step)| match step.phase {
            Phase::Unserved => Some((spot.key(), Direction::Do)),
            Phase::UndoUnserved => Some((spot.key(), Direction::Undo)),
            _ => None,
        })
        .collect();
    for (id, direction) in waiting {
        d.offer_unserved(&id, direction)?;
    }
    Ok(())
}
