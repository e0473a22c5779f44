//! Late reports are evidence, in every phase they can meet.

use baton_engine::input::Resolution;
use baton_engine::state::Phase;
use baton_engine::{Choice, Input, Status};
use baton_messages::{AttemptRef, Direction};

use crate::stage::{Stage, done, failed, not_run, run, undone, unknown};

/// A step whose first attempt was closed by its lease, with the report still to come.
fn lost(steps: &str) -> (Stage, AttemptRef) {
    let mut stage = Stage::with(steps);
    let of = stage.claim("a", run(1));
    stage.give(&Input::LeaseOver {
        of: of.clone(),
        run: run(1),
    });
    (stage, of)
}

#[test]
fn it_settles_an_unknown_step() {
    let (mut stage, of) = lost("  - id: a\n    task: t.asked@1\n");
    assert_eq!(stage.phase("a"), Phase::Settling);
    stage.tell(of, run(1), true, done());
    assert_eq!(stage.status(), Status::Completed);
}

#[test]
fn it_settles_a_step_that_is_being_probed_and_the_answer_is_ignored() {
    let (mut stage, of) = lost("  - id: a\n    task: t.asked@1\n  - id: b\n    task: t.set@1\n");
    stage.wait();
    let probe = stage.open("a");
    assert_eq!(probe.direction, Direction::Probe);
    stage.tell(of, run(1), true, done());
    assert_eq!(stage.phase("a"), Phase::Succeeded);
    stage.report(
        "a",
        crate::stage::found(baton_messages::ProbeAnswer::DidNot),
    );
    assert_eq!(
        (stage.phase("a"), stage.at("a").may_have_effect),
        (Phase::Succeeded, true)
    );
}

