//! `for_each`: a step that is done for each item of a list.

use crate::expr::Template;
use crate::fan::ITEMS_MAX;

/// What a step says of being done for each item of a list.
#[derive(Debug, Clone)]
pub struct FanOut {
    /// `for_each`: yields the list; computed once, when the step begins.
    pub items: Template,
    /// `max_items`: how long the list may be, where the step says so.
    pub max_items: Option<u32>,
    /// `max_parallel`: how many are under way at once; at most [`crate::fan::PARALLEL_MAX`].
    pub max_parallel: u32,
    /// `tolerate`: how many may fail.
    pub tolerate: Tolerate,
}

/// How many items may fail without the step failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tolerate {
    /// So many.
    Count(u32),
    /// So many of a hundred, rounded down.
    Percent(u32),
}

impl FanOut {
    /// How long the list may be.
    #[must_use]
    pub fn most(&self) -> u32 {
        self.max_items.unwrap_or(ITEMS_MAX).min(ITEMS_MAX)
    }
}

impl Tolerate {
    /// How many of a list of `items`.
    #[must_use]
    pub fn of(self, items: u32) -> u32 {
        match self {
            Self::Count(count) => count.min(items),
            Self::Percent(percent) => {
                let share = u64::from(items) * u64::from(percent.min(100)) / 100;
                u32::try_from(share).unwrap_or(items)
            }
        }
    }

    /// Whether any may.
    #[must_use]
    pub const fn any(self) -> bool {
        matches!(self, Self::Count(1..) | Self::Percent(1..))
    }
}

impl std::fmt::Display for Tolerate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}
