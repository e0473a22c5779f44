//! A model of the store: a transaction happens wholly or not at all, its answer may be lost, and every call has an await before and
//! after its effect, at which whoever waits may die. What is on the disk outlives every driver.
//!
//! The disk also folds every record as it is written. That mirror is the replay of the log, kept up to date: the oracle reads it, and
//! every snapshot and every state in memory must equal it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use baton_driver::{
    Batch, ColdRow, CommitError, DeadLetterRow, DefinitionRow, IN_DOUBT_ROWS, InDoubt, Loaded,
    LogRow, OwedRow, Recovered, Reservations, SagaRow, SnapshotRow, Store, StoreError,
    SubscriptionChange, SubscriptionRow, UnsentRow, WorkItemRow,
};
use baton_engine::{SagaState, WorkItem, fold};
use baton_messages::{AttemptRef, Event, Manifest, SagaId, StepId, TaskType, Timestamp};
use uuid::Uuid;

use crate::fault::Fault;
use crate::mood::Mood;
use crate::rng::Rng;
use crate::seats::partition_of;

/// Pending once: a place at which whoever waits may die.
struct Await(bool);

impl Future for Await {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, false) {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }
}

/// The log of one partition, and who owns it.
#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    log_seq: u64,
    watermark: u64,
    epoch: u64,
}

/// What is on the disk.
#[derive(Debug)]
pub struct Disk {
    /// Of all partitions, each with its own, as they were written.
    rows: Vec<(u8, LogRow)>,
    lanes: BTreeMap<u8, Lane>,
    partitions: u8,
    sagas: BTreeMap<SagaId, SagaRow>,
    snapshots: BTreeMap<SagaId, SnapshotRow>,
    cold: BTreeMap<SagaId, ColdRow>,
    unsent: BTreeMap<AttemptRef, UnsentRow>,
    /// Events and words to be published again, with the partition of each.
    owed: BTreeMap<Uuid, (u8, OwedRow)>,
    /// Dead letters by id.
    pub dead_letters: BTreeMap<Uuid, DeadLetterRow>,
    /// Open work items.
    pub work_items: BTreeMap<(SagaId, u32), WorkItem>,
    unserved: BTreeSet<(TaskType, SagaId)>,
    /// Steps that wait for events, with whether the kept ones were searched.
    pub subscriptions: BTreeMap<(SagaId, StepId), (SubscriptionRow, bool)>,
    /// Events that were taken in, by source and id, with when.
    pub events: BTreeMap<(String, String), (Event, Timestamp)>,
    /// What sagas take before their first step.
    pub reservations: Reservations,
    definitions: Vec<DefinitionRow>,
    manifests: BTreeMap<TaskType, Manifest>,
    /// Every saga, folded from its rows as they were written.
    pub mirror: BTreeMap<SagaId, SagaState>,
    /// Sagas written since the oracle last looked.
    pub touched: BTreeSet<SagaId>,
    /// The first thing that was wrong about what was written.
    pub broken: Option<String>,
    /// How many commits there were.
    pub commits: u64,
    /// Chance, and how often things go wrong.
    rng: Rng,
    unknown: u64,
    failed: u64,
    fault: Option<Fault>,
}

impl Disk {
    /// An empty disk of so many partitions.
    #[must_use]
    pub const fn new(rng: Rng, mood: &Mood, fault: Option<Fault>, partitions: u8) -> Self {
        Self {
            rows: Vec::new(),
            lanes: BTreeMap::new(),
            partitions,
            sagas: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            cold: BTreeMap::new(),
            unsent: BTreeMap::new(),
            owed: BTreeMap::new(),
            dead_letters: BTreeMap::new(),
            work_items: BTreeMap::new(),
            unserved: BTreeSet::new(),
            subscriptions: BTreeMap::new(),
            events: BTreeMap::new(),
            reservations: Reservations::new(),
            definitions: Vec::new(),
            manifests: BTreeMap::new(),
            mirror: BTreeMap::new(),
            touched: BTreeSet::new(),
            broken: None,
            commits: 0,
            rng,
            unknown: mood.commit_unknown,
            failed: mood.commit_failed,
            fault,
        }
    }

    /// From here on nothing goes wrong any more.
    pub const fn calm_down(&mut self) {
        self.unknown = 0;
        self.failed = 0;
    }

    /// The entries of a saga, in order.
    pub fn entries(&self, saga: SagaId) -> impl Iterator<Item = &baton_engine::Entry> {
        let rows = self.rows.iter().filter(move |(_, row)| row.saga == saga);
        rows.map(|(_, row)| &row.entry)
    }

    /// What was written after so many rows, each with its saga.
    pub fn entries_from(
        &self,
        rows: usize,
    ) -> impl Iterator<Item = (SagaId, &baton_engine::Entry)> {
        let rows = self.rows.iter().skip(rows);
        rows.map(|(_, row)| (row.saga, &row.entry))
    }

