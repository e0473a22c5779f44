//! The SQLite store: one file, one owner, one thread.
//!
//! Everything the driver asks for goes to one thread that holds the only writing connection, in the order it was asked; the driver's
//! own thread never waits for the disk. Whoever drops a future has not stopped what was sent: it is done wholly or not at all, the answer
//! is thrown away. [`SqliteReader`]s have connections of their own and see what is committed.

mod alerts;
mod audit;
mod columns;
mod commit;
mod deltas;
mod export;
mod letter_rows;
mod letters;
mod lists;
mod load;
mod lock;
mod moving;
mod one_saga;
mod owed;
mod purge;
mod queries;
mod reader;
mod reservations;
mod saga_rows;
mod schema;
mod subscriptions;
mod suspects;
mod thread;
mod tokens;
mod triggers;

#[cfg(test)]
mod tests;

use std::path::Path;

use baton_driver::store::BoxError;
use baton_driver::{
    Batch, CommitError, DefinitionRow, InDoubt, Loaded, OwedRow, Recovered, Store, StoreError,
    SubscriptionRow,
};
use baton_messages::{Manifest, SagaId, StepId, TaskType, Timestamp};
use uuid::Uuid;

pub use alerts::SqliteAlerts;
pub use audit::SqliteAudit;
pub(crate) use columns::is_misfit;
pub use export::ExportError;
pub use letters::SqliteLetters;
pub(crate) use lock::process_and_host;
pub(crate) use moving::{KeyRow, Mark};
pub use reader::SqliteReader;
pub use reservations::SqliteReservations;
pub use schema::OpenError;
pub use suspects::SqliteSuspects;
pub use thread::CloseError;
pub use tokens::SqliteTokens;
pub use triggers::SqliteTriggers;

use crate::Partition;
use schema::Purpose;
use thread::StoreThread;
pub(crate) use thread::ThreadLost;

/// The one partition of a SQLite store: many would only be for many orchestrators, and there is one.
pub const PARTITION: u8 = 0;

/// How a store is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteOptions {
    /// Who opens it, for people; by default process and host.
    pub owner: Option<String>,
    /// How long a write waits for somebody else's lock (a backup, a hand at the command line) before it fails.
    pub busy_timeout_ms: u64,
    /// After how many pages the write-ahead log is moved into the file; fewer means more writing.
    pub wal_autocheckpoint_pages: u32,
    /// Memory for pages of the file, in KiB: enough for the indexes of what runs.
    pub cache_kib: u32,
    /// How many connections read side by side.
    pub readers: usize,
    /// The largest size of the file in pages, if there is one.
    pub pages_max: Option<u32>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            owner: None,
            busy_timeout_ms: 5_000,
            wal_autocheckpoint_pages: 10_000,
            cache_kib: 4_096,
            readers: 4,
            pages_max: None,
        }
    }
}

/// The store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    partition: Partition,
    reader: SqliteReader,
    thread: StoreThread,
}

impl SqliteStore {
    /// Takes ownership of the file, making it if it is not there, and brings its tables to this version. Blocks for a few milliseconds.
    ///
    /// # Errors
    /// [`OpenError`]: another orchestrator has it, it was moved into a database, it is no store or a newer one, or the file system refuses.
    pub fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, OpenError> {
        Self::taken(path.as_ref(), &options, Purpose::Drive)
    }

    /// The same, to move it into a database ([`crate::moving::move_into`]): also where an earlier import of it was cut short.
    ///
    /// # Errors
    /// [`OpenError`], as [`Self::open`].
    pub fn open_to_move(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, OpenError> {
        Self::taken(path.as_ref(), &options, Purpose::Move)
    }

    fn taken(path: &Path, options: &SqliteOptions, purpose: Purpose) -> Result<Self, OpenError> {
        let path = path.to_path_buf();
        let lock = lock::FileLock::take(&path)?;
        let mut conn = schema::open_for_writing(&path, options, purpose)?;
        let owner = options.owner.clone().unwrap_or_else(process_and_host);
        let partition = schema::take_partition(&mut conn, PARTITION, &owner).map_err(|source| {
            OpenError::Sqlite {
                path: path.clone(),
                source,
            }
        })?;
        tracing::info!(path = %path.display(), partition = partition.id, epoch = partition.epoch, "store opened");
        let thread =
            StoreThread::start(conn, lock).map_err(|source| OpenError::Thread { source })?;
        let reader = SqliteReader::new(path, options)?;
        Ok(Self {
            partition,
            reader,
            thread,
        })
    }

    /// The partition and the epoch under which this process owns it.
    #[must_use]
    pub const fn partition(&self) -> Partition {
        self.partition
    }

    /// Something that reads beside the driver.
    #[must_use]
    pub fn reader(&self) -> SqliteReader {
        self.reader.clone()
    }

    /// The tokens of the HTTP API. Ends with the store: what is asked afterwards is refused.
    #[must_use]
    pub fn tokens(&self) -> SqliteTokens {
        SqliteTokens::new(self.thread.weak())
    }

    /// What needs a person. Cannot be written once the store is closed.
    #[must_use]
    pub fn alerts(&self) -> SqliteAlerts {
        SqliteAlerts::new(self.thread.weak(), self.reader.clone())
    }

    /// What sagas take before their first step. Cannot be changed once the store is closed.
    #[must_use]
    pub fn reservations(&self) -> SqliteReservations {
        SqliteReservations::new(self.thread.weak(), self.reader.clone())
    }

    /// What operators did. Cannot be added to once the store is closed.
    #[must_use]
    pub fn audit(&self) -> SqliteAudit {
        SqliteAudit::new(self.thread.weak(), self.reader.clone())
    }

    /// The dead letters, to move them. Ends with the store, as the tokens do.
    #[must_use]
    pub fn letters(&self) -> SqliteLetters {
        SqliteLetters::new(self.thread.weak())
    }

    /// The notes of what is tried alone. Ends with the store, as the tokens do.
    #[must_use]
    pub fn suspects(&self) -> SqliteSuspects {
        SqliteSuspects::new(self.thread.weak())
    }

    /// The tables of triggers, written on this store's thread while it is open.
    #[must_use]
    pub fn triggers(&self) -> SqliteTriggers {
        SqliteTriggers::new(self.thread.weak())
    }

    /// Finishes what was asked for, closes the file and gives it up.
    ///
    /// # Errors
    /// [`CloseError`] when the file could not be closed in order; what was committed is there all the same.
    pub async fn close(self) -> Result<(), CloseError> {
        self.thread.close().await
    }

    /// Looks at the file and at what hangs together in it; answers what is wrong, in sentences. Reads everything: for tests and repairs.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn integrity(&mut self) -> Result<Vec<String>, StoreError> {
        self.read("integrity", schema::integrity).await
    }

