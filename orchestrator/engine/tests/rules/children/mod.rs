//! A step that is another saga: it begins, is done, fails, is taken back with its parent, whatever becomes of the words between them.

mod chaos;
pub(crate) mod family;
mod many;

use baton_engine::definition::Together;
use baton_engine::input::Resolution;
use baton_engine::plan::{Fails, How, plan_among};
use baton_engine::reservation::Change;
use baton_engine::state::{Cause, Phase};
use baton_engine::{Choice, Definition, Input, Record, Status, Verdict, WorkItemKind};
use baton_messages::{InboxMessage, SagaId, Standing, Wanted};
use serde_json::json;

use crate::stage::{done, failed};
use family::Family;

const TOP: &str = "saga: top\nversion: 1\nsteps:\n  - { id: a, task: t.set@1 }\n  - { id: mid, saga: middle@1, with: { n: 1 } }\n  - { id: z, task: t.set@1 }\noutput: ${ mid.from }\n";
const MIDDLE: &str = "saga: middle\nversion: 1\ninput: { type: object, required: [n], properties: { n: { type: integer } } }\nsteps:\n  - { id: b, task: t.set@1 }\n  - { id: low, saga: lowest@1, with: { n: \"${ input.n + 1 }\" } }\noutput: { from: \"${ low.n }\" }\n";
const LOWEST: &str = "saga: lowest\nversion: 1\nsteps:\n  - { id: c, task: t.once@1 }\n  - { id: d, task: t.set@1 }\noutput: { n: \"${ input.n }\" }\n";
const ALL: [&str; 3] = [TOP, MIDDLE, LOWEST];

fn below(family: &Family) -> (SagaId, SagaId) {
    let middle = family.child(family.root, "mid");
    (middle, family.child(middle, "low"))
}

/// The first step is done, and its child has begun.
fn with_the_middle_begun() -> (Family, [SagaId; 2]) {
    let mut family = Family::of(&ALL);
    let root = family.root;
    family.report(root, "a", done());
    let middle = family.child(root, "mid");
    (family, [root, middle])
}

/// So has the one below that.
fn with_the_lowest_begun() -> (Family, [SagaId; 3]) {
    let (mut family, [root, middle]) = with_the_middle_begun();
    family.report(middle, "b", done());
    let lowest = family.child(middle, "low");
    (family, [root, middle, lowest])
}

#[test]
fn a_child_is_done_and_its_output_is_the_step_s() {
    let mut family = Family::of(&ALL);
    family.go();
    let (middle, lowest) = below(&family);
    for saga in [family.root, middle, lowest] {
        assert_eq!(family.status(saga), Status::Completed);
    }
    assert_eq!(family.at(middle, "low").output, Some(json!({ "n": 2 })));
    assert_eq!(family.state(family.root).output, Some(json!(2)));
    let parent = family.state(lowest).parent.as_deref().unwrap();
    assert_eq!((parent.root, parent.depth), (family.root, 2));
    assert_eq!(family.effects.len(), 5);
    // in the name of the one in the middle nothing is held
    assert_eq!(family.changes, [(family.root, Change::Over)]);
}

#[test]
fn what_fails_at_the_top_is_taken_back_to_the_lowest_in_reverse() {
    let (mut family, [root, middle, lowest]) = with_the_lowest_begun();
    family.report(lowest, "c", done());
    family.report(lowest, "d", done());
    assert_eq!(family.status(middle), Status::Completed);
    family.report(root, "z", failed(false));
    assert_eq!(family.phase(root, "mid"), Phase::UndoInChild);
    assert_eq!(family.status(middle), Status::Compensating);
    assert!(matches!(
        family.state(lowest).unwinding,
        Some(Cause::Parent { saga, .. }) if saga == middle
    ));
    family.go();
    for saga in [root, middle, lowest] {
        assert_eq!(family.status(saga), Status::Compensated);
    }
    assert_eq!(family.order, ["lowest.d", "lowest.c", "middle.b", "top.a"]);
    assert!(family.effects.is_empty());
    assert!(family.taken_back.values().all(|times| *times == 1));
}

