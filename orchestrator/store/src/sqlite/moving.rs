//! Reading a whole file, table by table, a page at a time: what has to be carried into another store and no other question asks for; and the mark in it that
//! says where it was carried, which keeps orchestrators off it.

use baton_driver::{ColdRow, LogRow, OwedRow, SagaRow, SnapshotRow, StoreError, SubscriptionRow};
use baton_engine::definition::EventPattern;
use baton_messages::{SagaId, StepId, TaskType, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::SqliteStore;
use super::columns::{
    SAGA_COLUMNS, document, failed, instant, instant_if_set, int, rows, saga_id, saga_row, uint,
    uuid, word,
};
use super::commit::log_id;
use super::letter_rows::history_row;
use super::load::all;
use super::owed;
use super::triggers::event_row;
use crate::letters::HistoryRow;
use crate::triggers::EventRow;

/// Which saga holds a key, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRow {
    pub(crate) definition: String,
    pub(crate) key: String,
    pub(crate) saga: SagaId,
    pub(crate) until: Timestamp,
}

/// Where a file was moved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Hosts and database; no name of a user and no password.
    pub(crate) place: String,
    /// Since when.
    pub(crate) at: Timestamp,
    /// Whether the database has everything; else nobody has said so.
    pub(crate) done: bool,
}

/// Whether there is a place for the mark: a file of an earlier version has none.
const MARKED: &str = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'moved'";
const MARK: &str = "SELECT place, at, done FROM moved";
const BEGIN: &str = "INSERT INTO moved (one, place, at, done) VALUES (1, ?1, CAST(strftime('%s', 'now') AS INTEGER) * 1000, 0)
    ON CONFLICT (one) DO UPDATE SET place = excluded.place, at = excluded.at, done = excluded.done";
const AS_BEFORE: &str = "UPDATE moved SET place = ?1, at = ?2, done = ?3";
const CLEAR: &str = "DELETE FROM moved";
const END: &str = "UPDATE moved SET done = 1";

/// Where the file was moved to, where it was or may have been.
pub(crate) fn mark(conn: &Connection) -> rusqlite::Result<Option<Mark>> {
    let marked: i64 = conn.query_row(MARKED, [], |row| row.get(0))?;
    if marked == 0 {
        return Ok(None);
    }
    conn.query_row(MARK, [], |row| {
        Ok(Mark {
            place: row.get(0)?,
            at: instant(row, 1)?,
            done: row.get(2)?,
        })
    })
    .optional()
}

const RECORDS: &str = "SELECT r.log_seq, s.id, r.saga_seq, r.entry FROM records r CROSS JOIN sagas s ON s.number = r.saga
    WHERE r.id > ?1 ORDER BY r.id LIMIT ?2";
const COLD: &str =
    "SELECT number, id, wake_at FROM sagas WHERE cold = 1 AND number > ?1 ORDER BY number LIMIT ?2";
const SNAPSHOTS: &str =
    "SELECT saga, seq, version, state FROM snapshots WHERE saga > ?1 ORDER BY saga LIMIT ?2";
const UNSERVED: &str = "SELECT task_type, saga FROM unserved";
const SUBSCRIPTIONS: &str = "SELECT saga, step, event, since, searched FROM subscriptions";
const EVENTS: &str =
    "SELECT seq, received_at, done, effects, body FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2";
const HISTORY: &str = "SELECT letter, n, at, what, by, why, text, death, properties, body, rowid FROM dead_history WHERE rowid > ?1
    ORDER BY rowid LIMIT ?2";
const KEYS: &str = "SELECT definition, key, saga, until FROM keys WHERE (definition, key) > (?1, ?2) ORDER BY definition, key LIMIT ?3";

