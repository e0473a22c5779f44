//! The store in memory: the naive one, which says what every other has to answer, and which tests of the driver run on.
//! Clones share what is kept, so that a driver can be dropped and another one recover.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_driver::store::BoxError;
use baton_driver::{
    Batch, ColdRow, CommitError, DeadLetterRow, DefinitionRow, Loaded, LogRow, Recovered, SagaRow,
    SnapshotRow, Store, StoreError, UnsentRow, WorkItemRow,
};
use baton_engine::state::SNAPSHOT_VERSION;
use baton_engine::{SagaState, WorkItem};
use baton_messages::{AttemptRef, Manifest, SagaId, TaskType, Timestamp};
use uuid::Uuid;

use crate::Partition;
use crate::read::Counts;

/// What the next commit is to come to, for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// Nothing is written, and that is said.
    Failed,
    /// It is written, and nobody is told.
    UnknownWritten,
    /// Nothing is written, and nobody is told.
    UnknownLost,
}

/// A store in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    tables: Arc<Mutex<Tables>>,
}

/// A work item with its end, if it has one.
type Kept = (WorkItem, Option<(Timestamp, String)>);

#[derive(Debug, Default)]
struct Tables {
    /// Epoch and watermark.
    partitions: BTreeMap<u8, (u64, u64)>,
    log: BTreeMap<(u8, u64), LogRow>,
    sagas: BTreeMap<SagaId, (u8, SagaRow)>,
    cold: BTreeMap<SagaId, Option<Timestamp>>,
    snapshots: BTreeMap<SagaId, SnapshotRow>,
    unsent: BTreeMap<AttemptRef, (u8, Timestamp)>,
    unserved: BTreeSet<(u8, TaskType, SagaId)>,
    work_items: BTreeMap<(SagaId, u32), Kept>,
    dead_letters: BTreeMap<Uuid, DeadLetterRow>,
    definitions: BTreeMap<(String, u32), DefinitionRow>,
    manifests: BTreeMap<TaskType, Manifest>,
    fault: Option<CommitFault>,
}

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("log row {0} is there already")]
    LogRow(u64),
    #[error("saga {0} has a row at {1} already")]
    SagaSeq(SagaId, u64),
    #[error("saga {0} has a work item {1} already")]
    WorkItem(SagaId, u32),
    #[error("a fault that was asked for")]
    AskedFor,
    #[error("partition {0} was never taken")]
    NoPartition(u8),
}

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a new epoch of a partition: whoever had it before is fenced.
    #[must_use]
    pub fn take(&self, id: u8) -> Partition {
        let mut tables = self.tables();
        let (epoch, _) = tables.partitions.entry(id).or_default();
        *epoch += 1;
        Partition { id, epoch: *epoch }
    }

    /// Has the next commit go wrong.
    pub fn fail_next(&self, fault: CommitFault) {
        self.tables().fault = Some(fault);
    }

    /// Figures.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let tables = self.tables();
        let mut counts = Counts {
            sagas: BTreeMap::new(),
            unsent: count(tables.unsent.len()),
            dead_letters: count(tables.dead_letters.len()),
            work_items_open: count(
                tables
                    .work_items
                    .values()
                    .filter(|(_, closed)| closed.is_none())
                    .count(),
            ),
            log_rows: count(tables.log.len()),
            db_bytes: 0,
        };
        for (_, row) in tables.sagas.values() {
            *counts.sagas.entry(row.status).or_default() += 1;
        }
        counts
    }

    /// The row of a saga.
    #[must_use]
    pub fn saga_row(&self, saga: SagaId) -> Option<SagaRow> {
        self.tables().sagas.get(&saga).map(|(_, row)| row.clone())
    }

    /// Every dead letter, by id.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadLetterRow> {
        self.tables().dead_letters.values().cloned().collect()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // a test that panicked while it held the lock has nothing half done: batches are checked before they are applied
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

