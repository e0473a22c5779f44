//! The bounds decisions rest on, each with its reason.

pub use baton_messages::fleet::{KILL_GRACE_MS, LEASE_MS_DEFAULT};

/// How long a confirm may take before a sending counts as unknown: what the broker has not confirmed by then is held and sent again.
pub const CONFIRM_BOUND_MS: u64 = 30_000;
/// How far the clocks of a worker and an orchestrator may differ, or those of two orchestrators; a worker further off is alarmed.
pub const CLOCK_SKEW_MS: u64 = 5_000;
/// How long one offer stands at most: a message in a queue for longer is not acted upon but offered anew, so that a forgotten
/// queue holds nothing that could surprise somebody days later.
pub const OFFER_MS_MAX: u64 = 60 * 60 * 1000;
/// How long after its offer a task that is held late may be begun without asking: long enough that what flows never asks, short enough
/// that nobody waits long for a worker that was lost with one, since until then it may act unseen.
pub const UNASKED_MS: u64 = 60_000;
/// How long a step waits for a worker in all, where it does not say: a day, so that a fleet down over night fails nothing.
pub const QUEUE_MS_DEFAULT: u64 = 24 * 60 * 60 * 1000;
/// How long before a task that was given back is offered again: long enough not to circle, short enough not to be noticed.
pub const REOFFER_MS: u64 = 1_000;
/// Attempts of an undo, where its step does not say: undo is idempotent, and a person is asked after the last.
pub const UNDO_ATTEMPTS: u32 = 10;
/// The longest wait between two attempts of an undo, where its step does not say.
pub const UNDO_BACKOFF_MS_MAX: u64 = 60_000;
/// Attempts of a probe before nobody can tell.
pub const PROBE_ATTEMPTS: u32 = 5;
/// The longest wait between two attempts of a probe.
pub const PROBE_BACKOFF_MS_MAX: u64 = 30_000;

/// How long nothing new is heard of a child, or of what a saga waits to be given, before it is asked for the first time.
const ASK_MS_MIN: u64 = 60_000;
/// The longest wait between two askings: so late it may be learned what was lost on the way.
const ASK_MS_MAX: u64 = 30 * 60_000;

/// How long to wait for a word before it is asked for (again), once that was asked so often: each time twice as long. Words come by themselves; this is for those that were lost.
pub(crate) fn ask_again_ms(asked: u32) -> u64 {
    (ASK_MS_MIN << asked.min(16)).min(ASK_MS_MAX)
}

/// How long to wait before the next attempt after `used` of them: the first wait, longer by a factor each time, to the longest.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "waits are far below 2^52 ms and the cast saturates"
)]
pub(crate) fn backoff_ms(first_ms: u64, factor: f64, longest_ms: u64, used: u32) -> u64 {
    let exponent = i32::try_from(used.saturating_sub(1)).unwrap_or(i32::MAX);
    let wait = first_ms as f64 * factor.max(1.0).powi(exponent);
    wait.min(longest_ms as f64) as u64
}
