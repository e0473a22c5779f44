//! Chance with a seed: the same moments again when a test is run again with the seed it printed.

use std::time::Duration;

/// Where a seed is taken from, to run a failed test again as it was.
const SEED_ENV: &str = "BATON_SEED";

/// A small generator (splitmix64): enough to choose moments and victims.
#[derive(Debug, Clone)]
pub struct Chance {
    state: u64,
    seed: u64,
}

impl Chance {
    /// The seed of the environment, or a fresh one; printed, so that a failure can be repeated.
    #[expect(
        clippy::print_stderr,
        reason = "whoever reads a failure needs the seed"
    )]
    pub fn of_environment() -> Self {
        let set = std::env::var(SEED_ENV).ok();
        let seed = set.map_or_else(
            || uuid::Uuid::new_v4().as_u64_pair().0,
            |seed| seed.parse().expect("BATON_SEED is a whole number"),
        );
        eprintln!("{SEED_ENV}={seed}");
        Self::seeded(seed)
    }

    /// From this seed.
    pub const fn seeded(seed: u64) -> Self {
        Self { state: seed, seed }
    }

    /// Another generator, of the same seed, for another part of the test: parts that run side by side do not disturb each other.
    pub const fn part(&self, number: u64) -> Self {
        let seed = self.seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d);
        Self {
            state: seed,
            seed: self.seed,
        }
    }

    /// Anything.
    pub const fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From zero up to, not including, `end`.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    /// From one length of time to another.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from(most.saturating_sub(least).as_millis()).unwrap_or(u64::MAX - 1);
        least + Duration::from_millis(self.below(span + 1))
    }
}
