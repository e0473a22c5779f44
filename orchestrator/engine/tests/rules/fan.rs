//! A step that is done for each of a list: its windows, what is tolerated, and what comes of each item by every kind of input.

use baton_engine::input::Resolution;
use baton_engine::state::Phase;
use baton_engine::{Choice, Input, Record, Status, Verdict, WorkItemKind};
use baton_messages::inbox::Checkpoint;
use baton_messages::{CheckpointKind, DeadReason, ProbeAnswer, TaskResult};
use serde_json::{Value, json};

use crate::stage::{
    Stage, done, failed, failure, finished, found, is_undo, not_run, run, undone, unknown,
};

/// A fan over `items` items of a type, with more keys of the step.
fn fan(task: &str, items: usize, keys: &str) -> String {
    let items: Vec<usize> = (0..items).collect();
    format!(
        "  - id: fan\n    task: {task}\n    for_each: {items:?}\n    with: {{ n: \"${{ item }}\", at: \"${{ index }}\" }}\n{keys}"
    )
}

fn with(task: &str, items: usize, keys: &str) -> Stage {
    Stage::with(&fan(task, items, keys))
}

fn live(stage: &Stage) -> Vec<u32> {
    let fan = stage.at("fan").fan.as_ref().unwrap();
    fan.live.keys().copied().collect()
}

fn gave(output: Value) -> TaskResult {
    TaskResult::Succeeded { output }
}

#[test]
fn items_begin_in_windows_and_their_outputs_come_in_order() {
    let mut stage = with("t.set@1", 5, "    max_parallel: 2\n");
    assert_eq!(live(&stage), [0, 1]);
    assert_eq!(stage.phase("fan"), Phase::FannedOut);
    for item in [1, 0, 3, 2, 4] {
        assert!(live(&stage).len() <= 2);
        stage.report(&format!("fan[{item}]"), gave(json!(item * 10)));
    }
    assert_eq!(stage.phase("fan"), Phase::Succeeded);
    assert_eq!(stage.at("fan").output, Some(json!([0, 10, 20, 30, 40])));
    assert_eq!(stage.status(), Status::Completed);
}

#[test]
fn each_item_is_sent_its_own_input_under_a_key_of_its_own() {
    let stage = with("t.set@1", 3, "");
    let inputs: Vec<&Value> = (0..3)
        .map(|n| {
            let item = stage.at(["fan[0]", "fan[1]", "fan[2]"][n]);
            &item.forward.as_ref().unwrap().input
        })
        .collect();
    assert_eq!(
        inputs,
        [
            &json!({ "n": 0, "at": 0 }),
            &json!({ "n": 1, "at": 1 }),
            &json!({ "n": 2, "at": 2 })
        ]
    );
    let keys: std::collections::BTreeSet<_> = (0..3)
        .map(|n| stage.open(&format!("fan[{n}]")).idempotency_key())
        .collect();
    assert_eq!(keys.len(), 3);
}

#[test]
fn an_empty_list_is_done_at_once() {
    let stage = with("t.set@1", 0, "");
    assert_eq!(stage.at("fan").output, Some(json!([])));
    assert_eq!(stage.status(), Status::Completed);
}

#[test]
fn a_list_that_is_too_long_fails_before_anything_is_begun() {
    let stage = Stage::with(
        "  - id: fan\n    task: t.set@1\n    for_each: \"${ [1, 2, 3] }\"\n    max_items: 2\n",
    );
    assert_eq!(stage.phase("fan"), Phase::Failed);
    let failure = stage.at("fan").last_failure.clone().unwrap();
    assert_eq!(failure.code, "too-many-items");
    assert!(
        failure.message.contains("3 items; 2 are allowed"),
        "{failure:?}"
    );
    assert_eq!(stage.status(), Status::Compensated);
    assert_eq!(stage.recorded(|r| matches!(r, Record::Offered { .. })), 0);
}

