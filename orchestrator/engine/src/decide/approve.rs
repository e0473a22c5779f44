//! `Approve`: a person says yes or no. Only whom the step names may; a no is a failure for good, unless the step says that it goes on.

use baton_messages::StepKey;
use serde_json::json;

use super::operator::word;
use super::{Deciding, Handled, Refusal, Verdict, failure};
use crate::definition::{StepKind, rfc3339};
use crate::input::{Approval, Operator};
use crate::state::Phase;

pub(super) fn approve(
    d: &mut Deciding<'_>,
    step: &StepKey,
    decision: Approval,
    operator: &Operator,
) -> Handled {
    if let Some(verdict) = d.precheck_step(step, operator) {
        return Ok(verdict);
    }
    let action = decision.as_str();
    let not_now = |why: String| Ok(Verdict::Refused(Refusal::NotNow { action, why }));
    let StepKind::Approve(asked) = &d.defined(step)?.kind else {
        return not_now(format!("{step} asks nobody"));
    };
    let goes_on = asked.goes_on_rejected;
    if let Some(refusal) = d.not_yours(step, action, operator)? {
        return Ok(Verdict::Refused(refusal));
    }
    let phase = d.step(step)?.phase;
    if !matches!(phase, Phase::Asked | Phase::Parked) || d.state.unwinding.is_some() {
        return not_now(format!("{step} is {}; it does not ask now", word(phase)));
    }
    d.applied(operator, action)?;
    d.close_work_item_of(step, &operator.by)?;
    if decision == Approval::Approve || goes_on {
        let output = json!({
            "approved": decision == Approval::Approve, "by": operator.by, "note": operator.reason,
            "at": rfc3339(d.now),
        });
        d.move_to(step, Phase::Succeeded, None, Some(output), None)?;
        return Ok(Verdict::Applied);
    }
    let note = match operator.reason.trim() {
        "" => String::new(),
        note => format!(": {note}"),
    };
    let rejected = failure("rejected", format!("{} said no{note}", operator.by));
    d.fail_for_good(step, rejected)?;
    Ok(Verdict::Applied)
}

impl Deciding<'_> {
    /// Why an operator may not decide what a step asks, or get around it; none when he may, or the step asks nobody.
    pub(crate) fn not_yours(
        &self,
        step: &StepKey,
        action: &'static str,
        operator: &Operator,
    ) -> Result<Option<Refusal>, super::DecideError> {
        let StepKind::Approve(asked) = &self.defined(step)?.kind else {
            return Ok(None);
        };
        Ok((!asked.by.is(operator)).then(|| Refusal::NotYours {
            action,
            step: step.clone(),
            asks: asked.by.to_string(),
        }))
    }
}
