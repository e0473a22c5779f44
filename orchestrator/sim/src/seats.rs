//! Several partitions on one store, shared out over several orchestrators: each partition has a driver, an inbox, a log and an epoch of its own, and what
//! befalls an orchestrator befalls all it drives. Sagas within sagas and their parents lie in different partitions as chance has it.
//!
//! One seat is in focus at a time: [`World::host`] and the clock are its own, so that whatever follows one partition reads as if there were no other. Whoever
//! looks at another puts the focus back. A world of one partition draws nothing here, and is to the letter what it was before there were several.

use std::collections::BTreeMap;

use baton_messages::{InboxMessage, Report, SagaId, Slice, Timestamp};

use crate::event::Event;
use crate::host::{Host, Polled};
use crate::rng::Rng;
use crate::world::World;

/// Orchestrators of a world of several partitions.
const MEMBERS: u64 = 3;
/// What is drawn of them has a chance of its own.
const MEMBERS_CHANCE: u64 = 0x6d65_6d62;
/// Between two times a partition is handed over in order: an orchestrator comes, or goes.
const HANDS_OVER_MS: u64 = 25_000;

/// Which of so many partitions has a saga, as a store of as many is laid out.
pub(crate) fn partition_of(saga: SagaId, partitions: u8) -> u8 {
    let Slice(slice) = Slice::of(saga);
    let partition = u16::from(slice) * u16::from(partitions.max(1)) / 256;
    u8::try_from(partition).unwrap_or_default()
}

/// The partition in focus, and the others.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    /// How many partitions there are; one where nothing else was asked for.
    pub(crate) partitions: u8,
    /// The one in focus.
    pub(crate) at: u8,
    /// Which orchestrator drives it, or did last.
    member: u64,
    /// By how much the clocks of orchestrators are off; empty where each life draws its own.
    skews: Vec<i64>,
    beside: BTreeMap<u8, Beside>,
}

/// A seat that is not in focus.
#[derive(Debug, Default)]
struct Beside {
    host: Option<Host>,
    skew_ms: i64,
    member: u64,
}

impl Seats {
    /// So many partitions, shared out; what is off about their orchestrators is drawn from the seed where there are several.
    pub(crate) fn new(partitions: u8, seed: u64, skew_ms: u64) -> Self {
        let partitions = partitions.max(1);
        let mut seats = Self {
            partitions,
            ..Self::default()
        };
        if partitions > 1 {
            let mut rng = Rng::new(seed ^ MEMBERS_CHANCE);
            let off = |_| i64::try_from(rng.below(2 * skew_ms + 1)).unwrap_or(0);
            let skews = (0..MEMBERS).map(off);
            seats.skews = skews.map(|off| off - skew_ms.cast_signed()).collect();
            for partition in 1..partitions {
                let member = u64::from(partition) % MEMBERS;
                let beside = Beside {
                    skew_ms: seats.skew_of(member),
                    member,
                    host: None,
                };
                seats.beside.insert(partition, beside);
            }
        }
        seats
    }

    /// Whether there are several.
    pub(crate) const fn several(&self) -> bool {
        self.partitions > 1
    }

    fn skew_of(&self, member: u64) -> i64 {
        let at = usize::try_from(member).unwrap_or_default();
        self.skews.get(at).copied().unwrap_or_default()
    }
}

impl World {
    /// Which partition has a saga.
    pub(crate) fn partition_of(&self, saga: SagaId) -> u8 {
        partition_of(saga, self.seats.partitions)
    }

    /// Puts the focus on a partition.
    pub(crate) fn focus(&mut self, partition: u8) {
        if partition == self.seats.at {
            return;
        }
        let left = Beside {
            host: self.host.take(),
            skew_ms: self.skew_ms,
            member: self.seats.member,
        };
        self.seats.beside.insert(self.seats.at, left);
        let found = self.seats.beside.remove(&partition).unwrap_or_default();
        self.host = found.host;
        self.skew_ms = found.skew_ms;
        self.seats.member = found.member;
        self.seats.at = partition;
    }

    /// Puts the focus where a life of an orchestrator drives; it stays where it is when that life is over.
    pub(crate) fn focus_life(&mut self, life: u64) {
        if let Some(partition) = self.seat_of_life(life) {
            self.focus(partition);
        }
    }

    fn seat_of_life(&self, life: u64) -> Option<u8> {
        let is = |host: &Option<Host>| host.as_ref().is_some_and(|host| host.life == life);
        if is(&self.host) {
            return Some(self.seats.at);
        }
        let beside = self.seats.beside.iter();
        let mut found = beside.filter(|(_, seat)| is(&seat.host));
        found.next().map(|(partition, _)| *partition)
    }

    /// Does something at one seat, and puts the focus back.
    pub(crate) fn at_seat<T>(&mut self, partition: u8, act: impl FnOnce(&mut Self) -> T) -> T {
        let back = self.seats.at;
        self.focus(partition);
        let done = act(self);
        self.focus(back);
        done
    }

