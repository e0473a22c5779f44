//! Reading beside the driver: for the API, the console and the command line. A few connections of their own, which cannot write and see
//! only what is committed; the work runs on tokio's blocking threads, since SQLite waits for the disk.

use std::path::{Path, PathBuf};

use baton_driver::store::BoxError;
use baton_driver::{DefinitionRow, Loaded, SagaRow, StoreError};
use baton_engine::{Entry, WorkItemKind};
use baton_messages::{AttemptRef, Manifest, SagaId, Timestamp};
use deadpool::managed::{Manager, Metrics, Object, Pool, RecycleResult};
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::columns::{
    document, failed, instant, int, listed, rows, saga_id, saga_row, status, uint, uuid,
};
use super::commit::LOG_SEQ_MAX;
use super::letter_rows::{
    LAST_ID, edit_head, edit_row, history_row, letter_place, letter_row, letter_values, newest,
};
use super::lists::{event_name, letter_name, listed_item, listed_letter, saga_name};
use super::load::{self, all, definitions};
use super::schema::{self, OpenError, open_for_reading};
use super::{SqliteOptions, one_saga, queries, triggers};
use crate::Partition;
use crate::cluster::{Member, Owned, View};
use crate::items::ItemFilter;
use crate::letters::{EditRow, HistoryRow, LetterRow, LetterState, OperationRow, OperationState};
use crate::read::{
    Counts, DeadLetterCursor, DeadLetterFilter, EndedCursor, EventCursor, HOUR_MS, LOOKED_AT_MAX,
    LetterGroup, LogEnd, Newest, Page, SagaCursor, SagaFilter, SagaLog, Sizes, TRIED_MAX, Unserved,
    WorkItemCursor, WorkItemView, listed as page, page_rows,
};
use crate::reader::Reader;
use crate::triggers::{EventRow, ScheduleRow};

/// The end of a partition's log is one step along the log's own order: nothing else is an index of places in it.
const OWNED: &str = "SELECT id, epoch, max(coalesce((SELECT log_seq FROM records r WHERE r.id BETWEEN p.id << 48 AND (p.id << 48) + 281474976710655
    ORDER BY r.id DESC LIMIT 1), 0), watermark), watermark FROM partitions p ORDER BY id";
const _: () = assert!(LOG_SEQ_MAX == 281_474_976_710_655, "as OWNED says");

/// Reads a store, from any task; clones share the connections.
#[derive(Clone, Debug)]
pub struct SqliteReader {
    pool: Pool<Connections>,
}

impl SqliteReader {
    /// A reader of the file another process may be writing.
    ///
    /// # Errors
    /// [`OpenError`] when there is no store, or one of another version.
    pub fn open(path: impl AsRef<Path>, options: &SqliteOptions) -> Result<Self, OpenError> {
        // opened once here, so that whoever names a wrong file hears of it at once
        drop(open_for_reading(path.as_ref(), options.busy_timeout_ms)?);
        Self::new(path.as_ref().to_path_buf(), options)
    }

    /// The version of the tables of a file, of whichever it is; 0 where there is none yet.
    ///
    /// # Errors
    /// [`OpenError`]: it is no store of ours, or of a newer program.
    pub fn version_of(path: impl AsRef<Path>, options: &SqliteOptions) -> Result<u32, OpenError> {
        schema::version_of(path.as_ref(), options.busy_timeout_ms)
    }

    /// The version of the tables this program writes.
    #[must_use]
    pub fn version_known() -> u32 {
        schema::version_known()
    }

