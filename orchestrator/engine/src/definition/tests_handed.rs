//! Objects that are handed on whole, with keys that no name describes: refused for what such a key may hold, or that it may not be there, and for nothing else.

use serde_json::json;

use super::tests_flow::{catalogue, manifest, said};
use super::*;
use crate::catalogue::Catalogue;

/// What is wrong where an object of the first schema is handed on whole to what takes the second.
fn handed(is: &Value, takes: &Value) -> Vec<String> {
    computed(is, takes, "${ input.w }")
}

/// The same of what an expression makes of it.
fn computed(is: &Value, takes: &Value, with: &str) -> Vec<String> {
    let mut catalogue = catalogue();
    catalogue
        .announce(manifest("switch.find@1", takes.clone(), json!({})))
        .unwrap();
    let yaml = format!(
        "saga: x\nversion: 1\ninput: {{ type: object, required: [w], properties: {{ w: {is} }} }}\nsteps:\n  - id: a\n    task: switch.find@1\n    with: {with}\n"
    );
    said(&check(&yaml, &catalogue, Unannounced::Warned).errors)
}

/// An object with no keys but those of patterns.
fn of(patterns: Value) -> Value {
    json!({ "type": "object", "patternProperties": patterns, "additionalProperties": false })
}

/// One of any keys that hold this.
fn all(of: Value) -> Value {
    json!({ "type": "object", "additionalProperties": of })
}

#[test]
fn what_may_hold_what_is_not_taken_is_refused() {
    let (text, whole) = (
        || json!({ "type": "string" }),
        || json!({ "type": "integer" }),
    );
    let named = |key: &str, is: Value| json!({ "type": "object", "properties": { key: is }, "additionalProperties": false });
    let with_pattern = json!({ "type": "object", "properties": { "d": { "type": "integer" } }, "patternProperties": { "^[de]$": { "type": "integer" } }, "additionalProperties": false });
    for (is, takes, why) in [
        (all(whole()), all(text()), "at `.*` is integer"),
        (all(whole()), named("a", text()), "at `.a` is integer"),
        (all(text()), named("a", text()), "keys beside those"),
        (
            all(text()),
            of(json!({ "^x-": text() })),
            "keys beside those",
        ),
        (
            all(text()),
            json!({ "type": "object", "required": ["a"] }),
            "may have no `a`",
        ),
        (
            of(json!({ "^a": whole() })),
            json!({ "type": "object", "required": ["ab"] }),
            "may have no `ab`",
        ),
        (
            of(json!({ "^a": whole() })),
            json!({ "type": "object", "required": ["b"] }),
            "has no `b`",
        ),
        (
            of(json!({ "^x-": whole() })),
            all(text()),
            "at `./^x-/` is integer",
        ),
        (
            named("x-a", text()),
            of(json!({ "^x-": whole() })),
            "at `.x-a` is string",
        ),
        // a key that is described is another one
        (with_pattern, named("d", whole()), "keys of `^[de]$`"),
        // a key that two patterns take has to fit both
        (
            of(json!({ "^x-": whole() })),
            of(json!({ "^x-": whole(), "-n$": text() })),
            "keys of `^x-`",
        ),
        (all(whole()), of(json!({ "": false })), "keys beside those"),
    ] {
        let found = handed(&is, &takes);
        assert_eq!(found.len(), 1, "{is} to {takes}: {found:?}");
        assert!(found[0].contains(why), "{is} to {takes}: {found:?}");
    }
}

