//! Resend: a held task goes out again under the same message id, with fresh clocks; so does one whose publishing a crash left in
//! doubt. What the saga no longer wants stays unsent.

use baton_messages::{AttemptRef, Direction};

use super::offer::unasked;
use super::{Deciding, Handled, Verdict, key_of};
use crate::command::still_wanted;
use crate::fold::last_moment;
use crate::record::Record;

pub(super) fn resend(d: &mut Deciding<'_>, of: &AttemptRef) -> Handled {
    let wanted = still_wanted(d.state, of)
        && (of.direction == Direction::Undo || d.state.unwinding.is_none());
    let facts = d
        .state
        .at(&of.key())
        .and_then(|s| s.prepared(of.direction))
        .map(|ready| &ready.facts);
    let Some(facts) = facts.filter(|_| wanted && d.state.active()) else {
        return Ok(Verdict::Duplicate);
    };
    let end = last_moment(d.now, facts.hold, facts.offer_ms, facts.timeout_ms);
    d.emit(Record::Resent {
        of: key_of(of),
        dispatch: of.dispatch,
        last_moment: end,
        unasked: unasked(d.now, facts),
    })?;
    Ok(Verdict::Applied)
}
