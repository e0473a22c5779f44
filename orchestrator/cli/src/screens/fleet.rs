//! Workers and task types, a row each.

use serde_json::Value;

use crate::out::{Column, Span, Table, Tone, cell, plain, short};
use crate::time;
use crate::view::TaskType;

/// Who is there.
pub(crate) fn workers(rows: &[Value], now: u64, width: usize, all: bool) -> Table {
    let mut table = Table::new(&[
        Column::new("worker").cut(16),
        Column::new("heard").rank(2).right(),
        Column::new("claimed").right(),
        Column::new("pools").rank(1).cut(8),
        Column::new("version").rank(4),
        Column::new("host").rank(5).cut(10),
        Column::new("types").rank(3).cut(12),
    ]);
    for row in rows {
        let silent = row["silent"].as_bool().unwrap_or(false);
        let tone = if silent { Tone::Bad } else { Tone::Plain };
        let running = row["running"].as_array().map_or(&[][..], Vec::as_slice);
        let concurrency = row["concurrency"]
            .as_u64()
            .map_or_else(|| "?".to_owned(), |n| n.to_string());
        let heard = time::read(&row["heard_at"]).or_else(|| time::read(&row["last_seen"]));
        let heard = heard.map_or_else(String::new, |at| time::ago(at, now));
        let types = joined(&row["types"]);
        let mut below = Vec::new();
        if silent {
            below.push(cell("silent: it has missed three heartbeats", Tone::Bad));
        }
        if all {
            below.push(cell(types.as_str(), Tone::Faint));
            below.extend(running.iter().map(|one| plain(run(one, now, width))));
        }
        let cells = vec![
            cell(text(row, "worker"), tone),
            cell(heard, tone),
            plain(format!("{}/{concurrency}", running.len())),
            plain(joined(&row["pools"])),
            cell(text(row, "version"), Tone::Faint),
            cell(text(row, "host"), Tone::Faint),
            cell(if all { String::new() } else { types }, Tone::Faint),
        ];
        table.row_with(cells, below);
    }
    table
}

fn run(one: &Value, now: u64, width: usize) -> String {
    let of = if one["of"].is_object() {
        &one["of"]
    } else {
        one
    };
    let saga = of["saga"].as_str().unwrap_or_default();
    let step = of["step"].as_str().unwrap_or_default();
    let since = time::read(&one["since"]).or_else(|| time::read(&one["started_at"]));
    let since = since.map_or_else(String::new, |at| {
        format!(", since {}", time::span(now.saturating_sub(at)))
    });
    format!("runs {step} of {}{since}", short(saga, width))
}

/// What they can do.
pub(crate) fn types(rows: &[TaskType]) -> Table {
    let mut table = Table::new(&[
        Column::new("task type"),
        Column::new("effect").rank(2),
        Column::new("undo").rank(3),
        Column::new("probe").rank(4),
        Column::new("summary").rank(1).cut(20),
    ]);
    for row in rows {
        let yes = |is: bool| -> Span { plain(if is { "yes" } else { "" }) };
        table.row(vec![
            plain(row.task_type.as_str()),
            cell(
                row.effect.as_str(),
                if row.effect == "irreversible" {
                    Tone::Waits
                } else {
                    Tone::Plain
                },
            ),
            yes(row.undo),
            yes(row.probe),
            plain(row.summary.as_str()),
        ]);
    }
    table
}

/// A field that is text.
pub(crate) fn text(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or_default().to_owned()
}

fn joined(list: &Value) -> String {
    let list = list.as_array().map_or(&[][..], Vec::as_slice);
    let all: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
    all.join(" ")
}
