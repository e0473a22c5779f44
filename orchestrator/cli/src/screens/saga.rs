//! One saga: where it stands, each step with what was done and undone, why it waits, and what a person can do.

use baton_messages::Failure;
use serde_json::Value;

use super::standing::{self, Standing};
use super::{attempts, work};
use crate::out::{Column, Line, Span, Table, Tone, cell, plain, short, wrapped};
use crate::time;
use crate::view::{Saga, Step};

/// More of an output than this is shown by `--json` alone.
const OUTPUT_LINES_MAX: usize = 20;
/// Items shown below their step: what has failed or asks a person comes first.
const ITEMS_MAX: usize = 10;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Of each step its standing.
    Steps,
    /// Every attempt as well.
    Attempts,
}

/// The whole screen.
pub(crate) fn lines(saga: &Saga, now: u64, width: usize, detail: Detail) -> Vec<Line> {
    let mut lines = head(saga, now, width);
    if !saga.steps.is_empty() {
        lines.push(Line::new());
        lines.extend(steps(saga, now, |_| true).lines(width));
    }
    if detail == Detail::Attempts {
        lines.push(Line::new());
        lines.extend(attempts::lines(saga, now, width));
    }
    if let Some(value) = saga.output.as_ref().filter(|output| !output.is_null()) {
        lines.push(Line::new());
        lines.extend(output(value, width));
    }
    for item in &saga.work_items {
        lines.push(Line::new());
        lines.extend(work::item(&saga.row.id, item, now, width));
    }
    lines.extend(dead(saga, now, width));
    lines
}

/// Messages of it that died, and what can be done about them.
fn dead(saga: &Saga, now: u64, width: usize) -> Vec<Line> {
    if saga.dead_letters.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![Line::new(), Line::of("Dead letters", Tone::Strong)];
    for letter in &saga.dead_letters {
        let id = short(&letter.id, width);
        let (tone, command) = match letter.state.as_str() {
            "dead" => (Tone::Waits, format!("baton dead replay {id}")),
            "resolved" => (Tone::Good, format!("baton dead show {id}")),
            _ => (Tone::Faint, format!("baton dead show {id}")),
        };
        lines.push(
            Line::new()
                .plain(format!("  {id}  "))
                .with(letter.state.clone(), tone)
                .plain(format!(
                    "  {} {}, {}",
                    letter.kind.as_deref().unwrap_or("message"),
                    letter.reason,
                    time::ago(letter.at, now)
                ))
                .with(format!("  {command}"), Tone::Faint),
        );
    }
    lines
}

/// As much as fits into so many lines: what moves stands, what rests is counted.
pub(crate) fn live(saga: &Saga, now: u64, width: usize, height: usize) -> Vec<Line> {
    let whole = lines(saga, now, width, Detail::Steps);
    if whole.len() <= height {
        return whole;
    }
    let mut lines = head(saga, now, width);
    let resting = saga.steps.iter().filter(|step| step.is_at_rest()).count();
    lines.push(Line::new());
    lines.extend(steps(saga, now, |step| !step.is_at_rest()).lines(width));
    lines.push(Line::faint(format!(
        "  {} of {} steps done, {resting} at rest",
        saga.steps_done(),
        saga.steps.len()
    )));
    lines.truncate(height);
    lines
}

