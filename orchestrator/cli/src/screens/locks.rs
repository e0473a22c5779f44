//! What sagas take before their first step: who has what, and who waits in which place; and of one saga, what it waits for.

use serde_json::Value;

use super::fleet::text;
use crate::out::{Column, Line, Span, Table, Tone, cell, plain, short, wrapped};
use crate::time;
use crate::view::Reserved;

/// The list.
pub(crate) fn table(rows: &[Value], now: u64, width: usize) -> Table {
    let mut table = Table::new(&[
        Column::new("kind").rank(2),
        Column::new("name").cut(16),
        Column::new("stands"),
        Column::new("saga"),
        Column::new("since").rank(1).right(),
        Column::new("number").rank(3).right(),
    ]);
    for row in rows {
        let at = time::read(&row["held_at"]).or_else(|| time::read(&row["asked_at"]));
        let number = row["fence"].as_u64();
        table.row(vec![
            cell(text(row, "kind"), Tone::Faint),
            plain(text(row, "name")),
            stands(row, now),
            plain(short(row["saga"].as_str().unwrap_or_default(), width)),
            plain(at.map_or_else(String::new, |at| time::ago(at, now))),
            cell(
                number.map_or_else(String::new, |n| n.to_string()),
                Tone::Faint,
            ),
        ]);
    }
    table
}

fn stands(row: &Value, now: u64) -> Span {
    match text(row, "state").as_str() {
        "held" => cell("has it", Tone::Good),
        "spent" => {
            let until = time::read(&row["until"]);
            let until = until.map_or_else(String::new, |at| format!(" {}", time::until(at, now)));
            cell(format!("counts{until}"), Tone::Plain)
        }
        _ => {
            let place = row["place"].as_u64().unwrap_or_default();
            cell(format!("waits, {place}"), Tone::Waits)
        }
    }
}

/// What one saga waits for, who has it, and its place; once it has all of it, what that is.
pub(crate) fn of_saga(taken: &Reserved, now: u64, width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut say = |words: String, tone: Tone| {
        let parts = wrapped(&words, width).into_iter();
        lines.extend(parts.map(|part| Line::of(part, tone)));
    };
    let waits = taken.admitted_at.is_none();
    for thing in &taken.things {
        let what = format!("{} {}", thing.kind, thing.name);
        let words = match (waits, thing.broken, thing.fence) {
            (true, _, _) => {
                let has: Vec<&str> = thing.held_by.iter().map(|id| short(id, width)).collect();
                let has = match has.is_empty() {
                    true => String::new(),
                    false => format!(", had by {}", has.join(", ")),
                };
                let place = thing.place.unwrap_or_default();
                format!("waits for {what}: place {place}{has}")
            }
            (false, true, _) => format!("{what} was taken from it"),
            (false, false, Some(fence)) => format!("has {what}, number {fence}"),
            (false, false, None) => continue,
        };
        let tone = match (waits, thing.broken) {
            (true, _) => Tone::Waits,
            (false, true) => Tone::Bad,
            (false, false) => Tone::Faint,
        };
        say(words, tone);
    }
    if let Some(until) = taken.until.filter(|_| waits) {
        let words = format!("it gives up {}", time::until(until, now));
        say(words, Tone::Faint);
    }
    lines
}