    /// The last row of a partition's log.
    #[must_use]
    pub fn log_seq(&self, partition: u8) -> u64 {
        self.lane(partition).log_seq
    }

    /// A partition is owned under this epoch from now on.
    pub fn owned(&mut self, partition: u8, epoch: u64) {
        self.lanes.entry(partition).or_default().epoch = epoch;
    }

    fn lane(&self, partition: u8) -> Lane {
        self.lanes.get(&partition).copied().unwrap_or_default()
    }

    /// Whether a saga lies in a partition.
    fn is_in(&self, saga: SagaId, partition: u8) -> bool {
        partition_of(saga, self.partitions) == partition
    }

    fn complain(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    fn write(&mut self, batch: Batch) {
        self.commits += 1;
        let partition = batch.partition;
        let before = self.lane(partition).watermark;
        if batch.watermark < before {
            self.complain(format!(
                "the watermark went back from {before} to {}",
                batch.watermark
            ));
        }
        for row in batch.rows {
            self.write_row(partition, row);
        }
        let last = self.log_seq(partition);
        if batch.watermark > last {
            self.complain(format!(
                "the watermark is {}, past the last row {last}",
                batch.watermark
            ));
        }
        let too_far = self.fault == Some(Fault::WatermarkTooFar);
        let watermark = if too_far { last } else { batch.watermark };
        self.lanes.entry(partition).or_default().watermark = watermark;
        for row in batch.snapshots {
            if self.mirror.get(&row.saga) != Some(&*row.state) {
                self.complain(format!(
                    "the snapshot of {} is not what its records fold to",
                    row.saga
                ));
            }
            self.snapshots.insert(row.saga, row);
        }
        self.sagas
            .extend(batch.sagas.into_iter().map(|row| (row.saga, row)));
        self.cold
            .extend(batch.cold.into_iter().map(|row| (row.saga, row)));
        for of in batch.unsent_remove {
            self.unsent.remove(&of);
        }
        if self.fault != Some(Fault::UnsentForgotten) {
            for row in batch.unsent_add {
                self.unsent.entry(row.of.clone()).or_insert(row);
            }
        }
        for id in batch.owed_remove {
            self.owed.remove(&id);
        }
        if self.fault != Some(Fault::OwedForgotten) {
            for row in batch.owed_add {
                self.owed.entry(row.id).or_insert((partition, row));
            }
        }
        for row in batch.work_items {
            match row {
                WorkItemRow::Open { saga, item } => {
                    self.work_items.insert((saga, item.number), *item);
                }
                WorkItemRow::Change { saga, item } => {
                    if let Some(known) = self.work_items.get_mut(&(saga, item.number)) {
                        *known = *item;
                    }
                }
                WorkItemRow::Close { saga, number, .. } => {
                    self.work_items.remove(&(saga, number));
                }
            }
        }
        for row in batch.dead_letters {
            self.dead_letters.entry(row.id).or_insert(row);
        }
        for key in batch.unserved_remove {
            self.unserved.remove(&(key.0, key.1));
        }
        self.unserved.extend(batch.unserved_add);
        for change in batch.subscriptions {
            self.change_subscription(change);
        }
        for change in batch.reservations {
            let mirror = &self.mirror;
            let active = |saga| mirror.get(&saga).is_some_and(SagaState::active);
            self.reservations.change(change, active);
        }
        if let Some(row) = batch.purged.first() {
            // nobody here asks for it
            self.complain(format!("the records of {} were to be taken out", row.saga));
        }
    }

    fn change_subscription(&mut self, change: SubscriptionChange) {
        match change {
            SubscriptionChange::Add(_) if self.fault == Some(Fault::SubscriptionForgotten) => {}
            SubscriptionChange::Add(row) => {
                let key = (row.saga, row.step.clone());
                self.subscriptions.insert(key, (row, false));
            }
            SubscriptionChange::Searched(saga, step) => {
                if let Some((_, searched)) = self.subscriptions.get_mut(&(saga, step)) {
                    *searched = true;
                }
            }
            SubscriptionChange::Remove(saga, step) => {
                self.subscriptions.remove(&(saga, step));
            }
        }
    }

    fn write_row(&mut self, partition: u8, row: LogRow) {
        let last = self.log_seq(partition);
        if row.log_seq != last + 1 {
            self.complain(format!("row {} follows row {last}", row.log_seq));
        }
        if !self.is_in(row.saga, partition) {
            self.complain(format!(
                "saga {} is written in partition {partition}, where it is not",
                row.saga
            ));
        }
        self.lanes.entry(partition).or_default().log_seq = last + 1;
        let state = self
            .mirror
            .entry(row.saga)
            .or_insert_with(|| SagaState::new(row.saga));
        let mut wrong = (state.seq != row.saga_seq).then(|| {
            format!(
                "row {} begins at {}, its saga is at {}",
                row.log_seq, row.saga_seq, state.seq
            )
        });
        if row.entry.at < state.last_at {
            wrong = Some(format!(
                "row {} is older than the one before it",
                row.log_seq
            ));
        }
        for record in &row.entry.records {
            if let Err(error) = fold(state, row.entry.at, record) {
                wrong = Some(format!("row {} does not fold: {error}", row.log_seq));
            }
        }
        self.touched.insert(row.saga);
        self.rows.push((partition, row));
        if let Some(what) = wrong {
            self.complain(what);
        }
    }

    fn recovered(&self, partition: u8) -> Recovered {
        let hot = |saga: &SagaId| !self.cold.get(saga).is_some_and(|row| row.cold);
        let here = |saga: SagaId| self.is_in(saga, partition);
        let lane = self.lane(partition);
        let first = self.in_doubt(partition, lane.watermark, IN_DOUBT_ROWS);
        let owed = self.owed.values().filter(|(of, _)| *of == partition);
        Recovered {
            watermark: lane.watermark,
            log_seq: lane.log_seq,
            in_doubt: first.rows,
            in_doubt_more: first.more,
            owed: owed.clone().count() as u64,
            owed_lanes: owed
                .map(|(_, row)| row.lane.clone())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            unsent: self
                .unsent
                .values()
                .filter(|row| here(row.of.saga))
                .cloned()
                .collect(),
            hot: self
                .sagas
                .values()
                .filter(|row| !row.status.ended() && hot(&row.saga) && here(row.saga))
                .map(|row| row.saga)
                .collect(),
            cold_wake: self
                .cold
                .values()
                .filter(|row| row.cold && here(row.saga))
                .filter_map(|row| row.wake_at)
                .min(),
            unserved: self
                .unserved
                .iter()
                .filter(|(_, saga)| here(*saga))
                .map(|(task_type, _)| task_type.clone())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            unsearched: self
                .subscriptions
                .values()
                .filter(|(row, searched)| !searched && here(row.saga))
                .map(|(row, _)| row.clone())
                .collect(),
        }
    }

    fn in_doubt(&self, partition: u8, after: u64, limit: usize) -> InDoubt {
        let behind = |(of, row): &&(u8, LogRow)| *of == partition && row.log_seq > after;
        let found = self.rows.iter().filter(behind).take(limit);
        let rows: Vec<LogRow> = found.map(|(_, row)| row.clone()).collect();
        let last = rows.last().filter(|_| rows.len() >= limit);
        InDoubt {
            more: last.map(|row| row.log_seq),
            rows,
        }
    }

    fn loaded(&self, saga: SagaId) -> Option<Loaded> {
        self.mirror.get(&saga)?;
        let base = self
            .snapshots
            .get(&saga)
            .map_or_else(|| Box::new(SagaState::new(saga)), |row| row.state.clone());
        let mut entries = Vec::new();
        for (_, row) in self.rows.iter().filter(|(_, row)| row.saga == saga) {
            if row.saga_seq >= base.seq {
                entries.push(row.entry.clone());
            }
        }
        Some(Loaded {
            saga,
            base,
            entries,
            cold: self.cold.get(&saga).is_some_and(|row| row.cold),
            unreadable: None,
        })
    }
}

/// A connection to the disk.
#[derive(Debug, Clone)]
pub struct Connection(Arc<Mutex<Disk>>);

impl Connection {
    /// The only connection to a disk; cloned for each driver.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self(Arc::new(Mutex::new(disk)))
    }