/// What a plan says is taken back, sagas within it included.
fn planned(top: &str, waves: &[Vec<baton_engine::plan::Undo>]) -> Vec<String> {
    let mut order = Vec::new();
    for undo in waves.iter().flatten() {
        match &undo.how {
            How::Saga { saga, undo } => {
                let name = saga.split('@').next().unwrap();
                order.extend(planned(name, undo));
            }
            _ => order.push(format!("{top}.{}", undo.step)),
        }
    }
    order
}

#[test]
fn a_plan_shows_what_lies_within_and_its_way_back() {
    let definition = Definition::parse(TOP).unwrap();
    let sagas = Together::beside(ALL);
    let plan = plan_among(&definition, &crate::stage::catalogue(), &sagas, None);
    let middle = plan.steps[1].within.as_ref().unwrap();
    let lowest = middle.steps[1].within.as_ref().unwrap();
    assert_eq!(
        (&*middle.definition, &*lowest.definition),
        ("middle", "lowest")
    );
    let Fails::Unwinds { undo, .. } = &plan.steps[2].fails else {
        panic!("{:?}", plan.steps[2].fails)
    };
    let as_it_is = ["lowest.d", "lowest.c", "middle.b", "top.a"];
    assert_eq!(planned("top", undo), as_it_is);
}

#[test]
fn a_child_that_fails_has_taken_back_what_it_did_and_its_step_has_failed_with_nothing_changed() {
    let (mut family, [root, _, lowest]) = with_the_lowest_begun();
    family.report(lowest, "c", done());
    family.report(lowest, "d", failed(false));
    family.go();
    assert_eq!(family.status(root), Status::Compensated);
    let step = family.at(root, "mid");
    assert_eq!((step.phase, step.may_have_effect), (Phase::Failed, false));
    let why = step.last_failure.clone().unwrap();
    assert_eq!(why.code, "test");
    assert_eq!(why.message, "low: d: as told");
    assert!(family.effects.is_empty());
}

#[test]
fn on_error_continue_goes_on_without_a_child_that_failed() {
    let top = "saga: top\nversion: 1\nsteps:\n  - { id: mid, saga: lowest@1, with: { n: 1 }, on_error: continue }\n  - { id: z, task: t.set@1 }\n";
    let mut family = Family::of(&[top, LOWEST]);
    family.talk();
    let child = family.child(family.root, "mid");
    family.report(child, "c", failed(false));
    family.go();
    assert_eq!(family.status(child), Status::Compensated);
    assert_eq!(family.phase(family.root, "mid"), Phase::Continued);
    assert_eq!(family.status(family.root), Status::Completed);
}

#[test]
fn a_cancel_takes_back_what_is_under_way_at_every_depth() {
    let (mut family, [root, middle, lowest]) = with_the_lowest_begun();
    family.report(lowest, "c", done());
    assert_eq!(family.cancel(root), Verdict::Applied);
    assert_eq!(family.phase(root, "mid"), Phase::UndoInChild);
    family.go();
    for saga in [root, middle, lowest] {
        assert_eq!(family.status(saga), Status::Compensated);
    }
    assert!(family.effects.is_empty());
    let undone = family.taken_back.values().copied().max();
    assert_eq!(undone, Some(1));
}

#[test]
fn an_undo_that_overtakes_the_start_leaves_a_tombstone() {
    let mut family = Family::of(&ALL);
    let root = family.root;
    let a = family.tasks.remove(0);
    family.end(&a, done());
    let start = family.words.remove(0);
    family.cancel(root);
    let undo = family.words.remove(0);
    let InboxMessage::ChildWanted(wanted) = &undo else {
        panic!("{undo:?}")
    };
    assert_eq!((wanted.want, wanted.number), (Wanted::Undone, 2));
    let child = wanted.child;
    assert_eq!(family.deliver(&undo), Verdict::Applied);
    assert_eq!(family.status(child), Status::Compensated);
    assert_eq!(family.deliver(&start), Verdict::Duplicate);
    assert_eq!(family.deliver(&undo), Verdict::Duplicate);
    assert!(
        family.tasks.iter().all(|of| of.saga == root),
        "it began nothing"
    );
    family.go();
    assert_eq!(family.status(root), Status::Compensated);
}

