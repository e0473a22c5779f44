//! `SkipStep`: an operator goes on without a step. Its output is null; what it may have changed stays known, and is undone if the saga unwinds.

use baton_messages::StepKey;

use super::operator::word;
use super::{Deciding, Handled, Refusal, Verdict};
use crate::input::Operator;
use crate::state::Phase;

pub(super) fn skip_step(d: &mut Deciding<'_>, step: &StepKey, operator: &Operator) -> Handled {
    if let Some(verdict) = d.precheck_step(step, operator) {
        return Ok(verdict);
    }
    let (phase, open) = {
        let state = d.step(step)?;
        (state.phase, state.open_attempt().is_some())
    };
    let possible = matches!(
        phase,
        Phase::Waiting
            | Phase::Parked
            | Phase::Backoff
            | Phase::Unserved
            | Phase::Sleeping
            | Phase::Listening
            | Phase::Asked
    );
    if open || !possible || d.state.unwinding.is_some() {
        let why = format!(
            "{step} is {}; only a step that is parked or has not begun to act can be skipped",
            word(phase)
        );
        return Ok(Verdict::Refused(Refusal::NotNow {
            action: "skip",
            why,
        }));
    }
    // To go on without a decision is a decision.
    if let Some(refusal) = d.not_yours(step, "skip", operator)? {
        return Ok(Verdict::Refused(refusal));
    }
    d.applied(operator, "skip")?;
    d.close_work_item_of(step, &operator.by)?;
    d.move_to(step, Phase::Skipped, None, None, None)?;
    Ok(Verdict::Applied)
}
