//! Several may hold what is held late: until it is certain that none of them acts any more there is no undo and no end.

use baton_engine::state::Phase;
use baton_engine::{Input, Status};
use baton_messages::DeadReason;

use crate::stage::{Stage, done, failed, is_undo, run, undone};

const TWO: &str = "  - id: a\n    task: t.set@1\n  - id: b\n    task: t.set@1\n";

#[test]
fn a_step_is_not_undone_while_another_worker_may_hold_its_task() {
    let mut stage = Stage::with(TWO);
    let of = stage.open("a");
    stage.tell(of, run(1), false, done());
    stage.report("b", failed(false));
    assert_eq!(stage.phase("a"), Phase::Succeeded, "it lingers");
    stage.wait();
    assert!(is_undo(&stage.open("a")));
}

#[test]
fn a_saga_ends_although_its_last_undo_was_held_by_two() {
    let mut stage = Stage::with(TWO);
    stage.report("a", done());
    stage.report("b", failed(false));
    let of = stage.open("a");
    stage.tell(of, run(1), false, undone());
    assert_eq!(stage.phase("a"), Phase::Undone);
    assert_eq!(
        stage.status(),
        Status::Compensating,
        "the other may still be at it"
    );
    stage.wait();
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn one_of_several_holders_cannot_say_that_nothing_was_changed() {
    let mut stage = Stage::with("  - id: a\n    task: t.blind@1\n    retry: { attempts: 1 }\n");
    let of = stage.open("a");
    stage.tell(of, run(1), false, failed(false));
    assert!(
        stage.at("a").may_have_effect,
        "the other holder may have acted"
    );
    while stage.phase("a") != Phase::Undoing {
        stage.wait();
    }
    stage.report("a", undone());
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn what_was_delivered_too_often_may_still_be_held_by_those_it_was_delivered_to() {
    let mut stage = Stage::with("  - id: a\n    task: t.blind@1\n    retry: { attempts: 1 }\n");
    let message = stage.open("a").message_id();
    let last_moment = stage.at("a").open_attempt().unwrap().last_moment;
    stage.give(&Input::TaskDead {
        message,
        reason: DeadReason::DeliveredTooOften,
        error: "ten times".into(),
    });
    while stage.phase("a") != Phase::Undoing {
        stage.wait();
    }
    assert!(
        stage.now >= last_moment.0,
        "undone at {}, before {last_moment}",
        stage.now
    );
}

#[test]
fn a_claim_of_what_is_held_late_leaves_the_first_holder_to_act() {
    let mut stage = Stage::with("  - id: a\n    task: t.blind@1\n");
    let of = stage.claim("a", run(2));
    stage.give(&Input::LeaseOver { of, run: run(2) });
    assert!(stage.at("a").may_have_effect);
    assert!(
        stage
            .at("a")
            .unsettled(baton_messages::Timestamp(stage.now))
    );
}

#[test]
fn a_sending_that_was_sent_twice_is_not_withdrawn_because_the_second_was_refused() {
    let mut stage = Stage::with("  - id: a\n    task: t.set@1\n");
    let of = stage.open("a");
    stage.give(&Input::Resend(of.clone()));
    stage.give(&Input::TaskUnconfirmed {
        of,
        maybe_sent: false,
    });
    stage.cancel();
    assert_eq!(
        stage.status(),
        Status::Compensating,
        "the first may lie in the queue"
    );
    assert!(stage.at("a").open_attempt().is_some());
}

#[test]
fn what_only_looks_is_not_waited_for_on_the_way_back() {
    let look = "  - id: look\n    task: t.look@1\n";
    let mut stage = Stage::with(&format!("{TWO}{look}  - id: c\n    task: t.set@1\n"));
    stage.report("a", done());
    stage.report("b", done());
    let of = stage.open("look");
    stage.tell(of, run(1), false, done());
    stage.report("c", failed(false));
    assert!(is_undo(&stage.open("b")), "at once");
}

#[test]
fn waiting_for_a_worker_uses_up_no_attempt_of_what_only_looks() {
    let steps = "  - id: look\n    task: t.look@1\n    retry: { attempts: 1 }\n";
    let mut stage = Stage::with(steps);
    for _ in 0..12 {
        while stage.at("look").open_attempt().is_none() {
            stage.wait();
        }
        assert_eq!(stage.open("look").attempt, 1);
        stage.wait();
    }
    assert_eq!(stage.status(), Status::Running, "half a day of nobody");
    while stage.at("look").open_attempt().is_none() {
        stage.wait();
    }
    stage.report("look", done());
    assert_eq!(stage.status(), Status::Completed);

    let mut stage = Stage::with(steps);
    while stage.status() == Status::Running {
        stage.wait();
    }
    assert_eq!(
        stage.status(),
        Status::Compensated,
        "its queue_timeout is over"
    );
}
