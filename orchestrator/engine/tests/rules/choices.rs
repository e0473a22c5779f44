//! What a work item offers, by its kind and its step, and which of that is possible now.

use baton_engine::decide::choices::{Possible, possible};
use baton_engine::state::Phase;
use baton_engine::{Choice, Input, Refusal, Rules, Verdict};
use baton_messages::{TaskType, Timestamp};
use serde_json::{Value, json};

use crate::stage::{Stage, done, failed, is_undo, run, unknown};

/// Two tasks, the second after the first.
const TWO: &str = "  - id: a\n    task: t.set@1\n  - id: b\n    task: t.set@1\n";

/// The first of these has failed, and asks.
fn parked(steps: &str) -> Stage {
    let mut stage = Stage::with(steps);
    stage.report("a", failed(false));
    assert_eq!(stage.phase("a"), Phase::Parked);
    stage
}

/// The undo of the first has failed, and asks.
fn undo_parked(first: &str) -> Stage {
    let mut stage = Stage::with(&format!("{first}  - id: b\n    task: t.set@1\n"));
    stage.report("a", done());
    stage.report("b", failed(false));
    if stage.phase("a") == Phase::Undoing {
        stage.report("a", failed(false));
    }
    assert_eq!(stage.phase("a"), Phase::UndoParked);
    stage
}

impl Stage {
    /// What is possible now about the only work item.
    fn possible(&self) -> Vec<Possible> {
        assert_eq!(self.state.work_items.len(), 1);
        let number = *self.state.work_items.keys().next().unwrap();
        let rules = Rules {
            definition: &self.definition,
            catalogue: &self.catalogue,
            sagas: &self.sagas,
            level: baton_engine::Level::NEWEST,
        };
        let found = possible(rules, &self.state, number, Timestamp(self.now)).unwrap();
        found.expect("it is open")
    }

    fn one(&self, choice: Choice) -> Possible {
        let all = self.possible();
        let found = all.into_iter().find(|one| one.choice == choice);
        found.unwrap_or_else(|| panic!("{choice:?} is not offered"))
    }

    /// A task type like another one, with another name and another output.
    fn announce(&mut self, like: &str, name: &str, output: Value) {
        let like = self.catalogue.get(&TaskType::new(like).unwrap()).unwrap();
        let mut manifest = like.manifest.clone();
        manifest.task_type = TaskType::new(name).unwrap();
        manifest.output = output;
        self.catalogue.announce(manifest).unwrap();
    }
}

#[test]
fn a_task_that_changed_nothing_offers_an_edit_and_a_substitute() {
    let stage = parked("  - id: a\n    task: t.set@1\n    on_error: park\n");
    let all = [
        Choice::Retry,
        Choice::Edit,
        Choice::Substitute,
        Choice::Skip,
        Choice::ResolveDone,
        Choice::Cancel,
        Choice::Abandon,
    ];
    assert_eq!(stage.choices(), all);
    let now: Vec<Choice> = stage.possible().iter().map(|one| one.choice).collect();
    assert_eq!(now, all);
    let refused = stage.possible().into_iter().filter_map(|one| one.refused);
    assert_eq!(refused.collect::<Vec<String>>(), Vec::<String>::new());
}

