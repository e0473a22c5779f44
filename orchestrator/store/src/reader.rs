//! Reading beside the driver: for the API, the console and the command line. Whoever reads sees whole commits only, holds nothing up, and
//! gets pages that are steady ([`crate::read`]).

use std::future::Future;

use baton_driver::{DefinitionRow, Loaded, SagaRow, StoreError};
use baton_engine::{Entry, WorkItemKind};
use baton_messages::{AttemptRef, Manifest, SagaId, Timestamp};
use uuid::Uuid;

use crate::items::ItemFilter;
use crate::letters::{EditRow, HistoryRow, LetterRow, LetterState, OperationRow, OperationState};
use crate::read::{
    Counts, DeadLetterCursor, DeadLetterFilter, EndedCursor, EventCursor, LetterGroup, LogEnd,
    Newest, Page, SagaCursor, SagaFilter, SagaLog, Sizes, Unserved, WorkItemCursor, WorkItemView,
};
use crate::triggers::{EventRow, ScheduleRow};

/// Reads a store, from any task; clones share what they read with. Every call fails when the store cannot be read, or holds what this version
/// cannot.
pub trait Reader: Clone + Send + Sync + 'static {
    /// Sagas, newest first. Those whose records were taken out are left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn sagas(
        &self,
        filter: SagaFilter,
        after: Option<SagaCursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<SagaRow, SagaCursor>, StoreError>> + Send;

    /// One saga with its whole log, by place in the partition's log.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what this version cannot.
    fn saga(
        &self,
        saga: SagaId,
    ) -> impl Future<Output = Result<Option<SagaLog>, StoreError>> + Send;

    /// One saga's row.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn saga_row(
        &self,
        saga: SagaId,
    ) -> impl Future<Output = Result<Option<SagaRow>, StoreError>> + Send;

    /// One saga as the driver folds it, from its last snapshot on, with its first entry: both of the same moment. When its records were taken out
    /// that entry has none.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what this version cannot.
    fn folding(
        &self,
        saga: SagaId,
    ) -> impl Future<Output = Result<Option<(Entry, Loaded)>, StoreError>> + Send;

    /// Entries of a saga that hold records after number `after`, at most `limit`, each with the number of records before it. The first may
    /// begin with records up to `after`. None of a saga that is not there.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what this version cannot.
    fn entries(
        &self,
        saga: SagaId,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(u64, Entry)>, StoreError>> + Send;

    /// Who waits for a worker of a task type that nobody serves: how many sagas of each type, counted up to a bound, and the first `limit` of
    /// them, in the order of type and saga.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what this version cannot.
    fn unserved(&self, limit: usize) -> impl Future<Output = Result<Unserved, StoreError>> + Send;

    /// The last entries of the log, at most `limit`, oldest first; and whose could not be read.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn last_entries(&self, limit: usize)
    -> impl Future<Output = Result<LogEnd, StoreError>> + Send;

    /// Sagas of a partition whose records could be taken out if they ended before then, those that ended first before the others, at most `limit`
    /// (and never more than a page) after `after`. The commit that takes them out looks once more.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn ended(
        &self,
        partition: u8,
        before: Timestamp,
        after: Option<EndedCursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<EndedCursor>, StoreError>> + Send;

    /// What is only counted when people ask: reads all there is of some tables.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn sizes(&self) -> impl Future<Output = Result<Sizes, StoreError>> + Send;

    /// Work items, oldest first; only those of `kind`, where one is named.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn work_items(
        &self,
        open_only: bool,
        kind: Option<WorkItemKind>,
        after: Option<WorkItemCursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<WorkItemView, WorkItemCursor>, StoreError>> + Send;

    /// Open work items by whose they are and by when; those that are overdue by when they were due, others oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn work_items_of(
        &self,
        filter: ItemFilter,
        after: Option<WorkItemCursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<WorkItemView, WorkItemCursor>, StoreError>> + Send;

    /// The dead letters whose ids lie between these two, which belong to it, in order; two at most: one, or a sign that there are several.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn dead_letters_between(
        &self,
        first: Uuid,
        last: Uuid,
    ) -> impl Future<Output = Result<Vec<LetterRow>, StoreError>> + Send;

    /// The same, of each body only its beginning.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn dead_letter_heads_between(
        &self,
        first: Uuid,
        last: Uuid,
    ) -> impl Future<Output = Result<Vec<LetterRow>, StoreError>> + Send;

    /// Dead letters whole, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn dead_letters(
        &self,
        filter: DeadLetterFilter,
        after: Option<DeadLetterCursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<LetterRow, DeadLetterCursor>, StoreError>> + Send;

    /// Dead letters, newest first, of each body only the first [`crate::read::HEAD_BYTES_MAX`] bytes. Where no index finds what fits, a page looks at no more than
    /// [`crate::read::LOOKED_AT_MAX`] letters, and with a text into [`crate::read::LOOKED_INTO_BYTES_MAX`]
    /// bytes of bodies: it may be short, or empty, and have a cursor to go on.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn dead_letter_heads(
        &self,
        filter: DeadLetterFilter,
        after: Option<DeadLetterCursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<LetterRow, DeadLetterCursor>, StoreError>> + Send;

    /// The edited copies of a letter in order, without their bodies.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn dead_letter_edits(
        &self,
        letter: Uuid,
    ) -> impl Future<Output = Result<Vec<EditRow>, StoreError>> + Send;

    /// One of them, whole.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn dead_letter_edit(
        &self,
        letter: Uuid,
        edition: u32,
    ) -> impl Future<Output = Result<Option<EditRow>, StoreError>> + Send;

    /// What happened to a letter after it was taken in, oldest first: the last `limit` of it.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn dead_letter_history(
        &self,
        letter: Uuid,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<HistoryRow>, StoreError>> + Send;

    /// The dead letters that speak of a saga, newest first, with the beginnings of their bodies.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn dead_letters_of(
        &self,
        saga: SagaId,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<LetterRow>, StoreError>> + Send;

    /// The dead letters an attempt that died may have been minted for: those for which the saga minted one of its step, and those that set out for the saga and of which nobody has
    /// written down yet whether they were sent; with the beginnings of their bodies. At most [`crate::read::TRIED_MAX`] of each.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn dead_letters_tried(
        &self,
        of: AttemptRef,
    ) -> impl Future<Output = Result<Vec<LetterRow>, StoreError>> + Send;

    /// How many letters of a group that are dead died, the last time, in each hour since then, oldest first; hours without any are left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn dead_letter_hours(
        &self,
        group: String,
        since: Timestamp,
    ) -> impl Future<Output = Result<Vec<(Timestamp, u64)>, StoreError>> + Send;

    /// How many dead letters fit.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn dead_letters_count(
        &self,
        filter: DeadLetterFilter,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// How far the letters that stand there have come; what is stamped later than that was stamped by a clock that is wrong, and does not count.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn dead_letters_newest(
        &self,
        state: LetterState,
        not_after: Timestamp,
    ) -> impl Future<Output = Result<Newest, StoreError>> + Send;

    /// Groups of letters that are dead, by key, after that one, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn dead_letter_groups(
        &self,
        after: Option<String>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<LetterGroup>, StoreError>> + Send;

    /// Replays of many dead letters, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn dead_operations(
        &self,
        after: Option<DeadLetterCursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<OperationRow, DeadLetterCursor>, StoreError>> + Send;

    /// Those of them that stand there, newest first, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn dead_operations_in(
        &self,
        state: OperationState,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<OperationRow>, StoreError>> + Send;

    /// One of them.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn dead_operation(
        &self,
        id: Uuid,
    ) -> impl Future<Output = Result<Option<OperationRow>, StoreError>> + Send;

    /// How many there are of what.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn counts(&self) -> impl Future<Output = Result<Counts, StoreError>> + Send;

    /// Every registered definition.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn definitions(&self) -> impl Future<Output = Result<Vec<DefinitionRow>, StoreError>> + Send;

    /// Every manifest of the catalogue.
    ///
    /// # Errors
    /// When the store cannot be read, or holds what this version cannot.
    fn manifests(&self) -> impl Future<Output = Result<Vec<Manifest>, StoreError>> + Send;

    /// One registered definition.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn definition(
        &self,
        name: String,
        version: u32,
    ) -> impl Future<Output = Result<Option<DefinitionRow>, StoreError>> + Send;

    /// Kept events, newest first, of one type where one is given.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn events(
        &self,
        kind: Option<String>,
        after: Option<EventCursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<EventRow, EventCursor>, StoreError>> + Send;

    /// One kept event.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn event(
        &self,
        source: String,
        id: String,
    ) -> impl Future<Output = Result<Option<EventRow>, StoreError>> + Send;

    /// Every schedule's row.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn schedules(&self) -> impl Future<Output = Result<Vec<ScheduleRow>, StoreError>> + Send;
}