#[test]
fn what_comes_twice_or_late_changes_nothing() {
    let (mut family, [root, middle]) = with_the_middle_begun();
    let again = InboxMessage::ChildWanted(
        baton_engine::child::wanted(family.state(root), &crate::stage::key("mid")).unwrap(),
    );
    assert_eq!(family.deliver(&again), Verdict::Duplicate);
    family.go();
    let said = baton_engine::child::said(family.state(middle)).unwrap();
    let count = family.sagas[&root].1.len();
    let verdict = family.deliver(&InboxMessage::ChildSaid(said));
    assert!(matches!(verdict, Verdict::Ignored { .. }), "{verdict:?}");
    assert_eq!(family.sagas[&root].1.len(), count);
}

#[test]
fn a_parent_that_hears_nothing_asks_again_more_and_more_rarely_and_hears_what_was_lost() {
    let (mut family, [root, middle]) = with_the_middle_begun();
    let mut waits = Vec::new();
    for _ in 0..7 {
        let due = family.at(root, "mid").due.unwrap().0;
        waits.push((due - family.now) / 60_000);
        family.now = due;
        let timers = family
            .state(root)
            .due_timers(baton_messages::Timestamp(due));
        for timer in timers {
            family.give(root, &Input::TimerFired(timer));
        }
        family.words.clear();
    }
    assert_eq!(
        waits,
        [0, 2, 4, 8, 16, 30, 30],
        "minutes; of the first some has passed"
    );
    // all that it does is told to nobody
    let tasks: Vec<_> = family.tasks.drain(..).collect();
    for of in tasks {
        family.end(&of, done());
    }
    family.talk();
    family.go();
    assert_eq!(family.status(middle), Status::Completed);
}

#[test]
fn a_lost_end_is_asked_for() {
    let top = "saga: top\nversion: 1\nsteps:\n  - { id: mid, saga: lowest@1, with: { n: 1 } }\n";
    let mut family = Family::of(&[top, LOWEST]);
    family.talk();
    for _ in 0..2 {
        let of = family.tasks.remove(0);
        family.end(&of, done());
    }
    assert!(matches!(
        family.words.as_slice(),
        [InboxMessage::ChildSaid(said)] if matches!(said.standing, Standing::Completed { .. })
    ));
    family.words.clear();
    assert_eq!(family.phase(family.root, "mid"), Phase::InChild);
    assert!(family.wait());
    family.go();
    assert_eq!(family.status(family.root), Status::Completed);
}

#[test]
fn a_child_that_is_parked_is_waited_for_and_said_to_be() {
    let top = "saga: top\nversion: 1\nsteps:\n  - { id: mid, saga: low@1 }\n";
    let low = "saga: low\nversion: 1\nsteps:\n  - { id: c, task: t.set@1, on_error: park }\n";
    let mut family = Family::of(&[top, low]);
    family.talk();
    let (root, child) = (family.root, family.child(family.root, "mid"));
    family.report(child, "c", failed(false));
    assert_eq!(family.status(child), Status::Parked);
    assert_eq!(
        (family.status(root), family.phase(root, "mid")),
        (Status::Running, Phase::InChild)
    );
    let standing = family
        .at(root, "mid")
        .child
        .as_ref()
        .unwrap()
        .standing
        .clone();
    let Some(Standing::UnderWay {
        parked: Some(asks), ..
    }) = standing
    else {
        panic!("{standing:?}")
    };
    assert!(asks.starts_with("c failed"), "{asks}");
    let operator = family.operator();
    let step = crate::stage::key("c");
    family.give(child, &Input::RetryStep { step, operator });
    family.wait();
    family.go();
    assert_eq!(family.status(root), Status::Completed);
}

