//! The saga that is measured: echo steps in order, each handed what the one before returned.

use std::fmt::Write as _;

use baton_messages::inbox::{AttemptRef, Finished, TaskResult};
use baton_messages::{
    Direction, Hold, InboxKey, InboxMessage, InputId, PoolName, RunId, SagaId, Start, StepId, Task,
    TaskMessage, TaskType, Timestamp, WorkerId,
};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

/// Touches nothing, is held late: what is measured is us.
pub(super) const TASK_TYPE: &str = "test.echo@1";
/// The name of the definition.
pub(super) const NAME: &str = "bench";

/// The definition with so many steps.
pub(super) fn yaml(steps: usize) -> String {
    let mut text = format!(
        "saga: {NAME}\nversion: 1\ninput:\n  type: object\n  required: [payload]\n  properties: {{ payload: {{ type: string }} }}\nsteps:\n"
    );
    let mut from = "input.payload".to_owned();
    for step in 1..=steps {
        // strings take everything
        let _ = write!(
            text,
            "  - id: s{step}\n    task: {TASK_TYPE}\n    with: {{ value: \"${{ {from} }}\" }}\n"
        );
        from = format!("s{step}.value");
    }
    text
}

/// The input of one saga.
pub(super) fn input(payload_bytes: usize) -> Value {
    json!({ "payload": "x".repeat(payload_bytes) })
}

/// A request for one more saga of its own.
pub(super) fn start(payload_bytes: usize) -> Start {
    let id = Uuid::now_v7();
    Start {
        id: InputId(id),
        saga: SagaId(id),
        definition: NAME.to_owned(),
        version: Some(1),
        input: input(payload_bytes),
        labels: std::collections::BTreeMap::new(),
        by: "bench".to_owned(),
    }
}

/// Bodies of the messages of one saga, in bytes.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Sizes {
    pub(crate) start: usize,
    pub(crate) task: usize,
    pub(crate) finished: usize,
}

/// How large the messages are with such a payload.
pub(crate) fn sizes(payload_bytes: usize) -> anyhow::Result<Sizes> {
    let request = start(payload_bytes);
    let of = AttemptRef {
        saga: request.saga,
        step: StepId::new("s1")?,
        item: None,
        direction: Direction::Do,
        round: 1,
        attempt: 1,
        dispatch: 1,
    };
    let now = Timestamp(1_700_000_000_000);
    let value = json!({ "value": "x".repeat(payload_bytes) });
    let task = Task {
        idempotency_key: of.idempotency_key(),
        of: of.clone(),
        task_type: TaskType::new(TASK_TYPE)?,
        pool: PoolName::new("default")?,
        inbox: InboxKey::of(0),
        hold: Hold::Late,
        act: None,
        not_after: now,
        ask_after: None,
        timeout_ms: 10_000,
        lease_ms: 30_000,
        input: value.clone(),
        output: None,
        before: None,
        progress: None,
        fences: std::collections::BTreeMap::new(),
    };
    let finished = Finished {
        of,
        run: RunId(Uuid::now_v7()),
        worker: WorkerId::new("host-12345678")?,
        started: true,
        sole: true,
        result: TaskResult::Succeeded { output: value },
        before: None,
        progress: None,
        started_at: now,
        finished_at: now,
    };
    Ok(Sizes {
        start: serde_json::to_vec(&InboxMessage::Start(request))?.len(),
        task: serde_json::to_vec(&TaskMessage::Task(task))?.len(),
        finished: serde_json::to_vec(&InboxMessage::Finished(finished))?.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_reads_the_one_before() {
        let text = yaml(2);
        let steps = text.split_once("steps:").unwrap().1;
        assert_eq!(
            steps,
            "\n  - id: s1\n    task: test.echo@1\n    with: { value: \"${ input.payload }\" }\n  - id: s2\n    task: test.echo@1\n    with: { value: \"${ s1.value }\" }\n"
        );
    }

    #[test]
    fn the_payload_is_in_every_message() {
        let (small, large) = (sizes(10).unwrap(), sizes(110).unwrap());
        assert_eq!(large.start - small.start, 100);
        assert_eq!(large.task - small.task, 100);
        assert_eq!(large.finished - small.finished, 100);
    }
}
