//! Pause: nothing new starts, neither forward nor backward. What runs goes on and is recorded.

use super::{Deciding, Handled, Refusal, Verdict};
use crate::input::Operator;
use crate::record::Record;

pub(super) fn pause(d: &mut Deciding<'_>, operator: &Operator) -> Handled {
    if let Some(verdict) = d.precheck(operator) {
        return Ok(verdict);
    }
    if d.state.paused {
        return Ok(Verdict::Refused(Refusal::NotNow {
            action: "pause",
            why: "it is paused already".into(),
        }));
    }
    d.applied(operator, "pause")?;
    d.emit(Record::Paused)?;
    d.tell_children()?;
    Ok(Verdict::Applied)
}
