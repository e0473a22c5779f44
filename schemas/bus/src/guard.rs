//! Whoever uses the connections keeps them open: the last handle that goes closes them.

use tokio_util::sync::{CancellationToken, DropGuard};

/// Held by every handle of a bus.
pub(crate) struct KeptOpen(#[expect(dead_code, reason = "held for what its drop does")] DropGuard);

impl KeptOpen {
    pub(crate) fn new(closed: CancellationToken) -> Self {
        Self(closed.drop_guard())
    }
}
