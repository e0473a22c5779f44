//! `undo: { when: … }`: what is not wanted back is left, and whatever gives no answer is undone.

use baton_engine::definition::Definition;
use baton_engine::state::Phase;
use baton_engine::upgrade::ReasonKind;
use baton_engine::{Record, Refusal, Status, Verdict};
use baton_messages::{ProbeAnswer, TaskResult};
use serde_json::{Value, json};

use crate::children::family::Family;
use crate::stage::{Stage, done, failed, found, run, undone, unknown};

/// Three steps, the second of which has these keys.
fn three(task: &str, keys: &str) -> Stage {
    let mut stage = Stage::with(&format!(
        "  - id: a\n    task: t.set@1\n  - id: b\n    task: {task}\n{keys}  - id: c\n    task: t.set@1\n"
    ));
    stage.report("a", done());
    stage
}

/// The undo is wanted where the step has changed anything.
const CHANGED: &str = "    undo: { when: \"${ b.changed }\" }\n";

fn gave(output: Value) -> TaskResult {
    TaskResult::Succeeded { output }
}

fn changed(changed: bool) -> TaskResult {
    gave(json!({ "changed": changed }))
}

/// Time passes until the step is tried, or asked about.
fn until(stage: &mut Stage, phase: Phase) {
    for _ in 0..4 {
        if stage.phase("b") != phase {
            stage.wait();
        }
    }
    assert_eq!(stage.phase("b"), phase);
}

fn said_nothing(stage: &Stage) -> usize {
    stage.recorded(
        |record| matches!(record, Record::Noted { what } if what.starts_with("`undo.when` of b")),
    )
}

#[test]
fn what_is_not_wanted_back_is_left_and_what_came_before_it_is_undone() {
    let mut stage = three("t.set@1", CHANGED);
    stage.report("b", changed(false));
    stage.report("c", failed(false));
    assert_eq!(stage.phase("b"), Phase::Undone);
    assert!(stage.at("b").unwanted && stage.at("b").backward.is_none());
    assert_eq!(stage.phase("a"), Phase::Undoing);
    stage.report("a", undone());
    assert_eq!(stage.status(), Status::Compensated);
    let left = |record: &Record| matches!(record, Record::Moved { unwanted: true, .. });
    assert_eq!(stage.recorded(left), 1);
    assert!(!stage.at("a").unwanted);
}

#[test]
fn what_is_wanted_back_is_undone_by_its_own_automation_or_by_another() {
    let other = "    undo: { when: \"${ b.changed }\", task: t.blind@1, with: { of: \"${ b.?changed.orValue(false) }\" } }\n";
    for (keys, own_task) in [(CHANGED, false), (other, true)] {
        let mut stage = three("t.set@1", keys);
        stage.report("b", changed(true));
        stage.report("c", failed(false));
        assert_eq!(stage.phase("b"), Phase::Undoing);
        let ready = stage.at("b").backward.as_ref().unwrap();
        assert_eq!(ready.own_task, own_task);
        stage.report("b", undone());
        assert!(!stage.at("b").unwanted);
        assert_eq!(said_nothing(&stage), 0);
    }
}

#[test]
fn a_step_nobody_knows_of_is_undone() {
    let keys = format!("{CHANGED}    retry: {{ attempts: 1 }}\n");
    let mut stage = three("t.blind@1", &keys);
    stage.report("b", unknown());
    until(&mut stage, Phase::Undoing);
    assert_eq!(said_nothing(&stage), 1);
}

/// It may have found what the first try had left.
#[test]
fn a_second_try_is_not_believed_that_there_was_nothing_to_do() {
    let mut stage = three("t.blind@1", CHANGED);
    stage.report("b", unknown());
    until(&mut stage, Phase::Trying);
    stage.report("b", changed(false));
    assert!(stage.at("b").doubted);
    stage.report("c", failed(false));
    assert_eq!(stage.phase("b"), Phase::Undoing);
    assert_eq!(said_nothing(&stage), 1);
    // a try that changed nothing leaves no doubt
    let mut stage = three("t.blind@1", CHANGED);
    stage.report("b", failed(true));
    until(&mut stage, Phase::Trying);
    stage.report("b", changed(false));
    stage.report("c", failed(false));
    assert!(stage.at("b").unwanted);
}

#[test]
fn a_probe_speaks_of_all_tries() {
    let mut stage = three("t.set@1", CHANGED);
    stage.report("b", unknown());
    until(&mut stage, Phase::Probing);
    let output = json!({ "changed": false });
    stage.report("b", found(ProbeAnswer::Happened { output }));
    assert_eq!(stage.phase("b"), Phase::Succeeded);
    stage.report("c", failed(false));
    assert!(stage.at("b").unwanted);
}

