//! The page about the language is not only true to the letter: every example on it is run, from its start to its end, by the real engine and driver.
#![expect(clippy::unwrap_used, reason = "a test may fail so")]

#[path = "../../engine/tests/page/mod.rs"]
mod page;

use std::sync::Arc;

use baton_engine::definition::{Unannounced, check};
use baton_engine::{Catalogue, Definition};
use baton_messages::Manifest;
use baton_sim::sweep::{Beside, Given, Sweep};
use page::{examples, page, whole};
use serde_json::json;

/// What the examples name that have a step which is a saga.
const RESTORE: &str = "saga: restore-host\nversion: 1\ninput: { type: object, required: [host] }\nsteps:\n  - { id: back, task: test.effect@1, with: { key: \"${ string(input.host) }\" } }\n";

fn catalogue() -> Catalogue {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../schemas/json/catalogue.json"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let all: Vec<Manifest> = serde_json::from_str(&text).unwrap();
    let mut catalogue = Catalogue::default();
    for manifest in all {
        catalogue.announce(manifest).unwrap();
    }
    catalogue
}

/// What the examples read of an input whose schema they leave out, and of the event one waits for.
fn given(definition: &Definition) -> Given {
    let input = json!({
        "count": 1, "name": "h1", "host": "h1", "site": "lab", "case": "c-7", "hosts": ["h1", "spare", "h2"], "pause": "1s", "order": "o-7", "version": "1.0", "vlan": "120",
    });
    let event = json!({ "order": "o-7" });
    let is_open = definition.input_schema.is_none();
    let waits = definition
        .steps
        .iter()
        .any(|step| step.id.as_str() == "paid");
    Given {
        input: is_open.then_some(input),
        events: waits
            .then(|| ("paid".to_owned(), event))
            .into_iter()
            .collect(),
        ..Given::default()
    }
}

#[test]
fn every_example_is_run_to_its_end() {
    let catalogue = catalogue();
    let mut beside = Beside::default();
    beside.add(
        Arc::new(Definition::parse(RESTORE).unwrap()),
        Given::default(),
    );
    let mut run = 0;
    for (line, example) in examples(&page()) {
        let text = whole(&example);
        let found = check(&text, &catalogue, Unannounced::RefusedWhenNear);
        let definition = found.definition.unwrap();
        let given = given(&definition);
        let sweep = Sweep::among(Arc::new(definition), &beside, &catalogue, &given);
        let sweep = sweep.unwrap_or_else(|why| panic!("the example in line {line}: {why}"));
        let end = sweep.undisturbed();
        assert_eq!(
            end.status.as_str(),
            "completed",
            "line {line}: {:?}",
            end.why
        );
        run += 1;
    }
    assert!(run > 12, "{run} examples");
}
