//! How words look: colours say what a word says already, so that nothing is lost without them.

/// How a word is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Strong,
    Good,
    Bad,
    Waits,
    Faint,
}

impl Tone {
    /// How a status or phase looks.
    pub(crate) fn of(word: &str) -> Self {
        match word {
            "completed" | "succeeded" | "undone" | "approved" | "compensated" => Self::Good,
            "parked" | "undo-parked" | "failed" | "abandoned" | "doubtful" | "silent"
            | "given up" => Self::Bad,
            "compensating" | "undoing" | "unserved" | "undo-unserved" | "backoff"
            | "undo-backoff" | "probe-backoff" | "probing" | "settling" | "paused" | "asked" => {
                Self::Waits
            }
            "waiting" | "skipped" | "new" | "continued" | "not run" | "not answered"
            | "no event" | "cut short" => Self::Faint,
            _ => Self::Plain,
        }
    }

    pub(crate) const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Strong => Some("1"),
            Self::Good => Some("32"),
            Self::Bad => Some("31"),
            Self::Waits => Some("33"),
            Self::Faint => Some("2"),
        }
    }
}

/// Text in one tone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

/// One line, made of spans.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line(pub(crate) Vec<Span>);

impl Line {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn of(text: impl Into<String>, tone: Tone) -> Self {
        Self::new().with(text, tone)
    }

    pub(crate) fn plain(self, text: impl Into<String>) -> Self {
        self.with(text, Tone::Plain)
    }

    pub(crate) fn with(mut self, text: impl Into<String>, tone: Tone) -> Self {
        let text = text.into();
        if !text.is_empty() {
            self.0.push(Span { text, tone });
        }
        self
    }
}
