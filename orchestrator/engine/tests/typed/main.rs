//! What passes the checker does not fail for a wrong kind or a name that is not there: definitions drawn from chance over drawn schemas,
//! run with values those schemas allow. Failures of values (a division by zero, an index past the end, text that is no number, work beyond
//! the budget) are none of the checker's. Objects may be open: of a key nobody describes nothing is known, and what reads one, or hands on an object that may
//! have some, is said to rest on that, and may fail. What patterns of keys and all other keys hold is drawn as well, of what is made and of what is taken.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod around;
mod decided;
mod handed;
mod open;
#[path = "../rules/stage.rs"]
#[expect(dead_code, reason = "shared with the rules, which use all of it")]
mod stage;
mod told;
mod tree;

use std::collections::BTreeMap;

use baton_engine::definition::{Checked, StepKind, Unannounced, check};
use baton_engine::expr::ExprError;
use baton_engine::{Catalogue, Definition};
use baton_messages::Manifest;
use handed::near;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Numbers of chance, used up one by one; nothing but zeros when they have run out.
struct Chance {
    drawn: Vec<u32>,
    next: usize,
}

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        let drawn = self.drawn.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        usize::try_from(drawn).unwrap() % limit.max(1)
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

/// Keys of every drawn object: few, so that expressions meet them.
const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Keys that no drawn schema describes: of one pattern, of two, of none.
const OTHERS: [&str; 4] = ["x-a", "b-n", "x-n", "zz"];
/// Patterns of keys, each with one it takes. The last takes some that may be described.
const PATTERNS: [(&str, &str); 3] = [("^x-", "x-a"), ("-n$", "b-n"), ("^[de]$", "d")];

/// Whether one of the patterns takes a key.
fn takes(pattern: &str, key: &str) -> bool {
    match pattern {
        "^x-" => key.starts_with("x-"),
        "-n$" => key.ends_with("-n"),
        _ => matches!(key, "d" | "e"),
    }
}

fn schema(chance: &mut Chance, depth: usize) -> Value {
    match chance.below(if depth == 0 { 7 } else { 12 }) {
        0 => json!({ "type": "string" }),
        1 => json!({ "type": "integer" }),
        2 => json!({ "type": "boolean" }),
        3 => json!({ "type": "number" }),
        4 => json!({ "enum": ["x", "y"] }),
        5 => json!({ "type": ["string", "null"] }),
        6 => json!({ "type": ["integer", "null"] }),
        7 => json!({ "type": "array", "items": schema(chance, depth - 1) }),
        8 => json!({ "oneOf": [{ "type": "null" }, object(chance, depth - 1)] }),
        9 => {
            json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "integer" } }] })
        }
        10 => told::variants(chance, depth - 1),
        _ => object(chance, depth - 1),
    }
}

fn object(chance: &mut Chance, depth: usize) -> Value {
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    for key in KEYS.iter().take(2 + chance.below(4)) {
        properties.insert((*key).to_owned(), schema(chance, depth));
        if chance.below(3) > 0 {
            required.push(*key);
        }
    }
    let mut drawn = json!({ "type": "object", "required": required, "properties": properties });
    match chance.below(12) {
        // nothing is said of keys that are not described
        0..4 => {}
        4..8 => drawn["additionalProperties"] = json!(false),
        8 | 9 => {
            drawn["additionalProperties"] = schema(chance, depth);
            require(chance, &mut drawn, "zz");
        }
        _ => {
            if chance.below(2) == 0 {
                drawn["additionalProperties"] = json!(false);
            }
            patterns(chance, &mut drawn, depth);
        }
    }
    drawn
}

/// One pattern or two: what a key holds that both take, or that is described as well, fits all that is said of it.
fn patterns(chance: &mut Chance, drawn: &mut Value, depth: usize) {
    let of = schema(chance, depth);
    let first = chance.below(PATTERNS.len());
    let count = 1 + chance.below(2);
    for (pattern, key) in PATTERNS.iter().cycle().skip(first).take(count) {
        drawn["patternProperties"][*pattern] = of.clone();
        require(chance, drawn, key);
        let properties = drawn["properties"].as_object_mut().unwrap();
        for (_, own) in properties.iter_mut().filter(|(key, _)| takes(pattern, key)) {
            *own = of.clone();
        }
    }
}

/// A key is always there, or may be: whether it is described or not.
fn require(chance: &mut Chance, drawn: &mut Value, key: &str) {
    let required = drawn["required"].as_array_mut().unwrap();
    if chance.below(2) == 0 && !required.contains(&json!(key)) {
        required.push(json!(key));
    }
}