impl SqliteStore {
    async fn page<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<Vec<T>> + Send + 'static,
    ) -> Result<Vec<T>, StoreError> {
        self.read(what, move |conn| work(conn).map_err(failed(what)))
            .await
    }

    /// Rows of the log after this one.
    pub(crate) async fn records(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<LogRow>, StoreError> {
        let first = log_id(self.partition.id, after);
        self.page("the log", move |conn| {
            all(conn, RECORDS, params![first, rows(limit)], |row| {
                Ok(LogRow {
                    log_seq: uint(row.get(0)?),
                    saga: saga_id(row, 1)?,
                    saga_seq: uint(row.get(2)?),
                    entry: document(row, 3)?,
                })
            })
        })
        .await
    }

    /// What is owed, by its ids.
    pub(crate) async fn all_owed(
        &self,
        after: Uuid,
        limit: usize,
    ) -> Result<Vec<OwedRow>, StoreError> {
        self.page("what is owed", move |conn| {
            all(
                conn,
                owed::BY_ID,
                params![after.as_bytes(), rows(limit)],
                |row| {
                    Ok(OwedRow {
                        // what cannot be read cannot be carried
                        what: Some(document(row, 4)?),
                        ..owed::row(row)?
                    })
                },
            )
        })
        .await
    }

    /// What happened to dead letters, each with its place.
    pub(crate) async fn letter_history(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<(i64, (Uuid, HistoryRow))>, StoreError> {
        self.page("what happened to dead letters", move |conn| {
            all(conn, HISTORY, params![after, rows(limit)], |row| {
                let kept = (uuid(row, 0)?, history_row(row, 1)?);
                Ok((row.get(10)?, kept))
            })
        })
        .await
    }

    /// Evicted sagas, each with its place.
    pub(crate) async fn evicted(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, ColdRow)>, StoreError> {
        self.page("evicted sagas", move |conn| {
            all(conn, COLD, params![int(after), rows(limit)], |row| {
                let cold = ColdRow {
                    saga: saga_id(row, 1)?,
                    cold: true,
                    wake_at: instant_if_set(row, 2)?,
                };
                Ok((uint(row.get(0)?), cold))
            })
        })
        .await
    }

    /// Sagas of which only their rows are left, each with its place.
    pub(crate) async fn tombstones(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, SagaRow)>, StoreError> {
        let sql = format!(
            "SELECT {SAGA_COLUMNS}, s.number FROM sagas s WHERE s.purged_at IS NOT NULL AND s.number > ?1 ORDER BY s.number LIMIT ?2"
        );
        self.page("purged sagas", move |conn| {
            all(conn, &sql, params![int(after), rows(limit)], |row| {
                Ok((uint(row.get("number")?), saga_row(row)?))
            })
        })
        .await
    }

    /// Snapshots after that of this saga.
    pub(crate) async fn snapshots(
        &self,
        after: Option<SagaId>,
        limit: usize,
    ) -> Result<Vec<SnapshotRow>, StoreError> {
        self.page("snapshots", move |conn| {
            let after: &[u8] = after.as_ref().map_or(&[], |saga| saga.0.as_bytes());
            all(conn, SNAPSHOTS, params![after, rows(limit)], |row| {
                Ok(SnapshotRow {
                    saga: saga_id(row, 0)?,
                    seq: uint(row.get(1)?),
                    version: row.get(2)?,
                    state: document(row, 3)?,
                })
            })
        })
        .await
    }

    /// Every saga that waits for a task type.
    pub(crate) async fn all_unserved(&self) -> Result<Vec<(TaskType, SagaId)>, StoreError> {
        self.page("sagas nobody serves", |conn| {
            all(conn, UNSERVED, [], |row| {
                Ok((
                    word(row, 0, |text| TaskType::new(text).ok())?,
                    saga_id(row, 1)?,
                ))
            })
        })
        .await
    }

    /// Every step that waits for an event, and whether the kept events were searched for it.
    pub(crate) async fn all_subscriptions(
        &self,
    ) -> Result<Vec<(SubscriptionRow, bool)>, StoreError> {
        self.page("steps that wait for events", |conn| {
            all(conn, SUBSCRIPTIONS, [], |row| {
                let waits = SubscriptionRow {
                    saga: saga_id(row, 0)?,
                    step: word(row, 1, |text| StepId::new(text).ok())?,
                    event: word(row, 2, |text| EventPattern::new(text).ok())?,
                    since: instant(row, 3)?,
                };
                Ok((waits, row.get(4)?))
            })
        })
        .await
    }

    /// Kept events after that place.
    pub(crate) async fn kept_events(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError> {
        self.page("kept events", move |conn| {
            all(conn, EVENTS, params![int(after), rows(limit)], event_row)
        })
        .await
    }

    /// Keys after this one, of a definition; none has an empty name.
    pub(crate) async fn keys(
        &self,
        (definition, key): (String, String),
        limit: usize,
    ) -> Result<Vec<KeyRow>, StoreError> {
        self.page("keys", move |conn| {
            all(conn, KEYS, params![definition, key, rows(limit)], key_row)
        })
        .await
    }

    /// Where the file was moved to, where it was or may have been.
    pub(crate) async fn mark(&self) -> Result<Option<Mark>, StoreError> {
        self.marked("where it was moved to", mark).await
    }

    /// From here on nobody drives the file: it is being moved there.
    pub(crate) async fn begin_mark(&self, place: &str) -> Result<(), StoreError> {
        let place = place.to_owned();
        self.marked("that it is being moved", move |conn| {
            conn.execute(BEGIN, [place]).map(drop)
        })
        .await
    }

    /// Nothing came of that: the mark is what it was before.
    pub(crate) async fn mark_as(&self, before: Option<Mark>) -> Result<(), StoreError> {
        self.marked("that it was not moved", move |conn| match before {
            None => conn.execute(CLEAR, []).map(drop),
            Some(Mark { place, at, done }) => conn
                .execute(AS_BEFORE, params![place, int(at.0), done])
                .map(drop),
        })
        .await
    }

    /// The database has everything.
    pub(crate) async fn end_mark(&self) -> Result<(), StoreError> {
        self.marked("that it was moved", |conn| conn.execute(END, []).map(drop))
            .await
    }

    async fn marked<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.read(what, move |conn| work(conn).map_err(failed(what)))
            .await
    }
}

fn key_row(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    Ok(KeyRow {
        definition: row.get(0)?,
        key: row.get(1)?,
        saga: saga_id(row, 2)?,
        until: instant(row, 3)?,
    })
}
