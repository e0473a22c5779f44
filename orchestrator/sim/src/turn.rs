//! One turn of the orchestrator: what it takes from the inbox, what it gives the driver, what follows when that is committed, or is not.

use baton_driver::{Answer, DeadLetterRow, DriverError, Work};
use baton_engine::Input;
use baton_messages::{DeadReason, InboxMessage, Report, SagaId, Start, Task, Timestamp};

use crate::broker::Message;
use crate::event::Event;
use crate::fault::Fault;
use crate::host::{Host, Polled};
use crate::world::World;

/// Tokens of requests begin here; those of the inbox are below.
const REQUEST_TOKEN: u64 = 1 << 40;
/// Tokens of dead letters begin here.
const DEAD_TOKEN: u64 = 1 << 50;

/// How many of a thousand messages of several reports are decided report by report, each in a turn of its own.
const ONE_BY_ONE: u64 = 300;

/// A delivery the orchestrator has in hand. It is acknowledged as one, when all it says is decided.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    /// It.
    pub(crate) message: Message<InboxMessage>,
    /// What it says, in order.
    inputs: Vec<(SagaId, Input)>,
    /// How many of them are decided.
    decided: usize,
    /// Whether each has a turn of its own.
    one_by_one: bool,
}

impl World {
    pub(crate) fn turn(&mut self, life: u64) {
        if self.host_is_stopped(life, Event::Turn(life)) {
            return;
        }
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
        let (now, entropy) = (self.clock(), self.rng.bits());
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
            Polled::Done(Ok(_)) if self.dies_after_commit() => self.host_dies(),
            Polled::Done(Ok(_))
                if !self.calm && self.rng.per_mille(self.mood.stops_after_commit) =>
            {
                // what it has committed leaves when it wakes up, if it ever does
                if let Some(host) = &mut self.host {
                    host.lost = false;
                }
                self.host_stops();
            }
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
        let early = self.fault == Some(Fault::BatchAcknowledgedEarly);
        while self.broker.up
            && host.driver.has_room()
            && (host.held.len() as u64) < most
            // nothing overtakes what is decided one by one
            && !host.held.values().any(|held| held.one_by_one)
        {
            let Some(message) = self.broker.inbox(self.seats.at).deliver() else {
                break;
            };
            if let InboxMessage::Marker(found) = &message.body {
                if found.from == host.life.to_string() {
                    marker = Some(found.number);
                    break;
                }
                continue;
            }
            let inputs = inputs_of(&message.body);
            let one_by_one = inputs.len() > 1 && (early || self.rng.per_mille(ONE_BY_ONE));
            let token = host.tokens + 1;
            host.tokens += inputs.len() as u64;
            let held = Held {
                message,
                inputs,
                decided: 0,
                one_by_one,
            };
            host.held.insert(token, held);
        }
        while let Some(message) = self.broker.dead(self.seats.at).deliver() {
            host.tokens += 1;
            host.dead.insert(DEAD_TOKEN + host.tokens, message);
        }
        marker
    }

    pub(crate) fn work(&self, host: &Host) -> Vec<Work> {
        let mut work = Vec::new();
        for (token, held) in &host.held {
            for ((saga, input), token) in held.inputs.iter().zip(*token..).skip(held.decided) {
                work.push(Work::Saga {
                    token,
                    saga: *saga,
                    input: Box::new(input.clone()),
                });
                if held.one_by_one {
                    break;
                }
            }
        }
        for (token, message) in &host.dead {
            work.push(dead_work(*token, &message.body, self.clock()));
        }
        let asked = self.requests.iter();
        for (number, request) in asked.filter(|(_, request)| self.is_here(request.saga)) {
            work.push(Work::Saga {
                token: REQUEST_TOKEN + number,
                saga: request.saga,
                input: Box::new(request.input.clone()),
            });
        }
        work
    }

    /// Whether the partition in focus has a saga.
    fn is_here(&self, saga: SagaId) -> bool {
        self.partition_of(saga) == self.seats.at
    }

