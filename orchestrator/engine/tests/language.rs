//! The page about the language says what the language is: every example on it is a definition, and every key has one.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod catalogue;

use std::collections::BTreeSet;
use std::path::PathBuf;

use baton_engine::Definition;
use baton_engine::definition::{Unannounced, check};

fn page() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../sagas/LANGUAGE.md");
    std::fs::read_to_string(path).unwrap()
}

/// Each example, with the line it begins at.
fn examples(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (line, text) in (1..).zip(page.lines()) {
        match (&mut open, text) {
            (None, "```yaml") => open = Some((line + 1, String::new())),
            (Some(_), "```") => found.extend(open.take()),
            (Some((_, block)), text) => {
                block.push_str(text);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "a block of the page has no end");
    found
}

/// The definition an example stands for.
fn whole(example: &str) -> String {
    if example.starts_with("saga:") {
        return example.to_owned();
    }
    let trigger = ["- event:", "- schedule:", "- hook:"];
    if trigger.iter().any(|start| example.starts_with(start)) {
        return format!(
            "saga: example\nversion: 1\nsteps: [{{ id: only, sleep: 1s }}]\non:\n{example}"
        );
    }
    format!("saga: example\nversion: 1\nsteps:\n{example}")
}

#[test]
fn every_example_is_a_definition() {
    let page = page();
    let examples = examples(&page);
    let catalogue = catalogue::shipped_and_made_up();
    assert!(examples.len() > 12, "{} examples", examples.len());
    for (line, example) in examples {
        let found = check(&whole(&example), &catalogue, Unannounced::RefusedWhenNear);
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
