//! What happened, in order: the last lines kept for whoever has to understand a failure, and a hash over all of them by which two runs
//! of one seed are held against each other.

use std::collections::VecDeque;

/// Lines kept; enough to see how a saga of seven steps came to its end.
const LINES_KEPT: usize = 4_000;

/// The trace of one simulation.
#[derive(Debug, Default)]
pub struct Trace {
    lines: VecDeque<String>,
    hash: u64,
    count: u64,
    whole: bool,
}

impl Trace {
    /// A trace; `whole` keeps every line.
    #[must_use]
    pub const fn new(whole: bool) -> Self {
        Self {
            lines: VecDeque::new(),
            hash: 0xcbf2_9ce4_8422_2325,
            count: 0,
            whole,
        }
    }

    /// Notes what happened at `now_ms`.
    pub fn note(&mut self, now_ms: u64, what: &str) {
        for byte in now_ms.to_le_bytes().iter().chain(what.as_bytes()) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.count += 1;
        if !self.whole && self.lines.len() >= LINES_KEPT {
            self.lines.pop_front();
        }
        self.lines
            .push_back(format!("{:>9}.{:03} {what}", now_ms / 1000, now_ms % 1000));
    }

    /// The hash over everything noted.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many lines were noted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The lines kept, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}
