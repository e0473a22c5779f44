//! Resume: what was held back by a pause starts; timers that came due meanwhile fire at once.

use super::{Deciding, Handled, Refusal, Verdict};
use crate::input::Operator;
use crate::record::Record;

pub(super) fn resume(d: &mut Deciding<'_>, operator: &Operator) -> Handled {
    if let Some(verdict) = d.precheck(operator) {
        return Ok(verdict);
    }
    if !d.state.paused {
        return Ok(Verdict::Refused(Refusal::NotNow {
            action: "resume",
            why: "it is not paused".into(),
        }));
    }
    d.applied(operator, "resume")?;
    d.emit(Record::Resumed)?;
    Ok(Verdict::Applied)
}
