//! A parked step is tried with another input, or by another task type: another effect, under another key, and never where the one before may have happened.

use baton_engine::state::{Phase, Prepared};
use baton_engine::{Choice, Input, Refusal, Status, Verdict, WorkItemKind};
use baton_messages::inbox::Checkpoint;
use baton_messages::{CheckpointKind, ProbeAnswer};
use serde_json::{Value, json};

use crate::stage::{Stage, done, failed, found, is_undo, run, undone, unknown};

const TWO: &str =
    "  - id: a\n    task: t.set@1\n    on_error: park\n  - id: b\n    task: t.set@1\n";

fn parked(steps: &str) -> Stage {
    let mut stage = Stage::with(steps);
    stage.report("a", failed(false));
    assert_eq!(stage.phase("a"), Phase::Parked);
    stage
}

fn forward(stage: &Stage) -> Prepared {
    (**stage.at("a").forward.as_ref().unwrap()).clone()
}

fn why(verdict: Verdict) -> String {
    match verdict {
        Verdict::Refused(Refusal::NotNow { why, .. }) => why,
        other => panic!("it is not refused: {other:?}"),
    }
}

#[test]
fn an_edited_step_is_another_effect_with_the_input_it_was_given() {
    let mut stage = parked(TWO);
    let first = stage.last("a");
    assert_eq!(
        stage.edit("a", None, json!({ "vlan": 666 })),
        Verdict::Applied
    );
    assert!(stage.state.work_items.is_empty(), "decided");
    stage.wait();
    let of = stage.open("a");
    assert_eq!((of.round, of.attempt), (2, 1));
    assert_ne!(
        of.idempotency_key(),
        first.idempotency_key(),
        "whoever remembers the first acts on the second"
    );
    assert_eq!(forward(&stage).input, json!({ "vlan": 666 }));
    stage.report("a", done());
    assert_eq!(stage.phase("b"), Phase::Trying);
    // its own undo goes by the input that was used
    stage.report("b", failed(false));
    assert!(is_undo(&stage.open("a")));
    assert_eq!(stage.open("a").round, 2);
}

#[test]
fn a_step_that_may_have_changed_something_is_not_edited() {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.once@1\n    on_error: park\n  - id: b\n    task: t.set@1\n",
    );
    stage.report("a", unknown());
    stage.wait();
    assert_eq!(stage.phase("a"), Phase::Parked);
    assert!(stage.at("a").may_have_effect);
    let said = why(stage.edit("a", None, json!({})));
    assert!(said.contains("may have changed something"), "{said}");
    assert_eq!(stage.at("a").round, 1);
}

#[test]
fn what_is_not_parked_is_not_edited() {
    let mut stage = Stage::with(TWO);
    assert!(why(stage.edit("a", None, json!({}))).contains("only a parked step"));
    assert!(why(stage.edit("b", None, json!({}))).contains("only a parked step"));
}

#[test]
fn an_input_that_does_not_fit_and_a_type_nobody_announced_are_refused() {
    let mut stage = parked(TWO);
    assert!(why(stage.edit("a", None, json!(3))).contains("does not fit"));
    let said = why(stage.edit("a", Some("t.nobody@1"), json!({})));
    assert!(
        said.contains("no worker has announced t.nobody@1"),
        "{said}"
    );
    assert_eq!(stage.phase("a"), Phase::Parked, "nothing has moved");
}

