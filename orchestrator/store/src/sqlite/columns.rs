//! How values stand in columns: ids as 16 bytes, instants and numbers as SQLite's 64-bit integers, states as words, documents as JSON.

use std::collections::BTreeMap;

use baton_driver::{Purged, SagaRow, StoreError};
use baton_engine::Status;
use baton_messages::{SagaId, Slice, Timestamp};
use rusqlite::Row;
use rusqlite::types::{FromSqlError, ToSqlOutput, ValueRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::read::Listed;

/// Every status, in the order in which figures are kept.
pub(crate) const STATUSES: [Status; 7] = [
    Status::New,
    Status::Running,
    Status::Compensating,
    Status::Parked,
    Status::Completed,
    Status::Compensated,
    Status::Abandoned,
];

/// An unsigned number as SQLite keeps it; what lies past the end of its numbers (a wake at the end of time) is that end.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The number back; none of ours is negative.
pub(crate) fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A limit as SQLite takes it.
pub(crate) fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// JSON written into `buffer`, as a text value that borrows it.
pub(crate) fn json<'a>(
    buffer: &'a mut Vec<u8>,
    value: &impl Serialize,
) -> serde_json::Result<ToSqlOutput<'a>> {
    buffer.clear();
    serde_json::to_writer(&mut *buffer, value)?;
    Ok(ToSqlOutput::Borrowed(ValueRef::Text(buffer)))
}

/// The word's status.
pub(crate) fn status(word: &str) -> Option<Status> {
    STATUSES.into_iter().find(|status| status.as_str() == word)
}

/// A saga's id out of a column.
pub(crate) fn saga_id(row: &Row<'_>, column: usize) -> rusqlite::Result<SagaId> {
    uuid(row, column).map(SagaId)
}

/// An id out of a column.
pub(crate) fn uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    let value = row.get_ref(column)?;
    let bytes = value
        .as_blob()
        .map_err(|source| misfit(column, value, source))?;
    Uuid::from_slice(bytes).map_err(|source| misfit(column, value, FromSqlError::other(source)))
}

/// An instant out of a column.
pub(crate) fn instant(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get::<_, i64>(column).map(|ms| Timestamp(uint(ms)))
}

/// An instant, if there is one.
pub(crate) fn instant_if_set(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row
        .get::<_, Option<i64>>(column)?
        .map(|ms| Timestamp(uint(ms))))
}

/// A document out of a column.
pub(crate) fn document<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let value = row.get_ref(column)?;
    let text = value
        .as_bytes()
        .map_err(|source| misfit(column, value, source))?;
    serde_json::from_slice(text)
        .map_err(|source| misfit(column, value, FromSqlError::other(source)))
}

/// A word out of a column, read by `of`.
pub(crate) fn word<T>(
    row: &Row<'_>,
    column: usize,
    of: impl Fn(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    let value = row.get_ref(column)?;
    let text = value
        .as_str()
        .map_err(|source| misfit(column, value, source))?;
    of(text).ok_or_else(|| {
        misfit(
            column,
            value,
            FromSqlError::other(UnknownWord(text.to_owned())),
        )
    })
}

/// The columns [`saga_row`] reads, in its order, of a table called `s`.
pub(crate) const SAGA_COLUMNS: &str = "s.id, s.slice, s.definition, s.version, s.status, s.paused, s.labels, s.started_by, s.started_at, s.changed_at, s.ended_at, s.purged_at, s.archive";

/// A saga's row out of [`SAGA_COLUMNS`].
pub(crate) fn saga_row(row: &Row<'_>) -> rusqlite::Result<SagaRow> {
    Ok(SagaRow {
        saga: saga_id(row, 0)?,
        slice: Slice(row.get(1)?),
        definition: row.get(2)?,
        version: row.get(3)?,
        status: word(row, 4, status)?,
        paused: row.get(5)?,
        labels: document::<BTreeMap<String, String>>(row, 6)?,
        by: row.get(7)?,
        started_at: instant(row, 8)?,
        changed_at: instant(row, 9)?,
        ended_at: instant_if_set(row, 10)?,
        purged: match instant_if_set(row, 11)? {
            None => None,
            Some(at) => Some(Purged {
                at,
                archive: row.get(12)?,
            }),
        },
    })
}

/// Says what was read when the store refused.
pub(crate) fn failed(what: impl Into<String>) -> impl FnOnce(rusqlite::Error) -> StoreError {
    let what = what.into();
    move |source| StoreError {
        what,
        source: Box::new(source),
    }
}

/// What is wrong with a row that is there and cannot be decoded.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UnreadableRow(pub(crate) String);

/// Whether an error says that a row is there and cannot be decoded.
pub(crate) fn is_misfit(error: &(dyn std::error::Error + 'static)) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    let misfit = error.downcast_ref::<rusqlite::Error>();
    error.is::<UnreadableRow>()
        || matches!(
            misfit,
            Some(
                FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..)
            )
        )
}

/// A row of a list as `of` reads it; where it holds what this version cannot read, its place and its name, which stand in columns of their own.
pub(crate) fn listed<T, C>(
    row: &Row<'_>,
    of: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    place: impl Fn(&Row<'_>) -> rusqlite::Result<(C, String)>,
) -> rusqlite::Result<Listed<T, C>> {
    match of(row) {
        Ok(read) => Ok(Listed::Read(read)),
        Err(error) if is_misfit(&error) => {
            let (place, name) = place(row)?;
            Ok(Listed::Unread(place, name))
        }
        Err(error) => Err(error),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no word this version knows: was it written by a newer one?")]
struct UnknownWord(String);

pub(crate) fn misfit(column: usize, value: ValueRef<'_>, source: FromSqlError) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, value.data_type(), Box::new(source))
}