impl Tables {
    fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        let (partition, epoch) = (batch.partition, batch.epoch);
        let fault = self.fault.take();
        let asked_for = || BoxError::from(Refused::AskedFor);
        match fault {
            Some(CommitFault::Failed) => {
                return Err(CommitError::Failed {
                    partition,
                    source: asked_for(),
                });
            }
            Some(CommitFault::UnknownLost) => {
                return Err(CommitError::Unknown {
                    partition,
                    source: asked_for(),
                });
            }
            Some(CommitFault::UnknownWritten) | None => {}
        }
        if self
            .partitions
            .get(&partition)
            .is_none_or(|(owned, _)| *owned != epoch)
        {
            return Err(CommitError::Fenced { partition, epoch });
        }
        self.check(&batch).map_err(|source| CommitError::Data {
            partition,
            source: BoxError::from(source),
        })?;
        self.apply(batch);
        match fault {
            Some(_) => Err(CommitError::Unknown {
                partition,
                source: asked_for(),
            }),
            None => Ok(()),
        }
    }

    fn check(&self, batch: &Batch) -> Result<(), Refused> {
        let mut places = BTreeSet::new();
        let mut saga_seqs = BTreeSet::new();
        for row in &batch.rows {
            if self.log.contains_key(&(batch.partition, row.log_seq)) || !places.insert(row.log_seq)
            {
                return Err(Refused::LogRow(row.log_seq));
            }
            let there = self
                .log
                .values()
                .any(|old| old.saga == row.saga && old.saga_seq == row.saga_seq);
            if there || !saga_seqs.insert((row.saga, row.saga_seq)) {
                return Err(Refused::SagaSeq(row.saga, row.saga_seq));
            }
        }
        let mut opened = BTreeSet::new();
        for row in &batch.work_items {
            if let WorkItemRow::Open { saga, item } = row
                && (self.work_items.contains_key(&(*saga, item.number))
                    || !opened.insert((*saga, item.number)))
            {
                return Err(Refused::WorkItem(*saga, item.number));
            }
        }
        Ok(())
    }

    fn apply(&mut self, batch: Batch) {
        let partition = batch.partition;
        self.partitions
            .insert(partition, (batch.epoch, batch.watermark));
        for row in batch.sagas {
            self.sagas.insert(row.saga, (partition, row));
        }
        for row in batch.rows {
            self.log.insert((partition, row.log_seq), row);
        }
        for ColdRow {
            saga,
            cold,
            wake_at,
        } in batch.cold
        {
            match cold && self.sagas.contains_key(&saga) {
                true => self.cold.insert(saga, wake_at),
                false => self.cold.remove(&saga),
            };
        }
        for row in batch.snapshots {
            self.snapshots.insert(row.saga, row);
        }
        // what is both removed and added stays: a task forgotten would be lost
        for of in batch.unsent_remove {
            self.unsent.remove(&of);
        }
        for UnsentRow { of, since } in batch.unsent_add {
            self.unsent.entry(of).or_insert((partition, since));
        }
        for (task_type, saga) in batch.unserved_remove {
            self.unserved.remove(&(partition, task_type, saga));
        }
        for (task_type, saga) in batch.unserved_add {
            self.unserved.insert((partition, task_type, saga));
        }
        for row in batch.work_items {
            match row {
                WorkItemRow::Open { saga, item } => {
                    self.work_items.insert((saga, item.number), (*item, None));
                }
                WorkItemRow::Close {
                    saga,
                    number,
                    by,
                    at,
                } => {
                    if let Some((_, closed)) = self.work_items.get_mut(&(saga, number)) {
                        closed.get_or_insert((at, by));
                    }
                }
            }
        }
        for letter in batch.dead_letters {
            self.dead_letters.entry(letter.id).or_insert(letter);
        }
    }

    fn load(&self, saga: SagaId) -> Option<Loaded> {
        let snapshot = self
            .snapshots
            .get(&saga)
            .filter(|row| row.version == SNAPSHOT_VERSION);
        let after = snapshot.map_or(0, |row| row.seq);
        let mut rows: Vec<&LogRow> = self
            .log
            .values()
            .filter(|row| row.saga == saga && row.saga_seq >= after)
            .collect();
        rows.sort_by_key(|row| row.saga_seq);
        if snapshot.is_none() && rows.is_empty() {
            return None;
        }
        let base = snapshot.map_or_else(|| Box::new(SagaState::new(saga)), |row| row.state.clone());
        let entries = rows.into_iter().map(|row| row.entry.clone()).collect();
        Some(Loaded {
            saga,
            base,
            entries,
            cold: self.cold.contains_key(&saga),
        })
    }

    fn recover(&self, partition: u8) -> Result<Recovered, StoreError> {
        let Some((_, watermark)) = self.partitions.get(&partition).copied() else {
            let what = format!("partition {partition}, to go on with it");
            return Err(StoreError {
                what,
                source: Box::new(Refused::NoPartition(partition)),
            });
        };
        let log = self.log.range((partition, 0)..=(partition, u64::MAX));
        let hot = |(of, row): &&(u8, SagaRow)| {
            *of == partition && !row.status.ended() && !self.cold.contains_key(&row.saga)
        };
        let mut unsent: Vec<UnsentRow> = self
            .unsent
            .iter()
            .filter(|(_, (of, _))| *of == partition)
            .map(|(of, (_, since))| UnsentRow {
                of: of.clone(),
                since: *since,
            })
            .collect();
        unsent.sort_by_key(|row| (row.since, row.of.message_id()));
        let mut unserved: Vec<TaskType> = self
            .unserved
            .iter()
            .filter(|(of, _, _)| *of == partition)
            .map(|(_, kind, _)| kind.clone())
            .collect();
        unserved.dedup();
        Ok(Recovered {
            watermark,
            log_seq: log
                .clone()
                .next_back()
                .map_or(0, |((_, log_seq), _)| *log_seq),
            in_doubt: log
                .filter(|((_, log_seq), _)| *log_seq > watermark)
                .map(|(_, row)| row.clone())
                .collect(),
            unsent,
            hot: self
                .sagas
                .values()
                .filter(hot)
                .map(|(_, row)| row.saga)
                .collect(),
            cold_wake: self.wakes(partition).first().map(|(wake, _)| *wake),
            unserved,
        })
    }

    /// Wakes of evicted sagas, soonest first.
    fn wakes(&self, partition: u8) -> Vec<(Timestamp, SagaId)> {
        let mut wakes: Vec<(Timestamp, SagaId)> = self
            .cold
            .iter()
            .filter(|(saga, _)| self.sagas.get(saga).is_some_and(|(of, _)| *of == partition))
            .filter_map(|(saga, wake)| wake.map(|wake| (wake, *saga)))
            .collect();
        wakes.sort_unstable();
        wakes
    }
}

