//! Events that were kept, and what they caused.

use serde::Deserialize;
use serde_json::Value;

use super::fleet::text;
use crate::out::{Column, Line, Table, Tone, cell, plain, short, wrapped};
use crate::time;

/// A kept event, as the API shows it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Kept {
    pub(crate) event: Value,
    received_at: u64,
    /// Whether all that it causes is committed.
    done: bool,
    effects: Vec<Effect>,
}

/// One thing it caused.
#[derive(Debug, Clone, Deserialize)]
struct Effect {
    /// One of [`CAUSES`].
    what: String,
    saga: Option<String>,
    step: Option<String>,
    trigger: Option<OfTrigger>,
    error: Option<String>,
    /// Why a saga was asked to cancel.
    reason: Option<String>,
    /// Why there was none to cancel.
    why: Option<String>,
}

/// The trigger by which.
#[derive(Debug, Clone, Deserialize)]
struct OfTrigger {
    definition: String,
    version: u32,
}

/// The list.
pub(crate) fn table(rows: &[Kept], now: u64) -> Table {
    let mut table = Table::new(&[
        Column::new("received").rank(2).right(),
        Column::new("type").cut(16),
        Column::new("id").cut(8),
        Column::new("source").rank(3).cut(10),
        Column::new("subject").rank(4).cut(8),
        Column::new("caused").cut(26),
    ]);
    for row in rows {
        let at = time::ago(row.received_at, now);
        let event = &row.event;
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

/// What an event may cause.
const CAUSES: [&str; 6] = [
    "started",
    "joined",
    "woke",
    "asked-to-cancel",
    "nothing-to-cancel",
    "refused",
];

/// `1 started, 2 woke`.
fn caused(row: &Kept) -> String {
    let counts = CAUSES.iter().filter_map(|what| {
        let count = row.effects.iter().filter(|one| one.what == *what).count();
        (count > 0).then(|| format!("{count} {}", words(what)))
    });
    counts.collect::<Vec<_>>().join(", ")
}

/// One of them.
pub(crate) fn one(row: &Kept, now: u64, width: usize) -> Vec<Line> {
    let event = &row.event;
    let mut lines = vec![
        Line::of(text(event, "type"), Tone::Strong)
            .plain("  ")
            .plain(text(event, "id")),
    ];
    let mut facts = vec![format!("source {}", text(event, "source"))];
    if let Some(subject) = event["subject"].as_str() {
        facts.push(format!("subject {subject}"));
    }
    facts.push(format!(
        "received {} ({})",
        time::ago(row.received_at, now),
        time::instant(row.received_at)
    ));
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

fn effects(row: &Kept, width: usize) -> Vec<Line> {
    let mut lines: Vec<Line> = row
        .effects
        .iter()
        .flat_map(|one| effect(one, width))
        .collect();
    if !row.done {
        lines.push(Line::faint("not all that it causes is committed yet"));
    } else if lines.is_empty() {
        lines.push(Line::faint("it has started, joined and woken nothing"));
    }
    lines
}

/// What was caused, as it is said.
fn words(what: &str) -> String {
    what.replace('-', " ")
}

fn effect(one: &Effect, width: usize) -> Vec<Line> {
    let trigger = one.trigger.as_ref().map_or_else(String::new, |of| {
        format!("  {}@{}", of.definition, of.version)
    });
    let step = one
        .step
        .as_ref()
        .map_or_else(String::new, |step| format!("  step {step}"));
    let saga = short(one.saga.as_deref().unwrap_or_default(), width);
    let tone = match (&one.error, &one.why) {
        (Some(_), _) => Tone::Bad,
        (None, Some(_)) => Tone::Faint,
        (None, None) => Tone::Good,
    };
    let said = format!("  {saga}{trigger}{step}");
    let mut lines =
        vec![Line::of(words(&one.what), tone).plain(format!("  {}", said.trim_start()))];
    let said = [&one.error, &one.reason, &one.why];
    for why in said.into_iter().flatten().filter(|why| !why.is_empty()) {
        lines.extend(wrapped(why, width).into_iter().map(Line::faint));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::out::Screen;

    #[test]
    fn what_was_asked_to_cancel_and_what_was_not_is_told_with_the_reason() {
        let trigger = json!({ "definition": "treat", "version": 1, "trigger": 1 });
        let row: Kept = serde_json::from_value(json!({
            "event": {}, "received_at": 0, "done": true, "effects": [
                { "what": "asked-to-cancel", "trigger": trigger, "saga": "s-1", "key": "k", "reason": "the alarm is over" },
                { "what": "nothing-to-cancel", "trigger": trigger, "saga": null, "key": "k", "why": "no saga has this key" },
            ],
        }))
        .unwrap();
        assert_eq!(caused(&row), "1 asked to cancel, 1 nothing to cancel");
        let mut screen = Screen::kept(160);
        for line in effects(&row, 160) {
            screen.line(&line);
        }
        assert_eq!(
            screen.text(),
            "asked to cancel  s-1  treat@1
the alarm is over
nothing to cancel  treat@1
no saga has this key
"
        );
    }
}
