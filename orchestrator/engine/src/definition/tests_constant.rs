//! What is known before there is any value: conditions that ask nothing, expressions that always fail, and a saga that starts itself.

use super::tests_flow::{catalogue, said};
use super::*;

/// What is said of a saga with this at its top, and these steps: errors and warnings.
fn found(top: &str, steps: &str) -> (Vec<String>, Vec<String>) {
    let yaml = format!(
        "saga: x\nversion: 1\n{top}input: {{ type: object, required: [n, l, s], properties: {{ n: {{ type: integer }}, l: {{ type: array, items: {{ type: integer }} }}, s: {{ type: string }} }} }}\nsteps:\n{steps}"
    );
    let found = check(&yaml, &catalogue(), Unannounced::Warned);
    (said(&found.errors), said(&found.warnings))
}

fn one(found: &[String], code: &str, what: &str) {
    assert_eq!(found.len(), 1, "{what}: {found:?}");
    assert!(
        found[0].contains(code) && found[0].contains(what),
        "{what}: {found:?}"
    );
}

#[test]
fn a_condition_that_asks_nothing_is_told() {
    let task = |more: &str| format!("  - {{ id: a, task: switch.locate@1{more} }}\n");
    for (condition, what) in [
        ("1 > 2", "is always false, and the step is never done"),
        ("size([1]) == 1", "`size([1]) == 1` is always true"),
    ] {
        let (errors, warnings) = found("", &task(&format!(", if: '${{ {condition} }}'")));
        assert_eq!(errors, Vec::<String>::new());
        one(&warnings, "BT0026", what);
    }
    for meant in ["'${ input.n > 2 }'", "false", "'${ false }'", "true"] {
        let none = (Vec::new(), Vec::new());
        assert_eq!(found("", &task(&format!(", if: {meant}"))), none, "{meant}");
    }
    let (errors, _) = found("", &task(", undo: { when: '${ 1 == 2 }' }"));
    one(&errors, "BT0014", "nothing is ever taken back");
    for when in ["${ false }", "${ 1 > 2 }"] {
        let on = format!("on: [{{ event: a.b, when: '{when}' }}]\n");
        let (_, warnings) = found(&on, &task(""));
        one(&warnings, "BT0026", "nothing ever comes of this trigger");
        let wait =
            format!("  - {{ id: a, wait: {{ event: a.b, timeout: 1h, when: '{when}' }} }}\n");
        let (_, warnings) = found("", &wait);
        one(&warnings, "BT0026", "no event is ever taken");
    }
    let on = "on: [{ event: a.b, when: '${ true }' }]\n";
    assert_eq!(found(on, &task("")).1, Vec::<String>::new());
}

#[test]
fn what_fails_whatever_it_is_started_with_is_refused() {
    let output = |text: &str| {
        found(
            "",
            &format!("  - {{ id: a, sleep: 1s }}\noutput: '${{ {text} }}'\n"),
        )
    };
    for (fails, what) in [
        ("[][0]", "`[][0]` always fails: "),
        ("[1, 2, 3][5]", "`[1, 2, 3][5]` always fails: "),
        ("1 / 0", "`1 / 0` always fails: nothing is divided by 0"),
        (
            "input.n % 0",
            "`input.n % 0` always fails: nothing is divided by 0",
        ),
        (
            "input.l[-1]",
            "an index below 0 always fails: a list begins with 0 | the last is `input.l[size(input.l) - 1]`",
        ),
        ("1 / (2 - 2)", "`1 / (2 - 2)` always fails: "),
    ] {
        let (errors, _) = output(fails);
        one(&errors, "BT0023", what);
    }
    for right in [
        "[1, 2, 3][2]",
        "input.l[0]",
        "input.n / 2",
        "input.l[size(input.l) - 1]",
        "input.n == 0 ? 0 : 7 / input.n",
        "false ? [][0] : 1",
    ] {
        assert_eq!(output(right).0, Vec::<String>::new(), "{right}");
    }
}

#[test]
fn of_what_nothing_can_be_it_is_not_told_that_it_is_never_the_same() {
    let (errors, warnings) = found("", "  - { id: a, sleep: 1s }\noutput: '${ [][0] == 1 }'\n");
    one(&errors, "BT0023", "always fails");
    assert_eq!(warnings, Vec::<String>::new());
}

#[test]
fn a_saga_that_starts_itself_without_end_is_told() {
    let told = "  - { id: told, emit: { type: com.example.told } }\n";
    for (on, starts) in [
        ("event: com.example.told", true),
        ("event: com.example.*", true),
        ("event: com.example.other", false),
        (
            "event: com.example.told, when: '${ event.source == \"x\" }'",
            false,
        ),
        ("event: com.example.told, key: '${ event.id }'", false),
    ] {
        let (errors, warnings) = found(
            &format!("on: [{{ {on}, input: {{ n: 1, l: [], s: x }} }}]\n"),
            told,
        );
        assert_eq!(errors, Vec::<String>::new(), "{on}");
        match starts {
            true => one(
                &warnings,
                "BT0019",
                "`told` publishes `com.example.told`, which starts this saga anew",
            ),
            false => assert_eq!(warnings, Vec::<String>::new(), "{on}"),
        }
    }
}
