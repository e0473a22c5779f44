//! What differs between two copies of a letter, in lines for people: headers by name, JSON by place, other text line by line, bytes by how many there are. Bounded, whatever
//! is compared. Pure.

use baton_driver::DeadLetterRow;
use serde::Deserialize as _;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use similar::{Algorithm, TextDiff};

use super::pointer::Fields;

/// Lines that are told at most.
const LINES_MAX: usize = 200;
/// Characters of one value that are told: enough to know it again.
const VALUE_CHARS_MAX: usize = 300;
/// Bodies up to this are looked into; of larger ones only their sizes are told.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Time for comparing text line by line: after it the rest is told coarsely.
const TIME_MAX: std::time::Duration = std::time::Duration::from_millis(500);
/// Lines of text around what differs.
const AROUND: usize = 1;

/// What differs, line by line; empty where nothing does.
pub(crate) fn difference(before: &DeadLetterRow, after: &DeadLetterRow) -> String {
    let mut lines = Vec::new();
    let mut said = |name: &str, before: &Value, after: &Value| {
        if before != after {
            lines.push(changed(name, before, after));
        }
    };
    said(
        "content type",
        &before.properties["content_type"],
        &after.properties["content_type"],
    );
    let none = Map::new();
    let headers = |of: &DeadLetterRow| of.properties["headers"].as_object().cloned();
    let (old, new) = (headers(before), headers(after));
    let (old, new) = (old.as_ref().unwrap_or(&none), new.as_ref().unwrap_or(&none));
    for name in old
        .keys()
        .chain(new.keys().filter(|name| !old.contains_key(*name)))
    {
        let missing = Value::Null;
        let (was, is) = (old.get(name), new.get(name));
        let name = format!("header {name}");
        match (was, is) {
            (Some(was), None) => said(&format!("{name}, taken away"), was, &missing),
            (was, is) => said(&name, was.unwrap_or(&missing), is.unwrap_or(&missing)),
        }
    }
    if before.body != after.body {
        body(&before.body, &after.body, &mut lines);
    }
    if lines.len() > LINES_MAX {
        let more = lines.len() - LINES_MAX;
        lines.truncate(LINES_MAX);
        lines.push(format!("… {more} lines more"));
    }
    lines.join("\n")
}

fn changed(name: &str, before: &Value, after: &Value) -> String {
    match (before, after) {
        (Value::Null, after) => format!("{name}: added {}", cut(after)),
        (before, Value::Null) => format!("{name}: was {}", cut(before)),
        (before, after) => format!("{name}: {} -> {}", cut(before), cut(after)),
    }
}

