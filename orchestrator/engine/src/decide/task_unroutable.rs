//! `TaskUnroutable`: the broker sent a task back, nobody serves its queue. The step waits until somebody does.

use baton_messages::{AttemptRef, Direction, Hold};

use super::settle::Outcome;
use super::{Deciding, Handled, Verdict, failure, key_of};
use crate::command::still_wanted;
use crate::record::{ClosedWhy, Record};
use crate::state::Phase;

pub(super) fn task_unroutable(d: &mut Deciding<'_>, of: &AttemptRef) -> Handled {
    if !still_wanted(d.state, of) {
        return Ok(Verdict::Duplicate);
    }
    let key = key_of(of);
    let step = d.step(&key.step)?;
    // Sent twice, and only the second came back: the first may lie in the queue, and whoever gets it may act without asking.
    let maybe_acted = step
        .attempt(of.direction, of.attempt)
        .is_some_and(|a| a.hold == Hold::Late && (!a.sole || a.maybe_sent));
    let first = step
        .attempt(of.direction, of.attempt)
        .map_or(d.now, |a| a.first_offered_at);
    let queue_ms = step
        .prepared(of.direction)
        .map_or(0, |ready| ready.facts.queue_ms);
    if maybe_acted && d.now < first.plus_ms(queue_ms) {
        d.emit(Record::Held {
            of: key,
            maybe_sent: true,
        })?;
        return Ok(Verdict::Applied);
    }
    if maybe_acted {
        // It has waited for as long as it may, and nobody knows of its first sending.
        d.emit(Record::Closed {
            of: key.clone(),
            why: ClosedWhy::Unroutable,
            maybe_acted: true,
        })?;
        let text = "nobody serves its task type, and its first sending may have been taken";
        d.settle(&key, &Outcome::Unknown(failure("queue-timeout", text)))?;
        return Ok(Verdict::Applied);
    }
    d.emit(Record::Closed {
        of: key.clone(),
        why: ClosedWhy::Unroutable,
        maybe_acted: false,
    })?;
    let due = Some(first.plus_ms(queue_ms));
    match of.direction {
        Direction::Do if d.state.unwinding.is_some() => {
            d.settle(&key, &Outcome::NotRun("unroutable".into()))?
        }
        Direction::Do => d.move_to(&key.step, Phase::Unserved, due, None, None)?,
        Direction::Undo => d.move_to(&key.step, Phase::UndoUnserved, due, None, None)?,
        Direction::Probe if d.step(&key.step)?.phase == Phase::Probing => {
            d.offer_again(&key, "nobody serves it")?
        }
        Direction::Probe => {}
    }
    Ok(Verdict::Applied)
}
