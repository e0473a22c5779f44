//! The wall clock as it stands in records and messages, and chance for the engine: the two things decisions may not fetch for themselves.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use baton_messages::Timestamp;

/// Now, by the wall clock. The driver never lets it go back.
#[must_use]
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// 64 bits of chance.
#[must_use]
pub(crate) fn entropy() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    high ^ low.rotate_left(32)
}
