//! A group of steps for each item of a list: items run side by side as the sagas they are, read what is around them, fail and are taken back each by itself,
//! and with everything else.

mod reservations;
mod upgrades;

use baton_engine::input::StepEdit;
use baton_engine::plan::{Fails, How, plan};
use baton_engine::state::Phase;
use baton_engine::{Definition, Input, Refusal, Status, Verdict};
use baton_messages::{SagaId, StepKey, TaskResult, TaskType};
use serde_json::{Value, json};

use crate::children::family::Family;
use crate::stage::{done, failed};

pub(crate) const HOSTS: &str = "saga: hosts\nversion: 1\nwork_items: { assign: '${ input.team }', due: 2h }\nsteps:\n  - { id: a, task: t.set@1 }\n  - id: each\n    for_each: ${ input.hosts }\n    max_parallel: 2\n    tolerate: 1\n    if: ${ item.name != 'spare' }\n    steps:\n      - { id: find, task: t.set@1, with: { host: '${ item.name }', at: '${ index }', vlan: '${ input.net.vlan }', of: '${ a.list }' } }\n      - { id: move, task: t.set@1, with: { port: '${ find.port }', host: '${ item.name }', none: '${ input.?nothing.orValue(7) }' } }\n    output: { port: '${ find.port }', host: '${ item.name }' }\n  - { id: z, task: t.set@1, with: { all: '${ each }' } }\noutput: ${ each.size() }\n";

fn input(hosts: &[&str]) -> Value {
    let hosts: Vec<Value> = hosts
        .iter()
        .map(|name| json!({ "name": name, "long": "x".repeat(40) }))
        .collect();
    json!({ "hosts": hosts, "net": { "vlan": 7, "other": 8 }, "team": "net-team", "large": "y".repeat(100) })
}

pub(crate) fn hosts(names: &[&str]) -> Family {
    let mut family = Family::with(&[HOSTS], input(names));
    let root = family.root;
    family.report(root, "a", gave(json!({ "list": [1, 2] })));
    family
}

fn gave(output: Value) -> TaskResult {
    TaskResult::Succeeded { output }
}

pub(crate) fn item(family: &Family, n: u32) -> SagaId {
    family.child(family.root, &format!("each[{n}]"))
}

/// Its first step has found its port.
fn found(family: &mut Family, n: u32) {
    let item = item(family, n);
    family.report(item, "find", gave(json!({ "port": n * 10 })));
}

fn moved(family: &mut Family, n: u32) {
    let item = item(family, n);
    family.report(item, "move", done());
}

fn live(family: &Family) -> Vec<u32> {
    let fan = family.at(family.root, "each").fan.as_ref().unwrap();
    fan.live.keys().copied().collect()
}

fn given(family: &Family, saga: SagaId, step: &str) -> Value {
    let ready = family.at(saga, step).forward.as_ref().unwrap();
    ready.input.clone()
}

#[test]
fn items_run_side_by_side_as_sagas_of_their_own_and_return_what_the_group_says() {
    let mut family = hosts(&["h0", "h1", "spare", "h3"]);
    assert_eq!(live(&family), [0, 1]);
    let first = item(&family, 0);
    let state = family.state(first);
    assert_eq!(
        (state.definition.as_str(), state.version),
        ("hosts/each", 1)
    );
    assert_eq!(
        state.input,
        json!({ "a": { "list": [1, 2] }, "index": 0, "input": { "net": { "vlan": 7 }, "team": "net-team" }, "item": { "name": "h0" } }),
        "what is read, and no more"
    );
    assert_eq!(
        given(&family, first, "find"),
        json!({ "host": "h0", "at": 0, "vlan": 7, "of": [1, 2] })
    );
    found(&mut family, 1);
    found(&mut family, 0);
    assert_eq!(
        given(&family, first, "move"),
        json!({ "port": 0, "host": "h0", "none": 7 })
    );
    moved(&mut family, 1);
    assert_eq!(
        live(&family),
        [0, 3],
        "the next begins, but for one that is skipped"
    );
    moved(&mut family, 0);
    found(&mut family, 3);
    moved(&mut family, 3);
    let all = json!([{ "port": 0, "host": "h0" }, { "port": 10, "host": "h1" }, null, { "port": 30, "host": "h3" }]);
    assert_eq!(family.at(family.root, "each").output, Some(all.clone()));
    assert_eq!(given(&family, family.root, "z"), json!({ "all": all }));
    family.go();
    assert_eq!(family.status(family.root), Status::Completed);
    assert_eq!(family.state(family.root).output, Some(json!(4)));
    assert_eq!(family.effects.len(), 8);
}

