//! Small documents that stand for much. Guarantee: what is looked at and what is told of them is bounded, whoever wrote them: the checker runs in orchestrators, for
//! everybody who may look.

use std::fmt::Write as _;

use baton_engine::Catalogue;
use baton_engine::definition::{Checked, NoSagas, Unannounced, check_among};

fn check(document: &str) -> Checked {
    check_among(
        document,
        &Catalogue::default(),
        &NoSagas,
        Unannounced::Warned,
    )
}

fn codes(document: &str) -> Vec<&'static str> {
    check(document).errors.iter().map(|one| one.code).collect()
}

const STEP: &str = "steps:\n  - id: nap\n    sleep: 1s\n";

/// Schemas of which each refers to the next one twice, by `word`.
fn doubling(levels: usize, word: &str) -> String {
    let mut document = String::from(
        "saga: s\nversion: 1\ninput:\n  type: object\n  $ref: \"#/$defs/d0\"\n  $defs:\n",
    );
    for level in 0..levels {
        let next = format!("{{ $ref: \"#/$defs/d{}\" }}", level + 1);
        let parts = match word {
            "properties" => format!("properties: {{ a: {next}, b: {next} }}"),
            word => format!("{word}: [{next}, {next}]"),
        };
        let _ = writeln!(document, "    d{level}: {{ type: object, {parts} }}");
    }
    let _ = writeln!(
        document,
        "    d{levels}: {{ type: object, required: [n], properties: {{ n: {{ type: integer }} }} }}"
    );
    document + STEP + "output: { n: \"${ input.n }\" }\n"
}

#[test]
fn a_schema_whose_parts_refer_to_the_next_one_twice_is_looked_at_no_further_than_it_is_worth() {
    // unfolded these would be a billion schemas, each for a part of a value of its own
    assert_eq!(codes(&doubling(30, "properties")), [] as [&str; 0]);
    for word in ["allOf", "anyOf", "oneOf"] {
        // and here all of them for the same value
        assert_eq!(codes(&doubling(30, word)), ["BT0015"], "{word}");
        assert_eq!(codes(&doubling(10, word)), [] as [&str; 0], "{word}");
    }
}

#[test]
fn a_schema_that_doubles_with_each_level_of_a_value_is_refused_before_there_is_one() {
    let head = "saga: s\nversion: 1\n";
    let of = |input: &str| format!("{head}input: {input}\n{STEP}");
    let twice = "{ properties: { a: { allOf: [{ $ref: '#' }, { $ref: '#' }] } } }";
    let found = check(&of(twice)).errors;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].code, found[0].line, found[0].column),
        ("BT0015", 3, 1)
    );
    assert_eq!(codes(&of("{ allOf: [{ $ref: '#' }] }")), ["BT0015"]);
    // a tree of two branches is as large as its values
    let tree = "{ properties: { left: { $ref: '#' }, right: { $ref: '#' } } }";
    assert_eq!(codes(&of(tree)), [] as [&str; 0]);
}

#[test]
fn what_aliases_stand_for_is_counted_before_it_is_copied() {
    let mut document = format!(
        "saga: s\nversion: 1\ntitle: &a \"{}\"\nlabels:\n",
        "x".repeat(100_000)
    );
    for n in 0..40_000 {
        let _ = writeln!(document, "  l{n}: *a");
    }
    assert_eq!(codes(&(document + STEP)), ["BT0015"]);
}

#[test]
fn a_text_holds_so_many_expressions_and_no_more() {
    let of = |n: usize| {
        let text = "${ input.a + 1 } ".repeat(n);
        format!("saga: s\nversion: 1\n{STEP}output: \"{text}\"\n")
    };
    assert_eq!(codes(&of(1_000)), [] as [&str; 0]);
    let found = check(&of(8_000));
    assert_eq!(found.errors.len(), 1);
    assert!(
        found.errors[0].message.contains("more than 1000"),
        "{:?}",
        found.errors
    );
}

#[test]
fn of_very_many_mistakes_the_first_are_told_and_how_many_more_there_are() {
    let mut document = format!("saga: s\nversion: 1\n{STEP}");
    for n in 0..20_000 {
        let _ = writeln!(document, "unknown{n}: 1");
    }
    let found = check(&document).errors;
    assert_eq!(found.len(), 101);
    let last = &found[100];
    assert_eq!((last.code, last.line), ("BT0015", 106));
    assert!(last.message.contains("19900 more"), "{last:?}");
}
