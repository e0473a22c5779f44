//! Locks and pools where steps stand in a group: an item takes nothing itself, acts under the numbers of the saga it is of, and is done where its steps say.

use std::collections::BTreeMap;

use baton_engine::command::commands;
use baton_engine::reservation::Change;
use baton_engine::{Command, Input, Refusal, Status, Verdict};
use baton_messages::{Direction, InboxKey, SagaId, Task, TaskMessage};
use serde_json::json;

use super::{gave, item};
use crate::children::family::Family;
use crate::stage::{failed, undone};

const LOCKED: &str = "saga: hosts\nversion: 1\nlocks: [\"site/${ input.site }\"]\nsteps:\n  - id: each\n    for_each: [1, 2]\n    steps: [{ id: x, task: t.set@1 }, { id: y, task: t.set@1 }]\n";
const WITHIN: &str = "saga: hosts\nversion: 1\nsteps:\n  - id: each\n    for_each: [1, 2]\n    steps: [{ id: sub, saga: sub@1, with: {} }]\n";
const SUB: &str = "saga: sub\nversion: 1\nlocks: [below]\nsteps: [{ id: a, task: t.set@1 }]\n";
const POOLS: &str = "saga: hosts\nversion: 1\nsteps:\n  - id: each\n    for_each: ${ input.hosts }\n    steps:\n      - { id: x, task: t.set@1, pool: '${ item.site }' }\n      - { id: y, task: t.set@1, pool: '${ x.pool }', undo: { task: t.set@1 } }\n      - { id: z, task: t.set@1, pool: '${ input.site }' }\n";

/// What the records of a saga have led to.
fn led_to(family: &Family, saga: SagaId) -> Vec<Command> {
    let (state, entries) = &family.sagas[&saga];
    let inbox = InboxKey::of(0);
    let all = entries.iter();
    all.flat_map(|entry| commands(state, &inbox, &entry.records))
        .collect()
}

/// The task of a step that is to be sent now.
fn task(family: &Family, saga: SagaId, step: &str) -> Task {
    let sent = led_to(family, saga).into_iter();
    let mut sent = sent.filter_map(|command| match command {
        Command::Dispatch(task) => {
            let TaskMessage::Task(task) = *task;
            Some(task)
        }
        _ => None,
    });
    let sent = sent.find(|task| task.of.step.as_str() == step);
    sent.unwrap_or_else(|| panic!("nothing is sent of {step}"))
}

fn fences() -> BTreeMap<String, u64> {
    BTreeMap::from([("site/vie".to_owned(), 4)])
}

fn locked() -> Family {
    let mut family = Family::with(&[LOCKED], json!({ "site": "vie" }));
    family.talk();
    family
}

#[test]
fn no_item_begins_before_its_saga_is_admitted_and_none_takes_anything_itself() {
    let mut family = locked();
    assert_eq!(family.sagas.len(), 1, "no item");
    assert!(family.tasks.is_empty());
    family.give(family.root, &Input::Admitted { fences: fences() });
    family.talk();
    for n in [0, 1] {
        let state = family.state(item(&family, n));
        assert!(state.reservation.is_none());
        assert_eq!(state.fences(), fences());
    }
    family.go();
    assert_eq!(family.status(family.root), Status::Completed);
    let over = |saga| {
        let all = led_to(&family, saga).into_iter();
        let of = all.filter(|one| matches!(one, Command::Reserve(of) if **of == Change::Over));
        of.count()
    };
    assert_eq!(over(family.root), 1, "all is given back with the saga");
    assert_eq!(over(item(&family, 0)), 0, "an item gives nothing back");
}

#[test]
fn the_tasks_of_items_carry_the_numbers_of_their_sagas_locks_also_of_the_way_back() {
    let mut family = locked();
    family.give(family.root, &Input::Admitted { fences: fences() });
    family.talk();
    let first = item(&family, 0);
    assert_eq!(task(&family, first, "x").fences, fences());
    family.report(first, "x", gave(json!(1)));
    let operator = family.operator();
    let broken = Input::BreakLock {
        name: "site/vie".into(),
        operator,
    };
    let not_its = family.give(first, &broken);
    let refused = matches!(not_its, Verdict::Refused(Refusal::NotNow { .. }));
    assert!(refused, "an item holds no lock: {not_its:?}");
    family.report(first, "y", failed(false));
    let back = task(&family, first, "x");
    assert_eq!(back.of.direction, Direction::Undo);
    assert_eq!(back.fences, fences());
    family.report(first, "x", undone());
    family.go();
    assert_eq!(family.status(family.root), Status::Compensated);
    assert!(family.effects.is_empty());
}

/// Both items want the same lock in the name of the same root, which has it once.
#[test]
fn a_saga_in_a_group_takes_in_the_name_of_the_one_at_the_top() {
    let mut family = Family::of(&[WITHIN, SUB]);
    family.talk();
    for n in [0, 1] {
        let sub = family.child(item(&family, n), "sub");
        let roots = led_to(&family, sub)
            .into_iter()
            .filter_map(|one| match one {
                Command::Reserve(change) => match *change {
                    Change::Wanted { root, wants } => Some((root, wants[0].name.clone())),
                    _ => None,
                },
                _ => None,
            });
        let roots: Vec<_> = roots.collect();
        assert_eq!(roots, [(family.root, "below".to_owned())]);
        let fences = BTreeMap::from([("below".to_owned(), 9)]);
        assert!(family.state(sub).waits_for_admission());
        family.give(sub, &Input::Admitted { fences });
        family.talk();
    }
    family.go();
    assert_eq!(family.status(family.root), Status::Completed);
}

#[test]
fn an_item_is_done_in_the_pool_its_steps_compute_and_undone_where_it_was_done() {
    let hosts = json!({ "site": "top", "hosts": [{ "site": "vie" }, { "site": "graz" }] });
    let mut family = Family::with(&[POOLS], hosts);
    family.talk();
    for (n, site) in [(0, "vie"), (1, "graz")] {
        let item = item(&family, n);
        assert_eq!(task(&family, item, "x").pool.as_str(), site);
        family.report(item, "x", gave(json!({ "pool": format!("rack-{n}") })));
        assert_eq!(
            task(&family, item, "y").pool.as_str(),
            format!("rack-{n}").as_str()
        );
        family.report(item, "y", gave(json!(1)));
        assert_eq!(task(&family, item, "z").pool.as_str(), "top");
    }
    let first = item(&family, 0);
    family.report(first, "z", failed(false));
    let back = task(&family, first, "y");
    assert_eq!(
        (back.of.direction, back.pool.as_str()),
        (Direction::Undo, "rack-0"),
        "a task of its own too"
    );
    family.report(first, "y", undone());
    let back = task(&family, first, "x");
    assert_eq!(
        (back.of.direction, back.pool.as_str()),
        (Direction::Undo, "vie")
    );
    family.go();
    assert_eq!(family.status(family.root), Status::Compensated);
}

#[test]
fn a_pool_that_is_none_fails_its_item_with_nothing_changed() {
    let mut family = Family::with(
        &[POOLS],
        json!({ "site": "top", "hosts": [{ "site": "No Pool" }] }),
    );
    family.go();
    assert_eq!(family.status(family.root), Status::Compensated);
    assert!(family.taken_back.is_empty() && family.effects.is_empty());
    let failure = family.at(item(&family, 0), "x").last_failure.clone();
    assert_eq!(failure.unwrap().code, "pool");
}
