//! What a person did by hand: it is an effect like a worker's, and on the way back a person is asked to take it back, unless nothing of it is to be taken back.

use baton_engine::input::Resolution;
use baton_engine::state::Phase;
use baton_engine::{Choice, Entry, Level, SagaState, Status, Verdict, WorkItemKind, replay};
use serde_json::{Value, json};

use crate::stage::{Stage, failed, key, undone, unknown};

/// What ends the saga: its last step fails for good.
const LAST: &str = "  - id: last\n    task: t.set@1\n";

/// A saga whose step `a` was parked with nothing changed, and done by hand; then the last one fails.
fn turned_back(steps: &str) -> Stage {
    let mut stage = done_by_hand(steps);
    stage.report("last", failed(false));
    stage
}

fn done_by_hand(steps: &str) -> Stage {
    done_by_hand_at(Level::NEWEST, steps)
}

fn done_by_hand_at(level: Level, steps: &str) -> Stage {
    let mut stage = Stage::with(&format!("{steps}{LAST}"));
    stage.level = level;
    if stage.phase("a") == Phase::Trying {
        stage.report("a", failed(false));
    }
    assert_eq!(stage.phase("a"), Phase::Parked);
    let output = json!({ "by": "hand" });
    assert_eq!(
        stage.resolve("a", Resolution::Done { output }),
        Verdict::Applied
    );
    stage
}

/// That `a` waits for a person to take back what a person did, and that the saga is compensated when that is said.
fn is_asked_and_settled(stage: &mut Stage, id: &str) {
    assert_eq!(
        (stage.phase(id), stage.status()),
        (Phase::UndoParked, Status::Parked)
    );
    let item = stage.state.work_item_of(&key(id)).unwrap();
    assert_eq!(item.kind, WorkItemKind::UndoMissing);
    assert!(
        item.title.contains("was done by hand by anna"),
        "{}",
        item.title
    );
    assert!(item.choices.contains(&Choice::ResolveUndone));
    assert!(!item.choices.contains(&Choice::Retry));
    stage.resolve(id, Resolution::Undone);
    assert_eq!(
        (stage.phase(id), stage.status()),
        (Phase::Undone, Status::Compensated)
    );
    assert!(stage.at(id).by_hand.is_none());
}

#[test]
fn it_is_taken_back_by_a_person_and_not_by_the_automation_s_own_undo() {
    let mut stage = turned_back("  - id: a\n    task: t.set@1\n    on_error: park\n");
    is_asked_and_settled(&mut stage, "a");
}

#[test]
fn what_comes_before_it_is_taken_back_after_it() {
    let mut stage = Stage::with(&format!(
        "  - id: z\n    task: t.set@1\n  - id: a\n    task: t.set@1\n    on_error: park\n{LAST}"
    ));
    stage.report("z", crate::stage::done());
    stage.report("a", failed(false));
    let output = Value::Null;
    stage.resolve("a", Resolution::Done { output });
    stage.report("last", failed(false));
    assert_eq!(
        (stage.phase("z"), stage.phase("a")),
        (Phase::Succeeded, Phase::UndoParked)
    );
    stage.resolve("a", Resolution::Undone);
    assert_eq!(stage.phase("z"), Phase::Undoing);
}

#[test]
fn a_worker_that_may_have_done_it_as_well_is_named() {
    let mut stage = Stage::with(&format!(
        "  - id: a\n    task: t.once@1\n    on_error: park\n{LAST}"
    ));
    stage.report("a", unknown());
    stage.wait();
    assert_eq!(stage.phase("a"), Phase::Parked, "nobody can tell");
    let output = Value::Null;
    stage.resolve("a", Resolution::Done { output });
    stage.report("last", failed(false));
    let title = stage.state.work_item_of(&key("a")).unwrap().title.clone();
    assert!(title.contains("a worker may have done it"), "{title}");
    is_asked_and_settled(&mut stage, "a");
}

#[test]
fn what_is_not_to_be_taken_back_is_left() {
    for steps in [
        "  - id: a\n    task: t.set@1\n    on_error: park\n    undo: none\n    because: it is left\n",
        "  - id: a\n    task: t.set@1\n    on_error: park\n    undo: { when: \"${ 1 > 2 }\" }\n",
        "  - id: a\n    task: t.look@1\n    on_error: park\n",
    ] {
        let stage = turned_back(steps);
        assert_eq!(stage.status(), Status::Compensated, "{steps}");
    }
}