#[test]
fn an_abandoned_child_is_in_doubt_and_its_undo_is_for_a_person() {
    let (mut family, [root, middle]) = with_the_middle_begun();
    let operator = family.operator();
    family.give(middle, &Input::Abandon(operator));
    family.talk();
    assert_eq!(family.phase(root, "mid"), Phase::UndoParked);
    let item = family
        .state(root)
        .work_item_of(&crate::stage::key("mid"))
        .unwrap();
    assert!(item.choices.contains(&Choice::ResolveUndone));
    assert!(!item.choices.contains(&Choice::Retry));
    let operator = family.operator();
    let retried = family.give(
        root,
        &Input::RetryStep {
            step: crate::stage::key("mid"),
            operator,
        },
    );
    assert!(matches!(retried, Verdict::Refused(_)));
    let operator = family.operator();
    family.give(
        root,
        &Input::ResolveStep {
            step: crate::stage::key("mid"),
            resolution: Resolution::Undone,
            operator,
        },
    );
    // the grandchild was left to itself, as the operator's reason says
    let a = family.tasks.iter().position(|of| of.saga == root).unwrap();
    let a = family.tasks.remove(a);
    family.end(&a, family::well(&a));
    assert_eq!(family.status(root), Status::Compensated);
}

#[test]
fn a_child_that_takes_too_long_is_taken_back_and_its_step_has_failed() {
    let top = "saga: top\nversion: 1\nsteps:\n  - { id: mid, saga: lowest@1, with: { n: 1 }, timeout: 30s }\n";
    let mut family = Family::of(&[top, LOWEST]);
    family.talk();
    let (root, child) = (family.root, family.child(family.root, "mid"));
    family.report(child, "c", done());
    while family.at(root, "mid").child.as_ref().unwrap().want == Wanted::Done {
        assert!(family.wait());
    }
    assert_eq!(
        family.phase(root, "mid"),
        Phase::InChild,
        "it is waited for"
    );
    family.go();
    assert_eq!(family.status(child), Status::Compensated);
    assert_eq!(family.status(root), Status::Compensated);
    let why = family.at(root, "mid").last_failure.clone().unwrap();
    assert_eq!(why.code, "timeout");
    assert!(family.effects.is_empty());
}

#[test]
fn what_does_not_fit_begins_nothing_and_fails_the_step() {
    let top = "saga: top\nversion: 1\nsteps:\n  - { id: mid, saga: middle@1, with: { n: one } }\n";
    let mut family = Family::of(&[top, MIDDLE, LOWEST]);
    family.go();
    assert_eq!(family.status(family.root), Status::Compensated);
    let why = family.at(family.root, "mid").last_failure.clone().unwrap();
    assert_eq!(why.code, "input-misfit");
    assert!(family.effects.is_empty() && family.taken_back.is_empty());
}

#[test]
fn a_saga_that_names_itself_does_not_go_on_for_ever() {
    let own = "saga: own\nversion: 1\nsteps:\n  - { id: again, saga: own@1 }\n";
    let mut family = Family::of(&[own]);
    family.go();
    assert_eq!(
        family.sagas.len(),
        10,
        "the root, eight below it, and one that is refused"
    );
    let all = family.sagas.values();
    assert!(
        all.clone()
            .all(|(state, _)| state.status == Status::Compensated)
    );
    let why = family
        .at(family.root, "again")
        .last_failure
        .clone()
        .unwrap();
    assert_eq!(why.code, "too-deep");
}