    /// How the store stands as a cluster of one.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn cluster(&self, alone: &Member) -> Result<View, StoreError> {
        let owner = alone.name.clone();
        let partitions = self
            .read("the partition", move |conn| {
                all(conn, OWNED, [], |row| {
                    Ok(Owned {
                        partition: Partition {
                            id: row.get(0)?,
                            epoch: uint(row.get(1)?),
                        },
                        owner: owner.clone(),
                        // the lock on the file ends with the process
                        lease_left_ms: Some(i64::MAX),
                        log_seq: uint(row.get(2)?),
                        watermark: uint(row.get(3)?),
                    })
                })
            })
            .await?;
        Ok(View {
            members: vec![alone.clone()],
            partitions,
        })
    }

    /// Connects when first asked.
    pub(crate) fn new(path: PathBuf, options: &SqliteOptions) -> Result<Self, OpenError> {
        let manager = Connections {
            path,
            busy_timeout_ms: options.busy_timeout_ms,
        };
        let pool = Pool::builder(manager)
            .max_size(options.readers.max(1))
            .build();
        Ok(Self {
            pool: pool.map_err(|source| OpenError::Pool { source })?,
        })
    }

    pub(super) async fn read<T, F>(&self, what: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let lost = |source: BoxError| StoreError {
            what: what.to_owned(),
            source,
        };
        let conn: Object<Connections> = self
            .pool
            .get()
            .await
            .map_err(|source| lost(Box::new(source)))?;
        let read = tokio::task::spawn_blocking(move || work(&conn)).await;
        read.map_err(|source| lost(Box::new(source)))?
            .map_err(failed(what))
    }
}

impl Reader for SqliteReader {
    async fn sagas(
        &self,
        filter: SagaFilter,
        after: Option<SagaCursor>,
        limit: usize,
    ) -> Result<Page<SagaRow, SagaCursor>, StoreError> {
        self.read("sagas", move |conn| {
            sagas(conn, &filter, after, page_rows(limit))
        })
        .await
    }

    async fn saga(&self, saga: SagaId) -> Result<Option<SagaLog>, StoreError> {
        self.read("a saga", move |conn| {
            // one transaction: row and log of the same moment
            let seen = conn.unchecked_transaction()?;
            let found = seen
                .prepare_cached(&queries::saga())?
                .query_row([saga.0.as_bytes()], saga_row)
                .optional()?;
            let Some(row) = found else { return Ok(None) };
            let log = all(&seen, queries::SAGA_LOG, [saga.0.as_bytes()], |row| {
                Ok((uint(row.get(0)?), document::<Entry>(row, 1)?))
            })?;
            Ok(Some((row, log)))
        })
        .await
    }

    async fn work_items(
        &self,
        open_only: bool,
        kind: Option<WorkItemKind>,
        after: Option<WorkItemCursor>,
        limit: usize,
    ) -> Result<Page<WorkItemView, WorkItemCursor>, StoreError> {
        self.read("work items", move |conn| {
            work_items(conn, open_only, kind, after, page_rows(limit))
        })
        .await
    }

    async fn work_items_of(
        &self,
        filter: ItemFilter,
        after: Option<WorkItemCursor>,
        limit: usize,
    ) -> Result<Page<WorkItemView, WorkItemCursor>, StoreError> {
        self.read("work items by whose they are", move |conn| {
            work_items_of(conn, &filter, after, page_rows(limit))
        })
        .await
    }

    async fn dead_letters_between(
        &self,
        first: Uuid,
        last: Uuid,
    ) -> Result<Vec<LetterRow>, StoreError> {
        self.read("a dead letter", move |conn| {
            let ids = [first.as_bytes(), last.as_bytes()];
            all(conn, &queries::dead_letters_between(), ids, letter_row)
        })
        .await
    }

    async fn dead_letter_heads_between(
        &self,
        first: Uuid,
        last: Uuid,
    ) -> Result<Vec<LetterRow>, StoreError> {
        self.read("a dead letter, without its body", move |conn| {
            let ids = params![first.as_bytes(), last.as_bytes()];
            all(conn, &queries::dead_letter_heads_between(), ids, letter_row)
        })
        .await
    }

    async fn dead_letters(
        &self,
        filter: DeadLetterFilter,
        after: Option<DeadLetterCursor>,
        limit: usize,
    ) -> Result<Page<LetterRow, DeadLetterCursor>, StoreError> {
        self.read("dead letters", move |conn| {
            dead_letters(conn, &filter, after, page_rows(limit))
        })
        .await
    }