fn cut(value: &Value) -> String {
    shortened(&value.to_string())
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What differs of two texts alone, line by line; empty where nothing does.
pub(crate) fn body_difference(before: &str, after: &str) -> String {
    let mut lines = Vec::new();
    if before != after {
        body(before.as_bytes(), after.as_bytes(), &mut lines);
    }
    lines.truncate(LINES_MAX);
    lines.join("\n")
}

fn body(before: &[u8], after: &[u8], lines: &mut Vec<String>) {
    if before.len().max(after.len()) > BODY_BYTES_MAX {
        lines.push(sizes(before, after));
        return;
    }
    if let (Some(old), Some(new)) = (raw(before), raw(after)) {
        let told = lines.len();
        values("", old, new, lines);
        if lines.len() == told {
            lines.push("body: the same JSON, written otherwise".to_owned());
        }
        return;
    }
    let (Ok(old), Ok(new)) = (std::str::from_utf8(before), std::str::from_utf8(after)) else {
        lines.push(sizes(before, after));
        return;
    };
    let found = TextDiff::configure()
        .algorithm(Algorithm::Myers)
        .timeout(TIME_MAX)
        .diff_lines(old, new);
    let told = found.unified_diff().context_radius(AROUND).to_string();
    lines.push("body:".to_owned());
    lines.extend(told.lines().take(LINES_MAX + 1).map(|line| {
        let end = line.char_indices().nth(VALUE_CHARS_MAX);
        end.map_or_else(|| line.to_owned(), |(end, _)| format!("{}…", &line[..end]))
    }));
}

fn sizes(before: &[u8], after: &[u8]) -> String {
    let same = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    format!(
        "body: {} bytes -> {} bytes; the first {same} are the same",
        before.len(),
        after.len()
    )
}

/// A JSON text, none of it read yet: what reading would lose (digits of a number, the second of two fields of one name) differs as well.
fn raw(bytes: &[u8]) -> Option<&RawValue> {
    // what is nested too deep is no JSON to anybody here
    serde_json::from_slice::<Value>(bytes).ok()?;
    serde_json::from_slice(bytes).ok()
}

fn fields(of: &RawValue) -> Option<Vec<(String, &RawValue)>> {
    let mut from = serde_json::Deserializer::from_str(of.get());
    Fields::deserialize(&mut from).ok().map(|Fields(all)| all)
}

fn items(of: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(of.get()).ok()
}

/// Place by place. It ends: what was read is bounded in depth.
fn values(place: &str, before: &RawValue, after: &RawValue, lines: &mut Vec<String>) {
    if before.get() == after.get() || lines.len() > LINES_MAX {
        return;
    }
    let below = |part: &str| format!("{place}/{}", part.replace('~', "~0").replace('/', "~1"));
    if let (Some(old), Some(new)) = (fields(before), fields(after)) {
        named(&old, &new, |name, before, after| {
            one(&below(name), before, after, lines);
        });
        return;
    }
    if let (Some(old), Some(new)) = (items(before), items(after)) {
        for at in 0..old.len().max(new.len()) {
            let (old, new) = (old.get(at).copied(), new.get(at).copied());
            one(&below(&at.to_string()), old, new, lines);
        }
        return;
    }
    if is_same_text(before, after) {
        return;
    }
    lines.push(format!(
        "body{place}: {} -> {}",
        shortened(before.get()),
        shortened(after.get())
    ));
}

/// Strings may be written in several ways, and are the same.
fn is_same_text(before: &RawValue, after: &RawValue) -> bool {
    let text = |of: &RawValue| serde_json::from_str::<String>(of.get()).ok();
    text(before).is_some_and(|old| text(after) == Some(old))
}

/// Fields by their names, in the order of the old ones and then of what is new; of several of one name the first is held against the first.
fn named<'a>(
    old: &[(String, &'a RawValue)],
    new: &[(String, &'a RawValue)],
    mut with: impl FnMut(&str, Option<&'a RawValue>, Option<&'a RawValue>),
) {
    type All<'a, 'b> =
        std::collections::BTreeMap<&'b str, std::collections::VecDeque<&'a RawValue>>;
    let mut of_new: All<'a, '_> = All::new();
    for (name, value) in new {
        of_new.entry(name).or_default().push_back(value);
    }
    for (name, value) in old {
        let is = of_new
            .get_mut(name.as_str())
            .and_then(std::collections::VecDeque::pop_front);
        with(name, Some(value), is);
    }
    for (name, _) in new {
        if let Some(all) = of_new.get_mut(name.as_str())
            && let Some(value) = all.pop_front()
        {
            with(name, None, Some(value));
        }
    }
}

fn one(place: &str, before: Option<&RawValue>, after: Option<&RawValue>, lines: &mut Vec<String>) {
    match (before, after) {
        (Some(before), Some(after)) => values(place, before, after, lines),
        (Some(before), None) => lines.push(format!(
            "body{place}: taken away, was {}",
            shortened(before.get())
        )),
        (None, Some(after)) => {
            lines.push(format!("body{place}: added {}", shortened(after.get())));
        }
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::route::tests::letter;
    use super::*;

    fn told(before: &[u8], after: &[u8]) -> String {
        difference(&letter(None, before), &letter(None, after))
    }

    #[test]
    fn it_is_told_place_by_place() {
        assert_eq!(
            told(
                br#"{"a":{"b":1,"x":0},"l":[1,2],"gone":true}"#,
                br#"{"a":{"b":2,"x":0},"l":[1,2,3],"new":"n"}"#
            ),
            "body/a/b: 1 -> 2\nbody/l/2: added 3\nbody/gone: taken away, was true\nbody/new: added \"n\""
        );
        let text = told(b"one\ntwo\nthree\n", b"one\n2\nthree\n");
        assert!(text.contains("-two") && text.contains("+2"), "{text}");
        assert_eq!(
            told(b"\xff\x00ab", b"\xff\x00b"),
            "body: 4 bytes -> 3 bytes; the first 2 are the same"
        );
        assert_eq!(told(b"{}", b"{}"), "");
        assert!(told(b"{ }", b"{}").contains("written otherwise"));
        // what reading would lose
        assert_eq!(
            told(
                br#"{"n":12345678901234567890123,"a":1,"a":2,"s":"\u0041"}"#,
                br#"{"n":12345678901234567890124,"a":1,"a":3,"s":"A"}"#
            ),
            "body/n: 12345678901234567890123 -> 12345678901234567890124\nbody/a: 2 -> 3"
        );
        let mut after = letter(None, b"x");
        after.properties = json!({ "content_type": "a/b", "headers": { "h": 1 } });
        assert_eq!(
            difference(&letter(None, b"x"), &after),
            "content type: added \"a/b\"\nheader h: added 1"
        );
    }

    #[test]
    fn it_is_bounded_whatever_is_compared() {
        let (mut old, mut new) = (Map::new(), Map::new());
        for n in 0..5_000 {
            old.insert(n.to_string(), json!("x".repeat(50)));
            new.insert(n.to_string(), json!("y".repeat(50)));
        }
        let text = told(
            Value::Object(old).to_string().as_bytes(),
            Value::Object(new).to_string().as_bytes(),
        );
        assert!(text.lines().count() <= LINES_MAX + 2, "{}", text.len());
        let large = told(&vec![b'a'; 10_000_000], b"b");
        assert!(large.contains("10000000 bytes -> 1 bytes"), "{large}");
    }
}
