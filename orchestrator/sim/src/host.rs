//! The orchestrator as a process: comes up, dies, loses its bus. Its futures are polled by hand; at every await it may die, and what it
//! had in memory is gone. Its turns are in [`crate::turn`], what it sends in [`crate::sending`], what it hears in [`crate::hearing`].

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use baton_driver::{Driver, DriverError, Options, Outgoing, Outlet};
use baton_engine::Definition;
use baton_messages::{InboxKey, SagaId, StepId, Task, TaskType, Timestamp};

use crate::broker::Message;
use crate::disk::Connection;
use crate::event::Event;
use crate::plan::Kind;
use crate::turn::Held;
use crate::world::World;

/// How often leases are looked at.
pub(crate) const TICK_MS: u64 = 1_000;

/// Where the driver's commands leave: a list that the world takes from.
#[derive(Debug, Clone, Default)]
pub struct Outbox(Arc<Mutex<Vec<Outgoing>>>);

impl Outbox {
    pub(crate) fn take(&self) -> Vec<Outgoing> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Outlet for Outbox {
    fn publish(&mut self, commands: Vec<Outgoing>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(commands);
    }
}

type Real = Driver<Connection, Outbox>;

/// One life of the orchestrator.
#[derive(Debug)]
pub struct Host {
    pub(crate) driver: Real,
    pub(crate) outbox: Outbox,
    pub(crate) life: u64,
    /// Until when it is stopped.
    pub(crate) stopped_until: u64,
    /// By how much its clock is off.
    pub(crate) skew_ms: i64,
    /// Taken from the inbox and not acknowledged, in order, by the first token of each.
    pub(crate) held: BTreeMap<u64, Held>,
    /// Dead letters taken and not acknowledged.
    pub(crate) dead: BTreeMap<u64, Message<Task>>,
    pub(crate) tokens: u64,
    /// When its next turn is scheduled.
    pub(crate) turn_at: u64,
    pub(crate) ticked_at: u64,
    /// Whether it looks at its leases; where time may leap over days it does so only while there are some.
    pub(crate) ticking: bool,
    pub(crate) lost: bool,
    /// Requests that come from searching the kept events for a subscription; forgotten with the process.
    pub(crate) searches: BTreeMap<(SagaId, StepId), BTreeSet<u64>>,
}

/// How a future ended that may be dropped between any two awaits.
pub(crate) enum Polled<T> {
    Done(T),
    Died,
}

impl World {
    /// Polls to the end, or to a death at one of the awaits on the way.
    pub(crate) fn poll<T>(&mut self, future: impl Future<Output = T>) -> Polled<T> {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(done) => return Polled::Done(done),
                Poll::Pending if !self.calm && self.rng.per_mille(self.mood.dies_at_await) => {
                    return Polled::Died;
                }
                Poll::Pending => {}
            }
        }
    }

    pub(crate) fn host_up(&mut self) {
        if self.host.is_some() {
            return;
        }
        self.host_life += 1;
        let life = self.host_life;
        self.draw_skew();
        let outbox = Outbox::default();
        let at = self.seats.at;
        self.store.disk().owned(at, life);
        let options = Options {
            idle_ms: 20_000,
            unsent_max: usize::MAX,
            ..Options::new(at, life, InboxKey::of(at))
        };
        let (store, now) = (self.store.clone(), self.clock());
        // children first, as they are registered
        let mut sources: Vec<String> = match &self.scene {
            Some(scene) => scene.sources(),
            None => {
                let plans = self.kin.values().chain(self.plans.values());
                plans.map(|plan| plan.yaml.clone()).collect()
            }
        };
        if self.moving.is_some() {
            let second = |text: &String| text.replacen("version: 1\n", "version: 2\n", 1);
            let second: Vec<String> = sources.iter().map(second).collect();
            sources.extend(second);
        }
        let coming_up = {
            let outbox = outbox.clone();
            async move {
                let mut driver = Driver::recover(store, outbox, options, now).await?;
                for source in sources {
                    if let Ok(definition) = Definition::parse(&source) {
                        let _ = driver.put_definition(definition, "sim", now).await;
                    }
                }
                Ok::<Real, DriverError>(driver)
            }
        };
        match self.poll(coming_up) {
            Polled::Died => self.host_comes_back(),
            Polled::Done(Err(error)) => {
                self.breaks(format!("the driver does not recover: {error}"))
            }
            Polled::Done(Ok(mut driver)) => {
                self.note(&format!("the orchestrator is up, life {life}"));
                if self.broker.up {
                    driver.bus_is_up(self.clock());
                }
                self.host = Some(Host {
                    driver,
                    outbox,
                    life,
                    stopped_until: 0,
                    skew_ms: self.skew_ms,
                    held: BTreeMap::new(),
                    dead: BTreeMap::new(),
                    tokens: 0,
                    turn_at: u64::MAX,
                    ticked_at: self.now,
                    ticking: true,
                    lost: false,
                    searches: BTreeMap::new(),
                });
                self.compare();
                self.wake_host(1);
                self.after(TICK_MS, Event::Tick(life));
                self.roll_call();
            }
        }
    }

    fn host_comes_back(&mut self) {
        self.report.deaths += 1;
        let back = self.rng.range(50, 8_000);
        self.goes_to_anybody();
        self.after(back, Event::HostUp(self.seats.at));
    }

    pub(crate) fn host_dies_by_chance(&mut self) {
        if !self.calm {
            self.focus_anywhere();
            self.host_dies();
            let again = self
                .rng
                .below(self.mood.orchestrator_dies_ms.saturating_mul(2))
                + 1;
            self.after(again, Event::HostDies);
        }
    }

    /// The orchestrator is gone, with all it drives: what it had not acknowledged comes again.
    pub(crate) fn host_dies(&mut self) {
        self.at_its_other_seats(Self::seat_dies);
        self.seat_dies();
    }

    fn seat_dies(&mut self) {
        let Some(life) = self.host.as_ref().map(|host| host.life) else {
            return;
        };
        self.note(&format!("the orchestrator dies, life {life}"));
        self.seat_ends();
        self.host_comes_back();
    }

    /// Nobody drives the partition any more: what was taken and not acknowledged comes again.
    pub(crate) fn seat_ends(&mut self) {
        let Some(host) = self.host.take() else { return };
        for number in host.searches.values().flatten() {
            self.requests.remove(number);
        }
        self.come_again(host.held);
        self.dead_come_again(host.dead);
    }

    fn dead_come_again(&mut self, dead: BTreeMap<u64, Message<Task>>) {
        for message in dead.into_values() {
            let queue = self.broker.dead(self.seats.at);
            queue.give_back(message, &mut self.rng);
        }
    }

    /// What was not acknowledged comes again, each message as a whole.
    pub(crate) fn come_again(&mut self, held: BTreeMap<u64, Held>) {
        for held in held.into_values().rev() {
            let inbox = self.broker.inbox(self.seats.at);
            inbox.give_back(held.message, &mut self.rng);
        }
    }

    /// The orchestrator's clock on the wall.
    pub(crate) const fn clock(&self) -> Timestamp {
        self.clock_of(self.skew_ms)
    }

    /// The clock of one that is so much off.
    pub(crate) const fn clock_of(&self, skew_ms: i64) -> Timestamp {
        Timestamp((self.now + self.ahead_ms).saturating_add_signed(skew_ms))
    }

    /// It is set, forward or back to what it was.
    pub(crate) fn clock_steps(&mut self) {
        if !self.calm {
            const HOUR_MS: u64 = 60 * 60 * 1000;
            self.ahead_ms = self
                .rng
                .pick(&[0, 20_000, 120_000, HOUR_MS, 3 * HOUR_MS], 0);
            self.note(&format!(
                "the orchestrator's clock is {} ms ahead",
                self.ahead_ms
            ));
            self.at_each_seat(|world| world.wake_host(1));
        }
        self.befall(self.mood.clock_steps_ms, Event::ClockSteps);
    }

    /// The orchestrator takes a turn soon.
    pub(crate) fn wake_host(&mut self, ms: u64) {
        let now = self.now;
        if let Some(host) = &mut self.host
            && host.turn_at > now + ms
        {
            host.turn_at = now + ms;
            let life = host.life;
            self.after(ms, Event::Turn(life));
        }
    }

    /// Orchestrators' own connections go with the broker: what they had not acknowledged comes again.
    pub(crate) fn hosts_lose_bus(&mut self) {
        self.at_each_seat(Self::host_loses_bus);
    }

    fn host_loses_bus(&mut self) {
        let Some(host) = &mut self.host else { return };
        host.driver.bus_is_down();
        let (held, dead) = (
            std::mem::take(&mut host.held),
            std::mem::take(&mut host.dead),
        );
        self.come_again(held);
        self.dead_come_again(dead);
    }

    pub(crate) fn hosts_find_bus(&mut self) {
        self.at_each_seat(Self::host_finds_bus);
    }

    fn host_finds_bus(&mut self) {
        let now = self.clock();
        if let Some(host) = &mut self.host {
            host.driver.bus_is_up(now);
        }
        self.wake_host(1);
    }

    /// A worker has announced what it serves, to all who listen.
    pub(crate) fn hosts_hear(&mut self, types: &[(&'static Kind, TaskType)]) {
        self.at_each_seat(|world| world.host_hears(types));
    }

    fn host_hears(&mut self, types: &[(&'static Kind, TaskType)]) {
        if self
            .host
            .as_ref()
            .is_some_and(|host| host.stopped_until > self.now)
        {
            // it hears the next announcement
            return;
        }
        let now = self.clock();
        for (kind, task_type) in types {
            let Some(mut host) = self.host.take() else {
                return;
            };
            let manifest = kind.manifest(task_type.clone());
            let polled = self.poll(host.driver.announce(manifest, now));
            host.driver.serve(task_type);
            self.host = Some(host);
            match polled {
                Polled::Died => return self.host_dies(),
                Polled::Done(Ok(Ok(_))) => {}
                Polled::Done(said) => {
                    return self.breaks(format!("a manifest is refused: {said:?}"));
                }
            }
        }
        self.schedule_turn();
    }
}

/// The first part of a saga's id: enough to tell it from its few neighbours.
pub(crate) fn short(saga: SagaId) -> String {
    saga.to_string().chars().take(8).collect()
}
