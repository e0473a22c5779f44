//! Acknowledging what has been answered for. A stale acknowledgement is no error: its channel is gone, the broker delivers the message
//! again, and the report that was confirmed for it is recognised by its ids.

use baton_bus::Delivery;

/// Acknowledges every one.
pub(crate) async fn acknowledge(done: Vec<Delivery>) {
    for delivery in done {
        if let Err(stale) = delivery.ack().await {
            tracing::debug!(queue = %delivery.queue, error = %stale, "a task was done, but its delivery is stale");
        }
    }
}
