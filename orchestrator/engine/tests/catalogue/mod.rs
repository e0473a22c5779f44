//! The task types the checker's tests know: those that are shipped, and two of kinds that none of them is of.

use baton_engine::Catalogue;
use baton_engine::definition::Together;
use baton_messages::Manifest;
use serde_json::{Value, json};

/// All of them.
pub(crate) fn shipped_and_made_up() -> Catalogue {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../schemas/json/catalogue.json"
    );
    let text = std::fs::read_to_string(path).expect("the catalogue is there");
    let all: Vec<Manifest> = serde_json::from_str(&text).expect("the catalogue is one");
    let mut catalogue = Catalogue::default();
    let made_up = [
        manifest("example.mail@1", "irreversible"),
        manifest("example.order@1", "reversible"),
    ];
    for manifest in all.into_iter().chain(made_up) {
        catalogue.announce(manifest).expect("the manifests agree");
    }
    catalogue
}

/// The sagas that examples name.
pub(crate) fn sagas() -> Together {
    let restore = "saga: restore-host\nversion: 1\ninput: { type: object, required: [host], properties: { host: { type: string } } }\nsteps:\n  - { id: back, task: test.effect@1, with: { key: \"${ input.host }\" } }\noutput: { host: \"${ input.host }\" }\n";
    let switch = "saga: switch-over\nversion: 2\nsteps:\n  - { id: off, task: test.effect@1, with: { key: off } }\n  - { id: on, task: test.effect@1, with: { key: on }, pivot: true }\n";
    let labelled = "saga: labelled\nversion: 1\ninput: { type: object, additionalProperties: false, properties: { name: { type: string } }, patternProperties: { \"^x-\": { type: string } } }\nsteps: [{ id: a, sleep: 1s }]\n";
    let mut deep: Vec<String> =
        vec!["saga: deep-0\nversion: 1\nsteps: [{ id: a, sleep: 1s }]\n".into()];
    for n in 1..=8 {
        let below = n - 1;
        deep.push(format!(
            "saga: deep-{n}\nversion: 1\nsteps: [{{ id: a, saga: deep-{below}@1 }}]\n"
        ));
    }
    let around = "saga: around\nversion: 1\nsteps: [{ id: a, saga: example@1 }]\n";
    let close = "saga: close-case\nversion: 1\nsteps:\n  - { id: set, task: test.effect@1, with: { key: case } }\n  - { id: told, emit: { type: com.example.closed } }\n";
    let deep = deep.iter().map(String::as_str);
    Together::beside(deep.chain([restore, switch, labelled, around, close]))
}

/// One that is not idempotent and has no probe.
fn manifest(name: &str, effect: &str) -> Manifest {
    let value: Value = json!({
        "task_type": name, "summary": "", "effect": effect,
        "input": { "type": "object" }, "output": { "type": "object" },
        "idempotent": effect == "irreversible", "before_image": false, "undo": effect == "reversible", "probe": false, "dry_run": false,
        "timeout_ms_default": 1_000, "timeout_ms_max": 1_000, "settle_ms": 0,
        "retry": { "attempts": 3, "backoff_ms": 1_000, "factor": 2.0, "max_ms": 60_000 },
    });
    serde_json::from_value(value).expect("a manifest")
}
