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
        if Instant::now() + pause > ends.min(limit) {
            return Err(never_came(looks.at(), tries, began.elapsed(), &why));
        }
        tokio::select! {
            () = context.cancelled().cancelled() => return Err(stopped(looks.at())),
            () = tokio::time::sleep(pause) => {}
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
