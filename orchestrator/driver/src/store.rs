//! The store as the driver needs it: one commit for a batch, and a few reads. What each crash means is said at each call.

use std::future::Future;

use baton_engine::{Entry, SagaState};
use baton_messages::{Manifest, SagaId, StepId, TaskType, Timestamp};
use uuid::Uuid;

use crate::batch::{Batch, LogRow, OwedRow, SagaRow, SubscriptionRow, UnsentRow};

/// Why a commit did not happen, or may have.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Somebody else owns the partition now: nothing was written. Stop at once.
    #[error(
        "commit partition {partition}: owned by another orchestrator since epoch {epoch} ended"
    )]
    Fenced {
        /// The partition.
        partition: u8,
        /// The epoch that ended.
        epoch: u64,
    },
    /// A row of the batch itself is at fault (a constraint): nothing was written. The batch is split to find it.
    #[error("commit partition {partition}: the store refuses a row of the batch")]
    Data {
        /// The partition.
        partition: u8,
        /// The store's own error.
        #[source]
        source: BoxError,
    },
    /// Nothing was written; it may go better later (disk full, locked, connection refused).
    #[error("commit partition {partition}: nothing was written")]
    Failed {
        /// The partition.
        partition: u8,
        /// The store's own error.
        #[source]
        source: BoxError,
    },
    /// Nobody knows whether it was written.
    #[error("commit partition {partition}: its fate is unknown")]
    Unknown {
        /// The partition.
        partition: u8,
        /// The store's own error.
        #[source]
        source: BoxError,
    },
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
#[error("read from the store: {what}")]
pub struct StoreError {
    /// What was read, and what to do.
    pub what: String,
    /// The store's own error.
    #[source]
    pub source: BoxError,
}

/// An error of the store's own library.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A saga as the store has it: a snapshot, if one of a known version is there, and the entries after it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The saga.
    pub saga: SagaId,
    /// The state to fold from; [`SagaState::new`] when there is no snapshot. Of a saga whose records were taken out it is all there is
    /// ([`SagaRow::tombstone`]).
    pub base: Box<SagaState>,
    /// What came after it, in order.
    pub entries: Vec<Entry>,
    /// Whether it was evicted.
    pub cold: bool,
    /// What is wrong with a row of it that cannot be decoded: then it is left alone, and its neighbours are unharmed.
    pub unreadable: Option<String>,
}

impl Loaded {
    /// A saga of which only its row is left.
    #[must_use]
    pub fn tombstone(row: &SagaRow) -> Option<Self> {
        Some(Self {
            saga: row.saga,
            base: row.tombstone()?,
            entries: Vec::new(),
            cold: false,
            unreadable: None,
        })
    }

    /// The same, with an entry of no record in place of its first.
    #[must_use]
    pub fn tombstone_with_first(row: &SagaRow) -> Option<(Entry, Self)> {
        let first = Entry {
            at: row.started_at,
            records: Vec::new(),
        };
        Some((first, Self::tombstone(row)?))
    }
}

/// Follows the rows of one saga as they are read: each begins where the one before it ended. Where one is missing the saga must not be folded, and nothing
/// more be written behind the gap: it is unreadable.
#[derive(Debug, Clone, Copy)]
pub struct Unbroken {
    next: u64,
}

impl Unbroken {
    /// From a snapshot that covers so many records, or from none.
    #[must_use]
    pub const fn after(records: u64) -> Self {
        Self { next: records }
    }

    /// The next row: before it the saga has so many records, and it has so many itself.
    ///
    /// # Errors
    /// What is wrong, in words, where it is not the one that follows.
    pub fn follow(&mut self, saga_seq: u64, records: usize) -> Result<(), String> {
        let expected = self.next;
        self.next = saga_seq.saturating_add(u64::try_from(records).unwrap_or(u64::MAX));
        if saga_seq == expected {
            return Ok(());
        }
        Err(format!(
            "its records do not hang together: after the first {expected} come those after the first {saga_seq}; the database has gone back while somebody drove the saga, or rows were taken out"
        ))
    }
}

/// So many rows past the watermark are read at once: as many as a turn commits. How many there are does not matter then, neither to one statement nor to memory.
pub const IN_DOUBT_ROWS: usize = 512;

