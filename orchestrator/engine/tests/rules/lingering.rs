//! Several may hold what is held late: until it is certain that none of them acts any more there is no undo and no end.

use baton_engine::command::task_message;
use baton_engine::input::Seen;
use baton_engine::state::Phase;
use baton_engine::{Input, Operator, Record, Refusal, Status, Verdict};
use baton_messages::{DeadReason, Direction, InboxKey, ProbeAnswer, TaskMessage};

use crate::stage::{Stage, done, failed, found, is_undo, key, run, undone};

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
    let unasked_end = stage.at("a").open_attempt().unwrap().unasked_end();
    stage.give(&Input::TaskDead {
        message,
        reason: DeadReason::DeliveredTooOften,
        error: "ten times".into(),
    });
    while stage.phase("a") != Phase::Undoing {
        stage.wait();
    }
    assert!(
        stage.now >= unasked_end.0,
        "undone at {}, before {unasked_end}",
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

/// Waits until an attempt of the step is open again.
fn offered_again(stage: &mut Stage, id: &str) -> u32 {
    while stage.at(id).open_attempt().is_none() {
        stage.wait();
    }
    stage.open(id).attempt
}

#[test]
fn waiting_for_a_worker_uses_up_no_attempt_of_what_may_be_done_twice() {
    let mut stage = Stage::with("  - id: a\n    task: t.blind@1\n    retry: { attempts: 2 }\n");
    for hour in 1..=12 {
        assert_eq!(offered_again(&mut stage, "a"), hour);
        stage.wait();
        assert_eq!(stage.phase("a"), Phase::Backoff, "after {hour} h of nobody");
    }
    assert!(
        stage.at("a").may_have_effect,
        "whoever took one of them in silence may have acted"
    );
    // both attempts are still there for somebody who says what came of them
    offered_again(&mut stage, "a");
    stage.report("a", failed(true));
    assert_eq!(stage.phase("a"), Phase::Backoff);
    offered_again(&mut stage, "a");
    stage.report("a", failed(true));
    assert_ne!(stage.phase("a"), Phase::Backoff, "the second was the last");
}

#[test]
fn what_nobody_took_within_its_queue_timeout_ends_in_doubt_and_is_undone() {
    let mut stage = Stage::with("  - id: a\n    task: t.set@1\n    retry: { attempts: 9 }\n");
    let began = stage.now;
    while stage.status() == Status::Running {
        stage.wait();
    }
    let day = 24 * 60 * 60 * 1000;
    assert!(
        (day / 2..day * 3 / 2).contains(&(stage.now - began)),
        "a day, not nine: {} ms",
        stage.now - began
    );
    assert!(is_undo(&stage.open("a")), "it may have happened");
}

#[test]
fn an_undo_nobody_takes_asks_for_somebody_after_its_queue_timeout() {
    let mut stage = Stage::with(TWO);
    stage.report("a", done());
    let began = stage.now;
    stage.report("b", failed(false));
    while stage.phase("a") != Phase::UndoParked {
        stage.wait();
    }
    let day = 24 * 60 * 60 * 1000;
    assert!(
        stage.now - began > day / 2,
        "ten attempts are not ten hours"
    );
    assert!(stage.now - began < day * 3 / 2);
    assert_eq!(stage.status(), Status::Parked);
}

#[test]
fn a_probe_nobody_takes_waits_for_somebody_who_can_tell() {
    let mut stage = Stage::with("  - id: a\n    task: t.asked@1\n    retry: { attempts: 1 }\n");
    let of = stage.claim("a", run(1));
    stage.give(&Input::LeaseOver { of, run: run(1) });
    for _ in 0..8 {
        while stage.phase("a") != Phase::Probing {
            stage.wait();
        }
        stage.wait();
    }
    assert_eq!(
        stage.status(),
        Status::Running,
        "more than five probes lay in the queue in vain, none was answered"
    );
}

#[test]
fn a_claimed_task_that_came_back_is_offered_again_although_it_was_sent_twice() {
    let mut stage = Stage::with("  - id: a\n    task: t.once@1\n");
    let of = stage.open("a");
    stage.give(&Input::Resend(of));
    let of = stage.open("a");
    stage.give(&Input::TaskUnroutable(of));
    assert_eq!(
        stage.phase("a"),
        Phase::Unserved,
        "the first sending cannot act without asking"
    );
    assert!(!stage.at("a").may_have_effect);
}

#[test]
fn what_a_cut_off_worker_may_still_hold_is_tried_again_at_once_where_that_does_no_harm() {
    let mut stage = Stage::with("  - id: a\n    task: t.set@1\n  - id: b\n    task: t.set@1\n");
    let of = stage.claim("a", run(2));
    let unasked_end = stage.at("a").open_attempt().unwrap().unasked_end();
    stage.give(&Input::LeaseOver { of, run: run(2) });
    assert_eq!(
        stage.phase("a"),
        Phase::Backoff,
        "nobody waits for the lost one"
    );
    stage.wait();
    stage.report("a", done());
    // the way back waits for the first holder all the same
    stage.report("b", failed(false));
    assert_ne!(stage.phase("a"), Phase::Undoing);
    while stage.phase("a") != Phase::Undoing {
        stage.wait();
    }
    assert!(stage.now >= unasked_end.0);
}

/// What may pass between an offer and the end of whoever began it without asking, beside the time limit: a minute, and the margins.
const UNASKED_MS: u64 = 60_000 + 10_000 + 30_000 + 5_000;

#[test]
fn a_saga_that_turns_back_does_not_wait_an_hour_for_a_task_in_a_queue_nobody_reads() {
    let mut stage = Stage::with(TWO);
    stage.report("a", done());
    let offered = stage.at("b").open_attempt().unwrap().offered_at.0;
    let timeout_ms = stage.at("b").forward.as_ref().unwrap().facts.timeout_ms;
    stage.cancel();
    assert_eq!(
        stage.phase("b"),
        Phase::Trying,
        "somebody may be at it unasked"
    );
    while stage.phase("b") != Phase::Undoing {
        stage.wait();
    }
    assert!(
        stage.now - offered <= UNASKED_MS + timeout_ms + 100,
        "{}",
        stage.now - offered
    );
}

#[test]
fn on_the_way_back_whoever_asks_for_what_was_offered_before_is_refused() {
    let mut stage = Stage::with(TWO);
    let of = stage.open("a");
    stage.cancel();
    stage.claim("a", run(1));
    let refused = |record: &Record| matches!(record, Record::Answered { of: asked, refused: Some(_), .. } if asked.attempt == of.attempt);
    assert_eq!(stage.recorded(refused), 1);
}

#[test]
fn what_is_held_late_says_from_when_on_it_is_asked_for() {
    let stage =
        Stage::with("  - id: a\n    task: t.set@1\n  - id: b\n    task: t.once@1\n    after: []\n");
    for (id, asks) in [("a", Some(60_000)), ("b", None)] {
        let of = stage.open(id);
        let key = baton_engine::record::AttemptKey {
            step: of.key(),
            direction: of.direction,
            round: of.round,
            attempt: of.attempt,
        };
        let Some(TaskMessage::Task(task)) =
            task_message(&stage.state, &InboxKey::of(0), &key, of.dispatch)
        else {
            panic!("no message of {id}");
        };
        let offered = stage.at(id).open_attempt().unwrap().offered_at;
        assert_eq!(task.ask_after, asks.map(|ms| offered.plus_ms(ms)), "{id}");
    }
}

#[test]
fn what_was_lost_with_its_worker_is_looked_into_although_its_queue_timeout_is_short() {
    let steps =
        "  - id: a\n    task: t.set@1\n    queue_timeout: 10s\n    retry: { attempts: 5 }\n";
    let mut stage = Stage::with(steps);
    while stage.phase("a") == Phase::Trying {
        stage.wait();
    }
    while stage.phase("a") != Phase::Probing {
        stage.wait();
    }
    assert_eq!(stage.status(), Status::Running, "nobody gave it up");
}

/// A dead task that may have acted is looked into by its saga, which then tries it again by itself. Whoever replays its letter at that moment has seen the step wait
/// for that: whichever of the two is first, there is one more attempt, and the other one does nothing.
#[test]
fn a_replay_that_races_with_the_sagas_own_retry_is_one_attempt() {
    for replay_is_first in [true, false] {
        let mut stage = Stage::with(
            "  - id: a\n    task: t.set@1\n    retry: { attempts: 3, backoff: 1s, jitter: none }\n",
        );
        let dead = Input::TaskDead {
            message: stage.open("a").message_id(),
            reason: DeadReason::DeliveredTooOften,
            error: "ten times".into(),
        };
        stage.give(&dead);
        assert_eq!(stage.phase("a"), Phase::Settling);
        let early = stage.retry("a");
        assert!(
            matches!(early, Verdict::Refused(Refusal::NotNow { .. })),
            "it may still act: {early:?}"
        );
        stage.wait();
        stage.report("a", found(ProbeAnswer::DidNot));
        assert_eq!(stage.phase("a"), Phase::Backoff);
        let operator = Operator {
            seen: Some(Seen {
                phase: Phase::Backoff,
                attempt: 1,
            }),
            ..stage.operator()
        };
        let replay = Input::RetryStep {
            step: key("a"),
            operator,
        };
        if replay_is_first {
            assert_eq!(stage.give(&replay), Verdict::Applied);
            stage.wait();
        } else {
            stage.wait();
            let late = stage.give(&replay);
            assert!(
                matches!(late, Verdict::Refused(Refusal::Moved { .. })),
                "{late:?}"
            );
        }
        let of = stage.open("a");
        assert_eq!((of.attempt, is_undo(&of)), (2, false));
        // the death is told once more, and the action asked for once more
        assert_eq!(stage.give(&dead), Verdict::Duplicate);
        if replay_is_first {
            assert_eq!(stage.give(&replay), Verdict::Duplicate);
        }
        stage.report("a", done());
        assert_eq!(stage.status(), Status::Completed);
        let offered = |record: &Record| matches!(record, Record::Offered { of, .. } if of.direction == Direction::Do);
        assert_eq!(stage.recorded(offered), 2, "two attempts, whoever asked");
    }
}

/// One of two who may hold an undo says that it failed: the other may still be at it, and nobody begins it a third time beside him.
#[test]
fn a_parked_undo_that_another_may_still_hold_is_not_tried_again_before_that_is_over() {
    let mut stage = Stage::with(TWO);
    stage.report("a", done());
    stage.report("b", failed(false));
    let of = stage.open("a");
    assert!(is_undo(&of));
    stage.give(&Input::Resend(of.clone()));
    stage.tell(of, run(9), true, failed(false));
    assert_eq!(stage.phase("a"), Phase::UndoParked);
    let until = stage.at("a").lingers_until().unwrap();
    assert!(until.0 > stage.now);
    let early = stage.retry("a");
    assert!(
        matches!(early, Verdict::Refused(Refusal::NotNow { .. })),
        "the other may still act: {early:?}"
    );
    assert_eq!(stage.phase("a"), Phase::UndoParked);
    stage.now = until.0;
    assert_eq!(stage.retry("a"), Verdict::Applied);
    while stage.phase("a") != Phase::Undoing {
        stage.wait();
    }
    stage.report("a", undone());
    assert_eq!(stage.status(), Status::Compensated);
}
