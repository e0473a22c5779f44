//! The keys of the steps that need no worker: `wait`, `approve`, `emit`.

use serde_json::Value;

use super::OWNER_DEFAULT;
use super::diagnostic::code;
use super::event_pattern::event_type;
use super::read_step::{Reads, Use, note};
use super::read_trigger::{pattern, unreadable_pattern};
use super::reader::{Object, Reader};
use super::step_waiting::{ApproveStep, Approver, EmitStep, OnTimeout, WaitStep};
use super::yaml::{Content, Entry};
use crate::expr::Template;

/// What an approval's `by` may be: a role, or the name of a token.
const NAME_BYTES_MAX: usize = 128;

/// `wait: { event, when, timeout, on_timeout, since }`.
pub(super) fn wait(reader: &mut Reader, entry: &Entry, found: &mut Reads) -> Option<WaitStep> {
    let keys = ["event", "when", "timeout", "on_timeout", "since"];
    let wait = reader.object(&entry.value, "a wait", &keys, &[])?;
    let event = reader
        .required(&wait, "event", "the wait", "event: com.example.paid")
        .and_then(|e| pattern(reader, e));
    let when = wait.get("when").and_then(|e| {
        let (expr, read) = reader.condition(e)?;
        let others = read.into_iter().filter(|(_, root)| root != "event");
        found.extend(others.map(|(mark, root)| (mark, root, Use::Do)));
        Some(expr)
    });
    let timeout_ms = timeout(reader, &wait, "the wait");
    let on_timeout = on_timeout(reader, &wait).unwrap_or(OnTimeout::Fail);
    let since_ms = wait.get("since").and_then(|e| reader.duration(e));
    // What is wrong has been reported, so that nothing ever waits for what stands in its place.
    Some(WaitStep {
        event: event.or_else(unreadable_pattern)?,
        when,
        timeout_ms: timeout_ms.unwrap_or_default(),
        on_timeout,
        since_ms: since_ms.unwrap_or(0),
    })
}

/// `approve: { by, prompt, timeout, on_timeout, on_reject }`.
pub(super) fn approve(
    reader: &mut Reader,
    entry: &Entry,
    found: &mut Reads,
) -> Option<ApproveStep> {
    let keys = ["by", "prompt", "timeout", "on_timeout", "on_reject"];
    let approve = reader.object(&entry.value, "an approval", &keys, &[])?;
    let by = reader
        .required(&approve, "by", "the approval", "by: operator")
        .and_then(|e| approver(reader, e));
    let prompt = approve
        .get("prompt")
        .and_then(|e| text_template(reader, e, "the question of an approval", found));
    let timeout_ms = timeout(reader, &approve, "the approval");
    let on_timeout = on_timeout(reader, &approve).unwrap_or(OnTimeout::Park);
    let words = [("fail", false), ("continue", true)];
    let goes_on = approve
        .get("on_reject")
        .and_then(|e| reader.word(e, &words));
    Some(ApproveStep {
        by: by.unwrap_or_else(|| Approver::new(OWNER_DEFAULT)),
        prompt,
        timeout_ms: timeout_ms.unwrap_or_default(),
        on_timeout,
        goes_on_rejected: goes_on.unwrap_or(false),
    })
}

/// `emit: { type, subject, data }`, and `because` beside it.
pub(super) fn emit(
    reader: &mut Reader,
    step: &Object<'_>,
    entry: &Entry,
    found: &mut Reads,
) -> Option<EmitStep> {
    let emit = reader.object(&entry.value, "an event", &["type", "subject", "data"], &[])?;
    let kind = reader
        .required(&emit, "type", "the event", "type: com.example.released")
        .and_then(|e| kind(reader, e));
    let subject = emit
        .get("subject")
        .and_then(|e| text_template(reader, e, "the subject of an event", found));
    let data = emit.get("data").map(|e| {
        let template = reader.open_template(&e.value, "an event");
        note(found, &e.value, &template, Use::Do);
        template
    });
    let because = step.get("because").and_then(|e| reader.text(e));
    Some(EmitStep {
        kind: kind.unwrap_or_default(),
        subject,
        data,
        because: because.map(str::to_owned),
    })
}

fn kind(reader: &mut Reader, entry: &Entry) -> Option<String> {
    let help =
        "write a type such as `com.example.released`; what differs goes into `subject` and `data`";
    let text = reader.text_such_as(entry, help)?;
    let mark = entry.value.mark;
    if text.contains("${") {
        reader.report(code::SHAPE, mark, "the type of an event is fixed", help);
        return None;
    }
    event_type(text)
        .map_err(|why| reader.report(code::NAME, mark, format!("`{text}` {why}"), help))
        .ok()?;
    Some(text.to_owned())
}

fn approver(reader: &mut Reader, entry: &Entry) -> Option<Approver> {
    let text = reader.text(entry)?;
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '+');
    if text.len() <= NAME_BYTES_MAX && text.chars().all(plain) {
        return Some(Approver::new(text));
    }
    let help = "write a role (viewer, operator, admin) or the name of a person's token";
    let message = format!("`{text}` is neither a role nor a name");
    reader.report(code::NAME, entry.value.mark, message, help);
    None
}

fn timeout(reader: &mut Reader, object: &Object<'_>, what: &str) -> Option<u64> {
    reader
        .required(object, "timeout", what, "timeout: 2h")
        .and_then(|e| reader.duration(e))
}

fn on_timeout(reader: &mut Reader, object: &Object<'_>) -> Option<OnTimeout> {
    let words = [
        ("fail", OnTimeout::Fail),
        ("park", OnTimeout::Park),
        ("continue", OnTimeout::Continue),
    ];
    object
        .get("on_timeout")
        .and_then(|e| reader.word(e, &words))
}

/// A template that is one text.
fn text_template(
    reader: &mut Reader,
    entry: &Entry,
    what: &str,
    found: &mut Reads,
) -> Option<Template> {
    if !matches!(entry.value.content, Content::Scalar(Value::String(_))) {
        let message = format!("`{}` must be text", entry.key);
        reader.report(code::SHAPE, entry.value.mark, message, "write it in quotes");
        return None;
    }
    let template = reader.open_template(&entry.value, what);
    note(found, &entry.value, &template, Use::Do);
    Some(template)
}
