//! What is drawn beside the plain expressions: keys that are computed, optionals and bytes wherever a value may stand, objects with keys that are no text, and values of several kinds, among
//! them objects of several, that a constant, a key or a kind tells apart.

use serde_json::{Value, json};

use super::{Chance, KEYS, expression, path, schema};

/// One of two objects: a constant tells them apart, and a key that only one of them has.
pub(super) fn variants(chance: &mut Chance, depth: usize) -> Value {
    let mut one = |constant: &str, own: &str| {
        let mut drawn = json!({ "type": "object", "additionalProperties": false });
        drawn["required"] = json!(["c", "d", own]);
        drawn["properties"]["c"] = json!({ "enum": [constant] });
        drawn["properties"]["d"] = schema(chance, depth);
        drawn["properties"][own] = schema(chance, depth);
        drawn
    };
    json!({ "oneOf": [one("x", "a"), one("y", "b")] })
}

/// An expression of such a kind.
pub(super) fn told(chance: &mut Chance, roots: &[String], depth: usize) -> String {
    let at = path(chance, roots);
    let part = |chance: &mut Chance| expression(chance, roots, depth);
    match chance.below(18) {
        0 => format!("{at}[{}]", part(chance)),
        1 => format!("{at}[{} + 'a']", path(chance, roots)),
        2 => {
            let key = path(chance, roots);
            format!("({key} in {at} ? {at}[{key}] : {})", part(chance))
        }
        3 => format!("{at}[?{}].orValue({})", path(chance, roots), part(chance)),
        4 => format!("{at}.map(k, {at}[k])"),
        5 => format!("{at}.filter(k, {at}[k] != null).map(k, {at}[k])"),
        6 => format!(
            "{at}.{}(k, {at}[k] {} {})",
            chance.of(&["all", "exists"]),
            chance.of(&["==", "<"]),
            part(chance)
        ),
        7 => format!("{{'x': {}, 'y': {}}}[{at}]", part(chance), part(chance)),
        8 => format!("{at}.?{}", chance.of(&KEYS)),
        9 => {
            let key = chance.of(&KEYS);
            format!("({at}.?{key}.hasValue() ? {at}.{key} : {})", part(chance))
        }
        10 => format!("{{{at}: {}}}", part(chance)),
        11 => format!("bytes({})", part(chance)),
        12 => format!("[{at}.?{}, {}]", chance.of(&KEYS), part(chance)),
        13 | 14 => {
            let (sign, first) = (chance.of(&["==", "!="]), chance.of(&["a", "b", "d"]));
            let second = chance.of(&["a", "b", "d"]);
            format!("({at}.c {sign} 'x' ? {at}.{first} : {at}.{second})")
        }
        15 => {
            let (key, other) = (chance.of(&["a", "b"]), chance.of(&["a", "b", "d"]));
            format!("(has({at}.{key}) ? {at}.{key} : {at}.{other})")
        }
        16 => {
            let constant = chance.of(&["'x'", "'y'", "1", "null"]);
            format!("({at} == {constant} ? {} : {at})", part(chance))
        }
        _ => {
            let kind = chance.of(&["string", "int", "list", "map"]);
            format!("(type({at}) == {kind} ? {} : {at})", part(chance))
        }
    }
}
