//! How long the tasks of one type have taken here of late, and so how many of them this worker is glad to be sent in one message: as many as are over in a moment
//! together. A type is taken for slow until it has shown that it is not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baton_messages::batch::TASKS_MAX;

/// What the tasks of one message may take, one after the other, in microseconds: no task waits longer here for those it came with, while another worker could have
/// taken it. Far below what anybody notices in a process over many systems.
const TOGETHER_US: u64 = 20_000;
/// How many tasks the mean goes back, roughly.
const WEIGHT: u64 = 64;
/// What a task of a type is taken to need that has not run here yet, in microseconds. It takes some three hundred short ones to show that it needs less.
const UNKNOWN_US: u64 = 1_000_000;

/// The decaying mean of what tasks of one type take, in microseconds, times [`WEIGHT`].
#[derive(Debug)]
pub(crate) struct Pace(AtomicU64);

impl Default for Pace {
    fn default() -> Self {
        Self(AtomicU64::new(UNKNOWN_US * WEIGHT))
    }
}

impl Pace {
    /// A task was over after so long.
    pub(crate) fn took(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX / 2);
        let next = |sum: u64| (sum - sum / WEIGHT).saturating_add(us);
        // never refused
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| Some(next(sum)));
    }

    /// How many tasks may come in one message; at least one.
    pub(crate) fn together(&self) -> usize {
        let mean_us = (self.0.load(Ordering::Relaxed) / WEIGHT).max(1);
        let fit = usize::try_from(TOGETHER_US / mean_us).unwrap_or(TASKS_MAX);
        fit.clamp(1, TASKS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(runs: &[(usize, Duration)]) -> usize {
        let pace = Pace::default();
        for (times, took) in runs {
            (0..*times).for_each(|_| pace.took(*took));
        }
        pace.together()
    }

    #[test]
    fn a_type_comes_together_only_when_it_has_shown_that_it_is_short() {
        let short = Duration::from_micros(50);
        assert_eq!(after(&[]), 1);
        assert_eq!(after(&[(100, short)]), 1);
        assert_eq!(after(&[(1_000, short)]), TASKS_MAX);
        let of_two_ms = after(&[(2_000, Duration::from_millis(2))]);
        assert!((5..=10).contains(&of_two_ms), "{of_two_ms}");
        assert_eq!(after(&[(5_000, Duration::from_millis(25))]), 1);
    }

    #[test]
    fn one_long_task_ends_it_for_a_while_and_no_duration_breaks_it() {
        let short = (2_000, Duration::from_micros(50));
        let long = (1, Duration::from_secs(60));
        assert_eq!(after(&[short, long]), 1);
        assert_eq!(after(&[short, long, short]), TASKS_MAX);
        assert_eq!(after(&[(3, Duration::MAX)]), 1);
    }
}
