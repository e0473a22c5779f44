//! The data-flow checker against a small catalogue.

use baton_messages::{Effect, Manifest, RetryDefaults};
use serde_json::{Value, json};

use super::*;
use crate::catalogue::Catalogue;

pub(super) fn manifest(name: &str, input: Value, output: Value) -> Manifest {
    Manifest {
        task_type: baton_messages::TaskType::new(name).unwrap(),
        summary: String::new(),
        input,
        output,
        effect: Effect::Reversible,
        idempotent: true,
        before_image: false,
        undo: true,
        probe: false,
        dry_run: false,
        lock: None,
        timeout_ms_default: 1_000,
        timeout_ms_max: 1_000,
        settle_ms: 0,
        retry: RetryDefaults::default(),
        needs: Vec::new(),
        examples: Vec::new(),
    }
}

pub(super) fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::default();
    let port = json!({
        "type": "object", "additionalProperties": false, "required": ["switch", "port"],
        "properties": {
            "switch": { "type": "string" },
            "port": { "$ref": "#/$defs/port" },
            "vlan": { "type": "integer", "minimum": 1, "maximum": 4094 },
            "tags": { "type": "array", "items": { "type": "string" } },
            "note": true,
        },
        "$defs": { "port": { "type": "integer" } },
    });
    let found = json!({
        "type": "object", "additionalProperties": false, "required": ["switch", "port", "share"],
        "properties": { "switch": { "type": "string" }, "port": { "type": "integer" }, "share": { "type": "number" } },
    });
    for known in [
        manifest(
            "switch.set-vlan@1",
            port,
            json!({ "type": "object", "properties": { "was": { "type": "integer" } } }),
        ),
        manifest("switch.locate@1", json!({ "type": "object" }), found),
    ] {
        catalogue.announce(known).unwrap();
    }
    catalogue
}

fn check(with: &str) -> Checked {
    let yaml = format!(
        "saga: x\nversion: 1\ninput: {{ type: object, required: [vlan, name, any], properties: {{ vlan: {{ type: integer, minimum: 1, maximum: 4094 }}, name: {{ type: string }}, any: true }} }}\nsteps:\n  - id: at\n    task: switch.locate@1\n  - id: ok\n    approve: {{ by: operator, timeout: 1h }}\n  - id: set\n    task: switch.set-vlan@1\n    with: {with}\n"
    );
    super::check(&yaml, &catalogue(), Unannounced::Warned)
}

pub(super) fn said(found: &[Diagnostic]) -> Vec<String> {
    let line = |d: &Diagnostic| {
        format!(
            "{}:{} {} {} | {}",
            d.line, d.column, d.code, d.message, d.help
        )
    };
    found.iter().map(line).collect()
}

#[test]
fn what_fits_and_what_nobody_can_tell_passes() {
    for with in [
        "{ switch: s, port: 1 }",
        "{ switch: \"${ at.switch }\", port: \"${ at.port }\", vlan: \"${ input.vlan }\" }",
        "{ switch: \"${ at.switch }-${ at.port }\", port: \"${ input.any }\" }",
        "{ switch: \"${ string(at.port) }\", port: \"${ int(input.name) }\", note: [1, { a: 2 }] }",
        "{ switch: s, port: \"${ int(at.share) }\", tags: [a, \"${ input.name }\"] }",
        "${ input.any }",
    ] {
        let found = check(with);
        assert_eq!((found.errors, found.warnings), (vec![], vec![]), "{with}");
    }
}

#[test]
fn what_cannot_fit_is_an_error_where_it_stands() {
    for (with, expected) in [
        (
            "{ switch: s, port: \"${ at.switch }\" }",
            "11:34 BT0020 `at.switch` is string, and switch.set-vlan@1 takes integer here",
        ),
        (
            "{ switch: \"${ input.vlan }\", port: 1 }",
            "11:25 BT0020 `input.vlan` is integer",
        ),
        (
            "{ switch: s, port: \"p${ at.port }\" }",
            "11:30 BT0020 this text is string",
        ),
        (
            "{ switch: s, port: 1, vlan: 4095 }",
            "11:39 BT0020 does not fit switch.set-vlan@1: 4095",
        ),
        ("{ switch: s, port: one }", "11:30 BT0020"),
        ("{ switch: s, prot: 1, port: 1 }", "did you mean `port`?"),
        (
            "{ switch: s }",
            "11:5 BT0020 switch.set-vlan@1 needs `port`, which is not there | add `port: …` (integer)",
        ),
        ("{ switch: s, port: 1, tags: a }", "11:39 BT0020"),
        (
            "{ switch: s, port: 1, tags: [\"${ at.port }\"] }",
            "11:44 BT0020 `at.port` is integer",
        ),
        (
            "{ switch: \"${ at.swich }\", port: 1 }",
            "did you mean `switch`?",
        ),
        (
            "{ switch: \"${ at.switch.name }\", port: 1 }",
            "`at.switch` is string, which has no `name` inside",
        ),
        (
            "{ switch: \"${ ok.approved }\", port: 1 }",
            "`ok.approved` is boolean",
        ),
        ("{ switch: \"${ ok.bye }\", port: 1 }", "did you mean `by`?"),
    ] {
        let found = check(with);
        let lines = said(&found.errors);
        assert_eq!(lines.len(), 1, "{with}: {lines:#?}");
        assert!(lines[0].contains(expected), "{with}: {lines:#?}");
    }
}

