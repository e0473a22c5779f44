//! Cancel: take back what was done. After the pivot there is only forward: a person is asked.

use super::{Deciding, Handled, Refusal, Verdict};
use crate::input::Operator;
use crate::planted::{Planted, breaks};
use crate::state::Cause;
use crate::work_item::WorkItemKind;

pub(super) fn cancel(d: &mut Deciding<'_>, operator: &Operator) -> Handled {
    if let Some(verdict) = d.precheck(operator) {
        return Ok(verdict);
    }
    if d.state.unwinding.is_some() {
        let why = "it is being taken back already".to_owned();
        return Ok(Verdict::Refused(Refusal::NotNow {
            action: "cancel",
            why,
        }));
    }
    if let Some(parent) = d.state.parent.as_deref()
        && d.state.had_completed
    {
        let why = format!(
            "it had completed, and saga {} goes by that: cancel that one",
            parent.of.saga
        );
        return Ok(Verdict::Refused(Refusal::NotNow {
            action: "cancel",
            why,
        }));
    }
    d.applied(operator, "cancel")?;
    if d.state.past_pivot && !breaks(Planted::CancelsPastPivot) {
        let title = format!(
            "{} asked to cancel after the pivot: it goes on, only forward ({})",
            operator.by, operator.reason
        );
        d.open_work_item(None, WorkItemKind::CancelAfterPivot, title, None)?;
    } else {
        d.unwind(Cause::Cancelled {
            by: operator.by.clone(),
            reason: operator.reason.clone(),
        })?;
    }
    Ok(Verdict::Applied)
}
