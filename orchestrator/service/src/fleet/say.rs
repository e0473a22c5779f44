//! What an orchestrator says to its fleet: its canary every second, so that it knows that it hears, and a roll call to every worker
//! whenever it has (again) a connection, or another partition, so that it knows at once who is there.

use std::time::Duration;

use baton_bus::{Bus, Link, Outgoing, version_header};
use baton_messages::control::RollCall;
use baton_messages::fleet::Canary;
use baton_messages::{ControlMessage, FleetMessage, MessageId, topology};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::clock;

/// How often the canary sings.
const CANARY_EVERY: Duration = Duration::from_secs(1);

/// Speaks until it is dropped. Begin it after the listener, so that the answers to the first roll call are heard.
pub(crate) async fn speak(bus: Bus, instance: String, seated: watch::Receiver<u64>) {
    let state = bus.state();
    let mut every = tokio::time::interval(CANARY_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    let mut called = None;
    loop {
        every.tick().await;
        let epochs = {
            let state = state.borrow();
            (
                epoch(&state.consuming),
                epoch(&state.publishing),
                *seated.borrow(),
            )
        };
        let (Some(_), Some(_), _) = epochs else {
            continue;
        };
        if called != Some(epochs) {
            let call = ControlMessage::RollCall(RollCall {
                orchestrator: instance.clone(),
            });
            let to_all = (topology::CONTROL, topology::CONTROL_ALL);
            say(&bus, to_all, call.kind(), &call).await;
            called = Some(epochs);
        }
        number += 1;
        let canary = FleetMessage::Canary(Canary {
            orchestrator: instance.clone(),
            number,
        });
        say(&bus, (topology::FLEET, ""), canary.kind(), &canary).await;
    }
}

const fn epoch(link: &Link) -> Option<u64> {
    match link {
        Link::Up { epoch } => Some(*epoch),
        Link::Blocked { .. } | Link::Down { .. } => None,
    }
}

/// A lost word is said again soon.
async fn say(
    bus: &Bus,
    to: (&'static str, &'static str),
    kind: &'static str,
    message: &impl Serialize,
) {
    let Ok(body) = serde_json::to_vec(message) else {
        return;
    };
    let id = MessageId(uuid::Uuid::now_v7());
    let at = clock::now().0;
    let mut out = Outgoing::json(to.0, to.1, kind, id, body, at);
    out.mandatory = false;
    out.persistent = false;
    out.headers = vec![version_header()];
    bus.publisher().publish(vec![out]).await;
}
