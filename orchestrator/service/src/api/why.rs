//! Why a step waits, in a sentence: what an operator asks first.

use baton_engine::state::{Attempt, Phase, Stage, StepState};
use baton_engine::{Definition, SagaState};
use baton_messages::{Direction, Standing, StepKey, Timestamp, Wanted};

use crate::planned;

/// A sentence with at most one length of time in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Why {
    /// The sentence, with [`HOLE`] where the time stands.
    pub(crate) words: String,
    /// The instant it counts to, or from.
    pub(crate) at: Option<Timestamp>,
}

/// Where the time stands.
const HOLE: &str = "{}";

impl Why {
    fn plain(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            at: None,
        }
    }

    fn timed(words: String, at: Timestamp) -> Self {
        Self {
            words,
            at: Some(at),
        }
    }

    /// As it is said now.
    pub(crate) fn said(&self, now: Timestamp) -> String {
        let Some(at) = self.at else {
            return self.words.clone();
        };
        let long = at.since_ms(now).max(now.since_ms(at));
        self.words.replacen(HOLE, &span(long), 1)
    }
}

/// Why a step does not go on right now; none when it is done or nothing holds it.
pub(crate) fn waits(
    state: &SagaState,
    definition: Option<&Definition>,
    id: &StepKey,
    step: &StepState,
    now: Timestamp,
) -> Option<Why> {
    if !state.active() {
        return None;
    }
    if let Some(until) = lingers(state, step, now) {
        let words = format!(
            "its worker or the broker was lost: another worker may still act for it, so that it is undone in {HOLE} at the latest"
        );
        return Some(Why::timed(words, until));
    }
    let serves = |direction| {
        step.prepared(direction).map(|ready| {
            (
                ready.facts.task_type.to_string(),
                ready.facts.pool.to_string(),
            )
        })
    };
    let nobody = |direction| match serves(direction) {
        Some((task_type, pool)) => {
            format!(
                "nobody serves {task_type} in pool {pool}{}",
                planned::said(&task_type)
            )
        }
        // its type was never announced, so nothing could be made ready
        None => match definition.and_then(|definition| definition.step(&id.step)?.task()) {
            Some(task) => {
                let said = planned::said(task.task_type.as_str());
                format!("nobody serves {}{said}", task.task_type)
            }
            None => "nobody serves its task type".to_owned(),
        },
    };
    let until = |words: String| match step.due {
        Some(due) => Why::timed(format!("{words}, for {HOLE} more"), due),
        None => Why::plain(words),
    };
    let next_in = |what: &str| {
        let due = step.due.unwrap_or(now);
        Why::timed(format!("{what} in {HOLE}"), due)
    };
    let mut why = match step.phase {
        Phase::Waiting => Why::plain(waiting(state, definition, id)?),
        Phase::Unserved => until(nobody(Direction::Do)),
        Phase::UndoUnserved => until(nobody(Direction::Undo)),
        Phase::Trying | Phase::Probing | Phase::Undoing => open(step)?,
        Phase::Backoff => next_in("tries again"),
        Phase::UndoBackoff => next_in("tries to undo again"),
        Phase::ProbeBackoff => next_in("asks again whether it happened"),
        Phase::Settling => next_in("nobody knows whether it happened; it is asked for"),
        Phase::Sleeping => next_in("goes on"),
        Phase::Listening => match &step.listens {
            Some(listens) => until(format!("waits for an event {}", listens.event)),
            None => until("waits for an event".to_owned()),
        },
        Phase::Asked => match state.work_item_of(id) {
            Some(item) => until(format!(
                "{} has to decide: work item {}",
                item.who(),
                item.number
            )),
            None => until("a person has to decide".to_owned()),
        },
        Phase::Parked | Phase::UndoParked => match state.work_item_of(id) {
            Some(item) => {
                let who = item.assignee.as_deref().unwrap_or("a person");
                Why::plain(format!("{who} has to decide: work item {}", item.number))
            }
            None => Why::plain("a person has to decide"),
        },
        Phase::FannedOut => Why::plain(items(step)?),
        Phase::InChild | Phase::UndoInChild => Why::plain(in_child(step)?),
        Phase::Succeeded
        | Phase::Skipped
        | Phase::Continued
        | Phase::Failed
        | Phase::Doubtful
        | Phase::Undone => return None,
    };
    if state.paused {
        why.words.push_str(" (the saga is paused)");
    }
    Some(why)
}

