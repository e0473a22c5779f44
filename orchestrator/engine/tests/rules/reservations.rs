//! What is taken before the first step: nothing begins before it is given, however often it is told; a wait that ends in every way it can.

use std::collections::BTreeMap;

use baton_engine::command::commands;
use baton_engine::reservation::Change;
use baton_engine::state::{Cause, Phase};
use baton_engine::{
    Choice, Command, Input, Record, Refusal, ReservationKind, Status, Verdict, WorkItemKind,
};
use baton_messages::{InboxKey, TaskMessage};

use crate::children::family::Family;
use crate::stage::{Stage, done, failed, undone};

const LOCKED: &str = "  - id: a\n    task: t.set@1\nlocks: [b, a, b]\n";
const LIMITED: &str = "  - id: a\n    task: t.set@1\nblast_radius: { max: 2, per: 1h }\n";

fn fences() -> BTreeMap<String, u64> {
    BTreeMap::from([("a".to_owned(), 5), ("b".to_owned(), 6)])
}

fn admit(stage: &mut Stage) -> Verdict {
    stage.give(&Input::Admitted { fences: fences() })
}

/// What the store is told with the last entry.
fn changes(stage: &Stage) -> Vec<Change> {
    let records = &stage.entries.last().unwrap().records;
    let all = commands(&stage.state, &InboxKey::of(0), records).into_iter();
    let change = |command| match command {
        Command::Reserve(change) => Some(*change),
        _ => None,
    };
    all.filter_map(change).collect()
}

#[test]
fn nothing_begins_before_all_is_given_and_it_is_given_once() {
    let mut stage = Stage::with(LOCKED);
    let [Change::Wanted { root, wants }] = &changes(&stage)[..] else {
        panic!("{:?}", changes(&stage));
    };
    assert_eq!(*root, stage.state.id);
    let names: Vec<&str> = wants.iter().map(|want| want.name.as_str()).collect();
    assert_eq!(names, ["a", "b"], "in order, each once");
    assert_eq!(stage.phase("a"), Phase::Waiting);
    assert_eq!(admit(&mut stage), Verdict::Applied);
    assert_eq!(changes(&stage), [Change::Told]);
    assert_eq!(stage.phase("a"), Phase::Trying);
    assert_eq!(admit(&mut stage), Verdict::Duplicate);
    stage.report("a", done());
    assert_eq!(stage.status(), Status::Completed);
    assert_eq!(changes(&stage), [Change::Over]);
    assert!(matches!(admit(&mut stage), Verdict::Ignored { .. }));
}

