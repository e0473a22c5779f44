//! How a world is peopled, and everything that befalls its processes: deaths, stops, lost connections, drains, a broker that goes.

use std::sync::Arc;

use baton_engine::Definition;
use baton_messages::{PoolName, TaskType, WorkerId};

use crate::event::Event;
use crate::generate;
use crate::outside::later_for;
use crate::plan::KINDS;
use crate::rng::Rng;
use crate::worker::Worker;
use crate::world::{IDLE_MS, TROUBLE_MS, World};

/// How long the broker waits for a silent client before it closes its connection.
const SILENT_MS: u64 = 10_000;
/// How often a worker announces itself.
const ANNOUNCE_MS: u64 = 60_000;

impl World {
    pub(crate) fn populate(&mut self, tasks_only: bool, kin: &mut Rng, takes: &mut Rng) {
        for n in 0..self.mood.sagas {
            let mut plan = generate::saga(&mut self.rng, &self.mood, n, tasks_only);
            self.with_kin(kin, &mut plan);
            self.with_groups(&mut plan);
            self.with_reservations(takes, &mut plan);
            Self::with_item_rules(&mut plan);
            match Definition::parse(&plan.yaml) {
                Ok(definition) => drop(self.definitions.insert(plan.id, Arc::new(definition))),
                Err(wrong) => self.breaks(format!(
                    "drew a saga that is none: {wrong:?}\n{}",
                    plan.yaml
                )),
            }
            // Late enough for something to have happened before.
            let at = self.rng.below(30_000) + if tasks_only { 0 } else { 3_000 };
            let at = at + later_for(&plan);
            self.after(at + 500, Event::Start(plan.id));
            self.outside(&plan, at);
            if self.rng.per_mille(self.mood.operator_acts) {
                let when = at + self.rng.below(40_000);
                self.after(when, Event::Meddle(plan.id));
            }
            self.note(&format!("{} is\n{}{}", plan.id, plan.yaml, scripts(&plan)));
            self.plans.insert(plan.id, plan);
        }
        for n in 0..=self.mood.workers {
            self.hire(usize::try_from(n).unwrap_or(0), n == self.mood.workers);
        }
        for partition in 0..self.seats.partitions {
            self.after(0, Event::HostUp(partition));
        }
        self.after(TROUBLE_MS, Event::Calm);
        if !tasks_only {
            self.after(2_000, Event::Approver);
        }
        if !self.mood.quiet {
            self.after(25_000, Event::Janitor);
        }
        self.befall(self.mood.orchestrator_dies_ms, Event::HostDies);
        self.befall(self.mood.orchestrator_stops_ms, Event::HostStops);
        self.befall(self.mood.clock_steps_ms, Event::ClockSteps);
        self.befall(self.mood.broker_restarts_ms, Event::BrokerDown);
        self.draw_hand_overs();
    }

    fn hire(&mut self, index: usize, far: bool) {
        let pool = if far {
            PoolName::new("far")
        } else {
            Ok(PoolName::default_pool())
        };
        let (Ok(pool), Ok(id)) = (pool, WorkerId::new(&format!("w{index}"))) else {
            return;
        };
        let kinds: Vec<_> = KINDS
            .iter()
            .filter(|kind| if far { kind.far } else { !kind.far })
            .collect();
        let skew_ms = i64::try_from(self.rng.below(5_000)).unwrap_or(0) - 2_500;
        let slots =
            usize::try_from(self.rng.range(if self.mood.quiet { 32 } else { 1 }, 32)).unwrap_or(1);
        let late = far || self.rng.per_mille(self.mood.queue_missing);
        let comes = if late && !self.mood.quiet {
            self.rng.below(90_000)
        } else {
            0
        };
        let mut worker = Worker::new(id, pool, kinds, slots);
        worker.skew_ms = if self.mood.quiet { 0 } else { skew_ms };
        self.workers.push(worker);
        self.after(comes, Event::WorkerUp(index, 0));
        self.befall(self.mood.worker_dies_ms, Event::WorkerDies(index));
        self.befall(self.mood.worker_stops_ms, Event::WorkerStops(index));
        self.befall(
            self.mood.worker_disconnects_ms,
            Event::WorkerDisconnects(index),
        );
        self.befall(self.mood.worker_drains_ms, Event::WorkerDrains(index));
    }

    /// Something that happens about so often, until the calm.
    pub(crate) fn befall(&mut self, every_ms: u64, event: Event) {
        if every_ms < u64::MAX && !self.calm {
            let when = self.rng.below(every_ms * 2) + 1;
            self.after(when, event);
        }
    }

