//! Replays of many dead letters: a list, and one with what it takes, how far it is and what can be done with it.

use serde_json::Value;

use super::dead::{fields, number, set_in, to_type};
use super::fleet::text;
use crate::commands::dead::quoted;
use crate::out::{Column, Line, Table, Tone, WHOLE_ID_WIDTH, cell, plain};
use crate::time;

/// The list.
pub(crate) fn table(rows: &[Value], now: u64) -> Table {
    let mut table = Table::new(&[
        Column::new("id"),
        Column::new("since").rank(2).right(),
        Column::new("state"),
        Column::new("done").right(),
        Column::new("in all").rank(1),
        Column::new("by").rank(3),
    ]);
    for row in rows {
        let at = time::read(&row["made_at"]).map_or_else(String::new, |at| time::ago(at, now));
        let state = text(row, "state");
        let tone = tone(&state);
        let cells = vec![
            plain(beginning(&text(row, "id"))),
            plain(at),
            cell(state, tone),
            plain(format!(
                "{}/{}",
                number(row, "replayed"),
                number(row, "found")
            )),
            plain(progress(row)),
            cell(text(row, "by"), Tone::Faint),
        ];
        let below = [text(row, "reason"), takes(row)];
        let below = below.into_iter().filter(|words| !words.is_empty());
        table.row_with(cells, below.map(|words| cell(words, Tone::Faint)).collect());
    }
    table
}

fn tone(state: &str) -> Tone {
    match state {
        "stopped" => Tone::Bad,
        "done" => Tone::Good,
        _ => Tone::Waits,
    }
}

/// So much of an id that those made in one minute are told apart: it begins with its time.
fn beginning(id: &str) -> String {
    id.chars().take(13).collect()
}

/// How far one is, in a line.
pub(crate) fn progress(row: &Value) -> String {
    let of = |name| number(row, name);
    let mut text = format!(
        "{} of {}: {} resolved, {} failed again, {} refused",
        of("replayed"),
        of("found"),
        of("resolved"),
        of("failed"),
        of("refused")
    );
    if of("open") > 0 {
        text += &format!(", {} not known yet", of("open"));
    }
    text
}

/// One of them.
pub(crate) fn one(row: &Value, now: u64, width: usize) -> Vec<Line> {
    let state = text(row, "state");
    let mut lines = vec![
        Line::of(state.clone(), tone(&state))
            .plain("  ")
            .with(text(row, "id"), Tone::Strong),
    ];
    let why = text(row, "why");
    if !why.is_empty() {
        lines.extend(set_in("", &why, Tone::Plain, width));
    }
    lines.push(Line::new());
    let facts = facts(row, now).into_iter();
    let facts = facts.map(|(name, value)| (name.to_owned(), value));
    lines.extend(fields(facts, width));
    lines.extend(to_type(commands(row, width)));
    lines
}

/// What is known of it; what an older orchestrator does not say is left out.
fn facts(row: &Value, now: u64) -> [(&'static str, String); 12] {
    let when = |name: &str| {
        time::read(&row[name]).map_or_else(String::new, |at| {
            format!("{} ({})", time::ago(at, now), time::instant(at))
        })
    };
    let by = text(row, "by");
    let changed_by = text(row, "changed_by");
    let changed = match (when("changed_at"), changed_by.is_empty()) {
        (at, false) if !at.is_empty() => format!("{at}, by {changed_by}"),
        (at, _) => at,
    };
    let forced = if row["force"] == true {
        "also what was replayed three times already, or had expired".to_owned()
    } else {
        String::new()
    };
    let began = match when("started_at") {
        at if at.is_empty() => when("made_at"),
        at => at,
    };
    [
        ("takes", takes(row)),
        ("progress", progress(row)),
        ("order", order(row).to_owned()),
        ("stage", stage(row)),
        ("rate", rate(row)),
        ("stops", stops(row)),
        ("sends to", text(row, "to")),
        ("redirects", redirects(row)),
        ("forced", forced),
        ("begun", joined(began, &by)),
        ("because", text(row, "reason")),
        ("changed", changed),
    ]
}

/// Which goes first.
fn order(row: &Value) -> &'static str {
    match row["newest_first"].as_bool() {
        Some(true) => "the one that died last goes first",
        Some(false) => "the one that died first goes first",
        None => "",
    }
}

