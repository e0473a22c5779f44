//! The lease of one claimed run, as the worker sees it: it ends earlier here than it does for the orchestrator, so that a run is dead
//! before anybody counts it as dead.
//!
//! It counts from the last moment at which something that names this run was *sent* and later confirmed, never from the confirm: the
//! orchestrator cannot have heard it earlier. What is left of a lease is looked at on every poll of the run, before the run itself, by the
//! monotonic clock. So a process that was stopped past its lease and goes on does not take one more step.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;

use baton_messages::fleet::KILL_GRACE_MS;
use tokio::time::{Instant, sleep_until};

/// A timer may fire a moment early by rounding; looking again this much later spares a busy loop.
const TIMER_SLACK: Duration = Duration::from_millis(1);

/// How long one claimed run may go on without a sign of life that was confirmed.
#[derive(Debug)]
pub(crate) struct Lease {
    length: Duration,
    grace: Duration,
    renewed: Mutex<Instant>,
}

impl Lease {
    /// A lease of `lease_ms` that counts from `sent`.
    pub(crate) fn new(lease_ms: u64, sent: Instant) -> Self {
        let length = Duration::from_millis(lease_ms);
        Self {
            length,
            // A lease shorter than two graces still leaves half of itself for work.
            grace: Duration::from_millis(KILL_GRACE_MS).min(length / 2),
            renewed: Mutex::new(sent),
        }
    }

    /// What was sent at `sent` has been confirmed. A lease that was over by then stays over: the orchestrator may have counted the run as
    /// dead and gone on, and a grant from before, which lay in a socket meanwhile, must find that.
    pub(crate) fn renew(&self, sent: Instant) {
        let mut renewed = self.lock();
        if sent < self.killed(*renewed) {
            *renewed = renewed.max(sent);
        }
    }

    /// From here on the run is asked to stop.
    pub(crate) fn ends(&self) -> Instant {
        *self.lock() + self.length - self.grace
    }

    /// From here on the run is not polled any more.
    pub(crate) fn kills(&self) -> Instant {
        self.killed(*self.lock())
    }

    fn killed(&self, renewed: Instant) -> Instant {
        renewed + self.length - self.grace / 2
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.renewed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Ready once `at()` has passed, whatever the timer says: the clock is read on every poll. `at` may move while it waits.
pub(crate) async fn passed(at: impl Fn() -> Instant) {
    let mut sleep = pin!(sleep_until(at()));
    poll_fn(|cx| {
        let deadline = at();
        let now = Instant::now();
        if now >= deadline {
            return Poll::Ready(());
        }
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if now >= at() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at().max(now + TIMER_SLACK));
        }
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_was_over_is_not_renewed_by_what_was_sent_later() {
        let start = Instant::now();
        let lease = Lease::new(30_000, start);
        // as long as it runs what was sent counts, whenever it is confirmed
        lease.renew(start + Duration::from_millis(24_999));
        assert_eq!(lease.kills(), start + Duration::from_millis(49_999));
        // stopped past its end, then a heartbeat before the run is looked at
        lease.renew(start + Duration::from_millis(49_999));
        lease.renew(start + Duration::from_millis(90_000));
        assert_eq!(lease.kills(), start + Duration::from_millis(49_999));
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_moves_the_end_and_an_older_one_does_not_move_it_back() {
        let start = Instant::now();
        let lease = Lease::new(30_000, start);
        assert_eq!(lease.ends(), start + Duration::from_secs(20));
        assert_eq!(lease.kills(), start + Duration::from_secs(25));
        lease.renew(start + Duration::from_secs(5));
        lease.renew(start + Duration::from_secs(3));
        assert_eq!(lease.ends(), start + Duration::from_secs(25));
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_lease_leaves_half_of_itself_for_work() {
        let start = Instant::now();
        let lease = Lease::new(2_000, start);
        assert_eq!(lease.ends(), start + Duration::from_secs(1));
        assert_eq!(lease.kills(), start + Duration::from_millis(1_500));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_follows_a_moving_end() {
        let start = Instant::now();
        let lease = std::sync::Arc::new(Lease::new(2_000, start));
        let renewing = lease.clone();
        let renewer = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(500)).await;
            renewing.renew(Instant::now());
        });
        passed(|| lease.ends()).await;
        renewer.await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(1_500));
    }
}
