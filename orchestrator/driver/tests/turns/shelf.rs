//! A store that keeps everything in lists, and fails when told to: enough to see what the driver writes, and when.

use std::collections::BTreeMap;
use std::future::Future;
use std::task::{Context, Poll, Waker};

use baton_driver::{
    Batch, CommitError, DeadLetterRow, DefinitionRow, IN_DOUBT_ROWS, InDoubt, Loaded, LogRow,
    Outgoing, Outlet, OwedRow, Recovered, Store, StoreError, SubscriptionChange, SubscriptionRow,
    UnsentRow,
};
use baton_engine::{SagaState, Status};
use baton_messages::{Manifest, SagaId, StepId, TaskType, Timestamp};
use uuid::Uuid;

/// How the next commit goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    Failed,
    UnknownWritten,
    Fenced,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Shelf {
    pub(crate) rows: Vec<LogRow>,
    pub(crate) batches: usize,
    pub(crate) watermark: u64,
    pub(crate) status: BTreeMap<SagaId, Status>,
    /// What their rows say they run.
    pub(crate) versions: BTreeMap<SagaId, u32>,
    pub(crate) unsent: Vec<UnsentRow>,
    pub(crate) owed: Vec<OwedRow>,
    /// What is owed is not read before everything is read anew.
    pub(crate) stale: bool,
    /// The most rows of what is owed, or is in doubt, that were asked for at once.
    pub(crate) most: usize,
    pub(crate) unserved: Vec<(TaskType, SagaId)>,
    pub(crate) subscriptions: Vec<(SubscriptionRow, bool)>,
    pub(crate) letters: Vec<String>,
    /// The properties of each.
    pub(crate) properties: Vec<serde_json::Value>,
    pub(crate) work_items: usize,
    pub(crate) cold: BTreeMap<SagaId, Option<Timestamp>>,
    pub(crate) snapshots: BTreeMap<SagaId, Box<SagaState>>,
    pub(crate) definitions: Vec<DefinitionRow>,
    /// How often definitions were read.
    pub(crate) looks: usize,
    /// How often they cannot be.
    pub(crate) blind: usize,
    pub(crate) manifests: Vec<Manifest>,
    pub(crate) mishap: Option<Mishap>,
    /// Sagas whose records were taken out.
    pub(crate) purged: Vec<SagaId>,
    /// Refuses rows of this saga, as a constraint would.
    pub(crate) refuses: Option<SagaId>,
    /// Refuses dead letters of this kind, as a constraint would.
    pub(crate) misfit: Option<String>,
    /// A row of this saga cannot be decoded.
    pub(crate) undecodable: Option<SagaId>,
}

impl Shelf {
    fn write(&mut self, batch: Batch) {
        self.batches += 1;
        self.watermark = batch.watermark;
        self.rows.extend(batch.rows);
        let versions = batch.sagas.iter().map(|row| (row.saga, row.version));
        self.versions.extend(versions);
        self.status
            .extend(batch.sagas.into_iter().map(|row| (row.saga, row.status)));
        self.unsent
            .retain(|row| !batch.unsent_remove.contains(&row.of));
        self.unsent.extend(batch.unsent_add);
        self.owed.retain(|row| !batch.owed_remove.contains(&row.id));
        for row in batch.owed_add {
            if self.owed.iter().all(|kept| kept.id != row.id) {
                self.owed.push(row);
            }
        }
        self.unserved
            .retain(|row| !batch.unserved_remove.contains(row));
        self.unserved.extend(batch.unserved_add);
        for change in batch.subscriptions {
            match change {
                SubscriptionChange::Add(row) => self.subscriptions.push((row, false)),
                SubscriptionChange::Remove(saga, step) => self
                    .subscriptions
                    .retain(|(row, _)| (row.saga, &row.step) != (saga, &step)),
                SubscriptionChange::Searched(saga, step) => {
                    for (row, searched) in &mut self.subscriptions {
                        *searched |= (row.saga, &row.step) == (saga, &step);
                    }
                }
            }
        }
        for letter in batch.dead_letters {
            self.letters.push(letter.error);
            self.properties.push(letter.properties);
        }
        self.work_items += batch.work_items.len();
        for row in batch.cold {
            if row.cold {
                self.cold.insert(row.saga, row.wake_at);
            } else {
                self.cold.remove(&row.saga);
            }
        }
        self.snapshots
            .extend(batch.snapshots.into_iter().map(|row| (row.saga, row.state)));
        for row in batch.purged {
            self.rows.retain(|kept| kept.saga != row.saga);
            self.snapshots.remove(&row.saga);
            self.purged.push(row.saga);
        }
    }