/// What the step did is not needed for that.
#[test]
fn a_condition_on_what_came_before_holds_for_a_step_nobody_knows_of_too() {
    for (output, left) in [
        (json!({ "ok": true }), false),
        (json!({ "ok": false }), true),
    ] {
        let keys = "    undo: { when: \"${ a.ok }\" }\n    retry: { attempts: 1 }\n";
        let mut stage = Stage::with(&format!(
            "  - id: a\n    task: t.set@1\n  - id: b\n    task: t.blind@1\n{keys}"
        ));
        stage.report("a", gave(output));
        stage.report("b", unknown());
        until(
            &mut stage,
            if left { Phase::Undone } else { Phase::Undoing },
        );
        assert_eq!(stage.at("b").unwanted, left);
        assert_eq!(said_nothing(&stage), 0);
    }
}

#[test]
fn a_condition_that_gives_no_answer_has_it_undone() {
    for output in [json!({}), json!({ "changed": "no" }), Value::Null] {
        let mut stage = three("t.set@1", CHANGED);
        stage.report("b", gave(output));
        stage.report("c", failed(false));
        assert_eq!(stage.phase("b"), Phase::Undoing);
        assert_eq!(said_nothing(&stage), 1);
    }
}

/// What an operator has had tried otherwise is asked about by what that has returned.
#[test]
fn a_step_that_was_edited_or_substituted_is_asked_with_what_it_has_returned_since() {
    let cases = [
        (json!({ "changed": false }), Phase::Undone, 0),
        (json!({ "changed": true }), Phase::Undoing, 0),
        // the other task says nothing of it
        (json!({}), Phase::Undoing, 1),
    ];
    for task_type in [None, Some("t.asked@1")] {
        for (output, phase, silent) in cases.clone() {
            let mut stage = three("t.set@1", &format!("{CHANGED}    on_error: park\n"));
            stage.report("b", failed(false));
            let old = stage.last("b");
            assert_eq!(stage.edit("b", task_type, json!({})), Verdict::Applied);
            until(&mut stage, Phase::Trying);
            stage.report("b", gave(output.clone()));
            // what the round before is said to have done is no word about this one
            let otherwise = changed(output != json!({ "changed": true }));
            stage.tell(old, run(77), true, otherwise);
            stage.report("c", failed(false));
            assert_eq!(stage.phase("b"), phase, "{task_type:?} {output}");
            assert_eq!(said_nothing(&stage), silent, "{task_type:?} {output}");
        }
    }
}

#[test]
fn each_item_is_asked_about_itself() {
    let mut stage = Stage::with(
        "  - id: fan\n    task: t.set@1\n    for_each: [keep, drop, keep]\n    with: { of: \"${ item }\" }\n    undo: { when: \"${ item == 'drop' && fan.changed }\" }\n  - id: z\n    task: t.set@1\n",
    );
    for item in ["fan[0]", "fan[1]", "fan[2]"] {
        stage.report(item, changed(true));
    }
    stage.report("z", failed(false));
    assert_eq!(stage.phase("fan[1]"), Phase::Undoing);
    assert!(stage.at("fan[0]").unwanted && stage.at("fan[2]").unwanted);
    stage.report("fan[1]", undone());
    assert_eq!(stage.phase("fan"), Phase::Undone);
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn a_step_of_a_group_is_asked_with_what_is_around_it() {
    let text = "saga: hosts\nversion: 1\nsteps:\n  - id: each\n    for_each: [1, 2]\n    max_parallel: 2\n    steps:\n      - { id: put, task: t.set@1, undo: { when: '${ item > input.keep }' } }\n  - { id: z, task: t.set@1 }\n";
    let mut family = Family::with(&[text], json!({ "keep": 1 }));
    let root = family.root;
    family.talk();
    let items = ["each[0]", "each[1]"].map(|step| family.child(root, step));
    for item in items {
        family.report(item, "put", done());
    }
    family.report(root, "z", failed(false));
    family.go();
    assert_eq!(family.status(root), Status::Compensated);
    let left = items.map(|item| family.at(item, "put").unwanted);
    assert_eq!(left, [true, false]);
}

#[test]
fn what_has_begun_keeps_the_condition_of_its_undo() {
    let with =
        |undo: &str| format!("  - id: b\n    task: t.set@1\n{undo}  - id: z\n    sleep: 1h\n");
    let mut stage = Stage::with(&with(""));
    stage.report("b", done());
    let Verdict::Refused(Refusal::Stays { reasons }) = stage.upgrade(&with(CHANGED)) else {
        panic!("it was moved")
    };
    assert_eq!(reasons[0].kind, ReasonKind::UndoGone);
    // what was wanted perhaps may be wanted for certain
    let mut stage = Stage::with(&with(CHANGED));
    stage.report("b", done());
    assert_eq!(stage.upgrade(&with("")), Verdict::Applied);
}

#[test]
fn a_condition_reads_what_an_undo_reads_and_nothing_else() {
    let steps = |when: &str| {
        format!(
            "saga: x\nversion: 1\nsteps:\n  - {{ id: a, task: t.set@1, undo: {{ when: \"${{ {when} }}\" }} }}\n  - {{ id: b, task: t.set@1 }}\n"
        )
    };
    assert!(Definition::parse(&steps("a.changed && input.x")).is_ok());
    for wrong in ["b.changed", "item", "false"] {
        assert!(Definition::parse(&steps(wrong)).is_err(), "{wrong}");
    }
}