#[test]
fn an_item_that_fails_takes_back_its_own_steps_and_is_tolerated() {
    let mut family = hosts(&["h0", "h1"]);
    found(&mut family, 0);
    let failing = item(&family, 0);
    family.report(failing, "move", failed(false));
    assert_eq!(family.status(failing), Status::Compensating);
    found(&mut family, 1);
    family.go();
    assert_eq!(family.order, ["hosts/each.find"]);
    assert_eq!(family.status(failing), Status::Compensated);
    assert_eq!(family.status(family.root), Status::Completed);
    let each = family.at(family.root, "each").output.clone().unwrap();
    assert_eq!((&each[0], each[1].is_object()), (&Value::Null, true));
    assert_eq!(family.effects.len(), 4);
}

#[test]
fn beyond_what_is_tolerated_every_item_and_what_came_before_is_taken_back() {
    let mut family = hosts(&["h0", "h1", "h2", "h3", "h4"]);
    found(&mut family, 0);
    moved(&mut family, 0);
    for n in [1, 2] {
        found(&mut family, n);
        let failing = item(&family, n);
        family.report(failing, "move", failed(false));
        let undo = format!("each[{n}]");
        family.report(failing, "find", crate::stage::undone());
        assert!(family.status(failing) == Status::Compensated, "{undo}");
    }
    family.go();
    assert_eq!(family.status(family.root), Status::Compensated);
    assert!(family.effects.is_empty());
    assert!(family.taken_back.values().all(|times| *times == 1));
    let order = &family.order;
    assert_eq!(order.last().unwrap(), "hosts.a");
    let count = |what: &str| order.iter().filter(|one| *one == what).count();
    assert_eq!(
        count("hosts/each.find"),
        4,
        "three had, and the one that was under way"
    );
    assert_eq!(count("hosts/each.move"), 1);
    let never = family.at(family.root, "each").fan.as_ref().unwrap();
    let never = never.get(4);
    assert!(
        never.is_none_or(|item| item.child.is_none()),
        "no more begin"
    );
}

#[test]
fn what_fails_after_the_group_takes_back_all_of_it_each_item_from_its_end() {
    let mut family = hosts(&["h0", "h1", "h2"]);
    for n in [0, 1, 2] {
        found(&mut family, n);
        moved(&mut family, n);
    }
    family.report(family.root, "z", failed(false));
    assert_eq!(live(&family).len(), 2, "in windows too");
    family.go();
    assert_eq!(family.status(family.root), Status::Compensated);
    assert!(family.effects.is_empty());
    assert_eq!(family.order.last().unwrap(), "hosts.a");
    for n in [0, 1, 2] {
        assert_eq!(family.status(item(&family, n)), Status::Compensated);
    }
    let count = |what: &str| family.order.iter().filter(|one| *one == what).count();
    assert_eq!((count("hosts/each.find"), count("hosts/each.move")), (3, 3));
}

/// What is asked of a person in a group is asked as the saga says, which reads its input there as outside.
#[test]
fn work_items_in_a_group_are_whose_the_saga_says() {
    let mut family = hosts(&["h0"]);
    let first = item(&family, 0);
    let operator = family.operator();
    let asked = Input::Pause(operator);
    assert_eq!(family.give(family.root, &asked), Verdict::Applied);
    family.talk();
    assert!(family.state(first).paused, "a pause reaches into the group");
    let operator = family.operator();
    family.give(family.root, &Input::Resume(operator));
    family.talk();
    found(&mut family, 0);
    family.report(first, "move", failed(false));
    // nothing of it can be taken back
    family.report(first, "find", failed(false));
    let items = &family.state(first).work_items;
    let asked = items.values().next().unwrap();
    assert_eq!(asked.assignee.as_deref(), Some("net-team"));
    assert!(asked.due_at.is_some());
}

