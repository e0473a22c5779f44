//! Tokens and definitions, a row each.

use serde_json::Value;

use super::fleet::text;
use crate::out::{Column, Line, Table, Tone, cell, plain, wrapped};
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

/// What to know of a token that was just made: it stands on the line before.
pub(crate) fn made(name: &str, role: &str, width: usize) -> Vec<Line> {
    let words = format!(
        "the token of {name}, {role}: shown this once. Keep it in a file of mode 600, and name that file by BATON_TOKEN_FILE"
    );
    let parts = wrapped(&words, width).into_iter();
    parts.map(|part| Line::of(part, Tone::Faint)).collect()
}

/// Who the caller is, and what that lets him do.
pub(crate) fn whoami(answer: &Value, now: u64, width: usize) -> Vec<Line> {
    let (name, role) = (text(answer, "name"), text(answer, "role"));
    let may = match role.as_str() {
        "viewer" => "may look",
        "auditor" => "may look, also at what operators did",
        "operator" => "may look, start and steer; also see what operators did",
        "admin" => "may do everything: also register definitions and make tokens",
        _ => "",
    };
    let until = time::read(&answer["expires_at"]).map_or_else(String::new, |at| {
        format!(", until {} ({})", time::instant(at), time::until(at, now))
    });
    let parts = wrapped(&format!("{name}, {role}: {may}{until}"), width).into_iter();
    parts.map(|part| Line::new().plain(part)).collect()
}
