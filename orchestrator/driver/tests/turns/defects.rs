//! A defect of ours meets one saga: deciding panics, folding panics, a row cannot be read. Its input is kept, its neighbours go on.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use baton_driver::{DeadLetterRow, Driver, Work};
use baton_engine::state::{SagaState, Stage};
use baton_engine::work_item::WorkItemKind;
use baton_engine::{Refusal, Verdict};
use baton_messages::{DeadReason, StepId, Timestamp};
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::shelf::{Shelf, Tray, now_or_never};
use crate::{Rig, at, finished, options, rig, saga, start, take, task, turn};

fn recovered(shelf: Shelf) -> Rig {
    let mut driver =
        now_or_never(Driver::recover(shelf, Tray::default(), options(), at(3))).unwrap();
    driver.bus_is_up(at(3));
    driver
}

/// Two sagas that have sent their first tasks; the state of the first.
fn two() -> (Rig, Vec<baton_driver::Outgoing>, SagaState) {
    let mut driver = rig(true);
    turn(&mut driver, vec![start(1), start(2)], 1);
    let out = take(&mut driver);
    let state = driver.peek(saga(1)).unwrap().clone();
    (driver, out, state)
}

#[test]
fn an_input_that_makes_deciding_panic_is_kept_and_its_saga_asks_for_somebody() {
    let (driver, out, mut state) = two();
    let mut shelf = driver.into_store();
    // Its second step has no number left for an attempt: to offer it overflows.
    let mut attempt = state.steps[&StepId::new("first").unwrap()].attempts[0].clone();
    attempt.number = u32::MAX;
    attempt.stage = Stage::Reported;
    let second = state.steps.get_mut(&StepId::new("second").unwrap());
    second.unwrap().attempts.push(attempt);
    shelf.snapshots.insert(saga(1), Box::new(state));
    let mut driver = recovered(shelf);
    turn(&mut driver, vec![], 4);
    take(&mut driver);
    let reports = out.iter().map(|o| finished(&task(o).of, json!(1)));
    let answers = turn(&mut driver, reports.collect(), 5);
    let verdict = |n| answers.iter().find(|a| a.saga == Some(saga(n))).unwrap();
    assert!(
        matches!(verdict(1).verdict, Verdict::Refused(Refusal::NotNow { .. })),
        "{answers:?}"
    );
    assert_eq!(verdict(2).verdict, Verdict::Applied);
    let letters = &driver.store().letters;
    assert_eq!(letters.len(), 1, "its input is kept: {letters:?}");
    assert!(letters[0].contains("panicked"), "{letters:?}");
    let items = &driver.peek(saga(1)).unwrap().work_items;
    assert!(
        items.values().any(|item| item.kind == WorkItemKind::Broken),
        "{items:?}"
    );
    let next: Vec<_> = take(&mut driver).iter().map(|o| o.saga).collect();
    assert_eq!(next, [saga(2)], "the neighbour went on");
}

fn letter(kind: &str) -> Work {
    Work::Dead {
        token: 7,
        letter: Box::new(DeadLetterRow {
            id: uuid::Uuid::from_u128(7),
            at: Timestamp(5),
            reason: DeadReason::Undecodable,
            error: format!("{kind} as it came"),
            queue: "q".into(),
            exchange: String::new(),
            key: String::new(),
            message_id: Some("m-7".into()),
            kind: Some(kind.into()),
            saga: None,
            properties: json!({ "headers": { "x-api-key": "hunter2\u{0}" } }),
            body: b"correct horse".to_vec(),
        }),
        input: None,
    }
}

/// A driver whose store refuses letters of kind `odd`.
fn particular() -> Rig {
    let (driver, _, _) = two();
    let mut shelf = driver.into_store();
    shelf.misfit = Some("odd".into());
    recovered(shelf)
}

#[test]
fn a_dead_letter_the_store_does_not_take_as_it_is_is_kept_whole_in_another_form() {
    let mut driver = particular();
    turn(&mut driver, vec![letter("even"), letter("odd")], 5);
    let letters = &driver.store().letters;
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert!(
        letters.iter().any(|error| error == "even as it came"),
        "{letters:?}"
    );
    let odd = letters.iter().position(|e| e.contains("did not take"));
    let odd = odd.expect("it is kept");
    let kept = driver.store().properties[odd]["as_came_with_secrets_base64"].clone();
    let rest = BASE64.decode(kept.as_str().expect("all of it")).unwrap();
    let rest: Value = serde_json::from_slice(&rest).unwrap();
    assert_eq!(
        rest,
        json!({
            "error": "odd as it came", "queue": "q", "exchange": "", "key": "", "message_id": "m-7", "kind": "odd",
            "properties": { "headers": { "x-api-key": "hunter2\u{0}" } },
        })
    );
}

#[test]
fn of_a_dead_letter_the_store_does_not_take_the_log_says_where_it_is_from_and_nothing_it_says() {
    let heard = Heard::default();
    let lines = heard.0.clone();
    tracing::subscriber::with_default(heard, || {
        let mut driver = particular();
        turn(&mut driver, vec![letter("odd")], 5);
    });
    let lines = lines.lock().unwrap().join("\n");
    for said in ["could not be stored", "m-7", "body_bytes=13"] {
        assert!(lines.contains(said), "{said}: {lines}");
    }
    for secret in ["hunter2", "correct horse", "x-api-key"] {
        assert!(!lines.contains(secret), "{secret}: {lines}");
    }
}

/// Keeps what is said.
#[derive(Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Subscriber for Heard {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{}={value:?} ", field.name()));
    }
}

#[test]
fn records_that_make_folding_panic_stop_their_saga_alone() {
    let (driver, out, mut state) = two();
    let mut shelf = driver.into_store();
    // No number is left for another record.
    state.seq = u64::MAX;
    shelf.rows[0].saga_seq = u64::MAX;
    shelf.snapshots.insert(saga(1), Box::new(state));
    left_alone(shelf, &out);
}

#[test]
fn a_row_that_cannot_be_read_stops_its_saga_alone() {
    let (driver, out, _) = two();
    let mut shelf = driver.into_store();
    shelf.undecodable = Some(saga(1));
    left_alone(shelf, &out);
}

fn left_alone(shelf: Shelf, out: &[baton_driver::Outgoing]) {
    let mut driver = recovered(shelf);
    let reports = out.iter().map(|o| finished(&task(o).of, json!(1)));
    let answers = turn(&mut driver, reports.collect(), 4);
    let of = |n| answers.iter().find(|a| a.saga == Some(saga(n))).unwrap();
    assert_eq!(of(1).verdict, Verdict::Refused(Refusal::Unreadable));
    assert_eq!(of(2).verdict, Verdict::Applied);
}

#[test]
fn a_definition_that_cannot_be_read_stops_its_sagas_alone() {
    let (driver, out, _) = two();
    let mut shelf = driver.into_store();
    for row in &mut shelf.definitions {
        row.source = "saga: of a newer version".into();
    }
    let mut driver = recovered(shelf);
    let reports = out.iter().map(|o| finished(&task(o).of, json!(1)));
    for answer in turn(&mut driver, reports.collect(), 4) {
        assert_eq!(answer.verdict, Verdict::Refused(Refusal::Unreadable));
    }
    assert_eq!(driver.figures().unreadable, 2);
}
