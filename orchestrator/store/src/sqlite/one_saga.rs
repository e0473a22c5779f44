//! Reading one saga beside the driver: as it folds, or page by page of its records.

use std::collections::BTreeMap;

use baton_driver::{Loaded, SagaRow};
use baton_engine::Entry;
use baton_messages::{SagaId, TaskType};
use rusqlite::{Connection, OptionalExtension, params};

use super::columns::{UnreadableRow, document, int, rows, saga_id, saga_row, uint, word};
use super::load::{self, all};
use super::queries;
use crate::read::{LogEnd, UNSERVED_COUNTED_MAX, Unserved};

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
        }) => Err(rusqlite::Error::ToSqlConversionFailure(Box::new(
            UnreadableRow(why),
        ))),
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
    let (mut by_type, mut first) = (BTreeMap::<TaskType, usize>::new(), Vec::new());
    for partition in all(&seen, queries::PARTITIONS, [], |row| row.get::<_, i64>(0))? {
        for (task_type, count) in unserved_counted(&seen, partition)? {
            let of = by_type.entry(task_type).or_default();
            *of = (*of + count).min(UNSERVED_COUNTED_MAX);
        }
        first.extend(all(
            &seen,
            queries::UNSERVED,
            params![partition, rows(limit)],
            |row| Ok((word(row, 0, of_name)?, saga_id(row, 1)?)),
        )?);
    }
    first.sort();
    first.truncate(limit);
    Ok(Unserved {
        by_type: by_type.into_iter().collect(),
        first,
    })
}

/// From type to type along the index, and no further into one than what is counted.
fn unserved_counted(conn: &Connection, partition: i64) -> rusqlite::Result<Vec<(TaskType, usize)>> {
    let mut next = conn.prepare_cached(queries::UNSERVED_NEXT)?;
    let mut count = conn.prepare_cached(queries::UNSERVED_COUNT)?;
    let (mut counted, mut after) = (Vec::new(), String::new());
    loop {
        let found = next.query_row(params![partition, after], |row| {
            let task_type = word(row, 0, |text: &str| TaskType::new(text).ok())?;
            Ok((row.get::<_, String>(0)?, task_type))
        });
        let Some((name, task_type)) = found.optional()? else {
            return Ok(counted);
        };
        let values = params![partition, name, rows(UNSERVED_COUNTED_MAX)];
        let sagas = count.query_row(values, |row| row.get::<_, i64>(0))?;
        counted.push((task_type, usize::try_from(sagas).unwrap_or(usize::MAX)));
        after = name;
    }
}

/// The last entries of the log, oldest first, and whose could not be read.
pub(crate) fn last_entries(conn: &Connection, limit: usize) -> rusqlite::Result<LogEnd> {
    let last = all(conn, queries::LAST_ENTRIES, [rows(limit)], |row| {
        Ok((saga_id(row, 0)?, document::<Entry>(row, 1).ok()))
    })?;
    let mut found = LogEnd::default();
    found.take(last);
    Ok(found)
}