#[test]
fn a_child_with_a_pivot_is_the_pivot_of_its_parent_and_only_goes_forward() {
    let top = "saga: top\nversion: 1\nsteps:\n  - { id: a, task: t.set@1 }\n  - { id: mid, saga: low@1, pivot: true }\n";
    let low = "saga: low\nversion: 1\nsteps:\n  - { id: b, task: t.set@1 }\n  - { id: c, task: t.once@1, pivot: true }\n  - { id: d, task: t.set@1 }\n";
    let mut family = Family::of(&[top, low]);
    let root = family.root;
    family.report(root, "a", done());
    let child = family.child(root, "mid");
    assert!(family.state(root).past_pivot);
    family.report(child, "b", done());
    family.report(child, "c", failed(false));
    family.go();
    assert_eq!(family.status(child), Status::Compensated);
    assert_eq!(
        family.status(root),
        Status::Compensated,
        "nothing of the pivot was done"
    );
    assert!(family.effects.is_empty());

    let mut family = Family::of(&[top, low]);
    family.report(root, "a", done());
    family.report(child, "b", done());
    family.report(child, "c", done());
    family.cancel(root);
    family.go();
    assert_eq!(family.status(root), Status::Completed);
    assert_eq!(family.effects.len(), 4);
}

#[test]
fn a_child_past_its_pivot_that_is_wanted_undone_is_for_a_person() {
    // no checker would let this pass; what is registered may be older than it
    let top = "saga: top\nversion: 1\nsteps:\n  - { id: mid, saga: low@1 }\n  - { id: z, task: t.set@1 }\n";
    let low = "saga: low\nversion: 1\nsteps:\n  - { id: c, task: t.once@1, pivot: true }\n";
    let mut family = Family::of(&[top, low]);
    family.talk();
    let (root, child) = (family.root, family.child(family.root, "mid"));
    family.report(child, "c", done());
    family.report(root, "z", failed(false));
    family.go();
    assert_eq!(family.status(child), Status::Completed);
    assert_eq!(
        (family.status(root), family.phase(root, "mid")),
        (Status::Parked, Phase::UndoParked)
    );
}

#[test]
fn a_child_whose_output_cannot_be_computed_is_taken_back_and_its_step_has_failed() {
    let top = "saga: top\nversion: 1\nsteps:\n  - { id: mid, saga: low@1 }\n  - { id: z, task: t.set@1 }\n";
    let low = "saga: low\nversion: 1\nsteps:\n  - { id: c, task: t.set@1 }\noutput: { n: \"${ c.nothing }\" }\n";
    let mut family = Family::of(&[top, low]);
    family.go();
    let root = family.root;
    assert_eq!(family.status(root), Status::Compensated);
    let why = family.at(root, "mid").last_failure.clone().unwrap();
    assert_eq!(why.code, "no-output");
    assert!(why.message.contains("`c.nothing`"), "{}", why.message);
    assert_eq!(family.phase(root, "z"), Phase::Waiting);
    assert_eq!(family.order, ["low.c"]);
    assert!(family.effects.is_empty());

    // by itself it is done all the same
    let mut family = Family::of(&[low]);
    family.go();
    assert_eq!(family.status(family.root), Status::Completed);
    let state = family.state(family.root);
    assert_eq!((&state.output, &state.no_output), (&None, &None));
}

#[test]
fn a_child_past_its_pivot_whose_output_cannot_be_computed_is_for_a_person() {
    let top = "saga: top\nversion: 1\nsteps:\n  - { id: mid, saga: low@1, pivot: true }\n  - { id: z, task: t.set@1 }\n";
    let low = "saga: low\nversion: 1\nsteps:\n  - { id: c, task: t.once@1, pivot: true }\noutput: { n: \"${ c.nothing }\" }\n";
    let mut family = Family::of(&[top, low]);
    family.go();
    let root = family.root;
    assert_eq!(
        (family.status(root), family.phase(root, "mid")),
        (Status::Parked, Phase::Parked)
    );
    let why = family.at(root, "mid").last_failure.clone().unwrap();
    assert_eq!(why.code, "no-output");
    assert_eq!(family.effects.len(), 1, "what was done stands");
}

