//! Upgrade: the saga goes on under another version of its definition, if what has happened to it could have happened under that one. Decided on what it is at this moment, whatever
//! a look at it has said before; one that does not fit stays where it is, and nothing is recorded.

use super::operator::{FOR_THE_HISTORY, unreasoned};
use super::{Deciding, Handled, Refusal, Verdict};
use crate::input::Operator;
use crate::record::Record;
use crate::upgrade::{Fits, Versions, fits};

pub(super) fn upgrade(
    d: &mut Deciding<'_>,
    (from, to): (Option<u32>, u32),
    operator: &Operator,
) -> Handled {
    if let Some(verdict) = d.precheck(operator) {
        return Ok(verdict);
    }
    if let Some(verdict) = unreasoned(operator, "upgrade", FOR_THE_HISTORY) {
        return Ok(verdict);
    }
    if let Some(from) = from.filter(|from| *from != d.state.version) {
        let now = d.state.version;
        let why =
            format!("it ran version {from} when it was looked at, and runs version {now} by now");
        let action = "upgrade";
        return Ok(Verdict::Refused(Refusal::NotNow { action, why }));
    }
    let meant = d.next.filter(|next| next.version == to);
    let Some(next) = meant.filter(|next| next.saga == d.state.definition) else {
        let what = format!("definition {}@{to}", d.state.definition);
        return Ok(Verdict::Refused(Refusal::NoSuch { what }));
    };
    let versions = Versions {
        was: d.rules.definition,
        next,
        catalogue: d.rules.catalogue,
    };
    let Fits { deadline_at } = match fits(versions, d.state, d.now) {
        Ok(fits) => fits,
        Err(reasons) => return Ok(Verdict::Refused(Refusal::Stays { reasons })),
    };
    d.applied(operator, "upgrade")?;
    d.emit(Record::Upgraded {
        from: d.state.version,
        to,
        steps: next.steps.iter().map(|step| step.id.clone()).collect(),
        deadline_at,
        by: operator.by.clone(),
        reason: operator.reason.clone(),
    })?;
    // What follows from it, in this very decision, follows under the new version.
    d.rules.definition = next;
    Ok(Verdict::Applied)
}