    pub(crate) fn worker_up(&mut self, worker: usize, life: u64) {
        let Some(at) = self
            .workers
            .get_mut(worker)
            .filter(|at| at.life == life && !at.up)
        else {
            return;
        };
        at.up = true;
        at.draining = false;
        at.stopped_until = 0;
        at.beating = false;
        at.connection += 1;
        at.connected = self.broker.up;
        self.note(&format!("worker {worker} is up"));
        if !self.broker.up {
            self.after(700, Event::WorkerConnects(worker, life));
        }
        self.after(1, Event::Announce(worker));
    }

    /// A worker says what it serves: its queues are there from now on, and who waits for them is told.
    pub(crate) fn announce(&mut self, worker: usize) {
        let now = self.now;
        let Some(at) = self.workers.get(worker) else {
            return;
        };
        let hears = at.hears() && at.stopped_until <= now && self.broker.up;
        let (pool, kinds) = (at.pool.clone(), at.kinds.clone());
        if hears {
            let types: Vec<_> = kinds
                .iter()
                .filter_map(|kind| Some((*kind, TaskType::new(kind.name).ok()?)))
                .collect();
            for (_, task_type) in &types {
                self.broker
                    .tasks
                    .entry((pool.clone(), task_type.clone()))
                    .or_default();
            }
            if !self.has_heard() {
                self.hosts_hear(&types);
            }
            self.pump_soon();
        }
        let every = if self.all_ended() {
            IDLE_MS
        } else {
            ANNOUNCE_MS
        };
        if !hears || self.scene.is_none() {
            self.after(if hears { every } else { 2_000 }, Event::Announce(worker));
        }
    }

    pub(crate) fn worker_dies_by_chance(&mut self, worker: usize) {
        if !self.calm {
            self.worker_dies(worker);
        }
        self.befall(self.mood.worker_dies_ms, Event::WorkerDies(worker));
    }

    /// A worker is gone, with all it held in memory; it comes back some time later.
    pub(crate) fn worker_dies(&mut self, worker: usize) {
        let back = self.rng.range(100, 20_000);
        self.saw_lost(worker);
        let Some(at) = self.workers.get_mut(worker).filter(|at| at.up) else {
            return;
        };
        at.up = false;
        at.connected = false;
        at.life += 1;
        let life = at.life;
        at.ready.clear();
        let runs = std::mem::take(&mut at.runs);
        self.note(&format!("worker {worker} dies"));
        for message in runs.into_values().filter_map(|run| run.delivery) {
            self.give_back(message);
        }
        self.after(back, Event::WorkerUp(worker, life));
    }

    pub(crate) fn worker_stops(&mut self, worker: usize) {
        let long = self.rng.pick(&[800, 8_000, 45_000, 90_000], 800);
        let now = self.now;
        if !self.calm {
            self.saw_lost(worker);
        }
        if !self.calm
            && let Some(at) = self
                .workers
                .get_mut(worker)
                .filter(|at| at.up && at.stopped_until <= now)
        {
            at.stopped_until = now + long;
            let life = at.life;
            self.note(&format!("worker {worker} is stopped for {long} ms"));
            self.after(long + 1, Event::Pump);
            if long > SILENT_MS {
                self.after(SILENT_MS, Event::WorkerSilent(worker, life));
            }
        }
        self.befall(self.mood.worker_stops_ms, Event::WorkerStops(worker));
    }

    pub(crate) fn worker_silent(&mut self, worker: usize, life: u64) {
        let now = self.now;
        if self
            .workers
            .get(worker)
            .is_some_and(|at| at.life == life && at.up && at.stopped_until > now)
        {
            self.worker_disconnects(worker);
        }
    }

    pub(crate) fn worker_disconnects_by_chance(&mut self, worker: usize) {
        if !self.calm {
            self.worker_disconnects(worker);
        }
        self.befall(
            self.mood.worker_disconnects_ms,
            Event::WorkerDisconnects(worker),
        );
    }

    /// What it had not acknowledged goes to others, while it goes on with it.
    pub(crate) fn worker_disconnects(&mut self, worker: usize) {
        let (now, away) = (self.now, self.rng.range(200, 15_000));
        self.saw_lost(worker);
        let Some(at) = self
            .workers
            .get_mut(worker)
            .filter(|at| at.up && at.connected)
        else {
            return;
        };
        at.connected = false;
        at.connection += 1;
        let back = away.max(at.stopped_until.saturating_sub(now));
        let life = at.life;
        let given: Vec<_> = at
            .runs
            .values_mut()
            .filter_map(|run| run.delivery.take())
            .collect();
        self.note(&format!("worker {worker} is disconnected"));
        for message in given {
            self.give_back(message);
        }
        self.after(back, Event::WorkerConnects(worker, life));
    }

