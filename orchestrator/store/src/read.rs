//! What people and programs ask of a store beside the driver: filters, pages and figures, the same for every store.
//! Pages are steady: a cursor names the last row seen, so that rows that come meanwhile neither shift nor repeat others.

use std::collections::{BTreeMap, BTreeSet};

use baton_driver::{SagaRow, StoreError};
use baton_engine::{Entry, Status, WorkItem};
use baton_messages::{DeadReason, SagaId, TaskType, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::letters::LetterState;

/// The largest page anybody gets: bounds what one answer holds in memory.
pub const PAGE_ROWS_MAX: usize = 500;

/// Which sagas are asked for; what is not set does not restrict.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SagaFilter {
    /// Those that stand there.
    pub status: Option<Status>,
    /// Those of this definition, any version.
    pub definition: Option<String>,
    /// Those with this label (name and value).
    pub label: Option<(String, String)>,
    /// Those started then or later.
    pub started_from: Option<Timestamp>,
    /// Those started then or earlier.
    pub started_until: Option<Timestamp>,
}

/// Which dead letters are asked for; what is not set does not restrict.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DeadLetterFilter {
    /// Those that died of this.
    pub reason: Option<DeadReason>,
    /// Those that came from this queue.
    pub queue: Option<String>,
    /// Those of this kind of message (its `type` property).
    pub kind: Option<String>,
    /// Those that speak of this saga.
    pub saga: Option<SagaId>,
    /// Those that died then or later, the last time.
    pub from: Option<Timestamp>,
    /// Those that died then or earlier, the last time.
    pub until: Option<Timestamp>,
    /// Those whose error, or whose body, has this in it, to the letter.
    pub text: Option<String>,
    /// Those that stand there.
    pub state: Option<LetterState>,
    /// Those of this group.
    pub group: Option<String>,
    /// Those nobody has moved since then.
    pub changed_until: Option<Timestamp>,
    /// Those whose error has this in it, to the letter.
    pub error: Option<String>,
    /// Those of a task for this pool.
    pub pool: Option<String>,
    /// Those of this task type.
    pub task_type: Option<String>,
    /// Those that are events of this type.
    pub event_type: Option<String>,
    /// Those that ask for this definition, or whose saga runs it.
    pub definition: Option<String>,
    /// Those this worker sent, or put aside.
    pub worker: Option<String>,
    /// Those that were sent back to work so often or oftener, over all the times they died.
    pub replays: Option<u32>,
    /// Those whose saga has this label (name and value).
    pub label: Option<(String, String)>,
    /// Those that belong to this replay of many, or belonged to it last.
    pub operation: Option<Uuid>,
    /// These alone; empty: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<Uuid>,
    /// The one that died first comes first; otherwise the one that died last.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub oldest_first: bool,
}

/// How far letters have come, by what stands in them: members of a cluster have clocks of their own, and what is stamped later can only be compared with what was stamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Newest {
    /// When the one died that died last; 0 where there is none.
    pub died: Timestamp,
    /// When the last of them died, or was moved.
    pub moved: Timestamp,
}

impl Newest {
    pub(crate) fn of(died: Option<Timestamp>, moved: Option<Timestamp>) -> Self {
        let died = died.unwrap_or_default();
        Self {
            died,
            moved: died.max(moved.unwrap_or_default()),
        }
    }

    /// No further than somebody has seen: up to that move, and up to that death; where no death is named, up to the same time.
    #[must_use]
    pub fn up_to(self, moved: Option<Timestamp>, died: Option<Timestamp>) -> Self {
        let least = |newest: Timestamp, seen: Option<Timestamp>| {
            seen.map_or(newest, |seen| seen.min(newest))
        };
        Self {
            died: least(self.died, died.or(moved)),
            moved: least(self.moved, moved),
        }
    }
}

/// How a statement goes along letters, one way or the other.
pub(crate) struct Way {
    /// Of the place of one that comes after a cursor, to that.
    pub(crate) past: &'static str,
    /// Of the place of one that comes before an end, to that, which is still among them.
    pub(crate) within: &'static str,
    /// In which order.
    pub(crate) order: &'static str,
}

