//! What needs a person: a list, each with what to type next, and one in full.

use serde_json::Value;

use super::fleet::text;
use crate::out::{Column, Line, Span, Table, Tone, cell, plain, short, wrapped};
use crate::time;

/// The list.
pub(crate) fn table(rows: &[Value], now: u64, width: usize) -> Table {
    let mut table = Table::new(&[
        Column::new("id"),
        Column::new("since").rank(1).right(),
        Column::new("kind"),
        Column::new("stands"),
    ]);
    for row in rows {
        let at = time::read(&row["opened_at"]).map_or_else(String::new, |at| time::ago(at, now));
        let cells = vec![
            plain(short(row["id"].as_str().unwrap_or_default(), width)),
            plain(at),
            cell(text(row, "kind"), Tone::Waits),
            stands(row, now),
        ];
        // what to type next is below, where the narrowest terminal has room for it
        let below = vec![
            cell(text(row, "title"), Tone::Faint),
            plain(text(row, "command")),
        ];
        table.row_with(cells, below);
    }
    table
}

fn stands(row: &Value, now: u64) -> Span {
    let muted = time::read(&row["muted"]["until"]).filter(|until| *until > now);
    match text(row, "state").as_str() {
        "resolved" => cell("over", Tone::Good),
        _ if muted.is_some() => cell("muted", Tone::Faint),
        _ if row["acknowledged"].is_object() => cell("seen", Tone::Plain),
        _ if row["silent"] == true => cell("silent", Tone::Faint),
        _ => cell("open", Tone::Bad),
    }
}

/// One in full.
pub(crate) fn one(row: &Value, now: u64, width: usize) -> Vec<Line> {
    let mut lines: Vec<Line> = wrapped(&text(row, "title"), width)
        .into_iter()
        .map(|part| Line::of(part, Tone::Plain))
        .collect();
    let mut say = |what: &str, words: String| {
        let words = format!("{what}: {words}");
        let parts = wrapped(&words, width).into_iter();
        lines.extend(parts.map(|part| Line::of(part, Tone::Faint)));
    };
    let when = |value: &Value| {
        time::read(value).map(|at| format!("{} ({})", time::instant(at), time::ago(at, now)))
    };
    say("stands", stands(row, now).text);
    say("id", text(row, "id"));
    say("about", text(row, "key"));
    if let Some(at) = when(&row["opened_at"]) {
        let times = row["openings"].as_u64().filter(|times| *times > 1);
        let times = times.map_or_else(String::new, |times| {
            format!(", for the {} time", nth(times))
        });
        say("since", format!("{at}{times}"));
    }
    if let Some(at) = when(&row["resolved_at"]) {
        say("over since", at);
    }
    match when(&row["said_at"]) {
        Some(at) => say("published last", at),
        None if row["silent"] == true => say(
            "published",
            "never: alerts' own sagas are behind it".to_owned(),
        ),
        None => say("published", "not yet".to_owned()),
    }
    for (what, answered) in [
        ("seen by", &row["acknowledged"]),
        ("muted by", &row["muted"]),
    ] {
        if answered.is_object() {
            let until = time::read(&answered["until"]);
            let until = until.map_or_else(String::new, |until| {
                format!(", until {}", time::instant(until))
            });
            say(
                what,
                format!("{}: {}{until}", text(answered, "by"), text(answered, "why")),
            );
        }
    }
    say("link", text(row, "link"));
    lines
}

fn nth(n: u64) -> String {
    let ending = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{ending}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_counted_as_people_count() {
        let words = [1, 2, 3, 4, 11, 12, 13, 21, 22, 103, 111, 112].map(nth);
        assert_eq!(
            words.join(" "),
            "1st 2nd 3rd 4th 11th 12th 13th 21st 22nd 103rd 111th 112th"
        );
    }

    #[test]
    fn where_an_alert_stands_is_one_word() {
        let word = |row: Value| stands(&row, 100).text;
        assert_eq!(word(json!({ "state": "open" })), "open");
        assert_eq!(word(json!({ "state": "open", "acknowledged": {} })), "seen");
        assert_eq!(
            word(json!({ "state": "open", "muted": { "until": 101 } })),
            "muted"
        );
        assert_eq!(
            word(json!({ "state": "open", "muted": { "until": 100 } })),
            "open"
        );
        assert_eq!(
            word(json!({ "state": "resolved", "muted": { "until": 101 } })),
            "over"
        );
    }
}