fn head(saga: &Saga, now: u64, width: usize) -> Vec<Line> {
    let row = &saga.row;
    let mut lines = vec![
        Line::of(row.what(), Tone::Strong)
            .plain("  ")
            .with(row.standing(), Tone::of(&row.status))
            .plain("  ")
            .with(short(&row.id, width), Tone::Faint),
    ];
    let mut facts = vec![format!(
        "started {} by {}",
        time::ago(row.started_at, now),
        saga.by
    )];
    match (row.ended_at, saga.deadline_at) {
        (Some(end), _) => facts.push(format!(
            "took {}",
            time::span(end.saturating_sub(row.started_at))
        )),
        (None, Some(deadline)) => facts.push(format!("deadline {}", time::until(deadline, now))),
        (None, None) => {}
    }
    if !row.labels.is_empty() {
        facts.push(row.labels());
    }
    lines.extend(sentences(&facts.join(", "), width, Tone::Faint));
    if let Some(parent) = &saga.parent {
        let id = short(&parent.saga, width);
        lines.push(Line::faint(format!("step {} of saga {id}", parent.step)));
    }
    if let Some(taken) = saga.reservation.as_ref().filter(|_| !saga.has_ended()) {
        lines.extend(super::locks::of_saga(taken, now, width));
    }
    if let Some(cause) = saga.unwinding.as_ref().filter(|cause| !cause.is_null()) {
        let does = match row.status.as_str() {
            "compensated" => "took back what it did",
            "abandoned" => "was to take back what it did",
            _ => "takes back what it did",
        };
        let text = format!("{does}: {}", sentence(cause));
        lines.extend(sentences(&text, width, Tone::Waits));
    }
    if let Some(moved) = &saga.upgraded {
        let (by, reason) = (&moved.by, &moved.reason);
        let when = time::ago(moved.at, now);
        let text = format!("moved from version {} by {by} {when}: {reason}", moved.from);
        lines.extend(sentences(&text, width, Tone::Faint));
    }
    if let Some(given_up) = &saga.abandoned {
        let (by, reason) = (&given_up.by, &given_up.reason);
        let when = time::ago(given_up.at, now);
        let text = format!("abandoned by {by} {when}: {reason}");
        lines.extend(sentences(&text, width, Tone::Bad));
    }
    if let Some(gone) = &saga.purged {
        let at = time::instant(gone.at);
        let text = match &gone.archive {
            Some(file) => format!(
                "its records were archived and purged on {at}: {file}, below the orchestrator's retention.archive_dir"
            ),
            None => format!("its records were purged on {at}, and archived nowhere"),
        };
        lines.extend(sentences(&text, width, Tone::Waits));
    }
    lines
}

fn sentences(text: &str, width: usize, tone: Tone) -> Vec<Line> {
    let parts = wrapped(text, width);
    parts.into_iter().map(|part| Line::of(part, tone)).collect()
}

/// Why a saga unwinds, in a sentence.
fn sentence(cause: &Value) -> String {
    let failed = &cause["step-failed"];
    let cancelled = &cause["cancelled"];
    if let Some(step) = failed["step"].as_str() {
        let message = failed["failure"]["message"].as_str().unwrap_or_default();
        return match failed["failure"]["code"].as_str() {
            Some(code) => format!("step {step} failed: {code}: {message}"),
            None => format!("step {step} failed: {message}"),
        };
    }
    if let Some(by) = cancelled["by"].as_str() {
        let reason = cancelled["reason"].as_str().unwrap_or_default();
        return format!("cancelled by {by}: {reason}");
    }
    if cause.as_str() == Some("deadline") {
        return "its deadline passed".to_owned();
    }
    if let Some(step) = cause["late-evidence"]["step"].as_str() {
        return format!("step {step} turned out to have happened");
    }
    if let Some(saga) = cause["parent"]["saga"].as_str() {
        let why = cause["parent"]["why"].as_str().unwrap_or_default();
        return format!("saga {saga}, whose step it is, wants nothing of it left: {why}");
    }
    if let Some(message) = cause["refused"]["failure"]["message"].as_str() {
        return format!("it could not begin: {message}");
    }
    cause.to_string()
}

const COLUMNS: [Column; 9] = [
    Column::new(""),
    Column::new("step").cut(12),
    Column::new("state"),
    Column::new("undo").rank(1),
    Column::new("took").rank(2).right(),
    Column::new("tries").rank(3).right(),
    Column::new("task").rank(4).cut(14),
    Column::new("pool").rank(6).cut(8),
    Column::new("worker").rank(5).cut(10),
];

fn steps(saga: &Saga, now: u64, wanted: impl Fn(&Step) -> bool) -> Table {
    let mut table = Table::new(&COLUMNS);
    let items = |step: &Step| {
        let first = step.fan.iter().flat_map(|fan| fan.first.clone());
        first.take(ITEMS_MAX).collect::<Vec<_>>()
    };
    let all = saga.steps.iter().filter(|step| wanted(step));
    let all = all.flat_map(|step| std::iter::once(step.clone()).chain(items(step)));
    for step in &all.collect::<Vec<_>>() {
        row(&mut table, saga, step, now);
    }
    table
}

