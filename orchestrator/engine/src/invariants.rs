//! What holds after every decision. Looked at in builds with debug assertions, by property tests and by the simulator alike.

use baton_messages::{Direction, Timestamp};

use crate::definition::{Definition, FanOut};
use crate::state::{Attempt, Phase, SagaState, Status, StepState};
use crate::work_item::{WorkItem, WorkItemKind};

/// Checks every invariant.
///
/// # Errors
/// A sentence that names the first one that does not hold, and where.
pub fn check(definition: &Definition, state: &SagaState, now: Timestamp) -> Result<(), String> {
    if state.status == Status::New {
        return Ok(());
    }
    for (id, step) in state.live().map(|(spot, step)| (spot.key(), step)) {
        let id = &id;
        // What an operator gave up stands wherever it stood.
        if state.status == Status::Abandoned {
            continue;
        }
        one_step(step).map_err(|what| format!("step {id}: {what}"))?;
        if state.status == Status::Compensated && step.may_have_effect {
            return Err(format!("compensated, but {id} may still have an effect"));
        }
        if state.status == Status::Completed && !step.phase.done() {
            return Err(format!("completed, but {id} is {:?}", step.phase));
        }
        if matches!(state.status, Status::Completed | Status::Compensated)
            && step.open_attempt().is_some()
        {
            return Err(format!("ended, but an attempt of {id} is open"));
        }
        if state.status == Status::Compensated && step.unsettled(now) {
            return Err(format!("compensated, but an attempt of {id} may still act"));
        }
        if step.phase.asks() && state.active() && state.work_item_of(id).is_none() {
            return Err(format!("{id} is parked without a work item"));
        }
        let asks =
            |item: &WorkItem| item.kind == WorkItemKind::Approval && item.step.as_ref() == Some(id);
        let asked = state.work_items.values().filter(|item| asks(item)).count();
        if state.active() && asked != usize::from(step.phase == Phase::Asked) {
            return Err(format!(
                "{id} is {:?} with {asked} open approvals",
                step.phase
            ));
        }
    }
    for step in &definition.steps {
        if let (Some(rule), Some(at)) = (&step.fan, state.step(&step.id)) {
            items(rule, state, at).map_err(|what| format!("step {}: {what}", step.id))?;
        }
    }
    for item in state.work_items.values() {
        whose(item).map_err(|what| format!("work item {}: {what}", item.number))?;
    }
    if state.active() && state.past_pivot && state.unwinding.is_some() {
        return Err("takes back what it did, past its pivot".into());
    }
    undo_order(definition, state, now)?;
    admission(state)?;
    if state.active() && !state.paused && !somebody_will_act(state) {
        return Err("goes on, but has no timer, no open work item and nothing to be sent".into());
    }
    if state.status == Status::Parked && !state.work_items.values().any(|item| item.kind.blocks()) {
        return Err("parked, but no work item asks for a decision".into());
    }
    Ok(())
}

/// Nothing begins before the saga has all it takes, and it does not wait for ever unseen.
fn admission(state: &SagaState) -> Result<(), String> {
    let waits = state.waits_for_admission();
    // one that a person has skipped has done nothing either
    let rests = |phase: Phase| matches!(phase, Phase::Waiting | Phase::Skipped);
    let begun = state.live().find(|(_, step)| !rests(step.phase));
    if let Some((spot, _)) = begun.filter(|_| waits) {
        return Err(format!(
            "waits to be admitted, and {} has begun",
            spot.key()
        ));
    }
    let due = state.reservation.as_ref().and_then(|taken| taken.due);
    if waits && state.active() && state.unwinding.is_none() && due.is_none() {
        return Err("waits to be admitted, and nobody will ask".to_owned());
    }
    let asked = |item: &&WorkItem| item.kind == WorkItemKind::HeldBack;
    if state.active() && !waits && state.work_items.values().any(|item| asked(&item)) {
        return Err("was admitted, and a person is asked to let it through".to_owned());
    }
    Ok(())
}

