//! What operators did, an action each.

use serde_json::Value;

use super::fleet::text;
use crate::out::{Column, Span, Table, Tone, cell, plain, short};
use crate::time;

/// The list.
pub(crate) fn table(rows: &[Value], now: u64, width: usize) -> Table {
    let mut table = Table::new(&[
        Column::new("row").rank(3).right(),
        Column::new("when").rank(1).right(),
        Column::new("who").cut(10),
        Column::new("action").cut(14),
        Column::new("on").cut(16),
        Column::new("came").cut(8),
        Column::new("from").rank(4),
    ]);
    for row in rows {
        let at = time::read(&row["at"]).map_or_else(String::new, |at| time::ago(at, now));
        let cells = vec![
            cell(row["seq"].to_string(), Tone::Faint),
            plain(at),
            plain(who(row)),
            plain(text(row, "action")),
            plain(object(row, width)),
            came(row),
            cell(text(row, "from"), Tone::Faint),
        ];
        let why = text(row, "why");
        let mut below = Vec::new();
        if !why.is_empty() {
            below.push(cell(why, Tone::Faint));
        }
        if let Some(change) = change(row) {
            below.push(cell(change, Tone::Faint));
        }
        table.row_with(cells, below);
    }
    table
}

fn who(row: &Value) -> String {
    match text(row, "behalf") {
        behalf if behalf.is_empty() || behalf == text(row, "who") => text(row, "who"),
        behalf => format!("{} for {behalf}", text(row, "who")),
    }
}

/// The object, an id in it as short as everywhere else.
fn object(row: &Value, width: usize) -> String {
    let object = text(row, "object");
    let named = match object.rsplit_once('/') {
        Some((kind, id)) if id.len() == 36 => format!("{kind}/{}", short(id, width)),
        Some(_) | None => object,
    };
    match text(row, "part") {
        part if part.is_empty() => named,
        part => format!("{named} {part}"),
    }
}

fn came(row: &Value) -> Span {
    let status = row["outcome"]["status"].as_u64();
    let problem = row["outcome"]["problem"].as_str();
    match (text(row, "phase").as_str(), status) {
        ("asked", _) => cell("not known", Tone::Waits),
        ("refused", _) => cell("refused", Tone::Bad),
        ("seen", _) => cell("shown", Tone::Plain),
        (_, Some(status)) if status < 300 => cell("done", Tone::Good),
        (_, Some(status)) => {
            let words = problem.map_or_else(|| status.to_string(), str::to_owned);
            cell(words, Tone::Bad)
        }
        (phase, None) => cell(phase.to_owned(), Tone::Faint),
    }
}

/// What stood otherwise afterwards: `status running → compensating`.
fn change(row: &Value) -> Option<String> {
    let (before, after) = (row["before"].as_object(), row["after"].as_object()?);
    let word = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let changed = after.iter().filter_map(|(name, now)| {
        let was = before.and_then(|before| before.get(name));
        match was {
            Some(was) if was == now => None,
            Some(was) => Some(format!("{name} {} → {}", word(was), word(now))),
            None if now.is_null() => None,
            None => Some(format!("{name} {}", word(now))),
        }
    });
    let changed: Vec<String> = changed.collect();
    (!changed.is_empty()).then(|| changed.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_changed_is_said_and_what_did_not_is_not() {
        let row = json!({
            "before": { "state": "dead", "replays": 1 }, "after": { "state": "discarded", "replays": 1, "new": null },
        });
        assert_eq!(change(&row).unwrap(), "state dead → discarded");
        assert_eq!(change(&json!({ "before": { "a": 1 } })), None);
    }

    #[test]
    fn an_action_of_which_nobody_knows_the_end_says_so() {
        let row = json!({ "phase": "asked" });
        assert_eq!(came(&row).text, "not known");
        let row = json!({ "phase": "done", "outcome": { "status": 409, "problem": "ended" } });
        assert_eq!(came(&row).text, "ended");
    }
}
