//! The stores: where the driver's batches become durable. SQLite is for one orchestrator with nothing to install ([`SqliteStore`]), PostgreSQL
//! for those who have one ([`PostgresStore`]); the suite in `suite` is what any store has to pass.
//!
//! Guarantee: a commit is whole or absent, whatever dies in between; it is fenced by the partition's epoch; what is read back folds to
//! the state that was in memory. One process at a time owns a file or a partition of a database.

pub mod alerts;
pub mod any;
pub mod arrivals;
pub mod audit;
pub mod cluster;
pub mod facets;
pub mod group;
pub mod items;
pub mod letters;
pub mod memory;
pub mod moving;
pub mod operation;
pub mod postgres;
pub mod read;
pub mod reader;
pub mod reservations;
pub mod sqlite;
#[cfg(test)]
mod statements;
#[cfg(any(test, feature = "suite"))]
pub mod suite;
pub mod suspects;
pub mod tokens;
pub mod triggers;

pub use alerts::{AlertCursor, AlertRow, AlertState, Alerts, Answered, Saying};
pub use any::{
    AnyAlerts, AnyAudit, AnyCloseError, AnyLetters, AnyOpenError, AnyReader, AnyReservations,
    AnyStore, AnySuspects, AnyTokens, AnyTriggers,
};
pub use audit::{AuditCursor, AuditFilter, AuditLog};
pub use cluster::{Layout, Owned, View};
pub use items::ItemFilter;
pub use letters::{
    EditRow, LetterRow, LetterState, Letters, OperationRow, OperationState, Standing, WholeLetter,
};
pub use memory::MemoryStore;
pub use postgres::{
    Ownership, PostgresAlerts, PostgresAudit, PostgresCarried, PostgresCluster, PostgresError,
    PostgresLetters, PostgresOptions, PostgresReader, PostgresReservations, PostgresStore,
};
pub use read::{
    Counts, DeadLetterCursor, DeadLetterFilter, EndedCursor, EventCursor, LetterGroup, LogEnd,
    Newest, Page, SagaCursor, SagaFilter, SagaLog, Sizes, UNSERVED_COUNTED_MAX, Unserved,
    WorkItemCursor, WorkItemView,
};
pub use reader::Reader;
pub use reservations::{ReservationBook, ReservationCursor, ReservationFilter};
pub use sqlite::{
    CloseError, ExportError, OpenError, SqliteAlerts, SqliteAudit, SqliteLetters, SqliteOptions,
    SqliteReader, SqliteReservations, SqliteStore, SqliteSuspects, SqliteTokens, SqliteTriggers,
};
pub use suspects::Suspects;
pub use tokens::{TokenRow, TokenStore};
pub use triggers::{
    Arrival, Claim, Effect, EventRow, Planned, ScheduleRow, Settled, TriggerRef, Triggers,
};

/// Whether an error says that the store is gone for this process: trying again is in vain, only a new process helps.
#[must_use]
pub fn is_gone(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<sqlite::ThreadLost>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// Whether an error says that what was asked for is there, and this version cannot read it: trying again is in vain, and nothing else that is asked for is concerned.
#[must_use]
pub fn is_unreadable(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let misfit = sqlite::is_misfit(error) || postgres::is_misfit(error);
        if misfit || error.is::<read::NotWhole>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// A partition as its owner has it: what a batch has to carry to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Which.
    pub id: u8,
    /// Since when it is owned, counted: every new owner has a higher one.
    pub epoch: u64,
}
