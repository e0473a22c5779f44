//! The keys of a step that is done for each item of a list.

use serde_json::Value;

use super::diagnostic::code;
use super::fan_out::{FanOut, Tolerate};
use super::read_step::{Reads, Use, note};
use super::reader::{Object, Reader};
use super::yaml::Entry;
use crate::expr::Template;
use crate::fan::{ITEMS_MAX, PARALLEL_DEFAULT, PARALLEL_MAX};

/// Keys that say how a list is gone through, and mean nothing without one.
const KEYS_OF_LISTS: [&str; 3] = ["max_items", "max_parallel", "tolerate"];

/// Reads `for_each` and what goes with it; none when the step has none.
pub(super) fn fan_out(
    reader: &mut Reader,
    object: &Object<'_>,
    found: &mut Reads,
) -> Option<FanOut> {
    let Some(entry) = object.get("for_each") else {
        stray(reader, object);
        return None;
    };
    refuse_others(reader, object);
    let items = list(reader, entry, found);
    let max_items = object
        .get("max_items")
        .map(|e| number(reader, e, ITEMS_MAX).unwrap_or(ITEMS_MAX));
    let max_parallel = object
        .get("max_parallel")
        .map_or(Some(PARALLEL_DEFAULT), |e| number(reader, e, PARALLEL_MAX));
    let tolerate = object
        .get("tolerate")
        .map_or(Some(Tolerate::Count(0)), |e| tolerate(reader, e));
    // What is wrong has been reported; what stands in its place lets the rest be looked at.
    Some(FanOut {
        items: items.unwrap_or_else(Template::unreadable),
        max_items,
        max_parallel: max_parallel.unwrap_or(PARALLEL_DEFAULT),
        tolerate: tolerate.unwrap_or(Tolerate::Count(0)),
    })
}

fn stray(reader: &mut Reader, object: &Object<'_>) {
    for key in KEYS_OF_LISTS {
        if let Some(entry) = object.get(key) {
            reader.report(
                code::FAN_OUT,
                entry.mark,
                format!("`{key}` goes with `for_each`"),
                "add `for_each: \"${ … }\"`, or leave it out",
            );
        }
    }
}

/// What a step that is done for each of a list cannot be.
fn refuse_others(reader: &mut Reader, object: &Object<'_>) {
    if let Some(entry) = object
        .get("pivot")
        .filter(|e| e.value.to_json() == Value::Bool(true))
    {
        reader.report(
            code::PIVOT,
            entry.mark,
            "a step with `for_each` cannot be the pivot: some of its items would be done when the first of them fails",
            "make the pivot a step of its own, before it or after it",
        );
    }
    if let Some(entry) = object
        .get("on_error")
        .filter(|e| e.value.to_json() == "continue")
    {
        reader.report(
            code::FAN_OUT,
            entry.mark,
            "`on_error: continue` says nothing of a step with `for_each`",
            "`tolerate: 100%` goes on whatever fails, with null in its place",
        );
    }
}

fn list(reader: &mut Reader, entry: &Entry, found: &mut Reads) -> Option<Template> {
    let template = reader.template(&entry.value);
    note(found, &entry.value, &template, Use::List);
    if template.holds_secret() {
        let message = "a secret cannot stand in `for_each`";
        let help = "secrets go into the `with:` of a task, which the worker resolves";
        reader.report(code::SECRET, entry.value.mark, message, help);
        return None;
    }
    let literal = template.as_literal().filter(|value| !value.is_array());
    if let Some(value) = literal {
        let help = match value.as_str().filter(|text| is_path(text)) {
            Some(path) => format!("write `for_each: \"${{ {path} }}\"`"),
            None => {
                "write `for_each: \"${ input.hosts }\"`, or the list itself: `[a, b]`".to_owned()
            }
        };
        let message = "`for_each` must be a list";
        reader.report(code::SHAPE, entry.value.mark, message, &help);
        return None;
    }
    Some(template)
}

/// Whether a text looks like the names that lead to a value, without the `${ … }` around them.
fn is_path(text: &str) -> bool {
    let name = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.chars().all(plain)
    };
    text.contains('.') && text.split('.').all(name)
}

fn number(reader: &mut Reader, entry: &Entry, most: u32) -> Option<u32> {
    let number = entry.value.to_json().as_u64();
    let number = number.and_then(|n| u32::try_from(n).ok());
    let found = number.filter(|n| (1..=most).contains(n));
    if found.is_none() {
        reader.report(
            code::RANGE,
            entry.value.mark,
            format!("`{}` must be a whole number from 1 to {most}", entry.key),
            &format!("write `{}: 10`", entry.key),
        );
    }
    found
}

fn tolerate(reader: &mut Reader, entry: &Entry) -> Option<Tolerate> {
    let value = entry.value.to_json();
    let found = match &value {
        Value::Number(number) => {
            let count = number.as_u64().and_then(|n| u32::try_from(n).ok());
            count.filter(|n| *n <= ITEMS_MAX).map(Tolerate::Count)
        }
        Value::String(text) => {
            let percent = text.strip_suffix('%').and_then(|n| n.trim().parse().ok());
            percent.filter(|n| *n <= 100).map(Tolerate::Percent)
        }
        _ => None,
    };
    if found.is_none() {
        reader.report(
            code::RANGE,
            entry.value.mark,
            "`tolerate` is how many items may fail: a whole number, or a share",
            "write `tolerate: 2` or `tolerate: 10%`",
        );
    }
    found
}