/// Some of the rows past the watermark.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InDoubt {
    /// They, ascending, without those that cannot be read.
    pub rows: Vec<LogRow>,
    /// Behind which row there are more; none: these were the last.
    pub more: Option<u64>,
}

/// What is needed to go on with a partition after a start or a lost commit.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Recovered {
    /// How far the log's commands are known to be published.
    pub watermark: u64,
    /// The last row the log had; it may have been taken out since ([`crate::PurgeRow`]).
    pub log_seq: u64,
    /// The first [`IN_DOUBT_ROWS`] past the watermark, ascending: their commands may or may not have left.
    pub in_doubt: Vec<LogRow>,
    /// Behind which row there are more ([`Store::in_doubt`]).
    pub in_doubt_more: Option<u64>,
    /// Tasks to be sent again.
    pub unsent: Vec<UnsentRow>,
    /// Lanes in which something is owed, in their order.
    pub owed_lanes: Vec<String>,
    /// How much is owed.
    pub owed: u64,
    /// Sagas that had not ended and were in memory: their timers are found by folding them.
    pub hot: Vec<SagaId>,
    /// The soonest wake of an evicted saga.
    pub cold_wake: Option<Timestamp>,
    /// Task types some step waits for.
    pub unserved: Vec<TaskType>,
    /// Subscriptions for which the kept events may not have been searched, by saga and step.
    pub unsearched: Vec<SubscriptionRow>,
}

/// A registered definition: immutable, so that a running saga stays on what it started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionRow {
    /// The name.
    pub name: String,
    /// The version.
    pub version: u32,
    /// The YAML, byte for byte.
    pub source: String,
    /// When it was registered.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
}

/// The store as the driver needs it.
///
/// Every future may be dropped at any await: a commit then happened wholly or not at all, and the driver is recovered.
pub trait Store {
    /// Writes a batch in one transaction, fenced by its epoch.
    /// A crash before it returns leaves all of it or nothing.
    fn commit(&mut self, batch: Batch) -> impl Future<Output = Result<(), CommitError>> + Send;

    /// Reads sagas; those that never started are missing from the answer.
    fn load(
        &mut self,
        sagas: Vec<SagaId>,
    ) -> impl Future<Output = Result<Vec<Loaded>, StoreError>> + Send;

    /// Reads what is needed to go on with a partition.
    fn recover(
        &mut self,
        partition: u8,
    ) -> impl Future<Output = Result<Recovered, StoreError>> + Send;

    /// The rows behind one past the watermark, at most `limit`.
    fn in_doubt(
        &mut self,
        partition: u8,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<InDoubt, StoreError>> + Send;

    /// What is owed in a lane, longest first, by since when and id, at most `limit` after `after`.
    fn owed(
        &mut self,
        partition: u8,
        lane: String,
        after: Option<(Timestamp, Uuid)>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<OwedRow>, StoreError>> + Send;

    /// Evicted sagas whose wake is at or before `until`, soonest first, at most `limit`; and the soonest wake after those.
    fn cold_due(
        &mut self,
        partition: u8,
        until: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<(Vec<SagaId>, Option<Timestamp>), StoreError>> + Send;

    /// Sagas with a step that waits for this type, at most `limit`, after `after`.
    fn unserved(
        &mut self,
        partition: u8,
        task_type: TaskType,
        after: Option<SagaId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<SagaId>, StoreError>> + Send;

    /// Steps that wait for events of this type, in any partition, by saga and step, at most `limit` after `after`.
    fn subscribers(
        &mut self,
        kind: String,
        after: Option<(SagaId, StepId)>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<SubscriptionRow>, StoreError>> + Send;

    /// Registers a definition; answers false when the same name and version is there with other content, which stays.
    fn put_definition(
        &mut self,
        row: DefinitionRow,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Every registered definition.
    fn definitions(
        &mut self,
    ) -> impl Future<Output = Result<Vec<DefinitionRow>, StoreError>> + Send;

    /// Keeps a manifest of the catalogue: insert or replace.
    fn put_manifest(
        &mut self,
        manifest: Manifest,
        at: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Every kept manifest.
    fn manifests(&mut self) -> impl Future<Output = Result<Vec<Manifest>, StoreError>> + Send;
}