    async fn dead_letter_heads(
        &self,
        filter: DeadLetterFilter,
        after: Option<DeadLetterCursor>,
        limit: usize,
    ) -> Result<Page<LetterRow, DeadLetterCursor>, StoreError> {
        self.read("dead letters, without bodies", move |conn| {
            dead_letter_heads(conn, &filter, after, page_rows(limit))
        })
        .await
    }

    async fn dead_letter_edits(&self, letter: Uuid) -> Result<Vec<EditRow>, StoreError> {
        self.read("edits of a dead letter", move |conn| {
            all(conn, queries::EDITS, [letter.as_bytes()], edit_head)
        })
        .await
    }

    async fn dead_letter_edit(
        &self,
        letter: Uuid,
        edition: u32,
    ) -> Result<Option<EditRow>, StoreError> {
        self.read("an edited dead letter", move |conn| {
            let values = params![letter.as_bytes(), edition];
            conn.prepare_cached(queries::EDIT)?
                .query_row(values, edit_row)
                .optional()
        })
        .await
    }

    async fn dead_letter_history(
        &self,
        letter: Uuid,
        limit: usize,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        self.read("what happened to a dead letter", move |conn| {
            let values = params![letter.as_bytes(), rows(limit)];
            let mut found = all(conn, queries::LETTER_HISTORY, values, |row| {
                history_row(row, 0)
            })?;
            found.reverse();
            Ok(found)
        })
        .await
    }

    async fn dead_letters_of(
        &self,
        saga: SagaId,
        limit: usize,
    ) -> Result<Vec<LetterRow>, StoreError> {
        self.read("dead letters of a saga", move |conn| {
            let values = params![saga.0.as_bytes(), rows(page_rows(limit))];
            all(conn, &queries::dead_letters_of(), values, letter_row)
        })
        .await
    }

    async fn dead_letters_tried(&self, of: AttemptRef) -> Result<Vec<LetterRow>, StoreError> {
        self.read("dead letters of a step", move |conn| {
            let (saga, item) = (of.saga.0.as_bytes(), of.item.map_or(-1, i64::from));
            let values = params![saga, of.step.as_str(), item, rows(TRIED_MAX)];
            let mut found = all(conn, &queries::dead_letters_tried(), values, letter_row)?;
            let values = params![saga, rows(TRIED_MAX)];
            found.extend(all(
                conn,
                &queries::dead_letters_set_out(),
                values,
                letter_row,
            )?);
            Ok(found)
        })
        .await
    }

    async fn dead_letter_hours(
        &self,
        group: String,
        since: Timestamp,
    ) -> Result<Vec<(Timestamp, u64)>, StoreError> {
        self.read("dead letters by the hour", move |conn| {
            let values = params![group, int(since.0 / HOUR_MS)];
            all(conn, queries::LETTER_HOURS, values, |row| {
                let (hour, n): (i64, i64) = (row.get(0)?, row.get(1)?);
                Ok((Timestamp(uint(hour) * HOUR_MS), uint(n)))
            })
        })
        .await
    }

    async fn dead_letters_count(&self, filter: DeadLetterFilter) -> Result<u64, StoreError> {
        self.read("dead letters, to count them", move |conn| {
            let values = letter_values(&filter, None, 0, None);
            conn.prepare_cached(&queries::dead_letters_count(&filter))?
                .query_row(rusqlite::params_from_iter(values), |row| {
                    row.get(0).map(uint)
                })
        })
        .await
    }

    async fn dead_letters_newest(
        &self,
        state: LetterState,
        not_after: Timestamp,
    ) -> Result<Newest, StoreError> {
        self.read("how far dead letters have come", move |conn| {
            newest(conn, state, not_after)
        })
        .await
    }

    async fn dead_letter_groups(
        &self,
        after: Option<String>,
        limit: usize,
    ) -> Result<Vec<LetterGroup>, StoreError> {
        self.read("groups of dead letters", move |conn| {
            let values = params![after.as_deref().unwrap_or_default(), rows(limit)];
            all(conn, queries::LETTER_GROUPS, values, |row| {
                Ok(LetterGroup {
                    group: row.get(0)?,
                    dead: uint(row.get(1)?),
                    first_at: instant(row, 2)?,
                    last_at: instant(row, 3)?,
                })
            })
        })
        .await
    }

