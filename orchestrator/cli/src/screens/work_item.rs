//! One work item, whole: what can be done about it by which command, what went wrong, what was tried and with what, and what goes on meanwhile.

use serde::Deserialize;
use serde_json::Value;

use super::{attempts, work};
use crate::out::{Column, Line, Table, Tone, cell, plain, short, wrapped};
use crate::time;
use crate::view::{Item, PastAttempt};

/// Characters of an input that are shown; the rest is told by its size.
const INPUT_CHARS_MAX: usize = 1_000;

/// One work item, as the API tells it.
#[derive(Debug, Deserialize)]
pub(crate) struct Detail {
    pub(crate) saga: String,
    pub(crate) item: Item,
    choices: Vec<Offer>,
    tried: Tried,
    inputs: Vec<Input>,
    errors: Vec<Failed>,
    decisions: Vec<Decision>,
    meanwhile: Meanwhile,
    #[serde(default)]
    paused: bool,
}

/// One thing that can be done.
#[derive(Debug, Deserialize)]
struct Offer {
    choice: String,
    does: String,
    command: String,
    refused: Option<String>,
    #[serde(default)]
    task_types: Vec<String>,
    #[serde(default)]
    more: u64,
}

#[derive(Debug, Deserialize)]
struct Tried {
    attempts: Vec<PastAttempt>,
    left_out: u64,
}

#[derive(Debug, Deserialize)]
struct Input {
    direction: String,
    round: u32,
    task: String,
    pool: String,
    at: u64,
    input: Option<Value>,
    bytes: u64,
    #[serde(default)]
    difference: String,
}

#[derive(Debug, Deserialize)]
struct Failed {
    code: String,
    message: String,
    at: Option<u64>,
    times: u64,
}

#[derive(Debug, Deserialize)]
struct Decision {
    at: u64,
    action: String,
    by: String,
    reason: String,
    round: u32,
}

#[derive(Debug, Deserialize)]
struct Meanwhile {
    under_way: Vec<Going>,
    left_out: u64,
    settled: u64,
    waiting: u64,
    other_items: u64,
}

#[derive(Debug, Deserialize)]
struct Going {
    step: String,
    phase: String,
    why: Option<String>,
}

impl Detail {
    /// All of it, in the order it is needed in.
    pub(crate) fn lines(&self, now: u64, width: usize) -> Vec<Line> {
        let mut lines = work::about(&self.saga, &self.item, now, width);
        lines.extend(self.commands(width));
        let parts = [
            ("not now", self.refused(width)),
            ("last errors", self.errors(now, width)),
            ("tried with", self.inputs(now, width)),
            ("attempts", self.attempts(now, width)),
            ("decided before", self.decisions(now, width)),
            ("meanwhile", self.meanwhile(width)),
        ];
        for (title, part) in parts {
            if !part.is_empty() {
                lines.push(Line::of(format!("  {title}"), Tone::Strong));
                lines.extend(part);
            }
        }
        lines
    }

    fn commands(&self, width: usize) -> Vec<Line> {
        let mut table = Table::new(&[Column::new(""), Column::new("").rank(1).cut(12)]);
        if let Some((command, meaning)) = work::takes(&self.saga, &self.item, width) {
            table.row(vec![
                plain(format!("    {command}")),
                cell(meaning, Tone::Faint),
            ]);
        }
        let id = short(&self.saga, width);
        for one in self.choices.iter().filter(|one| one.refused.is_none()) {
            let command = one.command.replace(&self.saga, id);
            table.row(vec![
                plain(format!("    {command}")),
                cell(one.does.as_str(), Tone::Faint),
            ]);
        }
        let mut lines = table.lines(width);
        let named = self.choices.iter().flat_map(|one| &one.task_types);
        let named: Vec<&str> = named.map(String::as_str).collect();
        let more: u64 = self.choices.iter().map(|one| one.more).sum();
        let more = match (named.is_empty(), more) {
            (true, _) | (_, 0) => String::new(),
            (false, more) => format!(", … and {more} more"),
        };
        if named.len() > 1 || !more.is_empty() {
            let words = format!("--task: {}{more}", named.join(", "));
            lines.extend(below(&words, width));
        }
        lines
    }

