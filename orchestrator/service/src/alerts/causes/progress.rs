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
        // a child is looked at by itself, unless nothing was ever heard of it
        Phase::InChild | Phase::UndoInChild => {
            let child = step.child.as_ref()?;
            (child.standing.is_none() && child.asked > 1).then_some(Timestamp(0))
        }
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

#[cfg(test)]
mod tests {
    use baton_engine::Status;
    use baton_engine::state::Attempt;
    use baton_messages::{Direction, Hold, RunId, SagaId, StepId, WorkerId};
    use uuid::Uuid;

    use super::*;

    /// It last moved then.
    const MOVED: u64 = 1_000_000;
    /// So long it may stand still.
    const FOR: u64 = 1_000;

    fn step(phase: Phase, due: Option<u64>, attempts: Vec<Attempt>) -> StepState {
        StepState {
            phase,
            due: due.map(Timestamp),
            attempts,
            ..StepState::waiting(Timestamp(MOVED))
        }
    }

    fn attempt(stage: Stage, last_moment: u64) -> Vec<Attempt> {
        vec![Attempt {
            direction: Direction::Do,
            number: 1,
            dispatch: 1,
            stage,
            first_offered_at: Timestamp(MOVED),
            offered_at: Timestamp(MOVED),
            last_moment: Timestamp(last_moment),
            unasked: None,
            sole: true,
            held: false,
            maybe_sent: false,
            hold: Hold::Claim,
            unheard: false,
            runs: Vec::new(),
        }]
    }

    fn claimed() -> Stage {
        Stage::Claimed {
            run: RunId(Uuid::nil()),
            worker: WorkerId::new("w").unwrap(),
        }
    }

    fn saga(step: StepState) -> SagaState {
        let mut state = SagaState::new(SagaId(Uuid::nil()));
        state.status = Status::Running;
        state.last_at = Timestamp(MOVED);
        state
            .steps
            .insert(StepId::new("a").unwrap(), Box::new(step));
        state
    }

    fn of(state: &SagaState, now: u64) -> Option<u64> {
        match progress(state, Timestamp(now), FOR) {
            Progress::StandsStill(step) => {
                assert_eq!(step.to_string(), "a");
                None
            }
            Progress::NotBefore(at) => Some(at.0),
        }
    }

    /// What each step waits for, and from when on it stands still if nothing comes (none: never).
    #[test]
    fn what_should_go_on_by_itself_stands_still_and_what_waits_on_purpose_does_not() {
        let after = MOVED + FOR;
        let far = MOVED + 50 * FOR;
        let tried = |phase, stage, last| step(phase, None, attempt(stage, last));
        let due = |phase, at| step(phase, at, Vec::new());
        let table = [
            (
                "nobody takes it",
                tried(Phase::Trying, Stage::Offered, far),
                Some(after),
            ),
            (
                "nobody takes its undo",
                tried(Phase::Undoing, Stage::Offered, far),
                Some(after),
            ),
            (
                "nobody takes its probe",
                tried(Phase::Probing, Stage::Offered, far),
                Some(after),
            ),
            (
                "it works as long as it may",
                tried(Phase::Trying, claimed(), far),
                Some(far + 1),
            ),
            (
                "its time was over long ago",
                tried(Phase::Trying, claimed(), MOVED),
                Some(after),
            ),
            (
                "its attempt is over",
                tried(Phase::Trying, Stage::Closed, MOVED),
                None,
            ),
            (
                "the next try is due",
                due(Phase::Backoff, Some(MOVED)),
                Some(after),
            ),
            (
                "the next try is due later",
                due(Phase::Backoff, Some(far)),
                Some(far + FOR),
            ),
            (
                "the next try has no time",
                due(Phase::UndoBackoff, None),
                Some(after),
            ),
            (
                "the next probe is due",
                due(Phase::ProbeBackoff, Some(MOVED)),
                Some(after),
            ),
            (
                "an outcome is unknown",
                due(Phase::Settling, Some(far)),
                Some(far + FOR),
            ),
            (
                "it sleeps",
                due(Phase::Sleeping, Some(far)),
                Some(far + FOR),
            ),
            (
                "it waits for an event for ever",
                due(Phase::Listening, None),
                None,
            ),
            (
                "it waits for an event until then",
                due(Phase::Listening, Some(far)),
                Some(far + FOR),
            ),
            ("a person is asked", due(Phase::Asked, None), None),
            ("a person has to decide", due(Phase::Parked, None), None),
            (
                "a person has to decide on the undo",
                due(Phase::UndoParked, None),
                None,
            ),
            ("nobody serves it", due(Phase::Unserved, Some(MOVED)), None),
            (
                "nobody serves its undo",
                due(Phase::UndoUnserved, Some(MOVED)),
                None,
            ),
            ("it comes after another", due(Phase::Waiting, None), None),
            ("it is done", due(Phase::Succeeded, None), None),
        ];
        for (what, step, from) in table {
            let state = saga(step);
            let Some(from) = from else {
                let now = MOVED + 1_000 * FOR;
                assert_eq!(of(&state, now), Some(now + FOR), "{what}");
                continue;
            };
            let before = of(&state, from - 1);
            assert_eq!(before, Some(from), "{what}: until then it is not looked at");
            assert_eq!(of(&state, from), None, "{what}");
        }
    }

    #[test]
    fn what_may_move_meanwhile_is_looked_at_again() {
        let sleeps = saga(step(Phase::Sleeping, Some(MOVED + 50 * FOR), Vec::new()));
        assert_eq!(of(&sleeps, MOVED), Some(MOVED + FOR));
    }

    #[test]
    fn what_is_paused_or_over_does_not_stand_still() {
        let late = MOVED + 10 * FOR;
        let mut state = saga(step(Phase::Trying, None, attempt(Stage::Offered, late)));
        assert_eq!(of(&state, late), None);
        state.paused = true;
        assert_eq!(of(&state, late), Some(late + FOR));
        state.paused = false;
        state.status = Status::Completed;
        assert_eq!(of(&state, late), Some(late + FOR));
    }
}
