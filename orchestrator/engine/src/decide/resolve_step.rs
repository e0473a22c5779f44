//! `ResolveStep`: an operator says, with a reason, that a step is done, or undone, by hand.

use baton_messages::StepKey;

use super::operator::{FOR_THE_HISTORY, unreasoned, word};
use super::{Deciding, Handled, Refusal, Verdict};
use crate::input::{Operator, Resolution};
use crate::state::Phase;

pub(super) fn resolve_step(
    d: &mut Deciding<'_>,
    step: &StepKey,
    how: &Resolution,
    operator: &Operator,
) -> Handled {
    if let Some(verdict) = d.precheck_step(step, operator) {
        return Ok(verdict);
    }
    if let Some(verdict) = unreasoned(operator, "resolve", FOR_THE_HISTORY) {
        return Ok(verdict);
    }
    let phase = d.step(step)?.phase;
    match (phase, how) {
        (Phase::Parked | Phase::Listening, Resolution::Done { output }) => {
            if let Some(refusal) = d.not_yours(step, "resolve", operator)? {
                return Ok(Verdict::Refused(refusal));
            }
            d.applied(operator, "resolve-done")?;
            d.close_work_item_of(step, &operator.by)?;
            d.move_to(step, Phase::Succeeded, None, Some(output.clone()), None)?;
        }
        (Phase::UndoParked | Phase::UndoBackoff | Phase::UndoUnserved, Resolution::Undone) => {
            d.applied(operator, "resolve-undone")?;
            d.undone(step)?;
        }
        (_, Resolution::Done { .. } | Resolution::Undone) => {
            let asked = match how {
                Resolution::Done { .. } => "done",
                Resolution::Undone => "undone",
            };
            let why = format!(
                "{step} is {}; it cannot be called {asked} by hand",
                word(phase)
            );
            return Ok(Verdict::Refused(Refusal::NotNow {
                action: "resolve",
                why,
            }));
        }
    }
    Ok(Verdict::Applied)
}
