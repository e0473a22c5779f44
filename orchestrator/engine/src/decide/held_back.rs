//! `HeldBack`: the saga could begin, had not so many of its kind been begun lately. A person is asked; it goes on by itself when the time is over.

use super::{Deciding, Handled, Verdict};
use crate::definition::duration_text;
use crate::reservation::ReservationKind;
use crate::work_item::WorkItemKind;

pub(super) fn held_back(d: &mut Deciding<'_>) -> Handled {
    let waits = d.state.active() && d.state.unwinding.is_none() && d.state.waits_for_admission();
    let taken = d.state.reservation.as_deref();
    let taken = taken.filter(|taken| waits && !taken.let_through);
    let (Some(taken), None) = (taken, d.held_back_items().next()) else {
        return Ok(Verdict::Duplicate);
    };
    let mut wants = taken.wants.iter();
    let Some(want) = wants.find(|want| want.kind == ReservationKind::BlastRadius) else {
        return Ok(Verdict::Ignored {
            why: "it has no blast radius".to_owned(),
        });
    };
    let title = format!(
        "{} of {} were begun within {}: it waits until the time is over, or somebody admits it",
        want.max,
        want.name,
        duration_text(want.per_ms.unwrap_or(0))
    );
    d.open_work_item(None, WorkItemKind::HeldBack, title, None)?;
    Ok(Verdict::Applied)
}
