//! Tokens and definitions, a row each.

use serde_json::Value;

use super::fleet::text;
use crate::out::{Column, Table, Tone, cell, plain};
use crate::time;

/// Who may do what, until when.
pub(crate) fn table(rows: &[Value], now: u64) -> Table {
    let mut table = Table::new(&[
        Column::new("name").cut(12),
        Column::new("role"),
        Column::new("expires").right(),
        Column::new("made").rank(1).right(),
    ]);
    for row in rows {
        let expires = time::read(&row["expires_at"]);
        let expired = expires.is_some_and(|at| at <= now);
        let (words, tone) = match expires {
            None => ("never".to_owned(), Tone::Faint),
            Some(_) if expired => ("expired".to_owned(), Tone::Bad),
            Some(at) => (time::until(at, now), Tone::Plain),
        };
        let made = time::read(&row["made_at"]);
        table.row(vec![
            plain(text(row, "name")),
            plain(text(row, "role")),
            cell(words, tone),
            plain(made.map_or_else(String::new, |at| time::ago(at, now))),
        ]);
    }
    table
}

/// What is registered.
pub(crate) fn definitions(rows: &[Value], now: u64) -> Table {
    let mut table = Table::new(&[
        Column::new("definition"),
        Column::new("registered").rank(1).right(),
        Column::new("by").rank(2).cut(10),
    ]);
    for row in rows {
        let name = row["definition"]
            .as_str()
            .or_else(|| row["name"].as_str())
            .unwrap_or_default();
        let at = time::read(&row["at"]).map_or_else(String::new, |at| time::ago(at, now));
        table.row(vec![
            plain(format!("{name}@{}", row["version"])),
            plain(at),
            cell(text(row, "by"), Tone::Faint),
        ]);
    }
    table
}
