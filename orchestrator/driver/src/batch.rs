//! One commit: everything a turn changed, written in one transaction or not at all.

use std::collections::BTreeMap;

use baton_engine::definition::EventPattern;
use baton_engine::reservation::Change;
use baton_engine::{Entry, SagaState, Status, WorkItem};
use baton_messages::{AttemptRef, DeadReason, SagaId, Slice, StepId, TaskType, Timestamp};
use uuid::Uuid;

use crate::owed::Owed;

/// One decision's records, a row of the partition's log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRow {
    /// Dense in its partition, from 1: orders publishing.
    pub log_seq: u64,
    /// The saga.
    pub saga: SagaId,
    /// Number of the saga's records before this row: orders the fold, unique with the saga.
    pub saga_seq: u64,
    /// The records. The store writes them as JSON of [`Entry`].
    pub entry: Entry,
}

/// A saga's own row: written when it starts and when its status changes; otherwise the log alone is touched.
#[derive(Debug, Clone, PartialEq)]
pub struct SagaRow {
    /// The saga.
    pub saga: SagaId,
    /// The slice it hashes to.
    pub slice: Slice,
    /// Its definition.
    pub definition: String,
    /// Its version.
    pub version: u32,
    /// Where it stands.
    pub status: Status,
    /// Whether it is paused.
    pub paused: bool,
    /// What it is searched by.
    pub labels: BTreeMap<String, String>,
    /// Who or what started it.
    pub by: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When its status last changed.
    pub changed_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Set when this row is all that is left of it. Never written by a row of its own: see [`PurgeRow`].
    pub purged: Option<Purged>,
}

impl SagaRow {
    /// The state of a saga of which only this row is left: it has ended, and has neither steps nor input. None while its records are there.
    #[must_use]
    pub fn tombstone(&self) -> Option<Box<SagaState>> {
        let purged = self.purged.as_ref()?;
        let mut state = SagaState::new(self.saga);
        state.definition.clone_from(&self.definition);
        state.version = self.version;
        state.status = self.status;
        state.paused = self.paused;
        state.by.clone_from(&self.by);
        state.started_at = self.started_at;
        state.last_at = self.changed_at;
        state.ended_at = self.ended_at;
        state.purged_at = Some(purged.at);
        Some(Box::new(state))
    }
}

/// That a saga's records were taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purged {
    /// When.
    pub at: Timestamp,
    /// The file they lie in, below the folder of archives; none when they were archived nowhere.
    pub archive: Option<String>,
}

/// A saga whose records may be taken out, once they lie elsewhere. Its row stays, without labels, so that its id is never another saga's.
///
/// The store has the last word, in the commit itself: the saga stays whole unless it has ended before `ended_before`, no work item of it is open, and no
/// record of it lies past `log_seq` or past the watermark of this commit. One that stays is no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeRow {
    /// The saga.
    pub saga: SagaId,
    /// The place in the log of its last record that lies elsewhere.
    pub log_seq: u64,
    /// It has to have ended before.
    pub ended_before: Timestamp,
    /// What its row then says.
    pub purged: Purged,
}

/// A saga that is in memory no more (or again): only a cold one has a durable wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColdRow {
    /// The saga.
    pub saga: SagaId,
    /// True: evicted, to be woken at `wake_at` if that is set. False: in memory again.
    pub cold: bool,
    /// When it next needs to be looked at.
    pub wake_at: Option<Timestamp>,
}

/// A saga's state at one point of its log, so that reading it later folds few records.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotRow {
    /// The saga.
    pub saga: SagaId,
    /// How many records it covers (`SagaState::seq`).
    pub seq: u64,
    /// The version of its shape: `baton_engine::state::SNAPSHOT_VERSION`.
    pub version: u32,
    /// The state.
    pub state: Box<SagaState>,
}

/// A task the broker did not confirm: to be sent again. Its attempt is held by a record in the same commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnsentRow {
    /// The sending; unique.
    pub of: AttemptRef,
    /// Since when.
    pub since: Timestamp,
}

/// An event, or a word to another saga, that the broker did not confirm: to be published again. With it the watermark passes the row it stands in.
#[derive(Debug, Clone, PartialEq)]
pub struct OwedRow {
    /// The id of its message; unique.
    pub id: Uuid,
    /// Who says it.
    pub saga: SagaId,
    /// The lane it waits in: what else is refused where it is.
    pub lane: String,
    /// Since when; with the id its place in the lane.
    pub since: Timestamp,
    /// It; none where only another version can read it, which publishes it then. Such a row is never added.
    pub what: Option<Owed>,
}

/// A step that waits for an event. Its row is written with the record that says so.
///
/// An event and a subscription may come in either order. Whoever takes an event in first commits it, then asks [`crate::Store::subscribers`]. Whoever sees a
/// new subscription ([`crate::Driver::take_subscribed`], which is told only of committed ones) searches the events kept by then. Whichever comes second finds the
/// other, and an event found twice is one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionRow {
    /// The saga.
    pub saga: SagaId,
    /// The step; unique with the saga.
    pub step: StepId,
    /// Which events.
    pub event: EventPattern,
    /// Received then or later.
    pub since: Timestamp,
}

