//! Whether a saga may go on under another version of its definition: whether what has happened to it could have happened under that one, and everything that was done
//! is still undone in its order if it has to be. Pure: the state holds all that a history leaves behind, and both versions are given.
//!
//! The rule behind all rules: **what has begun stays as it is, what has not is free.** A step has begun when anything was recorded of it. What is written in both versions in the same
//! way is the same; what is written otherwise is computed anew, and has to come to what was recorded. Two ends of the same thought: moving to the same text changes nothing, and
//! nothing that was sent is sent a second time or loses its way back.

mod apply;
mod order;
mod reason;
mod step;

use std::collections::BTreeMap;

use baton_messages::{StepId, Timestamp};

pub(crate) use apply::apply;
pub(crate) use reason::sentence;
pub use reason::{REASONS_MAX, Reason, ReasonKind};

use crate::catalogue::Catalogue;
use crate::definition::Definition;
use crate::reservation::{ReservationKind, Want};
use crate::state::{Phase, SagaState, StepState};

/// What a move is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Versions<'a> {
    /// The version the saga runs.
    pub was: &'a Definition,
    /// The one it is to run.
    pub next: &'a Definition,
    /// The task types known.
    pub catalogue: &'a Catalogue,
}

/// A saga may go on under the other version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fits {
    /// When it has to have reached its pivot then.
    pub deadline_at: Option<Timestamp>,
}

/// Whether a saga, as its whole history has left it, may go on under another version at `now`.
///
/// # Errors
/// Why it stays where it is; never an empty list, at most [`REASONS_MAX`].
pub fn fits(
    versions: Versions<'_>,
    state: &SagaState,
    now: Timestamp,
) -> Result<Fits, Vec<Reason>> {
    if let Some(reason) = standing(state, versions.next.version) {
        return Err(vec![reason]);
    }
    let now = now.max(state.last_at);
    let mut reasons = of_saga(versions, state);
    let deadline_at = deadline(versions, state);
    if let Some(at) = deadline_at.filter(|at| *at <= now && state.deadline_at != Some(*at)) {
        let late = now.since_ms(at);
        let what = format!(
            "it would be past its deadline by {}",
            crate::definition::duration_text(late)
        );
        reasons.push(Reason::of_saga(ReasonKind::Deadline, what));
    }
    let both = Both::of(versions, state);
    reasons.extend(step::reasons(&both));
    reasons.extend(order::reasons(&both));
    reasons.truncate(REASONS_MAX);
    if reasons.is_empty() {
        Ok(Fits { deadline_at })
    } else {
        Err(reasons)
    }
}

/// Where a saga stands so that it is not moved whatever the versions say.
fn standing(state: &SagaState, to: u32) -> Option<Reason> {
    let of = |kind, what: String| Some(Reason::of_saga(kind, what));
    if !state.active() {
        return of(
            ReasonKind::Ended,
            format!("it has ended: it is {}", state.status.as_str()),
        );
    }
    if state.unwinding.is_some() {
        let what = "it takes back what it did";
        return of(ReasonKind::Unwinding, what.to_owned());
    }
    if let Some(parent) = &state.parent {
        return of(
            ReasonKind::Child,
            format!("it is step {} of saga {}", parent.of.key(), parent.of.saga),
        );
    }
    (state.version == to)
        .then(|| Reason::of_saga(ReasonKind::There, format!("it runs version {to}")))
}

fn of_saga(versions: Versions<'_>, state: &SagaState) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if let Err(misfit) = versions.next.check_input(&state.input) {
        let what = format!("its input does not fit: {misfit}");
        reasons.push(Reason::of_saga(ReasonKind::Input, what));
    } else if is_typed_otherwise(versions, state) {
        let what =
            "its input has a number with a fraction of zero (`1.0`) where an integer is said";
        reasons.push(Reason::of_saga(ReasonKind::Input, what.to_owned()));
    }
    if let Some(what) = reservations(versions.next, state) {
        reasons.push(Reason::of_saga(ReasonKind::Reservation, what));
    }
    reasons
}

