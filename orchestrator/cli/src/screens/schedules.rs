//! What starts by the clock, and what was left out.

use serde_json::Value;

use super::fleet::text;
use crate::out::{Column, Table, Tone, cell, plain, short};
use crate::time;

/// The list.
pub(crate) fn table(rows: &[Value], now: u64, width: usize) -> Table {
    let mut table = Table::new(&[
        Column::new("definition").cut(14),
        Column::new("trigger").right(),
        Column::new("schedule"),
        Column::new("next").right(),
        Column::new("timezone").rank(3).cut(8),
        Column::new("last").rank(1).right(),
        Column::new("last saga").rank(2),
    ]);
    for row in rows {
        let paused = row["paused"].as_bool().unwrap_or(false);
        let next = time::read(&row["next_at"]).map_or_else(String::new, |at| time::until(at, now));
        let last = time::read(&row["last_at"]).map_or_else(String::new, |at| time::ago(at, now));
        let (next, tone) = if paused {
            ("paused".to_owned(), Tone::Waits)
        } else {
            (next, Tone::Plain)
        };
        let skipped = row["skipped"].as_u64().unwrap_or(0);
        let below = time::read(&row["skipped_at"]).map(|at| {
            let (ago, why) = (time::ago(at, now), text(row, "skipped_why"));
            let text = format!("left out {skipped} so far, last {ago}: {why}");
            cell(text, Tone::Waits)
        });
        let cells = vec![
            plain(format!("{}@{}", text(row, "definition"), row["version"])),
            plain(row["trigger"].to_string()),
            plain(text(row, "schedule")),
            cell(next, tone),
            cell(text(row, "timezone"), Tone::Faint),
            plain(last),
            plain(short(row["last_saga"].as_str().unwrap_or_default(), width)),
        ];
        table.row_with(cells, below.into_iter().collect());
    }
    table
}