    fn turned(&mut self, answers: &[Answer], recovered: bool) {
        let early = self.fault == Some(Fault::BatchAcknowledgedEarly);
        let Some(host) = &mut self.host else { return };
        host.lost = false;
        let mut requests = Vec::new();
        for answer in answers {
            if answer.token < REQUEST_TOKEN
                && let Some((_, held)) = host.held.range_mut(..=answer.token).next_back()
            {
                held.decided = if early {
                    held.inputs.len()
                } else {
                    held.decided + 1
                };
            }
            host.dead.remove(&answer.token);
            if answer.token >= REQUEST_TOKEN && answer.token < DEAD_TOKEN {
                requests.push((answer.token - REQUEST_TOKEN, answer.verdict.clone()));
            }
        }
        host.held.retain(|_, held| held.decided < held.inputs.len());
        let going = host.outbox.take();
        let life = host.life;
        if host.driver.take_reserved() {
            self.reserved();
        }
        if recovered {
            self.compare();
        }
        for (number, verdict) in requests {
            self.answered(number, &verdict);
            self.found_is_told(number);
        }
        self.search();
        let committed = self.store.disk().log_seq(self.seats.at);
        for out in going {
            if out.ticket.log_seq > committed && self.fault != Some(Fault::CommitLies) {
                self.breaks("a command left whose row is not committed".into());
            }
            self.publish(life, out);
        }
    }

    /// What the driver has in memory after it recovered must be what the log folds to.
    pub(crate) fn compare(&mut self) {
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
            let committed = self.store.disk().log_seq(self.seats.at);
            for out in going {
                if out.ticket.log_seq > committed {
                    self.breaks("a command left whose row is not committed".into());
                }
                self.publish(life, out);
            }
        }
        self.wake_host(200);
    }

    pub(crate) fn schedule_turn(&mut self) {
        self.tick_again();
        let Some(host) = &self.host else { return };
        let mut asked = self.requests.values();
        let busy = !self.broker.is_read(self.seats.at) && self.broker.up
            || !host.held.is_empty() && !host.lost
            || asked.any(|request| self.is_here(request.saga));
        let forgotten = self.fault == Some(Fault::TimersForgotten);
        let wake = host.driver.next_wake().filter(|_| !forgotten);
        let clock = self.clock();
        if busy {
            self.wake_host(5);
        }
        if let Some(at) = wake {
            self.wake_host(at.since_ms(clock).max(1));
        }
    }
}

/// What a message says, in order. Of a marker nothing: it is looked at before.
fn inputs_of(message: &InboxMessage) -> Vec<(SagaId, Input)> {
    let reports = match message {
        InboxMessage::Batch(batch) => batch.reports.clone(),
        InboxMessage::Started(started) => vec![Report::Started(started.clone())],
        InboxMessage::Checkpoint(checkpoint) => vec![Report::Checkpoint(checkpoint.clone())],
        InboxMessage::Finished(finished) => vec![Report::Finished(finished.clone())],
        InboxMessage::Start(start) => return vec![start_of(start)],
        InboxMessage::Starts(batch) => return batch.starts.iter().map(start_of).collect(),
        InboxMessage::ChildWanted(wanted) => {
            return vec![(wanted.child, Input::ChildWanted(wanted.clone()))];
        }
        InboxMessage::ChildSaid(said) => {
            return vec![(said.parent.saga, Input::ChildSaid(said.clone()))];
        }
        InboxMessage::Marker(_) => return Vec::new(),
    };
    let input = |report| match report {
        Report::Started(m) => (m.of.saga, Input::TaskStarted(m)),
        Report::Checkpoint(m) => (m.of.saga, Input::Checkpoint(m)),
        Report::Finished(m) => (m.of.saga, Input::TaskFinished(m)),
    };
    reports.into_iter().map(input).collect()
}

fn start_of(start: &Start) -> (SagaId, Input) {
    (start.saga, Input::Start(start.clone()))
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
