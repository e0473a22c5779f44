//! Break a lock: an operator takes it from the saga that holds it, with a reason. The saga goes on without it, and its tasks carry the old number:
//! whoever gets the lock next has a higher one, by which they are known for late.

use super::operator::unreasoned;
use super::{Deciding, Handled, Refusal, Verdict};
use crate::input::Operator;
use crate::record::Record;

pub(super) fn break_lock(d: &mut Deciding<'_>, name: &str, operator: &Operator) -> Handled {
    if d.state.applied.contains(&operator.id) {
        return Ok(Verdict::Duplicate);
    }
    // A child that has ended holds its locks until the saga at the top has.
    if !d.state.active() && d.state.parent.is_none() {
        return Ok(Verdict::Refused(Refusal::Ended {
            status: d.state.status.as_str(),
        }));
    }
    let what_for = "two may act on the same thing from then on";
    if let Some(verdict) = unreasoned(operator, "break", what_for) {
        return Ok(verdict);
    }
    let holds = |taken: &crate::reservation::Reservation| taken.holds(name);
    if !d.state.reservation.as_deref().is_some_and(holds) {
        let why = format!("it holds no lock `{name}`; see who does with `baton locks show {name}`");
        let action = "break";
        return Ok(Verdict::Refused(Refusal::NotNow { action, why }));
    }
    d.applied(operator, "break-lock")?;
    d.emit(Record::LockBroken {
        name: name.to_owned(),
        by: operator.by.clone(),
        reason: operator.reason.clone(),
    })?;
    Ok(Verdict::Applied)
}
