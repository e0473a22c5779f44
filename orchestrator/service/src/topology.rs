//! Declares what is there whatever is automated, at every connection and twice a minute; what is consumed of it begins once it stands.

use std::sync::Arc;
use std::time::Duration;

use baton_bus::{Bus, Link};
use baton_messages::topology::Topology;
use tokio::sync::watch;

use crate::chain::chain;
use crate::health::Health;

/// Pause before what could not be declared is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How often what stands is declared again: somebody may have deleted a queue under us, and nobody tells.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Declares until it is stopped.
pub(crate) async fn keep(bus: Bus, inboxes: u8, health: Arc<Health>, stands: watch::Sender<bool>) {
    let mut state = bus.state();
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
        if !declare(&bus, inboxes, &health, &mut said).await {
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        declared = epoch;
        stands.send_replace(true);
    }
}

/// What is wrong is said once, and again when it is something else.
async fn declare(bus: &Bus, inboxes: u8, health: &Health, said: &mut Option<String>) -> bool {
    let wrong = match bus.declare(&Topology::base(inboxes)).await {
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
