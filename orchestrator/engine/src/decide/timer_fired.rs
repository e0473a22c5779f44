//! `TimerFired`: a time the state itself was waiting for has come. A timer that is not (or no longer) in the state does nothing.

use baton_messages::{Direction, Effect, Hold, StepKey};

use super::settle::Outcome;
use super::{DecideError, Deciding, Handled, Verdict, failure};
use crate::planted::{Planted, breaks};
use crate::record::{AttemptKey, ClosedWhy, Record};
use crate::state::{Attempt, Cause, Phase, Stage, StepState};
use crate::timer::TimerKey;
use crate::work_item::WorkItemKind;

pub(super) fn timer_fired(d: &mut Deciding<'_>, key: &TimerKey) -> Handled {
    let mut runs = false;
    let now = d.now;
    d.state
        .each_timer(|at, timer| runs |= at <= now && timer() == *key);
    if !runs {
        return Ok(Verdict::Duplicate);
    }
    match key {
        TimerKey::Deadline => deadline(d)?,
        TimerKey::Admission => d.admission_due()?,
        TimerKey::StepDue { step } => step_due(d, step)?,
        TimerKey::AttemptEnd {
            step,
            direction,
            attempt,
        } => attempt_end(d, step, *direction, *attempt)?,
        TimerKey::Escalation { number, rung: _ } => d.escalate(*number)?,
    }
    Ok(Verdict::Applied)
}

fn deadline(d: &mut Deciding<'_>) -> Result<(), DecideError> {
    d.emit(Record::DeadlinePassed)?;
    if d.state.past_pivot && !breaks(Planted::DeadlinePastPivot) {
        let title = "the deadline passed after the pivot: it goes on, only forward".to_owned();
        return d.open_work_item(None, WorkItemKind::DeadlineAfterPivot, title, None);
    }
    d.unwind(Cause::Deadline)
}

fn step_due(d: &mut Deciding<'_>, id: &StepKey) -> Result<(), DecideError> {
    let step = d.step(id)?;
    let phase = step.phase;
    if step.fan.is_some() {
        // It had begun, or taken back, as many items as one decision may: the rest follows.
        return d.move_to(id, phase, None, None, None);
    }
    match phase {
        Phase::Sleeping => d.move_to(id, Phase::Succeeded, None, None, None),
        Phase::Listening | Phase::Asked => d.timed_out(id),
        // It never came as far as an attempt: it begins anew, its condition included.
        Phase::Backoff if d.step(id)?.forward.is_none() => crate::advance::begin(d, id),
        Phase::Backoff => d.offer(id, Direction::Do),
        Phase::ProbeBackoff => d.offer_probe(id),
        Phase::UndoBackoff => d.offer_unserved(id, Direction::Undo),
        Phase::InChild | Phase::UndoInChild => d.child_due(id),
        Phase::Settling => d.settled(id),
        Phase::Unserved => d.queue_timeout(id, Direction::Do, "nobody serves its task type"),
        Phase::UndoUnserved => d.queue_timeout(id, Direction::Undo, "nobody serves its task type"),
        Phase::Waiting
        | Phase::FannedOut
        | Phase::Trying
        | Phase::Probing
        | Phase::Succeeded
        | Phase::Skipped
        | Phase::Continued
        | Phase::Failed
        | Phase::Doubtful
        | Phase::Parked
        | Phase::Undoing
        | Phase::UndoParked
        | Phase::Undone => Ok(()),
    }
}

/// Whether a run that nobody knows of changes nothing: then waiting for a worker uses up no attempt, only the step's `queue_timeout`.
fn only_looks(step: &StepState, direction: Direction) -> bool {
    let forward = step.forward.as_ref();
    match direction {
        Direction::Do => forward.is_some_and(|ready| ready.facts.effect == Effect::None),
        Direction::Probe => true,
        Direction::Undo => false,
    }
}

/// Whether it may simply be offered once more although somebody may have run it unseen: doing it twice does no harm. Waiting for a worker
/// then uses up no attempt either.
fn may_run_again(d: &Deciding<'_>, step: &StepState, direction: Direction) -> bool {
    match direction {
        Direction::Do => {
            d.state.unwinding.is_none()
                && step
                    .forward
                    .as_ref()
                    .is_some_and(|ready| ready.facts.idempotent)
        }
        Direction::Undo => true,
        Direction::Probe => false,
    }
}

fn attempt_end(
    d: &mut Deciding<'_>,
    id: &StepKey,
    direction: Direction,
    number: u32,
) -> Result<(), DecideError> {
    let step = d.step(id)?;
    let Some(attempt) = step.attempt(direction, number).cloned() else {
        return Ok(());
    };
    let of = AttemptKey {
        step: id.clone(),
        direction,
        round: step.round,
        attempt: number,
    };
    match attempt.stage {
        Stage::Offered if attempt.hold == Hold::Claim || only_looks(step, direction) => {
            d.emit(Record::Closed {
                of: of.clone(),
                why: ClosedWhy::Expired,
                maybe_acted: false,
            })?;
            let why = if attempt.hold == Hold::Claim {
                "nobody claimed it"
            } else {
                "nobody reported it"
            };
            d.settle(&of, &Outcome::NotRun(why.into()))
        }
        Stage::Offered if may_run_again(d, step, direction) => unheard(d, &of, &attempt),
        Stage::Offered | Stage::Claimed { .. } => silent(d, &of),
        Stage::Reported | Stage::Closed | Stage::NotRun => d.emit(Record::Closed {
            of,
            why: ClosedWhy::LastMoment,
            maybe_acted: false,
        }),
    }
}

/// No report came before the last moment anybody could have acted: it may or may not have happened.
fn silent(d: &mut Deciding<'_>, of: &AttemptKey) -> Result<(), DecideError> {
    d.emit(Record::Closed {
        of: of.clone(),
        why: ClosedWhy::LastMoment,
        maybe_acted: true,
    })?;
    let text = "no report came before the last moment anybody could have acted";
    let mut silent = failure("no-report", text);
    silent.retryable = true;
    d.settle(of, &Outcome::Unknown(silent))
}

/// Nobody reported it while its offer stood: it is offered anew while its step may wait for a worker. When offer after offer was unheard
/// until its `queue_timeout` was over, nobody is there, and it is given up in doubt; one whose `queue_timeout` is shorter than an offer
/// may as well have been lost with its worker, and is looked into like any other.
fn unheard(d: &mut Deciding<'_>, of: &AttemptKey, attempt: &Attempt) -> Result<(), DecideError> {
    if d.may_wait(of)? {
        d.emit(Record::Closed {
            of: of.clone(),
            why: ClosedWhy::Unheard,
            maybe_acted: true,
        })?;
        return d.offer_again(of, "nobody reported it");
    }
    if attempt.first_offered_at == attempt.offered_at {
        return silent(d, of);
    }
    d.emit(Record::Closed {
        of: of.clone(),
        why: ClosedWhy::LastMoment,
        maybe_acted: true,
    })?;
    let text =
        "no worker reported it within its queue_timeout; one that fell silent may have run it";
    let failure = failure("queue-timeout", text);
    match of.direction {
        Direction::Do | Direction::Probe => d.doubtful(&of.step, failure),
        Direction::Undo => d.undo_failed(&of.step, failure),
    }
}
