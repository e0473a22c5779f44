//! Acknowledge: a work item that only informs was seen.

use super::{Deciding, Handled, Refusal, Verdict};
use crate::input::Operator;
use crate::record::Record;
use crate::work_item::Choice;

pub(super) fn acknowledge(d: &mut Deciding<'_>, number: u32, operator: &Operator) -> Handled {
    if let Some(verdict) = d.precheck(operator) {
        return Ok(verdict);
    }
    let Some(item) = d.state.work_items.get(&number) else {
        return Ok(Verdict::Refused(Refusal::NoSuch {
            what: format!("open work item {number}"),
        }));
    };
    if !item.choices.contains(&Choice::Acknowledge) {
        let why =
            format!("work item {number} asks for a decision: {:?}", item.choices).to_lowercase();
        return Ok(Verdict::Refused(Refusal::NotNow {
            action: "acknowledge",
            why,
        }));
    }
    d.applied(operator, "acknowledge")?;
    d.emit(Record::WorkItemClosed {
        number,
        by: operator.by.clone(),
    })?;
    Ok(Verdict::Applied)
}
