//! The published vectors are what the code derives, and what others derive: recomputed here in another way, and pinned by
//! values that Python's `uuid` module gave.

use std::collections::HashSet;

use baton_messages::{
    Direction, IdempotencyKey, InputId, MessageId, RunId, SagaId, Slice, StepId, headers, ids,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::kinds;

fn file() -> Value {
    let text = std::fs::read(kinds::directory().join("slice-vectors.json")).expect("vectors");
    serde_json::from_slice(&text).expect("JSON")
}

fn at<T: DeserializeOwned>(vector: &Value, field: &str) -> T {
    serde_json::from_value(vector[field].clone())
        .unwrap_or_else(|e| panic!("{field} of {vector}: {e}"))
}

/// Checks each vector of a list: the name is its parts joined, the id is of that name, the code derives the same.
fn each(list: &str, parts: &[&str], derive: impl Fn(&Value) -> Uuid) {
    let file = file();
    let vectors = file[list].as_array().expect("list");
    assert!(vectors.len() >= 3, "{list}");
    let namespace: Uuid = at(&file, "namespace");
    let mut seen = HashSet::new();
    for vector in vectors {
        let mut name = parts[0].to_owned();
        for part in &parts[1..] {
            name.push('\u{1f}');
            match &vector[*part] {
                Value::Null => {}
                Value::String(text) => name.push_str(text),
                other => name.push_str(&other.to_string()),
            }
        }
        assert_eq!(name, at::<String>(vector, "name"), "{list}");
        let id: Uuid = at(vector, "id");
        assert_eq!(id, Uuid::new_v5(&namespace, name.as_bytes()), "{list}");
        assert_eq!(
            id,
            derive(vector),
            "{list}: the code derives another id of {vector}"
        );
        assert!(seen.insert(id), "{list}: two vectors have one id");
    }
}

fn step(vector: &Value) -> StepId {
    at(vector, "step")
}

#[test]
fn saga_ids_are_as_published() {
    each(
        "saga_of_event",
        &["saga/event", "definition", "trigger", "source", "event"],
        |v| {
            let (definition, source, event): (String, String, String) =
                (at(v, "definition"), at(v, "source"), at(v, "event"));
            SagaId::of_event(&definition, at(v, "trigger"), &source, &event).0
        },
    );
    each(
        "saga_of_schedule",
        &["saga/schedule-name", "definition", "schedule", "nominal_ms"],
        |v| {
            let (definition, schedule): (String, String) = (at(v, "definition"), at(v, "schedule"));
            SagaId::of_schedule(&definition, &schedule, at(v, "nominal_ms")).0
        },
    );
    each(
        "saga_of_schedule_at",
        &["saga/schedule", "definition", "trigger", "nominal_ms"],
        |v| {
            SagaId::of_schedule_at(
                &at::<String>(v, "definition"),
                at(v, "trigger"),
                at(v, "nominal_ms"),
            )
            .0
        },
    );
    each("saga_of_request", &["saga/request", "caller", "key"], |v| {
        SagaId::of_request(&at::<String>(v, "caller"), &at::<String>(v, "key")).0
    });
    each(
        "saga_of_child",
        &["saga/child", "parent", "step", "item", "round"],
        |v| SagaId::of_child(at(v, "parent"), &step(v), at(v, "item"), at(v, "round")).0,
    );
}

#[test]
fn message_ids_and_keys_are_as_published() {
    each(
        "message_of_task",
        &[
            "task",
            "saga",
            "step",
            "item",
            "direction",
            "round",
            "attempt",
            "dispatch",
        ],
        |v| {
            let direction: Direction = at(v, "direction");
            let (round, attempt, dispatch) = (at(v, "round"), at(v, "attempt"), at(v, "dispatch"));
            MessageId::of_task(
                at(v, "saga"),
                &step(v),
                at(v, "item"),
                direction,
                round,
                attempt,
                dispatch,
            )
            .0
        },
    );
    each(
        "message_of_report",
        &["report", "kind", "run", "number"],
        |v| {
            MessageId::of_report(
                &at::<String>(v, "kind"),
                at::<RunId>(v, "run"),
                at(v, "number"),
            )
            .0
        },
    );
    each(
        "idempotency_key",
        &["effect", "saga", "step", "item", "direction", "round"],
        |v| {
            IdempotencyKey::of(
                at(v, "saga"),
                &step(v),
                at(v, "item"),
                at(v, "direction"),
                at(v, "round"),
            )
            .0
        },
    );
}

/// FNV-1a written in another way than in the code: arithmetic modulo two to the power of 64 on wider numbers.
fn slice_again(saga: SagaId) -> u8 {
    const MODULUS: u128 = 1 << 64;
    let hash = saga
        .0
        .into_bytes()
        .into_iter()
        .fold(14_695_981_039_346_656_037_u128, |hash, byte| {
            (hash ^ u128::from(byte)) * 1_099_511_628_211 % MODULUS
        });
    let word = (0..8).fold(0, |folded, place| folded ^ (hash >> (8 * place)) & 0xff);
    u8::try_from(word).expect("a byte")
}

#[test]
fn slices_are_as_published() {
    let file = file();
    let vectors = file["slice"].as_array().expect("list");
    assert!(vectors.len() >= 16);
    for vector in vectors {
        let (saga, slice): (SagaId, u8) = (at(vector, "saga"), at(vector, "slice"));
        assert_eq!(slice, slice_again(saga), "{saga}");
        assert_eq!(slice, Slice::of(saga).0, "{saga}");
    }
}

#[test]
fn slices_are_spread_evenly() {
    let mut count = [0_u32; 256];
    for n in 0..25_600_u32 {
        count[usize::from(Slice::of(SagaId::of_request("spread", &n.to_string())).0)] += 1;
    }
    let (least, most) = (
        count.iter().min().expect("some"),
        count.iter().max().expect("some"),
    );
    // A hundred each on average: five standard deviations either way.
    assert!(*least > 50 && *most < 150, "{least} to {most}");
}

/// Values that `python3 -c 'import uuid; …uuid.uuid5(…)'` printed.
#[test]
fn ids_are_those_that_python_derives() {
    let pinned = |text: &str| Uuid::parse_str(text).expect("uuid");
    assert_eq!(
        ids::NAMESPACE,
        pinned("efaa0653-2f55-511c-aa67-8cdb9f58cb6c")
    );
    assert_eq!(
        ids::NAMESPACE,
        Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"baton.ids")
    );
    let saga = SagaId::of_request("anna", "2026-01-01/disk");
    let isolate = StepId::new("isolate").expect("step");
    assert_eq!(saga.0, pinned("efc70e60-670d-5646-b818-21cb7bb05921"));
    let event = SagaId::of_event("größe", 12, "https://example.com/ä?q=1", "ereignis ✓");
    assert_eq!(event.0, pinned("876c40ef-840c-5aca-a708-41c1ec5a43d7"));
    let nightly = SagaId::of_schedule("nightly-backup", "0 2 * * * UTC", 1_767_232_800_000);
    assert_eq!(nightly.0, pinned("6827e878-1a6b-5185-b5fe-f8b0fe6b14b3"));
    let before = SagaId::of_schedule_at("nightly-backup", 0, 1_767_232_800_000);
    assert_eq!(before.0, pinned("557b557d-7642-540f-b22e-ffe0a9f50d8d"));
    let child = SagaId::of_child(saga, &isolate, None, 1);
    assert_eq!(child.0, pinned("89a17a38-5697-51c4-b798-58c740f3063e"));
    let task = MessageId::of_task(saga, &isolate, Some(7), Direction::Undo, 2, 3, 1);
    assert_eq!(task.0, pinned("00c18009-4481-5e15-aac6-9b1111883c30"));
    let report = MessageId::of_report("finished", RunId(saga.0), 1);
    assert_eq!(report.0, pinned("f536415d-11b7-52c2-bc01-6b170de4072d"));
    let key = IdempotencyKey::of(saga, &isolate, None, Direction::Do, 1);
    assert_eq!(key.0, pinned("11a97d64-710a-568d-aae3-078e4433ee5a"));
    let cancel = InputId::of_cancel(saga, 1, "/watch", "e-7");
    assert_eq!(cancel.0, pinned("dcadc8ea-3d5c-518e-93f1-a1769567d884"));
}

#[test]
fn a_trace_is_the_saga() {
    let saga = SagaId::of_request("anna", "x");
    let task = MessageId(Uuid::from_u128(0));
    let text = headers::traceparent(saga, task);
    assert_eq!(text, format!("00-{}-0000000000000001-01", saga.0.simple()));
}
