//! Expressions and templates against tables of what they yield and how they fail, and the short cut against CEL.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{EXPRESSION_BYTES_MAX, Expr, RESULT_BYTES_MAX, Template};

fn scope() -> BTreeMap<String, Value> {
    let input = json!({
        "ip": "10.0.0.7", "count": 3, "big": u64::MAX, "ratio": 1.0, "neg": -4, "yes": true, "nothing": null,
        "tags": ["a", "b"], "hosts": [{"name": "h1", "up": true}, {"name": "h2", "up": false}],
        "map": {"z": 1, "y": 2, "x": 3, "w": 4, "v": 5}, "odd key": {"k": 1},
    });
    BTreeMap::from([
        ("input".to_owned(), input),
        (
            "locate".to_owned(),
            json!({"port": "ge-0/0/1", "vlan": 20, "deep": {"er": null}}),
        ),
        ("skipped".to_owned(), Value::Null),
    ])
}

#[test]
fn expressions_yield() {
    let table: &[(&str, Value)] = &[
        ("input.ip", json!("10.0.0.7")),
        (" input.count ", json!(3)),
        ("input.big", json!(u64::MAX)),
        ("input.ratio", json!(1.0)),
        ("input[\"odd key\"].k", json!(1)),
        ("input.hosts[1].name", json!("h2")),
        ("input.nothing", Value::Null),
        ("skipped", Value::Null),
        ("1", json!(1)),
        ("-1", json!(-1)),
        ("18446744073709551615u", json!(u64::MAX)),
        ("1.0", json!(1.0)),
        ("'text'", json!("text")),
        ("null", Value::Null),
        ("true", json!(true)),
        ("input.count + 1", json!(4)),
        ("input.ratio * 2.0", json!(2.0)),
        ("input.big - 1u", json!(u64::MAX - 1)),
        ("input.count > 2 && input.yes", json!(true)),
        ("input.count > 2.5", json!(true)),
        ("input.count == 3 ? 'three' : 'other'", json!("three")),
        (
            "{'a': input.count, 'b': [input.ratio]}",
            json!({"a": 3, "b": [1.0]}),
        ),
        ("input.tags + ['c']", json!(["a", "b", "c"])),
        ("input.hosts.filter(h, h.up).map(h, h.name)", json!(["h1"])),
        ("input.hosts.exists(h, h.name == 'h2')", json!(true)),
        ("input.hosts.all(h, h.up)", json!(false)),
        // maps are walked in the order of their keys, always
        ("input.map.map(k, k)", json!(["v", "w", "x", "y", "z"])),
        ("input.map.map(k, input.map[k])", json!([5, 4, 3, 2, 1])),
        ("size(input.tags)", json!(2)),
        ("input.ip.startsWith('10.')", json!(true)),
        ("string(input.count)", json!("3")),
        // a skipped step
        ("has(skipped.port)", json!(false)),
        ("has(skipped.port.name)", json!(false)),
        ("has(locate.port)", json!(true)),
        ("has(locate.none)", json!(false)),
        ("has(locate.none.of.it)", json!(false)),
        ("has(input.hosts[0].name)", json!(true)),
        ("has(input.hosts[7].name)", json!(false)),
        ("has(locate.deep.er)", json!(true)),
        ("has(locate.deep.er.est)", json!(false)),
        ("skipped.?port.orValue('none')", json!("none")),
        ("locate.?port.orValue('none')", json!("ge-0/0/1")),
        (
            "skipped.?port.optMap(p, p + '!').orValue('none')",
            json!("none"),
        ),
        (
            "locate.?port.optMap(p, p + '!').orValue('none')",
            json!("ge-0/0/1!"),
        ),
        ("skipped == null", json!(true)),
        (
            "has(skipped.port) ? skipped.port : locate.port",
            json!("ge-0/0/1"),
        ),
        (
            "input.hosts.filter(h, has(h.name)).map(h, {'n': h.name})",
            json!([{"n": "h1"}, {"n": "h2"}]),
        ),
        ("type(input.count) == int", json!(true)),
        ("secret('db')", json!({"$secret": "db"})),
    ];
    let scope = scope();
    for (text, expected) in table {
        let got = Expr::compile(text).and_then(|expr| expr.eval(&scope));
        assert_eq!(got.as_ref(), Ok(expected), "{text}");
        // equality of JSON numbers does not tell 1 from 1.0 in every version: compare the text as well
        assert_eq!(got.unwrap().to_string(), expected.to_string(), "{text}");
    }
}

