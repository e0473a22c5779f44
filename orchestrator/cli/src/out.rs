//! What is printed: answers to the standard output, errors to the other; colours only on a terminal.

use std::error::Error as _;
use std::io::{IsTerminal as _, Write as _};

use serde_json::Value;

use crate::error::CliError;
use crate::table::Table;

/// The width where there is no terminal to ask.
const WIDTH_DEFAULT: usize = 120;
/// Narrower than this a table is no table.
const WIDTH_MIN: usize = 40;

/// Where answers go.
#[derive(Debug)]
pub(crate) struct Out {
    json: bool,
    colours: bool,
    width: usize,
}

/// How a word is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Bad,
    Waits,
    Faint,
}

impl Tone {
    /// How a status or phase looks.
    pub(crate) fn of(word: &str) -> Self {
        match word {
            "completed" | "succeeded" => Self::Good,
            "parked" | "undo-parked" | "failed" | "abandoned" | "doubtful" => Self::Bad,
            "compensating" | "compensated" | "undoing" | "undone" | "unserved"
            | "undo-unserved" | "backoff" | "undo-backoff" | "probing" | "settling" | "paused" => {
                Self::Waits
            }
            "waiting" | "skipped" | "new" => Self::Faint,
            _ => Self::Plain,
        }
    }

    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Bad => Some("31"),
            Self::Waits => Some("33"),
            Self::Faint => Some("2"),
        }
    }
}

impl Out {
    pub(crate) fn new(json: bool, no_color: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let unwanted = no_color || std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
        let width = terminal_size::terminal_size()
            .map(|(width, _)| usize::from(width.0))
            .filter(|_| terminal)
            .or_else(|| std::env::var("COLUMNS").ok()?.parse().ok())
            .unwrap_or(WIDTH_DEFAULT);
        Self {
            json,
            colours: terminal && !unwanted,
            width: width.max(WIDTH_MIN),
        }
    }

    /// Whether JSON was asked for.
    pub(crate) const fn wants_json(&self) -> bool {
        self.json
    }

    /// One line (or several).
    pub(crate) fn line(&mut self, text: impl AsRef<str>) {
        // a reader that has gone away needs nothing more
        let _ = writeln!(std::io::stdout(), "{}", text.as_ref());
    }

    /// An answer of the API, as it is.
    pub(crate) fn value(&mut self, value: &Value) {
        let text = serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string());
        self.line(text);
    }

    /// A table that fits.
    pub(crate) fn table(&mut self, table: &Table) {
        for line in table.lines(self.width) {
            let text: Vec<String> = line
                .into_iter()
                .map(|(text, tone)| self.coloured(&text, tone))
                .collect();
            self.line(text.join("  ").trim_end());
        }
    }

    /// A word in its colour, where colours are wanted.
    pub(crate) fn coloured(&self, text: &str, tone: Tone) -> String {
        match tone.code() {
            Some(code) if self.colours => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            _ => text.to_owned(),
        }
    }

    /// What went wrong, and what to do next.
    pub(crate) fn error(&mut self, error: &CliError) {
        let mut text = format!("error: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(&format!("\n  because: {cause}"));
            source = cause.source();
        }
        if let CliError::Problem {
            next: Some(next), ..
        } = error
        {
            text.push_str(&format!("\n  next: {next}"));
        }
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}
