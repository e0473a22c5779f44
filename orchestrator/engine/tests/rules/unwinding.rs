//! The way back, from every phase a step can be in when it begins.

use baton_engine::state::Phase;
use baton_engine::{Input, Record, Status, Verdict};
use baton_messages::{Hold, TaskResult};

use crate::stage::{Stage, done, failed, is_undo, run, undone, unknown};

#[test]
fn undone_in_reverse_order_of_dependency() {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.set@1\n  - id: b\n    task: t.set@1\n  - id: c\n    task: t.set@1\n",
    );
    for id in ["a", "b"] {
        stage.report(id, done());
    }
    stage.report("c", failed(false));
    assert_eq!(
        (stage.phase("b"), stage.phase("a")),
        (Phase::Undoing, Phase::Succeeded)
    );
    stage.report("b", undone());
    assert_eq!(stage.phase("a"), Phase::Undoing);
}

#[test]
fn an_undo_that_fails_parks_only_itself() {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.set@1\n    after: []\n  - id: b\n    task: t.set@1\n    after: []\n  - id: c\n    task: t.set@1\n    after: [a, b]\n",
    );
    for id in ["a", "b"] {
        stage.report(id, done());
    }
    stage.report("c", failed(false));
    stage.report("a", failed(false));
    assert_eq!(
        (stage.phase("a"), stage.phase("b")),
        (Phase::UndoParked, Phase::Undoing)
    );
    assert_ne!(stage.status(), Status::Parked, "the other branch goes on");
    stage.report("b", undone());
    assert_eq!(stage.status(), Status::Parked);
}

#[test]
fn an_effect_without_an_undo_is_for_a_person() {
    let mut stage = Stage::with("  - id: a\n    task: t.stuck@1\n  - id: b\n    task: t.set@1\n");
    stage.report("a", done());
    stage.report("b", failed(false));
    assert_eq!(
        (stage.phase("a"), stage.status()),
        (Phase::UndoParked, Status::Parked)
    );
}

#[test]
fn a_late_task_under_way_is_asked_to_stop_and_waited_for() {
    let mut stage = Stage::with("  - id: a\n    task: t.set@1\n");
    stage.cancel();
    assert_eq!(stage.status(), Status::Compensating);
    assert_eq!(
        stage.recorded(|record| matches!(record, Record::CancelSent { .. })),
        1
    );
    stage.report("a", done());
    assert!(is_undo(&stage.open("a")));
}

#[test]
fn a_claim_nobody_made_is_withdrawn_and_a_later_one_refused() {
    let mut stage = Stage::with("  - id: a\n    task: t.once@1\n");
    let of = stage.open("a");
    stage.cancel();
    assert_eq!(stage.status(), Status::Compensated);
    let worker = baton_messages::WorkerId::new("w").unwrap();
    stage.give(&Input::TaskStarted(baton_messages::Started {
        of,
        run: run(1),
        worker,
        at: baton_messages::Timestamp(0),
    }));
    assert_eq!(
        stage.recorded(|record| matches!(record, Record::Claimed { .. })),
        0
    );
    assert_eq!(
        stage.recorded(|record| matches!(
            record,
            Record::Answered {
                refused: Some(_),
                ..
            }
        )),
        1
    );
}

#[test]
fn a_claimed_task_is_waited_for() {
    let mut stage = Stage::with("  - id: a\n    task: t.once@1\n");
    let of = stage.claim("a", run(1));
    stage.cancel();
    assert_eq!(stage.phase("a"), Phase::Trying);
    stage.tell(of, run(1), true, unknown());
    assert!(is_undo(&stage.open("a")));
}

#[test]
fn from_a_backoff_a_settle_time_a_sleep_or_a_wait_for_a_worker() {
    let mut backoff = Stage::with("  - id: a\n    task: t.set@1\n");
    backoff.report("a", failed(true));
    backoff.cancel();
    assert_eq!(backoff.status(), Status::Compensated);

    let mut settling = Stage::with("  - id: a\n    task: t.set@1\n");
    settling.report("a", unknown());
    settling.cancel();
    assert!(is_undo(&settling.open("a")));

    let mut sleeping = Stage::with("  - id: a\n    sleep: 1h\n");
    sleeping.cancel();
    assert_eq!(sleeping.status(), Status::Compensated);

    let mut unserved = Stage::with("  - id: a\n    task: t.unheard-of@1\n");
    assert_eq!(unserved.phase("a"), Phase::Unserved);
    unserved.cancel();
    assert_eq!(unserved.status(), Status::Compensated);
}

