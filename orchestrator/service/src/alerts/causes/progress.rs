//! Whether a saga goes on: one that waits for a person, an event or a time waits on purpose; one whose next move is overdue does not. Pure.

use baton_engine::SagaState;
use baton_engine::state::{Attempt, Phase, Stage, StepState};
use baton_messages::{StepKey, Timestamp};

/// How a saga goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// It has stood still for too long, at this step or item of one.
    StandsStill(StepKey),
    /// It does not stand still before then, whatever happens to it meanwhile: until then it need not be looked at.
    NotBefore(Timestamp),
}

/// How a saga goes on that stands still when it should go on by itself and has not for so long.
pub(super) fn progress(state: &SagaState, now: Timestamp, for_ms: u64) -> Progress {
    // whatever moves it writes a record, from which on the time counts anew
    let moved = now.plus_ms(for_ms);
    if !state.active() || state.paused {
        return Progress::NotBefore(moved);
    }
    let least = state.last_at.plus_ms(for_ms);
    let overdue = state.live().filter_map(|(spot, step)| {
        let from = overdue_from(step, for_ms)?.max(least);
        Some((from, spot))
    });
    match overdue.min_by_key(|(from, _)| *from) {
        Some((from, spot)) if from <= now => Progress::StandsStill(spot.key()),
        Some((from, _)) => Progress::NotBefore(from.min(moved)),
        None => Progress::NotBefore(moved),
    }
}

/// From when on a step should have gone on, if nothing comes; none: it waits on purpose, or is done.
fn overdue_from(step: &StepState, for_ms: u64) -> Option<Timestamp> {
    match step.phase {
        Phase::Trying | Phase::Probing | Phase::Undoing => match open(step)?.stage {
            // a claimed one works as long as it may; one that nobody takes has waited long enough
            Stage::Claimed { .. } => Some(open(step)?.last_moment.plus_ms(1)),
            _ => Some(Timestamp(0)),
        },
        Phase::Backoff | Phase::UndoBackoff | Phase::ProbeBackoff | Phase::Settling => {
            Some(step.due.map_or(Timestamp(0), |due| due.plus_ms(for_ms)))
        }
        Phase::Sleeping | Phase::Listening | Phase::Asked => {
            step.due.map(|due| due.plus_ms(for_ms))
        }
        // nobody serves them, or a person has to decide: that has alerts of its own
        Phase::Unserved | Phase::UndoUnserved | Phase::Parked | Phase::UndoParked => None,
        // its items are looked at one by one
        Phase::FannedOut
        | Phase::Waiting
        | Phase::Succeeded
        | Phase::Skipped
        | Phase::Continued
        | Phase::Failed
        | Phase::Doubtful
        | Phase::Undone => None,
    }
}

fn open(step: &StepState) -> Option<&Attempt> {
    step.attempts.iter().find(|attempt| attempt.open())
}
