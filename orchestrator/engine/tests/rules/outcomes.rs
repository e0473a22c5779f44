//! The table of outcomes, row by row.

use baton_engine::state::Phase;
use baton_engine::{Catalogue, Input, Status};
use baton_messages::{Direction, Failure, Manifest, ProbeAnswer, TaskResult, TaskType, Timestamp};
use serde_json::json;

use crate::stage::{Stage, done, failed, failure, found, is_undo, not_run, undone, unknown};

const TWO: &str = "  - id: a\n    task: t.set@1\n  - id: b\n    task: t.set@1\n";

#[test]
fn succeeded_starts_what_comes_after() {
    let mut stage = Stage::with(TWO);
    assert_eq!(stage.phase("b"), Phase::Waiting);
    stage.report("a", done());
    assert_eq!(
        (stage.phase("a"), stage.phase("b")),
        (Phase::Succeeded, Phase::Trying)
    );
    stage.report("b", done());
    assert_eq!(stage.status(), Status::Completed);
}

#[test]
fn failed_and_retryable_is_tried_again_after_its_backoff() {
    let mut stage = Stage::with(TWO);
    stage.report("a", failed(true));
    assert_eq!(stage.phase("a"), Phase::Backoff);
    stage.wait();
    assert_eq!(stage.open("a").attempt, 2);
    stage.report("a", failed(true));
    assert_eq!(
        stage.status(),
        Status::Compensated,
        "attempts are used up, nothing was changed"
    );
}