impl Store for MemoryStore {
    async fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        self.tables().commit(batch)
    }

    async fn load(&mut self, sagas: Vec<SagaId>) -> Result<Vec<Loaded>, StoreError> {
        let tables = self.tables();
        Ok(sagas
            .into_iter()
            .filter_map(|saga| tables.load(saga))
            .collect())
    }

    async fn recover(&mut self, partition: u8) -> Result<Recovered, StoreError> {
        self.tables().recover(partition)
    }

    async fn cold_due(
        &mut self,
        partition: u8,
        until: Timestamp,
        limit: usize,
    ) -> Result<(Vec<SagaId>, Option<Timestamp>), StoreError> {
        let wakes = self.tables().wakes(partition);
        let due = wakes
            .iter()
            .take(limit)
            .take_while(|(wake, _)| *wake <= until)
            .count();
        let next = wakes.get(due).map(|(wake, _)| *wake);
        Ok((
            wakes.into_iter().take(due).map(|(_, saga)| saga).collect(),
            next,
        ))
    }

    async fn unserved(
        &mut self,
        partition: u8,
        task_type: TaskType,
        after: Option<SagaId>,
        limit: usize,
    ) -> Result<Vec<SagaId>, StoreError> {
        let tables = self.tables();
        let waiting = tables
            .unserved
            .iter()
            .filter(|(of, kind, _)| *of == partition && *kind == task_type);
        Ok(waiting
            .map(|(_, _, saga)| *saga)
            .filter(|saga| after.is_none_or(|after| *saga > after))
            .take(limit)
            .collect())
    }

    async fn put_definition(&mut self, row: DefinitionRow) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let kept = tables
            .definitions
            .entry((row.name.clone(), row.version))
            .or_insert_with(|| row.clone());
        Ok(kept.source == row.source)
    }

    async fn definitions(&mut self) -> Result<Vec<DefinitionRow>, StoreError> {
        Ok(self.tables().definitions.values().cloned().collect())
    }

    async fn put_manifest(&mut self, manifest: Manifest, _: Timestamp) -> Result<(), StoreError> {
        self.tables()
            .manifests
            .insert(manifest.task_type.clone(), manifest);
        Ok(())
    }

    async fn manifests(&mut self) -> Result<Vec<Manifest>, StoreError> {
        Ok(self.tables().manifests.values().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryStore;
    use crate::Partition;
    use crate::read::Counts;
    use crate::suite::Subject;

    crate::store_suite!(MemoryStore::new());

    impl Subject for MemoryStore {
        type Store = Self;

        async fn open(&mut self) -> (Self, Partition) {
            (self.clone(), self.take(0))
        }

        async fn close(&mut self, _: Self) {}

        async fn counts(&self) -> Counts {
            Self::counts(self)
        }
    }
}
