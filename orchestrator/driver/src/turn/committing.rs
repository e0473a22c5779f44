//! The second half of a turn: one commit for all of it; then, and only then, what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use baton_engine::Command;
use baton_engine::reservation::Change;
use baton_engine::state::SNAPSHOT_VERSION;
use baton_messages::{AttemptRef, InboxMessage, SagaId, Standing, TaskMessage};

use super::item::{Built, Claim};
use crate::batch::{Batch, ColdRow, LogRow, SnapshotRow, SubscriptionChange, SubscriptionRow};
use crate::driver::{Driver, DriverError};
use crate::flight::Flying;
use crate::outlet::{Outgoing, Outlet, Ticket};
use crate::owed::Owed;
use crate::store::{CommitError, Store};
use crate::unsent::RESEND_MS;
use crate::work::Answer;

/// Sagas evicted in one turn: a sweep of many idle sagas must not hold up those that are not.
const EVICT_MAX: usize = 256;

impl<S: Store, O: Outlet> Driver<S, O> {
    /// One commit for all of it; then, and only then, what follows from it.
    pub(super) async fn commit_built(
        &mut self,
        built: Vec<Built>,
    ) -> Result<Vec<Answer>, DriverError> {
        let mut batch = self.empty();
        let mut settling: BTreeMap<u64, u32> = BTreeMap::new();
        let mut outgoing = Vec::new();
        let mut answers = Vec::new();
        let mut rows: Vec<(u64, u32)> = Vec::new();
        let mut touched: BTreeSet<SagaId> = BTreeSet::new();
        let mut leases = Vec::new();
        let mut log_seq = self.log_seq;
        for one in built {
            if let Some(row) = one.settles {
                *settling.entry(row).or_default() += 1;
            }
            if let Some((saga, saga_seq, entry)) = one.row {
                log_seq += 1;
                touched.insert(saga);
                let sending: Vec<Command> = one.commands.into_iter().filter(leaves).collect();
                rows.push((log_seq, u32::try_from(sending.len()).unwrap_or(u32::MAX)));
                outgoing.extend((0u32..).zip(sending).map(|(index, command)| Outgoing {
                    ticket: Ticket { log_seq, index },
                    saga,
                    command,
                }));
                batch.unserved_add.extend(
                    one.unserved_add
                        .into_iter()
                        .map(|task_type| (task_type, saga)),
                );
                batch.unserved_remove.extend(
                    one.unserved_remove
                        .into_iter()
                        .map(|task_type| (task_type, saga)),
                );
                batch.rows.push(LogRow {
                    log_seq,
                    saga,
                    saga_seq,
                    entry,
                });
            }
            batch.subscriptions.extend(one.subscriptions);
            batch.reservations.extend(one.reservations);
            batch.sagas.extend(one.saga_row);
            batch.work_items.extend(one.work_items);
            batch.unsent_remove.extend(one.unsent_remove);
            batch.unsent_add.extend(one.unsent_add);
            batch.dead_letters.extend(one.letter.map(|letter| *letter));
            leases.push((one.claimed, one.closed));
            answers.extend(one.answer);
        }
        let searched = self.searched.drain(..);
        batch
            .subscriptions
            .extend(searched.map(|(saga, step)| SubscriptionChange::Searched(saga, step)));
        self.cold_rows(&mut batch, &touched);
        let evicted = self.sweep(&mut batch, &touched);
        self.purge_what_rests(&mut batch);
        batch.watermark = self.flight.watermark_with(&settling);
        if batch.watermark == self.log_seq {
            // Nothing older is under way: the watermark passes new rows that send nothing at once.
            let silent = rows.iter().take_while(|(_, sending)| *sending == 0);
            batch.watermark = silent.last().map_or(batch.watermark, |(row, _)| *row);
        }
        let idle = batch.watermark != self.watermark_written
            && self.now.since_ms(self.committed_at) >= 1_000;
        if batch.is_empty() && !idle {
            // What these items took care of is taken care of: the next commit writes the watermark.
            for (row, times) in settling {
                (0..times).for_each(|_| self.flight.settled(row));
            }
            self.after_commit(touched, evicted);
            return Ok(answers);
        }
        for (task_type, _) in &batch.unserved_add {
            self.unserved.insert(task_type.clone());
        }
        let unsent: Vec<AttemptRef> = batch.unsent_add.iter().map(|row| row.of.clone()).collect();
        let subscribed = subscribed(&batch.subscriptions);
        let told = |change: &Change| matches!(change, Change::Told | Change::HeldBack);
        let reserved = batch.reservations.iter().any(|row| !told(&row.change));
        self.commit(batch).await?;
        self.reserved |= reserved;
        self.subscribed.extend(subscribed);
        self.log_seq = log_seq;
        for (row, times) in settling {
            (0..times).for_each(|_| self.flight.settled(row));
        }
        for (row, sending) in rows {
            self.flight.committed(row, sending);
        }
        for of in unsent {
            self.keep_unsent(of, self.now.plus_ms(RESEND_MS));
        }
        for (claimed, closed) in leases {
            closed.into_iter().for_each(|run| self.leases.closed(run));
            for Claim { of, run, span } in claimed {
                self.leases.claimed(of, run, span.lease_ms, span.timeout_ms);
            }
        }
        for out in &outgoing {
            self.flight.took_off(out.ticket, flying(out));
        }
        if !outgoing.is_empty() {
            self.outlet.publish(outgoing);
        }
        self.after_commit(touched, evicted);
        Ok(answers)
    }

