//! What is told of one item, whenever it comes: reports told twice or late, probes, checkpoints, dead letters.

use baton_engine::input::Resolution;
use baton_engine::state::Phase;
use baton_engine::{Choice, Input, Status, Verdict, WorkItemKind};
use baton_messages::inbox::Checkpoint;
use baton_messages::{CheckpointKind, DeadReason, ProbeAnswer};
use serde_json::json;

use super::{fan, gave, live, with};
use crate::stage::{Stage, done, failed, found, is_undo, run, undone, unknown};

#[test]
fn one_in_doubt_is_probed() {
    let mut stage = with("t.asked@1", 2, "");
    stage.report("fan[0]", unknown());
    stage.wait();
    assert_eq!(stage.phase("fan[0]"), Phase::Probing);
    stage.report(
        "fan[0]",
        found(ProbeAnswer::Happened {
            output: json!("it did"),
        }),
    );
    stage.report("fan[1]", gave(json!(1)));
    assert_eq!(stage.at("fan").output, Some(json!(["it did", 1])));

    let mut stage = with(
        "t.asked@1",
        2,
        "    tolerate: 1\n    retry: { attempts: 1 }\n",
    );
    stage.report("fan[0]", unknown());
    stage.wait();
    stage.report("fan[0]", found(ProbeAnswer::DidNot));
    assert_eq!(stage.phase("fan[0]"), Phase::Continued);
}

#[test]
fn checkpoints_belong_to_their_item() {
    let mut stage = with("t.file@1", 2, "");
    let of = stage.claim("fan[1]", run(1));
    stage.give(&Input::Checkpoint(Checkpoint {
        of: of.clone(),
        run: run(1),
        kind: CheckpointKind::Before,
        number: 1,
        value: json!("what was there"),
    }));
    assert_eq!(stage.at("fan[0]").before, None);
    stage.tell(of, run(1), true, done());
    assert_eq!(
        stage.at("fan[1]").before,
        Some((1, json!("what was there"))),
        "also on the shelf"
    );
    stage.cancel();
    assert!(is_undo(&stage.open("fan[1]")));
}

#[test]
fn a_report_told_twice_or_late_changes_nothing_that_is_settled() {
    let mut stage = with("t.set@1", 2, "");
    let of = stage.open("fan[0]");
    stage.tell(of.clone(), run(1), true, done());
    let shelved = stage.state.clone();
    assert_eq!(
        stage.tell(of.clone(), run(1), true, done()),
        Verdict::Duplicate
    );
    assert_eq!(stage.state, shelved);
    stage.tell(of, run(2), true, failed(false));
    assert_eq!(stage.phase("fan[0]"), Phase::Succeeded);
    assert_eq!(live(&stage), [1], "back on the shelf");
}

