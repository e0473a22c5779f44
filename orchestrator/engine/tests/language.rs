//! The page about the language says what the language is: every example on it is a definition, and every key has one.

mod catalogue;
mod page;

use std::collections::{BTreeMap, BTreeSet};

use baton_engine::Definition;
use baton_engine::definition::{Unannounced, check_among};
use page::{examples, page, whole};
use serde_json::Value;

#[test]
fn every_example_is_a_definition() {
    let page = page();
    let examples = examples(&page);
    let (catalogue, sagas) = (catalogue::shipped_and_made_up(), catalogue::sagas());
    assert!(examples.len() > 12, "{} examples", examples.len());
    for (line, example) in examples {
        let found = check_among(
            &whole(&example),
            &catalogue,
            &sagas,
            Unannounced::RefusedWhenNear,
        );
        let said: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        assert!(
            said.is_empty(),
            "the example in line {line}:\n{}",
            said.join("\n")
        );
    }
}

/// What a refusal of an unknown key says it knows, is what has an example: in the very block that knows it.
#[test]
fn every_key_has_an_example_in_its_block() {
    let page = page();
    let mut blocks = Blocks::new();
    for (line, example) in examples(&page) {
        let whole = serde_saphyr::from_str::<Value>(&whole(&example));
        let whole = whole.unwrap_or_else(|error| panic!("the example in line {line}: {error}"));
        of_saga(&whole, &mut blocks);
    }
    for (document, what) in [
        (
            "saga: x\nversion: 1\nqqqqqqqqqqqqqqqqqq: 1\nsteps: [{ id: a, sleep: 1s }]",
            "a saga knows ",
        ),
        (
            "saga: x\nversion: 1\nsteps: [{ id: a, sleep: 1s, qqqqqqqqqqqqqqqqqq: 1 }]",
            "a step knows ",
        ),
        (
            "saga: x\nversion: 1\nconcurrency: { qqqqqqqqqqqqqqqqqq: 1 }\nsteps: [{ id: a, sleep: 1s }]",
            "`concurrency` knows ",
        ),
        (
            "saga: x\nversion: 1\nblast_radius: { qqqqqqqqqqqqqqqqqq: 1 }\nsteps: [{ id: a, sleep: 1s }]",
            "`blast_radius` knows ",
        ),
        (
            "saga: x\nversion: 1\nwork_items: { qqqqqqqqqqqqqqqqqq: 1 }\nsteps: [{ id: a, sleep: 1s }]",
            "`work_items` knows ",
        ),
        (
            "saga: x\nversion: 1\nwork_items: { escalate: [{ qqqqqqqqqqqqqqqqqq: 1 }] }\nsteps: [{ id: a, sleep: 1s }]",
            "an escalation knows ",
        ),
        (
            "saga: x\nversion: 1\nsteps: [{ id: a, wait: { qqqqqqqqqqqqqqqqqq: 1 } }]",
            "a wait knows ",
        ),
        (
            "saga: x\nversion: 1\nsteps: [{ id: a, approve: { qqqqqqqqqqqqqqqqqq: 1 } }]",
            "an approval knows ",
        ),
        (
            "saga: x\nversion: 1\nsteps: [{ id: a, emit: { qqqqqqqqqqqqqqqqqq: 1 } }]",
            "an event knows ",
        ),
        (
            "saga: x\nversion: 1\nsteps: [{ id: a, task: b.c@1, undo: { qqqqqqqqqqqqqqqqqq: 1 } }]",
            "an undo knows ",
        ),
        (
            "saga: x\nversion: 1\nsteps: [{ id: a, task: b.c@1, probe: { qqqqqqqqqqqqqqqqqq: 1 } }]",
            "a probe knows ",
        ),
        (
            "saga: x\nversion: 1\nsteps: [{ id: a, task: b.c@1, retry: { qqqqqqqqqqqqqqqqqq: 1 } }]",
            "a retry knows ",
        ),
        (
            "saga: x\nversion: 1\non: [{ event: a.b, qqqqqqqqqqqqqqqqqq: 1 }]\nsteps: [{ id: a, sleep: 1s }]",
            "a trigger of an event knows ",
        ),
        (
            "saga: x\nversion: 1\non: [{ schedule: '@daily', qqqqqqqqqqqqqqqqqq: 1 }]\nsteps: [{ id: a, sleep: 1s }]",
            "a schedule knows ",
        ),
        (
            "saga: x\nversion: 1\non: [{ hook: a, secret: b, qqqqqqqqqqqqqqqqqq: 1 }]\nsteps: [{ id: a, sleep: 1s }]",
            "a hook knows ",
        ),
    ] {
        let wrong = Definition::parse(document).unwrap_err();
        let known = wrong
            .iter()
            .find_map(|diagnostic| diagnostic.help.strip_prefix(what))
            .unwrap_or_else(|| panic!("{what}: {wrong:?}"));
        let block = what.trim_end_matches(" knows ");
        let shown = blocks.get(block).cloned().unwrap_or_default();
        for key in known.split(", ") {
            assert!(shown.contains(key), "`{key}` of {block} has no example");
        }
    }
}

/// The keys that examples show, by the block they stand in.
type Blocks = BTreeMap<&'static str, BTreeSet<String>>;

fn keys_of(block: &'static str, value: &Value, found: &mut Blocks) {
    let keys = value.as_object().into_iter().flatten();
    let keys = keys.map(|(key, _)| key.clone());
    found.entry(block).or_default().extend(keys);
}

/// The items of a list below a key.
fn items<'v>(of: &'v Value, key: &str) -> &'v [Value] {
    of[key].as_array().map_or(&[], Vec::as_slice)
}

fn of_saga(saga: &Value, found: &mut Blocks) {
    keys_of("a saga", saga, found);
    keys_of("`concurrency`", &saga["concurrency"], found);
    keys_of("`blast_radius`", &saga["blast_radius"], found);
    of_item_rules(&saga["work_items"], found);
    for step in items(saga, "steps") {
        of_step(step, found);
    }
    for trigger in items(saga, "on") {
        for (key, block) in [
            ("event", "a trigger of an event"),
            ("schedule", "a schedule"),
            ("hook", "a hook"),
        ] {
            if trigger.get(key).is_some() {
                keys_of(block, trigger, found);
            }
        }
    }
}

fn of_step(step: &Value, found: &mut Blocks) {
    keys_of("a step", step, found);
    for (key, block) in [
        ("wait", "a wait"),
        ("approve", "an approval"),
        ("emit", "an event"),
        ("undo", "an undo"),
        ("probe", "a probe"),
        ("retry", "a retry"),
    ] {
        keys_of(block, &step[key], found);
    }
    keys_of("a retry", &step["undo"]["retry"], found);
    of_item_rules(&step["work_items"], found);
    for inner in items(step, "steps") {
        of_step(inner, found);
    }
}

fn of_item_rules(rules: &Value, found: &mut Blocks) {
    keys_of("`work_items`", rules, found);
    for rung in items(rules, "escalate") {
        keys_of("an escalation", rung, found);
    }
}