    pub(super) async fn commit(&mut self, batch: Batch) -> Result<(), DriverError> {
        let partition = self.options.partition;
        let watermark = batch.watermark;
        let changed = self.noted.of(&batch);
        match self.store.commit(batch).await {
            Ok(()) => {
                self.noted.add(changed);
                self.watermark_written = watermark;
                self.committed_at = self.now;
                Ok(())
            }
            Err(CommitError::Fenced { .. }) => Err(DriverError::Fenced { partition }),
            Err(source) => Err(DriverError::Lost { partition, source }),
        }
    }

    /// Evicted sagas that were read: in memory again when something happened to them, else back where they were, with the wake they have now.
    pub(super) fn cold_rows(&mut self, batch: &mut Batch, touched: &BTreeSet<SagaId>) {
        let visitors = std::mem::take(&mut self.visitors);
        for saga in visitors {
            let Some(cached) = self.cache.get_mut(saga).filter(|cached| cached.cold) else {
                if !touched.contains(&saga)
                    && self
                        .cache
                        .get(saga)
                        .is_some_and(|cached| !cached.state.active())
                {
                    self.cache.remove(saga);
                }
                continue;
            };
            if touched.contains(&saga) {
                cached.cold = false;
                batch.cold.push(ColdRow {
                    saga,
                    cold: false,
                    wake_at: None,
                });
                continue;
            }
            let wake_at = cached.state.next_wake();
            if cached.state.active() && wake_at.is_some_and(|at| at <= self.now) {
                // More is due than one turn takes: it is looked at again in the next.
                self.visitors.insert(saga);
                continue;
            }
            batch.cold.push(ColdRow {
                saga,
                cold: true,
                wake_at,
            });
            self.cold_wake = [self.cold_wake, wake_at].into_iter().flatten().min();
            self.cache.remove(saga);
        }
    }

    /// What is in memory is not at rest, whatever was thought of it when it was found: it stays.
    fn purge_what_rests(&mut self, batch: &mut Batch) {
        let mut rest = std::mem::take(&mut self.purging);
        rest.retain(|row| self.cache.get(row.saga).is_none());
        batch.purged = rest;
    }