/// What a key holds that is not described; none where there is no such key.
fn other(schema: &Value, key: &str) -> Option<Value> {
    let patterns = schema["patternProperties"].as_object();
    let mut patterns = patterns.into_iter().flatten();
    if let Some((_, of)) = patterns.find(|(pattern, _)| takes(pattern, key)) {
        return Some(of.clone());
    }
    match schema.get("additionalProperties") {
        None => Some(json!(true)),
        Some(Value::Bool(false)) => None,
        Some(of) => Some(of.clone()),
    }
}

/// The same without enumerations: that any text is handed to one is as with patterns, of which nothing is said.
fn kinds_only(schema: Value) -> Value {
    match schema {
        Value::Object(map) if map.contains_key("enum") => json!({ "type": "string" }),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key, kinds_only(value)))
            .collect(),
        Value::Array(all) => all.into_iter().map(kinds_only).collect(),
        other => other,
    }
}

/// A value a drawn schema allows.
fn value(chance: &mut Chance, schema: &Value) -> Value {
    if schema.is_boolean() {
        let others = [
            json!(7),
            json!("y"),
            json!(null),
            json!([true]),
            json!({ "a": 1 }),
        ];
        return others[chance.below(5)].clone();
    }
    if let Some(all) = schema.get("enum").and_then(Value::as_array) {
        return all[chance.below(all.len())].clone();
    }
    for several in ["oneOf", "anyOf"] {
        if let Some(all) = schema.get(several).and_then(Value::as_array) {
            let one = all[chance.below(all.len())].clone();
            return value(chance, &one);
        }
    }
    let kind = match &schema["type"] {
        Value::Array(all) => all[chance.below(all.len())].as_str().unwrap().to_owned(),
        one => one.as_str().unwrap().to_owned(),
    };
    match kind.as_str() {
        "null" => Value::Null,
        "string" => json!(chance.of(&["", "x", "12", "näher", "true"])),
        "integer" => match (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
            (Some(least), Some(most)) => {
                let more = usize::try_from(most - least).unwrap() + 1;
                json!(least + u64::try_from(chance.below(more)).unwrap())
            }
            _ => json!([0, 1, -3, 7_000_000][chance.below(4)]),
        },
        "boolean" => json!(chance.below(2) == 0),
        "number" => [json!(1), json!(2.5), json!(-0.5)][chance.below(3)].clone(),
        "array" => {
            let count = chance.below(3);
            (0..count)
                .map(|_| value(chance, &schema["items"]))
                .collect()
        }
        _ => {
            let required: Vec<&str> = schema["required"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .collect();
            let properties = schema["properties"].as_object().unwrap();
            let mut made = serde_json::Map::new();
            for (key, schema) in properties {
                if required.contains(&key.as_str()) || chance.below(2) == 0 {
                    made.insert(key.clone(), value(chance, schema));
                }
            }
            let others = KEYS.iter().chain(&OTHERS);
            for key in others.filter(|key| !properties.contains_key(**key)) {
                let Some(of) = other(schema, key) else {
                    continue;
                };
                if required.contains(key) || chance.below(2) == 0 {
                    made.insert((*key).to_owned(), value(chance, &of));
                }
            }
            Value::Object(made)
        }
    }
}

/// An expression; of most the kinds fit, of some by accident.
fn expression(chance: &mut Chance, roots: &[String], depth: usize) -> String {
    if depth == 0 {
        return match chance.below(8) {
            0 => chance
                .of(&[
                    "1", "2.5", "'x'", "true", "null", "'y'", "[1, 2]", "{'a': 1}",
                ])
                .to_owned(),
            _ => path(chance, roots),
        };
    }
    let depth = depth - 1;
    let part = |chance: &mut Chance| expression(chance, roots, depth);
    match chance.below(32) {
        0..=3 => path(chance, roots),
        4 => format!("({} + {})", part(chance), part(chance)),
        5 => format!(
            "({} {} {})",
            part(chance),
            chance.of(&["-", "*", "/", "%"]),
            part(chance)
        ),
        6 => format!(
            "({} {} {})",
            part(chance),
            chance.of(&["<", ">=", "==", "!="]),
            part(chance)
        ),
        7 => format!(
            "({} {} {})",
            part(chance),
            chance.of(&["&&", "||"]),
            part(chance)
        ),
        8 => format!("!{}", part(chance)),
        9 => format!("({} ? {} : {})", part(chance), part(chance), part(chance)),
        10 => format!(
            "{}({})",
            chance.of(&["size", "string", "int", "double", "bool"]),
            part(chance)
        ),
        11 => format!(
            "{}.{}({})",
            part(chance),
            chance.of(&["contains", "startsWith", "endsWith"]),
            part(chance)
        ),
        12 => {
            let at = path(chance, roots);
            format!("{at}.?{}.orValue({})", chance.of(&KEYS), part(chance))
        }
        13 => {
            let at = path(chance, roots);
            let key = chance.of(&KEYS);
            format!("(has({at}.{key}) ? {at}.{key} : {})", part(chance))
        }
        14 => {
            let at = path(chance, roots);
            format!("({at} != null ? {at} : {})", part(chance))
        }
        15 => {
            let at = path(chance, roots);
            let key = chance.of(&KEYS);
            format!(
                "(has({at}.{key}) && {at}.{key} {} {})",
                chance.of(&["==", "<"]),
                part(chance)
            )
        }
        16 => format!(
            "{}.map(i, {})",
            part(chance),
            expression(chance, &with(roots, "i"), depth)
        ),
        17 => format!(
            "{}.filter(i, {})",
            part(chance),
            expression(chance, &with(roots, "i"), depth)
        ),
        18 => format!(
            "{}.{}(i, {})",
            part(chance),
            chance.of(&["all", "exists", "exists_one"]),
            expression(chance, &with(roots, "i"), depth)
        ),
        19 => format!("({} in {})", part(chance), part(chance)),
        20 => format!("[{}, {}]", part(chance), part(chance)),
        21 => format!("{{'a': {}, 'b': {}}}", part(chance), part(chance)),
        22 => {
            let at = ["0", "'a'", "'b'", "'d'", "'x-a'"];
            format!("{}[{}]", part(chance), chance.of(&at))
        }
        23 => {
            let at = path(chance, roots);
            format!(
                "{at}.?{}.optMap(i, {}).orValue({})",
                chance.of(&KEYS),
                expression(chance, &with(roots, "i"), depth),
                part(chance)
            )
        }
        24 => {
            let at = path(chance, roots);
            format!(
                "(type({at}) == {} ? {at} : {})",
                chance.of(&["string", "int", "list", "map"]),
                part(chance)
            )
        }
        25..=30 => told::told(chance, roots, depth),
        _ => format!("({} == null || {})", path(chance, roots), part(chance)),
    }
}

/// The places with a name bound by a walk, more often than any other.
fn with(places: &[String], name: &str) -> Vec<String> {
    let own = [name.to_owned(), format!("{name}.a"), format!("{name}.b")];
    places
        .iter()
        .cloned()
        .chain(own.clone())
        .chain(own)
        .collect()
}

/// Mostly a place there is.
fn path(chance: &mut Chance, places: &[String]) -> String {
    let mut path = places[chance.below(places.len())].clone();
    if chance.below(8) == 0 {
        path.push('.');
        path.push_str(chance.of(&KEYS));
    }
    path
}

/// The places a schema speaks of, those that are always there and that it does not describe among them.
fn places(root: &str, schema: &Value, found: &mut Vec<String>) {
    found.push(root.to_owned());
    // what is one of several objects is asked which more often than it is read as it is
    if schema["oneOf"][0]["properties"].is_object() {
        found.extend([root.to_owned(), root.to_owned()]);
    }
    for (key, below) in schema["properties"].as_object().into_iter().flatten() {
        places(&format!("{root}.{key}"), below, found);
    }
    let required = schema["required"].as_array().into_iter().flatten();
    for key in required.filter_map(Value::as_str) {
        let is_described = schema["properties"].get(key).is_some();
        if let Some(of) = other(schema, key).filter(|_| !is_described) {
            places(&format!("{root}['{key}']"), &of, found);
        }
    }
}

/// A task type that takes one drawn schema and yields another.
fn manifest(name: &str, input: Value, output: Value) -> Manifest {
    serde_json::from_value(json!({
        "task_type": name, "summary": "", "effect": "none", "input": input, "output": output,
        "idempotent": true, "before_image": false, "undo": false, "probe": false, "dry_run": false,
        "timeout_ms_default": 1_000, "timeout_ms_max": 1_000, "settle_ms": 0,
        "retry": { "attempts": 3, "backoff_ms": 1_000, "factor": 2.0, "max_ms": 60_000 },
    }))
    .unwrap()
}

struct Drawn {
    source: String,
    input: Value,
    outputs: Vec<Value>,
    catalogue: Catalogue,
}

/// How many expressions are drawn for a place before it gets a plain one.
const TRIES: usize = 16;

/// A line with an expression the checker takes where it stands at the end of the document so far, if one is found.
fn accepted(
    chance: &mut Chance,
    so_far: &str,
    catalogue: &Catalogue,
    line: impl Fn(&str) -> String,
    (places, depth, plain): (&[String], usize, &str),
) -> String {
    for _ in 0..TRIES {
        let drawn = line(&hole(&expression(chance, places, depth)));
        let found = check(&format!("{so_far}{drawn}"), catalogue, Unannounced::Warned);
        if found.errors.is_empty() {
            return drawn;
        }
    }
    line(plain)
}

fn hole(text: &str) -> String {
    serde_json::to_string(&format!("${{ {text} }}")).unwrap()
}

/// A definition of two steps, of which some may be skipped, and an output that reads all of it.
fn drawn(chance: &mut Chance) -> Drawn {
    let input = object(chance, 2);
    let outputs: Vec<Value> = (0..2).map(|_| object(chance, 1)).collect();
    let taken = match chance.below(3) {
        0 => near(chance, &input),
        _ => schema(chance, 1),
    };
    let takes = json!({ "type": "object", "properties": { "v": kinds_only(taken) } });
    let mut catalogue = Catalogue::default();
    for (n, output) in outputs.iter().enumerate() {
        catalogue
            .announce(manifest(
                &format!("drawn.t{n}@1"),
                takes.clone(),
                output.clone(),
            ))
            .unwrap();
    }
    let mut known = Vec::new();
    places("input", &input, &mut known);
    let mut source = format!("saga: drawn\nversion: 1\ninput: {input}\nsteps:\n");
    for (n, id) in ["s0", "s1"].iter().enumerate() {
        source.push_str(&format!("  - id: {id}\n    task: drawn.t{n}@1\n"));
        if chance.below(2) == 0 {
            let line = |text: &str| format!("    if: {text}\n");
            let line = accepted(chance, &source, &catalogue, line, (&known, 1, "true"));
            source.push_str(&line);
        }
        let depth = chance.below(3);
        let line = |text: &str| format!("    with: {{ v: {text} }}\n");
        let nothing = |text: &str| {
            if text == "nothing" {
                "    with: {}\n".to_owned()
            } else {
                line(text)
            }
        };
        let line = accepted(
            chance,
            &source,
            &catalogue,
            nothing,
            (&known, depth, "nothing"),
        );
        source.push_str(&line);
        places(id, &outputs[n], &mut known);
    }
    // a group reads of all that what its items were given when they began
    source.push_str("  - id: g\n    for_each: [1, 2]\n    steps:\n");
    let line =
        |text: &str| format!("      - {{ id: s2, task: drawn.t0@1, with: {{ v: {text} }} }}\n");
    let depth = chance.below(3);
    let nothing = |text: &str| match text {
        "nothing" => "      - { id: s2, task: drawn.t0@1 }\n".to_owned(),
        text => line(text),
    };
    let line = accepted(
        chance,
        &source,
        &catalogue,
        nothing,
        (&with(&known, "item"), depth, "nothing"),
    );
    source.push_str(&line);
    let depth = 1 + chance.below(3);
    let line = |text: &str| format!("output: {text}\n");
    let line = accepted(chance, &source, &catalogue, line, (&known, depth, "1"));
    source.push_str(&line);
    Drawn {
        source,
        input,
        outputs,
        catalogue,
    }
}

/// What only a value can be blamed for.
fn of_a_value(error: &ExprError) -> bool {
    is_of_a_value(&error.what)
}

fn is_of_a_value(what: &str) -> bool {
    let values = [
        "divides by zero",
        "a number gets too large",
        "an index lies outside its list",
        "is a list of",
        " failed: ",
        "does more work",
        "yields more than",
        "not a finite number",
        "the same key twice",
    ];
    values.iter().any(|known| what.contains(known))
}

/// Over what is captured of what is around it a group's expression comes to what it comes to over all of it.
fn captured(definition: &Definition, around: &BTreeMap<String, Value>) -> Result<(), String> {
    let group = definition.steps.last().unwrap().child().unwrap();
    let within = &group.group.as_ref().unwrap().definition.steps[0];
    let mut all = around.clone();
    all.insert("item".to_owned(), json!(1));
    all.insert("index".to_owned(), json!(0));
    let given = group.with.eval(&all);
    let given = given.map_err(|error| format!("what the group captures: {error}"))?;
    let given: BTreeMap<String, Value> =
        serde_json::from_value(given).map_err(|error| error.to_string())?;
    let with = &within.task().unwrap().with;
    match (with.eval(&all), with.eval(&given)) {
        (Ok(whole), Ok(part)) if whole == part => Ok(()),
        (Err(_), Err(_)) => Ok(()),
        (whole, part) => Err(format!(
            "{whole:?} over all, and {part:?} over what is captured: {}",
            json!(given)
        )),
    }
}

/// Whether `--types` says of some expression of a key that a part of it is any, or that what it yields may hold more than is known: there, and there
/// alone, it may fail for a wrong kind.
fn is_unsure(found: &Checked, source: &str, step: &str, key: &str) -> bool {
    let id = format!("- id: {step}");
    let mut lines = source.lines().enumerate();
    if !step.is_empty() {
        let _ = lines.find(|(_, line)| line.trim() == id);
    }
    let at = lines.find(|(_, line)| line.trim_start().starts_with(&format!("{key}:")));
    let Some((at, _)) = at else { return false };
    let mut all = found.expressions.iter();
    all.any(|one| one.line == at + 1 && (one.open || !one.unknown.is_empty()))
}

/// Runs what can be run of a definition with values its schemas allow.
fn run(found: &Checked, drawn: &Drawn, chance: &mut Chance) -> Result<(), String> {
    let definition = found.definition.as_ref().unwrap();
    let unsure = |step: &str, key: &str| is_unsure(found, &drawn.source, step, key);
    let mut scope = BTreeMap::from([("input".to_owned(), value(chance, &drawn.input))]);
    definition
        .check_input(&scope["input"])
        .map_err(|wrong| format!("the input that was drawn: {wrong:?}"))?;
    let wrong = |(step, key): (&str, &str), error: &ExprError, scope: &BTreeMap<String, Value>| {
        match of_a_value(error) || unsure(step, key) {
            true => Ok(()),
            false => Err(format!("{key} of {step}: {error}\nwith {}", json!(scope))),
        }
    };
    // the last is the group
    for (step, schema) in definition.steps.iter().zip(&drawn.outputs) {
        let id = step.id.as_str().to_owned();
        let StepKind::Task(task) = &step.kind else {
            unreachable!("only tasks are drawn")
        };
        match step
            .condition
            .as_ref()
            .map(|condition| condition.eval(&scope))
        {
            Some(Ok(Value::Bool(false))) => {
                scope.insert(id, Value::Null);
                continue;
            }
            None | Some(Ok(Value::Bool(true))) => {}
            Some(Ok(_)) if unsure(&id, "if") => return Ok(()),
            Some(Ok(other)) => return Err(format!("the `if` of {id} gave {other}")),
            Some(Err(error)) => return wrong((id.as_str(), "if"), &error, &scope),
        }
        match task.with.eval(&scope) {
            Err(error) => return wrong((id.as_str(), "with"), &error, &scope),
            Ok(with) => {
                let known = drawn.catalogue.get(&task.task_type).unwrap();
                let misfit = known.check_input(&with);
                if misfit.is_err() && unsure(&id, "with") {
                    return Ok(());
                }
                misfit.map_err(|misfit| format!("{id}: {misfit}\nwith {}", json!(scope)))?;
            }
        }
        scope.insert(id, value(chance, schema));
    }
    captured(definition, &scope)?;
    match definition.output.as_ref().unwrap().eval(&scope) {
        Ok(_) => Ok(()),
        Err(error) => wrong(("", "output"), &error, &scope),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_passes_the_checker_does_not_fail_for_its_types(
        shape in prop::collection::vec(any::<u32>(), 600),
        values in prop::collection::vec(prop::collection::vec(any::<u32>(), 120), 6),
    ) {
        let mut chance = Chance { drawn: shape, next: 0 };
        let drawn = drawn(&mut chance);
        let found = check(&drawn.source, &drawn.catalogue, Unannounced::Warned);
        prop_assert!(found.errors.is_empty(), "{:?}\n{}", found.errors, drawn.source);
        prop_assert!(found.definition.is_some(), "{}", drawn.source);
        for values in values {
            let mut chance = Chance { drawn: values, next: 0 };
            if let Err(why) = run(&found, &drawn, &mut chance) {
                return Err(TestCaseError::fail(format!("{why}\n{}", drawn.source)));
            }
        }
    }
}

/// The property above says something only when most places get an expression of their own.
#[test]
fn most_of_what_is_drawn_is_more_than_plain() {
    let mut own = 0;
    for seed in 0..20_u32 {
        let numbers = (0..600_u32).map(|n| {
            let mixed = (seed * 7_919 + n).wrapping_mul(2_654_435_761);
            mixed ^ (mixed >> 15)
        });
        let mut chance = Chance {
            drawn: numbers.collect(),
            next: 0,
        };
        let drawn = drawn(&mut chance);
        own += drawn.source.matches("${").count();
    }
    assert!(own >= 30, "{own} expressions in 20 definitions");
}