    /// What is on the disk.
    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fate(&self) -> Fate {
        let mut disk = self.disk();
        let (unknown, failed) = (disk.unknown, disk.failed);
        if disk.rng.per_mille(unknown) {
            return if disk.rng.per_mille(500) {
                Fate::UnknownDone
            } else {
                Fate::UnknownNot
            };
        }
        if disk.rng.per_mille(failed) {
            Fate::Failed
        } else {
            Fate::Done
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    Failed,
    UnknownDone,
    UnknownNot,
}

impl Store for Connection {
    async fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        Await(true).await;
        let partition = batch.partition;
        let fate = self.fate();
        {
            let mut disk = self.disk();
            let epoch = disk.lane(partition).epoch;
            if epoch != batch.epoch && disk.fault != Some(Fault::FenceMissing) {
                return Err(CommitError::Fenced {
                    partition,
                    epoch: batch.epoch,
                });
            }
            let lies =
                disk.fault == Some(Fault::CommitLies) && disk.commits > 5 && disk.rng.per_mille(30);
            if matches!(fate, Fate::Done | Fate::UnknownDone) && !lies {
                disk.write(batch);
            }
        }
        Await(true).await;
        match fate {
            Fate::Done => Ok(()),
            Fate::Failed => Err(CommitError::Failed {
                partition,
                source: "the disk is full".into(),
            }),
            Fate::UnknownDone | Fate::UnknownNot => Err(CommitError::Unknown {
                partition,
                source: "the connection is gone".into(),
            }),
        }
    }

    async fn load(&mut self, sagas: Vec<SagaId>) -> Result<Vec<Loaded>, StoreError> {
        Await(true).await;
        let disk = self.disk();
        Ok(sagas
            .into_iter()
            .filter_map(|saga| disk.loaded(saga))
            .collect())
    }

    async fn recover(&mut self, partition: u8) -> Result<Recovered, StoreError> {
        Await(true).await;
        Ok(self.disk().recovered(partition))
    }

    async fn in_doubt(
        &mut self,
        partition: u8,
        after: u64,
        limit: usize,
    ) -> Result<InDoubt, StoreError> {
        Await(true).await;
        Ok(self.disk().in_doubt(partition, after, limit))
    }

    async fn owed(
        &mut self,
        partition: u8,
        lane: String,
        after: Option<(Timestamp, Uuid)>,
        limit: usize,
    ) -> Result<Vec<OwedRow>, StoreError> {
        Await(true).await;
        let place = |row: &OwedRow| (row.since, row.id);
        let mut rows: Vec<OwedRow> = {
            let disk = self.disk();
            let here = disk.owed.values().filter(|(of, _)| *of == partition);
            let here = here.map(|(_, row)| row).filter(|row| row.lane == lane);
            here.filter(|row| after.is_none_or(|after| place(row) > after))
                .cloned()
                .collect()
        };
        rows.sort_by_key(place);
        rows.truncate(limit);
        Ok(rows)
    }

    async fn cold_due(
        &mut self,
        partition: u8,
        until: Timestamp,
        limit: usize,
    ) -> Result<(Vec<SagaId>, Option<Timestamp>), StoreError> {
        Await(true).await;
        let mut wakes: Vec<(Timestamp, SagaId)> = {
            let disk = self.disk();
            let cold = disk.cold.values();
            cold.filter(|row| row.cold && disk.is_in(row.saga, partition))
                .filter_map(|row| Some((row.wake_at?, row.saga)))
                .collect()
        };
        wakes.sort_unstable();
        let due: Vec<SagaId> = wakes
            .iter()
            .filter(|(at, _)| *at <= until)
            .take(limit)
            .map(|(_, saga)| *saga)
            .collect();
        let next = wakes.get(due.len()).map(|(at, _)| *at);
        Ok((due, next))
    }

    async fn unserved(
        &mut self,
        partition: u8,
        task_type: TaskType,
        after: Option<SagaId>,
        limit: usize,
    ) -> Result<Vec<SagaId>, StoreError> {
        Await(true).await;
        let disk = self.disk();
        let waiting = disk.unserved.iter().filter(|(known, saga)| {
            let next = after.is_none_or(|after| *saga > after);
            *known == task_type && next && disk.is_in(*saga, partition)
        });
        Ok(waiting.take(limit).map(|(_, saga)| *saga).collect())
    }

    async fn subscribers(
        &mut self,
        kind: String,
        after: Option<(SagaId, StepId)>,
        limit: usize,
    ) -> Result<Vec<SubscriptionRow>, StoreError> {
        Await(true).await;
        let disk = self.disk();
        let rows = disk.subscriptions.iter();
        let after = |key: &(SagaId, StepId)| after.as_ref().is_none_or(|after| key > after);
        Ok(rows
            .filter(|(key, (row, _))| after(key) && row.event.fits(&kind))
            .map(|(_, (row, _))| row.clone())
            .take(limit)
            .collect())
    }

    async fn put_definition(&mut self, row: DefinitionRow) -> Result<bool, StoreError> {
        Await(true).await;
        let mut disk = self.disk();
        if let Some(known) = disk
            .definitions
            .iter()
            .find(|known| known.name == row.name && known.version == row.version)
        {
            return Ok(known.source == row.source);
        }
        disk.definitions.push(row);
        Ok(true)
    }

    async fn definitions(&mut self) -> Result<Vec<DefinitionRow>, StoreError> {
        Await(true).await;
        Ok(self.disk().definitions.clone())
    }

    async fn put_manifest(&mut self, manifest: Manifest, _: Timestamp) -> Result<(), StoreError> {
        Await(true).await;
        self.disk()
            .manifests
            .insert(manifest.task_type.clone(), manifest);
        Ok(())
    }

    async fn manifests(&mut self) -> Result<Vec<Manifest>, StoreError> {
        Await(true).await;
        Ok(self.disk().manifests.values().cloned().collect())
    }
}
