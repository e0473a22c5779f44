//! The page about the language says what the language is: every example on it is a definition, and every key has one.

mod catalogue;
mod page;

use std::collections::BTreeSet;

use baton_engine::Definition;
use baton_engine::definition::{Unannounced, check_among};
use page::{examples, page, whole};

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

/// What a refusal of an unknown key says it knows, is what has an example.
#[test]
fn every_key_has_an_example() {
    let page = page();
    let keys: BTreeSet<String> = examples(&page)
        .iter()
        .flat_map(|(_, example)| words(example))
        .collect();
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
        for key in known.split(", ") {
            assert!(keys.contains(key), "`{key}` of `{what}…` has no example");
        }
    }
}

/// The keys of an example, also those inside braces.
fn words(example: &str) -> Vec<String> {
    let mut words = Vec::new();
    for part in example.split([':', '\n']) {
        let word: String = part
            .chars()
            .rev()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        words.push(word.chars().rev().collect());
    }
    words
}