    /// Idle sagas leave memory, as a snapshot.
    pub(super) fn sweep(&mut self, batch: &mut Batch, touched: &BTreeSet<SagaId>) -> Vec<SagaId> {
        if self.now.since_ms(self.swept_at) < self.sweep_every_ms() {
            return Vec::new();
        }
        let idle_ms = self.idle_ms();
        let soon = self.now.plus_ms(idle_ms);
        let idle: Vec<SagaId> = self
            .cache
            .iter()
            .filter(|(saga, cached)| {
                self.now.since_ms(cached.touched) >= idle_ms
                    && !touched.contains(saga)
                    && cached.evictable()
                    && cached.state.next_wake().is_none_or(|at| at > soon)
            })
            .map(|(saga, _)| saga)
            .take(EVICT_MAX)
            .collect();
        if idle.len() < EVICT_MAX {
            self.swept_at = self.now;
        }
        for saga in &idle {
            let Some(cached) = self.cache.get(*saga) else {
                continue;
            };
            let wake_at = cached.state.next_wake();
            if cached.worth_a_snapshot() {
                batch.snapshots.push(SnapshotRow {
                    saga: *saga,
                    seq: cached.state.seq,
                    version: SNAPSHOT_VERSION,
                    state: cached.state.clone(),
                });
            }
            batch.cold.push(ColdRow {
                saga: *saga,
                cold: true,
                wake_at,
            });
            self.cold_wake = [self.cold_wake, wake_at].into_iter().flatten().min();
        }
        idle
    }

    pub(super) fn after_commit(&mut self, touched: BTreeSet<SagaId>, evicted: Vec<SagaId>) {
        for saga in touched {
            match self.cache.get(saga) {
                Some(cached) if cached.state.active() => self.cache.rewind(saga),
                _ => {
                    self.cache.remove(saga);
                }
            }
        }
        for saga in evicted {
            self.cache.remove(saga);
        }
    }
}

/// The subscriptions a batch leaves behind.
fn subscribed(changes: &[SubscriptionChange]) -> Vec<SubscriptionRow> {
    let mut left: Vec<SubscriptionRow> = Vec::new();
    for change in changes {
        match change {
            SubscriptionChange::Add(row) => left.push(row.clone()),
            SubscriptionChange::Remove(saga, step) => {
                left.retain(|row| row.saga != *saga || row.step != *step);
            }
            SubscriptionChange::Searched(..) => {}
        }
    }
    left
}

/// Whether a command leaves the process; work items stay in the store.
const fn leaves(command: &Command) -> bool {
    match command {
        Command::Dispatch(_)
        | Command::Grant(_)
        | Command::CancelTask { .. }
        | Command::EmitEvent(_)
        | Command::TellSaga(_) => true,
        Command::OpenWorkItem(_)
        | Command::ChangeWorkItem(_)
        | Command::CloseWorkItem { .. }
        | Command::Reserve(_) => false,
    }
}

/// A rough size: the values it carries, without serialising it a second time.
fn flying(out: &Outgoing) -> Flying {
    let (task, bytes) = match &out.command {
        Command::Dispatch(message) => match &**message {
            TaskMessage::Task(task) => (Some(task.of.clone()), 512 + rough_bytes(&task.input)),
        },
        Command::EmitEvent(event) => {
            return flying_again(out.saga, Owed::Event(event.clone()));
        }
        Command::TellSaga(word) => return flying_again(out.saga, Owed::Word(word.clone())),
        Command::Grant(_)
        | Command::CancelTask { .. }
        | Command::OpenWorkItem(_)
        | Command::ChangeWorkItem(_)
        | Command::CloseWorkItem { .. }
        | Command::Reserve(_) => (None, 512),
    };
    Flying {
        saga: out.saga,
        task,
        again: None,
        bytes,
    }
}

/// An event, or a word to another saga, on its way.
pub(crate) fn flying_again(saga: SagaId, again: Owed) -> Flying {
    let carries = match &again {
        Owed::Event(event) => event.data.as_ref(),
        Owed::Word(word) => match word.as_ref() {
            InboxMessage::ChildWanted(wanted) => Some(&wanted.input),
            InboxMessage::ChildSaid(said) => match &said.standing {
                Standing::Completed { output, .. } => output.as_ref(),
                Standing::UnderWay { .. } | Standing::Compensated { .. } | Standing::Abandoned => {
                    None
                }
            },
            _ => None,
        },
    };
    Flying {
        saga,
        task: None,
        bytes: 512 + carries.map_or(0, rough_bytes),
        again: Some(again),
    }
}

fn rough_bytes(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => 8,
        serde_json::Value::String(text) => text.len() + 2,
        serde_json::Value::Array(all) => all.iter().map(rough_bytes).sum::<usize>() + 2,
        serde_json::Value::Object(map) => {
            map.iter()
                .map(|(key, value)| key.len() + rough_bytes(value) + 4)
                .sum::<usize>()
                + 2
        }
    }
}
