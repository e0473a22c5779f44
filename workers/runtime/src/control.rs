//! Hears what the worker is told: answers to its claims, and hints to stop. A lost one does no harm: a claim is asked again, a cancelled
//! task's report is not wanted.

use std::sync::Arc;

use baton_bus::{Bus, ConsumeSpec, Consumer, Delivery, ExclusiveQueue};
use baton_messages::{ControlMessage, WorkerId, topology};

use crate::inspect::without_content;
use crate::shared::Shared;

/// How many control messages may be in hand at once; they are short and each is done at once.
const PREFETCH: u16 = 256;

/// Begins to listen on the worker's own queue, which goes with its connection.
pub(crate) async fn listen(bus: &Bus, worker: &WorkerId) -> Consumer {
    let exchange = topology::CONTROL.to_owned();
    let bindings = vec![
        (exchange.clone(), topology::control_key(worker)),
        (exchange, topology::CONTROL_ALL.to_owned()),
    ];
    bus.consume(ConsumeSpec {
        queue: topology::control_queue(worker),
        prefetch: PREFETCH,
        exclusive_queue: Some(ExclusiveQueue {
            bindings,
            arguments: Vec::new(),
        }),
        consumer_tag: format!("{worker}.control"),
    })
    .await
}

/// Does what it is told until the consumer ends.
pub(crate) async fn obey(shared: Arc<Shared>, mut consumer: Consumer) {
    while let Some(delivery) = consumer.next().await {
        match serde_json::from_slice::<ControlMessage>(&delivery.body) {
            Ok(message) => obey_one(&shared, message),
            Err(error) => tracing::warn!(
                kind = delivery.kind.as_deref(),
                error = without_content(&error),
                "a control message cannot be read; it is dropped, as any hint may be"
            ),
        }
        acknowledge(&delivery).await;
    }
}

async fn acknowledge(delivery: &Delivery) {
    if let Err(stale) = delivery.ack().await {
        tracing::debug!(error = %stale, "a control message was done, but its queue is gone");
    }
}

fn obey_one(shared: &Shared, message: ControlMessage) {
    match message {
        ControlMessage::Grant(grant) => {
            if grant.worker != shared.options.id {
                return;
            }
            if !shared.runs.answer(grant.run, grant.answer) {
                tracing::debug!(saga.id = %grant.of.saga, step = %grant.of.step, "an answer to a claim nobody waits for");
            }
        }
        ControlMessage::Cancel(cancel) => shared.runs.cancel(cancel.of),
        // kept until it is answered, and one answer is enough for many calls
        ControlMessage::RollCall(_) => shared.called.notify_one(),
        ControlMessage::Drain(drain) => {
            if drain.worker == shared.options.id {
                tracing::info!(by = drain.by, "asked to drain");
                shared.draining.cancel();
            }
        }
    }
}
