//! The pause before something is tried again: doubling, with full jitter, so that a fleet does not come back in step.

use std::time::Duration;

pub(crate) struct Backoff {
    min_ms: u64,
    max_ms: u64,
    tries: u32,
}

impl Backoff {
    pub(crate) fn new(min_ms: u64, max_ms: u64) -> Self {
        Self {
            min_ms,
            max_ms,
            tries: 0,
        }
    }

    /// The next pause: between the shortest and the doubled bound of this try, at random.
    pub(crate) fn pause(&mut self) -> Duration {
        let bound = self
            .min_ms
            .saturating_mul(1 << self.tries.min(20))
            .clamp(self.min_ms, self.max_ms);
        self.tries = self.tries.saturating_add(1);
        Duration::from_millis(self.min_ms + chance(bound - self.min_ms))
    }

    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }
}

/// A random number from 0 to `most`.
pub(crate) fn chance(most: u64) -> u64 {
    let (high, _) = uuid::Uuid::new_v4().as_u64_pair();
    // the upper 48 bits of a version 4 uuid are all random
    (high >> 16) % (most + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_within_its_bounds_and_starts_anew() {
        let mut backoff = Backoff::new(200, 15_000);
        let first = backoff.pause();
        assert_eq!(first, Duration::from_millis(200));
        let mut longest = Duration::ZERO;
        for _ in 0..100 {
            let pause = backoff.pause();
            assert!(pause >= Duration::from_millis(200) && pause <= Duration::from_millis(15_000));
            longest = longest.max(pause);
        }
        assert!(
            longest > Duration::from_millis(5_000),
            "jitter uses its range, {longest:?}"
        );
        backoff.reset();
        assert_eq!(backoff.pause(), Duration::from_millis(200));
    }
}