    async fn dead_operations(
        &self,
        after: Option<DeadLetterCursor>,
        limit: usize,
    ) -> Result<Page<OperationRow, DeadLetterCursor>, StoreError> {
        self.read("replays of dead letters", move |conn| {
            let limit = page_rows(limit);
            let (at, id) = letter_place(false, after.as_ref());
            let values = params![at, id, rows(limit + 1)];
            let found = all(conn, queries::OPERATIONS, values, |row| {
                listed(row, |row| document(row, 0), |row| letter_name(row, 1, 2))
            })?;
            Ok(page(found, limit, |row: &OperationRow| DeadLetterCursor {
                at: row.made_at,
                id: row.id,
            }))
        })
        .await
    }

    async fn dead_operations_in(
        &self,
        state: OperationState,
        limit: usize,
    ) -> Result<Vec<OperationRow>, StoreError> {
        self.read("replays of dead letters by where they stand", move |conn| {
            let values = params![state.as_str(), rows(limit)];
            all(conn, queries::OPERATIONS_IN, values, |row| document(row, 0))
        })
        .await
    }

    async fn dead_operation(&self, id: Uuid) -> Result<Option<OperationRow>, StoreError> {
        self.read("a replay of dead letters", move |conn| {
            conn.prepare_cached(queries::OPERATION)?
                .query_row([id.as_bytes()], |row| document(row, 0))
                .optional()
        })
        .await
    }

    async fn counts(&self) -> Result<Counts, StoreError> {
        self.read("figures", counts).await
    }

    async fn definitions(&self) -> Result<Vec<DefinitionRow>, StoreError> {
        self.read("definitions", definitions).await
    }

    async fn manifests(&self) -> Result<Vec<Manifest>, StoreError> {
        self.read("manifests", |conn| {
            all(conn, load::MANIFESTS, [], |row| document(row, 0))
        })
        .await
    }

    async fn events(
        &self,
        kind: Option<String>,
        after: Option<EventCursor>,
        limit: usize,
    ) -> Result<Page<EventRow, EventCursor>, StoreError> {
        self.read("events", move |conn| {
            let limit = page_rows(limit);
            let (at, seq) = after.map_or((i64::MAX, i64::MAX), |after| {
                (int(after.received_at.0), int(after.seq))
            });
            let found = all(
                conn,
                &triggers::events(kind.is_some()),
                params![at, seq, rows(limit + 1), kind],
                |row| listed(row, triggers::event_row, event_name),
            )?;
            Ok(page(found, limit, |row: &EventRow| EventCursor {
                received_at: row.received_at,
                seq: row.seq,
            }))
        })
        .await
    }

    async fn schedules(&self) -> Result<Vec<ScheduleRow>, StoreError> {
        self.read("schedules", |conn| {
            all(conn, triggers::SCHEDULES, [], triggers::schedule_row)
        })
        .await
    }

    async fn event(&self, source: String, id: String) -> Result<Option<EventRow>, StoreError> {
        self.read("an event", move |conn| {
            conn.prepare_cached(&triggers::event())?
                .query_row([source, id], triggers::event_row)
                .optional()
        })
        .await
    }

    async fn folding(&self, saga: SagaId) -> Result<Option<(Entry, Loaded)>, StoreError> {
        self.read("a saga", move |conn| one_saga::folding(conn, saga))
            .await
    }

    async fn unserved(&self, limit: usize) -> Result<Unserved, StoreError> {
        self.read("who waits for a worker", move |conn| {
            one_saga::unserved(conn, limit)
        })
        .await
    }

    async fn entries(
        &self,
        saga: SagaId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Entry)>, StoreError> {
        self.read("a saga's records", move |conn| {
            one_saga::entries(conn, saga, after, limit)
        })
        .await
    }

    async fn saga_row(&self, saga: SagaId) -> Result<Option<SagaRow>, StoreError> {
        self.read("a saga's row", move |conn| one_saga::row(conn, saga))
            .await
    }

    async fn last_entries(&self, limit: usize) -> Result<LogEnd, StoreError> {
        self.read("the end of the log", move |conn| {
            one_saga::last_entries(conn, limit)
        })
        .await
    }

