//! How a value is mended that does not fit what it is handed to: by what it is and what is taken there, with the expression itself where it is not too long.

use serde_json::Value;

use super::values::Target;
use crate::types::{Object, Type, compared, misfit, one_of};

/// The longest expression a help repeats.
const REPEATED_BYTES_MAX: usize = 60;
/// How many keys a help names.
const KEYS_NAMED: usize = 6;

/// How a value of one kind becomes one of another. `what` is how it is called: an expression in backticks, where it is one and all of it.
pub(super) fn of_another_kind(is: &Type, takes: &Type, what: &str, target: Target<'_>) -> String {
    let takes = takes.not_null();
    if let Type::Object(object) = &takes {
        return written_out(object, target.schema);
    }
    let help = match expression(what) {
        Some(text) => converted(is, &takes, text, target.schema),
        None if what == "this text" => Some(
            "a text with holes is text: write one expression alone, such as `${ int(…) }`"
                .to_owned(),
        ),
        None => None,
    };
    help.unwrap_or_else(|| format!("write {} there", noun(&takes)))
}

/// What a kind of value is called.
pub(super) fn noun(of: &Type) -> String {
    let word = match of.alternatives() {
        [Type::Text(None)] => "text",
        [Type::Int(_)] => "a whole number",
        [Type::Double] | [Type::Int(_), Type::Double] => "a number",
        [Type::Bool] => "true or false",
        [Type::List(_)] => "a list",
        [Type::Object(_)] => "an object",
        _ => return of.to_string(),
    };
    word.to_owned()
}

/// How a key is handed on that may not be there.
pub(super) fn of_a_missing_key(what: &str, key: &str) -> String {
    match expression(what).map(operand) {
        Some(text) => format!(
            "guard the step with `if: ${{ has({text}.{key}) }}`, or write the object out, key by key, with `{text}.?{key}.orValue(…)`"
        ),
        None => format!("write the object out, key by key, with a default for `{key}`"),
    }
}

/// An expression as an operand of something else.
pub(super) fn operand(expression: &str) -> String {
    match expression.contains(' ') {
        true => format!("({expression})"),
        false => expression.to_owned(),
    }
}

/// The expression, where all of it is what is called so.
fn expression(what: &str) -> Option<&str> {
    let expression = what.strip_prefix('`')?.strip_suffix('`')?;
    let is_whole = !expression.contains('`') && expression.len() <= REPEATED_BYTES_MAX;
    is_whole.then_some(expression)
}

fn converted(is: &Type, takes: &Type, text: &str, schema: &Value) -> Option<String> {
    let is_scalar = |one: &Type| one.is_number() || matches!(one, Type::Bool | Type::Text(_));
    let all = is.alternatives();
    let has_double = all.contains(&Type::Double) && all.iter().all(Type::is_number);
    let part = operand(text);
    Some(match (all, takes.alternatives()) {
        (_, [Type::Text(None)]) if all.iter().all(is_scalar) => {
            format!("convert it: `string({text})`")
        }
        (_, [Type::Int(_)]) if has_double => {
            format!("a number may have a fraction: make it whole with `int({text})`")
        }
        ([Type::Text(_)], [Type::Int(_)]) => format!("convert it: `int({text})`"),
        ([Type::Text(_)], [Type::Double] | [Type::Int(_), Type::Double]) => {
            format!("convert it: `double({text})`")
        }
        ([Type::Bool], [Type::Int(_) | Type::Double, ..]) => {
            format!("make a number of it: `{part} ? 1 : 0`")
        }
        ([Type::Text(Some(known))], [Type::Text(Some(taken))]) => {
            let (yes, no) = two_of(schema, taken.iter().map(String::as_str))?;
            let first = known.first()?;
            format!("choose one of them: `{part} == \"{first}\" ? \"{yes}\" : \"{no}\"`")
        }
        (_, [Type::List(item)]) if misfit(is, item).is_none() => {
            format!("make a list of it: `[{text}]`")
        }
        ([one @ Type::List(_)], _) => {
            format!("take one value out of it: `{}`", one_of(&part, one)?)
        }
        ([one @ Type::Object(object)], _) => {
            let has = keys(object).map_or_else(String::new, |keys| format!(" (it has {keys})"));
            format!("take one value out of it: `{}`{has}", one_of(&part, one)?)
        }
        (_, [Type::Bool]) => format!("compare it: `{}`", compared(&part, is)),
        _ => return None,
    })
}

fn keys(object: &Object) -> Option<String> {
    let mut names: Vec<&str> = object.properties.keys().map(String::as_str).collect();
    let more = names.len() > KEYS_NAMED || object.has_others();
    names.truncate(KEYS_NAMED);
    let is_known = !names.is_empty();
    if more {
        names.push("…");
    }
    is_known.then(|| names.join(", "))
}

/// Two texts that are taken, in the order of the schema where it has one.
fn two_of<'a>(
    schema: &'a Value,
    taken: impl Iterator<Item = &'a str>,
) -> Option<(&'a str, &'a str)> {
    let listed = schema.get("enum").and_then(Value::as_array);
    let listed = listed.into_iter().flatten().filter_map(Value::as_str);
    let mut all = listed.chain(taken);
    let first = all.next()?;
    let second = all.find(|one| *one != first)?;
    Some((first, second))
}

/// An object as it is written, with the keys it needs.
fn written_out(object: &Object, schema: &Value) -> String {
    let listed = schema.get("required").and_then(Value::as_array);
    let listed = listed.into_iter().flatten().filter_map(Value::as_str);
    let required = object.properties.iter().filter(|(_, own)| own.required);
    let required: Vec<&str> = required.map(|(key, _)| key.as_str()).collect();
    // in the order of the schema, where it is the schema of this object
    let mut names: Vec<&str> = listed.filter(|key| required.contains(key)).collect();
    if names.len() < required.len() {
        names = required;
    }
    if names.is_empty() {
        names = object
            .properties
            .keys()
            .map(String::as_str)
            .take(1)
            .collect();
    }
    names.truncate(KEYS_NAMED);
    let lines: Vec<String> = names.iter().map(|key| format!("{key}: …")).collect();
    match lines.is_empty() {
        true => "write an object: `{ key: … }`".to_owned(),
        false => format!("write an object: `{{ {} }}`", lines.join(", ")),
    }
}