const NESTED: &str = "saga: racks\nversion: 1\nsteps:\n  - id: rack\n    for_each: ${ input.racks }\n    steps:\n      - { id: open, task: t.set@1, with: { rack: '${ item.name }' } }\n      - id: disk\n        for_each: ${ item.disks }\n        steps:\n          - { id: wipe, task: t.set@1, with: { disk: '${ item }', n: '${ index }', rack: '${ open.name }', site: '${ input.site }' } }\n        output: ${ wipe }\n    output: ${ disk }\n";

#[test]
fn a_group_within_a_group_reads_what_is_around_both() {
    let racks = json!({ "site": "vie", "racks": [{ "name": "r0", "disks": ["d0", "d1"] }] });
    let mut family = Family::with(&[NESTED], racks);
    family.talk();
    let rack = family.child(family.root, "rack[0]");
    family.report(rack, "open", gave(json!({ "name": "r0" })));
    let disk = family.child(rack, "disk[1]");
    assert_eq!(family.state(disk).definition, "racks/rack/disk");
    assert_eq!(
        given(&family, disk, "wipe"),
        json!({ "disk": "d1", "n": 1, "rack": "r0", "site": "vie" })
    );
    family.report(disk, "wipe", gave(json!("gone")));
    family.go();
    assert_eq!(family.status(family.root), Status::Completed);
    let parent = family.state(disk).parent.as_deref().unwrap();
    assert_eq!((parent.root, parent.depth), (family.root, 2));
    let output = family.at(family.root, "rack").output.clone().unwrap();
    assert_eq!(output[0][1], json!("gone"));
}

#[test]
fn what_an_item_is_given_names_no_secret_that_came_from_outside() {
    let hosts =
        json!({ "hosts": [{ "name": { "$secret": "root" } }], "net": { "vlan": 7 }, "team": "t" });
    let mut family = Family::with(
        &[HOSTS
            .replace("    tolerate: 1\n    if: ${ item.name != 'spare' }\n", "")
            .as_str()],
        hosts,
    );
    family.report(family.root, "a", gave(json!({ "list": [] })));
    family.go();
    assert_eq!(family.status(family.root), Status::Compensated);
    let why = family.state(family.root).unwinding.clone();
    assert!(format!("{why:?}").contains("$secret"), "{why:?}");
}

#[test]
fn the_list_of_an_item_too_large_to_be_handed_on_fails_with_nothing_changed() {
    let text = "saga: hosts\nversion: 1\nsteps:\n  - id: each\n    for_each: [1]\n    steps: [{ id: x, task: t.set@1, with: { n: '${ input.large }' } }]\n";
    let input = json!({ "large": "x".repeat(baton_engine::expr::RESULT_BYTES_MAX) });
    let mut family = Family::with(&[text], input);
    family.go();
    assert_eq!(family.status(family.root), Status::Compensated);
    assert!(family.effects.is_empty());
    assert_eq!(family.phase(family.root, "each"), Phase::Failed);
}

#[test]
fn a_plan_shows_the_steps_of_a_group_and_what_is_taken_back_of_it() {
    let definition = Definition::parse(HOSTS).unwrap();
    let plan = plan(&definition, &crate::stage::catalogue(), None);
    let each = &plan.steps[1];
    assert_eq!((each.kind, each.of.as_str()), ("group", "of 2 steps"));
    let within = each.within.as_ref().unwrap();
    assert_eq!(within.definition, "hosts/each");
    assert_eq!(within.steps.len(), 2);
    let item = within.longest.limit_ms.unwrap();
    let windows = u64::from(each.each.as_ref().unwrap().most.div_ceil(2));
    assert_eq!(each.limit_ms, Some(item * windows));
    let Fails::Unwinds { undo, .. } = &plan.steps[2].fails else {
        panic!("{:?}", plan.steps[2].fails)
    };
    let How::Saga { saga, undo } = &undo[0][0].how else {
        panic!("{undo:?}")
    };
    assert_eq!(saga, "hosts/each@1");
    let back: Vec<&str> = undo.iter().flatten().map(|one| one.step.as_str()).collect();
    assert_eq!(back, ["move", "find"]);
}

