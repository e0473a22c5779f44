//! What the help of a refused expression proposes: it is taken, where it stands in place of what was refused.

use super::tests_flow::said;
use super::*;
use crate::catalogue::Catalogue;

fn checked(output: &str) -> Checked {
    let output = Value::from(output);
    let yaml = format!(
        "saga: x\nversion: 1\ninput:\n  type: object\n  required: [name, count, ratio, tags, host, maybe]\n  additionalProperties: false\n  properties:\n    name: {{ type: string }}\n    count: {{ type: integer }}\n    ratio: {{ type: number }}\n    tags: {{ type: array, items: {{ type: string }} }}\n    host: {{ type: object, required: [ip], additionalProperties: false, properties: {{ ip: {{ type: string }} }} }}\n    maybe: {{ type: [string, \"null\"] }}\n    gone: {{ type: string }}\n    perhaps: {{ type: [string, \"null\"] }}\nsteps:\n  - {{ id: a, wait: {{ event: com.example.paid, timeout: 1h }} }}\noutput: {output}\n"
    );
    check(&yaml, &Catalogue::default(), Unannounced::Warned)
}

#[test]
fn what_is_proposed_is_taken() {
    for (wrong, proposed) in [
        (
            "input.maybe + 'x'",
            "input.maybe != null ? input.maybe : \"\"",
        ),
        (
            "input.?gone.orValue(null) + 'x'",
            "input.?gone.orValue(\"\")",
        ),
        (
            "input.?perhaps.orValue('') + 'x'",
            "has(input.perhaps) && input.perhaps != null ? input.perhaps : \"\"",
        ),
        (
            "[input.maybe][0] + 'x'",
            "[[input.maybe][0]].map(v, v != null ? v : \"\")[0]",
        ),
        ("input.?gone + 'x'", "input.?gone.orValue(\"\")"),
        ("'a' in input.name", "input.name.contains('a')"),
        ("3 in input.host", "'3' in input.host"),
        ("input.tags + 'x'", "input.tags + ['x']"),
        (
            "input.tags.startsWith('a')",
            "input.tags.exists(x, x.startsWith('a'))",
        ),
        ("!input.name", "input.name == \"\""),
        ("bool(input.count)", "input.count != 0"),
        ("(input.count > 1) - 1", "((input.count > 1) ? 1 : 0) - 1"),
        ("string(input.tags)", "input.tags[0]"),
        ("int(input.host)", "input.host.ip"),
        (
            "input.name + input.count",
            "input.name + string(input.count)",
        ),
        ("input.name < 3", "int(input.name) < 3"),
        ("input.ratio % 2.0", "int(input.ratio) % 2"),
    ] {
        let found = checked(&format!("${{ {wrong} }}")).errors;
        let help = found.first().map_or("", |one| one.help.as_str());
        assert!(help.contains(&format!("`{proposed}`")), "{wrong}: {help}");
        let left = checked(&format!("${{ {proposed} }}")).errors;
        assert!(left.is_empty(), "{proposed}: {:?}", said(&left));
    }
}

#[test]
fn what_is_read_where_it_is_known_not_to_be_there_is_told_so() {
    for (wrong, help) in [
        (
            "has(input.gone) || input.gone == 'x'",
            "write `has(input.gone) && …`",
        ),
        (
            "has(input.gone) ? 'none' : input.gone",
            "swap the two branches",
        ),
    ] {
        let found = checked(&format!("${{ {wrong} }}")).errors;
        let lines = said(&found);
        let told = format!("`input.gone` is read where `has(input.gone)` is false | {help}");
        assert!(
            lines.len() == 1 && lines[0].ends_with(&told),
            "{wrong}: {lines:?}"
        );
    }
    // what is asked for in another branch says nothing of this one
    let other = checked("${ has(input.gone) ? input.gone : 'none' }");
    assert!(other.errors.is_empty(), "{:?}", said(&other.errors));
}

#[test]
fn why_something_may_be_null_is_told() {
    let lines = said(&checked("about ${ a.subject }").errors);
    let told = "`a.subject` may be null (an event need not have one), and text has no null | write `a.subject != null ? a.subject : \"\"`";
    assert!(lines.len() == 1 && lines[0].ends_with(told), "{lines:?}");
}

#[test]
fn a_time_is_compared_with_no_number() {
    let checked = |when: &str| {
        let yaml = format!(
            "saga: x\nversion: 1\non:\n  - event: com.example.paid\n    when: ${{ has(event.time) && {when} }}\nsteps:\n  - {{ id: a, sleep: 1s }}\n"
        );
        check(&yaml, &Catalogue::default(), Unannounced::Warned).errors
    };
    for (wrong, proposed) in [
        ("event.time > 5", "event.time > '2026-01-31T00:00:00Z'"),
        (
            "1.5 <= event.?time.orValue('')",
            "'2026-01-31T00:00:00Z' <= event.?time.orValue('')",
        ),
    ] {
        let found = checked(wrong);
        let help = found.first().map_or("", |one| one.help.as_str());
        assert!(help.contains(&format!("`{proposed}`")), "{wrong}: {help}");
        assert!(!help.contains("int("), "{help}");
        let left = checked(proposed);
        assert!(left.is_empty(), "{proposed}: {:?}", said(&left));
    }
    let found = checked("event.time - 5 > 0");
    let help = found.first().map_or("", |one| one.help.as_str());
    assert!(help.contains("do not reckon with it"), "{help}");
}
