//! One store of either kind, chosen by configuration: what the service is made with, so that it need not be generic. Nothing is decided here.

use baton_driver::{
    Admission, Batch, CommitError, DefinitionRow, InDoubt, Loaded, OwedRow, Recovered,
    ReservationRow, SagaRow, Store, StoreError, SubscriptionRow,
};
use baton_engine::definition::EventPattern;
use baton_engine::{Entry, ReservationKind, WorkItemKind};
use baton_messages::{
    AttemptRef, AuditEntry, AuditRow, Manifest, SagaId, StepId, TaskType, Timestamp,
};
use uuid::Uuid;

use crate::Partition;
use crate::alerts::{AlertCursor, AlertRow, AlertState, Alerts};
use crate::arrivals::{Arrived, Arriving};
use crate::audit::{AuditCursor, AuditFilter, AuditLog};
use crate::cluster::{Member, View};
use crate::items::ItemFilter;
use crate::letters::{
    Claiming, Death, EditRow, GivingBack, HistoryRow, Imported, LetterRow, LetterState, Letters,
    Move, OperationRow, OperationState, OperationStep, Waiting, WholeLetter, Written,
};
use crate::postgres::{
    Ownership, PostgresAlerts, PostgresAudit, PostgresCarried, PostgresError, PostgresLetters,
    PostgresReader, PostgresReservations, PostgresStore, PostgresSuspects, PostgresTokens,
    PostgresTriggers,
};
use crate::read::{
    Counts, DeadLetterCursor, DeadLetterFilter, EndedCursor, EventCursor, LetterGroup, LogEnd,
    Newest, Page, SagaCursor, SagaFilter, SagaLog, Sizes, Unserved, WorkItemCursor, WorkItemView,
};
use crate::reader::Reader;
use crate::reservations::{ReservationBook, ReservationCursor, ReservationFilter};
use crate::sqlite::{
    CloseError, OpenError, SqliteAlerts, SqliteAudit, SqliteLetters, SqliteReader,
    SqliteReservations, SqliteStore, SqliteSuspects, SqliteTokens, SqliteTriggers,
};
use crate::suspects::Suspects;
use crate::tokens::{TokenRow, TokenStore};
use crate::triggers::{Arrival, EventRow, ScheduleRow, Settled, Triggers};

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum AnyOpenError {
    /// One in a file.
    #[error(transparent)]
    Sqlite(#[from] OpenError),
    /// One in a database.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
}

/// Why a store did not close in order.
#[derive(Debug, thiserror::Error)]
pub enum AnyCloseError {
    /// One in a file.
    #[error(transparent)]
    Sqlite(#[from] CloseError),
    /// One in a database.
    #[error(transparent)]
    Postgres(#[from] StoreError),
}

/// A store of either kind.
#[derive(Debug)]
pub enum AnyStore {
    /// In a file.
    Sqlite(SqliteStore),
    /// In a database.
    Postgres(Box<PostgresStore>),
}

/// What reads it beside the driver.
#[derive(Debug, Clone)]
pub enum AnyReader {
    /// In a file.
    Sqlite(SqliteReader),
    /// In a database.
    Postgres(PostgresReader),
}

/// Its tables of triggers.
#[derive(Debug, Clone)]
pub enum AnyTriggers {
    /// In a file.
    Sqlite(SqliteTriggers),
    /// In a database.
    Postgres(PostgresTriggers),
}

/// Its tokens.
#[derive(Debug, Clone)]
pub enum AnyTokens {
    /// In a file.
    Sqlite(SqliteTokens),
    /// In a database.
    Postgres(PostgresTokens),
}

/// What needs a person.
#[derive(Debug, Clone)]
pub enum AnyAlerts {
    /// In a file.
    Sqlite(SqliteAlerts),
    /// In a database.
    Postgres(PostgresAlerts),
}

/// What operators did.
#[derive(Debug, Clone)]
pub enum AnyAudit {
    /// In a file.
    Sqlite(SqliteAudit),
    /// In a database.
    Postgres(PostgresAudit),
}

/// What sagas take.
#[derive(Debug, Clone)]
pub enum AnyReservations {
    /// In a file.
    Sqlite(SqliteReservations),
    /// In a database.
    Postgres(PostgresReservations),
}

/// Its dead letters, to move them.
#[derive(Debug, Clone)]
pub enum AnyLetters {
    /// In a file.
    Sqlite(SqliteLetters),
    /// In a database.
    Postgres(PostgresLetters),
}

/// Its notes of what is tried alone.
#[derive(Debug, Clone)]
pub enum AnySuspects {
    /// In a file.
    Sqlite(SqliteSuspects),
    /// In a database.
    Postgres(PostgresSuspects),
}

impl AnyStore {
    /// The partition and the epoch under which this process owns it.
    #[must_use]
    pub const fn partition(&self) -> Partition {
        match self {
            Self::Sqlite(store) => store.partition(),
            Self::Postgres(store) => store.partition(),
        }
    }

    /// Says when the partition is no longer owned.
    #[must_use]
    pub fn ownership(&self) -> Ownership {
        match self {
            // the lock on the file ends with the process
            Self::Sqlite(_) => Ownership::for_life(),
            Self::Postgres(store) => store.ownership(),
        }
    }

    /// Whether what was on its way when a file was imported into it has been read; none of a file, into which nothing is imported.
    #[must_use]
    pub fn carried(&self) -> Option<PostgresCarried> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(store) => Some(store.carried()),
        }
    }

    /// Something that reads beside the driver.
    #[must_use]
    pub fn reader(&self) -> AnyReader {
        match self {
            Self::Sqlite(store) => AnyReader::Sqlite(store.reader()),
            Self::Postgres(store) => AnyReader::Postgres(store.reader()),
        }
    }

    /// The tables of triggers.
    #[must_use]
    pub fn triggers(&self) -> AnyTriggers {
        match self {
            Self::Sqlite(store) => AnyTriggers::Sqlite(store.triggers()),
            Self::Postgres(store) => AnyTriggers::Postgres(store.triggers()),
        }
    }

    /// What sagas take before their first step.
    #[must_use]
    pub fn reservations(&self) -> AnyReservations {
        match self {
            Self::Sqlite(store) => AnyReservations::Sqlite(store.reservations()),
            Self::Postgres(store) => AnyReservations::Postgres(store.reservations()),
        }
    }

    /// The tokens of the HTTP API.
    #[must_use]
    pub fn tokens(&self) -> AnyTokens {
        match self {
            Self::Sqlite(store) => AnyTokens::Sqlite(store.tokens()),
            Self::Postgres(store) => AnyTokens::Postgres(store.tokens()),
        }
    }

    /// What operators did.
    #[must_use]
    pub fn audit(&self) -> AnyAudit {
        match self {
            Self::Sqlite(store) => AnyAudit::Sqlite(store.audit()),
            Self::Postgres(store) => AnyAudit::Postgres(store.audit()),
        }
    }

    /// The notes of what is tried alone.
    #[must_use]
    pub fn suspects(&self) -> AnySuspects {
        match self {
            Self::Sqlite(store) => AnySuspects::Sqlite(store.suspects()),
            Self::Postgres(store) => AnySuspects::Postgres(store.suspects()),
        }
    }

    /// Finishes what was asked for and gives the store up.
    ///
    /// # Errors
    /// [`AnyCloseError`]; what was committed is there all the same.
    pub async fn close(self) -> Result<(), AnyCloseError> {
        match self {
            Self::Sqlite(store) => Ok(store.close().await?),
            Self::Postgres(store) => Ok(store.close().await?),
        }
    }
}

/// Hands each call on to the one it is.
macro_rules! hand_on {
    ($(fn $name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(
            async fn $name(&self, $($arg: $type),*) -> $answer {
                match self {
                    Self::Sqlite(one) => one.$name($($arg),*).await,
                    Self::Postgres(one) => one.$name($($arg),*).await,
                }
            }
        )*
    };
    ($(fn mut $name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(
            async fn $name(&mut self, $($arg: $type),*) -> $answer {
                match self {
                    Self::Sqlite(one) => one.$name($($arg),*).await,
                    Self::Postgres(one) => one.$name($($arg),*).await,
                }
            }
        )*
    };
}

type Answer<T> = Result<T, StoreError>;

impl Store for AnyStore {
    hand_on! {
        fn mut commit(batch: Batch) -> Result<(), CommitError>;
        fn mut load(sagas: Vec<SagaId>) -> Answer<Vec<Loaded>>;
        fn mut recover(partition: u8) -> Answer<Recovered>;
        fn mut in_doubt(partition: u8, after: u64, limit: usize) -> Answer<InDoubt>;
        fn mut owed(partition: u8, lane: String, after: Option<(Timestamp, Uuid)>, limit: usize) -> Answer<Vec<OwedRow>>;
        fn mut cold_due(partition: u8, until: Timestamp, limit: usize) -> Answer<(Vec<SagaId>, Option<Timestamp>)>;
        fn mut unserved(partition: u8, task_type: TaskType, after: Option<SagaId>, limit: usize) -> Answer<Vec<SagaId>>;
        fn mut subscribers(kind: String, after: Option<(SagaId, StepId)>, limit: usize) -> Answer<Vec<SubscriptionRow>>;
        fn mut put_definition(row: DefinitionRow) -> Answer<bool>;
        fn mut definitions() -> Answer<Vec<DefinitionRow>>;
        fn mut put_manifest(manifest: Manifest, at: Timestamp) -> Answer<()>;
        fn mut manifests() -> Answer<Vec<Manifest>>;
    }
}

impl AnyReader {
    /// How the cluster stands. `alone`: the only member there can be on a file, by its own word.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn cluster(&self, alone: &Member) -> Result<View, StoreError> {
        match self {
            Self::Sqlite(reader) => reader.cluster(alone).await,
            Self::Postgres(reader) => reader.cluster().await,
        }
    }
}

impl Reader for AnyReader {
    hand_on! {
        fn sagas(filter: SagaFilter, after: Option<SagaCursor>, limit: usize) -> Answer<Page<SagaRow, SagaCursor>>;
        fn saga(saga: SagaId) -> Answer<Option<SagaLog>>;
        fn saga_row(saga: SagaId) -> Answer<Option<SagaRow>>;
        fn folding(saga: SagaId) -> Answer<Option<(Entry, Loaded)>>;
        fn entries(saga: SagaId, after: u64, limit: usize) -> Answer<Vec<(u64, Entry)>>;
        fn last_entries(limit: usize) -> Answer<LogEnd>;
        fn unserved(limit: usize) -> Answer<Unserved>;
        fn ended(partition: u8, before: Timestamp, after: Option<EndedCursor>, limit: usize) -> Answer<Vec<EndedCursor>>;
        fn sizes() -> Answer<Sizes>;
        fn work_items(open_only: bool, kind: Option<WorkItemKind>, after: Option<WorkItemCursor>, limit: usize)
            -> Answer<Page<WorkItemView, WorkItemCursor>>;
        fn work_items_of(filter: ItemFilter, after: Option<WorkItemCursor>, limit: usize) -> Answer<Page<WorkItemView, WorkItemCursor>>;
        fn dead_letters_between(first: Uuid, last: Uuid) -> Answer<Vec<LetterRow>>;
        fn dead_letter_heads_between(first: Uuid, last: Uuid) -> Answer<Vec<LetterRow>>;
        fn dead_letters(filter: DeadLetterFilter, after: Option<DeadLetterCursor>, limit: usize) -> Answer<Page<LetterRow, DeadLetterCursor>>;
        fn dead_letter_heads(filter: DeadLetterFilter, after: Option<DeadLetterCursor>, limit: usize) -> Answer<Page<LetterRow, DeadLetterCursor>>;
        fn dead_letter_edits(letter: Uuid) -> Answer<Vec<EditRow>>;
        fn dead_letter_edit(letter: Uuid, edition: u32) -> Answer<Option<EditRow>>;
        fn dead_letter_history(letter: Uuid, limit: usize) -> Answer<Vec<HistoryRow>>;
        fn dead_letters_of(saga: SagaId, limit: usize) -> Answer<Vec<LetterRow>>;
        fn dead_letters_tried(of: AttemptRef) -> Answer<Vec<LetterRow>>;
        fn dead_letter_hours(group: String, since: Timestamp) -> Answer<Vec<(Timestamp, u64)>>;
        fn dead_letters_count(filter: DeadLetterFilter) -> Answer<u64>;
        fn dead_letters_newest(state: LetterState, not_after: Timestamp) -> Answer<Newest>;
        fn dead_letter_groups(after: Option<String>, limit: usize) -> Answer<Vec<LetterGroup>>;
        fn dead_operations(after: Option<DeadLetterCursor>, limit: usize) -> Answer<Page<OperationRow, DeadLetterCursor>>;
        fn dead_operations_in(state: OperationState, limit: usize) -> Answer<Vec<OperationRow>>;
        fn dead_operation(id: Uuid) -> Answer<Option<OperationRow>>;
        fn counts() -> Answer<Counts>;
        fn definitions() -> Answer<Vec<DefinitionRow>>;
        fn manifests() -> Answer<Vec<Manifest>>;
        fn definition(name: String, version: u32) -> Answer<Option<DefinitionRow>>;
        fn events(kind: Option<String>, after: Option<EventCursor>, limit: usize) -> Answer<Page<EventRow, EventCursor>>;
        fn event(source: String, id: String) -> Answer<Option<EventRow>>;
        fn schedules() -> Answer<Vec<ScheduleRow>>;
    }
}

impl Triggers for AnyTriggers {
    hand_on! {
        fn take_in(arrivals: Vec<Arrival>) -> Answer<Vec<EventRow>>;
        fn settle(settled: Vec<Settled>) -> Answer<()>;
        fn undone(after: u64, limit: usize) -> Answer<Vec<EventRow>>;
        fn kept(pattern: EventPattern, from: Timestamp, after: Option<(Timestamp, u64)>, limit: usize) -> Answer<Vec<EventRow>>;
        fn subscribers(kind: String, after: Option<(SagaId, StepId)>, limit: usize) -> Answer<Vec<SubscriptionRow>>;
        fn purge(events_before: Timestamp, now: Timestamp, limit: usize) -> Answer<bool>;
        fn schedules() -> Answer<Vec<ScheduleRow>>;
        fn put_schedule(row: ScheduleRow) -> Answer<()>;
        fn remove_schedule(definition: String, name: String) -> Answer<()>;
        fn bindings() -> Answer<Vec<String>>;
        fn note_binding(pattern: String, bound: bool) -> Answer<()>;
        fn is_active(saga: SagaId) -> Answer<Option<bool>>;
    }
}

impl Letters for AnyLetters {
    hand_on! {
        fn move_letter(asked: Move) -> Answer<bool>;
        fn note(letter: Uuid, note: String, by: String, at: Timestamp) -> Answer<bool>;
        fn edit(edit: EditRow) -> Answer<bool>;
        fn import(letters: Vec<WholeLetter>) -> Answer<Imported>;
        fn write_down(written: Vec<Written>) -> Answer<Vec<bool>>;
        fn waiting(after: Option<Uuid>, limit: usize) -> Answer<Vec<Waiting>>;
        fn waiting_in(operation: Uuid, stage: u32, limit: usize) -> Answer<Vec<Waiting>>;
        fn died_again(death: Death) -> Answer<bool>;
        fn arrived(arriving: Arriving) -> Answer<Vec<Arrived>>;
        fn arrivals_of(letters: Vec<Uuid>) -> Answer<Vec<(Uuid, Option<Uuid>)>>;
        fn give_back(letters: GivingBack) -> Answer<usize>;
        fn is_any_over(before: Timestamp) -> Answer<bool>;
        fn expire(before: Timestamp, limit: usize) -> Answer<Vec<Uuid>>;
        fn begin(row: OperationRow) -> Answer<bool>;
        fn claim(claiming: Claiming) -> Answer<Option<Vec<Uuid>>>;
        fn step(operation: Uuid, step: OperationStep) -> Answer<Option<bool>>;
        fn on_their_way(operation: Option<Uuid>, before: Timestamp, after: Option<DeadLetterCursor>, limit: usize) -> Answer<Vec<LetterRow>>;
        fn running() -> Answer<Vec<OperationRow>>;
    }
}

impl Alerts for AnyAlerts {
    hand_on! {
        fn put(alerts: Vec<AlertRow>) -> Answer<Vec<Uuid>>;
        fn standing(limit: usize) -> Answer<Page<AlertRow, AlertCursor>>;
        fn keyed(keys: Vec<String>) -> Answer<Vec<AlertRow>>;
        fn page(state: Option<AlertState>, after: Option<AlertCursor>, limit: usize) -> Answer<Page<AlertRow, AlertCursor>>;
        fn between(first: Uuid, last: Uuid) -> Answer<Vec<AlertRow>>;
        fn forget(opened_before: Timestamp, limit: usize) -> Answer<()>;
    }
}

impl ReservationBook for AnyReservations {
    hand_on! {
        fn admit(now: Timestamp, after: Option<u64>) -> Answer<Admission>;
        fn tidy() -> Answer<()>;
        fn reservations(filter: ReservationFilter, after: Option<ReservationCursor>, limit: usize)
            -> Answer<Page<ReservationRow, ReservationCursor>>;
        fn before(kind: ReservationKind, name: String, ticket: u64) -> Answer<u64>;
    }
}

impl AuditLog for AnyAudit {
    hand_on! {
        fn append(entries: Vec<AuditEntry>) -> Answer<Vec<AuditRow>>;
        fn rows(after: u64, limit: usize) -> Answer<Vec<AuditRow>>;
        fn head() -> Answer<Option<AuditRow>>;
        fn page(filter: AuditFilter, after: Option<AuditCursor>, limit: usize) -> Answer<Page<AuditRow, AuditCursor>>;
    }
}

impl TokenStore for AnyTokens {
    hand_on! {
        fn put_token(row: TokenRow) -> Answer<bool>;
        fn delete_token(name: String) -> Answer<bool>;
        fn tokens() -> Answer<Vec<TokenRow>>;
    }
}

impl Suspects for AnySuspects {
    hand_on! {
        fn begin(message: Uuid, part: u32, now: Timestamp) -> Answer<u32>;
        fn take_back(message: Uuid, part: u32) -> Answer<()>;
        fn done(message: Uuid, part: u32) -> Answer<()>;
    }
}
