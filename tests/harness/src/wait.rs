//! Waiting on a condition with a deadline, and saying what was waited for: what tests use in place of a sleep.

use std::future::Future;
use std::panic::Location;
use std::time::{Duration, Instant};

/// How often a condition is asked at first; doubled up to [`POLL_MAX`], so that a fast condition is seen fast and a
/// slow one does not load two busy cores.
const POLL_MIN: Duration = Duration::from_millis(5);
const POLL_MAX: Duration = Duration::from_millis(100);

/// Waits until `condition` yields true. Panics at the caller's line, naming `what`, when `limit` is over.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use std::time::Duration;
/// baton_harness::await_until("the door to open", Duration::from_secs(1), async || true).await;
/// # }
/// ```
#[track_caller]
pub fn await_until<F>(what: &str, limit: Duration, mut condition: F) -> impl Future<Output = ()>
where
    F: AsyncFnMut() -> bool,
{
    await_some(what, limit, async move || condition().await.then_some(()))
}

/// Waits until `attempt` yields a value, and hands it out. Panics at the caller's line when `limit` is over.
#[track_caller]
pub fn await_some<T, F>(what: &str, limit: Duration, mut attempt: F) -> impl Future<Output = T>
where
    F: AsyncFnMut() -> Option<T>,
{
    let caller = Location::caller();
    let what = what.to_owned();
    async move {
        let started = Instant::now();
        let mut pause = POLL_MIN;
        loop {
            // a condition that hangs must not outlive the deadline either
            match tokio::time::timeout(limit.saturating_sub(started.elapsed()), attempt()).await {
                Ok(Some(value)) => return value,
                Ok(None) if started.elapsed() < limit => {}
                Ok(None) | Err(_) => panic!("{caller}: waited {limit:?} in vain for {what}"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL_MAX);
        }
    }
}
