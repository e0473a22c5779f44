//! What a person has to decide: a list, and each with the commands to type.

use serde::Deserialize;
use serde_json::Value;

use crate::out::{Column, Line, Table, Tone, cell, plain, short, wrapped};
use crate::time;
use crate::view::Item;

/// A work item of the list.
#[derive(Debug, Deserialize)]
pub(crate) struct Open {
    pub(crate) saga: String,
    pub(crate) item: Item,
    pub(crate) closed: Option<Value>,
}

/// The list.
pub(crate) fn table(all: &[Open], now: u64, width: usize) -> Table {
    let mut table = Table::new(&[
        Column::new("saga"),
        Column::new("item").right(),
        Column::new("what").cut(22),
        Column::new("kind").rank(2),
        Column::new("for").rank(1).cut(8),
        Column::new("since").right(),
        Column::new("closed").rank(1).cut(8),
    ]);
    for one in all {
        let item = &one.item;
        let (closed, tone) = match &one.closed {
            Some(closed) => (closed_by(closed, now), Tone::Faint),
            None => (String::new(), Tone::Strong),
        };
        table.row(vec![
            plain(short(&one.saga, width)),
            plain(item.number.to_string()),
            cell(item.title.as_str(), tone),
            cell(item.kind.as_str(), Tone::Faint),
            plain(item.owner.as_str()),
            plain(time::ago(item.opened_at, now)),
            cell(closed, Tone::Faint),
        ]);
    }
    table
}

fn closed_by(closed: &Value, now: u64) -> String {
    let by = closed["by"].as_str().unwrap_or("somebody");
    let at =
        time::read(&closed["at"]).map_or_else(String::new, |at| format!(" {}", time::ago(at, now)));
    format!("by {by}{at}")
}

/// One open work item.
pub(crate) fn item(saga: &str, item: &Item, now: u64, width: usize) -> Vec<Line> {
    let mut lines = head(saga, item, now, width);
    if let Some(failure) = item.failure.as_ref().filter(|_| !is_told(item)) {
        let text = format!("{}: {}", failure.code, failure.message);
        for part in wrapped(&text, width.saturating_sub(4)) {
            lines.push(Line::new().plain("    ").with(part, Tone::Faint));
        }
    }
    let mut table = Table::new(&[Column::new(""), Column::new("").rank(1).cut(12)]);
    for (command, meaning) in item.commands(short(saga, width)) {
        table.row(vec![
            plain(format!("    {command}")),
            cell(meaning, Tone::Faint),
        ]);
    }
    lines.extend(table.lines(width));
    lines
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
        item.owner,
        time::ago(item.opened_at, now),
        item.kind
    );
    for part in wrapped(&facts, width.saturating_sub(2)) {
        lines.push(Line::faint(format!("  {part}")));
    }
    lines
}
