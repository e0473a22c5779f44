//! Reading one saga beside the driver: as it folds, or page by page of its records.

use baton_driver::{Loaded, SagaRow};
use baton_engine::Entry;
use baton_messages::{SagaId, TaskType};
use rusqlite::{Connection, OptionalExtension, params};

use super::columns::{document, int, rows, saga_id, saga_row, uint, word};
use super::load::{self, all};
use super::queries;
use crate::read::Unserved;

/// One saga as the driver folds it, with its first entry.
pub(crate) fn folding(
    conn: &Connection,
    saga: SagaId,
) -> rusqlite::Result<Option<(Entry, Loaded)>> {
    // one transaction: snapshot and log of the same moment
    let seen = conn.unchecked_transaction()?;
    let first = seen
        .prepare_cached(queries::FIRST_ENTRY)?
        .query_row([saga.0.as_bytes()], |row| document::<Entry>(row, 0))
        .optional()?;
    let Some(first) = first else {
        let left = row(&seen, saga)?;
        return Ok(left.and_then(|row| Loaded::tombstone_with_first(&row)));
    };
    let loaded = load::saga(&seen, saga)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    match loaded {
        Some(Loaded {
            unreadable: Some(why),
            ..
        }) => Err(rusqlite::Error::ToSqlConversionFailure(why.into())),
        loaded => Ok(loaded.map(|loaded| (first, loaded))),
    }
}

/// A saga of which only its row is left.
pub(crate) fn tombstone(conn: &Connection, saga: SagaId) -> rusqlite::Result<Option<Loaded>> {
    let row = row(conn, saga)?;
    Ok(row.and_then(|row| Loaded::tombstone(&row)))
}

/// Entries of a saga that hold records after number `after`.
pub(crate) fn entries(
    conn: &Connection,
    saga: SagaId,
    after: u64,
    limit: usize,
) -> rusqlite::Result<Vec<(u64, Entry)>> {
    let values = params![saga.0.as_bytes(), int(after), rows(limit)];
    let mut found: Vec<(u64, Entry)> = all(conn, queries::ENTRIES_AFTER, values, |row| {
        Ok((uint(row.get(0)?), document::<Entry>(row, 1)?))
    })?;
    found.retain(|(before, entry)| before + entry.records.len() as u64 > after);
    Ok(found)
}

/// One saga's row.
pub(crate) fn row(conn: &Connection, saga: SagaId) -> rusqlite::Result<Option<SagaRow>> {
    conn.prepare_cached(&queries::saga())?
        .query_row([saga.0.as_bytes()], saga_row)
        .optional()
}

/// Who waits for a worker of a task type that nobody serves.
pub(crate) fn unserved(conn: &Connection, limit: usize) -> rusqlite::Result<Unserved> {
    // one transaction: both of the same moment
    let seen = conn.unchecked_transaction()?;
    let of_name = |text: &str| TaskType::new(text).ok();
    Ok(Unserved {
        by_type: all(&seen, queries::UNSERVED_BY_TYPE, [], |row| {
            let count = usize::try_from(row.get::<_, i64>(1)?).unwrap_or(usize::MAX);
            Ok((word(row, 0, of_name)?, count))
        })?,
        first: all(&seen, queries::UNSERVED, [rows(limit)], |row| {
            Ok((word(row, 0, of_name)?, saga_id(row, 1)?))
        })?,
    })
}

/// The last entries of the log, oldest first.
pub(crate) fn last_entries(
    conn: &Connection,
    limit: usize,
) -> rusqlite::Result<Vec<(SagaId, Entry)>> {
    let mut found = all(conn, queries::LAST_ENTRIES, [rows(limit)], |row| {
        Ok((saga_id(row, 0)?, document::<Entry>(row, 1)?))
    })?;
    found.reverse();
    Ok(found)
}
