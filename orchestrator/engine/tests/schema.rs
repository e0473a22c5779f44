//! The JSON Schema of the language: current on disk, of the same keys as the reader, takes every saga that is shipped and every example
//! of the page, and refuses wrong shapes.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::path::{Path, PathBuf};

use baton_engine::Definition;
use baton_engine::definition::json_schema;
use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn validator() -> jsonschema::Validator {
    jsonschema::validator_for(&json_schema()).unwrap()
}

/// As YAML 1.2 has it and the language reads it: `n` and `no` are text.
fn document(yaml: &str) -> Value {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(yaml, options).unwrap()
}

fn misfits(yaml: &str) -> Vec<String> {
    let document = document(yaml);
    let validator = validator();
    validator
        .iter_errors(&document)
        .map(|error| error.to_string())
        .collect()
}

#[test]
fn the_file_is_what_the_code_says() {
    let file = std::fs::read_to_string(root().join("schemas/json/language.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    assert!(file == json_schema(), "run deploy/generate");
}

#[test]
fn every_shipped_saga_and_every_example_fits() {
    let mut count = 0;
    let sagas = root().join("orchestrator/sagas");
    let canonical = std::fs::read_dir(sagas.join("canonical")).unwrap();
    for entry in std::fs::read_dir(&sagas).unwrap().chain(canonical) {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(misfits(&text), Vec::<String>::new(), "{}", path.display());
            count += 1;
        }
    }
    assert!(count > 3, "{count} sagas");
    for page in baton_engine::definition::explanations() {
        assert_eq!(misfits(page.mended), Vec::<String>::new(), "{}", page.code);
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let head = "saga: x\nversion: 1\n";
    for wrong in [
        "saga: x\nsteps: [{ id: a, sleep: 1s }]".to_owned(),
        format!("{head}steps: []"),
        format!("{head}steps: {{ id: a, sleep: 1s }}"),
        format!("{head}step: [{{ id: a, sleep: 1s }}]\nsteps: [{{ id: a, sleep: 1s }}]"),
        format!("{head}steps: [{{ id: A, sleep: 1s }}]"),
        format!("{head}steps: [{{ id: a }}]"),
        format!("{head}steps: [{{ sleep: 1s }}]"),
        format!("{head}steps: [{{ id: a, sleep: 1s, task: b.c@1 }}]"),
        format!("{head}steps: [{{ id: a, sleep: 1s, with: {{}} }}]"),
        format!("{head}steps: [{{ id: a, sleep: ten }}]"),
        format!("{head}steps: [{{ id: a, task: b.c }}]"),
        format!("{head}steps: [{{ id: a, task: b.c@1, wiht: {{}} }}]"),
        format!("{head}steps: [{{ id: a, steps: [{{ id: b, sleep: 1s }}] }}]"),
        format!("{head}steps: [{{ id: a, for_each: [1], steps: [] }}]"),
        format!("{head}steps: [{{ id: a, for_each: [1], steps: [{{ id: b }}] }}]"),
        format!(
            "{head}steps: [{{ id: a, for_each: [1], task: b.c@1, steps: [{{ id: b, sleep: 1s }}] }}]"
        ),
        format!(
            "{head}steps: [{{ id: a, for_each: [1], with: {{}}, steps: [{{ id: b, sleep: 1s }}] }}]"
        ),
        format!("{head}steps: [{{ id: a, for_each: [1], task: b.c@1, output: 1 }}]"),
        format!("{head}steps: [{{ id: a, task: b.c@1, undo: none }}]"),
        format!("{head}steps: [{{ id: a, task: b.c@1, because: so }}]"),
        format!("{head}steps: [{{ id: a, task: b.c@1, undo: {{ with: {{}} }} }}]"),
        format!("{head}steps: [{{ id: a, task: b.c@1, retry: {{ attempts: 0 }} }}]"),
        format!("{head}steps: [{{ id: a, task: b.c@1, on_error: ignore }}]"),
        format!("{head}steps: [{{ id: a, task: b.c@1, pivot: 1 }}]"),
        format!("{head}steps: [{{ id: a, wait: {{ event: a.b }} }}]"),
        format!("{head}steps: [{{ id: a, approve: {{ by: operator }} }}]"),
        format!("{head}steps: [{{ id: a, emit: {{ subject: x }} }}]"),
        format!("{head}steps: [{{ id: a, if: maybe, sleep: 1s }}]"),
        format!("{head}on: [{{ when: true }}]\nsteps: [{{ id: a, sleep: 1s }}]"),
        format!("{head}on: [{{ hook: a }}]\nsteps: [{{ id: a, sleep: 1s }}]"),
        format!(
            "{head}on: [{{ event: a.b, key: k }}, {{ event: c.d, cancel: over }}]\nsteps: [{{ id: a, sleep: 1s }}]"
        ),
        format!(
            "{head}on: [{{ event: a.b, key: k }}, {{ event: c.d, key: k, cancel: over, window: 5m }}]\nsteps: [{{ id: a, sleep: 1s }}]"
        ),
        format!(
            "{head}on: [{{ event: a.b, key: k }}, {{ event: c.d, key: k, cancel: '' }}]\nsteps: [{{ id: a, sleep: 1s }}]"
        ),
        format!(
            "{head}on: [{{ schedule: '@daily', when: true }}]\nsteps: [{{ id: a, sleep: 1s }}]"
        ),
        format!("{head}labels: {{ Host: x }}\nsteps: [{{ id: a, sleep: 1s }}]"),
        format!("{head}deadline: soon\nsteps: [{{ id: a, sleep: 1s }}]"),
        format!("{head}locks: a\nsteps: [{{ id: a, sleep: 1s }}]"),
        format!("{head}locks: []\nsteps: [{{ id: a, sleep: 1s }}]"),
        format!("{head}concurrency: {{ max: 0 }}\nsteps: [{{ id: a, sleep: 1s }}]"),
        format!("{head}work_items: {{ escalate: [{{ to: a }}] }}\nsteps: [{{ id: a, sleep: 1s }}]"),
        format!("{head}work_items: {{ due: soon }}\nsteps: [{{ id: a, sleep: 1s }}]"),
        format!("{head}blast_radius: {{ max: 1 }}\nsteps: [{{ id: a, sleep: 1s }}]"),
        format!("{head}input: {{ type: objekt }}\nsteps: [{{ id: a, sleep: 1s }}]"),
        format!("{head}input: {{ required: ip }}\nsteps: [{{ id: a, sleep: 1s }}]"),
        format!("{head}input: {{ properties: [ip] }}\nsteps: [{{ id: a, sleep: 1s }}]"),
        format!("{head}input: {{ properties: {{ ip: string }} }}\nsteps: [{{ id: a, sleep: 1s }}]"),
        format!(
            "{head}input: {{ items: {{ properties: {{ ip: {{ required: true }} }} }} }}\nsteps: [{{ id: a, sleep: 1s }}]"
        ),
        "saga: X\nversion: 1\nsteps: [{ id: a, sleep: 1s }]".to_owned(),
        "saga: x\nversion: 0\nsteps: [{ id: a, sleep: 1s }]".to_owned(),
    ] {
        assert!(!misfits(&wrong).is_empty(), "the schema takes\n{wrong}");
        assert!(
            Definition::parse(&wrong).is_err(),
            "the reader takes\n{wrong}"
        );
    }
}

/// What a refusal of an unknown key says it knows is what the schema describes.
#[test]
fn the_keys_are_those_of_the_reader() {
    let schema = json_schema();
    let described = |pointer: &str| -> Vec<String> {
        let mut keys: Vec<String> = schema
            .pointer(pointer)
            .unwrap()
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        keys.sort();
        keys
    };
    let odd = "qqqqqqqqqqqqqqqqqq: 1";
    for (document, what, pointer) in [
        (
            format!("{odd}\nsteps: [{{ id: a, sleep: 1s }}]"),
            "a saga",
            "/properties",
        ),
        (
            format!("steps: [{{ id: a, sleep: 1s, {odd} }}]"),
            "a step",
            "/$defs/step/properties",
        ),
        (
            format!("concurrency: {{ {odd} }}\nsteps: [{{ id: a, sleep: 1s }}]"),
            "`concurrency`",
            "/properties/concurrency/properties",
        ),
        (
            format!("blast_radius: {{ {odd} }}\nsteps: [{{ id: a, sleep: 1s }}]"),
            "`blast_radius`",
            "/properties/blast_radius/properties",
        ),
        (
            format!("steps: [{{ id: a, wait: {{ {odd} }} }}]"),
            "a wait",
            "/$defs/wait/properties",
        ),
        (
            format!("steps: [{{ id: a, approve: {{ {odd} }} }}]"),
            "an approval",
            "/$defs/approve/properties",
        ),
        (
            format!("steps: [{{ id: a, emit: {{ {odd} }} }}]"),
            "an event",
            "/$defs/emit/properties",
        ),
        (
            format!("steps: [{{ id: a, task: b.c@1, undo: {{ {odd} }} }}]"),
            "an undo",
            "/$defs/undo/anyOf/1/properties",
        ),
        (
            format!("steps: [{{ id: a, task: b.c@1, probe: {{ {odd} }} }}]"),
            "a probe",
            "/$defs/probe/properties",
        ),
        (
            format!("steps: [{{ id: a, task: b.c@1, retry: {{ {odd} }} }}]"),
            "a retry",
            "/$defs/retry/properties",
        ),
        (
            format!("on: [{{ event: a.b, {odd} }}]\nsteps: [{{ id: a, sleep: 1s }}]"),
            "a trigger of an event",
            "/$defs/trigger/oneOf/0/properties",
        ),
        (
            format!("on: [{{ schedule: '@daily', {odd} }}]\nsteps: [{{ id: a, sleep: 1s }}]"),
            "a schedule",
            "/$defs/trigger/oneOf/1/properties",
        ),
        (
            format!("on: [{{ hook: a, secret: b, {odd} }}]\nsteps: [{{ id: a, sleep: 1s }}]"),
            "a hook",
            "/$defs/trigger/oneOf/2/properties",
        ),
    ] {
        let wrong = Definition::parse(&format!("saga: x\nversion: 1\n{document}")).unwrap_err();
        let lead = format!("{what} knows ");
        let known = wrong
            .iter()
            .find_map(|one| one.help.strip_prefix(lead.as_str()))
            .unwrap();
        let mut known: Vec<String> = known.split(", ").map(str::to_owned).collect();
        known.sort();
        assert_eq!(known, described(pointer), "{what}");
    }
    assert!(
        validator().is_valid(
            &json!({ "saga": "x", "version": 1, "steps": [{ "id": "a", "sleep": "1s" }] })
        )
    );
}
