//! `LeaseOver`: a claimed attempt's worker has been silent for the length of its lease. Whether it acted is not known.

use baton_messages::{AttemptRef, RunId};

use super::settle::Outcome;
use super::{Deciding, Handled, Verdict, failure, key_of};
use crate::planted::{Planted, breaks};
use crate::record::{ClosedWhy, Record};
use crate::state::Stage;

pub(super) fn lease_over(d: &mut Deciding<'_>, of: &AttemptRef, run: RunId) -> Handled {
    let current = d
        .state
        .at(&of.key())
        .filter(|step| step.round == of.round)
        .and_then(|step| step.attempt(of.direction, of.attempt))
        .is_some_and(
            |attempt| matches!(&attempt.stage, Stage::Claimed { run: held, .. } if *held == run),
        );
    if !current {
        return Ok(Verdict::Duplicate);
    }
    let key = key_of(of);
    if !breaks(Planted::RetriesWhileOpen) {
        d.emit(Record::Closed {
            of: key.clone(),
            why: ClosedWhy::LeaseOver,
            maybe_acted: true,
        })?;
    }
    let mut lost = failure(
        "worker-lost",
        "its worker was silent for the length of its lease",
    );
    lost.retryable = true;
    d.settle(&key, &Outcome::Unknown(lost))?;
    Ok(Verdict::Applied)
}