/// A step, or one item of it, with what is to be said of it.
fn row(table: &mut Table, saga: &Saga, step: &Step, now: u64) {
    let mut below: Vec<Span> = Vec::new();
    if let Some(fan) = &step.fan {
        below.push(cell(fan.counts(), Tone::Plain));
    }
    if let Some(child) = &step.child {
        let status = child.status.as_deref().unwrap_or("not begun yet");
        let words = format!(
            "{}@{} {status}: baton show {}",
            child.definition, child.version, child.id
        );
        below.push(cell(words, Tone::Plain));
    }
    if let Some(why) = step
        .why(now)
        .filter(|_| step.fan.is_none() || step.phase != "fanned-out")
    {
        below.push(cell(why, Tone::Faint));
    }
    let stands = standing::of(saga, step);
    let failure = step.failure_to_say();
    if let Some(failure) = failure.filter(|_| !is_said(saga, step)) {
        // what was tolerated is no bad news
        let tone = match step.is_done() {
            true => Tone::Waits,
            false => Tone::Bad,
        };
        below.push(cell(format!("{}: {}", failure.code, failure.message), tone));
    }
    if stands.in_doubt {
        let words = "nobody knows whether it happened";
        below.push(cell(words, Tone::Bad));
    }
    table.row_with(cells(saga, step, &stands, now), below);
}

/// Items as lines of a table.
pub(crate) fn items(saga: &Saga, items: &[Step], now: u64, width: usize) -> Vec<Line> {
    let mut table = Table::new(&COLUMNS);
    for item in items {
        row(&mut table, saga, item, now);
    }
    table.lines(width)
}

/// Whether what went wrong with a step stands elsewhere on the screen: above, as why the saga takes back what it did, or below, in what a person has to
/// decide.
fn is_said(saga: &Saga, step: &Step) -> bool {
    let Some(failure) = &step.last_failure else {
        return false;
    };
    let failed = &saga.unwinding.as_ref().unwrap_or(&Value::Null)["step-failed"];
    let above = failed["step"] == *step.id && failed["failure"]["message"] == *failure.message;
    let below = saga.work_items.iter().any(|item| {
        let same = |said: &Failure| said.message == failure.message && said.code == failure.code;
        item.step.as_ref() == Some(&step.id) && item.failure.as_ref().is_some_and(same)
    });
    above || below
}

fn cells(saga: &Saga, step: &Step, stands: &Standing<'_>, now: u64) -> Vec<Span> {
    let took = step.began_at.map_or_else(String::new, |began| {
        let at_rest = || step.is_at_rest().then_some(step.since);
        let over = step.done_at.or_else(at_rest).or(saga.row.ended_at);
        let end = over.unwrap_or(now);
        time::span(end.saturating_sub(began))
    });
    let name = if step.pivot {
        format!("{} (pivot)", step.id)
    } else {
        step.id.clone()
    };
    let tries = if step.tries > 1 {
        step.tries.to_string()
    } else {
        String::new()
    };
    let task = step
        .task
        .clone()
        .or_else(|| step.kind.clone())
        .unwrap_or_default();
    vec![
        cell(stands.mark, stands.tone),
        plain(name),
        cell(stands.done, Tone::of(stands.done)),
        cell(stands.undo, stands.tone),
        plain(took),
        plain(tries),
        cell(task, Tone::Faint),
        cell(step.pool.clone().unwrap_or_default(), Tone::Faint),
        cell(step.worker().unwrap_or_default(), Tone::Faint),
    ]
}

fn output(value: &Value, width: usize) -> Vec<Line> {
    let short = format!("output: {value}");
    if crate::out::width(&short) <= width {
        return vec![Line::of(short, Tone::Plain)];
    }
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string());
    let mut lines = vec![Line::faint("output:")];
    lines.extend(
        text.lines()
            .take(OUTPUT_LINES_MAX)
            .map(|line| Line::of(crate::out::cut(line, width), Tone::Plain)),
    );
    if text.lines().count() > OUTPUT_LINES_MAX {
        lines.push(Line::faint("… the whole of it: baton show SAGA --json"));
    }
    lines
}
