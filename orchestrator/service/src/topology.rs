//! Declares what is there whatever is automated, at every connection and twice a minute; begins to consume the inbox once it stands.

use std::sync::Arc;
use std::time::Duration;

use baton_bus::{Bus, ConsumeSpec, Link};
use baton_messages::InboxKey;
use baton_messages::topology::{self, Topology};
use tokio::sync::mpsc;

use crate::chain::chain;
use crate::health::Health;
use crate::hot::mail::Heard;

/// Inboxes of this store: either has one partition.
const INBOXES: u8 = 1;
/// Pause before what could not be declared is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How often what stands is declared again: somebody may have deleted a queue under us, and nobody tells.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What is consumed once it stands.
pub(crate) struct Inbox {
    pub(crate) key: InboxKey,
    pub(crate) prefetch: u16,
    pub(crate) instance: String,
}

/// Declares until it is stopped. The inbox is handed to the loop once; its consumer then builds itself anew as often as needed.
pub(crate) async fn keep(
    bus: Bus,
    inbox: Inbox,
    health: Arc<Health>,
    heard: mpsc::Sender<Heard>,
    stands: tokio::sync::oneshot::Sender<()>,
) {
    let mut state = bus.state();
    let mut inbox = Some(inbox);
    let mut stands = Some(stands);
    let mut declared = None;
    let mut said = None;
    loop {
        let epoch = match &state.borrow_and_update().consuming {
            Link::Up { epoch } | Link::Blocked { epoch, .. } => Some(*epoch),
            Link::Down { .. } => None,
        };
        if epoch.is_none() || epoch == declared {
            match tokio::time::timeout(LOOK_AGAIN, state.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => declared = None,
            }
            continue;
        }
        if !declare(&bus, &health, &mut said).await {
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        declared = epoch;
        if let Some(stands) = stands.take() {
            // whoever waited may have been stopped meanwhile
            let _ = stands.send(());
        }
        if let Some(inbox) = inbox.take() {
            let consumer = bus
                .consume(ConsumeSpec {
                    queue: topology::inbox_queue(&inbox.key),
                    prefetch: inbox.prefetch,
                    exclusive_queue: None,
                    consumer_tag: format!("inbox-{}", inbox.instance),
                })
                .await;
            if heard.send(Heard::Inbox(Box::new(consumer))).await.is_err() {
                return;
            }
        }
    }
}

/// What is wrong is said once, and again when it is something else.
async fn declare(bus: &Bus, health: &Health, said: &mut Option<String>) -> bool {
    let wrong = match bus.declare(&Topology::base(INBOXES)).await {
        Ok(report) if report.is_complete() => None,
        Ok(report) => Some(format!("it does not stand whole: {report}")),
        Err(error) => Some(chain(&error)),
    };
    let stands = wrong.is_none();
    if let Some(wrong) = wrong.as_ref().filter(|wrong| said.as_ref() != Some(*wrong)) {
        tracing::warn!(error = %wrong, "the topology could not be declared; it is tried again");
    }
    *said = wrong;
    health.set_topology(stands);
    stands
}