#[test]
fn expressions_fail() {
    let table: &[(&str, &str)] = &[
        ("", "is empty"),
        ("1 +", "cannot be read"),
        ("input.", "cannot be read"),
        ("a b", "cannot be read"),
        (
            "input.port",
            "`input.port` does not exist: `input` has the keys",
        ),
        (
            "locate.deep.x.y",
            "`locate.deep.x` does not exist: `locate.deep` has the keys er",
        ),
        ("skipped.port", "`skipped` is null"),
        ("input.tags[2]", "is a list of 2"),
        ("input.ip.first", "`input.ip` is text"),
        ("nobody.there", "there is no `nobody` here"),
        ("nobody + 1", "there is no `nobody` here"),
        ("input.port + 1", "there is no `port`"),
        ("skipped.port + 1", "does not take"),
        ("input.count + 1.5", "does not take"),
        ("input.count / 0", "divides by zero"),
        ("input.tags[9] == 'a'", "outside its list"),
        ("shout(input.ip)", "`shout` is not known"),
        ("skipped.?port", "an optional value"),
        ("b'abc'", "bytes"),
        ("{1: 2}", "keys that are not text"),
        ("{null: 1}", "takes null for the key of an object"),
        ("{input.ratio: 1}", "takes double for the key of an object"),
        (
            "input.map[input.ip]",
            "ask for it first: `input.ip in input.map ? input.map[input.ip] : …`",
        ),
        (
            "input.map[input.ip] + 1",
            "a key that is computed is not there",
        ),
        (
            "1 + input.map[input.ip]",
            "a computed key with `key in object`",
        ),
        ("1.0 / 0.0", "finite"),
        ("9223372036854775807 + 1", "too large"),
        ("'x' + secret('db')", "inside a larger expression"),
        ("secret(input.name)", "no fixed name"),
        ("secret('a', 'b')", "no fixed name"),
        (
            "input.tags.map(t, secret('db'))",
            "inside a larger expression",
        ),
    ];
    let scope = scope();
    for (text, expected) in table {
        let error = Expr::compile(text)
            .and_then(|expr| expr.eval(&scope))
            .unwrap_err();
        let said = error.to_string();
        assert!(said.contains(expected), "{text}: {said}");
    }
}

#[test]
fn what_fails_says_what_it_had_read_and_no_value() {
    for (text, read) in [
        (
            "input.port + 1",
            "; it reads `input` (an object with the keys ",
        ),
        ("skipped.port + 1", "; it reads `skipped` (null)"),
        ("input.count + 1.5", "; it reads `input.count` (a number)"),
        (
            "input.tags[9] == input.ip",
            "; it reads `input.ip` (text), `input.tags` (a list, 2 long)",
        ),
    ] {
        let error = Expr::compile(text).unwrap().eval(&scope()).unwrap_err();
        assert!(error.what.contains(read), "{text}: {error}");
        assert!(!error.to_string().contains("10.0.0.7"), "{text}: {error}");
    }
}

#[test]
fn the_variables_read_are_known() {
    for (text, expected) in [
        ("input.a + locate.b", vec!["input", "locate"]),
        (
            "input.hosts.map(h, h.name + other.x)",
            vec!["input", "other"],
        ),
        ("[1].map(input, input)", vec![]),
        ("has(step.x)", vec!["step"]),
        ("a[b.c]", vec!["a", "b"]),
        ("type(a) == int", vec!["a"]),
        ("optional.of(a).orValue(b)", vec!["a", "b"]),
        ("{'k': a, b: 1}", vec!["a", "b"]),
        ("42", vec![]),
    ] {
        assert_eq!(
            Expr::compile(text).unwrap().roots(),
            expected.as_slice(),
            "{text}"
        );
    }
}

#[test]
fn work_is_bounded() {
    let list: Vec<u32> = (0..300).collect();
    let scope = BTreeMap::from([
        ("l".to_owned(), json!(list)),
        ("s".to_owned(), json!("x".repeat(100_000))),
    ]);
    for text in [
        "l.map(a, l.map(b, l.map(c, c)))",
        "l.all(a, l.all(b, l.all(c, c == a || b < 400)))",
        "l.exists(a, l.exists(b, l.exists(c, c == 400))) || true",
        "l.map(a, l)",
        "l.map(a, s + s)",
        &vec!["s"; 100].join("+"),
    ] {
        let error = Expr::compile(text)
            .and_then(|e| e.eval(&scope))
            .unwrap_err();
        assert!(error.what.contains("more work"), "{text:.40}: {error}");
    }
    assert!(
        Expr::compile("l.map(a, a * 2)")
            .unwrap()
            .eval(&scope)
            .is_ok()
    );
    for deep in [
        vec!["s"; 900].join("+"),
        "(".repeat(2_000),
        format!("{}1{}", "(".repeat(900), ")".repeat(900)),
    ] {
        let error = Expr::compile(&deep).unwrap_err();
        assert!(
            error.what.contains("nests too deeply"),
            "{deep:.20}: {error}"
        );
    }
    let deep = format!("{}1{}", "[".repeat(1_500), "]".repeat(1_500));
    assert!(Expr::compile(&deep).is_err());
    let long = format!("'{}'", "x".repeat(EXPRESSION_BYTES_MAX));
    assert!(
        Expr::compile(&long)
            .unwrap_err()
            .what
            .contains("bytes long")
    );
}

