//! The store in memory: the naive one, which says what every other has to answer, and which tests of the driver run on.
//! Clones share what is kept, so that a driver can be dropped and another one recover.

mod alerts;
mod audit;
mod letters;
mod reader;
mod reservations;
mod tables;
mod triggers;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_driver::{
    Batch, CommitError, DeadLetterRow, DefinitionRow, InDoubt, Loaded, OwedRow, Recovered, SagaRow,
    Store, StoreError, SubscriptionRow,
};
use baton_messages::{Manifest, SagaId, StepId, TaskType, Timestamp};
use uuid::Uuid;

use crate::Partition;
use crate::read::Counts;
use crate::suspects::{KEPT_MS, Suspects};
use crate::tokens::{TokenRow, TokenStore};
use tables::Tables;

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
            purged: 0,
            unsent: count(tables.unsent.len()),
            owed: count(tables.owed.len()),
            dead_letters: count(tables.dead_letters.len()),
            letters: BTreeMap::new(),
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
        for standing in tables.standings.values() {
            *counts.letters.entry(standing.state).or_default() += 1;
        }
        for (_, row) in tables.sagas.values() {
            match row.purged {
                Some(_) => counts.purged += 1,
                None => *counts.sagas.entry(row.status).or_default() += 1,
            }
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

    async fn in_doubt(
        &mut self,
        partition: u8,
        after: u64,
        limit: usize,
    ) -> Result<InDoubt, StoreError> {
        Ok(self.tables().in_doubt(partition, after, limit))
    }

    async fn owed(
        &mut self,
        partition: u8,
        lane: String,
        after: Option<(Timestamp, Uuid)>,
        limit: usize,
    ) -> Result<Vec<OwedRow>, StoreError> {
        Ok(self.tables().owed(partition, &lane, after, limit))
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

    async fn subscribers(
        &mut self,
        kind: String,
        after: Option<(SagaId, StepId)>,
        limit: usize,
    ) -> Result<Vec<SubscriptionRow>, StoreError> {
        Ok(self.tables().subscribers(&kind, after.as_ref(), limit))
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

impl Suspects for MemoryStore {
    async fn begin(&self, message: Uuid, part: u32, now: Timestamp) -> Result<u32, StoreError> {
        let mut tables = self.tables();
        tables
            .suspects
            .retain(|_, (_, at)| at.0 >= now.0.saturating_sub(KEPT_MS));
        let (tries, at) = tables.suspects.entry((message, part)).or_insert((0, now));
        (*tries, *at) = (*tries + 1, now);
        Ok(*tries - 1)
    }

    async fn take_back(&self, message: Uuid, part: u32) -> Result<(), StoreError> {
        if let Some((tries, _)) = self.tables().suspects.get_mut(&(message, part)) {
            *tries = tries.saturating_sub(1);
        }
        Ok(())
    }

    async fn done(&self, message: Uuid, part: u32) -> Result<(), StoreError> {
        self.tables().suspects.remove(&(message, part));
        Ok(())
    }
}

impl TokenStore for MemoryStore {
    async fn put_token(&self, row: TokenRow) -> Result<bool, StoreError> {
        let mut tables = self.tables();
        let there = |known: &TokenRow| known.name == row.name || known.hash == row.hash;
        if tables.tokens.values().any(there) {
            return Ok(false);
        }
        tables.tokens.insert(row.name.clone(), row);
        Ok(true)
    }

    async fn delete_token(&self, name: String) -> Result<bool, StoreError> {
        Ok(self.tables().tokens.remove(&name).is_some())
    }

    async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        Ok(self.tables().tokens.values().cloned().collect())
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
        type Tokens = Self;
        type Triggers = Self;
        type Suspects = Self;
        type Letters = Self;
        type Audit = Self;
        type Alerts = Self;
        type Reservations = Self;
        type Reader = Self;

        async fn open(&mut self) -> (Self, Partition) {
            (self.clone(), self.take(0))
        }

        async fn close(&mut self, _: Self) {}

        fn tokens(&self, _: &Self) -> Self {
            self.clone()
        }

        fn triggers(&self, store: &Self) -> Self {
            store.clone()
        }

        fn letters(&self, store: &Self) -> Self {
            store.clone()
        }

        fn alerts(&self, store: &Self) -> Self {
            store.clone()
        }

        fn reservations(&self, store: &Self) -> Self {
            store.clone()
        }

        fn audit(&self, store: &Self) -> Self {
            store.clone()
        }

        fn suspects(&self, store: &Self) -> Self {
            store.clone()
        }

        fn reader(&self, store: &Self) -> Self {
            store.clone()
        }

        async fn counts(&self) -> Counts {
            Self::counts(self)
        }
    }
}
