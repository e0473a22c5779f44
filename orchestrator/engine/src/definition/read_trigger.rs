//! The keys of a trigger: one list, `on:`, of events, schedules and hooks, and of what cancels by an event or a hook.

use serde_json::{Value, json};

use super::diagnostic::code;
use super::reader::{Object, Reader, nearest, reads};
use super::schedule::{CatchUp, Overlap, Schedule, ScheduleError};
use super::trigger::{
    CANCEL_REASON_CHARS_MAX, EventRule, OnHit, ScheduleRule, TRIGGERS_MAX, Trigger,
};
use super::yaml::{Content, Entry, Mark, Node};
use super::{EventPattern, check};
use crate::expr::Template;

const KEYS_OF_EVENTS: &[&str] = &["event", "when", "input", "key", "window", "cancel"];
const KEYS_OF_HOOKS: &[&str] = &["hook", "secret", "when", "input", "key", "window", "cancel"];
const KEYS_OF_SCHEDULES: &[&str] = &["schedule", "timezone", "input", "catch_up", "overlap"];
/// Those that say how a saga is started.
const KEYS_OF_STARTS: [&str; 2] = ["input", "window"];
const KINDS: [&str; 3] = ["event", "schedule", "hook"];

/// The longest name of a hook or of a hook's secret: it stands in a path and in a table of a configuration.
const HOOK_NAME_BYTES_MAX: usize = 64;

/// Reads the list: each trigger with its place in it. Where something of one is wrong, which has been reported, something else stands in its place, so
/// that the rest of it is looked at.
pub(super) fn triggers(reader: &mut Reader, entry: &Entry) -> Vec<(usize, Trigger)> {
    let Some(items) = reader.list(entry) else {
        return Vec::new();
    };
    if items.len() > TRIGGERS_MAX {
        let message = format!("{} triggers; {TRIGGERS_MAX} are allowed", items.len());
        reader.report(code::TOO_LARGE, entry.mark, message, "make several sagas");
        return Vec::new();
    }
    cancels_of_none(reader, items);
    let read = |(n, item)| Some((n, trigger(reader, item)?));
    items.iter().enumerate().filter_map(read).collect()
}

/// Says of each trigger that cancels where none of them starts a saga with a key: there is nothing it could ever find.
fn cancels_of_none(reader: &mut Reader, items: &[Node]) {
    let has_key = |item: &Node| item.entry("cancel").is_none() && item.entry("key").is_some();
    if items.iter().any(has_key) {
        return;
    }
    // a schedule has none, which is said where it is read
    let cancels = items.iter().filter(|item| item.entry("schedule").is_none());
    for entry in cancels.filter_map(|item| item.entry("cancel")) {
        let message = "no trigger of this saga starts one with a `key`, so there is none to cancel";
        let help = "give the trigger that starts it a `key`, and this one the same";
        reader.report(code::TRIGGER, entry.mark, message, help);
    }
}

fn trigger(reader: &mut Reader, item: &Node) -> Option<Trigger> {
    let kinds: Vec<&str> = match &item.content {
        Content::Map(entries) => entries
            .iter()
            .map(|entry| entry.key.as_str())
            .filter(|key| KINDS.contains(key))
            .collect(),
        Content::Scalar(_) | Content::List(_) => Vec::new(),
    };
    match kinds.as_slice() {
        ["event"] => event(reader, item),
        ["schedule"] => schedule(reader, item),
        ["hook"] => hook(reader, item),
        [] => {
            nothing(reader, item);
            None
        }
        several => {
            let message = format!(
                "a trigger is one thing, and this is {}",
                several.join(" and ")
            );
            reader.report(code::KIND, item.mark, message, "make a trigger of each");
            None
        }
    }
}

/// Says of a trigger that it names nothing that could start a saga; and which of its keys may be meant to.
fn nothing(reader: &mut Reader, item: &Node) {
    let entries = match &item.content {
        Content::Map(entries) => entries.as_slice(),
        Content::Scalar(_) | Content::List(_) => &[],
    };
    let meant = entries.iter().find_map(|entry| match entry.key.as_str() {
        "cron" => Some((entry.mark, "schedule")),
        "webhook" => Some((entry.mark, "hook")),
        key => Some((entry.mark, nearest(key, KINDS.into_iter())?)),
    });
    let message = "the trigger names nothing that could start a saga";
    match meant {
        Some((mark, key)) => {
            reader.report(code::KIND, mark, message, &format!("did you mean `{key}`?"));
        }
        None => reader.report(
            code::KIND,
            item.mark,
            message,
            "write `- event: com.example.paid`, `- schedule: \"0 2 * * *\"` or `- hook: github-push`",
        ),
    }
}

