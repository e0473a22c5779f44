//! Sagas' own rows: insert or replace. A row that only moves (the common change) touches just the columns that moved, and so only the
//! indexes over them.

use std::collections::BTreeMap;

use baton_driver::SagaRow;
use baton_engine::Status;
use baton_messages::{SagaId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::columns::{self, document, instant, int, json, word};
use super::commit::Fault;
use super::deltas::Deltas;

const FIND: &str = "SELECT number, status, definition, version, slice, labels, started_by, started_at FROM sagas WHERE id = ?1";
const INSERT: &str = "INSERT INTO sagas
    (id, partition, slice, definition, version, status, active, paused, labels, started_by, started_at, changed_at, ended_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT (id) DO NOTHING";
const MOVE: &str = "UPDATE sagas SET status = ?2, active = ?3, paused = ?4, changed_at = ?5, ended_at = ?6 WHERE number = ?1";
const REPLACE: &str = "UPDATE sagas SET slice = ?2, definition = ?3, version = ?4, labels = ?5, started_by = ?6, started_at = ?7
    WHERE number = ?1";
const LABEL_ADD: &str =
    "INSERT INTO saga_labels (name, value, started_at, saga) VALUES (?1, ?2, ?3, ?4)";
const LABEL_REMOVE: &str =
    "DELETE FROM saga_labels WHERE name = ?1 AND value = ?2 AND started_at = ?3 AND saga = ?4";

/// What is there of a saga.
struct Found {
    number: i64,
    status: Status,
    /// Whether what never changes in the life of a saga is as the new row says.
    same: bool,
    labels: BTreeMap<String, String>,
    started_at: Timestamp,
}

/// Writes each row.
pub(crate) fn write(
    conn: &Connection,
    buffer: &mut Vec<u8>,
    partition: u8,
    sagas: &[SagaRow],
    deltas: &mut Deltas,
) -> Result<(), Fault> {
    if sagas.is_empty() {
        return Ok(());
    }
    let mut find = conn.prepare_cached(FIND)?;
    for saga in sagas {
        // A row of a saga that has just started is new, nearly always: no look is needed to find that out.
        if saga.changed_at == saga.started_at && insert(conn, buffer, partition, saga)? {
            deltas.moved(None, saga.status);
            continue;
        }
        let found = find
            .query_row([saga.saga.0.as_bytes()], |row| found(row, saga))
            .optional()?;
        deltas.moved(found.as_ref().map(|found| found.status), saga.status);
        match found {
            None => {
                insert(conn, buffer, partition, saga)?;
            }
            Some(found) => {
                let moved = params![
                    found.number,
                    saga.status.as_str(),
                    !saga.status.ended(),
                    saga.paused,
                    int(saga.changed_at.0),
                    saga.ended_at.map(|at| int(at.0))
                ];
                conn.prepare_cached(MOVE)?.execute(moved)?;
                if !found.same {
                    replace(conn, buffer, saga, &found)?;
                }
            }
        }
    }
    Ok(())
}

fn found(row: &Row<'_>, saga: &SagaRow) -> rusqlite::Result<Found> {
    let labels = document::<BTreeMap<String, String>>(row, 5)?;
    let started_at = instant(row, 7)?;
    let same = row.get_ref(2)?.as_str().ok() == Some(saga.definition.as_str())
        && row.get::<_, u32>(3)? == saga.version
        && row.get::<_, u8>(4)? == saga.slice.0
        && labels == saga.labels
        && row.get_ref(6)?.as_str().ok() == Some(saga.by.as_str())
        && started_at == saga.started_at;
    Ok(Found {
        number: row.get(0)?,
        status: word(row, 1, columns::status)?,
        same,
        labels,
        started_at,
    })
}

/// Adds a row; false when there is one, which stays.
fn insert(
    conn: &Connection,
    buffer: &mut Vec<u8>,
    partition: u8,
    saga: &SagaRow,
) -> Result<bool, Fault> {
    let labels = json(buffer, &saga.labels)?;
    let added = conn.prepare_cached(INSERT)?.execute(params![
        saga.saga.0.as_bytes(),
        partition,
        saga.slice.0,
        saga.definition,
        saga.version,
        saga.status.as_str(),
        !saga.status.ended(),
        saga.paused,
        labels,
        saga.by,
        int(saga.started_at.0),
        int(saga.changed_at.0),
        saga.ended_at.map(|at| int(at.0)),
    ])?;
    if added == 1 {
        index_labels(conn, LABEL_ADD, saga.saga, saga.started_at, &saga.labels)?;
    }
    Ok(added == 1)
}

/// Replaces what should never change: a row is what the driver says it is.
fn replace(
    conn: &Connection,
    buffer: &mut Vec<u8>,
    saga: &SagaRow,
    found: &Found,
) -> Result<(), Fault> {
    index_labels(
        conn,
        LABEL_REMOVE,
        saga.saga,
        found.started_at,
        &found.labels,
    )?;
    let labels = json(buffer, &saga.labels)?;
    conn.prepare_cached(REPLACE)?.execute(params![
        found.number,
        saga.slice.0,
        saga.definition,
        saga.version,
        labels,
        saga.by,
        int(saga.started_at.0),
    ])?;
    index_labels(conn, LABEL_ADD, saga.saga, saga.started_at, &saga.labels)
}

/// Takes a saga out of the index of its labels.
pub(crate) fn unlabel(
    conn: &Connection,
    saga: SagaId,
    started_at: Timestamp,
    labels: &BTreeMap<String, String>,
) -> Result<(), Fault> {
    index_labels(conn, LABEL_REMOVE, saga, started_at, labels)
}

fn index_labels(
    conn: &Connection,
    sql: &str,
    saga: SagaId,
    started_at: Timestamp,
    labels: &BTreeMap<String, String>,
) -> Result<(), Fault> {
    if labels.is_empty() {
        return Ok(());
    }
    let mut statement = conn.prepare_cached(sql)?;
    for (name, value) in labels {
        statement.execute(params![name, value, int(started_at.0), saga.0.as_bytes()])?;
    }
    Ok(())
}