#[test]
fn every_task_carries_the_numbers_of_the_locks_also_of_the_way_back() {
    let mut stage =
        Stage::with("  - id: a\n    task: t.set@1\n  - id: b\n    task: t.set@1\nlocks: [a, b]\n");
    admit(&mut stage);
    let carried = |stage: &Stage| {
        let records = &stage.entries.last().unwrap().records;
        let all = commands(&stage.state, &InboxKey::of(0), records).into_iter();
        let mut tasks = all.filter_map(|command| match command {
            Command::Dispatch(task) => {
                let TaskMessage::Task(task) = *task;
                Some(task.fences)
            }
            _ => None,
        });
        tasks.next().unwrap()
    };
    assert_eq!(carried(&stage), fences());
    stage.report("a", done());
    assert_eq!(carried(&stage), fences());
    let operator = stage.operator();
    let broken = Input::BreakLock {
        name: "b".into(),
        operator,
    };
    assert_eq!(stage.give(&broken), Verdict::Applied);
    assert_eq!(changes(&stage), [Change::Broken { lock: "b".into() }]);
    assert_eq!(stage.give(&broken), Verdict::Duplicate);
    stage.report("b", failed(false));
    // also that of `b`, which was taken from it: by that it is known for late
    assert_eq!(carried(&stage), fences());
    stage.report("a", undone());
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn a_word_that_was_lost_is_asked_for_more_and_more_rarely_and_for_ever() {
    let mut stage = Stage::with(LOCKED);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let before = stage.now;
        stage.wait();
        waits.push((stage.now - before) / 60_000);
        assert_eq!(changes(&stage), [Change::Asked]);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    assert_eq!(admit(&mut stage), Verdict::Applied);
}

#[test]
fn who_waits_is_cancelled_abandoned_or_too_late_and_nothing_was_done() {
    let mut stage = Stage::with(LOCKED);
    stage.cancel();
    assert_eq!(stage.status(), Status::Compensated);
    assert_eq!(changes(&stage), [Change::Over]);
    let mut stage = Stage::with(&format!("{LOCKED}deadline: 30s\n"));
    stage.wait();
    assert_eq!(stage.status(), Status::Running, "its time has not begun");
    admit(&mut stage);
    let begun = stage.now;
    assert_eq!(stage.state.deadline_at.map(|at| at.0), Some(begun + 30_000));
    let mut stage = Stage::with(LOCKED);
    let operator = stage.operator();
    stage.give(&Input::Abandon(operator));
    assert_eq!(stage.status(), Status::Abandoned);
    assert_eq!(changes(&stage), [Change::Over]);
}

#[test]
fn paused_it_is_given_what_it_wants_and_begins_nothing() {
    let mut stage = Stage::with(LOCKED);
    let operator = stage.operator();
    stage.give(&Input::Pause(operator));
    assert_eq!(admit(&mut stage), Verdict::Applied);
    assert_eq!(stage.phase("a"), Phase::Waiting);
    let operator = stage.operator();
    stage.give(&Input::Resume(operator));
    assert_eq!(stage.phase("a"), Phase::Trying);
}

#[test]
fn what_a_limit_holds_back_a_person_lets_through_or_time_does() {
    let mut stage = Stage::with(LIMITED);
    assert_eq!(stage.give(&Input::HeldBack), Verdict::Applied);
    assert_eq!(changes(&stage), [Change::HeldBack]);
    assert_eq!(stage.status(), Status::Running, "it goes on by itself");
    assert_eq!(
        stage.choices(),
        [Choice::Admit, Choice::Cancel, Choice::Abandon]
    );
    assert_eq!(stage.give(&Input::HeldBack), Verdict::Duplicate);
    let operator = stage.operator();
    let let_through = Input::Admit(operator);
    assert_eq!(stage.give(&let_through), Verdict::Applied);
    assert_eq!(changes(&stage), [Change::LetThrough]);
    assert!(stage.state.work_items.is_empty());
    assert_eq!(
        stage.phase("a"),
        Phase::Waiting,
        "the store has the last word"
    );
    stage.give(&Input::Admitted {
        fences: BTreeMap::new(),
    });
    assert_eq!(stage.phase("a"), Phase::Trying);
    let mut stage = Stage::with(LIMITED);
    stage.give(&Input::HeldBack);
    stage.give(&Input::Admitted {
        fences: BTreeMap::new(),
    });
    assert!(stage.state.work_items.is_empty(), "its time was over");
    let closed = |record: &Record| matches!(record, Record::WorkItemClosed { .. });
    assert_eq!(stage.recorded(closed), 1);
}

#[test]
fn nobody_is_let_past_a_lock_and_nobody_breaks_what_is_not_held() {
    let mut stage = Stage::with(LOCKED);
    let not_now = |verdict| matches!(verdict, Verdict::Refused(Refusal::NotNow { .. }));
    let operator = stage.operator();
    assert!(not_now(stage.give(&Input::Admit(operator))));
    let breaks = |stage: &mut Stage, name: &str, reason: &str| {
        let mut operator = stage.operator();
        operator.reason = reason.to_owned();
        let name = name.to_owned();
        stage.give(&Input::BreakLock { name, operator })
    };
    assert!(not_now(breaks(&mut stage, "a", "why")), "it waits for it");
    admit(&mut stage);
    assert!(not_now(breaks(&mut stage, "c", "why")));
    assert!(not_now(breaks(&mut stage, "a", " ")), "without a reason");
    assert!(matches!(stage.give(&Input::HeldBack), Verdict::Duplicate));
    stage.report("a", done());
    let ended = breaks(&mut stage, "a", "why");
    assert!(matches!(ended, Verdict::Refused(Refusal::Ended { .. })));
}

#[test]
fn a_name_that_cannot_be_computed_refuses_the_start() {
    for keys in [
        "locks: [\"host/${ input.ip }\"]",
        "locks: [\"${ input.empty }\"]",
        "locks: [\"${ input.long }\"]",
        "concurrency: { max: 1, key: \"${ input.nothing }\" }",
        "labels: { site: \"${ input.ip }\" }\nconcurrency: { max: 1, key: site }",
        "labels: { site: \"${ input.nothing }\" }\nconcurrency: { max: 1, key: site }",
    ] {
        let steps = format!("  - id: a\n    task: t.set@1\n{keys}\n");
        let mut stage = Stage::waiting(&steps);
        let Input::Start(mut start) = stage.start() else {
            panic!("a start");
        };
        start.input = serde_json::json!({ "empty": " ", "long": "x".repeat(201), "nothing": null });
        let verdict = stage.give(&Input::Start(start));
        let misfit = matches!(verdict, Verdict::Refused(Refusal::Misfit { .. }));
        assert!(misfit, "{keys}: {verdict:?}");
        assert!(stage.entries.is_empty());
    }
}

#[test]
fn limits_are_named_by_the_definition_and_their_key() {
    let keys = "labels: { site: \"${ input.n }\" }\nconcurrency: { max: 3, key: site }\nblast_radius: { max: 2, per: 1h, key: \"${ input.n }\" }";
    let mut stage = Stage::waiting(&format!("  - id: a\n    task: t.set@1\n{keys}\n"));
    let Input::Start(mut start) = stage.start() else {
        panic!("a start");
    };
    start.input = serde_json::json!({ "n": 7 });
    start.labels = BTreeMap::from([("site".to_owned(), "vienna".to_owned())]);
    stage.give(&Input::Start(start));
    let taken = stage.state.reservation.as_deref().unwrap();
    let wants: Vec<_> = taken
        .wants
        .iter()
        .map(|w| (w.kind, w.name.as_str(), w.max))
        .collect();
    let expected = [
        (ReservationKind::Concurrency, "staged/7", 3),
        (ReservationKind::BlastRadius, "staged/7", 2),
    ];
    assert_eq!(wants, expected);
    assert_eq!(taken.wants[1].per_ms, Some(3_600_000));
}

const PARENT: &str =
    "saga: parent\nversion: 1\nlocks: [top]\nsteps:\n  - id: sub\n    saga: sub@1\n    with: {}\n";
const SUB: &str = "saga: sub\nversion: 1\nlocks: [below]\nsteps:\n  - id: a\n    task: t.set@1\n";

fn family() -> Family {
    let mut family = Family::of(&[PARENT, SUB]);
    let fences = BTreeMap::from([("top".to_owned(), 3)]);
    family.give(family.root, &Input::Admitted { fences });
    family.talk();
    family
}

#[test]
fn a_child_takes_in_the_name_of_its_root_and_acts_under_its_numbers_too() {
    let mut family = family();
    let child = family.child(family.root, "sub");
    let fences = BTreeMap::from([("below".to_owned(), 9)]);
    family.give(child, &Input::Admitted { fences });
    let (state, entries) = &family.sagas[&child];
    let both = BTreeMap::from([("below".to_owned(), 9), ("top".to_owned(), 3)]);
    assert_eq!(state.fences(), both);
    let all = entries.iter().flat_map(|entry| &entry.records);
    let mut all = all.filter(|record| matches!(record, Record::Reserving { .. }));
    let Some(Record::Reserving { until, .. }) = all.next() else {
        panic!("it takes nothing");
    };
    assert!(until.is_some(), "its wait has an end");
}

#[test]
fn a_child_that_waits_too_long_fails_its_step_with_nothing_changed() {
    let mut family = family();
    let child = family.child(family.root, "sub");
    for _ in 0..8 {
        let Some(next) = family.sagas[&child].0.next_wake() else {
            break;
        };
        family.now = family.now.max(next.0);
        let due = family.sagas[&child].0.due_timers(next);
        for key in due {
            family.give(child, &Input::TimerFired(key));
        }
    }
    let state = &family.sagas[&child].0;
    assert_eq!(state.status, Status::Compensated);
    let asked = state
        .work_items
        .values()
        .any(|item| item.kind == WorkItemKind::HeldBack);
    assert!(!asked);
    family.talk();
    let root = &family.sagas[&family.root].0;
    assert_eq!(root.status, Status::Compensated);
    let Some(Cause::StepFailed { failure, .. }) = &root.unwinding else {
        panic!("{:?}", root.unwinding);
    };
    assert_eq!(failure.code, "lock-timeout");
}