    /// Does something at every seat, and puts the focus back.
    pub(crate) fn at_each_seat(&mut self, mut act: impl FnMut(&mut Self)) {
        for partition in 0..self.seats.partitions {
            self.at_seat(partition, &mut act);
        }
    }

    /// Does something at every other seat of the orchestrator in focus.
    pub(crate) fn at_its_other_seats(&mut self, mut act: impl FnMut(&mut Self)) {
        let (at, member) = (self.seats.at, self.seats.member);
        for partition in (0..self.seats.partitions).filter(|partition| *partition != at) {
            self.at_seat(partition, |world| {
                if world.seats.member == member {
                    act(world);
                }
            });
        }
    }

    /// Some seat, where there are several: what befalls an orchestrator befalls the one that drives it.
    pub(crate) fn focus_anywhere(&mut self) {
        if self.seats.several() {
            let partition = self.rng.below(self.seats.partitions.into());
            self.focus(u8::try_from(partition).unwrap_or_default());
        }
    }

    /// The orchestrator that drives a saga takes a turn soon.
    pub(crate) fn wake_host_of(&mut self, saga: SagaId, ms: u64) {
        let partition = self.partition_of(saga);
        self.at_seat(partition, |world| world.wake_host(ms));
    }

    /// The clock on the wall of whoever drives a saga.
    pub(crate) fn clock_at(&self, saga: SagaId) -> Timestamp {
        let partition = self.partition_of(saga);
        let beside = self.seats.beside.get(&partition);
        self.clock_of(beside.map_or(self.skew_ms, |seat| seat.skew_ms))
    }

    /// Where there are several orchestrators the clock of the one that comes up is its own in all its lives; false where there is one.
    pub(crate) fn takes_its_clock(&mut self) -> bool {
        if !self.seats.several() {
            return false;
        }
        self.skew_ms = self.seats.skew_of(self.seats.member);
        true
    }

    /// Another orchestrator than the one that had it takes the partition in focus.
    pub(crate) const fn goes_to_the_next(&mut self) {
        if self.seats.several() {
            self.seats.member = (self.seats.member + 1) % MEMBERS;
        }
    }

    /// One that died comes back, or another takes what it had.
    pub(crate) fn goes_to_anybody(&mut self) {
        if self.seats.several() {
            self.seats.member = self.rng.below(MEMBERS);
        }
    }

    /// Orchestrators come and go in order, where there are several.
    pub(crate) fn draw_hand_overs(&mut self) {
        if self.seats.several() && !self.mood.quiet {
            self.befall(HANDS_OVER_MS, Event::HandsOver);
        }
    }

    /// A partition is handed over: what its loop has decided leaves, what it had not acknowledged is given back, and another drives it at once.
    pub(crate) fn hands_over(&mut self) {
        if !self.calm {
            self.focus_anywhere();
            self.hand_over();
        }
        self.draw_hand_overs();
    }

    fn hand_over(&mut self) {
        let now = self.now;
        let Some(mut host) = self.host.take_if(|host| host.stopped_until <= now) else {
            return;
        };
        let life = host.life;
        self.note(&format!(
            "life {life} hands partition {} over",
            self.seats.at
        ));
        let clock = self.clock();
        let going = host.outbox.take();
        let polled = self.poll(host.driver.write_watermark(clock));
        self.host = Some(host);
        for out in going {
            self.publish(life, out);
        }
        if matches!(polled, Polled::Died) {
            return self.host_dies();
        }
        self.seat_ends();
        self.report.handed_over += 1;
        self.goes_to_the_next();
        self.after(1, Event::HostUp(self.seats.at));
    }

    /// Which inbox a message goes to: that of the saga it is about. A marker comes back to whoever sent it.
    pub(crate) fn inbox_of(&self, message: &InboxMessage) -> u8 {
        let saga = match message {
            InboxMessage::Started(of) => Some(of.of.saga),
            InboxMessage::Checkpoint(of) => Some(of.of.saga),
            InboxMessage::Finished(of) => Some(of.of.saga),
            InboxMessage::Batch(batch) => batch.reports.first().map(saga_of),
            InboxMessage::Start(start) => Some(start.saga),
            InboxMessage::Starts(batch) => batch.starts.first().map(|start| start.saga),
            InboxMessage::ChildWanted(wanted) => Some(wanted.child),
            InboxMessage::ChildSaid(said) => Some(said.parent.saga),
            InboxMessage::Marker(marker) => {
                let life = marker.from.parse().unwrap_or_default();
                return self.seat_of_life(life).unwrap_or(self.seats.at);
            }
        };
        saga.map_or(self.seats.at, |saga| self.partition_of(saga))
    }
}

/// The saga a report is about.
pub(crate) const fn saga_of(report: &Report) -> SagaId {
    match report {
        Report::Started(of) => of.of.saga,
        Report::Checkpoint(of) => of.of.saga,
        Report::Finished(of) => of.of.saga,
    }
}
