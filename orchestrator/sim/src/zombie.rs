//! Several orchestrators on one store: the one that has the partition is stopped, another takes it over when its lease is over, and the
//! first wakes up, still believing it has it. What it had committed and not yet published leaves late; what it wants to decide is fenced.
//! Each has a clock of its own.

use crate::event::Event;
use crate::host::{Host, Polled};
use crate::world::World;

/// How long a partition is its owner's without a word of it.
const LEASE_MS: u64 = 15_000;
/// By how much the clock of one orchestrator may be off. With what the workers' may be off it stays below what clocks may differ.
pub(crate) const SKEW_MS: u64 = 2_400;

impl World {
    /// The clock of an orchestrator that comes up.
    pub(crate) fn draw_skew(&mut self) {
        if self.takes_its_clock() {
            return;
        }
        let skew = if self.mood.orchestrator_stops_ms < u64::MAX {
            i64::try_from(self.rng.below(2 * SKEW_MS)).unwrap_or(0) - SKEW_MS.cast_signed()
        } else {
            0
        };
        self.skew_ms = skew;
    }

    /// Whether the orchestrator is stopped now; what is for it waits until it goes on.
    pub(crate) fn host_is_stopped(&mut self, life: u64, again: Event) -> bool {
        let until = match &self.host {
            Some(host) if host.life == life => host.stopped_until,
            _ => return false,
        };
        if until <= self.now {
            return false;
        }
        self.after(until - self.now + 1, again);
        true
    }

    pub(crate) fn host_stops_by_chance(&mut self) {
        if !self.calm {
            self.focus_anywhere();
            self.host_stops();
        }
        self.befall(self.mood.orchestrator_stops_ms, Event::HostStops);
    }

    /// It is stopped, with all it drives: by somebody, by its machine, by a page that does not come.
    pub(crate) fn host_stops(&mut self) {
        let for_ms =
            self.rng.pick(&[2_000, 20_000, 60_000, 150_000], 20_000) + self.rng.below(2_000);
        self.seat_stops(for_ms);
        self.at_its_other_seats(|world| world.seat_stops(for_ms));
    }

    fn seat_stops(&mut self, for_ms: u64) {
        let now = self.now;
        let Some(host) = self.host.as_mut().filter(|host| host.stopped_until <= now) else {
            return;
        };
        host.stopped_until = now + for_ms;
        // deaf meanwhile: leases run only while it hears itself
        host.ticked_at = host.stopped_until;
        host.turn_at = host.stopped_until;
        let life = host.life;
        self.note(&format!(
            "the orchestrator is stopped for {for_ms} ms, life {life}"
        ));
        self.after(for_ms, Event::Turn(life));
        let notices = LEASE_MS + self.rng.below(3_000);
        if for_ms > notices {
            self.after(notices, Event::TakenOver(life));
        }
    }

    /// Its lease is over: another has the partition from now on, and the broker has given back what the silent one held.
    pub(crate) fn taken_over(&mut self, life: u64) {
        let now = self.now;
        let stopped = |host: &mut Host| host.life == life && host.stopped_until > now;
        let Some(host) = self.host.take_if(stopped) else {
            return;
        };
        self.note(&format!("life {life} is given up by the others"));
        for number in host.searches.values().flatten() {
            self.requests.remove(number);
        }
        self.come_again(host.held.clone());
        for message in host.dead.values().rev() {
            let dead = self.broker.dead(self.seats.at);
            dead.give_back(message.clone(), &mut self.rng);
        }
        self.after(host.stopped_until - now, Event::ZombieWakes(life));
        let partition = self.seats.at;
        let written = self.store.disk().log_seq(partition);
        self.zombies.insert(life, (host, partition, written));
        self.report.taken_over += 1;
        self.goes_to_the_next();
        self.after(1, Event::HostUp(partition));
    }

    /// It goes on where it was stopped: it publishes what it had committed, and decides what it has in hand and what is due.
    pub(crate) fn zombie_wakes(&mut self, life: u64) {
        let Some((mut zombie, partition, written)) = self.zombies.remove(&life) else {
            return;
        };
        self.focus(partition);
        self.note(&format!("life {life} wakes up and knows nothing"));
        for out in zombie.outbox.take() {
            self.publish(life, out);
        }
        let work = self.work(&zombie);
        let (now, entropy) = (self.clock_of(zombie.skew_ms), self.rng.bits());
        let commits = self.store.disk().commits;
        let polled = self.poll(zombie.driver.turn(work, now, entropy));
        let wrote = self.store.disk().commits != commits;
        if wrote {
            self.breaks(format!("life {life} wrote after another had taken over"));
        }
        if let Polled::Done(Err(error)) = polled {
            self.note(&format!("  and is refused: {error}"));
            self.report.fenced += 1;
        }
        // an event nobody has confirmed is said again, and its row was committed long ago
        let fenced = |out: &baton_driver::Outgoing| out.ticket.log_seq > written;
        if zombie.outbox.take().iter().any(fenced) {
            self.breaks(format!(
                "a command of life {life} left whose row was fenced"
            ));
        }
    }
}
