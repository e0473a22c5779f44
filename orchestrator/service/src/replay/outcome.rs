//! What comes of a task that was replayed: its letter is done when its step is, and not when its saga has heard of it. Pure, from where the saga stands.
//!
//! While the saga itself goes on trying, nobody knows yet. What is settled without the step (skipped, begun anew, its saga ended) is settled for the letter too.

use baton_engine::SagaState;
use baton_engine::state::{Phase, StepState};
use baton_messages::{AttemptRef, Direction};

use super::Came;

/// What came of the step whose attempt was minted for a letter, and the last attempt there is of it; none while nobody knows.
pub(super) fn known(minted: &AttemptRef, state: Option<&SagaState>) -> Option<(Came, AttemptRef)> {
    let Some(state) = state else {
        return Some((
            Came::resolved("its saga is not kept any more"),
            minted.clone(),
        ));
    };
    let step = minted.key();
    let ended = || format!("its saga is {}: settled without it", state.status.as_str());
    let Some(now) = state.at(&step) else {
        return Some((Came::resolved(ended()), minted.clone()));
    };
    if now.round > minted.round {
        let why = format!(
            "step {step} was begun anew since, in round {}: settled without it",
            now.round
        );
        return Some((Came::resolved(why), minted.clone()));
    }
    let last = last(minted, now);
    let came = match minted.direction {
        Direction::Undo => undone(now),
        Direction::Do | Direction::Probe => done(now),
    };
    let came = match came {
        Some(Ok(what)) => Came::resolved(format!("step {step} {what}")),
        Some(Err(what)) => Came::failed(format!(
            "step {step} {what}, after attempt {}{}",
            last.attempt,
            now.last_failure
                .as_ref()
                .map_or_else(String::new, |failure| format!(": {}", failure.message))
        )),
        None if state.status.ended() => Came::resolved(ended()),
        None => return None,
    };
    Some((came, last))
}

/// Whether a step that was to be done is, or why it is not; none while that is open.
fn done(now: &StepState) -> Option<Result<&'static str, &'static str>> {
    let had_succeeded = now.output.is_some();
    match now.phase {
        Phase::Succeeded => Some(Ok("succeeded")),
        Phase::Skipped => Some(Ok("was skipped: settled without it")),
        Phase::Continued => Some(Ok(
            "failed again and is tolerated: its saga goes on without it",
        )),
        Phase::Parked => Some(Err("is parked again")),
        Phase::Failed => Some(Err("failed for good")),
        phase if phase.backward() => Some(if had_succeeded {
            Ok("succeeded, and is taken back")
        } else {
            Err("failed again and is taken back")
        }),
        _ => None,
    }
}

/// The same of one that was to be taken back.
const fn undone(now: &StepState) -> Option<Result<&'static str, &'static str>> {
    match now.phase {
        Phase::Undone => Some(Ok("is undone")),
        Phase::UndoParked => Some(Err("could not be undone and is parked again")),
        Phase::Undoing | Phase::UndoUnserved | Phase::UndoBackoff | Phase::Doubtful => None,
        // a late report showed that it was never done, or somebody resolved it
        _ => Some(Ok("need not be undone any more")),
    }
}

/// The last attempt there is in its direction, as it was last sent.
fn last(minted: &AttemptRef, now: &StepState) -> AttemptRef {
    let of_direction = now
        .attempts
        .iter()
        .filter(|attempt| attempt.direction == minted.direction);
    let found = of_direction.max_by_key(|attempt| (attempt.number, attempt.dispatch));
    found.map_or_else(
        || minted.clone(),
        |found| AttemptRef {
            attempt: found.number,
            dispatch: found.dispatch,
            ..minted.clone()
        },
    )
}

#[cfg(test)]
mod tests {
    use baton_engine::Status;
    use baton_messages::{SagaId, StepId};

    use super::super::route::tests::saga_of_attempts;
    use super::*;

    fn minted() -> AttemptRef {
        AttemptRef {
            saga: SagaId(uuid::Uuid::from_u128(2)),
            step: StepId::new("a").unwrap(),
            item: None,
            direction: Direction::Do,
            round: 1,
            attempt: 2,
            dispatch: 1,
        }
    }

    fn ending(phase: Phase) -> Option<baton_store::letters::Ending> {
        let state = saga_of_attempts(phase, &[(1, 1), (2, 3)]);
        known(&minted(), Some(&state)).map(|(came, _)| came.ending)
    }

    #[test]
    fn a_letter_is_done_when_its_step_is_and_fails_when_that_does() {
        use baton_store::letters::Ending::{Failed, Resolved};
        for phase in [Phase::Succeeded, Phase::Skipped, Phase::Continued] {
            assert_eq!(ending(phase), Some(Resolved), "{phase:?}");
        }
        for phase in [Phase::Parked, Phase::Failed, Phase::Undoing, Phase::Undone] {
            assert_eq!(ending(phase), Some(Failed), "{phase:?}");
        }
        for phase in [
            Phase::Trying,
            Phase::Backoff,
            Phase::Unserved,
            Phase::Settling,
        ] {
            assert_eq!(ending(phase), None, "{phase:?}: nobody knows yet");
        }
    }

    #[test]
    fn what_was_tried_last_is_what_the_letter_speaks_of_then() {
        let state = saga_of_attempts(Phase::Parked, &[(1, 1), (2, 1), (3, 2)]);
        let (came, last) = known(&minted(), Some(&state)).unwrap();
        assert_eq!((last.attempt, last.dispatch), (3, 2));
        assert!(came.outcome.contains("after attempt 3"), "{came:?}");
        let never = saga_of_attempts(Phase::Parked, &[(1, 1)]);
        let (_, last) = known(&minted(), Some(&never)).unwrap();
        assert_eq!(last.attempt, 1, "no attempt was minted");
    }

    #[test]
    fn what_is_settled_without_the_step_is_settled() {
        let resolved = |state: &SagaState| {
            let (came, _) = known(&minted(), Some(state)).unwrap();
            assert_eq!(
                came.ending,
                baton_store::letters::Ending::Resolved,
                "{came:?}"
            );
        };
        let mut anew = saga_of_attempts(Phase::Trying, &[(1, 1)]);
        anew.steps
            .get_mut(&StepId::new("a").unwrap())
            .unwrap()
            .round = 2;
        resolved(&anew);
        let mut abandoned = saga_of_attempts(Phase::Trying, &[(2, 1)]);
        abandoned.status = Status::Abandoned;
        resolved(&abandoned);
        abandoned.steps.clear();
        resolved(&abandoned);
        assert!(known(&minted(), None).is_some());
    }
}
