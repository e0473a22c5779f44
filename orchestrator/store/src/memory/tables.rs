//! What the naive store keeps, and its whole meaning: a batch is checked, then applied; a read looks at everything.

use std::collections::{BTreeMap, BTreeSet};

use baton_driver::store::BoxError;
use baton_driver::{
    Batch, ColdRow, CommitError, DeadLetterRow, DefinitionRow, IN_DOUBT_ROWS, InDoubt, Loaded,
    LogRow, OwedRow, PurgeRow, Recovered, Reservations, SagaRow, SnapshotRow, StoreError,
    SubscriptionChange, SubscriptionRow, Unbroken, UnsentRow, WorkItemRow,
};
use baton_engine::state::SNAPSHOT_VERSION;
use baton_engine::{SagaState, WorkItem};
use baton_messages::{AttemptRef, Manifest, SagaId, StepId, TaskType, Timestamp};
use uuid::Uuid;

use super::CommitFault;
use super::triggers::TriggerTables;
use crate::facets::facets_of;
use crate::group::group_of;
use crate::letters::{EditRow, HistoryRow, OperationRow, Standing};
use crate::tokens::TokenRow;

/// A work item with its end, if it has one.
type Kept = (WorkItem, Option<(Timestamp, String)>);

#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Epoch and watermark.
    pub(super) partitions: BTreeMap<u8, (u64, u64)>,
    pub(super) log: BTreeMap<(u8, u64), LogRow>,
    pub(super) sagas: BTreeMap<SagaId, (u8, SagaRow)>,
    cold: BTreeMap<SagaId, Option<Timestamp>>,
    snapshots: BTreeMap<SagaId, SnapshotRow>,
    pub(super) unsent: BTreeMap<AttemptRef, (u8, Timestamp)>,
    /// With the partition of each.
    pub(super) owed: BTreeMap<Uuid, (u8, OwedRow)>,
    pub(super) unserved: BTreeSet<(u8, TaskType, SagaId)>,
    /// Partition, row, and whether the kept events were searched for it.
    pub(super) subscriptions: BTreeMap<(SagaId, StepId), (u8, SubscriptionRow, bool)>,
    pub(super) work_items: BTreeMap<(SagaId, u32), Kept>,
    pub(super) dead_letters: BTreeMap<Uuid, DeadLetterRow>,
    /// What happened to letters after they were taken in.
    pub(super) history: BTreeMap<Uuid, Vec<HistoryRow>>,
    /// Deaths that are in it.
    pub(super) deaths: BTreeSet<Uuid>,
    /// Queue, print, id and when, of what came and is not known to be acknowledged.
    pub(super) arrivals: Vec<(String, Uuid, Uuid, Timestamp)>,
    pub(super) edits: BTreeMap<(Uuid, u32), EditRow>,
    pub(super) standings: BTreeMap<Uuid, Standing>,
    pub(super) operations: BTreeMap<Uuid, OperationRow>,
    pub(super) definitions: BTreeMap<(String, u32), DefinitionRow>,
    pub(super) manifests: BTreeMap<TaskType, Manifest>,
    pub(super) tokens: BTreeMap<String, TokenRow>,
    pub(super) audit: Vec<baton_messages::AuditRow>,
    pub(super) alerts: BTreeMap<Uuid, crate::alerts::AlertRow>,
    pub(super) triggers: TriggerTables,
    pub(super) reservations: Reservations,
    /// Tries, and when the last began.
    pub(super) suspects: BTreeMap<(Uuid, u32), (u32, Timestamp)>,
    pub(super) fault: Option<CommitFault>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("log row {0} is there already")]
    LogRow(u64),
    #[error("saga {0} has no row of its own")]
    NoSaga(SagaId),
    #[error("saga {0} has a row at {1} already")]
    SagaSeq(SagaId, u64),
    #[error("saga {0} has a work item {1} already")]
    WorkItem(SagaId, u32),
    #[error("a fault that was asked for")]
    AskedFor,
    #[error("partition {0} was never taken")]
    NoPartition(u8),
}

