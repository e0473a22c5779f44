//! What a person has to decide, with the commands to type.

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

/// Every one of them.
pub(crate) fn lines(all: &[Open], now: u64, width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for (n, one) in all.iter().enumerate() {
        if n > 0 {
            lines.push(Line::new());
        }
        match &one.closed {
            Some(closed) => lines.extend(closed_item(one, closed, now, width)),
            None => lines.extend(item(&one.saga, &one.item, now, width)),
        }
    }
    lines
}

/// One open work item.
pub(crate) fn item(saga: &str, item: &Item, now: u64, width: usize) -> Vec<Line> {
    let mut lines = head(saga, item, now, width, Tone::Bad);
    if let Some(failure) = &item.failure {
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

fn head(saga: &str, item: &Item, now: u64, width: usize, tone: Tone) -> Vec<Line> {
    let text = wrapped(&item.title, width.saturating_sub(2));
    let mut lines: Vec<Line> = text
        .into_iter()
        .enumerate()
        .map(|(n, part)| {
            let lead = if n == 0 { "! " } else { "  " };
            Line::of(lead, tone).with(part, Tone::Strong)
        })
        .collect();
    let facts = format!(
        "  work item {} of {}, for {}, {} ({})",
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

fn closed_item(one: &Open, closed: &Value, now: u64, width: usize) -> Vec<Line> {
    let mut lines = head(&one.saga, &one.item, now, width, Tone::Faint);
    let by = closed["by"].as_str().unwrap_or("somebody");
    let at =
        time::read(&closed["at"]).map_or_else(String::new, |at| format!(" {}", time::ago(at, now)));
    lines.push(Line::faint(format!("    closed by {by}{at}")));
    lines
}
