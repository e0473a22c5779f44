//! The record of a move, folded: it holds all there is to know, and nothing is looked up or computed.

use std::collections::BTreeSet;

use baton_messages::{StepId, Timestamp};

use super::begun;
use crate::fold::FoldError;
use crate::record::Record;
use crate::state::{SagaState, StepState, Upgraded};

/// What has not begun is what the other version says, and what has begun stays.
pub(crate) fn apply(
    state: &mut SagaState,
    at: Timestamp,
    record: &Record,
) -> Result<(), FoldError> {
    let Record::Upgraded {
        from,
        to,
        steps,
        deadline_at,
        by,
        reason,
    } = record
    else {
        return Ok(());
    };
    let stay: BTreeSet<&StepId> = steps.iter().collect();
    let mut gone = state.steps.iter().filter(|(id, _)| !stay.contains(id));
    if let Some((id, _)) = gone.find(|(_, step)| begun(step)) {
        return Err(FoldError::Dropped { step: id.clone() });
    }
    state.steps.retain(|id, _| stay.contains(id));
    for id in steps {
        let begins = || Box::new(StepState::waiting(at));
        state.steps.entry(id.clone()).or_insert_with(begins);
    }
    let started = state.started_version();
    state.version = *to;
    state.deadline_at = *deadline_at;
    state.upgraded = Some(Box::new(Upgraded {
        started,
        from: *from,
        at,
        by: by.clone(),
        reason: reason.clone(),
    }));
    Ok(())
}