    async fn read<T, F>(&self, what: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&rusqlite::Connection) -> Result<T, StoreError> + Send + 'static,
    {
        match self
            .thread
            .call(move |writer| work(writer.connection()))
            .await
        {
            Ok(answer) => answer,
            Err(lost) => Err(StoreError {
                what: what.to_owned(),
                source: Box::new(lost),
            }),
        }
    }
}

impl Store for SqliteStore {
    async fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        let partition = batch.partition;
        let unknown = |lost: ThreadLost| CommitError::Unknown {
            partition,
            source: BoxError::from(lost),
        };
        self.thread
            .call(move |writer| writer.commit(&batch))
            .await
            .map_err(unknown)?
    }

    async fn load(&mut self, sagas: Vec<SagaId>) -> Result<Vec<Loaded>, StoreError> {
        self.read("sagas", move |conn| load::sagas(conn, &sagas))
            .await
    }

    async fn recover(&mut self, partition: u8) -> Result<Recovered, StoreError> {
        self.read("a partition to go on with", move |conn| {
            load::recover(conn, partition)
        })
        .await
    }

    async fn in_doubt(
        &mut self,
        partition: u8,
        after: u64,
        limit: usize,
    ) -> Result<InDoubt, StoreError> {
        self.read("the log past what is published", move |conn| {
            let found = load::in_doubt(conn, partition, after, limit);
            found.map_err(columns::failed("the log past what is published"))
        })
        .await
    }

    async fn owed(
        &mut self,
        partition: u8,
        lane: String,
        after: Option<(Timestamp, Uuid)>,
        limit: usize,
    ) -> Result<Vec<OwedRow>, StoreError> {
        self.read("what is owed", move |conn| {
            owed::page(conn, partition, &lane, after, limit)
        })
        .await
    }

    async fn cold_due(
        &mut self,
        partition: u8,
        until: Timestamp,
        limit: usize,
    ) -> Result<(Vec<SagaId>, Option<Timestamp>), StoreError> {
        self.read("evicted sagas", move |conn| {
            load::cold_due(conn, partition, until, limit)
        })
        .await
    }

    async fn unserved(
        &mut self,
        partition: u8,
        task_type: TaskType,
        after: Option<SagaId>,
        limit: usize,
    ) -> Result<Vec<SagaId>, StoreError> {
        self.read("sagas that wait for a task type", move |conn| {
            load::unserved(conn, partition, &task_type, after, limit)
        })
        .await
    }

    async fn subscribers(
        &mut self,
        kind: String,
        after: Option<(SagaId, StepId)>,
        limit: usize,
    ) -> Result<Vec<SubscriptionRow>, StoreError> {
        self.read("steps that wait for events", move |conn| {
            let found = subscriptions::of_event(conn, &kind, after.as_ref(), limit);
            found.map_err(columns::failed(format!("steps that wait for {kind}")))
        })
        .await
    }

    async fn put_definition(&mut self, row: DefinitionRow) -> Result<bool, StoreError> {
        self.read("a definition to be kept", move |conn| {
            load::put_definition(conn, &row)
        })
        .await
    }

    async fn definitions(&mut self) -> Result<Vec<DefinitionRow>, StoreError> {
        self.read("definitions", |conn| {
            load::definitions(conn).map_err(columns::failed("definitions"))
        })
        .await
    }

    async fn put_manifest(&mut self, manifest: Manifest, at: Timestamp) -> Result<(), StoreError> {
        self.read("a manifest to be kept", move |conn| {
            load::put_manifest(conn, &manifest, at)
        })
        .await
    }

    async fn manifests(&mut self) -> Result<Vec<Manifest>, StoreError> {
        self.read("manifests", load::manifests).await
    }
}
