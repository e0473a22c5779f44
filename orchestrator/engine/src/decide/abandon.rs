//! Abandon: an operator gives the saga up, with a reason. What runs is asked to stop; nothing more is done or undone.

use super::operator::unreasoned;
use super::{Deciding, Handled, Verdict};
use crate::input::Operator;
use crate::record::Record;
use crate::state::Status;

pub(super) fn abandon(d: &mut Deciding<'_>, operator: &Operator) -> Handled {
    if let Some(verdict) = d.precheck(operator) {
        return Ok(verdict);
    }
    let what_for = "whoever abandons a saga takes over what it left";
    if let Some(verdict) = unreasoned(operator, "abandon", what_for) {
        return Ok(verdict);
    }
    d.applied(operator, "abandon")?;
    d.stop_what_is_open()?;
    // each child goes on to its own end, and is not left at rest for ever
    if d.state.paused {
        d.emit(Record::Resumed)?;
    }
    d.tell_children()?;
    let numbers: Vec<u32> = d.state.work_items.keys().copied().collect();
    for number in numbers {
        d.emit(Record::WorkItemClosed {
            number,
            by: operator.by.clone(),
        })?;
    }
    d.emit(Record::Ended {
        status: Status::Abandoned,
        output: None,
        no_output: None,
    })?;
    Ok(Verdict::Applied)
}