#[test]
fn another_task_type_does_it_and_takes_it_back() {
    let mut stage = parked(TWO);
    assert_eq!(
        stage.edit("a", Some("t.asked@1"), json!({ "by": "hand" })),
        Verdict::Applied
    );
    stage.wait();
    stage.report("a", done());
    assert_eq!(forward(&stage).facts.task_type.as_str(), "t.asked@1");
    stage.report("b", failed(false));
    stage.report("a", undone());
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn what_could_not_be_taken_back_is_no_substitute_before_the_pivot() {
    let mut stage = parked(TWO);
    let said = why(stage.edit("a", Some("t.stuck@1"), json!({})));
    assert!(said.contains("could not be taken back"), "{said}");
    let mut stage = parked(
        "  - id: a\n    task: t.set@1\n    pivot: true\n    on_error: park\n  - id: b\n    task: t.set@1\n",
    );
    assert_eq!(
        stage.edit("a", Some("t.stuck@1"), json!({})),
        Verdict::Applied,
        "the pivot is not taken back"
    );
}

#[test]
fn the_before_image_of_another_effect_is_not_used() {
    let mut stage = Stage::with(
        "  - id: a\n    task: t.file@1\n    on_error: park\n  - id: b\n    task: t.set@1\n",
    );
    let of = stage.claim("a", run(1));
    stage.give(&Input::Checkpoint(Checkpoint {
        of: of.clone(),
        run: run(1),
        kind: CheckpointKind::Before,
        number: 1,
        value: json!("as it was on the first"),
    }));
    stage.tell(of, run(1), true, failed(false));
    assert!(stage.at("a").before.is_some());
    stage.edit("a", None, json!({ "path": "another" }));
    assert_eq!(stage.at("a").before, None);
}

#[test]
fn a_report_of_the_round_before_is_for_a_person() {
    let mut stage = parked(TWO);
    let old = stage.last("a");
    stage.edit("a", None, json!({}));
    stage.wait();
    stage.tell(old.clone(), run(77), true, failed(false));
    assert!(stage.state.work_items.is_empty(), "nothing was changed");
    stage.tell(old.clone(), run(78), true, done());
    let items: Vec<_> = stage.state.work_items.values().cloned().collect();
    assert_eq!(items.len(), 1, "{items:?}");
    assert_eq!(items[0].kind, WorkItemKind::LateEvidence);
    assert!(items[0].choices.contains(&Choice::Acknowledge));
    let again = old.clone();
    stage.tell(old, run(79), true, done());
    assert_eq!(stage.state.work_items.len(), 1, "once");
    stage.report("a", done());
    stage.report("b", done());
    assert_eq!(stage.status(), Status::Parked, "it ends when that is seen");
    let number = items[0].number;
    stage.acknowledge(number);
    assert_eq!(stage.status(), Status::Completed);
    stage.tell(again, run(80), true, done());
    assert_eq!(stage.status(), Status::Completed, "it was seen");
}

#[test]
fn what_is_not_undone_on_purpose_is_done_by_nothing_else_that_changes_something() {
    let mut stage = parked(
        "  - id: a\n    task: t.set@1\n    on_error: park\n    undo: none\n    because: it harms nobody\n  - id: b\n    task: t.set@1\n",
    );
    let said = why(stage.edit("a", Some("t.asked@1"), json!({})));
    assert!(said.contains("not undone, on purpose"), "{said}");
    assert_eq!(
        stage.edit("a", Some("t.look@1"), json!({})),
        Verdict::Applied
    );
}

#[test]
fn a_substitute_stays_when_only_its_input_is_edited_again() {
    let mut stage = parked(TWO);
    stage.edit("a", Some("t.asked@1"), json!({ "n": 1 }));
    stage.wait();
    stage.report("a", failed(false));
    assert_eq!(stage.phase("a"), Phase::Parked);
    stage.edit("a", None, json!({ "n": 2 }));
    assert_eq!(forward(&stage).facts.task_type.as_str(), "t.asked@1");
}

#[test]
fn a_parked_undo_of_its_own_task_is_edited_and_one_by_the_automation_is_substituted() {
    let own = "  - id: a\n    task: t.set@1\n  - id: b\n    task: t.set@1\n";
    let mut stage = Stage::with(own);
    stage.report("a", done());
    stage.report("b", failed(false));
    stage.report("a", failed(false));
    assert_eq!(stage.phase("a"), Phase::UndoParked);
    let said = why(stage.edit("a", None, json!({})));
    assert!(said.contains("undone by its own automation"), "{said}");
    assert_eq!(
        stage.edit("a", Some("t.blind@1"), json!({ "clean": true })),
        Verdict::Applied
    );
    stage.wait();
    let backward = stage.at("a").backward.clone().unwrap();
    assert!(backward.own_task && backward.input == json!({ "clean": true }));
    assert_eq!(stage.open("a").round, 2, "under another key");
    stage.report("a", undone());
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn an_effect_without_an_undo_is_taken_back_by_a_task_somebody_names() {
    let mut stage = Stage::with("  - id: a\n    task: t.stuck@1\n  - id: b\n    task: t.set@1\n");
    stage.report("a", done());
    stage.report("b", failed(false));
    assert_eq!(stage.phase("a"), Phase::UndoParked);
    assert_eq!(
        stage.edit("a", Some("t.set@1"), json!({})),
        Verdict::Applied
    );
    stage.wait();
    stage.report("a", undone());
    assert_eq!(stage.status(), Status::Compensated);
}

#[test]
fn an_undo_written_for_the_definitions_input_is_not_run_for_another() {
    let steps = |with: &str| {
        format!(
            "  - id: a\n    task: t.set@1\n    on_error: park\n    undo: {{ task: t.set@1, with: {with} }}\n  - id: b\n    task: t.set@1\n"
        )
    };
    let undone_after_edit = |with: &str| {
        let mut stage = parked(&steps(with));
        stage.edit("a", None, json!({}));
        stage.wait();
        stage.report("a", done());
        stage.report("b", failed(false));
        stage.phase("a")
    };
    assert_eq!(
        undone_after_edit("{ key: \"${ string(a.ok) }\" }"),
        Phase::Undoing,
        "it goes by what the step returned"
    );
    for other in [
        "{ key: fixed }",
        "{ key: \"${ string(a.ok) }\", host: fixed }",
    ] {
        assert_eq!(undone_after_edit(other), Phase::UndoParked, "{other}");
    }
}

#[test]
fn a_probe_written_for_the_definitions_input_is_not_asked_of_another() {
    let mut stage = parked(
        "  - id: a\n    task: t.blind@1\n    on_error: park\n    probe: { task: t.asked@1, with: { of: input } }\n  - id: b\n    task: t.set@1\n",
    );
    stage.edit("a", Some("t.set@1"), json!({}));
    stage.wait();
    stage.report("a", unknown());
    stage.wait();
    let asking = stage.at("a").asking.clone().unwrap();
    assert_eq!(
        asking.facts.task_type.as_str(),
        "t.set@1",
        "its own automation is asked"
    );
    stage.report(
        "a",
        found(ProbeAnswer::Happened {
            output: Value::Null,
        }),
    );
    assert_eq!(stage.phase("a"), Phase::Succeeded);
}

/// It would be called undone, and all of it would stand.
#[test]
fn what_changes_nothing_takes_nothing_back() {
    for first in [
        "  - id: a\n    task: t.set@1\n",
        "  - id: a\n    task: t.set@1\n    undo: { task: t.blind@1, with: {} }\n",
        "  - id: a\n    task: t.stuck@1\n",
    ] {
        let mut stage = Stage::with(&format!("{first}  - id: b\n    task: t.set@1\n"));
        stage.report("a", done());
        stage.report("b", failed(false));
        if stage.phase("a") == Phase::Undoing {
            stage.report("a", failed(false));
        }
        assert_eq!(stage.phase("a"), Phase::UndoParked);
        let said = why(stage.edit("a", Some("t.look@1"), json!({})));
        assert!(said.contains("takes nothing of a back"), "{said}");
        assert_eq!(stage.phase("a"), Phase::UndoParked, "nothing has moved");
        assert!(stage.at("a").may_have_effect);
        assert_eq!(
            stage.edit("a", Some("t.asked@1"), json!({})),
            Verdict::Applied
        );
    }
}
