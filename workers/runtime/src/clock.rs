//! The worker's wall clock, as it stands in messages. Durations are never measured with it: they use the monotonic clock,
//! which also counts the time a stopped process did not see.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_messages::Timestamp;

/// Now, by the wall clock.
#[must_use]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
