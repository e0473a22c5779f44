//! How the items of a fan-out are taken back: the last first, in windows, beside the pivot, after a cancel and a deadline.

use baton_engine::state::Phase;
use baton_engine::{Choice, Status};
use baton_messages::TaskResult;
use serde_json::json;

use super::{fan, gave, live, with};
use crate::stage::{Stage, done, failed, failure, finished, is_undo, run, undone, unknown};

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