#[test]
fn results_are_bounded() {
    let scope = BTreeMap::from([("s".to_owned(), json!("x".repeat(RESULT_BYTES_MAX / 2)))]);
    assert!(
        Template::compile(&json!(["${ s }"]))
            .unwrap()
            .eval(&scope)
            .is_ok()
    );
    let error = Template::compile(&json!({"a": "${ s }", "b": "${ s }"}))
        .unwrap()
        .eval(&scope)
        .unwrap_err();
    assert_eq!(error.at, "/b");
    let text = Template::compile(&json!("${ s } and ${ s }")).unwrap();
    assert!(text.eval(&scope).is_err());
}

#[test]
fn what_comes_from_outside_never_names_a_secret() {
    let scope = BTreeMap::from([(
        "input".to_owned(),
        json!({"a": {"b": [{"$secret": "root"}]}, "k": "$secret"}),
    )]);
    for text in [
        "input",
        "input.a.b",
        "input.a.b[0]",
        "{'x': input.a}",
        "{'$secret': 'root'}",
        "{input.k: 'root'}",
    ] {
        let error = Expr::compile(text)
            .and_then(|e| e.eval(&scope))
            .unwrap_err();
        assert!(error.what.contains("$secret"), "{text}: {error}");
    }
}

#[test]
fn templates_yield() {
    let table: &[(Value, Value)] = &[
        (json!("plain"), json!("plain")),
        (json!(""), json!("")),
        (json!(1.5), json!(1.5)),
        (json!({"a": [1, null, true]}), json!({"a": [1, null, true]})),
        (json!("${ input.count }"), json!(3)),
        (json!("${input.big}"), json!(u64::MAX)),
        (json!("${ input.nothing }"), Value::Null),
        (json!(" ${ input.count }"), json!(" 3")),
        (
            json!("host-${ input.count }.${ input.ip }"),
            json!("host-3.10.0.0.7"),
        ),
        (json!("${ input.ratio }/${ input.yes }"), json!("1.0/true")),
        (json!("tags: ${ input.tags }"), json!("tags: [\"a\",\"b\"]")),
        (json!("$${ input.ip }"), json!("${ input.ip }")),
        (json!("a$b $$ $${x} $"), json!("a$b $$ ${x} $")),
        (json!("$$${x}"), json!("$${x}")),
        (json!("${ {'a': '}'} }"), json!({"a": "}"})),
        (json!("${ \"}\" + '\\'}' }!"), json!("}'}!")),
        (json!("${ 'ä' + input.ip }"), json!("ä10.0.0.7")),
        (
            json!({"l": [{"p": "${ locate.port }"}, 7]}),
            json!({"l": [{"p": "ge-0/0/1"}, 7]}),
        ),
        (
            json!({"password": "${ secret(\"db\") }"}),
            json!({"password": {"$secret": "db"}}),
        ),
        (
            json!({"password": {"$secret": "db"}}),
            json!({"password": {"$secret": "db"}}),
        ),
    ];
    let scope = scope();
    for (template, expected) in table {
        let got = Template::compile(template).and_then(|t| t.eval(&scope));
        assert_eq!(got.as_ref(), Ok(expected), "{template}");
    }
}

#[test]
fn templates_fail_where_they_are_wrong() {
    let table: &[(Value, &str, &str)] = &[
        (json!("${ input.ip"), "", "has no `}`"),
        (
            json!({"a": {"b/c": ["x", "${ 1 + }"]}}),
            "/a/b~1c/1",
            "cannot be read",
        ),
        (json!({"x": "a ${ input.nothing }"}), "/x", "is null"),
        (json!({"x": "${ input.port }"}), "/x", "does not exist"),
        (json!("Bearer ${ secret('t') }"), "", "inside a longer text"),
        (
            json!({"${ input.ip }": 1}),
            "/${ input.ip }",
            "a key cannot be an expression",
        ),
        (json!({"$secret": "${ input.ip }"}), "", "one fixed name"),
        (
            json!({"a": {"$secret": "x", "more": 1}}),
            "/a",
            "one fixed name",
        ),
        (json!("${}"), "", "is empty"),
    ];
    let scope = scope();
    for (template, at, expected) in table {
        let error = Template::compile(template)
            .and_then(|t| t.eval(&scope))
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{template}: {error}");
        assert_eq!(error.at, *at, "{template}");
    }
    let errors =
        Template::compile_all(&json!(["${ a +", "${ 1 + }", "${ b. }", "ok"])).unwrap_err();
    assert_eq!(errors.len(), 3);
}

