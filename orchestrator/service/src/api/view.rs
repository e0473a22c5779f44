//! A saga as people and programs are shown it: folded, its steps in the order of the definition, each with its attempts and why it waits.

use baton_driver::SagaRow;
use baton_engine::record::Record;
use baton_engine::state::{Attempt, Prepared, Stage, StepState};
use baton_engine::{Definition, Entry, SagaState};
use baton_messages::{Direction, StepId, Timestamp};
use serde_json::{Value, json};

use super::why;

/// A row of a list.
pub(crate) fn row(row: &SagaRow) -> Value {
    json!({
        "id": row.saga, "definition": row.definition, "version": row.version,
        "status": row.status, "paused": row.paused, "labels": row.labels, "by": row.by,
        "started_at": row.started_at, "changed_at": row.changed_at, "ended_at": row.ended_at,
    })
}

/// The steps in the order of the document, as the first record has them.
pub(crate) fn step_order(log: &[(u64, Entry)]) -> Vec<String> {
    log.iter()
        .flat_map(|(_, entry)| &entry.records)
        .find_map(|record| match record {
            Record::Started { steps, .. } => Some(steps.iter().map(ToString::to_string).collect()),
            _ => None,
        })
        .unwrap_or_default()
}

/// One saga, whole.
pub(crate) fn saga(
    state: &SagaState,
    definition: Option<&Definition>,
    order: &[String],
    now: Timestamp,
) -> Value {
    let place = |id: &StepId| order.iter().position(|known| known == id.as_str());
    let mut steps: Vec<(&StepId, &StepState)> = state.steps.iter().collect();
    steps.sort_by_key(|(id, _)| place(id).unwrap_or(usize::MAX));
    let steps: Vec<Value> = steps
        .into_iter()
        .map(|(id, step)| one_step(state, definition, id, step, now))
        .collect();
    let work_items: Vec<&baton_engine::WorkItem> = state.work_items.values().collect();
    json!({
        "id": state.id, "definition": state.definition, "version": state.version,
        "status": state.status, "paused": state.paused, "labels": state.labels, "by": state.by,
        "input": state.input, "output": state.output,
        "started_at": state.started_at, "ended_at": state.ended_at, "changed_at": state.last_at,
        "deadline_at": state.deadline_at, "past_pivot": state.past_pivot,
        "unwinding": state.unwinding, "steps": steps, "work_items": work_items,
        "next_wake": state.next_wake(), "now": now,
    })
}

fn one_step(
    state: &SagaState,
    definition: Option<&Definition>,
    id: &StepId,
    step: &StepState,
    now: Timestamp,
) -> Value {
    let defined = definition.and_then(|definition| definition.step(id));
    let task_type = step
        .forward
        .as_ref()
        .map(|ready| ready.facts.task_type.clone())
        .or_else(|| defined?.task().map(|task| task.task_type.clone()));
    let attempts: Vec<Value> = step.attempts.iter().map(attempt).collect();
    let input = |ready: &Option<Prepared>| ready.as_ref().map(|ready| ready.input.clone());
    json!({
        "id": id, "task": task_type, "phase": step.phase, "since": step.since,
        "began_at": step.began_at, "due": step.due, "round": step.round,
        "attempts": attempts, "tries": step.last_attempt(Direction::Do),
        "may_have_effect": step.may_have_effect,
        "pivot": defined.is_some_and(|step| step.pivot),
        "input": input(&step.forward), "output": step.output,
        "before": step.before.as_ref().map(|(_, value)| value), "progress": step.progress,
        "last_failure": step.last_failure,
        "why": why::waits(state, definition, id, step, now),
    })
}

fn attempt(attempt: &Attempt) -> Value {
    let (stage, worker, run) = match &attempt.stage {
        Stage::Offered => ("offered", None, None),
        Stage::Claimed { run, worker } => ("claimed", Some(worker), Some(run)),
        Stage::Reported => ("reported", None, None),
        Stage::Closed => ("closed", None, None),
        Stage::NotRun => ("not-run", None, None),
    };
    json!({
        "direction": attempt.direction, "number": attempt.number, "dispatch": attempt.dispatch,
        "stage": stage, "worker": worker, "run": run,
        "first_offered_at": attempt.first_offered_at, "offered_at": attempt.offered_at,
        "last_moment": attempt.last_moment, "held": attempt.held, "sole": attempt.sole,
    })
}