#[test]
fn a_pause_holds_what_is_below_and_a_resume_lets_it_go_on() {
    let mut family = Family::of(&ALL);
    let root = family.root;
    family.report(root, "a", done());
    let (middle, operator) = (family.child(root, "mid"), family.operator());
    family.report(middle, "b", done());
    let lowest = family.child(middle, "low");
    family.give(root, &Input::Pause(operator));
    family.talk();
    for saga in [root, middle, lowest] {
        assert!(family.state(saga).paused);
    }
    let operator = family.operator();
    family.give(root, &Input::Resume(operator));
    family.talk();
    for saga in [root, middle, lowest] {
        assert!(!family.state(saga).paused);
    }
    family.go();
    assert_eq!(family.status(root), Status::Completed);
}

#[test]
fn a_child_that_an_operator_paused_does_not_go_on_with_its_parent() {
    let (mut family, [root, middle]) = with_the_middle_begun();
    let [one, two, three] = [family.operator(), family.operator(), family.operator()];
    family.give(middle, &Input::Pause(one));
    family.give(root, &Input::Pause(two));
    family.talk();
    family.give(root, &Input::Resume(three));
    family.talk();
    assert!(family.state(middle).paused, "who paused it lets it go on");
}

#[test]
fn a_step_that_is_tried_again_begins_another_child() {
    let top = "saga: top\nversion: 1\nsteps:\n  - { id: mid, saga: lowest@1, with: { n: 1 }, on_error: park }\n";
    let mut family = Family::of(&[top, LOWEST]);
    family.talk();
    let (root, first) = (family.root, family.child(family.root, "mid"));
    family.report(first, "c", failed(false));
    assert_eq!(family.phase(root, "mid"), Phase::Parked);
    let operator = family.operator();
    let step = crate::stage::key("mid");
    family.give(root, &Input::RetryStep { step, operator });
    family.wait();
    family.go();
    let second = family.child(root, "mid");
    assert_ne!(first, second);
    assert_eq!(family.at(root, "mid").round, 2);
    assert_eq!(family.status(second), Status::Completed);
    assert_eq!(family.status(root), Status::Completed);
}

#[test]
fn items_are_children_too_and_are_taken_back_the_last_first() {
    let top = "saga: top\nversion: 1\nsteps:\n  - { id: fan, saga: lowest@1, for_each: [1, 2, 3, 4], max_parallel: 2, tolerate: 1, with: { n: \"${ item }\" } }\n  - { id: z, task: t.set@1 }\n";
    let mut family = Family::of(&[top, LOWEST]);
    family.talk();
    let root = family.root;
    let second = family.child(root, "fan[1]");
    family.report(second, "c", done());
    family.report(second, "d", failed(false));
    while family.phase(root, "fan") != Phase::Succeeded {
        let of = family.tasks.remove(0);
        family.end(&of, family::well(&of));
        family.talk();
    }
    assert_eq!(
        family.at(root, "fan").output,
        Some(json!([{ "n": 1 }, null, { "n": 3 }, { "n": 4 }]))
    );
    family.report(root, "z", failed(false));
    family.go();
    assert_eq!(family.status(root), Status::Compensated);
    assert!(family.effects.is_empty());
    let begun = family.sagas[&root]
        .1
        .iter()
        .flat_map(|entry| &entry.records);
    let begun = begun.filter(|record| matches!(record, Record::ChildBegun { .. }));
    assert_eq!(begun.count(), 4);
    assert!(family.taken_back.values().all(|times| *times == 1));
}

