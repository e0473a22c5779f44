//! The clocks decisions may not fetch for themselves, and chance for the engine: the wall clock as it stands in records and messages, and
//! the steady one the driver counts waits by, which goes on when the wall clock is set back.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use baton_messages::Timestamp;

/// How far the wall clock may be behind before that is said.
const BEHIND_SAID: Duration = Duration::from_secs(5);

/// Now, by the wall clock: for what people read and what calendars say.
#[must_use]
pub(crate) fn now() -> Timestamp {
    Timestamp(ms(wall()))
}

/// Now, for the driver. Follows the wall clock wherever it goes forward. Where that is set back, time goes on from where it was, an eighth
/// slower until the wall clock has caught up: waits become somewhat longer, and none of them stands still for as long as the clock leapt.
#[must_use]
pub(crate) fn steady() -> Timestamp {
    static STEADY: Mutex<Option<Steady>> = Mutex::new(None);
    let (wall, at) = (wall(), Instant::now());
    let mut steady = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
    let told = steady.get_or_insert(Steady {
        shown: wall,
        at,
        behind: false,
    });
    if let Some(behind) = told.advance(wall, at) {
        tracing::warn!(
            behind_s = behind.as_secs(),
            "the clock of this machine was set back; waits of sagas go on by the time that has really passed, schedules and what people read follow the clock"
        );
    }
    Timestamp(ms(told.shown))
}

fn wall() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
}

fn ms(since: Duration) -> u64 {
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What was shown last, and when.
struct Steady {
    shown: Duration,
    at: Instant,
    behind: bool,
}

impl Steady {
    /// Goes on to `at`; how far the wall clock is behind, when that begins to be worth a word.
    fn advance(&mut self, wall: Duration, at: Instant) -> Option<Duration> {
        let passed = at.saturating_duration_since(self.at);
        self.at = at;
        self.shown = wall.max(self.shown + passed - passed / 8);
        let behind = self.shown.saturating_sub(wall);
        let was = std::mem::replace(&mut self.behind, behind > BEHIND_SAID);
        (self.behind && !was).then_some(behind)
    }
}

/// 64 bits of chance.
#[must_use]
pub(crate) fn entropy() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    high ^ low.rotate_left(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_stops_no_wait_and_is_caught_up_with() {
        const S: Duration = Duration::from_secs(1);
        let began = Instant::now();
        let mut steady = Steady {
            shown: 1_000 * S,
            at: began,
            behind: false,
        };
        assert_eq!(steady.advance(1_010 * S, began + 10 * S), None);
        assert_eq!(steady.shown, 1_010 * S, "it follows the clock");
        assert_eq!(steady.advance(4_620 * S, began + 20 * S), None);
        assert_eq!(steady.shown, 4_620 * S, "forward at once");
        let behind = steady.advance(1_028 * S, began + 28 * S);
        assert_eq!(behind, Some(3_599 * S), "that it was set back is said");
        assert_eq!(steady.shown, 4_627 * S, "and time goes on");
        assert_eq!(steady.advance(1_036 * S, began + 36 * S), None, "once");
        let hours = 9 * 3_600;
        steady.advance((1_036 + hours) * S, began + (36 + hours) * S);
        assert_eq!(steady.shown, (1_036 + hours) * S, "caught up with");
    }
}