#[test]
fn constants_need_no_scope_and_literals_are_left_alone() {
    assert!(
        Template::compile(&json!({"a": ["${ 1 }", "$${x}"]}))
            .unwrap()
            .is_literal()
    );
    assert!(
        !Template::compile(&json!({"a": ["${ x }"]}))
            .unwrap()
            .is_literal()
    );
    let text = json!("${ not an expression");
    assert_eq!(Template::literal(text.clone()).eval(&scope()), Ok(text));
    let roots = Template::compile(&json!(["${ b.c }", {"x": "${ a } and ${ input.y }"}]))
        .unwrap()
        .roots();
    assert_eq!(roots.into_iter().collect::<Vec<_>>(), ["a", "b", "input"]);
}

/// Any JSON, numbers at their edges included.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("finite", |f| serde_json::Number::from_f64(f)
            .map(Value::Number)),
        (-1000_i32..1000).prop_map(|n| json!(f64::from(n))),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        "\\.[a-c]",
        "\\[[0-3]\\]",
        "\\[\"[a-c]\"\\]",
        "\\['[a-c]'\\]",
        Just("[i]".to_owned()),
        Just("[k]".to_owned()),
        Just("[f]".to_owned()),
        Just("[half]".to_owned()),
        Just("[.i]".to_owned()),
        Just("[v.a]".to_owned()),
    ];
    prop::collection::vec(segment, 0..5).prop_map(|parts| format!("v{}", parts.concat()))
}

fn scope_of(v: Value) -> BTreeMap<String, Value> {
    let (i, k, f, half) = (json!(1), json!("a"), json!(1.0), json!(0.5));
    let all = [("v", v), ("i", i), ("k", k), ("f", f), ("half", half)];
    all.map(|(name, value)| (name.to_owned(), value)).into()
}

proptest! {
    #[test]
    fn the_short_cut_gives_what_cel_gives(value in any_json(), path in any_path()) {
        let scope = scope_of(value);
        let fast = Expr::compile(&path).unwrap();
        prop_assert!(fast.is_path());
        let slow = Expr::compile_slow(&path).unwrap();
        match (fast.eval(&scope), slow.eval(&scope)) {
            (Ok(fast), Ok(slow)) => prop_assert_eq!(fast.to_string(), slow.to_string()),
            (fast, slow) => prop_assert!(fast.is_err() && slow.is_err(), "{:?} {:?}", fast, slow),
        }
    }

    #[test]
    fn what_is_used_of_its_variables_is_enough(value in any_json(), a in any_path(), b in any_path(), form in 0..8_usize) {
        let text = [
            "has(v.a) ? A : B", "has(A.b)", "A.?b.orValue(B)", "[A, v]", "A == B", "[1, 2].map(x, A)", "v.?a.?b.orValue(A)",
            "A.exists(x, x == B) || v['a'] == k",
        ][form].replace('A', &a).replace('B', &b);
        let scope = scope_of(value);
        match (Expr::compile(&text).unwrap().eval(&scope), Expr::compile_slow(&text).unwrap().eval(&scope)) {
            (Ok(fast), Ok(slow)) => prop_assert_eq!(fast.to_string(), slow.to_string(), "{}", text),
            (fast, slow) => prop_assert!(fast.is_err() && slow.is_err(), "{}: {:?} {:?}", text, fast, slow),
        }
    }

    #[test]
    fn values_pass_through_cel_unchanged(value in any_json()) {
        let scope = BTreeMap::from([("v".to_owned(), value.clone())]);
        let got = Expr::compile("[v].map(x, x)[0]").unwrap().eval(&scope).unwrap();
        prop_assert_eq!(got.to_string(), value.to_string());
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}", more in "[a-c0-9\\.\\[\\]\\(\\)'\"+?:{}$ ]{0,40}") {
        let scope = BTreeMap::from([("a".to_owned(), json!({"b": [1]}))]);
        for text in [text, more] {
            if let Ok(expr) = Expr::compile(&text) {
                let _ = expr.eval(&scope);
            }
            if let Ok(template) = Template::compile(&json!(text)) {
                let _ = template.eval(&scope);
            }
        }
    }
}
