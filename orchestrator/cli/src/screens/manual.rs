//! A manual page of a task type, drawn from its manifest.

use baton_engine::definition::duration_text;
use baton_engine::expr::{SECRET_KEY, secret_at};
use serde_json::Value;

use super::schema::{self, Field};
use crate::out::{Line, Tone, width as wide, wrapped};
use crate::view::TaskType;

/// Wider than this a line of text is hard to read.
const TEXT_WIDTH_MAX: usize = 100;
/// Where the words of a fact begin.
const FACT_INDENT: usize = 11;

/// The whole page.
pub(crate) fn page(task: &TaskType, width: usize) -> Vec<Line> {
    let width = width.min(TEXT_WIDTH_MAX);
    let mut lines = vec![Line::of(task.task_type.as_str(), Tone::Strong)];
    lines.extend(words(&task.summary, 2, width, Tone::Plain));
    lines.push(Line::new());
    for (name, said) in facts(task) {
        lines.extend(fact(name, &said, width));
    }
    heading("INPUT", &mut lines);
    fields(&task.input, true, width, &mut lines);
    heading("OUTPUT", &mut lines);
    fields(&task.output, false, width, &mut lines);
    for (n, one) in task.examples.iter().enumerate() {
        heading(if n == 0 { "EXAMPLE" } else { "OR" }, &mut lines);
        lines.extend(example(task, one));
    }
    lines.push(Line::new());
    lines.extend(to_try(task, width));
    lines
}

/// A line to type. An input that is handed in names no secret, so that an example with one is tried as a step.
fn to_try(task: &TaskType, width: usize) -> Vec<Line> {
    let plain = task.examples.iter().find(|one| secret_at(one).is_none());
    let input = match (plain, task.examples.is_empty()) {
        (Some(example), _) => example.to_string(),
        (None, true) => "{…}".to_owned(),
        (None, false) => {
            let said = "to try it, put the example into a saga: only a definition names secrets, and their values stand in the worker's configuration, [secrets.NAME]";
            return words(said, 0, width, Tone::Faint);
        }
    };
    // one word of a shell, whatever stands in it
    let input = input.replace('\'', r"'\''");
    let command = format!("baton run {} --input '{input}' --wait", task.task_type);
    vec![Line::of("try it: ", Tone::Faint).plain(command)]
}

fn facts(task: &TaskType) -> Vec<(&'static str, String)> {
    let effect = match task.effect.as_str() {
        "none" => "none: it only looks".to_owned(),
        "reversible" => "reversible: what it changes can be put back".to_owned(),
        "irreversible" => "irreversible: what it changes stays changed".to_owned(),
        other => other.to_owned(),
    };
    let undo = match (task.undo, task.before_image, task.effect.as_str()) {
        (true, true, _) => {
            "its own: it remembers what it found before it acts, and puts that back if nobody has changed it since"
        }
        (true, false, _) => "its own",
        (false, _, "none") => "none, and none is needed",
        (false, ..) => "none: give the step an undo: { task: … }, or undo: none with because:",
    };
    let probe = if task.probe {
        "yes: it can find out whether its effect happened"
    } else {
        "no: when its outcome is unknown a person decides, unless the step gives a probe: { task: … }"
    };
    let twice = if task.idempotent {
        "as once: running it again with the same key changes nothing more"
    } else {
        "not as once: it is never sent to two workers"
    };
    let mut facts = vec![
        ("EFFECT", effect),
        ("UNDO", undo.to_owned()),
        ("PROBE", probe.to_owned()),
        ("TWICE", twice.to_owned()),
    ];
    if task.dry_run {
        facts.push(("DRY RUN", "yes: it can say what it would do".to_owned()));
    }
    facts.push(("TIME", limits(task)));
    facts.push(("RETRIES", retries(task)));
    if let Some(lock) = &task.lock {
        let said = "for the locks of a saga that uses it; the task itself takes none";
        facts.push(("LOCK", format!("{lock}: {said}")));
    }
    if !task.needs.is_empty() {
        facts.push(("NEEDS", task.needs.join("; ")));
    }
    facts
}

fn limits(task: &TaskType) -> String {
    let mut text = format!(
        "{} for one attempt unless the step sets timeout:, at most {}",
        duration_text(task.timeout_ms_default),
        duration_text(task.timeout_ms_max)
    );
    if task.settle_ms > 0 {
        text.push_str(&format!(
            "; {} of rest before a probe counts",
            duration_text(task.settle_ms)
        ));
    }
    text
}

