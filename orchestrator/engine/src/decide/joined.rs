//! `Joined`: a trigger was hit again while this saga has its key. It is written down, so that nobody wonders where that event went, and
//! changes nothing.

use baton_messages::InputId;

use super::{Deciding, Handled, Verdict};
use crate::record::Record;

/// Hits written down for one saga: whoever sends more has been heard, and a storm of alarms must not fill the store.
const JOINED_MAX: u32 = 1_000;

pub(super) fn joined(
    d: &mut Deciding<'_>,
    id: InputId,
    trigger: u32,
    source: &str,
    event: &str,
) -> Handled {
    if d.state.applied.contains(&id) {
        return Ok(Verdict::Duplicate);
    }
    if d.state.joined >= JOINED_MAX {
        let why = format!("{JOINED_MAX} events have joined it already");
        return Ok(Verdict::Ignored { why });
    }
    d.emit(Record::Joined {
        id,
        trigger,
        source: source.to_owned(),
        event: event.to_owned(),
    })?;
    Ok(Verdict::Applied)
}
