//! Admit: an operator lets a saga through, however many of its kind were begun lately. Never past a lock, nor past how many may run at once: what it
//! still waits for then, it waits for.

use super::operator::unreasoned;
use super::{Deciding, Handled, Refusal, Verdict};
use crate::input::Operator;
use crate::record::Record;
use crate::reservation::ReservationKind;

pub(super) fn admit(d: &mut Deciding<'_>, operator: &Operator) -> Handled {
    if let Some(verdict) = d.precheck(operator) {
        return Ok(verdict);
    }
    let what_for = "the limit is there to protect something";
    if let Some(verdict) = unreasoned(operator, "admit", what_for) {
        return Ok(verdict);
    }
    let why = match d.state.reservation.as_deref() {
        None => Some("it takes nothing before its first step"),
        Some(taken) if taken.admitted_at.is_some() => Some("it was admitted already"),
        Some(taken) if !taken.wants(ReservationKind::BlastRadius) => Some(
            "no blast radius holds it back; nobody goes past a lock or a limit of what runs at once",
        ),
        Some(taken) if taken.let_through => Some("it was let through already"),
        Some(_) => None,
    };
    if let Some(why) = why {
        return Ok(Verdict::Refused(Refusal::NotNow {
            action: "admit",
            why: why.to_owned(),
        }));
    }
    d.applied(operator, "admit")?;
    d.close_held_back(&operator.by)?;
    d.emit(Record::LetThrough {
        by: operator.by.clone(),
        reason: operator.reason.clone(),
    })?;
    Ok(Verdict::Applied)
}
