//! Every attempt of a saga, a row each, undos and probes on rows of their own: by whom, when, how long, and what came of it.

use crate::out::{Column, Line, Table, Tone, cell, plain};
use crate::time;
use crate::view::{PastAttempt, Saga};

/// The list.
pub(crate) fn lines(saga: &Saga, now: u64, width: usize) -> Vec<Line> {
    if saga.attempts.is_empty() {
        return vec![Line::faint("(no attempt yet)")];
    }
    let mut lines = table(&saga.attempts, now).lines(width);
    if saga.attempts_left_out > 0 {
        let words = format!(
            "and {} older ones; all of it: baton show SAGA --records",
            saga.attempts_left_out
        );
        lines.push(Line::faint(words));
    }
    lines
}

/// A row for each attempt, with what went wrong below it.
pub(crate) fn table(attempts: &[PastAttempt], now: u64) -> Table {
    let mut table = Table::new(&[
        Column::new("step").cut(12),
        Column::new("attempt"),
        Column::new("outcome"),
        Column::new("took").right(),
        Column::new("started").rank(2),
        Column::new("waited").rank(3).right(),
        Column::new("worker").rank(1).cut(10),
    ]);
    for one in attempts {
        let end = one.ended_at.unwrap_or(now);
        let span = |from: Option<u64>, to: u64| {
            plain(from.map_or_else(String::new, |from| time::span(to.saturating_sub(from))))
        };
        let word = one.outcome.as_deref().unwrap_or(match one.started_at {
            Some(_) => "running",
            None => "waiting",
        });
        let started = one.started_at.map_or_else(String::new, |at| clock(at, now));
        let cells = vec![
            plain(one.step.as_str()),
            plain(name(one)),
            cell(word.replace('-', " "), tone(word)),
            span(one.started_at, end),
            cell(started, Tone::Faint),
            span(Some(one.sent_at), one.started_at.unwrap_or(end)),
            cell(one.worker.as_deref().unwrap_or_default(), Tone::Faint),
        ];
        let mut below = Vec::new();
        if let Some(failure) = &one.failure {
            let words = format!("{}: {}", failure.code, failure.message);
            below.push(cell(words, Tone::Bad));
        }
        if let Some(reason) = &one.reason {
            below.push(cell(reason.as_str(), Tone::Faint));
        }
        table.row_with(cells, below);
    }
    table
}

/// `do 2`, `undo 1 of round 2`, `do 1, sent 3 times`.
fn name(one: &PastAttempt) -> String {
    let mut text = format!("{} {}", one.direction, one.number);
    if one.round > 1 {
        text.push_str(&format!(" of round {}", one.round));
    }
    if one.sent > 1 {
        text.push_str(&format!(", sent {} times", one.sent));
    }
    text
}

/// `14:00:05Z`, of another day `11-28 14:00:05Z`: the year is known.
fn clock(at: u64, now: u64) -> String {
    let (whole, today) = (time::instant(at), time::instant(now));
    let begins = if whole.get(..10) == today.get(..10) {
        11
    } else {
        5
    };
    whole.get(begins..).unwrap_or(&whole).to_owned()
}

fn tone(outcome: &str) -> Tone {
    match outcome {
        "succeeded" | "happened" | "did-not-happen" => Tone::Good,
        "failed" | "unknown" | "cannot-tell" => Tone::Bad,
        _ => Tone::Waits,
    }
}