/// Until when the way back has to wait for a step that nobody works on any more as far as anybody knows.
fn lingers(state: &SagaState, step: &StepState, now: Timestamp) -> Option<Timestamp> {
    state.unwinding.as_ref()?;
    if step.open_attempt().is_some() {
        return None;
    }
    step.lingers_until().filter(|until| *until > now)
}

/// What a step waits for whose child is under way.
fn in_child(step: &StepState) -> Option<String> {
    let child = step.child.as_ref()?;
    let undone = child.want == Wanted::Undone;
    let what = if undone {
        " to take back what it did"
    } else {
        ""
    };
    let mut words = format!("waits for saga {}{what}", child.id);
    match &child.standing {
        Some(Standing::UnderWay {
            parked: Some(asks), ..
        }) => words.push_str(&format!(", which is parked: {asks}")),
        Some(Standing::UnderWay {
            compensating: true, ..
        }) if !undone => words.push_str(", which takes back what it did"),
        Some(Standing::UnderWay {
            only_forward: true, ..
        }) if undone => words.push_str(", which is past its pivot and only goes forward"),
        None if child.asked > 1 => {
            words.push_str(&format!(", which has not answered {} times", child.asked));
        }
        _ => {}
    }
    Some(words)
}

/// How far the items of a step are.
fn items(step: &StepState) -> Option<String> {
    let fan = step.fan.as_ref()?;
    let (settled, all, live) = (fan.shelf.len(), fan.len(), fan.live.len());
    let asked = Phase::asks;
    let asked = fan.live.values().filter(|item| asked(item.phase)).count();
    let mut words = format!("{settled} of {all} items are settled, {live} under way");
    if asked > 0 {
        words.push_str(&format!(", of which {asked} wait for a person"));
    }
    Some(words)
}

fn waiting(state: &SagaState, definition: Option<&Definition>, id: &StepKey) -> Option<String> {
    if state.unwinding.is_some() {
        return None;
    }
    if state.waits_for_admission() {
        return Some("waits until the saga is admitted".to_owned());
    }
    let definition = definition?;
    let open: Vec<&str> = definition
        .step(&id.step)?
        .after
        .iter()
        .filter_map(|index| definition.steps.get(*index))
        .filter(|before| {
            state
                .step(&before.id)
                .is_some_and(|step| !step.phase.done())
        })
        .map(|before| before.id.as_str())
        .collect();
    match (open.is_empty(), state.paused) {
        (false, _) => Some(format!("waits for {}", open.join(", "))),
        (true, true) => Some("waits".to_owned()),
        (true, false) => {
            Some("waits for every open step: it is the pivot, or comes after it".to_owned())
        }
    }
}

fn open(step: &StepState) -> Option<Why> {
    let attempt = step.open_attempt()?;
    let name = name(attempt);
    let words = match &attempt.stage {
        Stage::Claimed { worker, .. } => {
            return Some(Why::plain(format!("{name} runs on {worker}")));
        }
        _ if attempt.held => format!("{name} is held: the broker has not taken it for {HOLE}"),
        _ => format!("{name} was sent {HOLE} ago"),
    };
    Some(Why::timed(words, attempt.offered_at))
}

fn name(attempt: &Attempt) -> String {
    match attempt.direction {
        Direction::Do => format!("attempt {}", attempt.number),
        Direction::Undo => format!("undo {}", attempt.number),
        Direction::Probe => format!("probe {}", attempt.number),
    }
}

/// A length of time for people: two units at most.
fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms}ms"),
        1..=59 => format!("{seconds}s"),
        60..=3_599 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_said_at_any_moment() {
        let why = Why::timed(format!("tries again in {HOLE}"), Timestamp(10_000));
        assert_eq!(why.said(Timestamp(4_000)), "tries again in 6s");
        let why = Why::timed(format!("was sent {HOLE} ago"), Timestamp(10_000));
        assert_eq!(why.said(Timestamp(71_000)), "was sent 1m 1s ago");
        assert_eq!(Why::plain("waits").said(Timestamp(0)), "waits");
    }

    #[test]
    fn spans_have_two_units_at_most() {
        assert_eq!(span(12), "12ms");
        assert_eq!(span(59_999), "59s");
        assert_eq!(span(61_000), "1m 1s");
        assert_eq!(span(3_600_000), "1h 0m");
        assert_eq!(span(90_000_000), "1d 1h");
    }
}