fn retries(task: &TaskType) -> String {
    let retry = &task.retry;
    if retry.attempts <= 1 {
        return "none unless the step sets retry:".to_owned();
    }
    let mut text = format!(
        "{} attempts, {} apart",
        retry.attempts,
        duration_text(retry.backoff_ms)
    );
    if retry.factor > 1.0 {
        text.push_str(&format!(
            ", then {} times as long each time, up to {}",
            retry.factor,
            duration_text(retry.max_ms)
        ));
    }
    text
}

fn fact(name: &'static str, said: &str, width: usize) -> Vec<Line> {
    let parts = wrapped(said, width.saturating_sub(FACT_INDENT).max(20));
    parts
        .into_iter()
        .enumerate()
        .map(|(n, part)| {
            let lead = if n == 0 { name } else { "" };
            Line::of(format!("{lead:<FACT_INDENT$}"), Tone::Faint).plain(part)
        })
        .collect()
}

fn heading(title: &'static str, lines: &mut Vec<Line>) {
    lines.push(Line::new());
    lines.push(Line::of(title, Tone::Strong));
}

fn words(text: &str, indent: usize, width: usize, tone: Tone) -> Vec<Line> {
    let lead = " ".repeat(indent);
    let room = width.saturating_sub(indent).max(20);
    let parts = wrapped(text, room);
    parts
        .into_iter()
        .map(|part| Line::new().plain(lead.as_str()).with(part, tone))
        .collect()
}

fn fields(schema: &Value, input: bool, width: usize, lines: &mut Vec<Line>) {
    let all = schema::fields(schema);
    if all.is_empty() {
        let text = schema["description"].as_str().unwrap_or("anything");
        return lines.extend(words(text, 2, width, Tone::Plain));
    }
    let names = all
        .iter()
        .map(|field| wide(&field.name) + 2 * field.depth)
        .max()
        .unwrap_or(0);
    for field in &all {
        lines.extend(field_lines(field, input, names, width));
        let indent = 6 + 2 * field.depth;
        lines.extend(words(&field.meaning, indent, width, Tone::Faint));
    }
}

fn field_lines(field: &Field, input: bool, names: usize, width: usize) -> Vec<Line> {
    let lead = " ".repeat(2 + 2 * field.depth);
    let blank = names.saturating_sub(wide(&field.name) + 2 * field.depth) + 2;
    // what need not be handed in may be nothing as well, and nobody has to be told
    let nothing = field.nullable && (!input || field.required);
    let more = match (&field.default, input, field.required) {
        (Some(default), ..) => format!(", default {default}"),
        (None, true, true) if nothing => " or nothing, required".to_owned(),
        (None, true, true) => ", required".to_owned(),
        (None, false, _) if nothing => " or nothing".to_owned(),
        (None, false, false) => ", may be absent".to_owned(),
        _ => String::new(),
    };
    let indent = lead.len() + wide(&field.name) + blank;
    let room = width.saturating_sub(indent).max(20);
    let mut parts = wrapped(&format!("{}{more}", field.kind), room).into_iter();
    let first = Line::new()
        .plain(lead)
        .with(field.name.as_str(), Tone::Strong)
        .plain(" ".repeat(blank))
        .plain(parts.next().unwrap_or_default());
    let rest = parts.map(|part| Line::new().plain(" ".repeat(indent)).plain(part));
    std::iter::once(first).chain(rest).collect()
}

/// A value as a definition has it: a secret by its name.
fn as_written(value: &Value) -> Value {
    match value {
        Value::Object(map) => match map.get(SECRET_KEY).and_then(Value::as_str) {
            Some(name) => Value::String(format!("${{ secret('{name}') }}")),
            None => Value::Object(
                map.iter()
                    .map(|(key, value)| (key.clone(), as_written(value)))
                    .collect(),
            ),
        },
        Value::Array(items) => Value::Array(items.iter().map(as_written).collect()),
        other => other.clone(),
    }
}

/// As a step of a definition. Each value is JSON, which is YAML too.
fn example(task: &TaskType, input: &Value) -> Vec<Line> {
    let id = task
        .task_type
        .split(['.', '@', '-'])
        .nth(1)
        .unwrap_or("step");
    let mut text = vec![
        format!("  - id: {id}"),
        format!("    task: {}", task.task_type),
    ];
    match input.as_object() {
        Some(values) if !values.is_empty() => {
            text.push("    with:".to_owned());
            text.extend(
                values
                    .iter()
                    .map(|(name, value)| format!("      {name}: {}", as_written(value))),
            );
        }
        _ => text.push(format!("    with: {input}")),
    }
    text.into_iter()
        .map(|line| Line::of(line, Tone::Plain))
        .collect()
}
