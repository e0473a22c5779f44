//! One batch, one transaction. The fence is the first statement: when the partition has another epoch nothing else is tried.
//!
//! What an error means to the driver is decided here by where it arose: a constraint is the batch's own fault; anything else before
//! COMMIT left nothing behind; an error of COMMIT itself leaves open whether the log reached the disk.

use baton_driver::store::BoxError;
use baton_driver::{Batch, ColdRow, CommitError, LogRow, SnapshotRow, UnsentRow, WorkItemRow};
use baton_messages::{AttemptRef, SagaId, TaskType};
use rusqlite::{Connection, ErrorCode, params};

use super::columns::{int, json};
use super::deltas::{Count, Deltas};
use super::{owed, purge, reservations, saga_rows, subscriptions};
use crate::facets::facets_of;
use crate::group::group_of;
use crate::items::{escalations, whose};

/// The place of a row in the one tree of the log: partition above, place in its log below.
const LOG_SEQ_BITS: u32 = 48;
/// The last place there is in a log.
pub(crate) const LOG_SEQ_MAX: u64 = (1 << LOG_SEQ_BITS) - 1;

const FENCE: &str = "UPDATE partitions SET watermark = ?3 WHERE id = ?1 AND epoch = ?2";
// a saga without a row has no number: NOT NULL refuses its records
const APPEND: &str = "INSERT INTO records (id, saga, saga_seq, entry)
    VALUES (?1, (SELECT number FROM sagas WHERE id = ?2), ?3, ?4)";
const COLD: &str = "UPDATE sagas SET cold = ?2, wake_at = ?3 WHERE id = ?1";
const SNAPSHOT: &str = "INSERT INTO snapshots (saga, seq, version, state) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (saga) DO UPDATE SET seq = excluded.seq, version = excluded.version, state = excluded.state";
const UNSENT_REMOVE: &str = "DELETE FROM unsent WHERE id = ?1";
const UNSENT_ADD: &str = "INSERT INTO unsent (id, partition, saga, since, attempt) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (id) DO NOTHING";
const UNSERVED_REMOVE: &str =
    "DELETE FROM unserved WHERE partition = ?1 AND task_type = ?2 AND saga = ?3";
const UNSERVED_ADD: &str = "INSERT INTO unserved (partition, task_type, saga) VALUES (?1, ?2, ?3)
    ON CONFLICT (partition, task_type, saga) DO NOTHING";
const ITEM_OPEN: &str = "INSERT INTO work_items (partition, saga, number, opened_at, owner, item, assignee, due_at, escalated) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
const ITEM_CHANGE: &str = "UPDATE work_items SET item = ?3, assignee = ?4, due_at = ?5, escalated = ?6 WHERE saga = ?1 AND number = ?2";
const ITEM_CLOSE: &str = "UPDATE work_items SET closed_at = ?3, closed_by = ?4 WHERE saga = ?1 AND number = ?2 AND closed_at IS NULL";
const DEAD: &str = "INSERT INTO dead_letters
    (id, partition, at, reason, error, queue, exchange, key, message_id, kind, saga, properties, body, grp,
    pool, task_type, event_type, definition, worker, replays_before)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20) ON CONFLICT (id) DO NOTHING";

/// Why a batch was not written, before it is said in the driver's words.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Another epoch.
    Fenced,
    /// SQLite refuses.
    Sql(rusqlite::Error),
    /// A value cannot be JSON.
    Json(serde_json::Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(source: rusqlite::Error) -> Self {
        Self::Sql(source)
    }
}

impl From<serde_json::Error> for Fault {
    fn from(source: serde_json::Error) -> Self {
        Self::Json(source)
    }
}

/// The writing connection and the memory it reuses.
#[derive(Debug)]
pub(crate) struct Writer {
    conn: Connection,
    buffer: Vec<u8>,
}

impl Writer {
    /// Writes through `conn` from here on.
    pub(crate) const fn new(conn: Connection) -> Self {
        Self {
            conn,
            buffer: Vec::new(),
        }
    }

    /// The connection, to read with.
    pub(crate) const fn connection(&self) -> &Connection {
        &self.conn
    }

    /// The connection, to close it.
    pub(crate) fn into_connection(self) -> Connection {
        self.conn
    }

