//! What a person has to decide: a list, and each with the commands to type.

use serde::Deserialize;
use serde_json::Value;

use crate::out::{Column, Line, Span, Table, Tone, cell, plain, short, wrapped};
use crate::time;
use crate::view::Item;

/// A work item of the list.
#[derive(Debug, Deserialize)]
pub(crate) struct Open {
    pub(crate) saga: String,
    pub(crate) item: Item,
    pub(crate) closed: Option<Value>,
}

/// The list. By when things are due is a column where anything is.
pub(crate) fn table(all: &[Open], now: u64, width: usize) -> Table {
    let dated = |one: &Open| one.item.due_at.is_some() || !one.item.escalate.is_empty();
    let dated = all.iter().any(dated);
    let mut columns = vec![
        Column::new("saga"),
        Column::new("item").right(),
        Column::new("what").cut(22),
        Column::new("kind").rank(2),
        Column::new("for").rank(1).cut(8),
        Column::new("since").right(),
    ];
    if dated {
        columns.push(Column::new("due"));
        columns.push(Column::new("escalated").rank(3));
    }
    columns.push(Column::new("closed").rank(1).cut(8));
    let mut table = Table::new(&columns);
    for one in all {
        let item = &one.item;
        let (closed, tone) = match &one.closed {
            Some(closed) => (closed_by(closed, now), Tone::Faint),
            None => (String::new(), Tone::Strong),
        };
        let mut row = vec![
            plain(short(&one.saga, width)),
            plain(item.number.to_string()),
            cell(item.title.as_str(), tone),
            cell(item.kind.as_str(), Tone::Faint),
            plain(item.who()),
            plain(time::ago(item.opened_at, now)),
        ];
        if dated {
            row.push(match one.closed {
                Some(_) => plain(""),
                None => due(item, now),
            });
            row.push(plain(escalated(item)));
        }
        row.push(cell(closed, Tone::Faint));
        table.row(row);
    }
    table
}

/// To how many of how many it was escalated.
fn escalated(item: &Item) -> String {
    match item.escalated {
        0 => String::new(),
        n => format!("{n} of {}", item.escalate.len()),
    }
}

/// When it should be done, or since when it should have been.
fn due(item: &Item, now: u64) -> Span {
    match item.due_at {
        None => plain(""),
        Some(at) if at <= now => {
            let since = time::ago(at, now);
            let since = since.trim_end_matches(" ago");
            cell(format!("overdue {since}"), Tone::Bad)
        }
        Some(at) => plain(time::until(at, now)),
    }
}

fn closed_by(closed: &Value, now: u64) -> String {
    let by = closed["by"].as_str().unwrap_or("somebody");
    let at =
        time::read(&closed["at"]).map_or_else(String::new, |at| format!(" {}", time::ago(at, now)));
    format!("by {by}{at}")
}

/// What an open work item is about.
pub(crate) fn about(saga: &str, item: &Item, now: u64, width: usize) -> Vec<Line> {
    let mut lines = head(saga, item, now, width);
    if let Some(failure) = item.failure.as_ref().filter(|_| !is_told(item)) {
        let text = format!("{}: {}", failure.code, failure.message);
        for part in wrapped(&text, width.saturating_sub(4)) {
            lines.push(Line::new().plain("    ").with(part, Tone::Faint));
        }
    }
    lines
}

/// One open work item in short, with the commands it was opened with.
pub(crate) fn item(saga: &str, item: &Item, now: u64, width: usize) -> Vec<Line> {
    let mut lines = about(saga, item, now, width);
    let mut table = Table::new(&[Column::new(""), Column::new("").rank(1).cut(12)]);
    let take = takes(saga, item, width);
    for (command, meaning) in take.into_iter().chain(item.commands(short(saga, width))) {
        table.row(vec![
            plain(format!("    {command}")),
            cell(meaning, Tone::Faint),
        ]);
    }
    lines.extend(table.lines(width));
    lines
}

/// Where it is somebody's, or due, and nobody has taken it by hand: how somebody does.
pub(crate) fn takes(saga: &str, item: &Item, width: usize) -> Option<(String, &'static str)> {
    let given_out = item.assignee.is_some() || item.due_at.is_some();
    let command = format!("baton work take {} {}", short(saga, width), item.number);
    let is_free = item.taken.as_ref().is_none_or(|taken| taken.team);
    (given_out && is_free).then_some((command, "see to it yourself"))
}

/// Whether the title says already what went wrong.
fn is_told(item: &Item) -> bool {
    let failure = item.failure.as_ref();
    failure.is_some_and(|failure| item.title.contains(&failure.message))
}

fn head(saga: &str, item: &Item, now: u64, width: usize) -> Vec<Line> {
    let text = wrapped(&item.title, width.saturating_sub(2));
    let mut lines: Vec<Line> = text
        .into_iter()
        .enumerate()
        .map(|(n, part)| {
            let lead = if n == 0 { "! " } else { "  " };
            Line::of(lead, Tone::Bad).with(part, Tone::Strong)
        })
        .collect();
    let code = item.failure.as_ref().filter(|_| is_told(item));
    let code = code.map_or_else(String::new, |failure| format!(", {}", failure.code));
    let facts = format!(
        "  work item {} of {}, for {}, {} ({}{code})",
        item.number,
        short(saga, width),
        item.who(),
        time::ago(item.opened_at, now),
        item.kind
    );
    for part in wrapped(&facts, width.saturating_sub(2)) {
        lines.push(Line::faint(format!("  {part}")));
    }
    for part in wrapped(&by_when(item, now), width.saturating_sub(2)) {
        let tone = match item.due_at {
            Some(due) if due <= now => Tone::Bad,
            _ => Tone::Faint,
        };
        lines.push(Line::new().with(format!("  {part}"), tone));
    }
    lines
}

/// By when it should be done, who has taken it, and who gets it next.
fn by_when(item: &Item, now: u64) -> String {
    let mut parts = Vec::new();
    match item.due_at {
        Some(due) if due <= now => parts.push(format!("overdue: due {}", time::ago(due, now))),
        Some(due) => parts.push(format!("due {}", time::until(due, now))),
        None => {}
    }
    let before = item.escalate.get(..item.escalated).unwrap_or_default();
    if let Some(last) = before.last() {
        let all = item.escalate.len();
        parts.push(format!(
            "escalated {} of {all} times, to {}",
            before.len(),
            last.to
        ));
    }
    match (&item.taken, item.escalate.get(item.escalated)) {
        (Some(taken), _) => parts.push(format!(
            "given out by {} {}, and escalated no further",
            taken.by,
            time::ago(taken.at, now)
        )),
        (None, Some(next)) => parts.push(format!("to {} {}", next.to, time::until(next.at, now))),
        (None, None) => {}
    }
    parts.join("; ")
}
