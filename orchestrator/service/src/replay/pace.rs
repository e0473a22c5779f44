//! How fast the letters of one operation set out.
//!
//! Guarantee: since it began there were never more of them than its rate says for the time that has passed; and after it was held up never more at once than a burst.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How much of the time in which it was held up is caught up with: a commit between two pieces is, and an answer of the broker that was long in coming is not. The
/// burst is as many letters as the rate says for it, and one.
const BURST: Duration = Duration::from_millis(100);

/// A moment for each letter. A timer wakes once in a millisecond at most, so that all that are due by then go at once.
#[derive(Debug)]
pub(super) struct Pace {
    each: Duration,
    /// When the next one may go.
    due: Instant,
}

impl Pace {
    /// So many a second, from now on: the first waits for its moment too, since whoever is held up begins anew.
    pub(super) fn new(rate: u32) -> Self {
        let each = Duration::from_secs(1) / rate.max(1);
        let due = Instant::now() + each;
        Self { each, due }
    }

    /// Waits for the moment of the next one. Dropped before, none is lost.
    pub(super) async fn tick(&mut self) {
        let now = Instant::now();
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        self.due = self.due.max(earliest);
        if self.due > now {
            sleep_until(self.due).await;
        }
        self.due += self.each;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    /// How many may have gone.
    fn due(rate: u32, passed: Duration) -> u128 {
        passed.as_nanos() * u128::from(rate) / Duration::from_secs(1).as_nanos()
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_go_as_the_rate_says_however_fast_and_never_more() {
        let all = Duration::from_secs(3);
        for rate in [1, 4, 50, 1_000, 5_000, 10_000] {
            let began = Instant::now();
            let mut pace = Pace::new(rate);
            let mut gone = 0;
            while began.elapsed() < all {
                pace.tick().await;
                gone += 1;
                let may = due(rate, began.elapsed());
                assert!(gone <= may, "{rate}: {gone} after {:?}", began.elapsed());
            }
            // a timer is late by a millisecond at most
            let least = due(rate, all - Duration::from_millis(2)).saturating_sub(1);
            assert!(gone >= least, "{rate}: only {gone}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_it_was_held_up_no_more_go_at_once_than_a_burst() {
        for rate in [1, 4, 50, 5_000] {
            let mut pace = Pace::new(rate);
            pace.tick().await;
            tokio::time::advance(Duration::from_secs(60)).await;
            let mut at_once = 0;
            while pace.tick().now_or_never().is_some() {
                at_once += 1;
            }
            let burst = due(rate, BURST) + 1;
            assert_eq!(at_once, burst, "{rate}");
        }
    }
}
