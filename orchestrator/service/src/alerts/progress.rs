//! Whether a saga goes on: one that waits for a person, an event or a time waits on purpose; one whose next move is overdue does not.

use baton_engine::SagaState;
use baton_engine::state::{Attempt, Phase, Stage, StepState};
use baton_messages::{StepKey, Timestamp};

/// The step, or the item of one, at which a saga has stood still for so long although it should go on by itself.
pub(super) fn stands_still(state: &SagaState, now: Timestamp, for_ms: u64) -> Option<StepKey> {
    if !state.active() || state.paused || now.since_ms(state.last_at) < for_ms {
        return None;
    }
    let overdue = |step: &StepState| match step.phase {
        Phase::Trying | Phase::Probing | Phase::Undoing => open(step).is_some_and(|attempt| {
            // a claimed one works as long as it may; one that nobody takes has waited long enough
            match attempt.stage {
                Stage::Claimed { .. } => attempt.last_moment < now,
                _ => true,
            }
        }),
        Phase::Backoff | Phase::UndoBackoff | Phase::ProbeBackoff | Phase::Settling => {
            step.due.is_none_or(|due| now.since_ms(due) >= for_ms)
        }
        Phase::Sleeping | Phase::Listening | Phase::Asked => {
            step.due.is_some_and(|due| now.since_ms(due) >= for_ms)
        }
        // nobody serves them, or a person has to decide: that has alerts of its own
        Phase::Unserved | Phase::UndoUnserved | Phase::Parked | Phase::UndoParked => false,
        // its items are looked at one by one
        Phase::FannedOut
        | Phase::Waiting
        | Phase::Succeeded
        | Phase::Skipped
        | Phase::Continued
        | Phase::Failed
        | Phase::Doubtful
        | Phase::Undone => false,
    };
    let mut live = state.live();
    live.find(|(_, step)| overdue(step))
        .map(|(spot, _)| spot.key())
}

fn open(step: &StepState) -> Option<&Attempt> {
    step.attempts.iter().find(|attempt| attempt.open())
}
