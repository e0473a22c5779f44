//! Broken: an input could not be decided. The saga is parked with a work item; the input is kept by whoever noticed.

use baton_messages::InputId;

use super::{Deciding, Handled, Verdict};
use crate::record::Record;
use crate::state::Status;
use crate::work_item::WorkItemKind;

pub(super) fn broken(d: &mut Deciding<'_>, id: InputId, error: &str) -> Handled {
    if d.state.applied.contains(&id) {
        return Ok(Verdict::Duplicate);
    }
    d.emit(Record::Applied {
        id,
        action: "broken".into(),
        by: "baton".into(),
        reason: error.into(),
    })?;
    if d.state.status == Status::Abandoned {
        // Whoever gave it up took over all of it; nothing wakes it up again.
        return Ok(Verdict::Applied);
    }
    if d.state.status.ended() {
        d.emit(Record::StatusChanged { to: Status::Parked })?;
    }
    let title = format!("an input could not be decided and is kept as a dead letter: {error}");
    d.open_work_item(None, WorkItemKind::Broken, title, None)?;
    Ok(Verdict::Applied)
}