#[test]
fn of_two_words_of_a_child_the_later_one_counts_in_whatever_order_they_come() {
    let top = "saga: top\nversion: 1\nsteps:\n  - { id: mid, saga: low@1 }\n";
    let low = "saga: low\nversion: 1\nsteps:\n  - { id: c, task: t.set@1, on_error: park }\n";
    let mut family = Family::of(&[top, low]);
    family.talk();
    let (root, child) = (family.root, family.child(family.root, "mid"));
    let of = family.tasks.remove(0);
    family.end(&of, failed(false));
    let operator = family.operator();
    let step = crate::stage::key("c");
    family.give(child, &Input::RetryStep { step, operator });
    let [parked, goes_on] = <[InboxMessage; 2]>::try_from(family.words.split_off(0)).unwrap();
    assert_eq!(family.deliver(&goes_on), Verdict::Applied);
    assert_eq!(family.deliver(&parked), Verdict::Duplicate);
    let standing = family
        .at(root, "mid")
        .child
        .as_ref()
        .unwrap()
        .standing
        .clone();
    assert!(
        matches!(standing, Some(Standing::UnderWay { parked: None, .. })),
        "{standing:?}"
    );
}

#[test]
fn what_an_abandoned_child_has_left_is_named_to_whoever_undoes_what_was_done_in_its_place() {
    let top = "saga: top\nversion: 1\nsteps:\n  - { id: mid, saga: low@1, on_error: park }\n  - { id: z, task: t.set@1 }\n";
    let low = "saga: low\nversion: 1\nsteps:\n  - { id: c, task: t.set@1 }\n  - { id: d, task: t.set@1 }\n";
    let mut family = Family::of(&[top, low]);
    family.talk();
    let (root, child) = (family.root, family.child(family.root, "mid"));
    family.report(child, "c", done());
    let gives_up = family.operator();
    family.give(child, &Input::Abandon(gives_up));
    family.talk();
    assert_eq!(family.phase(root, "mid"), Phase::Parked);
    let by_hand = Input::ResolveStep {
        step: crate::stage::key("mid"),
        resolution: Resolution::Done { output: json!({}) },
        operator: family.operator(),
    };
    assert_eq!(family.give(root, &by_hand), Verdict::Applied);
    family.report(root, "z", failed(false));
    assert_eq!(family.phase(root, "mid"), Phase::UndoParked);
    let item = family
        .state(root)
        .work_item_of(&crate::stage::key("mid"))
        .unwrap();
    let left = format!("by anna, and saga {child} (low@1) may have left something: undo it");
    assert!(item.title.contains(&left), "{}", item.title);
}

#[test]
fn whoever_abandons_a_paused_parent_leaves_no_child_at_rest_for_ever() {
    let (mut family, [root, middle]) = with_the_middle_begun();
    let [pauses, gives_up] = [family.operator(), family.operator()];
    family.give(root, &Input::Pause(pauses));
    family.talk();
    assert!(family.state(middle).paused);
    family.give(root, &Input::Abandon(gives_up));
    family.talk();
    assert!(!family.state(middle).paused, "it goes on to its own end");
    family.go();
    assert_eq!(family.status(middle), Status::Completed);
}

#[test]
fn a_child_that_had_completed_is_cancelled_by_nobody_and_its_parent_hears_when_it_is_given_up() {
    let (mut family, [root, middle, lowest]) = with_the_lowest_begun();
    family.report(lowest, "c", done());
    family.report(lowest, "d", done());
    assert_eq!(family.phase(root, "mid"), Phase::Succeeded);
    let broken = baton_messages::InputId(uuid::Uuid::from_u128(4_711));
    family.give(
        middle,
        &Input::Broken {
            id: broken,
            error: "panicked".into(),
        },
    );
    assert_eq!(family.status(middle), Status::Parked);
    let item = family.state(middle).work_items.values().next().unwrap();
    assert!(!item.choices.contains(&Choice::Cancel), "{item:?}");
    let cancelled = family.cancel(middle);
    assert!(matches!(cancelled, Verdict::Refused(_)), "{cancelled:?}");
    let gives_up = family.operator();
    family.give(middle, &Input::Abandon(gives_up));
    family.talk();
    let items: Vec<_> = family.state(root).work_items.values().cloned().collect();
    assert_eq!(items.len(), 1, "{items:?}");
    assert!(items[0].title.contains("has been abandoned"), "{items:?}");
    assert!(items[0].choices.contains(&Choice::Acknowledge));
    family.go();
    assert_eq!(
        family.status(root),
        Status::Parked,
        "it ends when somebody has seen to it"
    );
}

