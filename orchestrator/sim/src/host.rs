//! The orchestrator as a process: takes from the inbox, turns the driver, acknowledges, publishes, hears. Its futures are polled by hand;
//! at every await it may die, and what it had in memory is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use baton_driver::{
    Answer, DeadLetterRow, Driver, DriverError, Options, Outgoing, Outlet, Sent, Ticket, Work,
};
use baton_engine::{Command, Definition, Input};
use baton_messages::fleet::Heartbeat;
use baton_messages::inbox::Marker;
use baton_messages::{
    DeadReason, InboxKey, InboxMessage, SagaId, StepId, Task, TaskMessage, TaskType, Timestamp,
};

use crate::broker::Message;
use crate::disk::Connection;
use crate::event::{Event, Fate};
use crate::fault::Fault;
use crate::plan::Kind;
use crate::world::{IDLE_MS, World};

/// How often leases are looked at.
const TICK_MS: u64 = 1_000;
/// How long a marker may be on its way.
const MARKER_MS: u64 = 8_000;
/// Tokens of requests begin here; those of the inbox are below.
const REQUEST_TOKEN: u64 = 1 << 40;
/// Tokens of dead letters begin here.
const DEAD_TOKEN: u64 = 1 << 50;

/// Where the driver's commands leave: a list that the world takes from.
#[derive(Debug, Clone, Default)]
pub struct Outbox(Arc<Mutex<Vec<Outgoing>>>);