#[test]
fn from_a_probe_only_after_it_has_closed() {
    let mut stage = Stage::with("  - id: a\n    task: t.set@1\n");
    stage.report("a", unknown());
    stage.wait();
    stage.cancel();
    assert_eq!(stage.phase("a"), Phase::Doubtful, "the probe is still open");
    stage.report(
        "a",
        crate::stage::found(baton_messages::ProbeAnswer::DidNot),
    );
    assert!(
        is_undo(&stage.open("a")),
        "only a probe made to find out may clear it"
    );
}

#[test]
fn from_a_parked_step() {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.set@1\n  - id: b\n    task: t.set@1\n    on_error: park\n",
    );
    stage.report("a", done());
    stage.report("b", failed(false));
    stage.cancel();
    assert_eq!(
        (stage.phase("b"), stage.phase("a")),
        (Phase::Failed, Phase::Undoing)
    );
    stage.report("a", undone());
    assert_eq!(
        (stage.status(), stage.state.work_items.len()),
        (Status::Compensated, 0)
    );
}

#[test]
fn the_deadline_before_the_pivot() {
    let mut stage = Stage::with("  - id: a\n    sleep: 1h\n");
    stage.definition = baton_engine::Definition::parse(
        "saga: staged\nversion: 1\ndeadline: 1m\nsteps:\n  - id: a\n    sleep: 1h\n",
    )
    .unwrap();
    stage.state = baton_engine::SagaState::new(stage.state.id);
    stage.entries.clear();
    let start = stage.start();
    stage.give(&start);
    stage.wait();
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn an_undo_that_waits_lets_one_pass_that_turned_out_to_come_first() {
    let mut stage = Stage::with("  - id: a\n    task: t.set@1\n  - id: b\n    task: t.once@1\n");
    stage.report("a", done());
    let of = stage.claim("b", run(1));
    stage.tell(of.clone(), run(1), true, failed(false));
    stage.report("a", failed(true));
    assert_eq!(stage.phase("a"), Phase::UndoBackoff);
    stage.tell(of, run(2), true, done());
    assert_eq!(stage.phase("b"), Phase::Undoing);
    while stage.phase("a") == Phase::UndoBackoff {
        stage.wait();
    }
    assert_eq!(stage.phase("a"), Phase::Doubtful, "b comes first");
    stage.report("b", undone());
    stage.report("a", undone());
    assert_eq!(stage.status(), Status::Compensated);
}

/// An undo is tried again as often as it may be: not once more, and not once less, and what a person adds is counted anew.
#[test]
fn an_undo_is_tried_as_often_as_it_may_be_and_no_more() {
    let by_itself = "  - id: a\n    task: t.set@1\n";
    let by_another =
        "  - id: a\n    task: t.set@1\n    undo: { task: t.blind@1, retry: { attempts: 3 } }\n";
    let by_itself_as_said = "  - id: a\n    task: t.set@1\n    undo: { retry: { attempts: 4 } }\n";
    for (steps, attempts) in [(by_itself, 10), (by_another, 3), (by_itself_as_said, 4)] {
        let mut stage = Stage::with(&format!("{steps}  - id: b\n    task: t.set@1\n"));
        stage.report("a", done());
        stage.report("b", failed(false));
        for asked in [false, true] {
            if asked {
                assert_eq!(stage.retry("a"), Verdict::Applied);
                stage.wait();
            }
            let first = stage.open("a").attempt;
            for n in 0..attempts {
                assert_eq!(stage.open("a").attempt, first + n, "{steps}");
                stage.report("a", failed(true));
                if n + 1 < attempts {
                    assert_eq!(stage.phase("a"), Phase::UndoBackoff, "{n} of {attempts}");
                    stage.wait();
                }
            }
            assert_eq!(stage.phase("a"), Phase::UndoParked, "after {attempts}");
        }
        stage.retry("a");
        stage.wait();
        stage.report("a", undone());
        assert_eq!(stage.status(), Status::Compensated);
    }
}

#[test]
fn what_is_said_of_the_own_undo_goes_before_what_is_usual() {
    let said = "undo: { when: \"${ true }\", timeout: 30s, retry: { attempts: forever, backoff: 5m, factor: 2, jitter: none } }";
    for (undo, timeout_ms, attempts, waits, jitter) in [
        ("timeout: 20s", 20_000, Some(10), (1_000, 60_000), true),
        (said, 30_000, None, (300_000, 300_000), false),
        // no longer than its type takes at most
        (
            "undo: { timeout: 1h }",
            60_000,
            Some(10),
            (1_000, 60_000),
            true,
        ),
        (
            "undo: { retry: { max: 5s } }",
            10_000,
            Some(10),
            (1_000, 5_000),
            true,
        ),
    ] {
        let mut stage = Stage::with(&format!(
            "  - id: a\n    task: t.set@1\n    {undo}\n  - id: b\n    task: t.set@1\n"
        ));
        stage.report("a", done());
        stage.report("b", failed(false));
        let ready = stage.at("a").backward.clone().unwrap();
        let retry = &ready.facts.retry;
        assert!(!ready.own_task, "{undo}");
        assert_eq!(ready.facts.timeout_ms, timeout_ms, "{undo}");
        assert_eq!(retry.attempts, attempts, "{undo}");
        assert_eq!((retry.backoff_ms, retry.max_ms), waits, "{undo}");
        assert_eq!(retry.jitter, jitter, "{undo}");
    }
}

/// What was held back for a broker that did not take it is not sent any more once the saga has turned back; an undo is.
#[test]
fn what_was_not_sent_is_not_sent_on_the_way_back_and_its_undo_is() {
    let mut stage = Stage::with("  - id: a\n    task: t.set@1\n");
    let of = stage.open("a");
    stage.give(&Input::TaskUnconfirmed {
        of: of.clone(),
        maybe_sent: true,
    });
    stage.cancel();
    assert_eq!(
        stage.status(),
        Status::Compensating,
        "it may have been sent"
    );
    let many = stage.entries.len();
    assert_eq!(stage.give(&Input::Resend(of)), Verdict::Duplicate);
    assert_eq!(stage.entries.len(), many);
    while stage.phase("a") != Phase::Undoing {
        stage.wait();
    }
    let of = stage.open("a");
    stage.give(&Input::TaskUnconfirmed {
        of: of.clone(),
        maybe_sent: false,
    });
    assert_eq!(stage.give(&Input::Resend(of)), Verdict::Applied);
    stage.report("a", undone());
    while stage.status() != Status::Compensated {
        stage.wait();
    }
}

#[test]
fn an_undo_by_another_task_waits_for_whoever_serves_that() {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.set@1\n    undo: { task: t.unheard-of@1 }\n  - id: b\n    task: t.set@1\n",
    );
    stage.report("a", done());
    stage.report("b", failed(false));
    assert_eq!(stage.phase("a"), Phase::UndoUnserved);
    let step = stage.at("a");
    let way = step.unserved().unwrap();
    let task = stage.definition.steps[0].task();
    let runs = step.runs(way, task).map(|of| of.as_str().to_owned());
    assert_eq!(runs.as_deref(), Some("t.unheard-of@1"));
    for served in ["t.set@1", "t.blind@1"] {
        let served = baton_messages::TaskType::new(served).unwrap();
        stage.give(&Input::TypeServed(served));
        assert_eq!(stage.phase("a"), Phase::UndoUnserved);
    }
}