/// It ended while its parent held it, and heard only then that it is held no more: it takes back what it did when its parent goes on, whatever becomes of the
/// words between.
#[test]
fn one_that_ended_while_it_was_held_is_not_paused_by_itself() {
    let top = "saga: top\nversion: 1\nsteps:\n  - { id: mid, saga: lowest@1, with: { n: 1 } }\n  - { id: z, task: t.set@1 }\n";
    let mut family = Family::of(&[top, LOWEST]);
    let root = family.root;
    family.talk();
    let child = family.child(root, "mid");
    family.report(child, "c", done());
    let pause = |family: &mut Family, input: fn(baton_engine::Operator) -> Input| {
        let operator = family.operator();
        assert_eq!(family.give(root, &input(operator)), Verdict::Applied);
    };
    pause(&mut family, Input::Pause);
    family.talk();
    assert!(family.state(child).paused);
    let of = family.tasks.remove(0);
    family.end(&of, done());
    assert_eq!(family.status(child), Status::Completed);
    let late = std::mem::take(&mut family.words);
    pause(&mut family, Input::Resume);
    family.talk();
    family.words = late;
    family.talk();
    let of = family.tasks.remove(0);
    family.end(&of, failed(false));
    assert_eq!(family.phase(root, "mid"), Phase::UndoInChild);
    family.words.clear();
    pause(&mut family, Input::Pause);
    family.talk();
    pause(&mut family, Input::Resume);
    family.go();
    for saga in [root, child] {
        assert_eq!(family.status(saga), Status::Compensated);
    }
}

/// The word that it is to be undone meets a child that is past its pivot, and whose parent does not know that yet: it goes on, only forward, somebody is asked once however often it is told, and the
/// parent hears why nothing is undone.
#[test]
fn a_child_under_way_past_its_pivot_is_not_taken_back_by_a_word_that_comes_late() {
    // no checker would let this pass; what is registered may be older than it
    let top = "saga: top\nversion: 1\nsteps:\n  - { id: mid, saga: low@1 }\n  - { id: z, task: t.set@1, after: [] }\n";
    let low = "saga: low\nversion: 1\nsteps:\n  - { id: b, task: t.set@1 }\n  - { id: c, task: t.once@1, pivot: true }\n  - { id: d, task: t.set@1 }\n";
    let mut family = Family::of(&[top, low]);
    family.talk();
    let (root, child) = (family.root, family.child(family.root, "mid"));
    family.report(child, "b", done());
    family.report(child, "c", done());
    assert!(family.state(child).past_pivot);
    family.report(root, "z", failed(false));
    assert!(family.state(root).unwinding.is_some());
    let asked = |family: &Family| {
        let items = family.state(child).work_items.values();
        let items = items.filter(|item| item.kind == WorkItemKind::CancelAfterPivot);
        items.count()
    };
    assert!(family.state(child).unwinding.is_none(), "only forward");
    assert_eq!(
        (family.phase(child, "d"), asked(&family)),
        (Phase::Trying, 1)
    );
    // it is told once more, and asked nobody once more
    while family.at(root, "mid").child.as_ref().unwrap().number < 4 {
        assert!(family.wait());
        family.talk();
    }
    assert_eq!(asked(&family), 1);
    let done_before = family.effects.len();
    family.go();
    assert_eq!(family.status(child), Status::Completed);
    assert_eq!(family.effects.len(), done_before + 1);
    assert!(family.taken_back.is_empty());
    assert_eq!(
        (family.status(root), family.phase(root, "mid")),
        (Status::Parked, Phase::UndoParked)
    );
}
