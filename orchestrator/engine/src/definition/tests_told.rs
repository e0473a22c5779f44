//! Keys that are computed, what is no JSON, and what a condition tells apart: what is taken works with values of every kind its schemas allow, and what is refused does not.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::tests_flow::{catalogue, said};
use super::{Unannounced, check};
use crate::expr::Expr;

/// One of two objects.
fn variants() -> Value {
    let one = |constant: &str, own: &str, of: &str| json!({ "type": "object", "additionalProperties": false, "required": ["k", own], "properties": { "k": { "const": constant }, own: { "type": of } } });
    json!({ "oneOf": [one("x", "a", "integer"), one("y", "b", "string")] })
}

/// What is wrong with an output, of a saga in which `a` runs where `input.b` holds, and `c` where it does not.
fn wrong(output: &str) -> Vec<String> {
    let text = json!({ "type": "string" });
    let whole = json!({ "type": "integer" });
    let input = json!({
        "type": "object", "additionalProperties": false,
        "required": ["s", "site", "o", "map", "en", "v", "l", "either", "b", "n", "nul"],
        "properties": {
            "s": text, "site": { "enum": ["vienna", "graz"] },
            "o": { "type": "object", "additionalProperties": false, "required": ["a"], "properties": { "a": whole, "b": whole } },
            "map": { "type": "object", "additionalProperties": text },
            "en": { "enum": ["x", 1] }, "v": variants(), "w": variants(),
            "l": { "type": "array", "items": { "type": "object", "additionalProperties": false, "properties": { "b": text } } },
            "opt": text, "either": { "type": ["string", "integer"] }, "b": { "type": "boolean" }, "n": whole, "nul": { "type": ["string", "null"] },
        },
    });
    let output = Value::from(format!("${{ {output} }}"));
    let yaml = format!(
        "saga: x\nversion: 1\ninput: {input}\nsteps:\n  - {{ id: a, if: '${{ input.b }}', task: switch.locate@1 }}\n  - {{ id: c, if: '${{ !input.b }}', task: switch.locate@1 }}\noutput: {output}\n"
    );
    said(&check(&yaml, &catalogue(), Unannounced::Warned).errors)
}

/// Values of which every condition below holds for some, and not for others.
fn scopes() -> [BTreeMap<String, Value>; 2] {
    let located = json!({ "switch": "s", "port": 1, "share": 0.5 });
    let one = json!({
        "s": "a", "site": "vienna", "o": { "a": 1, "b": 2 }, "map": { "a": "1", "azz": "2" }, "en": "x", "v": { "k": "x", "a": 1 },
        "l": [{ "b": "q" }], "opt": "o", "either": "t", "b": true, "n": 1, "nul": null,
    });
    let other = json!({
        "s": "q", "site": "graz", "o": { "a": 1 }, "map": {}, "en": 1, "v": { "k": "y", "b": "s" },
        "l": [{}], "either": 3, "b": false, "n": 2, "nul": "a",
    });
    let scope = |input: Value, a: Value, c: Value| {
        let all = [("input", input), ("a", a), ("c", c)];
        BTreeMap::from(all.map(|(name, value)| (name.to_owned(), value)))
    };
    [
        scope(one, located.clone(), Value::Null),
        scope(other, Value::Null, located),
    ]
}

#[test]
fn what_is_told_apart_is_taken_and_works() {
    for right in [
        "input.s in input.map ? input.map[input.s] : ''",
        "!(input.s in input.map) ? '' : input.map[input.s]",
        "input.s + 'zz' in input.map ? input.map[input.s + 'zz'] : ''",
        "input.map[?input.s].orValue('')",
        "input.map[?input.s].hasValue() ? input.map[input.s] : ''",
        "input.map.map(k, input.map[k])",
        "input.map.filter(k, input.map[k] != '').map(k, input.map[k])",
        "input.map.all(k, input.map[k] != '')",
        "{'vienna': 'v', 'graz': 'g'}[input.site]",
        "input.site == 'graz' ? {'graz': 'g'}[input.site] : ''",
        "input.s in ['a'] ? input.o[input.s] : 0",
        "'b' in input.o ? input.o.b : 0",
        "input.?opt.hasValue() ? input.opt : ''",
        "!input.?opt.hasValue() ? '' : input.opt",
        "input.en == 'x' ? 1 : input.en + 1",
        "input.v.k == 'x' ? input.v.a + 1 : size(input.v.b)",
        "input.v.k != 'x' ? size(input.v.b) : input.v.a + 1",
        "input.v.k in ['y'] ? size(input.v.b) : input.v.a",
        "has(input.v.a) ? input.v.a + 1 : size(input.v.b)",
        "type(input.either) == string ? size(input.either) : input.either + 1",
        "input.b ? a.switch : c.switch",
        "!input.b ? c.switch : a.switch",
        "[?input.?opt]",
        "{?'a': input.?opt}",
        "input.l.map(x, x.?b.orValue(''))",
        "{1: 2}[1]",
        "{input.s: 1}",
    ] {
        assert_eq!(wrong(right), Vec::<String>::new(), "{right}");
        for scope in scopes() {
            let value = Expr::compile(right).unwrap().eval(&scope);
            assert!(value.is_ok(), "{right}: {value:?}");
        }
    }
}

#[test]
fn what_may_not_be_there_or_is_no_json_is_refused() {
    for (odd, code) in [
        ("input.map[input.s]", "BT0024"),
        ("input.o[input.s + 'zz']", "BT0024"),
        ("{'vienna': 'v'}[input.site]", "BT0024"),
        (
            "input.s in input.map ? input.map[input.site] : ''",
            "BT0024",
        ),
        ("input.s in input.map ? '' : input.map[input.s]", "BT0024"),
        ("input.map.map(k, input.o[k])", "BT0024"),
        // another k
        ("input.map.map(k, ['q'].map(k, input.map[k]))", "BT0024"),
        ("input.l.map(x, x.?b)", "BT0023"),
        ("{'a': input.?opt}", "BT0023"),
        ("[bytes('a')]", "BT0023"),
        ("input.b ? [type(1)] : []", "BT0023"),
        ("{1: 2}", "BT0023"),
        ("{input.n: 1}", "BT0023"),
        ("input.b ? {true: 2} : {}", "BT0023"),
        ("size({0.5: 1})", "BT0023"),
        ("{input.nul: 1}", "BT0024"),
        ("{'a': 1, 'a': 2}", "BT0007"),
        ("{1: 1, 1u: 2}[1]", "BT0007"),
        ("input.v.k == 'x' ? input.v.b : ''", "BT0025"),
        ("has(input.v.a) ? 1 : input.v.a", "BT0025"),
        // it may be that there is none of them
        ("has(input.w.a) ? 1 : size(input.w.b)", "BT0024"),
        ("input.b ? c.switch : a.switch", "BT0024"),
        ("input.en == 'x' ? input.en + 1 : 1", "BT0023"),
        // what an optional holds is what it was, once it is known to be there
        (
            "has(input.?w.a) ? input.?w.a.orValue('') + 'x' : ''",
            "BT0023",
        ),
    ] {
        let lines = wrong(odd);
        let is_told = lines.iter().all(|line| line.contains(code));
        assert!(is_told && !lines.is_empty(), "{odd}: {lines:?}");
    }
}