impl Tables {
    /// Writes a batch, or meets the fault that was asked for.
    pub(super) fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
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
            if !self.sagas.contains_key(&row.saga)
                && !batch.sagas.iter().any(|saga| saga.saga == row.saga)
            {
                return Err(Refused::NoSaga(row.saga));
            }
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
        for mut row in batch.sagas {
            let known = self.sagas.get(&row.saga);
            row.purged = known.and_then(|(_, known)| known.purged.clone());
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
        for id in batch.owed_remove {
            self.owed.remove(&id);
        }
        for row in batch.owed_add {
            self.owed.entry(row.id).or_insert((partition, row));
        }
        for (task_type, saga) in batch.unserved_remove {
            self.unserved.remove(&(partition, task_type, saga));
        }
        for (task_type, saga) in batch.unserved_add {
            self.unserved.insert((partition, task_type, saga));
        }
        for change in batch.subscriptions {
            match change {
                SubscriptionChange::Add(row) => {
                    let key = (row.saga, row.step.clone());
                    self.subscriptions.insert(key, (partition, row, false));
                }
                SubscriptionChange::Remove(saga, step) => {
                    self.subscriptions.remove(&(saga, step));
                }
                SubscriptionChange::Searched(saga, step) => {
                    if let Some((_, _, searched)) = self.subscriptions.get_mut(&(saga, step)) {
                        *searched = true;
                    }
                }
            }
        }
        for row in batch.work_items {
            match row {
                WorkItemRow::Open { saga, item } => {
                    self.work_items.insert((saga, item.number), (*item, None));
                }
                WorkItemRow::Change { saga, item } => {
                    if let Some((known, _)) = self.work_items.get_mut(&(saga, item.number)) {
                        *known = *item;
                    }
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
        for change in batch.reservations {
            let sagas = &self.sagas;
            self.reservations
                .change(change, |saga| is_active(sagas, saga));
        }
        for letter in batch.dead_letters {
            let standing = || Standing {
                group: group_of(&letter, &facets_of(&letter)),
                ..Standing::default()
            };
            self.standings.entry(letter.id).or_insert_with(standing);
            self.dead_letters.entry(letter.id).or_insert(letter);
        }
        for row in batch.purged {
            self.purge(partition, row);
        }
    }

    pub(super) fn tidy_reservations(&mut self) {
        let sagas = &self.sagas;
        self.reservations.tidy(|saga| is_active(sagas, saga));
    }

    /// Whether a saga's records may be taken out, the last of them at `log_seq`.
    pub(super) fn rests(
        &self,
        partition: u8,
        saga: SagaId,
        log_seq: u64,
        ended_before: Timestamp,
    ) -> bool {
        let watermark = self.partitions.get(&partition).map_or(0, |(_, mark)| *mark);
        let last = log_seq.min(watermark);
        let ended = self.sagas.get(&saga).is_some_and(|(of, row)| {
            *of == partition
                && row.status.ended()
                && row.purged.is_none()
                && row.ended_at.is_some_and(|at| at < ended_before)
        });
        let mut items = self.work_items.iter().filter(|((of, _), _)| *of == saga);
        let mut rows = self.log.values().filter(|row| row.saga == saga);
        ended
            && items.all(|(_, (_, closed))| closed.is_some())
            && rows.all(|row| row.log_seq <= last)
    }

    fn purge(&mut self, partition: u8, of: PurgeRow) {
        let saga = of.saga;
        if !self.rests(partition, saga, of.log_seq, of.ended_before) {
            return;
        }
        self.log.retain(|_, row| row.saga != saga);
        self.snapshots.remove(&saga);
        self.cold.remove(&saga);
        self.work_items.retain(|(of, _), _| *of != saga);
        self.subscriptions.retain(|(of, _), _| *of != saga);
        if let Some((_, row)) = self.sagas.get_mut(&saga) {
            row.labels.clear();
            row.purged = Some(of.purged);
        }
    }

    /// One saga, if it has a snapshot or a record.
    pub(super) fn load(&self, saga: SagaId) -> Option<Loaded> {
        let row = self.sagas.get(&saga).map(|(_, row)| row);
        if let Some(left) = row.and_then(Loaded::tombstone) {
            return Some(left);
        }
        let snapshot = self
            .snapshots
            .get(&saga)
            .filter(|row| row.version <= SNAPSHOT_VERSION);
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
        let mut unbroken = Unbroken::after(after);
        let mut followed = rows
            .iter()
            .map(|row| unbroken.follow(row.saga_seq, row.entry.records.len()));
        let unreadable = followed.find_map(Result::err);
        let base = snapshot.map_or_else(|| Box::new(SagaState::new(saga)), |row| row.state.clone());
        let entries = rows.into_iter().map(|row| row.entry.clone()).collect();
        Some(Loaded {
            saga,
            base,
            entries,
            cold: self.cold.contains_key(&saga),
            unreadable,
        })
    }

    /// What is needed to go on with a partition.
    pub(super) fn recover(&self, partition: u8) -> Result<Recovered, StoreError> {
        let Some((_, watermark)) = self.partitions.get(&partition).copied() else {
            let what = format!("partition {partition}, to go on with it");
            return Err(StoreError {
                what,
                source: Box::new(Refused::NoPartition(partition)),
            });
        };
        let mut log = self.log.range((partition, 0)..=(partition, u64::MAX));
        let doubted = self.in_doubt(partition, watermark, IN_DOUBT_ROWS);
        let owed = self.owed.values().filter(|(of, _)| *of == partition);
        let owed = owed.map(|(_, row)| row);
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
                .next_back()
                .map_or(0, |((_, log_seq), _)| *log_seq)
                .max(watermark),
            in_doubt: doubted.rows,
            in_doubt_more: doubted.more,
            unsent,
            owed: owed.clone().count() as u64,
            owed_lanes: owed
                .map(|row| row.lane.clone())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            hot: self
                .sagas
                .values()
                .filter(hot)
                .map(|(_, row)| row.saga)
                .collect(),
            cold_wake: self.wakes(partition).first().map(|(wake, _)| *wake),
            unserved,
            unsearched: self
                .subscriptions
                .values()
                .filter(|(of, _, searched)| *of == partition && !searched)
                .map(|(_, row, _)| row.clone())
                .collect(),
        })
    }

    /// Rows of the log behind this one.
    pub(super) fn in_doubt(&self, partition: u8, after: u64, limit: usize) -> InDoubt {
        let behind = self
            .log
            .range((partition, after.saturating_add(1))..=(partition, u64::MAX));
        let rows: Vec<LogRow> = behind.take(limit).map(|(_, row)| row.clone()).collect();
        let last = rows.last().filter(|_| rows.len() >= limit);
        InDoubt {
            more: last.map(|row| row.log_seq),
            rows,
        }
    }

    /// Some of what is owed in a lane, longest first.
    pub(super) fn owed(
        &self,
        partition: u8,
        lane: &str,
        after: Option<(Timestamp, Uuid)>,
        limit: usize,
    ) -> Vec<OwedRow> {
        let place = |row: &OwedRow| (row.since, row.id);
        let here = self.owed.values().filter(|(of, _)| *of == partition);
        let mut rows: Vec<OwedRow> = here
            .map(|(_, row)| row)
            .filter(|row| row.lane == lane && after.is_none_or(|after| place(row) > after))
            .cloned()
            .collect();
        rows.sort_by_key(place);
        rows.truncate(limit);
        rows
    }

    /// Steps that wait for events of this type, by saga and step.
    pub(super) fn subscribers(
        &self,
        kind: &str,
        after: Option<&(SagaId, StepId)>,
        limit: usize,
    ) -> Vec<SubscriptionRow> {
        let rows = self.subscriptions.iter();
        rows.filter(|(key, _)| after.is_none_or(|after| *key > after))
            .map(|(_, (_, row, _))| row.clone())
            .filter(|row| row.event.fits(kind))
            .take(limit)
            .collect()
    }

    /// Wakes of evicted sagas, soonest first.
    pub(super) fn wakes(&self, partition: u8) -> Vec<(Timestamp, SagaId)> {
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

fn is_active(sagas: &BTreeMap<SagaId, (u8, SagaRow)>, saga: SagaId) -> bool {
    sagas.get(&saga).is_some_and(|(_, row)| !row.status.ended())
}
