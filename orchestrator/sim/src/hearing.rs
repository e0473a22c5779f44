//! The orchestrator's leases: heartbeats it hears, the clock that runs while it hears itself, markers through the inbox.

use baton_messages::InboxMessage;
use baton_messages::fleet::Heartbeat;
use baton_messages::inbox::Marker;

use crate::event::Event;
use crate::fault::Fault;
use crate::host::TICK_MS;
use crate::world::{IDLE_MS, World};

/// How long a marker may be on its way.
const MARKER_MS: u64 = 8_000;

impl World {
    /// All who listen hear it.
    pub(crate) fn heartbeat_arrives(&mut self, heartbeat: &Heartbeat) {
        self.at_each_seat(|world| world.hears_heartbeat(heartbeat));
    }

    fn hears_heartbeat(&mut self, heartbeat: &Heartbeat) {
        let now = self.now;
        if let Some(host) = self.host.as_mut().filter(|host| host.stopped_until <= now)
            && self.broker.up
        {
            host.driver.leases().heartbeat(heartbeat);
        }
    }

    /// Leases run while the orchestrator hears itself; one that has run out is asked after through the inbox.
    pub(crate) fn tick(&mut self, life: u64) {
        if self.host_is_stopped(life, Event::Tick(life)) {
            return;
        }
        let hearing = self.broker.up;
        let ended = self.all_ended();
        let Some(host) = self.host.as_mut().filter(|host| host.life == life) else {
            return;
        };
        let believed = self.fault == Some(Fault::ClockBelieved);
        let now = self.now + if believed { self.ahead_ms } else { 0 };
        let elapsed = now.saturating_sub(host.ticked_at);
        host.ticked_at = now;
        let suspicion = host.driver.leases().tick(elapsed, hearing);
        let idle = host.driver.leases().is_empty();
        if idle && self.scene.is_some() {
            host.ticking = false;
            return;
        }
        let every = if ended && idle {
            IDLE_MS
        } else if idle {
            TICK_MS * 5
        } else {
            TICK_MS
        };
        self.after(every, Event::Tick(life));
        let Some(suspicion) = suspicion else { return };
        self.after(MARKER_MS, Event::MarkerLate(life, suspicion.marker));
        if !self
            .rng
            .per_mille(self.mood.report_lost * u64::from(!self.calm))
        {
            let marker = InboxMessage::Marker(Marker {
                from: life.to_string(),
                number: suspicion.marker,
            });
            let delay = self.rng.range(1, 30);
            self.after(delay, Event::InboxArrives(Box::new(marker)));
        }
    }

    pub(crate) fn marker_back(&mut self, marker: u64) {
        if let Some(host) = &mut self.host {
            let over = host.driver.leases().marker_back(marker);
            let some = !over.is_empty();
            host.driver.leases_over(over);
            if some {
                self.note("leases are over");
                self.wake_host(1);
            }
        }
    }

    pub(crate) fn marker_late(&mut self, life: u64, marker: u64) {
        if let Some(host) = self.host.as_mut().filter(|host| host.life == life) {
            host.driver.leases().marker_lost(marker);
        }
    }
}