impl DeadLetterFilter {
    /// Whether an index alone finds what fits: state, group and time are in one, and ids are few.
    #[must_use]
    pub fn is_indexed(&self) -> bool {
        let bare = Self {
            from: self.from,
            until: self.until,
            state: self.state,
            group: self.group.clone(),
            oldest_first: self.oldest_first,
            ..Self::default()
        };
        *self == bare || !self.ids.is_empty()
    }

    pub(crate) const fn way(&self) -> Way {
        if self.oldest_first {
            Way {
                past: ">",
                within: "<=",
                order: "ASC",
            }
        } else {
            Way {
                past: "<",
                within: ">=",
                order: "DESC",
            }
        }
    }
}

/// An hour in milliseconds: letters are counted by the hour they were taken in.
pub const HOUR_MS: u64 = 3_600_000;

/// Bytes of a body that a list of letters has: messages of others may be of any size.
pub const HEAD_BYTES_MAX: usize = 4_096;

/// Letters of each kind that are looked at for the one an attempt was minted for: a step has one for each time its task died.
pub const TRIED_MAX: usize = 64;

/// Letters one page looks at, at most, where no index finds what fits: some tens of milliseconds. A page that ends there has a cursor, whatever it holds.
pub const LOOKED_AT_MAX: usize = 20_000;

/// Bytes of bodies one page looks into, at most, but for one that is larger alone: large bodies are read from the disk.
pub const LOOKED_INTO_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The last saga of a page; the next page begins after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SagaCursor {
    /// When it started.
    pub started_at: Timestamp,
    /// It.
    pub saga: SagaId,
}

/// The last work item of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkItemCursor {
    /// When it was opened; of a list by when items were due, when it was.
    pub opened_at: Timestamp,
    /// Its saga.
    pub saga: SagaId,
    /// Its number.
    pub number: u32,
}

/// The last dead letter of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetterCursor {
    /// When it was taken in.
    pub at: Timestamp,
    /// It.
    pub id: Uuid,
}

/// The last event of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventCursor {
    /// When it was received.
    pub received_at: Timestamp,
    /// Its place.
    pub seq: u64,
}

/// A saga that has ended, and where to go on after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndedCursor {
    /// When it ended.
    pub ended_at: Timestamp,
    /// It.
    pub saga: SagaId,
}

/// Some rows, and where to go on. One row that cannot be read hides none of the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T, C> {
    /// The rows.
    pub rows: Vec<T>,
    /// Give this back for the next page; none when this was the last.
    pub next: Option<C>,
    /// Names of those among them that hold what this version cannot read, in their order.
    pub unreadable: Vec<String>,
}

impl<T, C> Page<T, C> {
    /// The page, for whoever may leave none out.
    ///
    /// # Errors
    /// Where a row of it could not be read.
    pub fn whole(self, what: &str) -> Result<Self, StoreError> {
        if self.unreadable.is_empty() {
            return Ok(self);
        }
        Err(StoreError {
            what: what.to_owned(),
            source: Box::new(NotWhole(self.unreadable)),
        })
    }
}

/// Rows that nobody may leave out cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "this version cannot read {}: were they written by a newer one, or changed by hand?",
    .0.join(", ")
)]
pub(crate) struct NotWhole(Vec<String>);

/// A row of a list.
#[derive(Debug)]
pub(crate) enum Listed<T, C> {
    /// As it is.
    Read(T),
    /// One that holds what this version cannot read: where it stands, and its name.
    Unread(C, String),
}

/// Letters of one cause that are still dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterGroup {
    /// The group's key.
    pub group: String,
    /// How many of it are dead.
    pub dead: u64,
    /// When the first of them was taken in.
    pub first_at: Timestamp,
    /// When the last of them was.
    pub last_at: Timestamp,
}

/// A work item with its saga and its end.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkItemView {
    /// Its saga.
    pub saga: SagaId,
    /// It.
    pub item: WorkItem,
    /// When it was closed and by whom, if it is.
    pub closed: Option<(Timestamp, String)>,
}

/// Figures of a store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Sagas by where they stand, without those whose records were taken out.
    pub sagas: BTreeMap<Status, u64>,
    /// Sagas whose records were taken out.
    pub purged: u64,
    /// Tasks to be sent again.
    pub unsent: u64,
    /// Events and words to other sagas to be published again.
    pub owed: u64,
    /// Dead letters that are kept, wherever they stand.
    pub dead_letters: u64,
    /// Dead letters by where they stand.
    pub letters: BTreeMap<LetterState, u64>,
    /// Work items somebody has to act on.
    pub work_items_open: u64,
    /// Rows of the log.
    pub log_rows: u64,
    /// Size of the store's file, in bytes; zero where there is none.
    pub db_bytes: u64,
}