    fn refused(&self, width: usize) -> Vec<Line> {
        let refused = self.choices.iter().filter_map(|one| {
            let why = one.refused.as_ref()?;
            Some(format!("{}: {why}", one.choice))
        });
        refused.flat_map(|text| below(&text, width)).collect()
    }

    fn errors(&self, now: u64, width: usize) -> Vec<Line> {
        let said = |one: &Failed| {
            let times = match one.times {
                1 => String::new(),
                n => format!("{n} times, "),
            };
            let last = one.at.map_or_else(String::new, |at| time::ago(at, now));
            below(
                &format!("{}: {} ({times}{last})", one.code, one.message),
                width,
            )
        };
        self.errors.iter().flat_map(said).collect()
    }

    fn inputs(&self, now: u64, width: usize) -> Vec<Line> {
        let mut lines = Vec::new();
        for one in &self.inputs {
            let facts = format!(
                "{} of round {}: {} in pool {}, {}",
                one.direction,
                one.round,
                one.task,
                one.pool,
                time::ago(one.at, now)
            );
            lines.extend(below(&facts, width));
            // what differs is what whoever edited it looks for
            let differs = !one.difference.is_empty();
            let text = match (&one.input, differs) {
                (_, true) => one.difference.clone(),
                (None, false) => format!("{} bytes: baton show SAGA --json has it", one.bytes),
                (Some(input), false) => cut(&input.to_string()),
            };
            for part in wrapped(&text, width.saturating_sub(6)) {
                lines.push(Line::faint(format!("      {part}")));
            }
        }
        lines
    }

    fn attempts(&self, now: u64, width: usize) -> Vec<Line> {
        if self.tried.attempts.is_empty() {
            return Vec::new();
        }
        let mut lines = attempts::table(&self.tried.attempts, now).lines(width);
        if self.tried.left_out > 0 {
            let text = format!("and {} older ones", self.tried.left_out);
            lines.extend(below(&text, width));
        }
        lines
    }

    fn decisions(&self, now: u64, width: usize) -> Vec<Line> {
        let said = |one: &Decision| {
            let text = format!(
                "{} by {} {}, round {}: {}",
                one.action,
                one.by,
                time::ago(one.at, now),
                one.round,
                one.reason
            );
            below(&text, width)
        };
        self.decisions.iter().flat_map(said).collect()
    }

    fn meanwhile(&self, width: usize) -> Vec<Line> {
        let known = &self.meanwhile;
        let mut lines: Vec<Line> = Vec::new();
        for one in &known.under_way {
            let why = one.why.as_ref();
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            lines.extend(below(&format!("{} is {}{why}", one.step, one.phase), width));
        }
        let counts = [
            (known.left_out, "more under way"),
            (known.settled, "settled"),
            (known.waiting, "waiting for others"),
            (known.other_items, "other work items open"),
        ];
        let said = counts.iter().filter(|(n, _)| *n > 0);
        let mut said: Vec<String> = said.map(|(n, word)| format!("{n} {word}")).collect();
        if self.paused {
            said.push("the saga is paused".to_owned());
        }
        if !said.is_empty() {
            lines.extend(below(&said.join(", "), width));
        }
        lines
    }
}

fn below(text: &str, width: usize) -> Vec<Line> {
    let parts = wrapped(text, width.saturating_sub(4));
    let line = |part: String| Line::new().plain("    ").with(part, Tone::Faint);
    parts.into_iter().map(line).collect()
}

/// The beginning of a long text.
fn cut(text: &str) -> String {
    match text.char_indices().nth(INPUT_CHARS_MAX) {
        None => text.to_owned(),
        Some((at, _)) => {
            let begins = text.get(..at).unwrap_or_default();
            format!("{begins}… ({} bytes in all)", text.len())
        }
    }
}