/// A change of the subscriptions; those of one batch are made in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubscriptionChange {
    /// A new one: insert or replace. The kept events have not been searched for it.
    Add(SubscriptionRow),
    /// The kept events have been searched for it, and what was found is committed.
    Searched(SagaId, StepId),
    /// It waits no more: delete if there.
    Remove(SagaId, StepId),
}

/// A change of what is kept of a saga that takes something before its first step; those of one batch are made in their order, after its rows of sagas.
///
/// What is wanted gets one ticket, higher than every one before it: it stands behind all that wait. What is over is let go with the saga that ended: of a lock when
/// the saga at the top has ended as well, of a place among those that run at once, and of what only waits. What was begun within a time counts until that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservationChange {
    /// The saga.
    pub saga: SagaId,
    /// When it was decided.
    pub at: Timestamp,
    /// What becomes of its rows.
    pub change: Change,
}

/// A change of a work item's row.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkItemRow {
    /// A new one.
    Open {
        /// Its saga.
        saga: SagaId,
        /// It.
        item: Box<WorkItem>,
    },
    /// Whose it is, by when, or to whom it was escalated has changed: it, as it is now.
    Change {
        /// Its saga.
        saga: SagaId,
        /// It.
        item: Box<WorkItem>,
    },
    /// Closed; the row stays, with when and by whom.
    Close {
        /// Its saga.
        saga: SagaId,
        /// Its number.
        number: u32,
        /// By whom.
        by: String,
        /// When.
        at: Timestamp,
    },
}

/// A dead letter, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetterRow {
    /// Its own id: derived from what it is, so that taking it in twice makes one row.
    pub id: Uuid,
    /// When it was taken in.
    pub at: Timestamp,
    /// Why it is dead.
    pub reason: DeadReason,
    /// A sentence for people.
    pub error: String,
    /// Where it came from.
    pub queue: String,
    /// The exchange it had been published to.
    pub exchange: String,
    /// Its routing key.
    pub key: String,
    /// Its AMQP `message_id`, if it had one.
    pub message_id: Option<String>,
    /// Its AMQP `type`, if it had one.
    pub kind: Option<String>,
    /// The saga it speaks of, where that can be told.
    pub saga: Option<SagaId>,
    /// All properties and headers, as JSON.
    pub properties: serde_json::Value,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}

/// Everything one turn changed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// The partition.
    pub partition: u8,
    /// The epoch under which it is owned; another epoch in the store fences this commit.
    pub epoch: u64,
    /// How far the log's commands have been published and confirmed (or moved to `unsent` or to what is owed).
    pub watermark: u64,
    /// New rows of the log, ascending.
    pub rows: Vec<LogRow>,
    /// Sagas that started or whose status changed: insert or replace.
    pub sagas: Vec<SagaRow>,
    /// Sagas evicted or in memory again.
    pub cold: Vec<ColdRow>,
    /// Snapshots: replace.
    pub snapshots: Vec<SnapshotRow>,
    /// To be sent again: insert, keep what is there.
    pub unsent_add: Vec<UnsentRow>,
    /// Sent again, or no longer wanted: delete if there.
    pub unsent_remove: Vec<AttemptRef>,
    /// To be published again: insert, keep what is there.
    pub owed_add: Vec<OwedRow>,
    /// Published, by their ids: delete if there. What is both removed and added stays.
    pub owed_remove: Vec<Uuid>,
    /// Work items opened and closed.
    pub work_items: Vec<WorkItemRow>,
    /// Dead letters: insert, keep what is there.
    pub dead_letters: Vec<DeadLetterRow>,
    /// Sagas with a step that waits for a task type to be served: insert, keep what is there.
    pub unserved_add: Vec<(TaskType, SagaId)>,
    /// Sagas that no longer wait for it: delete if there.
    pub unserved_remove: Vec<(TaskType, SagaId)>,
    /// Steps that wait for events, or no more; in this order.
    pub subscriptions: Vec<SubscriptionChange>,
    /// What sagas take before their first step; in this order.
    pub reservations: Vec<ReservationChange>,
    /// Sagas whose records are taken out, after everything else is written: each at most once.
    pub purged: Vec<PurgeRow>,
}

impl Batch {
    /// Whether there is anything to write beside the watermark.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
            && self.sagas.is_empty()
            && self.cold.is_empty()
            && self.snapshots.is_empty()
            && self.unsent_add.is_empty()
            && self.unsent_remove.is_empty()
            && self.owed_add.is_empty()
            && self.owed_remove.is_empty()
            && self.work_items.is_empty()
            && self.dead_letters.is_empty()
            && self.unserved_add.is_empty()
            && self.unserved_remove.is_empty()
            && self.subscriptions.is_empty()
            && self.reservations.is_empty()
            && self.purged.is_empty()
    }
}