#[test]
fn during_the_undo_it_changes_nothing() {
    let (mut stage, of) = lost("  - id: a\n    task: t.once@1\n");
    stage.wait();
    assert_eq!(stage.phase("a"), Phase::Undoing);
    stage.tell(of, run(1), true, done());
    assert_eq!(stage.phase("a"), Phase::Undoing);
    stage.report("a", undone());
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn after_the_undo_of_an_unwinding_saga_the_step_is_undone_once_more_under_another_key() {
    let steps = "  - id: z\n    task: t.set@1\n  - id: a\n    task: t.once@1\n    after: [z]\n";
    let mut stage = Stage::with(steps);
    stage.report("z", done());
    let of = stage.claim("a", run(1));
    stage.give(&Input::LeaseOver {
        of: of.clone(),
        run: run(1),
    });
    stage.wait();
    let first = stage.open("a").idempotency_key();
    stage.report("a", undone());
    assert_eq!(stage.phase("z"), Phase::Undoing);
    stage.tell(of, run(1), true, done());
    assert_eq!(stage.phase("a"), Phase::Undoing);
    assert_ne!(stage.open("a").idempotency_key(), first);
}

#[test]
fn after_the_end_it_asks_a_person_and_the_next_undo_has_another_key() {
    let (mut stage, of) = lost("  - id: a\n    task: t.once@1\n");
    stage.wait();
    let first = stage.open("a").idempotency_key();
    stage.report("a", undone());
    assert_eq!(stage.status(), Status::Compensated);
    stage.tell(of, run(1), true, done());
    assert_eq!(stage.status(), Status::Parked);
    assert!(stage.choices().contains(&Choice::Retry));
    stage.retry("a");
    stage.wait();
    assert_ne!(
        stage.open("a").idempotency_key(),
        first,
        "who remembers the first undo acts upon this one"
    );
    stage.report("a", undone());
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn on_a_step_that_was_tolerated_after_completion_it_asks_a_person() {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.set@1\n    on_error: continue\n    retry: { attempts: 1 }\n",
    );
    let of = stage.open("a");
    stage.tell(of.clone(), run(1), true, failed(false));
    assert_eq!(stage.status(), Status::Completed);
    stage.tell(of, run(2), false, done());
    assert_eq!(stage.status(), Status::Parked);
}

/// A worker that was stopped past its lease wakes up, does nothing, and cannot say what it had done.
#[test]
fn that_it_does_not_know_changes_nothing_once_its_lease_has_told_so() {
    let (mut stage, of) = lost("  - id: a\n    task: t.once@1\n");
    stage.wait();
    stage.report("a", undone());
    assert_eq!(stage.status(), Status::Compensated);
    stage.tell(of, run(1), true, unknown());
    assert_eq!(stage.status(), Status::Compensated);
    assert!(!stage.at("a").may_have_effect);
}

#[test]
fn that_it_failed_changes_nothing() {
    let (mut stage, of) = lost("  - id: a\n    task: t.asked@1\n");
    stage.tell(of, run(1), true, failed(false));
    assert_eq!(
        (stage.phase("a"), stage.at("a").may_have_effect),
        (Phase::Settling, true)
    );
}

#[test]
fn a_claim_of_another_run_does_not_close_the_attempt() {
    let mut stage = Stage::with("  - id: a\n    task: t.once@1\n");
    let of = stage.claim("a", run(1));
    stage.tell(of, run(2), true, unknown());
    assert_eq!(stage.phase("a"), Phase::Trying);
}

#[test]
fn on_a_step_that_was_done_and_undone_by_hand_after_compensation_it_asks_a_person() {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.once@1\n    on_error: park\n  - id: b\n    task: t.once@1\n",
    );
    let of = stage.claim("a", run(1));
    stage.tell(of.clone(), run(1), true, failed(false));
    let output = serde_json::json!(1);
    stage.resolve("a", Resolution::Done { output });
    stage.report("b", failed(false));
    assert_eq!(
        (stage.status(), stage.phase("a")),
        (Status::Parked, Phase::UndoParked),
        "what a person did stands"
    );
    stage.resolve("a", Resolution::Undone);
    assert_eq!(stage.status(), Status::Compensated);
    stage.tell(of, run(2), true, done());
    assert_eq!(stage.status(), Status::Parked);
    // what the worker did it can take back itself
    stage.retry("a");
    stage.wait();
    stage.report("a", undone());
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn that_two_workers_gave_it_back_uses_up_no_attempt() {
    let mut stage = Stage::with("  - id: a\n    task: t.once@1\n    retry: { attempts: 1 }\n");
    let of = stage.open("a");
    stage.tell(of.clone(), run(1), true, not_run());
    assert_eq!(stage.phase("a"), Phase::Backoff);
    stage.tell(of, run(2), true, not_run());
    stage.wait();
    assert_eq!(stage.open("a").attempt, 1, "nobody has run it yet");
}

/// It is done while it is being asked about: nothing ends before whoever asks has answered.
#[test]
fn nothing_ends_while_somebody_still_asks_whether_it_happened() {
    let (mut stage, of) = lost("  - id: a\n    task: t.asked@1\n");
    stage.wait();
    let probe = stage.open("a");
    assert_eq!(probe.direction, Direction::Probe);
    stage.tell(of, run(1), true, done());
    assert_eq!(
        (stage.phase("a"), stage.status()),
        (Phase::Succeeded, Status::Running),
        "the probe is still out"
    );
    let output = stage.at("a").output.clone();
    stage.report(
        "a",
        crate::stage::found(baton_messages::ProbeAnswer::CannotTell {
            reason: "as told".into(),
        }),
    );
    assert_eq!(stage.status(), Status::Completed);
    assert_eq!(stage.at("a").output, output);
}

/// An undo whose worker was lost has been done after all: it is not done once more, nor is anybody asked.
#[test]
fn that_an_undo_has_succeeded_ends_the_wait_for_another_and_its_work_item() {
    for parked in [false, true] {
        let mut stage = Stage::with(
            "  - id: a\n    task: t.once@1\n  - id: b\n    task: t.once@1\n    retry: { attempts: 1 }\n",
        );
        stage.report("a", done());
        stage.report("b", failed(false));
        let of = stage.claim("a", run(1));
        assert_eq!(of.direction, Direction::Undo);
        stage.give(&Input::LeaseOver {
            of: of.clone(),
            run: run(1),
        });
        assert_eq!(stage.phase("a"), Phase::UndoBackoff);
        if parked {
            stage.wait();
            stage.report("a", failed(false));
            assert_eq!(stage.phase("a"), Phase::UndoParked);
            assert_eq!(stage.state.work_items.len(), 1);
        }
        let attempts = stage.at("a").attempts.len();
        stage.tell(of, run(1), true, undone());
        assert_eq!(
            (stage.phase("a"), stage.status()),
            (Phase::Undone, Status::Compensated),
            "parked: {parked}"
        );
        assert!(stage.state.work_items.is_empty());
        assert_eq!(stage.at("a").attempts.len(), attempts, "no other is begun");
    }
}
