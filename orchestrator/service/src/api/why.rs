//! Why a step waits, in a sentence: what an operator asks first.

use baton_engine::state::{Attempt, Phase, Stage, StepState};
use baton_engine::{Definition, SagaState};
use baton_messages::{Direction, StepId, Timestamp};

/// Why a step does not go on right now; none when it is done or nothing holds it.
pub(crate) fn waits(
    state: &SagaState,
    definition: Option<&Definition>,
    id: &StepId,
    step: &StepState,
    now: Timestamp,
) -> Option<String> {
    if !state.active() {
        return None;
    }
    if let Some(until) = lingers(state, step, now) {
        return Some(format!(
            "its worker or the broker was lost: another worker may still act for it, so that it is undone in {} at the latest",
            span(until.since_ms(now))
        ));
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
        Some((task_type, pool)) => format!("nobody serves {task_type} in pool {pool}"),
        // its type was never announced, so nothing could be made ready
        None => match definition.and_then(|definition| definition.step(id)?.task()) {
            Some(task) => format!("nobody serves {}", task.task_type),
            None => "nobody serves its task type".to_owned(),
        },
    };
    let until = step.due.map_or_else(String::new, |due| {
        format!(", for {} more", span(due.since_ms(now)))
    });
    let next_in = |what: &str| {
        let due = step.due.map_or(0, |due| due.since_ms(now));
        format!("{what} in {}", span(due))
    };
    let text = match step.phase {
        Phase::Waiting => waiting(state, definition, id)?,
        Phase::Unserved => format!("{}{until}", nobody(Direction::Do)),
        Phase::UndoUnserved => format!("{}{until}", nobody(Direction::Undo)),
        Phase::Trying | Phase::Probing | Phase::Undoing => open(step, now)?,
        Phase::Backoff => next_in("tries again"),
        Phase::UndoBackoff => next_in("tries to undo again"),
        Phase::ProbeBackoff => next_in("asks again whether it happened"),
        Phase::Settling => next_in("nobody knows whether it happened; it is asked for"),
        Phase::Sleeping => next_in("goes on"),
        Phase::Listening => match &step.listens {
            Some(listens) => format!("waits for an event {}{until}", listens.event),
            None => format!("waits for an event{until}"),
        },
        Phase::Asked => match state.work_item_of(id) {
            Some(item) => format!(
                "{} has to decide: work item {}{until}",
                item.owner, item.number
            ),
            None => format!("a person has to decide{until}"),
        },
        Phase::Parked | Phase::UndoParked => {
            let item = state.work_item_of(id);
            match item {
                Some(item) => format!("a person has to decide: work item {}", item.number),
                None => "a person has to decide".to_owned(),
            }
        }
        Phase::Succeeded
        | Phase::Skipped
        | Phase::Continued
        | Phase::Failed
        | Phase::Doubtful
        | Phase::Undone => return None,
    };
    Some(if state.paused {
        format!("{text} (the saga is paused)")
    } else {
        text
    })
}

/// Until when the way back has to wait for a step that nobody works on any more as far as anybody knows.
fn lingers(state: &SagaState, step: &StepState, now: Timestamp) -> Option<Timestamp> {
    state.unwinding.as_ref()?;
    if step.open_attempt().is_some() {
        return None;
    }
    step.lingers_until().filter(|until| *until > now)
}

fn waiting(state: &SagaState, definition: Option<&Definition>, id: &StepId) -> Option<String> {
    if state.unwinding.is_some() {
        return None;
    }
    let definition = definition?;
    let open: Vec<&str> = definition
        .step(id)?
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

fn open(step: &StepState, now: Timestamp) -> Option<String> {
    let attempt = step.open_attempt()?;
    let for_long = span(now.since_ms(attempt.offered_at));
    Some(match &attempt.stage {
        Stage::Claimed { worker, .. } => format!("{} runs on {worker}", name(attempt)),
        _ if attempt.held => format!(
            "{} is held: the broker has not taken it for {for_long}",
            name(attempt)
        ),
        _ => format!("{} was sent {for_long} ago", name(attempt)),
    })
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
    fn spans_have_two_units_at_most() {
        assert_eq!(span(12), "12ms");
        assert_eq!(span(59_999), "59s");
        assert_eq!(span(61_000), "1m 1s");
        assert_eq!(span(3_600_000), "1h 0m");
        assert_eq!(span(90_000_000), "1d 1h");
    }
}
