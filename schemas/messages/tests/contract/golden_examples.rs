//! Every message by example: each valid one is read, written back equal, and fits its schema; each invalid one is refused
//! by the reader and by the schema alike.

use serde_json::Value;

use crate::kinds;

/// Invalid examples that no JSON Schema can refuse, by the end of their path.
const SCHEMA_CANNOT_SAY: &[(&str, &str)] = &[
    (
        "field-twice.json",
        "JSON parsers keep the last of two equal names before a schema sees them",
    ),
    (
        "attempt-as-float.json",
        "to JSON Schema 1.0 is an integer; the reader wants it written as one",
    ),
];

fn examples(which: &str, kind: &str) -> Vec<(String, String)> {
    let directory = kinds::directory().join("examples").join(which).join(kind);
    kinds::listed(&directory)
        .into_iter()
        .map(|name| {
            let text = std::fs::read_to_string(directory.join(&name)).expect("example");
            (format!("{which}/{kind}/{name}"), text)
        })
        .collect()
}

#[test]
fn every_kind_has_a_schema_and_examples_of_both_sorts() {
    let mut known: Vec<String> = crate::schemas::kinds()
        .expect("kinds")
        .into_iter()
        .map(|kind| kind.name)
        .collect();
    known.sort();
    assert_eq!(kinds::all(), known, "schemas on disk and kinds in the code");
    for which in ["valid", "invalid"] {
        let directory = kinds::directory().join("examples").join(which);
        assert_eq!(kinds::listed(&directory), known, "{which} examples");
    }
    for kind in known {
        let (valid, invalid) = (examples("valid", &kind), examples("invalid", &kind));
        assert!(
            valid.len() >= 2,
            "{kind} has {} valid examples",
            valid.len()
        );
        assert!(
            invalid.len() >= 3,
            "{kind} has {} invalid examples",
            invalid.len()
        );
    }
}

#[test]
fn valid_examples_are_read_written_back_equal_and_fit_their_schema() {
    for kind in kinds::all() {
        let schema = kinds::validator(&kind);
        for (name, text) in examples("valid", &kind) {
            let stands: Value = serde_json::from_str(&text).expect("JSON");
            let (written, said) = kinds::read(&kind, text.as_bytes())
                .unwrap_or_else(|e| panic!("{name} is refused by the reader: {e}"));
            assert_eq!(written, stands, "{name} comes back different");
            assert_eq!(said, kind, "{name} is of another kind");
            if let Err(e) = schema.validate(&stands) {
                panic!("{name} is refused by the schema: {e}");
            }
        }
    }
}

#[test]
fn invalid_examples_are_refused_by_reader_and_schema() {
    let mut unsaid = 0;
    for kind in kinds::all() {
        let schema = kinds::validator(&kind);
        for (name, text) in examples("invalid", &kind) {
            let read = kinds::read(&kind, text.as_bytes());
            // Another kind of the same family is read as what it is, and that is no instance of this one.
            let refused = read.is_err() || read.is_ok_and(|(_, said)| said != kind);
            assert!(refused, "{name} is taken by the reader");
            let stands: Value = serde_json::from_str(&text).expect("JSON");
            let excused = SCHEMA_CANNOT_SAY
                .iter()
                .any(|(end, _)| name.ends_with(&format!("/{end}")));
            unsaid += usize::from(excused);
            assert_eq!(
                schema.is_valid(&stands),
                excused,
                "{name}: the schema takes what it should refuse, or refuses what is listed as beyond it"
            );
        }
    }
    assert!(
        unsaid >= SCHEMA_CANNOT_SAY.len(),
        "a listed excuse has no example"
    );
}

#[test]
fn bodies_that_are_no_json_are_refused() {
    for kind in kinds::all() {
        for body in [
            &b""[..],
            b" ",
            b"{",
            b"\xff\xfe",
            b"nul",
            b"{}{}",
            b"\xef\xbb\xbf{}",
        ] {
            assert!(kinds::read(&kind, body).is_err(), "{kind}: {body:?}");
        }
    }
}

#[test]
fn deep_nesting_is_refused_and_does_no_harm() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let event =
        format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"t","data":{deep}}}"#);
    assert!(kinds::read("event", event.as_bytes()).is_err());
}

#[test]
fn a_null_is_told_from_an_absence() {
    for (kind, name, pointer) in [
        (
            "grant@1",
            "granted-before-was-nothing",
            "/grant@1/answer/granted/before",
        ),
        ("task@1", "probe", "/task@1/before"),
        ("finished@1", "undone", "/finished@1/before"),
        ("event", "data-is-null", "/data"),
    ] {
        let path = kinds::directory().join(format!("examples/valid/{kind}/{name}.json"));
        let text = std::fs::read(path).expect("example");
        let (written, _) = kinds::read(kind, &text).expect("valid");
        assert_eq!(
            written.pointer(pointer),
            Some(&Value::Null),
            "{kind}/{name}"
        );
    }
}
