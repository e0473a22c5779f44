//! What is printed: answers to the standard output, errors and progress to the other; colours only on a terminal.

mod screen;
mod table;
mod text;
mod tone;

use std::error::Error as _;
use std::io::IsTerminal as _;

use serde_json::Value;

pub(crate) use screen::Screen;
pub(crate) use table::{Column, Table, cell, plain};
pub(crate) use text::{cut, escaped, width, wrapped};
pub(crate) use tone::{Line, Span, Tone};

use crate::args::Global;
use crate::error::CliError;

/// From this width on an id is shown whole.
pub(crate) const WHOLE_ID_WIDTH: usize = 100;
/// Before what to do about an error.
pub(crate) const NEXT: &str = "  next: ";
/// So many characters of an id tell sagas apart, and are taken instead of it.
const SHORT_ID_CHARS: usize = 8;

/// Where answers go.
pub(crate) struct Out {
    json: bool,
    /// The command that was typed: `token create`.
    command: String,
    /// Answers.
    pub(crate) screen: Screen,
    /// Errors, progress, questions.
    pub(crate) side: Screen,
}

impl Out {
    pub(crate) fn new(global: &Global, command: String) -> Self {
        Self {
            json: global.json,
            command,
            screen: Screen::stdout(global.no_color),
            side: Screen::stderr(global.no_color),
        }
    }

    /// Whether JSON was asked for.
    pub(crate) const fn wants_json(&self) -> bool {
        self.json
    }

    /// One line of plain text.
    pub(crate) fn line(&mut self, text: impl Into<String>) {
        self.screen.line(&Line::of(text, Tone::Plain));
    }

    /// One line.
    pub(crate) fn say(&mut self, line: &Line) {
        self.screen.line(line);
    }

    /// Words, wrapped, so many cells to the right.
    pub(crate) fn words(&mut self, indent: usize, words: &str, tone: Tone) {
        let room = self.screen.width().saturating_sub(indent).max(20);
        let lead = " ".repeat(indent);
        for part in wrapped(words, room) {
            self.screen
                .line(&Line::new().plain(lead.as_str()).with(part, tone));
        }
    }

    /// What to type next; never wrapped, so that it can be copied.
    pub(crate) fn next(&mut self, what: &str, command: &str) {
        self.screen
            .line(&Line::of(format!("{what}: "), Tone::Faint).plain(command));
    }

    /// An answer of the API, as it is: one document.
    pub(crate) fn value(&mut self, value: &Value) {
        let text = serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string());
        self.screen.raw(&text::escaped_json(&text));
        self.screen.raw("\n");
    }

    /// One item on one line, at once: somebody reads along.
    pub(crate) fn item(&mut self, value: &Value) {
        self.screen.raw(&text::escaped_json(&value.to_string()));
        self.screen.raw("\n");
        self.screen.flush();
    }

    /// A table that fits, or `(none)` with a word on why there may be none.
    pub(crate) fn table(&mut self, table: &Table, none: &str) {
        if table.is_empty() {
            self.words(0, none, Tone::Faint);
        }
        for line in table.lines(self.screen.width()) {
            if !table.is_empty() {
                self.screen.line(&line);
            }
        }
    }

    /// A saga's id as long as there is room for.
    pub(crate) fn id<'i>(&self, id: &'i str) -> &'i str {
        short(id, self.screen.width())
    }

    /// Whether there is a person to ask.
    fn asks(&self) -> bool {
        !self.json && self.side.is_terminal() && std::io::stdin().is_terminal()
    }

    /// The same as [`Self::agreed`] for what is done to many at once: where nobody can be asked, it has to have been said. `what`: what would be done, with how many.
    pub(crate) fn agreed_of_many(
        &mut self,
        what: &str,
        question: &str,
        yes: bool,
    ) -> Result<bool, CliError> {
        if !yes && !self.asks() {
            return Err(CliError::usage_then(
                format!("this would {what}, and nobody can be asked here: nothing was done"),
                "the same with -y",
            ));
        }
        self.agreed(question, yes)
    }

    /// Asks before something is done that cannot be taken back. Only a person at a terminal is asked; a script has said what it wants.
    pub(crate) fn agreed(&mut self, question: &str, yes: bool) -> Result<bool, CliError> {
        if yes || !self.asks() {
            return Ok(true);
        }
        self.screen.flush();
        let question = escaped(question).into_owned();
        self.side.raw(&format!("{question} [y/N] "));
        self.side.flush();
        let mut answer = String::new();
        std::io::stdin()
            .read_line(&mut answer)
            .map_err(|source| CliError::Terminal { source })?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    /// What went wrong with a command, and what to do next.
    pub(crate) fn error(&mut self, error: &CliError) {
        self.screen.flush();
        let side = &mut self.side;
        let told = error.to_string();
        for (n, line) in told.lines().enumerate() {
            let lead = if n == 0 { "error: " } else { "" };
            let parts = fitted(line, side, lead.len());
            for (m, part) in parts.into_iter().enumerate() {
                let lead = if m == 0 { lead } else { "  " };
                side.line(&Line::of(lead, Tone::Bad).plain(part));
            }
        }
        let mut source = error.source();
        while let Some(cause) = source {
            side.line(&Line::faint("  because: ").plain(cause.to_string()));
            source = cause.source();
        }
        if let Some(next) = error.next(&self.command) {
            for (n, part) in fitted(&next, side, NEXT.len()).into_iter().enumerate() {
                let lead = if n == 0 { NEXT } else { "        " };
                side.line(&Line::faint(lead).plain(part));
            }
        }
        side.flush();
    }

    /// A word beside the answer.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.screen.flush();
        for part in fitted(&text.into(), &self.side, 0) {
            self.side.line(&Line::of(part, Tone::Plain));
        }
        self.side.flush();
    }
}

/// A line in parts that a terminal does not break inside a word; elsewhere, as it is. What is set in stays so.
fn fitted(line: &str, screen: &Screen, lead: usize) -> Vec<String> {
    let room = screen.width().saturating_sub(lead);
    if !screen.is_terminal() || width(line) <= room {
        return vec![line.to_owned()];
    }
    let indent = &line[..line.len() - line.trim_start().len()];
    let parts = wrapped(line, room.saturating_sub(indent.len()).max(20));
    parts
        .into_iter()
        .map(|part| format!("{indent}{part}"))
        .collect()
}

/// A saga's id, whole where there is room.
pub(crate) fn short(id: &str, width: usize) -> &str {
    if width >= WHOLE_ID_WIDTH {
        return id;
    }
    id.get(..SHORT_ID_CHARS).unwrap_or(id)
}