fn event(reader: &mut Reader, item: &Node) -> Option<Trigger> {
    let object = reader.object(item, "a trigger of an event", KEYS_OF_EVENTS, &[])?;
    let event = object.get("event").and_then(|e| pattern(reader, e));
    let rule = event_rule(reader, &object);
    Some(Trigger::Event {
        event: event.or_else(unreadable_pattern)?,
        rule,
    })
}

/// What stands for the type of an event that cannot be read.
pub(super) fn unreadable_pattern() -> Option<EventPattern> {
    EventPattern::new("unreadable").ok()
}

/// The type of event a trigger or a wait names.
pub(super) fn pattern(reader: &mut Reader, entry: &Entry) -> Option<EventPattern> {
    let help = "write a type such as `com.example.paid`, or a prefix such as `com.example.*`";
    let text = reader.text_such_as(entry, help)?;
    EventPattern::new(text)
        .map_err(|why| {
            reader.report(
                code::NAME,
                entry.value.mark,
                format!("`{text}` {why}"),
                help,
            );
        })
        .ok()
}

fn hook(reader: &mut Reader, item: &Node) -> Option<Trigger> {
    let object = reader.object(item, "a hook", KEYS_OF_HOOKS, &[])?;
    let name = object.get("hook").and_then(|e| hook_name(reader, e));
    let secret = reader
        .required(&object, "secret", "the hook", "secret: github")
        .and_then(|e| hook_name(reader, e));
    let rule = event_rule(reader, &object);
    Some(Trigger::Hook {
        name: name.unwrap_or_default(),
        secret: secret.unwrap_or_default(),
        rule,
    })
}

fn hook_name(reader: &mut Reader, entry: &Entry) -> Option<String> {
    let text = reader.text(entry)?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
    if starts && text.len() <= HOOK_NAME_BYTES_MAX && text.bytes().all(plain) {
        return Some(text.to_owned());
    }
    let message = format!("`{text}` is no name for `{}`", entry.key);
    let help = "a lower-case letter, then lower-case letters, digits, - and _, at most 64";
    reader.report(code::NAME, entry.value.mark, message, help);
    None
}

fn event_rule(reader: &mut Reader, object: &Object<'_>) -> EventRule {
    let when = object.get("when").and_then(|e| {
        let (expr, found) = reader.condition(e)?;
        check::only(reader, &found, "event");
        Some(expr)
    });
    let key = object.get("key").and_then(|e| key(reader, e));
    let then = match object.get("cancel") {
        Some(entry) => cancel(reader, object, entry),
        None => start(reader, object),
    };
    EventRule { when, key, then }
}

fn start(reader: &mut Reader, object: &Object<'_>) -> OnHit {
    let input = match object.get("input") {
        None => Template::compile(&json!("${ event.?data.orValue(null) }")).ok(),
        Some(entry) => Some(template(reader, entry, "event")),
    };
    let window = object.get("window");
    if let (Some(window), None) = (window, object.get("key")) {
        let help = "add `key: ${ … }`: hits with the same key join the saga that has it";
        reader.report(code::TRIGGER, window.mark, "`window` needs a `key`", help);
    }
    let window_ms = window.and_then(|e| reader.duration(e)).unwrap_or(0);
    OnHit::Start {
        input: input.unwrap_or_else(Template::unreadable),
        window_ms,
    }
}

fn cancel(reader: &mut Reader, object: &Object<'_>, entry: &Entry) -> OnHit {
    let example = "key: ${ event.data.host }";
    reader.required(object, "key", "a trigger that cancels", example);
    for start in KEYS_OF_STARTS.iter().filter_map(|key| object.get(key)) {
        let message = format!(
            "`{}` is for starting a saga, and this cancels one",
            start.key
        );
        let help = "leave it out; a trigger that starts one is another item of the list";
        reader.report(code::TRIGGER, start.mark, message, help);
    }
    OnHit::Cancel {
        reason: reason(reader, entry).unwrap_or_default(),
    }
}