#[test]
fn another_task_may_take_it_back_when_somebody_says_with_what() {
    let mut stage = turned_back(
        "  - id: a\n    task: t.set@1\n    on_error: park\n    undo: { task: t.blind@1, with: {} }\n",
    );
    let item = stage.state.work_item_of(&key("a")).unwrap();
    assert_eq!(item.kind, WorkItemKind::UndoMissing);
    assert_eq!(stage.edit("a", None, json!({ "of": 1 })), Verdict::Applied);
    stage.wait();
    stage.report("a", undone());
    assert_eq!(stage.status(), Status::Compensated);
}

/// It was never sent; who does it by hand has passed it all the same.
#[test]
fn from_a_pivot_on_that_was_done_by_hand_it_only_goes_forward() {
    for what in ["t.set@1", "t.look@1"] {
        let mut stage = done_by_hand(&format!(
            "  - id: a\n    task: {what}\n    with: {{ n: \"${{ input.nothing }}\" }}\n    pivot: true\n    on_error: park\n"
        ));
        assert!(stage.state.past_pivot);
        stage.report("last", failed(false));
        assert_eq!(
            (stage.phase("last"), stage.status()),
            (Phase::Parked, Status::Parked)
        );
        assert!(stage.state.unwinding.is_none());
    }
}

#[test]
fn a_saga_that_a_person_did_in_place_of_a_child_is_for_a_person_too() {
    let mut stage = turned_back(
        "  - id: a\n    saga: other@1\n    with: { n: \"${ input.nothing }\" }\n    on_error: park\n",
    );
    is_asked_and_settled(&mut stage, "a");
}

#[test]
fn a_list_that_a_person_did_as_a_whole_is_taken_back_as_a_whole() {
    let mut stage = turned_back(
        "  - id: a\n    task: t.set@1\n    for_each: \"${ input.nothing }\"\n    max_items: 3\n    on_error: park\n",
    );
    is_asked_and_settled(&mut stage, "a");
}

#[test]
fn an_item_that_a_person_did_is_for_a_person_and_the_others_are_not() {
    let mut stage = Stage::with(&format!(
        "  - id: a\n    task: t.set@1\n    for_each: [1, 2]\n    on_error: park\n{LAST}"
    ));
    stage.report("a[0]", failed(false));
    stage.report("a[1]", crate::stage::done());
    let output = Value::Null;
    stage.resolve("a[0]", Resolution::Done { output });
    stage.report("last", failed(false));
    assert_eq!(
        (stage.phase("a[0]"), stage.phase("a[1]")),
        (Phase::UndoParked, Phase::Undoing)
    );
    stage.report("a[1]", undone());
    is_asked_and_settled(&mut stage, "a[0]");
}

/// While a program may come to read it that knows nothing of it, it is done as that one does it: half of it would be worse than none.
#[test]
fn while_somebody_older_may_read_it_nothing_of_it_is_written() {
    let steps = "  - id: a\n    task: t.set@1\n    on_error: park\n";
    let mut stage = done_by_hand_at(Level::OLDEST, steps);
    let written = serde_json::to_string(&stage.entries).unwrap();
    assert!(!written.contains("by_hand"), "{written}");
    assert!(!stage.at("a").may_have_effect);
    stage.report("last", failed(false));
    assert_eq!(stage.status(), Status::Compensated);
    let written = serde_json::to_string(&done_by_hand(steps).entries).unwrap();
    assert!(written.contains("by_hand"), "{written}");
}

/// Records from before this was written down fold to what they folded to then.
#[test]
fn a_record_that_does_not_say_so_means_what_it_meant() {
    let stage = done_by_hand("  - id: a\n    task: t.set@1\n    on_error: park\n");
    assert!(stage.at("a").may_have_effect);
    let mut log = serde_json::to_value(&stage.entries).unwrap();
    let mut said = 0;
    for entry in log.as_array_mut().unwrap() {
        for record in entry["records"].as_array_mut().unwrap() {
            let moved = record.get_mut("moved").and_then(Value::as_object_mut);
            said += usize::from(moved.is_some_and(|moved| moved.remove("by_hand").is_some()));
        }
    }
    assert_eq!(said, 1);
    let earlier: Vec<Entry> = serde_json::from_value(log).unwrap();
    let mut state = SagaState::new(stage.state.id);
    replay(&mut state, &earlier).unwrap();
    let a = state.at(&key("a")).unwrap();
    assert_eq!((a.phase, a.may_have_effect), (Phase::Succeeded, false));
    // and so of snapshots
    let written = serde_json::to_value(&state).unwrap();
    assert_eq!(written["steps"]["a"].get("by_hand"), None);
    assert_eq!(serde_json::from_value::<SagaState>(written).unwrap(), state);
    let written = serde_json::to_value(&stage.state).unwrap();
    assert_eq!(written["steps"]["a"]["by_hand"], "anna");
    assert_eq!(
        serde_json::from_value::<SagaState>(written).unwrap(),
        stage.state
    );
}
