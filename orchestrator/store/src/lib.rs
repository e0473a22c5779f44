//! The stores: where the driver's batches become durable. One implementation so far, SQLite, for one orchestrator with nothing to
//! install; the suite in `suite` is what any other has to pass.
//!
//! Guarantee: a commit is whole or absent, whatever dies in between; it is fenced by the partition's epoch; what is read back folds to
//! the state that was in memory. One file holds all of it, owned by one process at a time ([`SqliteStore::open`]).

pub mod memory;
pub mod read;
pub mod sqlite;
#[cfg(any(test, feature = "suite"))]
pub mod suite;
pub mod tokens;
pub mod triggers;

pub use memory::MemoryStore;
pub use read::{
    Counts, DeadLetterCursor, EventCursor, Page, SagaCursor, SagaFilter, Unserved, WorkItemCursor,
    WorkItemView,
};
pub use sqlite::{
    CloseError, OpenError, Reader, SqliteOptions, SqliteStore, SqliteSuspects, SqliteTokens,
    SqliteTriggers,
};
pub use tokens::{TokenRow, TokenStore};
pub use triggers::{
    Arrival, Claim, Effect, EventRow, Planned, ScheduleRow, Settled, TriggerRef, Triggers,
};

/// A partition as its owner has it: what a batch has to carry to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Which.
    pub id: u8,
    /// Since when it is owned, counted: every new owner has a higher one.
    pub epoch: u64,
}
