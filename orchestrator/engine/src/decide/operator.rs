//! What every operator's input has in common: it is applied once, and only on what the operator saw.

use baton_messages::{Direction, StepKey};

use super::{DecideError, Deciding, Refusal, Verdict};
use crate::input::Operator;
use crate::record::Record;
use crate::state::Phase;

/// Where a step stands, in the word the API has for it.
pub(super) fn word(phase: Phase) -> String {
    let word = serde_json::json!(phase);
    word.as_str().unwrap_or("elsewhere").to_owned()
}

/// What most reasons are for.
pub(super) const FOR_THE_HISTORY: &str = "it stands in the saga's history";

/// The refusal of what is not done without a written reason, where there is none; with what the reason is for.
pub(super) fn unreasoned(
    operator: &Operator,
    action: &'static str,
    what_for: &str,
) -> Option<Verdict> {
    operator.reason.trim().is_empty().then(|| {
        let why = format!("a written reason is needed: {what_for}");
        Verdict::Refused(Refusal::NotNow { action, why })
    })
}

impl Deciding<'_> {
    /// Whether an operator's input may go ahead: not applied before, and the saga goes on.
    pub(crate) fn precheck(&self, operator: &Operator) -> Option<Verdict> {
        if self.state.applied.contains(&operator.id) {
            return Some(Verdict::Duplicate);
        }
        if !self.state.active() {
            return Some(Verdict::Refused(Refusal::Ended {
                status: self.state.status.as_str(),
            }));
        }
        None
    }

    /// The same for an input about one step: it exists, and stands where the operator saw it.
    pub(crate) fn precheck_step(&self, step: &StepKey, operator: &Operator) -> Option<Verdict> {
        if let Some(verdict) = self.precheck(operator) {
            return Some(verdict);
        }
        let Some(state) = self.state.at(step) else {
            return Some(Verdict::Refused(Refusal::NoSuch {
                what: format!("step {step}"),
            }));
        };
        let seen = operator.seen.as_ref()?;
        let moved = seen.phase != state.phase || seen.attempt != state.last_attempt(Direction::Do);
        moved.then(|| {
            let now = format!(
                "{}, attempt {}",
                word(state.phase),
                state.last_attempt(Direction::Do)
            );
            Verdict::Refused(Refusal::Moved {
                step: step.clone(),
                now,
            })
        })
    }

    /// Records that an operator's input was applied.
    pub(crate) fn applied(&mut self, operator: &Operator, action: &str) -> Result<(), DecideError> {
        self.emit(Record::Applied {
            id: operator.id,
            action: action.into(),
            by: operator.by.clone(),
            reason: operator.reason.clone(),
        })
    }
}