/// What is only counted when people ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Kept events.
    pub events: u64,
    /// When the saga ended that has lain there for longest.
    pub oldest_ended: Option<Timestamp>,
}

/// So many sagas that wait for one task type are counted: a look must not take longer the longer nobody starts a worker.
pub const UNSERVED_COUNTED_MAX: usize = 10_000;

/// Who waits for a worker of a task type that nobody serves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unserved {
    /// How many sagas, by task type; where they are [`UNSERVED_COUNTED_MAX`], so many or more.
    pub by_type: Vec<(TaskType, usize)>,
    /// The first of them, by task type.
    pub first: Vec<(TaskType, SagaId)>,
}

/// A saga with its whole log.
pub type SagaLog = (SagaRow, Vec<(u64, Entry)>);

/// The end of the log. One row that cannot be read hides none of the others.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogEnd {
    /// Its entries, oldest first.
    pub entries: Vec<(SagaId, Entry)>,
    /// Sagas that have a row among them which this version cannot read.
    pub unreadable: BTreeSet<SagaId>,
}

impl LogEnd {
    /// Takes rows of one partition, last first, in among those of others: what one partition committed stays in its order.
    pub(crate) fn take(&mut self, last_first: Vec<(SagaId, Option<Entry>)>) {
        let others = !self.entries.is_empty();
        for (saga, entry) in last_first.into_iter().rev() {
            match entry {
                Some(entry) => self.entries.push((saga, entry)),
                None => {
                    self.unreadable.insert(saga);
                }
            }
        }
        if others {
            self.entries.sort_by_key(|(_, entry)| entry.at);
        }
    }

    /// The last of them, so many.
    pub(crate) fn cut(mut self, limit: usize) -> Self {
        let before = self.entries.len().saturating_sub(limit);
        self.entries.drain(..before);
        self
    }
}

/// A limit within bounds.
pub(crate) fn page_rows(limit: usize) -> usize {
    limit.clamp(1, PAGE_ROWS_MAX)
}

/// A page out of one row more than it may hold: that one only says that there are more.
pub(crate) fn page<T, C>(found: Vec<T>, limit: usize, cursor: impl Fn(&T) -> C) -> Page<T, C> {
    listed(found.into_iter().map(Listed::Read).collect(), limit, cursor)
}

/// The same where rows may be such as cannot be read: they count as the others do.
pub(crate) fn listed<T, C>(
    mut found: Vec<Listed<T, C>>,
    limit: usize,
    cursor: impl Fn(&T) -> C,
) -> Page<T, C> {
    let more = found.len() > limit;
    found.truncate(limit);
    let count = found.len();
    let mut page = Page {
        rows: Vec::with_capacity(count),
        next: None,
        unreadable: Vec::new(),
    };
    for (n, one) in found.into_iter().enumerate() {
        let is_last = more && n + 1 == count;
        match one {
            Listed::Read(row) => {
                page.next = is_last.then(|| cursor(&row));
                page.rows.push(row);
            }
            Listed::Unread(place, name) => {
                page.next = is_last.then_some(place);
                page.unreadable.push(name);
            }
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_cannot_be_read_is_named_and_may_end_a_page() {
        let found = || {
            vec![
                Listed::Read(1),
                Listed::Unread(2, "two".to_owned()),
                Listed::Read(3),
            ]
        };
        let first = listed(found(), 2, |row| *row);
        assert_eq!((first.rows.as_slice(), first.next), (&[1][..], Some(2)));
        assert_eq!(first.unreadable, ["two"]);
        let error = first.whole("numbers").unwrap_err();
        assert!(crate::is_unreadable(&error), "{error:?}");
        let all = listed(found(), 3, |row| *row);
        assert_eq!((all.rows.as_slice(), all.next), (&[1, 3][..], None));
        let whole = page(vec![1, 2, 3], 2, |row| *row).whole("numbers").unwrap();
        assert_eq!((whole.rows.as_slice(), whole.next), (&[1, 2][..], Some(2)));
    }
}