    async fn ended(
        &self,
        partition: u8,
        before: Timestamp,
        after: Option<EndedCursor>,
        limit: usize,
    ) -> Result<Vec<EndedCursor>, StoreError> {
        self.read("ended sagas", move |conn| {
            let (at, id) = after.as_ref().map_or((-1, [].as_slice()), |after| {
                let id = after.saga.0.as_bytes().as_slice();
                (int(after.ended_at.0), id)
            });
            let values = params![partition, at, id, int(before.0), rows(page_rows(limit))];
            all(conn, queries::ENDED, values, |row| {
                Ok(EndedCursor {
                    ended_at: instant(row, 0)?,
                    saga: saga_id(row, 1)?,
                })
            })
        })
        .await
    }

    async fn sizes(&self) -> Result<Sizes, StoreError> {
        self.read("sizes", |conn| {
            let number = |sql| conn.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
            Ok(Sizes {
                events: uint(number(queries::EVENTS_COUNT)?.unwrap_or(0)),
                oldest_ended: number(queries::OLDEST_ENDED)?.map(|ms| Timestamp(uint(ms))),
            })
        })
        .await
    }

    async fn definition(
        &self,
        name: String,
        version: u32,
    ) -> Result<Option<DefinitionRow>, StoreError> {
        self.read("a definition", move |conn| {
            conn.prepare_cached(queries::DEFINITION)?
                .query_row(params![name, version], load::definition_row)
                .optional()
        })
        .await
    }
}

/// Makes the pool's connections.
#[derive(Debug)]
struct Connections {
    path: PathBuf,
    busy_timeout_ms: u64,
}

impl Manager for Connections {
    type Type = Connection;
    type Error = OpenError;

    async fn create(&self) -> Result<Connection, OpenError> {
        // a few system calls on a file that is open in this process already: no reason to go to another thread
        open_for_reading(&self.path, self.busy_timeout_ms)
    }

    async fn recycle(&self, _: &mut Connection, _: &Metrics) -> RecycleResult<OpenError> {
        Ok(())
    }
}

fn sagas(
    conn: &Connection,
    filter: &SagaFilter,
    after: Option<SagaCursor>,
    limit: usize,
) -> rusqlite::Result<Page<SagaRow, SagaCursor>> {
    let (at, id) = after
        .as_ref()
        .map_or((i64::MAX, LAST_ID.as_slice()), |after| {
            (int(after.started_at.0), after.saga.0.as_bytes().as_slice())
        });
    let (name, value) = filter
        .label
        .as_ref()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .unzip();
    let values = params![
        at,
        id,
        filter.started_from.map_or(0, |from| int(from.0)),
        filter.started_until.map_or(i64::MAX, |until| int(until.0)),
        rows(limit + 1),
        queries::status_word(filter),
        filter.definition,
        name,
        value,
    ];
    let found = all(
        conn,
        &queries::sagas(queries::Along::of(filter)),
        values,
        |row| listed(row, saga_row, saga_name),
    )?;
    Ok(page(found, limit, |row: &SagaRow| SagaCursor {
        started_at: row.started_at,
        saga: row.saga,
    }))
}

fn work_items(
    conn: &Connection,
    open_only: bool,
    kind: Option<WorkItemKind>,
    after: Option<WorkItemCursor>,
    limit: usize,
) -> rusqlite::Result<Page<WorkItemView, WorkItemCursor>> {
    // before the first: no item was opened before 1970
    let (at, saga, number) = after.as_ref().map_or((-1, [].as_slice(), 0), |after| {
        (
            int(after.opened_at.0),
            after.saga.0.as_bytes().as_slice(),
            after.number,
        )
    });
    let kind = kind.and_then(kind_word);
    let found = all(
        conn,
        queries::work_items(open_only),
        params![at, saga, number, rows(limit + 1), kind],
        listed_item,
    )?;
    Ok(page(found, limit, |view| WorkItemCursor {
        opened_at: view.item.opened_at,
        saga: view.saga,
        number: view.item.number,
    }))
}