    /// Writes a batch wholly or not at all.
    pub(crate) fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        let partition = batch.partition;
        self.roll_back();
        let written = self
            .begin()
            .and_then(|()| write(&self.conn, &mut self.buffer, batch));
        if let Err(fault) = written {
            self.roll_back();
            return Err(said(fault, batch));
        }
        self.conn
            .prepare_cached("COMMIT")
            .and_then(|mut commit| commit.execute([]))
            .map_err(|source| {
                self.roll_back();
                CommitError::Unknown {
                    partition,
                    source: BoxError::from(source),
                }
            })?;
        Ok(())
    }

    fn begin(&self) -> Result<(), Fault> {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(())
    }

    /// Leaves no transaction open. SQLite has rolled some errors back by itself; one that cannot be rolled back now is tried before the next commit.
    fn roll_back(&self) {
        if self.conn.is_autocommit() {
            return;
        }
        if let Err(source) = self.conn.execute_batch("ROLLBACK") {
            tracing::error!(error = %source, "a transaction of the store could not be rolled back; tried again before the next commit");
        }
    }
}

/// The fault in the driver's words.
fn said(fault: Fault, batch: &Batch) -> CommitError {
    let partition = batch.partition;
    match fault {
        Fault::Fenced => CommitError::Fenced {
            partition,
            epoch: batch.epoch,
        },
        Fault::Json(source) => CommitError::Data {
            partition,
            source: BoxError::from(source),
        },
        Fault::Sql(source) if is_data(&source) => CommitError::Data {
            partition,
            source: BoxError::from(source),
        },
        Fault::Sql(source) => CommitError::Failed {
            partition,
            source: BoxError::from(source),
        },
    }
}

/// Whether the rows themselves are at fault: the same batch would fail on any other day as well.
fn is_data(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
    ) || matches!(
        error,
        rusqlite::Error::ToSqlConversionFailure(_) | rusqlite::Error::IntegralValueOutOfRange(..)
    )
}

fn write(conn: &Connection, buffer: &mut Vec<u8>, batch: &Batch) -> Result<(), Fault> {
    let fenced = conn.prepare_cached(FENCE)?.execute(params![
        batch.partition,
        int(batch.epoch),
        int(batch.watermark)
    ])?;
    if fenced != 1 {
        return Err(Fault::Fenced);
    }
    let mut deltas = Deltas::default();
    saga_rows::write(conn, buffer, batch.partition, &batch.sagas, &mut deltas)?;
    append(conn, buffer, batch.partition, &batch.rows, &mut deltas)?;
    cold(conn, &batch.cold)?;
    snapshots(conn, buffer, &batch.snapshots)?;
    unsent(
        conn,
        buffer,
        batch.partition,
        &batch.unsent_remove,
        &batch.unsent_add,
        &mut deltas,
    )?;
    owed::write(
        conn,
        buffer,
        batch.partition,
        (batch.owed_remove.as_slice(), batch.owed_add.as_slice()),
        &mut deltas,
    )?;
    unserved(
        conn,
        batch.partition,
        &batch.unserved_remove,
        &batch.unserved_add,
    )?;
    subscriptions::write(conn, batch.partition, &batch.subscriptions)?;
    reservations::write(conn, &batch.reservations)?;
    work_items(
        conn,
        buffer,
        batch.partition,
        &batch.work_items,
        &mut deltas,
    )?;
    dead_letters(conn, buffer, batch, &mut deltas)?;
    purge::write(
        conn,
        batch.partition,
        batch.watermark,
        &batch.purged,
        &mut deltas,
    )?;
    deltas.write(conn, batch.partition)?;
    Ok(())
}

/// The id of a row of the log.
pub(crate) fn log_id(partition: u8, log_seq: u64) -> i64 {
    (i64::from(partition) << LOG_SEQ_BITS) | int(log_seq)
}

fn append(
    conn: &Connection,
    buffer: &mut Vec<u8>,
    partition: u8,
    rows: &[LogRow],
    deltas: &mut Deltas,
) -> Result<(), Fault> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut insert = conn.prepare_cached(APPEND)?;
    for row in rows {
        let id = log_id(partition, row.log_seq);
        let entry = json(buffer, &row.entry)?;
        insert.execute(params![id, row.saga.0.as_bytes(), int(row.saga_seq), entry])?;
        deltas.add(Count::LogRows, 1);
    }
    Ok(())
}

fn cold(conn: &Connection, rows: &[ColdRow]) -> Result<(), Fault> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut update = conn.prepare_cached(COLD)?;
    for row in rows {
        let wake_at = row.wake_at.filter(|_| row.cold).map(|at| int(at.0));
        update.execute(params![row.saga.0.as_bytes(), row.cold, wake_at])?;
    }
    Ok(())
}