/// Whether a number of the input would have been made an integer as it came in under the other version alone: expressions have it as it was recorded.
fn is_typed_otherwise(versions: Versions<'_>, state: &SagaState) -> bool {
    let made = |of: &Definition| of.input_schema.as_ref()?.whole_numbers(&state.input);
    let next = made(versions.next);
    next.is_some() && next != made(versions.was)
}

/// What of the saga's locks and limits would be otherwise. Once it is admitted, how many may have a thing matters no more: it has it.
fn reservations(next: &Definition, state: &SagaState) -> Option<String> {
    let wanted = match &next.reserves {
        None => Ok(Vec::new()),
        Some(reserves) => {
            let labels = crate::decide::labels(next, &state.input);
            reserves.wants(&next.saga, &state.input, &labels)
        }
    };
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(why) => return Some(why),
    };
    let taken = state.reservation.as_deref();
    let has: &[Want] = taken.map_or(&[][..], |taken| taken.wants.as_slice());
    let admitted = taken.is_some_and(|taken| taken.admitted_at.is_some());
    let same = |a: &Want, b: &Want| {
        (a.kind, &a.name) == (b.kind, &b.name)
            && (admitted || (a.max, a.per_ms) == (b.max, b.per_ms))
    };
    let missing = wanted
        .iter()
        .find(|one| !has.iter().any(|other| same(one, other)));
    let left = has
        .iter()
        .find(|one| !wanted.iter().any(|other| same(one, other)));
    missing
        .map(|one| format!("it would take {}, which it has not taken so", named(one)))
        .or_else(|| left.map(|one| format!("it has taken {}, and would not so", named(one))))
}

/// A thing that is taken, without its computed name, which may be private.
const fn named(want: &Want) -> &'static str {
    match want.kind {
        ReservationKind::Lock => "a lock",
        ReservationKind::Concurrency => "a place among those that run at once",
        ReservationKind::BlastRadius => "a share of what may be begun within a time",
    }
}

/// The deadline counts from the same instant, as long as the other version says. What was passed, or belongs to a saga past its pivot, is left as it is; and of a saga that waits
/// for its locks it begins when it has them.
fn deadline(versions: Versions<'_>, state: &SagaState) -> Option<Timestamp> {
    let (was, next) = (versions.was.deadline_ms, versions.next.deadline_ms);
    if was == next || state.past_pivot || state.waits_for_admission() {
        return state.deadline_at;
    }
    let admitted = state.reservation.as_ref().and_then(|one| one.admitted_at);
    let begun = admitted.unwrap_or(state.started_at);
    next.map(|ms| begun.plus_ms(ms))
}

/// A saga between two versions: who is who.
struct Both<'a> {
    versions: Versions<'a>,
    state: &'a SagaState,
    /// Where each step of the old version stands in the new one.
    next_of: BTreeMap<&'a StepId, usize>,
    /// And the other way round.
    was_of: BTreeMap<&'a StepId, usize>,
}

impl<'a> Both<'a> {
    fn of(versions: Versions<'a>, state: &'a SagaState) -> Self {
        let places = |of: &'a Definition| of.steps.iter().map(|step| (&step.id, step.index));
        Self {
            versions,
            state,
            next_of: places(versions.next).collect(),
            was_of: places(versions.was).collect(),
        }
    }

    /// Every step that has begun.
    fn begun(&self) -> impl Iterator<Item = (&'a StepId, &'a StepState)> {
        let steps = self.state.steps.iter();
        let steps = steps.map(|(id, step)| (id, step.as_ref()));
        steps.filter(|(_, step)| begun(step))
    }
}

/// Whether anything was recorded of a step.
pub(crate) fn begun(step: &StepState) -> bool {
    step.phase != Phase::Waiting || step.began_at.is_some() || sent(step)
}

/// Whether anything of a step was made ready or has left.
fn sent(step: &StepState) -> bool {
    step.forward.is_some()
        || !step.attempts.is_empty()
        || step.may_have_effect
        || step.child.is_some()
        || step.fan.is_some()
}