#[test]
fn one_held_as_failed_that_had_happened_joins_the_unwind() {
    let mut stage = with("t.set@1", 2, "    retry: { attempts: 1 }\n");
    let of = stage.open("fan[0]");
    stage.tell(of.clone(), run(1), true, failed(false));
    assert_eq!(
        stage.status(),
        Status::Compensating,
        "the other one is under way"
    );
    stage.tell(of, run(9), true, done());
    stage.report("fan[1]", failed(false));
    assert!(is_undo(&stage.open("fan[0]")));
    stage.report("fan[0]", undone());
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn a_tolerated_one_that_had_happened_after_all_is_taken_back_while_the_saga_goes_on() {
    let mut stage = Stage::with(&format!(
        "{}  - id: z\n    task: t.look@1\n",
        fan(
            "t.set@1",
            2,
            "    tolerate: 1\n    retry: { attempts: 1 }\n"
        )
    ));
    let of = stage.open("fan[0]");
    stage.tell(of.clone(), run(1), true, failed(false));
    stage.report("fan[1]", done());
    assert_eq!(
        (stage.phase("fan"), stage.phase("fan[0]")),
        (Phase::Succeeded, Phase::Continued)
    );
    stage.tell(of, run(2), true, done());
    assert!(is_undo(&stage.open("fan[0]")));
    stage.report("z", done());
    assert_eq!(
        stage.status(),
        Status::Running,
        "it ends only when that is settled"
    );
    stage.report("fan[0]", undone());
    assert_eq!(stage.status(), Status::Completed);
}

#[test]
fn after_the_end_late_evidence_of_an_item_is_for_a_person() {
    let mut stage = with(
        "t.set@1",
        2,
        "    tolerate: 1\n    retry: { attempts: 1 }\n",
    );
    let of = stage.open("fan[0]");
    stage.tell(of.clone(), run(1), true, failed(false));
    stage.report("fan[1]", done());
    assert_eq!(stage.status(), Status::Completed);
    stage.tell(of, run(2), true, done());
    assert_eq!(stage.status(), Status::Parked);
    let item = stage.state.work_items.values().next().unwrap();
    assert_eq!(item.kind, WorkItemKind::LateEvidence);
    assert_eq!(item.step.as_ref().unwrap().to_string(), "fan[0]");
    stage.skip("fan[0]");
    assert_eq!(stage.status(), Status::Completed);
}

#[test]
fn a_dead_letter_an_unroutable_task_and_a_lost_lease_are_of_one_item() {
    let mut stage = with("t.once@1", 3, "    retry: { attempts: 3 }\n");
    let dead = stage.open("fan[0]");
    stage.give(&Input::TaskDead {
        message: dead.message_id(),
        reason: DeadReason::Undecodable,
        error: "no".into(),
    });
    assert_ne!(stage.phase("fan[0]"), Phase::Trying);
    let mut stage = with("t.once@1", 3, "");
    let nowhere = stage.open("fan[1]");
    stage.give(&Input::TaskUnroutable(nowhere));
    assert_eq!(
        (stage.phase("fan[0]"), stage.phase("fan[1]")),
        (Phase::Trying, Phase::Unserved)
    );
    stage.give(&Input::TypeServed("t.once@1".parse().unwrap()));
    assert_eq!(stage.phase("fan[1]"), Phase::Trying);
    let of = stage.claim("fan[2]", run(5));
    stage.give(&Input::LeaseOver { of, run: run(5) });
    assert_eq!(stage.phase("fan[2]"), Phase::Settling);
    assert_eq!(stage.phase("fan[1]"), Phase::Trying);
}

#[test]
fn a_task_that_is_held_is_of_one_item() {
    let mut stage = with("t.set@1", 2, "");
    let of = stage.open("fan[1]");
    stage.give(&Input::TaskUnconfirmed {
        of: of.clone(),
        maybe_sent: true,
    });
    assert!(stage.at("fan[1]").open_attempt().unwrap().held);
    assert!(!stage.at("fan[0]").open_attempt().unwrap().held);
    stage.give(&Input::Resend(of));
    assert!(!stage.at("fan[1]").open_attempt().unwrap().held);
}

#[test]
fn of_an_item_there_is_not_nothing_is_taken() {
    let mut stage = with("t.set@1", 2, "");
    let of = baton_messages::AttemptRef {
        item: Some(7),
        ..stage.open("fan[1]")
    };
    let verdict = stage.tell(of, run(1), true, done());
    assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
    assert!(matches!(stage.skip("fan[7]"), Verdict::Refused(_)));
    assert!(matches!(stage.retry("fan"), Verdict::Refused(_)));
}

#[test]
fn after_the_end_late_evidence_of_one_that_was_taken_back_is_for_a_person() {
    let mut stage = with("t.once@1", 2, "    tolerate: 1\n");
    let of = stage.open("fan[0]");
    stage.tell(of.clone(), run(1), true, unknown());
    stage.report("fan[1]", done());
    stage.wait();
    stage.report("fan[0]", undone());
    assert_eq!(
        (stage.phase("fan[0]"), stage.status()),
        (Phase::Undone, Status::Completed)
    );
    stage.tell(of, run(2), true, done());
    assert_eq!(
        (stage.phase("fan[0]"), stage.status()),
        (Phase::UndoParked, Status::Parked)
    );
    assert!(stage.choices().contains(&Choice::ResolveUndone));
    stage.resolve("fan[0]", Resolution::Undone);
    assert_eq!(
        (stage.phase("fan[0]"), stage.status()),
        (Phase::Undone, Status::Completed)
    );
}

#[test]
fn one_that_has_happened_is_not_tried_again() {
    let mut stage = Stage::with(&format!(
        "  - id: p\n    task: t.set@1\n    pivot: true\n{}",
        fan(
            "t.set@1",
            3,
            "    tolerate: 1\n    max_parallel: 1\n    retry: { attempts: 1 }\n"
        )
    ));
    stage.report("p", done());
    let of = stage.open("fan[0]");
    stage.tell(of.clone(), run(1), true, failed(false));
    assert_eq!(stage.phase("fan[1]"), Phase::Trying);
    stage.tell(of, run(2), true, done());
    assert_eq!(stage.phase("fan[0]"), Phase::Parked);
    assert!(matches!(stage.retry("fan[0]"), Verdict::Refused(_)));
    stage.resolve(
        "fan[0]",
        Resolution::Done {
            output: json!({ "ok": true }),
        },
    );
    stage.report("fan[1]", done());
    stage.report("fan[2]", done());
    assert_eq!(stage.status(), Status::Completed);
}
