//! A saga that goes on under another version: the version is part of its state, so that whoever reads it anew (a restart, an eviction, a lost commit) drives it by the one it
//! runs; its row says it; and reports of what was sent before count.

use baton_driver::{Driver, Sent, Work};
use baton_engine::upgrade::ReasonKind;
use baton_engine::{Definition, Input, Operator, Refusal, Role, Status, Verdict};
use baton_messages::{AttemptRef, InputId};
use serde_json::json;
use uuid::Uuid;

use super::shelf::{Mishap, Tray, now_or_never};
use super::{Rig, SAGA, at, finished, options, rig, saga, start, take, task, turn};

/// One step more, behind the others.
fn third() -> String {
    let more = "  - id: third\n    task: test.echo@1\n    with: { value: \"${ second.value }\" }\noutput: \"${ third.value }\"\n";
    let steps = SAGA.split("output:").next().unwrap();
    format!("{}{more}", steps.replace("version: 1", "version: 2"))
}

fn register(driver: &mut Rig, text: &str) {
    let definition = Definition::parse(text).unwrap();
    assert!(now_or_never(driver.put_definition(definition, "test", at(1))).unwrap());
}

fn upgrade(n: u128, to: u32, id: u128) -> Work {
    let operator = Operator {
        id: InputId(Uuid::from_u128(id)),
        by: "anna".into(),
        role: Role::Admin,
        reason: "because".into(),
        seen: None,
    };
    Work::Saga {
        token: 1,
        saga: saga(n),
        input: Box::new(Input::Upgrade {
            to,
            from: None,
            operator,
        }),
    }
}

/// What was sent last, confirmed.
fn sent(driver: &mut Rig) -> AttemptRef {
    let out = take(driver);
    driver.sent(
        out.iter()
            .map(|one| (one.ticket, Sent::Confirmed))
            .collect(),
    );
    task(out.last().unwrap()).of.clone()
}

/// The steps that are left are reported as done, in their order, until nothing is sent any more.
fn to_the_end(driver: &mut Rig, mut of: AttemptRef) -> Vec<String> {
    let mut done = Vec::new();
    loop {
        done.push(of.step.to_string());
        turn(
            driver,
            vec![finished(&of, json!(1))],
            700_010 + done.len() as u64,
        );
        if driver.store().status[&saga(1)].ended() {
            return done;
        }
        of = sent(driver);
    }
}

/// A process that reads what this one has committed.
fn started_again(driver: Rig) -> Rig {
    let store = driver.into_store();
    let mut again = now_or_never(Driver::recover(
        store,
        Tray::default(),
        options(),
        at(700_000),
    ))
    .unwrap();
    again.bus_is_up(at(700_000));
    again
}

#[test]
fn after_a_restart_and_out_of_memory_it_goes_on_under_the_version_it_was_moved_to() {
    for evicted in [false, true] {
        let mut driver = rig(true);
        turn(&mut driver, vec![start(1)], 1);
        let of = sent(&mut driver);
        register(&mut driver, &third());
        assert_eq!(
            turn(&mut driver, vec![upgrade(1, 2, 9)], 2)[0].verdict,
            Verdict::Applied
        );
        assert_eq!(driver.store().versions[&saga(1)], 2, "its row says so");
        if evicted {
            // long enough for it to leave memory, with a snapshot
            turn(&mut driver, vec![], 600_000);
            assert_eq!(driver.figures().hot, 0);
            assert!(!driver.store().snapshots.is_empty());
        }
        let mut driver = started_again(driver);
        assert_eq!(
            turn(&mut driver, vec![upgrade(1, 2, 9)], 700_001)[0].verdict,
            Verdict::Duplicate
        );
        take(&mut driver);
        assert_eq!(to_the_end(&mut driver, of), ["first", "second", "third"]);
        assert_eq!(driver.store().status[&saga(1)], Status::Completed);
    }
}

#[test]
fn a_move_and_a_report_in_one_turn_are_both_taken_in_either_order() {
    for report_first in [true, false] {
        let mut driver = rig(true);
        turn(&mut driver, vec![start(1)], 1);
        let of = sent(&mut driver);
        register(&mut driver, &third());
        let mut work = vec![upgrade(1, 2, 9), finished(&of, json!(1))];
        if report_first {
            work.reverse();
        }
        let answers = turn(&mut driver, work, 2);
        assert!(
            answers.iter().all(|one| one.verdict == Verdict::Applied),
            "{answers:?}"
        );
        let of = sent(&mut driver);
        assert_eq!(to_the_end(&mut driver, of), ["second", "third"]);
    }
}

#[test]
fn of_a_lost_commit_all_or_nothing_is_there() {
    for (mishap, version) in [(Mishap::Failed, 1), (Mishap::UnknownWritten, 2)] {
        let mut driver = rig(true);
        turn(&mut driver, vec![start(1)], 1);
        let of = sent(&mut driver);
        register(&mut driver, &third());
        driver.store().mishap = Some(mishap);
        assert!(now_or_never(driver.turn(vec![upgrade(1, 2, 9)], at(2), 1)).is_err());
        now_or_never(driver.recover_again(at(3))).unwrap();
        assert_eq!(driver.peek(saga(1)).unwrap().version, version);
        // asked again, as whoever had no answer does
        let verdict = turn(&mut driver, vec![upgrade(1, 2, 9)], 4)[0]
            .verdict
            .clone();
        let first = version == 1;
        assert_eq!(
            verdict,
            if first {
                Verdict::Applied
            } else {
                Verdict::Duplicate
            }
        );
        take(&mut driver);
        assert_eq!(to_the_end(&mut driver, of), ["first", "second", "third"]);
    }
}

#[test]
fn one_that_stays_ends_under_its_version_beside_one_that_was_moved() {
    let mut driver = rig(true);
    turn(&mut driver, vec![start(1), start(2)], 1);
    let out = take(&mut driver);
    driver.sent(
        out.iter()
            .map(|one| (one.ticket, Sent::Confirmed))
            .collect(),
    );
    // the first step of one of them is done
    let of = task(&out[0]).of.clone();
    let other = task(&out[1]).of.clone();
    turn(&mut driver, vec![finished(&of, json!(1))], 2);
    let of = sent(&mut driver);
    let inserted = third().replace(
        "  - id: second",
        "  - id: between\n    task: test.echo@1\n    with: { value: 1 }\n  - id: second",
    );
    register(&mut driver, &inserted);
    let answers = turn(&mut driver, vec![upgrade(1, 2, 9), upgrade(2, 2, 10)], 3);
    let Verdict::Refused(Refusal::Stays { reasons }) = &answers[0].verdict else {
        panic!("{answers:?}");
    };
    assert_eq!(reasons[0].kind, ReasonKind::Before);
    assert_eq!(answers[1].verdict, Verdict::Applied);
    assert_eq!(driver.store().versions[&saga(1)], 1);
    assert_eq!(to_the_end(&mut driver, of), ["second"]);
    turn(&mut driver, vec![finished(&other, json!(1))], 700_030);
    assert_eq!(sent(&mut driver).step.to_string(), "between");
    // a version nobody has registered
    let verdict = turn(&mut driver, vec![upgrade(2, 7, 11)], 700_031)[0]
        .verdict
        .clone();
    assert!(
        matches!(verdict, Verdict::Refused(Refusal::NoSuch { .. })),
        "{verdict:?}"
    );
}
