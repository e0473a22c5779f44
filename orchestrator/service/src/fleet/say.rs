//! What an orchestrator says on the fleet's exchange: its canary every second, and a roll call whenever it has (again) a connection.

use std::time::Duration;

use baton_bus::{Bus, HeaderValue, Link, Outgoing};
use baton_messages::fleet::{Canary, RollCall};
use baton_messages::headers::{VERSION, VERSION_HEADER};
use baton_messages::{FleetMessage, MessageId, topology};
use tokio::time::MissedTickBehavior;

use crate::clock;

/// How often the canary sings.
const CANARY_EVERY: Duration = Duration::from_secs(1);

/// Speaks until it is dropped. Begin it after the listener, so that the answers to the first roll call are heard.
pub(crate) async fn speak(bus: Bus, instance: String) {
    let state = bus.state();
    let mut every = tokio::time::interval(CANARY_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    let mut called = None;
    loop {
        every.tick().await;
        let epochs = {
            let state = state.borrow();
            (epoch(&state.consuming), epoch(&state.publishing))
        };
        let (Some(_), Some(_)) = epochs else {
            continue;
        };
        if called != Some(epochs) {
            let call = FleetMessage::RollCall(RollCall {
                orchestrator: instance.clone(),
            });
            say(&bus, &call).await;
            called = Some(epochs);
        }
        number += 1;
        let canary = FleetMessage::Canary(Canary {
            orchestrator: instance.clone(),
            number,
        });
        say(&bus, &canary).await;
    }
}

const fn epoch(link: &Link) -> Option<u64> {
    match link {
        Link::Up { epoch } => Some(*epoch),
        Link::Blocked { .. } | Link::Down { .. } => None,
    }
}

/// A lost word is said again soon.
async fn say(bus: &Bus, message: &FleetMessage) {
    let Ok(body) = serde_json::to_vec(message) else {
        return;
    };
    let id = MessageId(uuid::Uuid::now_v7());
    let at = clock::now().0;
    let mut out = Outgoing::json(topology::FLEET, "", message.kind(), id, body, at);
    out.mandatory = false;
    out.persistent = false;
    out.headers = vec![(VERSION_HEADER.to_owned(), HeaderValue::U32(VERSION))];
    bus.publisher().publish(vec![out]).await;
}