    pub(crate) fn worker_connects(&mut self, worker: usize, life: u64) {
        let up = self.broker.up;
        let Some(at) = self
            .workers
            .get_mut(worker)
            .filter(|at| at.up && at.life == life && !at.connected)
        else {
            return;
        };
        if !up {
            return self.after(700, Event::WorkerConnects(worker, life));
        }
        at.connected = true;
        self.after(1, Event::Announce(worker));
    }

    /// A worker takes nothing new, gives back what it has not begun, and is restarted.
    pub(crate) fn worker_drains(&mut self, worker: usize) {
        let grace = self.rng.range(500, 15_000);
        if !self.calm
            && let Some(at) = self.workers.get_mut(worker).filter(|at| at.up)
        {
            at.draining = true;
            self.note(&format!("worker {worker} drains"));
            self.after(grace, Event::WorkerDies(worker));
        }
        if self.mood.worker_dies_ms == u64::MAX {
            self.befall(self.mood.worker_drains_ms, Event::WorkerDrains(worker));
        }
    }

    fn give_back(&mut self, message: crate::broker::Message<baton_messages::Task>) {
        if message.deliveries >= crate::broker::DELIVERIES_MAX {
            let saga = message.body.of.saga;
            let partition = self.partition_of(saga);
            self.broker.dead(partition).push(message.body);
            return self.wake_host_of(saga, 5);
        }
        let key = (message.body.pool.clone(), message.body.task_type.clone());
        let queue = self.broker.tasks.entry(key).or_default();
        queue.give_back(message, &mut self.rng);
        self.pump_soon();
    }

    pub(crate) fn broker_down(&mut self) {
        let away = self.rng.range(200, 12_000);
        if !self.calm && self.broker.up {
            self.note("the broker goes");
            for worker in 0..self.workers.len() {
                self.worker_disconnects(worker);
            }
            self.broker.up = false;
            self.broker.epoch += 1;
            self.hosts_lose_bus();
            self.after(away, Event::BrokerUp);
        }
        self.befall(self.mood.broker_restarts_ms, Event::BrokerDown);
    }

    pub(crate) fn broker_up(&mut self) {
        self.broker.up = true;
        self.note("the broker is back");
        self.hosts_find_bus();
        self.pump_soon();
    }

    /// From here on nothing goes wrong any more: whatever was broken is mended, and every saga has to end.
    pub(crate) fn calm_down(&mut self) {
        self.note("calm");
        self.calm = true;
        self.store.disk().calm_down();
        if !self.broker.up {
            self.broker_up();
        }
        for worker in &mut self.workers {
            worker.stopped_until = worker.stopped_until.min(self.now + 1);
        }
        for worker in 0..self.workers.len() {
            if self.workers.get(worker).is_some_and(|at| at.draining) {
                self.worker_dies(worker);
            }
        }
    }

    /// The broker hands out what is ready as soon as somebody takes it.
    pub(crate) fn pump_soon(&mut self) {
        if !self.pumping {
            self.pumping = true;
            self.after(1, Event::Pump);
        }
    }

    pub(crate) fn pump(&mut self) {
        self.pumping = false;
        if !self.broker.up {
            return;
        }
        let keys: Vec<_> = self
            .broker
            .tasks
            .iter()
            .filter(|(_, queue)| !queue.is_empty())
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            loop {
                let now = self.now;
                let takers: Vec<usize> = (0..self.workers.len())
                    .filter(|at| {
                        self.workers.get(*at).is_some_and(|worker| {
                            worker.takes(now)
                                && (worker.pool == key.0 || self.scene.is_some())
                                && worker.kinds.iter().any(|kind| kind.name == key.1.as_str())
                        })
                    })
                    .collect();
                if takers.is_empty() {
                    break;
                }
                let worker = self.rng.pick(&takers, 0);
                let Some(message) = self
                    .broker
                    .tasks
                    .get_mut(&key)
                    .and_then(crate::broker::Queue::deliver)
                else {
                    break;
                };
                self.delivered(worker, message);
            }
        }
    }
}

fn scripts(plan: &crate::plan::SagaPlan) -> String {
    let mut text = String::new();
    for step in &plan.steps {
        text.push_str(&format!(
            "    {} plays {:?} undo {:?} probe {:?}\n",
            step.id, step.script.forward, step.script.backward, step.script.asking
        ));
        for (n, script) in step
            .fan
            .iter()
            .flat_map(|fan| fan.scripts.iter().enumerate())
        {
            text.push_str(&format!(
                "      [{n}] plays {:?} undo {:?} probe {:?}\n",
                script.forward, script.backward, script.asking
            ));
        }
    }
    text
}