/// Whose a work item is follows from what it was escalated to, unless a person said otherwise.
fn whose(item: &WorkItem) -> Result<(), String> {
    let rises = item.escalate.is_sorted_by(|a, b| a.at < b.at);
    if !rises
        || item
            .escalate
            .first()
            .is_some_and(|first| first.at <= item.opened_at)
    {
        return Err("its escalations do not come one after the other".to_owned());
    }
    let gone = usize::try_from(item.escalated).unwrap_or(usize::MAX);
    let Some(gone) = item.escalate.get(..gone) else {
        return Err("it was escalated more often than it can be".to_owned());
    };
    match (&item.taken, gone.last()) {
        (Some(_), _) if item.assignee.is_none() => Err("it was taken, and is nobody's".to_owned()),
        (None, Some(last)) if item.assignee.as_ref() != Some(&last.to) => {
            Err(format!("it was escalated to {} and is not his", last.to))
        }
        (_, _) => Ok(()),
    }
}

fn one_step(step: &StepState) -> Result<(), String> {
    let open: Vec<&Attempt> = step
        .attempts
        .iter()
        .filter(|attempt| attempt.open())
        .collect();
    if open.len() > 1 {
        return Err(format!("{} attempts are open at once", open.len()));
    }
    let needed = match step.phase {
        Phase::Trying => Some(Direction::Do),
        Phase::Undoing => Some(Direction::Undo),
        Phase::Probing => Some(Direction::Probe),
        Phase::Waiting
        | Phase::Unserved
        | Phase::Backoff
        | Phase::Settling
        | Phase::ProbeBackoff
        | Phase::Sleeping
        | Phase::Listening
        | Phase::Asked
        | Phase::FannedOut
        | Phase::InChild
        | Phase::Succeeded
        | Phase::Skipped
        | Phase::Continued
        | Phase::Failed
        | Phase::Doubtful
        | Phase::Parked
        | Phase::UndoUnserved
        | Phase::UndoBackoff
        | Phase::UndoInChild
        | Phase::UndoParked
        | Phase::Undone => None,
    };
    if let Some(direction) = needed
        && open.first().map(|attempt| attempt.direction) != Some(direction)
    {
        return Err(format!(
            "is {:?} without an open attempt of {direction}",
            step.phase
        ));
    }
    let waits = matches!(
        step.phase,
        Phase::Unserved
            | Phase::Backoff
            | Phase::Settling
            | Phase::ProbeBackoff
            | Phase::Sleeping
            | Phase::Listening
            | Phase::Asked
            | Phase::InChild
            | Phase::UndoInChild
            | Phase::UndoBackoff
            | Phase::UndoUnserved
    );
    if waits && step.due.is_none() {
        return Err(format!("is {:?} with no end", step.phase));
    }
    let in_child = matches!(step.phase, Phase::InChild | Phase::UndoInChild);
    if in_child && step.child.is_none() {
        return Err(format!("is {:?} and has no child", step.phase));
    }
    if in_child && !step.may_have_effect {
        return Err(format!(
            "is {:?} and says nothing can have happened",
            step.phase
        ));
    }
    if (step.phase == Phase::Listening) != step.listens.is_some() {
        return Err(format!(
            "is {:?}, and what it listens to says otherwise",
            step.phase
        ));
    }
    if step.phase == Phase::Undone && step.may_have_effect {
        return Err("is undone and may have an effect".into());
    }
    let undoing = matches!(
        step.phase,
        Phase::Undoing | Phase::UndoBackoff | Phase::UndoUnserved
    );
    if undoing
        && open
            .iter()
            .any(|attempt| attempt.direction != Direction::Undo)
    {
        return Err("is being undone while an attempt to do it is open".into());
    }
    Ok(())
}