#[test]
fn a_definition_waits_for_the_events_of_its_groups() {
    let text = "saga: hosts\nversion: 1\nsteps:\n  - id: each\n    for_each: [1]\n    steps: [{ id: w, wait: { event: com.example.up, when: '${ event.data.n == item }', timeout: 1h } }]\n";
    let definition = Definition::parse(text).unwrap();
    let events: Vec<String> = definition.events().map(|one| one.to_string()).collect();
    assert_eq!(events, ["com.example.up"]);
    let key: StepKey = "each[0]".parse().unwrap();
    let mut family = Family::with(&[text], json!({}));
    family.talk();
    let waits = family.child(family.root, &key.to_string());
    assert_eq!(family.phase(waits, "w"), Phase::Listening);
}

/// Two items, of each of which a step has failed; what the group returns is read after it.
fn failed_in_both() -> (Family, [SagaId; 2]) {
    let text = "saga: hosts\nversion: 1\nsteps:\n  - id: each\n    for_each: [1, 2]\n    max_parallel: 2\n    steps:\n      - { id: find, task: t.port@1, on_error: park, with: { n: '${ item }' } }\n    output: { port: '${ find.port }' }\n  - { id: z, task: t.set@1, with: { n: '${ each[0].port + 1 }' } }\n";
    let mut family = Family::waiting(&[text]);
    for (name, kind) in [
        ("t.port@1", "integer"),
        ("t.other@1", "integer"),
        ("t.text@1", "string"),
    ] {
        family.announce(name, kind);
    }
    family.start(json!({}));
    family.talk();
    let items = [0, 1].map(|n| item(&family, n));
    for saga in items {
        family.report(saga, "find", failed(false));
        assert_eq!(family.phase(saga, "find"), Phase::Parked);
    }
    (family, items)
}

impl Family {
    /// Has a parked step tried by another task type.
    fn substitute(&mut self, saga: SagaId, step: &str, task_type: &str) -> Verdict {
        let operator = self.operator();
        let edit = StepEdit {
            input: json!({ "n": 7 }),
            task_type: Some(TaskType::new(task_type).unwrap()),
        };
        let step = step.parse().unwrap();
        let input = Input::EditStep {
            step,
            edit,
            operator,
        };
        self.give(saga, &input)
    }
}

fn why(verdict: Verdict) -> String {
    match verdict {
        Verdict::Refused(Refusal::NotNow { why, .. }) => why,
        other => panic!("it is not refused: {other:?}"),
    }
}

/// The other items are tried as the definition says.
#[test]
fn a_step_of_one_item_is_tried_by_another_task_type() {
    let (mut family, [first, second]) = failed_in_both();
    assert_eq!(
        family.substitute(first, "find", "t.other@1"),
        Verdict::Applied
    );
    while family.phase(first, "find") != Phase::Trying {
        assert!(family.wait());
    }
    family.report(first, "find", gave(json!({ "port": 5 })));
    assert_eq!(family.status(first), Status::Completed);
    assert_eq!(family.phase(second, "find"), Phase::Parked);
    let ready = family.at(first, "find").forward.as_ref().unwrap();
    assert_eq!(ready.facts.task_type.as_str(), "t.other@1");
    let operator = family.operator();
    let again = Input::RetryStep {
        step: "find".parse().unwrap(),
        operator,
    };
    assert_eq!(family.give(second, &again), Verdict::Applied);
    while family.phase(second, "find") != Phase::Trying {
        assert!(family.wait());
    }
    family.report(second, "find", gave(json!({ "port": 6 })));
    assert_eq!(given(&family, family.root, "z"), json!({ "n": 6 }));
    let ready = family.at(second, "find").forward.as_ref().unwrap();
    assert_eq!(ready.facts.task_type.as_str(), "t.port@1");
    // each is taken back by what has done it
    family.report(family.root, "z", failed(false));
    family.go();
    assert_eq!(family.status(family.root), Status::Compensated);
    assert!(family.effects.is_empty());
}

/// Who reads it stands in the definition around the group.
#[test]
fn a_substitute_that_would_have_an_item_return_what_the_group_does_not_is_refused() {
    let (mut family, [first, _]) = failed_in_both();
    let said = why(family.substitute(first, "find", "t.text@1"));
    assert!(said.contains("whoever reads it above"), "{said}");
    assert_eq!(family.phase(first, "find"), Phase::Parked);
    // what reads the item as a whole runs nothing that could be tried otherwise, and says where that is
    let root = family.root;
    let said = why(family.substitute(root, "each[0]", "t.other@1"));
    assert!(said.contains(&first.to_string()), "{said}");
}