    fn behind(&self, after: u64, limit: usize) -> InDoubt {
        let behind = self.rows.iter().filter(|row| row.log_seq > after);
        let rows: Vec<LogRow> = behind.take(limit).cloned().collect();
        let last = rows.last().filter(|_| rows.len() == limit);
        InDoubt {
            more: last.map(|row| row.log_seq),
            rows,
        }
    }

    /// What is left of a saga whose records were taken out.
    fn left(&self, saga: SagaId) -> Box<SagaState> {
        let mut state = SagaState::new(saga);
        if self.purged.contains(&saga) {
            state.definition = "two".into();
            state.version = 1;
            state.status = self.status[&saga];
            state.purged_at = Some(Timestamp(1));
        }
        Box::new(state)
    }
}

impl Store for Shelf {
    async fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        let partition = batch.partition;
        let source = || "told to".into();
        let misfit = |letter: &DeadLetterRow| self.misfit.is_some() && letter.kind == self.misfit;
        if batch.rows.iter().any(|row| Some(row.saga) == self.refuses)
            || batch.dead_letters.iter().any(misfit)
        {
            return Err(CommitError::Data {
                partition,
                source: source(),
            });
        }
        match self.mishap.take() {
            None => {}
            Some(Mishap::Failed) => {
                return Err(CommitError::Failed {
                    partition,
                    source: source(),
                });
            }
            Some(Mishap::Fenced) => {
                return Err(CommitError::Fenced {
                    partition,
                    epoch: batch.epoch,
                });
            }
            Some(Mishap::UnknownWritten) => {
                self.write(batch);
                return Err(CommitError::Unknown {
                    partition,
                    source: source(),
                });
            }
        }
        self.write(batch);
        Ok(())
    }

    async fn load(&mut self, sagas: Vec<SagaId>) -> Result<Vec<Loaded>, StoreError> {
        let known = sagas
            .into_iter()
            .filter(|saga| self.status.contains_key(saga));
        Ok(known
            .map(|saga| {
                let base = self
                    .snapshots
                    .get(&saga)
                    .cloned()
                    .unwrap_or_else(|| self.left(saga));
                let rows = self
                    .rows
                    .iter()
                    .filter(|row| row.saga == saga && row.saga_seq >= base.seq);
                let entries = rows.map(|row| row.entry.clone()).collect();
                Loaded {
                    saga,
                    base,
                    entries,
                    cold: self.cold.contains_key(&saga),
                    unreadable: (self.undecodable == Some(saga)).then(|| "row 1".to_owned()),
                }
            })
            .collect())
    }

    async fn recover(&mut self, _: u8) -> Result<Recovered, StoreError> {
        self.stale = false;
        let hot = self
            .status
            .iter()
            .filter(|(saga, status)| !status.ended() && !self.cold.contains_key(saga));
        let mut lanes: Vec<String> = self.owed.iter().map(|row| row.lane.clone()).collect();
        lanes.sort_unstable();
        lanes.dedup();
        let first = self.behind(self.watermark, IN_DOUBT_ROWS);
        Ok(Recovered {
            watermark: self.watermark,
            log_seq: self.rows.last().map_or(0, |row| row.log_seq),
            in_doubt: first.rows,
            in_doubt_more: first.more,
            unsent: self.unsent.clone(),
            owed_lanes: lanes,
            owed: self.owed.len() as u64,
            hot: hot.map(|(saga, _)| *saga).collect(),
            cold_wake: self.cold.values().flatten().min().copied(),
            unserved: self
                .unserved
                .iter()
                .map(|(task_type, _)| task_type.clone())
                .collect(),
            unsearched: self
                .subscriptions
                .iter()
                .filter(|(_, searched)| !searched)
                .map(|(row, _)| row.clone())
                .collect(),
        })
    }

    async fn in_doubt(&mut self, _: u8, after: u64, limit: usize) -> Result<InDoubt, StoreError> {
        self.most = self.most.max(limit);
        Ok(self.behind(after, limit))
    }

    async fn owed(
        &mut self,
        _: u8,
        lane: String,
        after: Option<(Timestamp, Uuid)>,
        limit: usize,
    ) -> Result<Vec<OwedRow>, StoreError> {
        self.most = self.most.max(limit);
        if self.stale {
            return Err(StoreError {
                what: "read what is owed".to_owned(),
                source: "it has gone back".into(),
            });
        }
        let place = |row: &OwedRow| (row.since, row.id);
        let mut rows: Vec<OwedRow> = self
            .owed
            .iter()
            .filter(|row| row.lane == lane && after.is_none_or(|after| place(row) > after))
            .cloned()
            .collect();
        rows.sort_by_key(place);
        rows.truncate(limit);
        Ok(rows)
    }

    async fn cold_due(
        &mut self,
        _: u8,
        until: Timestamp,
        limit: usize,
    ) -> Result<(Vec<SagaId>, Option<Timestamp>), StoreError> {
        let mut all: Vec<_> = self
            .cold
            .iter()
            .filter_map(|(saga, at)| at.map(|at| (at, *saga)))
            .collect();
        all.sort_unstable();
        let due: Vec<SagaId> = all
            .iter()
            .filter(|(at, _)| *at <= until)
            .take(limit)
            .map(|(_, saga)| *saga)
            .collect();
        Ok((due.clone(), all.get(due.len()).map(|(at, _)| *at)))
    }

    async fn unserved(
        &mut self,
        _: u8,
        task_type: TaskType,
        after: Option<SagaId>,
        limit: usize,
    ) -> Result<Vec<SagaId>, StoreError> {
        let mut all: Vec<SagaId> = self
            .unserved
            .iter()
            .filter(|(t, _)| *t == task_type)
            .map(|(_, saga)| *saga)
            .collect();
        all.sort_unstable();
        Ok(all
            .into_iter()
            .filter(|saga| after.is_none_or(|last| *saga > last))
            .take(limit)
            .collect())
    }

    async fn subscribers(
        &mut self,
        kind: String,
        after: Option<(SagaId, StepId)>,
        limit: usize,
    ) -> Result<Vec<SubscriptionRow>, StoreError> {
        let key = |row: &SubscriptionRow| (row.saga, row.step.clone());
        let mut all: Vec<SubscriptionRow> = self
            .subscriptions
            .iter()
            .map(|(row, _)| row.clone())
            .filter(|row| row.event.fits(&kind) && after.as_ref().is_none_or(|a| key(row) > *a))
            .collect();
        all.sort_by_key(key);
        all.truncate(limit);
        Ok(all)
    }

    async fn put_definition(&mut self, row: DefinitionRow) -> Result<bool, StoreError> {
        self.definitions.push(row);
        Ok(true)
    }

    async fn definitions(&mut self) -> Result<Vec<DefinitionRow>, StoreError> {
        self.looks += 1;
        if self.blind > 0 {
            self.blind -= 1;
            return Err(StoreError {
                what: "definitions".to_owned(),
                source: "told to".into(),
            });
        }
        Ok(self.definitions.clone())
    }

    async fn put_manifest(&mut self, manifest: Manifest, _: Timestamp) -> Result<(), StoreError> {
        self.manifests.push(manifest);
        Ok(())
    }

    async fn manifests(&mut self) -> Result<Vec<Manifest>, StoreError> {
        Ok(self.manifests.clone())
    }
}

/// An outlet that only collects.
#[derive(Debug, Default)]
pub(crate) struct Tray(pub(crate) Vec<Outgoing>);

impl Outlet for Tray {
    fn publish(&mut self, commands: Vec<Outgoing>) {
        self.0.extend(commands);
    }
}

/// Runs a future that never waits.
pub(crate) fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a future of the shelf never waits"),
    }
}