/// What holds of a step that is done for each of a list. Looks at what is under way, and at no more of the rest than its counters.
fn items(rule: &FanOut, state: &SagaState, step: &StepState) -> Result<(), String> {
    let Some(fan) = &step.fan else {
        return match step.phase {
            Phase::FannedOut => Err("is fanned out, and has no items".to_owned()),
            _ => Ok(()),
        };
    };
    if fan.counts.all() as usize != fan.shelf.len() {
        return Err("what lies on the shelf is not what is counted".to_owned());
    }
    let forward = |phase: Phase| {
        matches!(
            phase,
            Phase::Waiting
                | Phase::Unserved
                | Phase::Trying
                | Phase::Backoff
                | Phase::Settling
                | Phase::Probing
                | Phase::ProbeBackoff
                | Phase::InChild
        )
    };
    let live = fan.live.values();
    let under_way = live.filter(|item| forward(item.phase)).count();
    if state.unwinding.is_none() && under_way > rule.max_parallel as usize {
        return Err(format!("{under_way} items are under way at once"));
    }
    if state.status == Status::Compensated && !fan.effects.is_empty() {
        return Err("is compensated, and an item may still have an effect".to_owned());
    }
    if step.phase == Phase::Succeeded && state.unwinding.is_none() {
        if fan.begun() < fan.len() || fan.counts.failed > 0 {
            return Err("is done, and an item is not".to_owned());
        }
        if fan.counts.tolerated + fan.counts.undone > fan.tolerated {
            return Err("is done, and more items have failed than it tolerates".to_owned());
        }
    }
    Ok(())
}

/// While a step is being undone, nothing that depends on it may have an effect, unless that became known only after the undo was sent:
/// evidence of what was held as not happened joins the unwind, and calls no undo back.
fn undo_order(definition: &Definition, state: &SagaState, now: Timestamp) -> Result<(), String> {
    if state.status == Status::Abandoned {
        // nothing is undone any more: what is learned now is written down and changes no order
        return Ok(());
    }
    for step in &definition.steps {
        let Some(at) = state.step(&step.id) else {
            continue;
        };
        // One that was tolerated is taken back while the saga goes forward: nobody has read anything of it, and nothing depends on it.
        let fan = at.fan.as_ref().filter(|fan| fan.tolerated == 0);
        let items = fan.into_iter().flat_map(|fan| fan.live.values());
        let mut all = std::iter::once(at).chain(items.map(AsRef::as_ref));
        let Some(at) = all.find(|one| matches!(one.phase, Phase::Undoing | Phase::UndoInChild))
        else {
            continue;
        };
        for dependent in &step.descendants {
            let Some(other) = definition.steps.get(*dependent) else {
                continue;
            };
            if state
                .step(&other.id)
                .is_some_and(|other| stands(at, other, now))
            {
                return Err(format!(
                    "{} is being undone before {}, which depends on it",
                    step.id, other.id
                ));
            }
        }
    }
    Ok(())
}

/// Whether a step, or an item of it, may have an effect, and that was known when the undo of another one was sent.
fn stands(undoing: &StepState, other: &StepState, now: Timestamp) -> bool {
    let stands = |one: &StepState| {
        (one.may_have_effect || one.unsettled(now)) && !learned_later(undoing, one)
    };
    let of_items = other.fan.as_ref().is_some_and(|fan| {
        let items = fan.effects.iter().chain(fan.live.keys());
        items.filter_map(|item| fan.get(*item)).any(stands)
    });
    of_items || stands(other)
}

/// Whether a step began to be taken back only after the undo of another one had been sent.
fn learned_later(undoing: &StepState, other: &StepState) -> bool {
    let told = (undoing.phase == Phase::UndoInChild).then_some(undoing.since);
    let sent = undoing
        .attempts
        .iter()
        .filter(|attempt| attempt.direction == Direction::Undo)
        .map(|attempt| attempt.first_offered_at)
        .min()
        .or(told);
    other.phase.backward() && sent.is_some_and(|sent| other.since > sent)
}

/// A timer, a person, or the driver that owes the sending of a held attempt.
fn somebody_will_act(state: &SagaState) -> bool {
    state.next_wake().is_some()
        || !state.work_items.is_empty()
        || state.live().any(|(_, step)| {
            step.attempts
                .iter()
                .any(|attempt| attempt.held && attempt.open())
        })
}