/// When, and by whom.
fn joined(at: String, by: &str) -> String {
    match (at.is_empty(), by.is_empty()) {
        (false, false) => format!("{at}, by {by}"),
        (true, false) => format!("by {by}"),
        (_, true) => at,
    }
}

/// Which letters, as filters of the command line; empty where that is not told.
fn takes(row: &Value) -> String {
    let named = row["ids"].as_array().map_or(0, Vec::len);
    let filter = flags(&row["filter"]);
    let letters = if named == 1 { "letter" } else { "letters" };
    match (named, filter.is_empty()) {
        (0, true) if row["filter"].is_object() => "all that were dead then".to_owned(),
        (0, _) => filter,
        (n, true) => format!("{n} {letters}, by id"),
        (n, false) => format!("{n} {letters}, by id, of those that fit {filter}"),
    }
}

/// A filter as it is typed.
fn flags(filter: &Value) -> String {
    let fields = filter.as_object().into_iter().flatten();
    // all of a replay are dead: nobody types that
    let given = fields.filter(|(name, _)| *name != "state");
    let given = given.filter_map(|(name, value)| {
        let value = match (name.as_str(), value) {
            (_, Value::String(text)) if !text.is_empty() => text.clone(),
            ("since" | "until", Value::Number(_)) => {
                time::instant(time::read(value)?).replace(' ', "T")
            }
            (_, Value::Number(number)) => number.to_string(),
            _ => return None,
        };
        let name = name.replace('_', "-");
        Some(format!("--{name} {}", quoted(&value)))
    });
    given.collect::<Vec<_>>().join(" ")
}

/// Where a canary stands.
fn stage(row: &Value) -> String {
    let Some(stage) = row["stage"].as_u64() else {
        return String::new();
    };
    let said = match stage {
        0 => "one letter first",
        1 => "two letters",
        2 => "five letters",
        _ => "the rest",
    };
    said.to_owned()
}

fn rate(row: &Value) -> String {
    match number(row, "rate") {
        0 => String::new(),
        n => format!("{n} a second at most"),
    }
}

fn stops(row: &Value) -> String {
    match row["stop_at"].as_u64() {
        None => String::new(),
        Some(100) => "by itself never".to_owned(),
        Some(n) => format!("by itself when more than {n} in a hundred fail again"),
    }
}

fn redirects(row: &Value) -> String {
    let rules = row["redirect"].as_object().into_iter().flatten();
    let rules = rules.map(|(from, to)| format!("{from}={}", to.as_str().unwrap_or_default()));
    rules.collect::<Vec<_>>().join(" ")
}

/// What can be done with it where it stands.
fn commands(row: &Value, width: usize) -> Vec<(&'static str, String)> {
    let id = text(row, "id");
    let id = if width < WHOLE_ID_WIDTH {
        beginning(&id)
    } else {
        id
    };
    let left = format!("baton dead --operation {id}");
    let steer = |what: &str| format!("baton dead ops {what} {id} -m 'why'");
    match text(row, "state").as_str() {
        "running" => vec![
            ("for a while", steer("pause")),
            ("for good", steer("cancel")),
        ],
        "paused" | "stopped" => vec![
            ("what they say", left),
            ("on", steer("resume")),
            ("for good", steer("cancel")),
        ],
        _ if number(row, "failed") + number(row, "refused") > 0 => {
            vec![("what is left", left)]
        }
        _ => Vec::new(),
    }
}
