//! Events that were kept, and what they caused.

use serde_json::Value;

use super::fleet::text;
use crate::out::{Column, Line, Table, Tone, cell, plain, short, wrapped};
use crate::time;

/// The event of a row, whatever stands around it.
fn event(row: &Value) -> &Value {
    if row["event"].is_object() {
        &row["event"]
    } else {
        row
    }
}

/// The list.
pub(crate) fn table(rows: &[Value], now: u64) -> Table {
    let mut table = Table::new(&[
        Column::new("received").rank(2).right(),
        Column::new("type").cut(20),
        Column::new("id").cut(13),
        Column::new("source").rank(3).cut(10),
        Column::new("subject").rank(4).cut(8),
        Column::new("caused").rank(1),
    ]);
    for row in rows {
        let at = time::read(&row["received_at"]).map_or_else(String::new, |at| time::ago(at, now));
        let event = event(row);
        table.row(vec![
            cell(at, Tone::Faint),
            plain(text(event, "type")),
            plain(text(event, "id")),
            cell(text(event, "source"), Tone::Faint),
            plain(text(event, "subject")),
            plain(caused(row)),
        ]);
    }
    table
}

/// `1 started, 2 woke`.
fn caused(row: &Value) -> String {
    let counts = ["started", "joined", "woke"].iter().filter_map(|word| {
        let count = match &row[*word] {
            Value::Array(all) => u64::try_from(all.len()).unwrap_or(u64::MAX),
            other => other.as_u64().unwrap_or(0),
        };
        (count > 0).then(|| format!("{count} {word}"))
    });
    counts.collect::<Vec<_>>().join(", ")
}

/// One of them.
pub(crate) fn one(row: &Value, now: u64, width: usize) -> Vec<Line> {
    let event = event(row);
    let mut lines = vec![
        Line::of(text(event, "type"), Tone::Strong)
            .plain("  ")
            .plain(text(event, "id")),
    ];
    let mut facts = vec![format!("source {}", text(event, "source"))];
    if let Some(subject) = event["subject"].as_str() {
        facts.push(format!("subject {subject}"));
    }
    if let Some(at) = time::read(&row["received_at"]) {
        facts.push(format!(
            "received {} ({})",
            time::ago(at, now),
            time::instant(at)
        ));
    }
    for part in wrapped(&facts.join(", "), width) {
        lines.push(Line::faint(part));
    }
    let data = &event["data"];
    if !data.is_null() {
        lines.push(Line::new());
        let pretty = serde_json::to_string_pretty(data).unwrap_or_else(|_| data.to_string());
        lines.extend(pretty.lines().map(|line| Line::of(line, Tone::Plain)));
    }
    lines.push(Line::new());
    lines.extend(effects(row, width));
    lines
}

fn effects(row: &Value, width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for word in ["started", "joined", "woke"] {
        let sagas = row[word].as_array().map_or(&[][..], Vec::as_slice);
        for one in sagas {
            let saga = one
                .as_str()
                .or_else(|| one["saga"].as_str())
                .or_else(|| one["id"].as_str());
            let saga = saga.unwrap_or_default();
            let what = one["definition"]
                .as_str()
                .map_or_else(String::new, |name| format!("  {name}"));
            let step = one["step"]
                .as_str()
                .map_or_else(String::new, |step| format!("  step {step}"));
            lines.push(
                Line::of(format!("{word}  "), Tone::Good)
                    .plain(format!("{}{what}{step}", short(saga, width))),
            );
        }
    }
    if lines.is_empty() {
        lines.push(Line::faint("it has started, joined and woken nothing"));
    }
    lines
}
