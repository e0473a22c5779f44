//! A step that is done for each of a list: its windows, what is tolerated, and what comes of each item by every kind of input.

mod back;
mod evidence;

use baton_engine::input::Resolution;
use baton_engine::state::Phase;
use baton_engine::{Input, Record, Status, Verdict};
use baton_messages::TaskResult;
use serde_json::{Value, json};

use crate::stage::{Stage, done, failed, finished, is_undo, not_run, run, undone, unknown};

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
    let failure = stage.at("fan").last_failure.clone().unwrap();
    assert_eq!(failure.code, "expression");
    let said = "`for_each` gives a number, and not a list";
    assert!(failure.message.starts_with(said), "{failure:?}");
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

#[test]
fn an_if_that_asks_nothing_of_an_item_is_looked_at_before_the_list() {
    let stage = Stage::with(
        "  - id: a\n    if: ${ has(input.go) }\n    task: t.set@1\n  - id: fan\n    if: ${ has(input.go) }\n    task: t.set@1\n    for_each: [\"${ a.key }\"]\n",
    );
    assert_eq!(stage.phase("a"), Phase::Skipped);
    assert_eq!(stage.at("fan").output, Some(json!([])));
    assert_eq!(stage.status(), Status::Completed);
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
