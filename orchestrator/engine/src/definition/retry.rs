//! How often and when something is tried again. What is `None` here comes from the task type's manifest.

use std::num::NonZeroU32;

/// The most attempts that may be asked for by number; who wants more means `forever`.
pub(super) const ATTEMPTS_MAX: u32 = 1_000;
/// The largest factor: beyond it the second wait is already the longest.
pub(super) const FACTOR_MAX: f64 = 100.0;

/// The `retry:` of a step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RetryPolicy {
    /// Attempts in all.
    pub attempts: Option<Attempts>,
    /// Wait before the second attempt, in milliseconds.
    pub backoff_ms: Option<u64>,
    /// What the wait is multiplied by each time; at least 1.
    pub factor: Option<f64>,
    /// The longest wait, in milliseconds.
    pub max_ms: Option<u64>,
    /// How waits are spread.
    pub jitter: Option<Jitter>,
}

/// How many attempts there are in all, the first included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempts {
    /// So many.
    Times(NonZeroU32),
    /// Until it succeeds or a person ends it.
    Forever,
}

/// How waits are spread, so that many sagas do not try again in the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Anything from nothing to the whole wait.
    Full,
    /// Exactly the wait.
    None,
}