#[test]
fn what_is_likely_a_mistake_is_a_warning() {
    let found = check("{ switch: \"${ input.nmae }\", port: 1 }");
    assert_eq!(found.errors, []);
    assert!(
        said(&found.warnings)[0].contains("did you mean `name`?"),
        "{found:?}"
    );
    let yaml = "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: switch.set-vlna@1\n";
    let found = super::check(yaml, &catalogue(), Unannounced::Warned);
    assert_eq!(found.errors, []);
    let lines = said(&found.warnings);
    assert!(
        lines[0].starts_with("5:11 BT0021 no worker has announced"),
        "{lines:?}"
    );
    assert!(
        lines[0].contains("did you mean `switch.set-vlan@1`?"),
        "{lines:?}"
    );
}

#[test]
fn what_is_planned_is_checked_and_said_to_be_planned() {
    let mut planned = Catalogue::default();
    for manifest in catalogue().manifests() {
        planned.plan(manifest.clone()).unwrap();
    }
    let yaml = |with: &str| {
        format!(
            "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: switch.set-vlan@1\n    with: {with}\n"
        )
    };
    let found = super::check(
        &yaml("{ switch: s, port: no }"),
        &planned,
        Unannounced::Warned,
    );
    assert!(!found.errors.is_empty(), "its input is checked: {found:?}");
    let lines = said(&found.warnings);
    assert!(
        lines
            .iter()
            .any(|line| line.contains("BT0021 `switch.set-vlan@1` is planned")),
        "{lines:?}"
    );
    let announced = catalogue().manifests().next().unwrap().clone();
    let of = announced.task_type.clone();
    let mut unsound = announced.clone();
    unsound.input = json!({ "type": 7 });
    assert!(planned.announce(unsound).is_err());
    assert!(planned.is_planned(&of), "what is refused changes nothing");
    assert_eq!(planned.announce(announced), Ok(true), "it is there now");
    assert!(!planned.is_planned(&of));
}

#[test]
fn what_the_library_needs_is_planned_whole_and_gives_way_to_what_is_announced() {
    let planned = include_str!("../../../sagas/planned.json");
    let planned: Vec<Manifest> = serde_json::from_str(planned).unwrap();
    assert_eq!(Catalogue::planned().manifests().count(), planned.len());
    let mut announced = Catalogue::default();
    let mut mine = planned[0].clone();
    mine.summary = "as it is".to_owned();
    announced.announce(mine.clone()).unwrap();
    let both = announced.with_planned();
    assert_eq!(both.manifests().count(), planned.len());
    assert!(!both.is_planned(&mine.task_type));
    assert_eq!(both.get(&mine.task_type).unwrap().manifest, mine);
    let others = planned.iter().skip(1);
    assert!(
        others
            .map(|one| &one.task_type)
            .all(|of| both.is_planned(of))
    );
}

/// Groups three deep, of which the innermost does something for each of a list that stands outside of all.
fn for_each_of(list: &str) -> Vec<String> {
    let yaml = format!(
        "saga: x\nversion: 1\ninput: {{ type: object, required: [ids], properties: {{ ids: {{ type: array, items: {{ type: string }} }} }} }}\nsteps:\n  - {{ id: all, for_each: '${{ input.ids }}', max_items: 20, task: switch.locate@1 }}\n  - id: outer\n    for_each: [1, 2]\n    steps:\n      - id: inner\n        for_each: [3, 4]\n        steps:\n          - {{ id: again, for_each: '${{ {list} }}', task: switch.locate@1 }}\n"
    );
    let found = super::check(&yaml, &catalogue(), Unannounced::Warned);
    said(&found.errors)
}

#[test]
fn a_list_around_a_group_is_as_long_as_is_said_there() {
    assert_eq!(for_each_of("all"), Vec::<String>::new());
    let unbounded = for_each_of("input.ids");
    assert_eq!(unbounded.len(), 1, "{unbounded:?}");
    assert!(
        unbounded[0].contains("BT0035 nobody says how long this list may be"),
        "{unbounded:?}"
    );
}

#[test]
fn undo_and_probe_are_looked_at_too() {
    let yaml = "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: switch.locate@1\n    undo: { task: switch.set-vlan@1, with: { switch: \"${ a.?port.orValue(0) }\", port: 1 } }\n";
    let found = super::check(yaml, &catalogue(), Unannounced::Warned);
    let lines = said(&found.errors);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with("6:58 BT0020 `a.?port.orValue(0)` is integer"),
        "{lines:?}"
    );
}

/// Its type was announced after it was registered.
#[test]
fn what_is_wrong_for_a_type_is_told_from_what_is_wrong_whatever_it_is() {
    let yaml = "saga: x\nversion: 1\nsteps:\n  - id: a\n    task: switch.set-vlan@1\n    with: { switch: s, port: no }\n";
    let known = catalogue();
    let wrong = mistakes_of_types(yaml, &known, &NoSagas);
    assert!(said(&wrong)[0].starts_with("6:"), "{wrong:?}");
    assert_eq!(mistakes_of_types(yaml, &Catalogue::default(), &NoSagas), []);
    assert_eq!(
        mistakes_of_types(&yaml.replace("port: no", "port: 7"), &known, &NoSagas),
        []
    );
    let odd = format!("{yaml}colour: red\n");
    let all = super::check(&odd, &known, Unannounced::Warned).errors;
    assert_eq!(all.len(), wrong.len() + 1, "{all:?}");
    assert_eq!(mistakes_of_types(&odd, &known, &NoSagas), wrong);
}
