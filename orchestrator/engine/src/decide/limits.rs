//! The bounds decisions rest on, each with its reason.

pub use baton_messages::fleet::{KILL_GRACE_MS, LEASE_MS_DEFAULT};

/// How long a confirm may take before a sending counts as unknown: what the broker has not confirmed by then is held and sent again.
pub const CONFIRM_BOUND_MS: u64 = 30_000;
/// How far the clocks of a worker and an orchestrator may differ; a worker further off is alarmed.
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