/// Why a saga is cancelled: words that stand in its history, in which nothing is computed.
fn reason(reader: &mut Reader, entry: &Entry) -> Option<String> {
    let text = reader.text_such_as(entry, "write why: `cancel: the alarm is over`")?;
    let chars = text.chars().count();
    if text.contains("${") {
        let message = "`cancel` is plain text, in which nothing is computed";
        let help = "write why: `cancel: the alarm is over`; the history names the event beside it";
        reader.report(code::SHAPE, entry.value.mark, message, help);
        return None;
    }
    if chars > CANCEL_REASON_CHARS_MAX {
        let message =
            format!("`cancel` has {chars} characters; {CANCEL_REASON_CHARS_MAX} are kept");
        reader.report(code::TOO_LARGE, entry.value.mark, message, "say it shorter");
        return None;
    }
    Some(text.trim().to_owned())
}

fn key(reader: &mut Reader, entry: &Entry) -> Option<Template> {
    if !matches!(entry.value.content, Content::Scalar(Value::String(_))) {
        let help = "write `key: ${ event.data.ip }`; of several parts make one text";
        reader.report(
            code::SHAPE,
            entry.value.mark,
            "`key` must be one text",
            help,
        );
        return None;
    }
    Some(template(reader, entry, "event"))
}

/// A template that reads nothing but `root`.
fn template(reader: &mut Reader, entry: &Entry, root: &str) -> Template {
    let template = reader.open_template(&entry.value, "a trigger");
    let found: Vec<(Mark, String)> = reads(&entry.value, &template);
    check::only(reader, &found, root);
    template
}

fn schedule(reader: &mut Reader, item: &Node) -> Option<Trigger> {
    let object = reader.object(item, "a schedule", KEYS_OF_SCHEDULES, &[])?;
    let read = times(reader, &object);
    let input = match object.get("input") {
        None => Template::literal(json!({})),
        Some(entry) => template(reader, entry, "schedule"),
    };
    let catch_up = object.get("catch_up").map(|e| {
        let words = [
            ("none", CatchUp::None),
            ("last", CatchUp::Last),
            ("all", CatchUp::All),
        ];
        reader.word(e, &words)
    });
    let overlap = object.get("overlap").map(|e| {
        let words = [("skip", Overlap::Skip), ("allow", Overlap::Allow)];
        reader.word(e, &words)
    });
    Some(Trigger::Schedule(ScheduleRule {
        schedule: read.or_else(|| Schedule::new(DAILY, UTC).ok())?,
        input,
        catch_up: catch_up.flatten().unwrap_or_default(),
        overlap: overlap.flatten().unwrap_or_default(),
    }))
}

/// A schedule and a time zone there are, for what is written beside one there is not.
const DAILY: &str = "0 0 * * *";
const UTC: &str = "UTC";

fn times(reader: &mut Reader, object: &Object<'_>) -> Option<Schedule> {
    let cron = object.get("schedule")?;
    let zone = object.get("timezone");
    let text = reader.text(cron);
    let name = match zone {
        Some(entry) => reader.text(entry),
        None => Some(UTC),
    };
    // each by itself, so that one does not hide the other
    let alone = [(text, Some(UTC)), (Some(DAILY), name)];
    let alone = alone.into_iter().filter_map(|(text, name)| text.zip(name));
    let mut wrong: Vec<ScheduleError> = alone
        .filter_map(|(text, name)| Schedule::new(text, name).err())
        .collect();
    if let (true, Some((text, name))) = (wrong.is_empty(), text.zip(name)) {
        match Schedule::new(text, name) {
            Ok(schedule) => return Some(schedule),
            Err(error) => wrong.push(error),
        }
    }
    for error in wrong {
        let (mark, help) = match &error {
            ScheduleError::Zone { .. } => (
                zone.map_or(cron.value.mark, |e| e.value.mark),
                "write an IANA name, such as `Europe/Vienna` or `UTC`",
            ),
            ScheduleError::Cron { .. } => (
                cron.value.mark,
                "write minute, hour, day of the month, month, day of the week: `0 2 * * *`; six fields begin with the second",
            ),
            ScheduleError::Never { .. } => (cron.value.mark, "choose days that exist"),
        };
        reader.report(code::TRIGGER, mark, error.to_string(), help);
    }
    None
}
