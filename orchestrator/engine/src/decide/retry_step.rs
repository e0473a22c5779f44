//! `RetryStep`: an operator wants a parked step, or a parked undo, tried again; or a waiting retry at once.

use baton_messages::{Direction, StepKey};

use super::operator::word;
use super::{Deciding, Handled, Refusal, Verdict};
use crate::input::Operator;
use crate::planted::{Planted, breaks};
use crate::record::Record;
use crate::state::Phase;
use crate::work_item::Choice;

pub(super) fn retry_step(d: &mut Deciding<'_>, step: &StepKey, operator: &Operator) -> Handled {
    if let Some(verdict) = d.precheck_step(step, operator) {
        return Ok(verdict);
    }
    let (phase, open) = {
        let state = d.step(step)?;
        (state.phase, state.unsettled(d.now))
    };
    // Whose items are done, what is known to have happened, and what has no undo is not tried again.
    let item = d.state.work_item_of(step);
    if let Some(item) = item.filter(|_| phase.asks())
        && !item.choices.contains(&Choice::Retry)
    {
        let choices: Vec<&str> = item.choices.iter().map(|one| one.as_str()).collect();
        let why = format!(
            "{step} is not to be tried again; possible is: {}",
            choices.join(", ")
        );
        return Ok(Verdict::Refused(Refusal::NotNow {
            action: "retry",
            why,
        }));
    }
    let (direction, backoff) = match phase {
        Phase::Parked | Phase::Backoff => (Direction::Do, Phase::Backoff),
        Phase::UndoParked | Phase::UndoBackoff => (Direction::Undo, Phase::UndoBackoff),
        Phase::Succeeded if breaks(Planted::SettledTriedAgain) => (Direction::Do, Phase::Backoff),
        Phase::Waiting
        | Phase::Unserved
        | Phase::Trying
        | Phase::Settling
        | Phase::Probing
        | Phase::ProbeBackoff
        | Phase::Sleeping
        | Phase::Listening
        | Phase::Asked
        | Phase::FannedOut
        | Phase::InChild
        | Phase::Succeeded
        | Phase::Skipped
        | Phase::Continued
        | Phase::Failed
        | Phase::Doubtful
        | Phase::Undoing
        | Phase::UndoUnserved
        | Phase::UndoInChild
        | Phase::Undone => {
            let why = format!(
                "{step} is {}; only a parked step or one between two attempts can be retried",
                word(phase)
            );
            return Ok(Verdict::Refused(Refusal::NotNow {
                action: "retry",
                why,
            }));
        }
    };
    if open {
        let why = format!("an attempt of {step} may still be acting; wait until it has closed");
        return Ok(Verdict::Refused(Refusal::NotNow {
            action: "retry",
            why,
        }));
    }
    d.applied(operator, "retry")?;
    d.close_work_item_of(step, &operator.by)?;
    d.emit(Record::Forgiven {
        step: step.clone(),
        direction,
    })?;
    // Due at once: the timer starts it, or the resume does when the saga is paused.
    d.move_to(step, backoff, Some(d.now), None, None)?;
    Ok(Verdict::Applied)
}
