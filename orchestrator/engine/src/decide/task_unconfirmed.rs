//! `TaskUnconfirmed`: the broker refused a task, or nobody knows whether it has it. The attempt is held until it is sent again.

use baton_messages::AttemptRef;

use super::{Deciding, Handled, Verdict, key_of};
use crate::command::still_wanted;
use crate::record::Record;

pub(super) fn task_unconfirmed(d: &mut Deciding<'_>, of: &AttemptRef, maybe_sent: bool) -> Handled {
    if !still_wanted(d.state, of) {
        return Ok(Verdict::Duplicate);
    }
    d.emit(Record::Held {
        of: key_of(of),
        maybe_sent,
    })?;
    if d.state.unwinding.is_some() {
        // Not sent for certain, and not wanted any more: over.
        d.stop_what_is_open()?;
    }
    Ok(Verdict::Applied)
}