/// A task of which a second run does harm is not run again when nobody knows whether it was: a person looks.
#[test]
fn an_undo_by_a_task_that_does_harm_twice_is_for_a_person_once_nobody_knows() {
    let after = |undo: &str, result: TaskResult| {
        let mut stage = Stage::with(&format!(
            "  - id: a\n    task: t.set@1\n    undo: {{ {undo} }}\n  - id: b\n    task: t.set@1\n"
        ));
        stage.report("a", done());
        stage.report("b", failed(false));
        stage.report("a", result);
        stage
    };
    for undo in [
        "task: t.once@1",
        "task: t.asked@1",
        "task: t.set@1, idempotent: false",
    ] {
        let mut stage = after(undo, unknown());
        assert_eq!(stage.phase("a"), Phase::UndoParked, "{undo}");
        assert_eq!(stage.status(), Status::Parked, "{undo}");
        let item = stage.state.work_items.values().next().unwrap();
        assert!(item.title.contains("whether a was undone"), "{undo}");
        // a probe tells whether its own task happened, not whether another one was taken back by it
        assert!(stage.at("a").asking.is_none(), "{undo}");
        // it is his to say that it may run once more
        stage.retry("a");
        stage.wait();
        stage.report("a", undone());
        assert_eq!(stage.status(), Status::Compensated, "{undo}");
        let again = after(undo, failed(true));
        assert_eq!(again.phase("a"), Phase::UndoBackoff, "nothing was changed");
    }
    for undo in ["task: t.blind@1", "task: t.once@1, idempotent: true"] {
        let stage = after(undo, unknown());
        assert_eq!(stage.phase("a"), Phase::UndoBackoff, "{undo}");
    }
}

#[test]
fn an_undo_that_says_it_does_harm_twice_is_claimed_before_it_runs() {
    for (said, hold) in [("", Hold::Late), (", idempotent: false", Hold::Claim)] {
        let mut stage = Stage::with(&format!(
            "  - id: a\n    task: t.set@1\n    undo: {{ task: t.set@1{said} }}\n  - id: b\n    task: t.set@1\n"
        ));
        stage.report("a", done());
        stage.report("b", failed(false));
        let ready = stage.at("a").backward.clone().unwrap();
        assert_eq!(ready.facts.hold, hold, "{said}");
    }
}
