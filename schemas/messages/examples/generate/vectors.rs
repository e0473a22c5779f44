//! Test vectors for whoever derives ids or slices in another language: inputs, the text that is hashed, the result.

use baton_messages::ids::NAMESPACE;
use baton_messages::slice::SLICES;
use baton_messages::{Direction, IdempotencyKey, MessageId, RunId, SagaId, Slice, StepId};
use serde_json::{Value, json};
use uuid::Uuid;

/// The whole file.
pub(crate) fn document() -> Value {
    json!({
        "about": "An id is the UUIDv5 of `namespace` and `name`, whose parts are joined by U+001F; an absent item is an empty part. \
            A slice is FNV-1a (64 bits) over the 16 bytes of a saga id in network order, its eight bytes folded by xor.",
        "namespace": NAMESPACE,
        "slices": SLICES,
        "slice": sagas().map(|saga| json!({ "saga": saga, "slice": Slice::of(saga) })).collect::<Vec<_>>(),
        "saga_of_event": of_event(),
        "saga_of_schedule": of_schedule(),
        "saga_of_schedule_at": of_schedule_at(),
        "saga_of_request": of_request(),
        "saga_of_child": of_child(),
        "message_of_task": of_task(),
        "message_of_report": of_report(),
        "idempotency_key": keys(),
    })
}

fn name(parts: &[&str]) -> String {
    parts.join("\u{1f}")
}

/// Ids that differ in one bit, ids of both ends, and two dozen that are spread.
fn sagas() -> impl Iterator<Item = SagaId> {
    let edges = [0, 1, 1 << 64, u128::MAX, u128::MAX - 1].map(|n| SagaId(Uuid::from_u128(n)));
    let spread = (0_u32..24).map(|n| SagaId::of_request("vectors", &n.to_string()));
    edges.into_iter().chain(spread)
}

fn saga(number: u32) -> SagaId {
    SagaId::of_request("vectors", &number.to_string())
}

fn steps() -> Vec<StepId> {
    ["isolate", "a", "copy_file_2"]
        .iter()
        .filter_map(|text| StepId::new(text).ok())
        .collect()
}

fn item_text(item: Option<u32>) -> String {
    item.map(|n| n.to_string()).unwrap_or_default()
}

fn of_event() -> Value {
    [
        ("quarantine-host", 0, "/antivirus/eu-1", "4711"),
        ("quarantine-host", 1, "/antivirus/eu-1", "4711"),
        ("quarantine-host", 0, "/antivirus/eu-14", "711"),
        ("größe", 12, "https://example.com/ä?q=1", "ereignis ✓"),
    ]
    .map(
        |(definition, trigger, source, event): (&str, u32, &str, &str)| {
            let number = trigger.to_string();
            json!({
                "definition": definition, "trigger": trigger, "source": source, "event": event,
                "name": name(&["saga/event", definition, &number, source, event]),
                "id": SagaId::of_event(definition, trigger, source, event),
            })
        },
    )
    .into()
}

fn of_schedule() -> Value {
    [
        ("nightly-backup", "0 2 * * * UTC", 1_767_232_800_000),
        ("nightly-backup", "0 2 * * * Europe/Vienna", 0),
        ("größe", "0 2 * * * UTC (2)", u64::MAX),
    ]
    .map(|(definition, schedule, nominal): (&str, &str, u64)| {
        json!({
            "definition": definition, "schedule": schedule, "nominal_ms": nominal,
            "name": name(&["saga/schedule-name", definition, schedule, &nominal.to_string()]),
            "id": SagaId::of_schedule(definition, schedule, nominal),
        })
    })
    .into()
}

/// As earlier versions derived them.
fn of_schedule_at() -> Value {
    [
        ("nightly-backup", 0, 1_767_232_800_000),
        ("nightly-backup", 0, 0),
        ("nightly-backup", 3, u64::MAX),
    ]
    .map(|(definition, trigger, nominal): (&str, u32, u64)| {
        let (number, time) = (trigger.to_string(), nominal.to_string());
        json!({
            "definition": definition, "trigger": trigger, "nominal_ms": nominal,
            "name": name(&["saga/schedule", definition, &number, &time]),
            "id": SagaId::of_schedule_at(definition, trigger, nominal),
        })
    })
    .into()
}

fn of_request() -> Value {
    [("anna", "2026-01-01/disk"), ("anna", ""), ("", "x")]
        .map(|(caller, key)| {
            json!({
                "caller": caller, "key": key,
                "name": name(&["saga/request", caller, key]),
                "id": SagaId::of_request(caller, key),
            })
        })
        .into()
}

fn of_child() -> Value {
    let cases = steps()
        .into_iter()
        .zip([(None, 1), (Some(0), 1), (Some(41), 3)]);
    cases
        .map(|(step, (item, round))| {
            let parent = saga(1);
            let parts = [parent.to_string(), item_text(item), round.to_string()];
            json!({
                "parent": parent, "step": step, "item": item, "round": round,
                "name": name(&["saga/child", &parts[0], step.as_str(), &parts[1], &parts[2]]),
                "id": SagaId::of_child(parent, &step, item, round),
            })
        })
        .collect()
}

fn of_task() -> Value {
    let cases = steps().into_iter().zip([
        (None, Direction::Do, [1, 1, 1]),
        (Some(0), Direction::Undo, [1, 2, 1]),
        (Some(7), Direction::Probe, [2, 1, 12]),
    ]);
    cases
        .map(|(step, (item, direction, [round, attempt, dispatch]))| {
            let saga = saga(2);
            let parts = [
                saga.to_string(),
                step.to_string(),
                item_text(item),
                direction.to_string(),
                round.to_string(),
                attempt.to_string(),
                dispatch.to_string(),
            ];
            let mut all = vec!["task"];
            all.extend(parts.iter().map(String::as_str));
            json!({
                "saga": saga, "step": step, "item": item, "direction": direction,
                "round": round, "attempt": attempt, "dispatch": dispatch,
                "name": name(&all),
                "id": MessageId::of_task(saga, &step, item, direction, round, attempt, dispatch),
            })
        })
        .collect()
}

fn of_report() -> Value {
    let run = RunId(Uuid::from_u128(0x0197_0000_0000_7000_8000_0000_0000_0001));
    [("started", 1), ("checkpoint", 2), ("finished", 1)]
        .map(|(kind, number): (&str, u32)| {
            json!({
                "kind": kind, "run": run, "number": number,
                "name": name(&["report", kind, &run.to_string(), &number.to_string()]),
                "id": MessageId::of_report(kind, run, number),
            })
        })
        .into()
}

fn keys() -> Value {
    let cases = steps().into_iter().zip([
        (None, Direction::Do, 1),
        (Some(0), Direction::Undo, 1),
        (Some(7), Direction::Probe, 2),
    ]);
    cases
        .map(|(step, (item, direction, round))| {
            let saga = saga(3);
            let parts = [saga.to_string(), item_text(item), round.to_string()];
            let [saga_text, item_text, round_text] = &parts;
            json!({
                "saga": saga, "step": step, "item": item, "direction": direction, "round": round,
                "name": name(&["effect", saga_text, step.as_str(), item_text, direction.as_str(), round_text]),
                "id": IdempotencyKey::of(saga, &step, item, direction, round),
            })
        })
        .collect()
}