#[test]
fn where_the_values_are_to_blame_the_work_item_says_which_and_what_helps() {
    let title = |step: &str| {
        let stage = Stage::with(step);
        assert_eq!(stage.phase("a"), Phase::Parked);
        let item = stage.state.work_items.values().next().unwrap();
        item.title.clone()
    };
    let said = title(
        "  - id: a\n    task: t.set@1\n    with: { to: [\"${ input.nothing }\"] }\n    on_error: park\n",
    );
    for part in [
        "a failed: `with` at /to/0: `input.nothing`: ",
        "`baton edit` gives it another input",
        "`baton skip`",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let said = title(
        "  - id: a\n    task: t.set@1\n    with: { n: 1 }\n    pool: \"${ input.nothing }\"\n    on_error: park\n",
    );
    assert!(said.contains("`pool`: `input.nothing`: "), "{said}");
    // of what a worker says another try may well be the answer
    let stage = parked("  - id: a\n    task: t.set@1\n    on_error: park\n");
    let item = stage.state.work_items.values().next().unwrap();
    assert!(!item.title.contains("tried again"), "{}", item.title);
}

#[test]
fn what_may_have_changed_something_and_what_is_no_task_offer_neither() {
    let mut stage = Stage::with("  - id: a\n    task: t.once@1\n    on_error: park\n");
    stage.report("a", unknown());
    stage.wait();
    assert_eq!(stage.phase("a"), Phase::Parked);
    let neither = [
        Choice::Retry,
        Choice::Skip,
        Choice::ResolveDone,
        Choice::Cancel,
        Choice::Abandon,
    ];
    assert_eq!(stage.choices(), neither);
    let mut stage = Stage::with(
        "  - id: a\n    task: t.set@1\n    for_each: \"${ input.nothing }\"\n    on_error: park\n",
    );
    assert_eq!(stage.phase("a"), Phase::Parked, "there is no such list");
    assert_eq!(stage.choices(), neither);
    let verdict = stage.edit("a", None, json!({}));
    let Verdict::Refused(Refusal::NotNow { why, .. }) = verdict else {
        panic!("{verdict:?}")
    };
    assert!(why.contains("no task with an input of its own"), "{why}");
}

#[test]
fn an_undo_offers_what_its_plan_leaves() {
    let by_itself = undo_parked("  - id: a\n    task: t.set@1\n");
    let substituted = [
        Choice::Retry,
        Choice::Substitute,
        Choice::ResolveUndone,
        Choice::Abandon,
    ];
    assert_eq!(by_itself.choices(), substituted);
    let by_a_task =
        undo_parked("  - id: a\n    task: t.set@1\n    undo: { task: t.blind@1, with: {} }\n");
    let edited = [
        Choice::Retry,
        Choice::Edit,
        Choice::Substitute,
        Choice::ResolveUndone,
        Choice::Abandon,
    ];
    assert_eq!(by_a_task.choices(), edited);
    let mut by_nothing = undo_parked("  - id: a\n    task: t.stuck@1\n");
    let named = [Choice::Substitute, Choice::ResolveUndone, Choice::Abandon];
    assert_eq!(by_nothing.choices(), named);
    let verdict = by_nothing.retry("a");
    assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
}

#[test]
fn what_may_still_act_elsewhere_is_not_tried_just_now_and_is_resolved() {
    let mut stage = Stage::with(TWO);
    stage.report("a", done());
    stage.report("b", failed(false));
    let of = stage.open("a");
    assert!(is_undo(&of));
    stage.give(&Input::Resend(of.clone()));
    stage.tell(of, run(9), true, failed(false));
    assert_eq!(stage.phase("a"), Phase::UndoParked);
    for choice in [Choice::Retry, Choice::Substitute] {
        let why = stage.one(choice).refused.expect("it is refused just now");
        assert!(why.contains("may still be acting"), "{choice:?}: {why}");
    }
    assert_eq!(stage.one(Choice::ResolveUndone).refused, None);
    stage.now = stage.at("a").lingers_until().unwrap().0;
    assert_eq!(stage.one(Choice::Retry).refused, None);
    assert_eq!(stage.one(Choice::Substitute).refused, None);
}

#[test]
fn substitutes_are_named_those_like_it_first_and_none_that_could_not_be_taken_back() {
    let mut stage = parked("  - id: a\n    task: t.set@1\n    on_error: park\n");
    stage.announce("t.set@1", "t.set@2", json!({}));
    stage.announce("t.set@1", "s.set@1", json!({}));
    let named = stage.one(Choice::Substitute).task_types;
    let named: Vec<&str> = named.iter().map(TaskType::as_str).collect();
    let like = ["t.asked@1", "t.blind@1", "t.file@1", "t.look@1", "t.once@1"];
    let all = [&["t.set@2"][..], &like, &["s.set@1"]].concat();
    assert_eq!(named, all, "t.stuck@1 brings no undo");
}

#[test]
fn a_substitute_whose_output_does_not_fit_what_comes_after_is_refused() {
    let object = |name: &str, kind: &str| json!({ "type": "object", "properties": { name: { "type": kind } }, "required": [name], "additionalProperties": false });
    let mut stage = parked(
        "  - id: a\n    task: t.set@1\n    on_error: park\n  - id: b\n    task: t.set@1\n    with: { n: \"${ a.vlan + 1 }\" }\n",
    );
    stage.announce("t.set@1", "t.number@1", object("vlan", "integer"));
    stage.announce("t.set@1", "t.text@1", object("vlan", "string"));
    stage.announce("t.set@1", "t.other@1", object("port", "integer"));
    for other in ["t.text@1", "t.other@1"] {
        let verdict = stage.edit("a", Some(other), json!({}));
        let Verdict::Refused(Refusal::NotNow { why, action }) = verdict else {
            panic!("{other}: {verdict:?}")
        };
        assert_eq!(action, "substitute");
        assert!(why.contains("does not fit what comes after a"), "{why}");
        assert!(why.contains("comes after a: b: "), "{why}");
    }
    let named = stage.one(Choice::Substitute).task_types;
    let is_named = |name: &str| named.iter().any(|one| one.as_str() == name);
    assert!(is_named("t.number@1") && !is_named("t.text@1") && !is_named("t.other@1"));
    assert_eq!(
        stage.edit("a", Some("t.number@1"), json!({})),
        Verdict::Applied
    );
}

#[test]
fn what_a_saga_and_a_group_return_is_read_of_a_substitute_as_well() {
    let object = |name: &str| json!({ "type": "object", "properties": { name: { "type": "integer" } }, "required": [name], "additionalProperties": false });
    let of_the_saga =
        "  - id: a\n    task: t.set@1\n    on_error: park\noutput: { at: \"${ a.vlan }\" }\n";
    let of_a_group = "  - id: a\n    task: t.set@1\n    on_error: park\n  - id: each\n    after: [a]\n    for_each: [1, 2]\n    steps:\n      - id: c\n        task: t.set@1\n        with: { n: \"${ a.vlan }\" }\n";
    for steps in [of_the_saga, of_a_group] {
        let mut stage = parked(steps);
        stage.announce("t.set@1", "t.other@1", object("port"));
        stage.announce("t.set@1", "t.number@1", object("vlan"));
        let verdict = stage.edit("a", Some("t.other@1"), json!({}));
        assert!(
            matches!(verdict, Verdict::Refused(Refusal::NotNow { .. })),
            "{verdict:?}"
        );
        let verdict = stage.edit("a", Some("t.number@1"), json!({}));
        assert_eq!(verdict, Verdict::Applied, "{steps}");
    }
}

#[test]
fn what_is_not_open_offers_nothing() {
    let mut stage = parked("  - id: a\n    task: t.set@1\n    on_error: park\n");
    let number = *stage.state.work_items.keys().next().unwrap();
    stage.retry("a");
    let rules = Rules {
        definition: &stage.definition,
        catalogue: &stage.catalogue,
        sagas: &stage.sagas,
        level: baton_engine::Level::NEWEST,
    };
    let now = Timestamp(stage.now);
    assert_eq!(possible(rules, &stage.state, number, now), Ok(None));
}

#[test]
fn an_undo_is_not_offered_what_changes_nothing() {
    let stage = undo_parked("  - id: a\n    task: t.set@1\n");
    let named = stage.one(Choice::Substitute).task_types;
    let named: Vec<&str> = named.iter().map(TaskType::as_str).collect();
    let all = [
        "t.set@1",
        "t.asked@1",
        "t.blind@1",
        "t.file@1",
        "t.once@1",
        "t.stuck@1",
    ];
    assert!(!named.contains(&"t.look@1"), "{named:?}");
    assert!(named.iter().all(|one| all.contains(one)), "{named:?}");
    assert!(named.len() >= 5, "{named:?}");
}

#[test]
fn no_more_substitutes_are_named_than_a_person_reads_and_the_rest_is_counted() {
    let mut stage = parked("  - id: a\n    task: t.set@1\n    on_error: park\n");
    assert_eq!(stage.one(Choice::Substitute).more, 0);
    for n in 10..35 {
        stage.announce("t.set@1", &format!("s.set{n}@1"), json!({}));
    }
    let one = stage.one(Choice::Substitute);
    // five like it by name, and the first fifteen of the others
    assert_eq!((one.task_types.len(), one.more), (20, 10));
    assert_eq!(one.refused, None);
}

/// Which of very many fits is looked for among the first: that none of those does is no word about the others.
#[test]
fn where_none_of_those_looked_at_fits_it_is_said_how_many_were_not() {
    let object = |name: &str| json!({ "type": "object", "properties": { name: { "type": "integer" } }, "required": [name], "additionalProperties": false });
    let mut stage = Stage::waiting(
        "  - id: a\n    task: q.set@1\n    on_error: park\n  - id: b\n    task: t.set@1\n    with: { n: \"${ a.vlan + 1 }\" }\n",
    );
    stage.announce("t.set@1", "q.set@1", object("vlan"));
    for n in 100..205 {
        stage.announce("t.set@1", &format!("q.set{n}@1"), object("port"));
    }
    let start = stage.start();
    assert_eq!(stage.give(&start), Verdict::Applied);
    stage.report("a", failed(false));
    let one = stage.one(Choice::Substitute);
    // five of the same family, and the seven of another, of which one brings no undo
    assert_eq!((one.task_types.len(), one.more), (0, 12));
    let why = one.refused.unwrap();
    assert!(
        why.contains("of 100 task types") && why.contains("12 more are known"),
        "{why}"
    );
    assert_eq!(
        stage.edit("a", Some("t.set@1"), json!({})),
        Verdict::Applied,
        "one that fits is taken all the same"
    );
}