impl Outbox {
    fn take(&self) -> Vec<Outgoing> {
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
    outbox: Outbox,
    life: u64,
    /// Taken from the inbox and not acknowledged, in order.
    held: BTreeMap<u64, Message<InboxMessage>>,
    /// Dead letters taken and not acknowledged.
    dead: BTreeMap<u64, Message<Task>>,
    tokens: u64,
    /// When its next turn is scheduled.
    turn_at: u64,
    ticked_at: u64,
    lost: bool,
    /// Requests that come from searching the kept events for a subscription; forgotten with the process.
    pub(crate) searches: BTreeMap<(SagaId, StepId), BTreeSet<u64>>,
}

/// How a future ended that may be dropped between any two awaits.
enum Polled<T> {
    Done(T),
    Died,
}

impl World {
    /// Polls to the end, or to a death at one of the awaits on the way.
    fn poll<T>(&mut self, future: impl Future<Output = T>) -> Polled<T> {
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
        let outbox = Outbox::default();
        self.store.disk().epoch = life;
        let options = Options {
            idle_ms: 20_000,
            ..Options::new(0, life, InboxKey::of(0))
        };
        let (store, now) = (self.store.clone(), Timestamp(self.now));
        let sources: Vec<String> = self.plans.values().map(|plan| plan.yaml.clone()).collect();
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
                    driver.bus_is_up(Timestamp(self.now));
                }
                self.host = Some(Host {
                    driver,
                    outbox,
                    life,
                    held: BTreeMap::new(),
                    dead: BTreeMap::new(),
                    tokens: 0,
                    turn_at: u64::MAX,
                    ticked_at: self.now,
                    lost: false,
                    searches: BTreeMap::new(),
                });
                self.compare();
                self.wake_host(1);
                self.after(TICK_MS, Event::Tick(life));
            }
        }
    }

    fn host_comes_back(&mut self) {
        self.report.deaths += 1;
        let back = self.rng.range(50, 8_000);
        self.after(back, Event::HostUp);
    }

    pub(crate) fn host_dies_by_chance(&mut self) {
        if !self.calm {
            self.host_dies();
            let again = self
                .rng
                .below(self.mood.orchestrator_dies_ms.saturating_mul(2))
                + 1;
            self.after(again, Event::HostDies);
        }
    }

    /// The orchestrator is gone: what it had not acknowledged comes again.
    fn host_dies(&mut self) {
        let Some(host) = self.host.take() else { return };
        self.note(&format!("the orchestrator dies, life {}", host.life));
        for number in host.searches.values().flatten() {
            self.requests.remove(number);
        }
        for message in host.held.into_values().rev() {
            self.broker.inbox.give_back(message, &mut self.rng);
        }
        for message in host.dead.into_values() {
            self.broker.dead.give_back(message, &mut self.rng);
        }
        self.host_comes_back();
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

    pub(crate) fn turn(&mut self, life: u64) {
        let Some(mut host) = self.host.take_if(|host| host.life == life) else {
            return;
        };
        if host.turn_at > self.now {
            self.host = Some(host);
            return;
        }
        host.turn_at = u64::MAX;
        let marker = self.take_in(&mut host);
        let work = self.work(&host);
        if self.fault == Some(Fault::AcknowledgedBeforeCommit) {
            host.held.clear();
        }
        let (now, entropy) = (Timestamp(self.now), self.rng.bits());
        let Host { driver, lost, .. } = &mut host;
        let again = *lost;
        let polled = self.poll(async {
            if again {
                driver.recover_again(now).await?;
            }
            driver.turn(work, now, entropy).await
        });
        self.host = Some(host);
        match polled {
            Polled::Died => self.host_dies(),
            Polled::Done(Ok(answers)) => {
                self.turned(&answers, again);
                if let Some(marker) = marker {
                    self.marker_back(marker);
                }
            }
            Polled::Done(Err(error)) => self.turn_failed(&error),
        }
        self.schedule_turn();
    }

    /// Takes messages from the inbox, up to a marker: what was confirmed before it is decided first.
    fn take_in(&mut self, host: &mut Host) -> Option<u64> {
        let most = self.rng.range(1, 12);
        let mut marker = None;
        while self.broker.up && host.driver.has_room() && (host.held.len() as u64) < most {
            let Some(message) = self.broker.inbox.deliver() else {
                break;
            };
            if let InboxMessage::Marker(found) = &message.body {
                if found.from == host.life.to_string() {
                    marker = Some(found.number);
                    break;
                }
                continue;
            }
            host.tokens += 1;
            host.held.insert(host.tokens, message);
        }
        while let Some(message) = self.broker.dead.deliver() {
            host.tokens += 1;
            host.dead.insert(DEAD_TOKEN + host.tokens, message);
        }
        marker
    }

    fn work(&self, host: &Host) -> Vec<Work> {
        let mut work = Vec::new();
        for (token, message) in &host.held {
            let (Some(saga), Some(input)) = (message.body.saga(), input_of(&message.body)) else {
                continue;
            };
            work.push(Work::Saga {
                token: *token,
                saga,
                input: Box::new(input),
            });
        }
        for (token, message) in &host.dead {
            work.push(dead_work(*token, &message.body, Timestamp(self.now)));
        }
        for (number, request) in &self.requests {
            work.push(Work::Saga {
                token: REQUEST_TOKEN + number,
                saga: request.saga,
                input: Box::new(request.input.clone()),
            });
        }
        work
    }

    fn turned(&mut self, answers: &[Answer], recovered: bool) {
        let Some(host) = &mut self.host else { return };
        host.lost = false;
        let mut requests = Vec::new();
        for answer in answers {
            host.held.remove(&answer.token);
            host.dead.remove(&answer.token);
            if answer.token >= REQUEST_TOKEN && answer.token < DEAD_TOKEN {
                requests.push((answer.token - REQUEST_TOKEN, answer.verdict.clone()));
            }
        }
        let going = host.outbox.take();
        let life = host.life;
        if recovered {
            self.compare();
        }
        for (number, verdict) in requests {
            self.answered(number, &verdict);
            self.found_is_told(number);
        }
        self.search();
        let committed = self.store.disk().log_seq();
        for out in going {
            if out.ticket.log_seq > committed && self.fault != Some(Fault::CommitLies) {
                self.breaks("a command left whose row is not committed".into());
            }
            self.publish(life, out);
        }
    }

    /// What the driver has in memory after it recovered must be what the log folds to.
    fn compare(&mut self) {
        let Some(host) = &self.host else { return };
        let disk = self.store.disk();
        let differs = disk
            .mirror
            .iter()
            .find(|(saga, state)| host.driver.peek(**saga).is_some_and(|seen| seen != *state));
        let wrong =
            differs.map(|(saga, _)| format!("saga {saga} in memory is not what its log folds to"));
        drop(disk);
        if let Some(what) = wrong {
            self.breaks(what);
        }
    }

    fn turn_failed(&mut self, error: &DriverError) {
        let expected = matches!(error, DriverError::Lost { .. } | DriverError::Read { .. });
        self.note(&format!("a turn fails: {error}"));
        if !expected {
            return self.breaks(format!("a turn fails: {error}"));
        }
        if let Some(host) = &mut self.host {
            host.lost = true;
            // A turn that had to be cut in pieces may have committed some of them; nothing of the others may leave.
            let (life, going) = (host.life, host.outbox.take());
            let committed = self.store.disk().log_seq();
            for out in going {
                if out.ticket.log_seq > committed {
                    self.breaks("a command left whose row is not committed".into());
                }
                self.publish(life, out);
            }
        }
        self.wake_host(200);
    }

    fn schedule_turn(&mut self) {
        let Some(host) = &self.host else { return };
        let busy = !self.broker.inbox.is_empty() && self.broker.up
            || !host.held.is_empty() && !host.lost
            || !self.requests.is_empty();
        let forgotten = self.fault == Some(Fault::TimersForgotten);
        let wake = host.driver.next_wake().filter(|_| !forgotten);
        let now = self.now;
        if busy {
            self.wake_host(5);
        }
        if let Some(at) = wake {
            self.wake_host(at.0.saturating_sub(now).max(1));
        }
    }

    fn publish(&mut self, life: u64, out: Outgoing) {
        match out.command {
            Command::Dispatch(message) => {
                let TaskMessage::Task(task) = *message;
                self.note(&format!(
                    "send {} {} {}/{} r{} of {}",
                    task.of.step,
                    task.of.direction,
                    task.of.attempt,
                    task.of.dispatch,
                    task.of.round,
                    short(task.of.saga)
                ));
                let fate = self.fate();
                let (delay, survives) = (self.rng.range(1, 15), self.rng.per_mille(500));
                self.after(
                    delay,
                    Event::TaskArrives {
                        task: Box::new(task),
                        life,
                        ticket: out.ticket,
                        fate,
                        survives,
                    },
                );
            }
            Command::Grant(message) | Command::CancelTask { message, .. } => {
                let trouble = u64::from(!self.calm);
                if self.broker.up && !self.rng.per_mille(self.mood.control_lost * trouble) {
                    let delay = self.rng.range(1, 20);
                    self.after(delay, Event::ControlArrives(message));
                }
                self.after(5, Event::Told(life, out.ticket, Sent::Confirmed));
            }
            Command::EmitEvent(event) => {
                self.note(&format!("say {} {}", event.kind, event.id));
                let fate = self.fate();
                let (delay, survives) = (self.rng.range(1, 15), self.rng.per_mille(500));
                self.after(
                    delay,
                    Event::SaidArrives {
                        event,
                        life,
                        ticket: out.ticket,
                        fate,
                        survives,
                    },
                );
            }
            Command::OpenWorkItem(_) | Command::CloseWorkItem { .. } => {
                self.breaks("a work item left the store".into())
            }
        }
    }

    fn fate(&mut self) -> Fate {
        if self.calm {
            return Fate::Well;
        }
        let (lost, confirm, nacked) = (
            self.mood.publish_lost,
            self.mood.confirm_lost,
            self.mood.nacked,
        );
        if self.rng.per_mille(lost) {
            Fate::Lost
        } else if self.rng.per_mille(confirm) {
            Fate::ConfirmLost
        } else if self.rng.per_mille(nacked) {
            Fate::Nacked
        } else {
            Fate::Well
        }
    }

    pub(crate) fn task_arrives(
        &mut self,
        task: Task,
        life: u64,
        ticket: Ticket,
        fate: Fate,
        survives: bool,
    ) {
        let alive = self.host.as_ref().is_some_and(|host| host.life == life);
        if !alive && !survives {
            return;
        }
        let fate = if self.broker.up { fate } else { Fate::Lost };
        let sent = match fate {
            Fate::Lost => Sent::Unknown,
            Fate::Nacked => Sent::Nacked,
            Fate::Well | Fate::ConfirmLost => {
                let routed = self.broker.route(task);
                self.pump_soon();
                match (fate, routed) {
                    (Fate::ConfirmLost, _) => Sent::Unknown,
                    (_, true) => Sent::Confirmed,
                    (_, false) => Sent::Returned,
                }
            }
        };
        let delay = if sent == Sent::Unknown {
            self.rng.range(100, 30_000)
        } else {
            self.rng.range(1, 30)
        };
        self.after(delay, Event::Told(life, ticket, sent));
    }

    /// What a saga says reaches the broker, or does not; nobody has to listen.
    pub(crate) fn said_arrives(
        &mut self,
        event: baton_messages::Event,
        life: u64,
        ticket: Ticket,
        fate: Fate,
        survives: bool,
    ) {
        let alive = self.host.as_ref().is_some_and(|host| host.life == life);
        if !alive && !survives {
            return;
        }
        let fate = if self.broker.up { fate } else { Fate::Lost };
        let sent = match fate {
            _ if self.fault == Some(Fault::EventBelieved) => Sent::Confirmed,
            Fate::Lost => Sent::Unknown,
            Fate::Nacked => Sent::Nacked,
            Fate::ConfirmLost => Sent::Unknown,
            Fate::Well => Sent::Confirmed,
        };
        if matches!(fate, Fate::Well | Fate::ConfirmLost) {
            self.said.insert(event.id.clone(), event.clone());
            // We hear ourselves like everybody else.
            self.after(5, Event::Happens(Box::new(event)));
        }
        let delay = if sent == Sent::Unknown {
            self.rng.range(100, 30_000)
        } else {
            self.rng.range(1, 30)
        };
        self.after(delay, Event::Told(life, ticket, sent));
    }

    pub(crate) fn told(&mut self, life: u64, ticket: Ticket, sent: Sent) {
        if let Some(host) = self.host.as_mut().filter(|host| host.life == life) {
            host.driver.sent(vec![(ticket, sent)]);
            if sent != Sent::Confirmed {
                self.note(&format!("  told {} {sent:?}", ticket.log_seq));
                self.wake_host(2);
            } else {
                self.schedule_turn();
            }
        }
    }

    pub(crate) fn heartbeat_arrives(&mut self, heartbeat: &Heartbeat) {
        if let Some(host) = self.host.as_mut()
            && self.broker.up
        {
            host.driver.leases().heartbeat(heartbeat);
        }
    }

    /// Leases run while the orchestrator hears itself; one that has run out is asked after through the inbox.
    pub(crate) fn tick(&mut self, life: u64) {
        let hearing = self.broker.up;
        let ended = self.all_ended();
        let Some(host) = self.host.as_mut().filter(|host| host.life == life) else {
            return;
        };
        let elapsed = self.now - host.ticked_at;
        host.ticked_at = self.now;
        let suspicion = host.driver.leases().tick(elapsed, hearing);
        let idle = host.driver.leases().is_empty();
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
            self.after(
                delay,
                Event::InboxArrives {
                    message: Box::new(marker),
                    whose: None,
                    confirmed: true,
                },
            );
        }
    }

    fn marker_back(&mut self, marker: u64) {
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

    /// The orchestrator's own connection goes with the broker: what it had not acknowledged comes again.
    pub(crate) fn host_loses_bus(&mut self) {
        let Some(host) = &mut self.host else { return };
        host.driver.bus_is_down();
        let (held, dead) = (
            std::mem::take(&mut host.held),
            std::mem::take(&mut host.dead),
        );
        for message in held.into_values().rev() {
            self.broker.inbox.give_back(message, &mut self.rng);
        }
        for message in dead.into_values() {
            self.broker.dead.give_back(message, &mut self.rng);
        }
    }

    pub(crate) fn host_finds_bus(&mut self) {
        let now = Timestamp(self.now);
        if let Some(host) = &mut self.host {
            host.driver.bus_is_up(now);
        }
        self.wake_host(1);
    }

    /// A worker has announced what it serves.
    pub(crate) fn host_hears(&mut self, types: &[(&'static Kind, TaskType)]) {
        let now = Timestamp(self.now);
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

fn input_of(message: &InboxMessage) -> Option<Input> {
    match message {
        InboxMessage::Started(started) => Some(Input::TaskStarted(started.clone())),
        InboxMessage::Checkpoint(checkpoint) => Some(Input::Checkpoint(checkpoint.clone())),
        InboxMessage::Finished(finished) => Some(Input::TaskFinished(finished.clone())),
        InboxMessage::Start(start) => Some(Input::Start(start.clone())),
        // The workers of the model send each report alone: to the driver a batch is several inputs of one turn.
        InboxMessage::Marker(_) | InboxMessage::Batch(_) => None,
    }
}

fn dead_work(token: u64, task: &Task, at: Timestamp) -> Work {
    let reason = DeadReason::DeliveredTooOften;
    let error = "delivered too often".to_owned();
    let message = task.of.message_id();
    let letter = DeadLetterRow {
        id: message.0,
        at,
        reason,
        error: error.clone(),
        queue: String::new(),
        exchange: String::new(),
        key: String::new(),
        message_id: Some(message.to_string()),
        kind: Some("task@1".into()),
        saga: Some(task.of.saga),
        properties: serde_json::Value::Null,
        body: Vec::new(),
    };
    Work::Dead {
        token,
        letter: Box::new(letter),
        input: Some((
            task.of.saga,
            Box::new(Input::TaskDead {
                message,
                reason,
                error,
            }),
        )),
    }
}

/// The first part of a saga's id: enough to tell it from its few neighbours.
pub(crate) fn short(saga: SagaId) -> String {
    saga.to_string().chars().take(8).collect()
}
