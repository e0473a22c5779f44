//! Takes out events that were kept for long enough, and keys nothing holds any more: in small bites, so that no saga waits for it.

use std::time::Duration;

use baton_store::Triggers as _;

use super::Shared;
use crate::chain::chain;
use crate::clock;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(60);
/// Rows of one bite: some milliseconds of the store's thread.
const BITE: usize = 200;
/// Pause between two bites.
const BETWEEN: Duration = Duration::from_millis(200);

/// Purges until the process stops.
pub(super) async fn purge(shared: Shared, keep: Duration) {
    let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
    let mut pause = BETWEEN;
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let now = clock::now();
        let before = baton_messages::Timestamp(now.0.saturating_sub(keep_ms));
        pause = match shared.tables.purge(before, now, BITE).await {
            Ok(true) => BETWEEN,
            Ok(false) => EVERY,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "old events could not be taken out; it is tried again");
                EVERY
            }
        };
    }
}