fn snapshots(conn: &Connection, buffer: &mut Vec<u8>, rows: &[SnapshotRow]) -> Result<(), Fault> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut replace = conn.prepare_cached(SNAPSHOT)?;
    for row in rows {
        let state = json(buffer, &row.state)?;
        replace.execute(params![
            row.saga.0.as_bytes(),
            int(row.seq),
            row.version,
            state
        ])?;
    }
    Ok(())
}

/// What is both removed and added stays: a task held once too often is looked at again, one forgotten is lost.
fn unsent(
    conn: &Connection,
    buffer: &mut Vec<u8>,
    partition: u8,
    remove: &[AttemptRef],
    add: &[UnsentRow],
    deltas: &mut Deltas,
) -> Result<(), Fault> {
    if !remove.is_empty() {
        let mut delete = conn.prepare_cached(UNSENT_REMOVE)?;
        for of in remove {
            let deleted = delete.execute(params![of.message_id().0.as_bytes()])?;
            deltas.subtract(Count::Unsent, deleted);
        }
    }
    if !add.is_empty() {
        let mut insert = conn.prepare_cached(UNSENT_ADD)?;
        for row in add {
            let attempt = json(buffer, &row.of)?;
            let id = row.of.message_id();
            let saga = row.of.saga.0.as_bytes();
            let added = insert.execute(params![
                id.0.as_bytes(),
                partition,
                saga,
                int(row.since.0),
                attempt
            ])?;
            deltas.add(Count::Unsent, added);
        }
    }
    Ok(())
}

fn unserved(
    conn: &Connection,
    partition: u8,
    remove: &[(TaskType, SagaId)],
    add: &[(TaskType, SagaId)],
) -> Result<(), Fault> {
    for (sql, pairs) in [(UNSERVED_REMOVE, remove), (UNSERVED_ADD, add)] {
        if pairs.is_empty() {
            continue;
        }
        let mut statement = conn.prepare_cached(sql)?;
        for (task_type, saga) in pairs {
            statement.execute(params![partition, task_type.as_str(), saga.0.as_bytes()])?;
        }
    }
    Ok(())
}

fn work_items(
    conn: &Connection,
    buffer: &mut Vec<u8>,
    partition: u8,
    rows: &[WorkItemRow],
    deltas: &mut Deltas,
) -> Result<(), Fault> {
    for row in rows {
        match row {
            WorkItemRow::Open { saga, item } => {
                let text = json(buffer, item)?;
                let opened_at = int(item.opened_at.0);
                conn.prepare_cached(ITEM_OPEN)?.execute(params![
                    partition,
                    saga.0.as_bytes(),
                    item.number,
                    opened_at,
                    item.owner,
                    text,
                    whose(item),
                    item.due_at.map(|at| int(at.0)),
                    escalations(item)
                ])?;
                deltas.add(Count::WorkItemsOpen, 1);
            }
            WorkItemRow::Change { saga, item } => {
                let text = json(buffer, item)?;
                conn.prepare_cached(ITEM_CHANGE)?.execute(params![
                    saga.0.as_bytes(),
                    item.number,
                    text,
                    whose(item),
                    item.due_at.map(|at| int(at.0)),
                    escalations(item)
                ])?;
            }
            WorkItemRow::Close {
                saga,
                number,
                by,
                at,
            } => {
                let closed = conn.prepare_cached(ITEM_CLOSE)?.execute(params![
                    saga.0.as_bytes(),
                    number,
                    int(at.0),
                    by
                ])?;
                deltas.subtract(Count::WorkItemsOpen, closed);
            }
        }
    }
    Ok(())
}

fn dead_letters(
    conn: &Connection,
    buffer: &mut Vec<u8>,
    batch: &Batch,
    deltas: &mut Deltas,
) -> Result<(), Fault> {
    for letter in &batch.dead_letters {
        let about = facets_of(letter);
        let properties = json(buffer, &letter.properties)?;
        let inserted = conn.prepare_cached(DEAD)?.execute(params![
            letter.id.as_bytes(),
            batch.partition,
            int(letter.at.0),
            letter.reason.as_str(),
            letter.error,
            letter.queue,
            letter.exchange,
            letter.key,
            letter.message_id,
            letter.kind,
            letter.saga.as_ref().map(|saga| saga.0.as_bytes()),
            properties,
            letter.body,
            group_of(letter, &about),
            about.pool,
            about.task_type,
            about.event_type,
            about.definition,
            about.worker,
            about.replays_before,
        ])?;
        deltas.add(Count::DeadLetters, inserted);
    }
    Ok(())
}