#[test]
fn what_may_be_right_is_not_refused() {
    let (text, whole, number) = (
        || json!({ "type": "string" }),
        || json!({ "type": "integer" }),
        || json!({ "type": "number" }),
    );
    let closed = || json!({ "type": "object", "properties": { "a": { "type": "string" } }, "additionalProperties": false });
    for (is, takes) in [
        (all(whole()), all(number())),
        (all(whole()), json!({ "type": "object" })),
        // of keys nobody describes nothing is known
        (json!({ "type": "object" }), closed()),
        (json!({ "type": "object" }), all(text())),
        (
            json!({ "type": "object", "patternProperties": { "^x-": { "type": "string" } } }),
            of(json!({ "^x-": text() })),
        ),
        (of(json!({ "^x-": whole() })), of(json!({ "^x": number() }))),
        (
            of(json!({ "^x-": whole() })),
            json!({ "type": "object", "properties": { "a": { "type": "string" } }, "patternProperties": { "^x-": { "type": "integer" } }, "additionalProperties": { "type": "string" } }),
        ),
        // there is no such key
        (of(json!({ "^x-": false })), closed()),
        (
            json!({ "type": "object", "propertyNames": { "enum": ["a"] }, "additionalProperties": { "type": "string" } }),
            closed(),
        ),
        // of which keys it speaks is not found out
        (of(json!({ "^(?=x)": whole() })), all(text())),
        // a key of two patterns holds what fits both
        (
            of(json!({ "^x": number(), "^x-": whole() })),
            of(json!({ "^x-": whole(), "^x": number() })),
        ),
    ] {
        for (is, takes) in [(&is, &takes), (&is, &is), (&takes, &takes)] {
            assert_eq!(handed(is, takes), Vec::<String>::new(), "{is} to {takes}");
        }
    }
}

#[test]
fn a_computed_name_is_one_of_those_it_may_be() {
    let is = json!({ "type": "object", "required": ["m", "t"], "properties": { "m": { "enum": ["a", "b"] }, "t": { "type": "string" } } });
    let takes = |keys: &[&str]| {
        let properties: serde_json::Map<String, Value> = keys
            .iter()
            .map(|key| ((*key).to_owned(), json!({ "type": "integer" })))
            .collect();
        json!({ "type": "object", "properties": properties, "additionalProperties": false })
    };
    let one = "\"${ {input.w.m: 1} }\"";
    assert_eq!(
        computed(&is, &takes(&["a", "b"]), one),
        Vec::<String>::new()
    );
    let found = computed(&is, &takes(&["a"]), one);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("has `b`"), "{found:?}");
    // any text may be one that is taken
    let any = "\"${ {input.w.t: 1} }\"";
    assert_eq!(computed(&is, &takes(&["a"]), any), Vec::<String>::new());
}

/// The type of what an expression reads of such an object, and what is wrong with it.
fn read(is: &Value, text: &str) -> Vec<String> {
    let yaml = format!(
        "saga: x\nversion: 1\ninput: {{ type: object, required: [w], properties: {{ w: {is} }} }}\nsteps: [{{ id: a, sleep: 1s }}]\noutput: \"${{ {text} }}\"\n"
    );
    let found = check(&yaml, &Catalogue::default(), Unannounced::Warned);
    let types = found.expressions.iter().map(|one| one.of.clone());
    types.chain(said(&found.errors)).collect()
}

#[test]
fn a_key_of_a_pattern_is_what_the_pattern_says() {
    let is = of(json!({ "^x": { "type": "integer" }, "^y-": { "type": "string" } }));
    assert_eq!(read(&is, "input.w.?xa.orValue(1)"), ["integer".to_owned()]);
    assert_eq!(read(&is, "has(input.w.xa) ? input.w.xa : 0"), ["integer"]);
    let absent = read(&is, "input.w['y-a']");
    assert!(
        absent[0] == "string" && absent[1].contains("BT0024"),
        "{absent:?}"
    );
    let nowhere = read(&is, "input.w.z");
    assert!(nowhere[1].contains("BT0025"), "{nowhere:?}");
    assert!(nowhere[1].contains("it has ^x, ^y-"), "{nowhere:?}");
    // what is described as well has to fit both
    let both = json!({ "type": "object", "required": ["xa"], "properties": { "xa": true }, "patternProperties": { "^x": { "type": "integer" } } });
    assert_eq!(read(&both, "input.w.xa"), ["integer"]);
}