#[test]
fn what_is_no_list_fails() {
    let stage = Stage::with(
        "  - id: fan\n    task: t.set@1\n    for_each: \"${ input.?nothing.orValue(3) }\"\n    max_items: 2\n",
    );
    assert_eq!(
        stage.at("fan").last_failure.as_ref().unwrap().code,
        "expression"
    );
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn an_if_skips_items_and_leaves_null_in_their_place() {
    let mut stage = with("t.set@1", 3, "    if: ${ item != 1 }\n");
    stage.report("fan[0]", gave(json!("a")));
    stage.report("fan[2]", gave(json!("c")));
    assert_eq!(stage.at("fan").output, Some(json!(["a", null, "c"])));
    assert_eq!(stage.phase("fan[1]"), Phase::Skipped);
}

/// Ten thousand that need nobody are not one commit.
#[test]
fn what_needs_no_worker_goes_on_in_bounded_decisions() {
    let mut stage = with("t.set@1", 700, "    if: ${ item < 0 }\n");
    let most = |stage: &Stage| stage.entries.iter().map(|e| e.records.len()).max().unwrap();
    assert!(most(&stage) < 600, "{}", most(&stage));
    assert_eq!(stage.phase("fan"), Phase::FannedOut);
    while stage.status() == Status::Running {
        stage.wait();
    }
    assert!(most(&stage) < 600, "{}", most(&stage));
    assert_eq!(stage.status(), Status::Completed);
}

#[test]
fn an_item_that_fails_brings_all_down_and_only_what_happened_is_undone() {
    let mut stage = with("t.set@1", 6, "    max_parallel: 3\n");
    stage.report("fan[0]", done());
    stage.report("fan[1]", done());
    stage.report("fan[2]", failed(false));
    // two were under way: nothing new begins, and they are waited for
    assert_eq!(live(&stage), [3, 4]);
    assert_eq!(stage.status(), Status::Compensating);
    assert_eq!(stage.phase("fan[1]"), Phase::Succeeded);
    stage.report("fan[3]", done());
    stage.report("fan[4]", failed(false));
    assert!(
        stage.state.at(&crate::stage::key("fan[5]")).is_none(),
        "never begun"
    );
    for item in ["fan[3]", "fan[1]", "fan[0]"] {
        assert!(is_undo(&stage.open(item)), "{item}");
        stage.report(item, undone());
    }
    assert_eq!(stage.status(), Status::Compensated);
    assert_eq!(stage.phase("fan"), Phase::Undone);
    assert_eq!(stage.phase("fan[2]"), Phase::Failed);
}

#[test]
fn items_are_taken_back_in_windows_the_last_first() {
    let mut stage = Stage::with(&format!(
        "{}  - id: z\n    task: t.set@1\n",
        fan("t.set@1", 5, "    max_parallel: 2\n")
    ));
    for item in 0..5 {
        stage.report(&format!("fan[{item}]"), gave(json!({ "was": item })));
    }
    stage.report("z", failed(false));
    assert_eq!(live(&stage), [3, 4]);
    let task = baton_engine::command::task_message(
        &stage.state,
        &"00".parse().unwrap(),
        &baton_engine::record::AttemptKey {
            step: crate::stage::key("fan[3]"),
            direction: baton_messages::Direction::Undo,
            round: 1,
            attempt: 1,
        },
        1,
    );
    let baton_messages::TaskMessage::Task(task) = task.unwrap();
    assert_eq!(task.output, Some(json!({ "was": 3 })), "its own output");
    assert_eq!(task.of.item, Some(3));
    stage.report("fan[4]", undone());
    assert_eq!(live(&stage), [2, 3]);
    for item in [3, 2, 1, 0] {
        stage.report(&format!("fan[{item}]"), undone());
    }
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn what_depends_on_a_fan_is_undone_before_its_items_and_what_it_depends_on_after() {
    let mut stage = Stage::with(&format!(
        "  - id: a\n    task: t.set@1\n{}  - id: z\n    task: t.set@1\n  - id: end\n    task: t.set@1\n",
        fan("t.set@1", 2, "")
    ));
    for id in ["a", "fan[0]", "fan[1]", "z"] {
        stage.report(id, done());
    }
    stage.report("end", failed(false));
    assert_eq!(stage.phase("z"), Phase::Undoing);
    assert!(live(&stage).is_empty());
    stage.report("z", undone());
    assert_eq!(live(&stage), [0, 1]);
    assert_eq!(stage.phase("a"), Phase::Succeeded);
    stage.report("fan[0]", undone());
    assert_eq!(stage.phase("a"), Phase::Succeeded);
    stage.report("fan[1]", undone());
    assert_eq!(stage.phase("a"), Phase::Undoing);
}

#[test]
fn so_many_may_fail_and_no_more() {
    let mut stage = with("t.set@1", 4, "    tolerate: 1\n");
    stage.report("fan[0]", failed(false));
    assert_eq!(
        (stage.phase("fan[0]"), stage.status()),
        (Phase::Continued, Status::Running)
    );
    stage.report("fan[1]", done());
    stage.report("fan[2]", failed(false));
    assert_eq!(stage.status(), Status::Compensating);
}

#[test]
fn a_share_may_fail_rounded_down() {
    let mut stage = with("t.set@1", 9, "    tolerate: 25%\n");
    for item in [0, 1] {
        stage.report(&format!("fan[{item}]"), failed(false));
    }
    for item in 2..9 {
        stage.report(&format!("fan[{item}]"), gave(json!(item)));
    }
    assert_eq!(
        stage.at("fan").output,
        Some(json!([null, null, 2, 3, 4, 5, 6, 7, 8]))
    );
    let mut stage = with("t.set@1", 9, "    tolerate: 25%\n");
    for item in [0, 1, 2] {
        stage.report(&format!("fan[{item}]"), failed(false));
    }
    assert_eq!(stage.status(), Status::Compensating);
}

#[test]
fn one_that_is_tolerated_and_may_have_happened_is_taken_back_before_the_step_ends() {
    let mut stage = with("t.once@1", 2, "    tolerate: 1\n");
    stage.report("fan[0]", unknown());
    stage.report("fan[1]", done());
    stage.wait();
    assert!(is_undo(&stage.open("fan[0]")));
    assert_eq!(
        (stage.phase("fan"), stage.status()),
        (Phase::FannedOut, Status::Running)
    );
    stage.report("fan[0]", undone());
    assert_eq!(stage.phase("fan[0]"), Phase::Undone);
    assert_eq!(stage.at("fan").output, Some(json!([null, { "ok": true }])));
    assert_eq!(stage.status(), Status::Completed);
}

#[test]
fn an_undo_of_a_tolerated_one_that_fails_is_for_a_person_while_the_others_go_on() {
    let mut stage = with("t.once@1", 3, "    tolerate: 1\n    max_parallel: 2\n");
    stage.report("fan[0]", unknown());
    stage.wait();
    stage.report("fan[0]", failed(false));
    assert_eq!(stage.phase("fan[0]"), Phase::UndoParked);
    stage.report("fan[1]", done());
    stage.report("fan[2]", done());
    assert_eq!(stage.status(), Status::Parked);
    let item = stage.state.work_items.values().next().unwrap();
    assert_eq!(item.step.as_ref().unwrap().to_string(), "fan[0]");
    stage.resolve("fan[0]", Resolution::Undone);
    assert_eq!(stage.status(), Status::Completed);
}

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
fn an_item_is_tried_again_by_itself() {
    let mut stage = with("t.set@1", 2, "");
    stage.report("fan[1]", failed(true));
    assert_eq!(
        (stage.phase("fan[0]"), stage.phase("fan[1]")),
        (Phase::Trying, Phase::Backoff)
    );
    stage.wait();
    assert_eq!(stage.open("fan[1]").attempt, 2);
    stage.report("fan[1]", done());
    stage.report("fan[0]", not_run());
    assert_eq!(stage.phase("fan[0]"), Phase::Backoff);
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
fn a_type_nobody_knows_is_waited_for_by_a_window_only() {
    let mut stage = with(
        "t.unheard-of@1",
        20,
        "    max_parallel: 4\n    queue_timeout: 60s\n    tolerate: 100%\n",
    );
    assert_eq!(live(&stage), [0, 1, 2, 3]);
    assert_eq!(stage.phase("fan[0]"), Phase::Unserved);
    stage.wait();
    assert_eq!(stage.phase("fan[0]"), Phase::Continued);
    assert_eq!(live(&stage).len(), 4);
}

#[test]
fn parked_items_are_decided_one_by_one_and_nothing_new_begins_meanwhile() {
    let mut stage = with(
        "t.set@1",
        6,
        "    max_parallel: 2\n    on_error: park\n    retry: { attempts: 1 }\n",
    );
    stage.report("fan[0]", failed(false));
    stage.report("fan[1]", failed(false));
    assert_eq!(live(&stage), [0, 1]);
    assert_eq!(stage.status(), Status::Parked);
    assert_eq!(stage.state.work_items.len(), 2);
    assert_eq!(stage.skip("fan[0]"), Verdict::Applied);
    assert_eq!(live(&stage), [1], "the other one still asks");
    assert_eq!(stage.retry("fan[1]"), Verdict::Applied);
    stage.wait();
    stage.report("fan[1]", failed(false));
    let nine = Resolution::Done { output: json!(9) };
    assert_eq!(stage.resolve("fan[1]", nine), Verdict::Applied);
    assert_eq!(live(&stage), [2, 3]);
    for item in 2..6 {
        stage.report(&format!("fan[{item}]"), gave(json!(item)));
    }
    assert_eq!(stage.at("fan").output, Some(json!([null, 9, 2, 3, 4, 5])));
}

#[test]
fn after_the_pivot_what_is_not_tolerated_is_for_a_person() {
    let mut stage = Stage::with(&format!(
        "  - id: p\n    task: t.set@1\n    pivot: true\n{}",
        fan(
            "t.once@1",
            4,
            "    tolerate: 1\n    retry: { attempts: 1 }\n"
        )
    ));
    stage.report("p", done());
    stage.report("fan[0]", failed(false));
    assert_eq!(stage.phase("fan[0]"), Phase::Continued);
    stage.report("fan[1]", failed(false));
    assert_eq!(stage.phase("fan[1]"), Phase::Parked);
    stage.report("fan[2]", unknown());
    stage.wait();
    assert_eq!(
        stage.phase("fan[2]"),
        Phase::Parked,
        "nothing is taken back after the pivot"
    );
    stage.report("fan[3]", done());
    assert_eq!(stage.status(), Status::Parked);
    let choices = stage
        .state
        .work_items
        .values()
        .next()
        .unwrap()
        .choices
        .clone();
    assert!(choices.contains(&Choice::Retry) && !choices.contains(&Choice::Cancel));
}

#[test]
fn a_pause_begins_nothing_and_a_resume_goes_on() {
    let mut stage = with("t.set@1", 4, "    max_parallel: 2\n");
    let operator = stage.operator();
    stage.give(&Input::Pause(operator));
    stage.report("fan[0]", done());
    assert_eq!(live(&stage), [1]);
    let operator = stage.operator();
    stage.give(&Input::Resume(operator));
    assert_eq!(live(&stage), [1, 2]);
}

#[test]
fn a_cancel_closes_what_is_open_and_undoes_what_is_done() {
    let mut stage = with("t.once@1", 30, "    max_parallel: 4\n");
    stage.report("fan[0]", done());
    let claimed = stage.claim("fan[1]", run(1));
    stage.cancel();
    assert!(
        !is_undo(&stage.open("fan[1]")),
        "whoever acts is waited for"
    );
    stage.tell(claimed, run(1), true, unknown());
    for item in ["fan[1]", "fan[0]"] {
        stage.report(item, undone());
    }
    assert_eq!(stage.status(), Status::Compensated);
    assert_eq!(stage.at("fan").fan.as_ref().unwrap().begun(), 5);
}

#[test]
fn a_deadline_turns_it_back() {
    let mut stage = Stage::waiting(&fan("t.set@1", 3, "    max_parallel: 1\n"));
    let yaml = stage
        .definition
        .source
        .replace("version: 1\n", "version: 1\ndeadline: 1s\n");
    stage.definition = baton_engine::Definition::parse(&yaml).unwrap();
    stage.give(&stage.start());
    stage.report("fan[0]", done());
    stage.wait();
    assert_eq!(stage.status(), Status::Compensating);
    stage.report("fan[1]", done());
    for item in ["fan[1]", "fan[0]"] {
        stage.report(item, undone());
    }
    assert_eq!(stage.status(), Status::Compensated);
}

/// Whoever may hold an item's task without asking is waited for before it is taken back, wherever the item lies.
#[test]
fn a_lingering_item_is_undone_only_when_nobody_acts_for_it() {
    let mut stage = with("t.set@1", 2, "");
    let of = stage.open("fan[0]");
    stage.tell(of, run(1), false, done());
    assert_eq!(live(&stage), [1], "settled while the saga goes forward");
    stage.cancel();
    stage.report("fan[1]", failed(false));
    assert_eq!(
        stage.phase("fan[0]"),
        Phase::Succeeded,
        "somebody may still act"
    );
    stage.wait();
    assert!(is_undo(&stage.open("fan[0]")));
}

#[test]
fn undo_none_leaves_all_items_in_bounded_decisions() {
    let mut stage = Stage::with(&format!(
        "{}  - id: z\n    task: t.look@1\n    retry: {{ attempts: 1 }}\n",
        fan(
            "t.set@1",
            600,
            "    max_parallel: 256\n    undo: none\n    because: it stays\n"
        )
    ));
    for item in 0..600 {
        let of = stage.open(&format!("fan[{item}]"));
        let by = run(10_000 + u128::from(of.item.unwrap()));
        stage.give_fast(&finished(of, by, true, done()));
    }
    stage.report("z", TaskResult::Failed(failure(false)));
    let mut waits = 0;
    while stage.status() == Status::Compensating {
        stage.wait();
        waits += 1;
    }
    assert_eq!(stage.status(), Status::Compensated);
    assert!(waits >= 2, "{waits}");
}

#[test]
fn what_items_return_together_is_bounded() {
    let mut stage = with("t.set@1", 80, "    max_parallel: 80\n");
    let long = "x".repeat(60 * 1024);
    for item in 0..80 {
        let of = stage.open(&format!("fan[{item}]"));
        let by = run(10_000 + item);
        stage.give_fast(&finished(of, by, true, gave(json!(long))));
    }
    let failure = stage.at("fan").last_failure.clone().unwrap();
    assert_eq!(failure.code, "too-large");
    assert_eq!(stage.status(), Status::Compensating);
}

#[test]
fn an_own_undo_reads_the_items_own_output() {
    let mut stage = with(
        "t.once@1",
        2,
        "    undo: { task: t.set@1, with: { back: \"${ fan.?id.orValue('none') }\", of: \"${ item }\" } }\n",
    );
    stage.report("fan[0]", gave(json!({ "id": "a7" })));
    stage.report("fan[1]", failed(false));
    let input = &stage.at("fan[0]").backward.as_ref().unwrap().input;
    assert_eq!(input, &json!({ "back": "a7", "of": 0 }));
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
fn the_pivot_waits_until_what_was_tolerated_is_taken_back() {
    let mut stage = Stage::with(&format!(
        "{}  - id: x\n    task: t.set@1\n  - id: p\n    task: t.set@1\n    pivot: true\n",
        fan(
            "t.set@1",
            2,
            "    tolerate: 1\n    retry: { attempts: 1 }\n"
        )
    ));
    let of = stage.open("fan[0]");
    stage.tell(of.clone(), run(1), true, failed(false));
    stage.report("fan[1]", done());
    stage.tell(of, run(2), true, done());
    assert!(is_undo(&stage.open("fan[0]")));
    stage.report("fan[0]", failed(true));
    assert_eq!(stage.at("fan[0]").open_attempt(), None);
    stage.report("x", done());
    assert_eq!(stage.phase("p"), Phase::Waiting);
    assert_eq!(stage.phase("fan[0]"), Phase::UndoBackoff);
    stage.wait();
    stage.report("fan[0]", undone());
    assert_eq!(stage.phase("p"), Phase::Trying);
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

#[test]
fn many_of_a_step_that_was_skipped_are_taken_back_in_several_decisions() {
    let keys = "    max_parallel: 256\n    on_error: park\n    undo: none\n    because: it is only tried\n";
    let mut stage = Stage::with(&format!(
        "{}  - id: z\n    task: t.set@1\n",
        fan("t.set@1", 300, keys)
    ));
    let large = json!({ "ok": true, "text": "x".repeat(16_000) });
    for item in 0..300 {
        if !stage
            .at("fan")
            .fan
            .as_ref()
            .unwrap()
            .live
            .contains_key(&item)
        {
            stage.wait();
        }
        stage.report(&format!("fan[{item}]"), gave(large.clone()));
    }
    assert_eq!(stage.phase("fan"), Phase::Parked);
    assert!(!stage.choices().contains(&Choice::Retry));
    stage.skip("fan");
    stage.report("z", failed(false));
    let mut decisions = 1;
    while stage.status() == Status::Compensating {
        stage.wait();
        decisions += 1;
        assert!(decisions < 5, "it does not end");
    }
    assert_eq!((stage.status(), decisions), (Status::Compensated, 2));
}

#[test]
fn a_pivot_nobody_serves_has_begun_and_nothing_is_taken_back_beside_it() {
    let mut stage = Stage::with(&format!(
        "{}  - id: p\n    task: t.unheard-of@1\n    pivot: true\n",
        fan(
            "t.set@1",
            2,
            "    tolerate: 1\n    retry: { attempts: 1 }\n"
        )
    ));
    let of = stage.open("fan[0]");
    stage.tell(of.clone(), run(1), true, failed(false));
    stage.report("fan[1]", done());
    assert_eq!(stage.phase("p"), Phase::Unserved);
    stage.tell(of, run(2), true, done());
    assert_eq!(stage.phase("fan[0]"), Phase::Parked, "a person is asked");
}

#[test]
fn what_is_too_much_already_begins_no_more_items() {
    let over = |keys: &str| {
        let mut stage = with("t.set@1", 100, keys);
        let large = json!({ "ok": true, "text": "x".repeat(60_000) });
        for item in 0..100 {
            let fan = stage.at("fan").fan.as_ref().unwrap();
            if fan.live.contains_key(&item) && stage.phase("fan") == Phase::FannedOut {
                stage.report(&format!("fan[{item}]"), gave(large.clone()));
            }
        }
        stage
    };
    let stage = over("    max_parallel: 10\n");
    let begun = stage.at("fan").fan.as_ref().unwrap().begun();
    assert!((70..=90).contains(&begun), "{begun}");
    assert_eq!(
        (stage.phase("fan"), stage.status()),
        (Phase::Failed, Status::Compensating)
    );
    // a person decides about what is done, and not about half of it
    let stage = over("    max_parallel: 10\n    on_error: park\n");
    assert_eq!(stage.at("fan").fan.as_ref().unwrap().begun(), 100);
    assert_eq!(stage.phase("fan"), Phase::Parked);
}