fn work_items_of(
    conn: &Connection,
    filter: &ItemFilter,
    after: Option<WorkItemCursor>,
    limit: usize,
) -> rusqlite::Result<Page<WorkItemView, WorkItemCursor>> {
    // before the first: nothing was opened, or due, before 1970
    let (at, saga, number) = after.as_ref().map_or((-1, [].as_slice(), 0), |after| {
        (
            int(after.opened_at.0),
            after.saga.0.as_bytes().as_slice(),
            after.number,
        )
    });
    let kind = filter.kind.and_then(kind_word);
    let due = filter.due_until.map(|at| int(at.0));
    let found = all(
        conn,
        &queries::work_items_of(filter),
        params![at, saga, number, rows(limit + 1), kind, filter.whose, due],
        listed_item,
    )?;
    Ok(page(found, limit, |view| filter.cursor(view)))
}

/// A kind of work item, as it stands in the item's own JSON.
fn kind_word(kind: WorkItemKind) -> Option<String> {
    let word = serde_json::to_value(kind).ok()?;
    word.as_str().map(str::to_owned)
}

fn dead_letters(
    conn: &Connection,
    filter: &DeadLetterFilter,
    after: Option<DeadLetterCursor>,
    limit: usize,
) -> rusqlite::Result<Page<LetterRow, DeadLetterCursor>> {
    let values = letter_values(filter, after.as_ref(), limit + 1, None);
    let found = all(
        conn,
        &queries::dead_letters(filter),
        rusqlite::params_from_iter(values),
        listed_letter,
    )?;
    Ok(page(found, limit, |row| DeadLetterCursor {
        at: row.seen_at(),
        id: row.letter.id,
    }))
}

/// A page that ends with its rows, or with the last letter it may look at.
fn dead_letter_heads(
    conn: &Connection,
    filter: &DeadLetterFilter,
    after: Option<DeadLetterCursor>,
    limit: usize,
) -> rusqlite::Result<Page<LetterRow, DeadLetterCursor>> {
    let end = if filter.is_indexed() {
        None
    } else {
        let values = letter_values(filter, after.as_ref(), LOOKED_AT_MAX - 1, None);
        // the statement has no more places than these
        let values = values.into_iter().take(12);
        conn.prepare_cached(&queries::dead_letters_end(filter))?
            .query_row(rusqlite::params_from_iter(values), |row| {
                let (at, id) = (instant(row, 0)?, uuid(row, 1)?);
                Ok(DeadLetterCursor { at, id })
            })
            .optional()?
    };
    let values = letter_values(filter, after.as_ref(), limit + 1, end.as_ref());
    let found = all(
        conn,
        &queries::dead_letter_heads(filter),
        rusqlite::params_from_iter(values),
        listed_letter,
    )?;
    let mut page = page(found, limit, |row: &LetterRow| DeadLetterCursor {
        at: row.seen_at(),
        id: row.letter.id,
    });
    page.next = page.next.or(end);
    Ok(page)
}

fn counts(conn: &Connection) -> rusqlite::Result<Counts> {
    let mut counts = Counts::default();
    let kept = all(conn, queries::COUNTS, [], |row| {
        Ok((row.get::<_, String>(0)?, uint(row.get(1)?)))
    })?;
    for (name, n) in kept {
        if let Some(state) = name.strip_prefix("letters.").and_then(LetterState::of) {
            if n > 0 {
                *counts.letters.entry(state).or_default() += n;
            }
            continue;
        }
        match name.as_str() {
            "log_rows" => counts.log_rows += n,
            "unsent" => counts.unsent += n,
            "owed" => counts.owed += n,
            "dead_letters" => counts.dead_letters += n,
            "work_items_open" => counts.work_items_open += n,
            "purged" => counts.purged += n,
            other => {
                if let Some(status) = other.strip_prefix("saga.").and_then(status)
                    && n > 0
                {
                    *counts.sagas.entry(status).or_default() += n;
                }
            }
        }
    }
    let pages: i64 = conn.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    let page_bytes: i64 = conn.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    counts.db_bytes = uint(pages.saturating_mul(page_bytes));
    Ok(counts)
}
