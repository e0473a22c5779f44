//! Looking at something until it is as wanted: what every `check.*` shares. The pauses grow, the whole is bounded, and what was seen last is
//! said when it never came.

use std::time::Duration;

use baton_worker::{Context, TaskError};
use tokio::time::Instant;

/// The first pause between two looks; doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause: what has come up should not be waited for much longer.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long one look may take; shorter towards the end, but for the last one never less than [`LOOK_WAIT_MIN`].
const LOOK_WAIT: Duration = Duration::from_secs(10);
/// See [`LOOK_WAIT`].
const LOOK_WAIT_MIN: Duration = Duration::from_secs(1);
/// Kept from the time limit, to say what was seen.
const TIME_TO_SAY: Duration = Duration::from_millis(500);

/// What one look found.
pub(crate) enum Look<S> {
    /// It is as wanted.
    Good(S),
    /// It is not, yet; why not.
    NotYet(String),
    /// Looking again is of no use.
    Never(TaskError),
}

/// Something that can be looked at.
pub(crate) trait Looks: Sync {
    /// What is seen when it is as wanted.
    type Seen: Send;

    /// What is looked at, for people.
    fn at(&self) -> &str;

    /// Looks once, until `deadline`.
    fn look(&self, deadline: Instant) -> impl Future<Output = Look<Self::Seen>> + Send;
}

/// What was seen, and what it took.
pub(crate) struct Seen<S> {
    pub(crate) seen: S,
    pub(crate) tries: u32,
    pub(crate) took_ms: u64,
}

/// Looks until it is good, `within` is over (zero: once), or the run has to end.
pub(crate) async fn until<L: Looks>(
    context: &Context,
    within: Duration,
    looks: &L,
) -> Result<Seen<L::Seen>, TaskError> {
    let began = Instant::now();
    let ends = began + within;
    let limit = began + context.remaining().saturating_sub(TIME_TO_SAY);
    // the last look begins when the time is over, or while the run still has the time for one
    let last = ends.min(limit.checked_sub(LOOK_WAIT_MIN).unwrap_or(began));
    let mut pause = PAUSE_MIN;
    let mut tries = 0;
    loop {
        tries += 1;
        let wait = if within.is_zero() {
            LOOK_WAIT
        } else {
            let left = ends.saturating_duration_since(Instant::now());
            left.clamp(LOOK_WAIT_MIN, LOOK_WAIT)
        };
        let looked = tokio::select! {
            () = context.cancelled().cancelled() => return Err(stopped(looks.at())),
            looked = looks.look(limit.min(Instant::now() + wait)) => looked,
        };
        let why = match looked {
            Look::Good(seen) => {
                let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                return Ok(Seen {
                    seen,
                    tries,
                    took_ms,
                });
            }
            Look::Never(error) => return Err(error),
            Look::NotYet(why) => why,
        };
        let left = last.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(never_came(looks.at(), tries, began.elapsed(), &why));
        }
        tokio::select! {
            () = context.cancelled().cancelled() => return Err(stopped(looks.at())),
            () = tokio::time::sleep(pause.min(left)) => {}
        }
        pause = pause.saturating_mul(2).min(PAUSE_MAX);
    }
}

fn never_came(at: &str, tries: u32, took: Duration, why: &str) -> TaskError {
    let took_s = took.as_secs_f64();
    let times = if tries == 1 { "try" } else { "tries" };
    let message = format!("{at} is not as expected after {tries} {times} in {took_s:.1} s: {why}");
    TaskError::failed("not-as-expected", message).retryable()
}

fn stopped(at: &str) -> TaskError {
    TaskError::failed("stopped", format!("stopped while it was looking at {at}")).retryable()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use baton_worker::Direction;
    use baton_worker::testing::TestStep;

    use super::*;

    /// Never good; remembers when it was looked at.
    struct Never {
        began: Instant,
        looks: Mutex<Vec<Duration>>,
    }

    impl Looks for Never {
        type Seen = ();

        fn at(&self) -> &str {
            "nothing"
        }

        async fn look(&self, _: Instant) -> Look<()> {
            let mut looks = self.looks.lock().unwrap();
            looks.push(self.began.elapsed());
            Look::NotYet("it is not there".to_owned())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_look_is_made_when_the_time_is_over() {
        let context = TestStep::new().attempt(Direction::Do).unwrap();
        for (within_ms, looks) in [(0, 1), (5_000, 2)] {
            let never = Never {
                began: Instant::now(),
                looks: Mutex::default(),
            };
            let within = Duration::from_millis(within_ms);
            let error = until(&context, within, &never).await.err().unwrap();
            assert_eq!(error.code(), "not-as-expected");
            let seen = never.looks.into_inner().unwrap();
            assert!(seen.len() >= looks, "{seen:?}");
            let last = *seen.last().unwrap();
            assert!(
                last >= within && last < within + PAUSE_MIN,
                "{within:?}: {seen:?}"
            );
        }
    }
}