#[test]
fn failed_for_good_with_nothing_changed_unwinds_only_the_others() {
    let mut stage = Stage::with(TWO);
    stage.report("a", done());
    stage.report("b", failed(false));
    assert_eq!(
        (stage.phase("b"), stage.phase("a")),
        (Phase::Failed, Phase::Undoing)
    );
    stage.report("a", undone());
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn failed_for_good_after_an_unknown_attempt_counts_as_unknown() {
    let mut stage = Stage::with("  - id: a\n    task: t.blind@1\n");
    stage.report("a", unknown());
    stage.wait();
    stage.wait();
    assert_eq!(
        stage.open("a").attempt,
        2,
        "idempotent and no probe: tried again"
    );
    stage.report("a", failed(false));
    stage.wait();
    assert!(
        is_undo(&stage.open("a")),
        "what the first attempt may have done is taken back"
    );
}

#[test]
fn not_run_uses_no_attempt() {
    let mut stage = Stage::with(TWO);
    stage.report("a", not_run());
    assert_eq!(stage.phase("a"), Phase::Backoff);
    stage.wait();
    let of = stage.open("a");
    assert_eq!((of.attempt, of.dispatch), (1, 2));
}

#[test]
fn unknown_is_probed_and_happened_is_success() {
    let mut stage = Stage::with(TWO);
    stage.report("a", unknown());
    assert_eq!(stage.phase("a"), Phase::Settling);
    stage.wait();
    assert_eq!(stage.open("a").direction, Direction::Probe);
    stage.report("a", found(ProbeAnswer::Happened { output: json!(1) }));
    assert_eq!(
        (stage.phase("a"), stage.phase("b")),
        (Phase::Succeeded, Phase::Trying)
    );
}

#[test]
fn unknown_is_probed_and_did_not_clears_and_tries_again() {
    let mut stage = Stage::with(TWO);
    stage.report("a", unknown());
    assert!(stage.at("a").may_have_effect);
    stage.wait();
    stage.report("a", found(ProbeAnswer::DidNot));
    assert!(!stage.at("a").may_have_effect);
    stage.wait();
    assert_eq!(
        (stage.open("a").direction, stage.open("a").attempt),
        (Direction::Do, 2)
    );
}

#[test]
fn nobody_can_tell_and_not_idempotent_unwinds_with_the_step_itself() {
    let mut stage = Stage::with("  - id: a\n    task: t.once@1\n");
    stage.report("a", unknown());
    stage.wait();
    assert_eq!(stage.phase("a"), Phase::Undoing);
    stage.report("a", undone());
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn a_probe_that_cannot_tell_asks_no_second_time() {
    let mut stage = Stage::with("  - id: a\n    task: t.asked@1\n");
    stage.report("a", unknown());
    stage.wait();
    stage.report(
        "a",
        found(ProbeAnswer::CannotTell {
            reason: "dark".into(),
        }),
    );
    assert_eq!(stage.phase("a"), Phase::Undoing);
}

#[test]
fn each_doubt_is_asked_about_as_often_as_the_first() {
    let mut stage = Stage::with("  - id: a\n    task: t.asked@1\n");
    for doubt in 0..2 {
        stage.report("a", unknown());
        stage.wait();
        for _ in 0..4 {
            assert_eq!(stage.open("a").direction, Direction::Probe);
            stage.report("a", failed(true));
            assert_eq!(stage.phase("a"), Phase::ProbeBackoff, "doubt {doubt}");
            stage.wait();
        }
        stage.report("a", found(ProbeAnswer::DidNot));
        if doubt == 0 {
            stage.wait();
        }
    }
    assert_eq!(
        (stage.status(), stage.at("a").may_have_effect),
        (Status::Compensated, false),
        "two attempts, both known not to have happened"
    );
}

#[test]
fn unknown_of_a_type_that_only_looks_is_an_ordinary_failure() {
    let mut stage = Stage::with("  - id: a\n    task: t.look@1\n");
    stage.report("a", unknown());
    stage.wait();
    assert!(!stage.at("a").may_have_effect);
    stage.wait();
    assert_eq!(stage.open("a").attempt, 2);
}

#[test]
fn nobody_serves_it_waits_and_is_offered_again_when_somebody_does() {
    let mut stage = Stage::with(TWO);
    let of = stage.open("a");
    stage.give(&Input::TaskUnroutable(of));
    assert_eq!(stage.phase("a"), Phase::Unserved);
    stage.give(&Input::TypeServed("t.set@1".parse().unwrap()));
    let again = stage.open("a");
    assert_eq!((again.attempt, again.dispatch), (1, 2));
}

#[test]
fn nobody_serves_it_until_its_queue_timeout() {
    let mut stage = Stage::with("  - id: a\n    task: t.set@1\n    queue_timeout: 60s\n");
    let of = stage.open("a");
    stage.give(&Input::TaskUnroutable(of));
    stage.wait();
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn a_report_twice_changes_nothing() {
    let mut stage = Stage::with(TWO);
    let of = stage.open("a");
    let report = crate::stage::finished(of, crate::stage::run(5), true, done());
    stage.give(&report);
    let (before, entries) = (stage.state.clone(), stage.entries.len());
    assert_eq!(stage.give(&report), baton_engine::Verdict::Duplicate);
    assert_eq!(
        (stage.state.clone(), stage.entries.len()),
        (before, entries)
    );
}

/// Whoever failed may say when it is worth another try: never sooner than its own backoff.
#[test]
fn whoever_failed_says_when_it_is_worth_another_try() {
    for (asked_ms, waits_ms) in [(0, 1_000), (400, 1_000), (60_000, 60_000)] {
        for way in ["do", "undo"] {
            let mut stage = Stage::with(
                "  - id: a\n    task: t.set@1\n    retry: { attempts: 2, backoff: 1s, jitter: none }\n",
            );
            if way == "undo" {
                stage.report("a", unknown());
                stage.cancel();
                assert!(is_undo(&stage.open("a")));
            }
            let later = Failure {
                retry_after_ms: Some(asked_ms),
                ..failure(true)
            };
            stage.report("a", TaskResult::Failed(later));
            let due = stage.at("a").due.unwrap();
            assert!(
                due.0 >= stage.now + asked_ms,
                "{way}: asked for {asked_ms} ms, due after {}",
                due.0 - stage.now
            );
            if way == "do" {
                assert_eq!(due.0 - stage.now, waits_ms, "{asked_ms}");
            }
            stage.wait();
            assert_eq!(stage.open("a").attempt, 2, "{way}");
            assert!(stage.now >= due.0);
        }
    }
}

/// What was asked to happen may still come to rest by itself: before its settle time is over nobody is asked, and nothing is tried again.
#[test]
fn the_world_comes_to_rest_before_anybody_is_asked() {
    const REST_MS: u64 = 45_000;
    for (name, probe) in [("t.set@1", true), ("t.blind@1", false)] {
        let mut stage = Stage::waiting(&format!("  - id: a\n    task: {name}\n"));
        let known = stage.catalogue.get(&TaskType::new(name).unwrap()).unwrap();
        let slow = Manifest {
            settle_ms: REST_MS,
            ..known.manifest.clone()
        };
        let mut catalogue = Catalogue::default();
        catalogue.announce(slow).unwrap();
        stage.catalogue = catalogue;
        stage.give(&stage.start());
        stage.report("a", unknown());
        let told = stage.now;
        assert_eq!(stage.phase("a"), Phase::Settling);
        assert!(
            stage
                .state
                .due_timers(Timestamp(told + REST_MS - 1))
                .is_empty()
        );
        stage.wait();
        assert!(
            stage.now >= told + REST_MS,
            "{name}: after {}",
            stage.now - told
        );
        if probe {
            assert_eq!(stage.open("a").direction, Direction::Probe);
        } else {
            assert_eq!(stage.phase("a"), Phase::Backoff, "it may be done twice");
        }
    }
}
