//! How values stand in columns: ids as `uuid`, instants and numbers as `bigint`, states as words, documents as JSON text.
//!
//! PostgreSQL's text has no character zero, and what comes from outside may: such text is written with an escape that nothing else is
//! changed by, and comes back as it was.

use std::borrow::Cow;
use std::collections::BTreeMap;

use baton_driver::{Purged, SagaRow};
use baton_engine::Status;
use baton_messages::{SagaId, Slice, Timestamp};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use super::fault::Fault;
use crate::read::Listed;

/// Begins an escape: itself, and zero, are written with it.
const ESCAPE: char = '\u{1}';

/// An unsigned number as the database keeps it; what lies past the end of its numbers (a wake at the end of time) is that end.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The number back; none of ours is negative.
pub(crate) fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A limit as the database takes it.
pub(crate) fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Text as it is written.
pub(crate) fn text(of: &str) -> Cow<'_, str> {
    if !of.contains(['\0', ESCAPE]) {
        return Cow::Borrowed(of);
    }
    let mut escaped = String::with_capacity(of.len() + 8);
    for character in of.chars() {
        match character {
            '\0' => escaped.extend([ESCAPE, '0']),
            ESCAPE => escaped.extend([ESCAPE, '1']),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

/// As [`text`], owned.
pub(crate) fn owned(of: &str) -> String {
    text(of).into_owned()
}

/// Text as it was before it was written.
pub(crate) fn plain(written: &str) -> String {
    if !written.contains(ESCAPE) {
        return written.to_owned();
    }
    let mut plain = String::with_capacity(written.len());
    let mut characters = written.chars();
    while let Some(character) = characters.next() {
        match character {
            ESCAPE => plain.push(if characters.next() == Some('0') {
                '\0'
            } else {
                ESCAPE
            }),
            other => plain.push(other),
        }
    }
    plain
}

/// What a label is indexed by.
pub(crate) fn label_key(name: &str, value: &str) -> Uuid {
    let mut bytes = Vec::with_capacity(name.len() + value.len() + 8);
    bytes.extend((name.len() as u64).to_be_bytes());
    bytes.extend(name.as_bytes());
    bytes.extend(value.as_bytes());
    Uuid::new_v5(&Uuid::NAMESPACE_OID, &bytes)
}

/// What makes two texts one row, whatever their length.
pub(crate) fn digest(parts: &[&str]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().to_vec()
}

/// Every status there is.
const STATUSES: [Status; 7] = [
    Status::New,
    Status::Running,
    Status::Compensating,
    Status::Parked,
    Status::Completed,
    Status::Compensated,
    Status::Abandoned,
];

/// The word's status.
pub(crate) fn status(word: &str) -> Option<Status> {
    STATUSES.into_iter().find(|status| status.as_str() == word)
}

/// A value out of a column.
pub(crate) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Fault> {
    row.try_get(column).map_err(Fault::Sql)
}

/// A saga's id out of a column.
pub(crate) fn saga_id(row: &Row, column: usize) -> Result<SagaId, Fault> {
    get(row, column).map(SagaId)
}

/// An instant out of a column.
pub(crate) fn instant(row: &Row, column: usize) -> Result<Timestamp, Fault> {
    get(row, column).map(|ms| Timestamp(uint(ms)))
}

/// An instant, if there is one.
pub(crate) fn instant_if_set(row: &Row, column: usize) -> Result<Option<Timestamp>, Fault> {
    let ms: Option<i64> = get(row, column)?;
    Ok(ms.map(|ms| Timestamp(uint(ms))))
}

/// Text out of a column.
pub(crate) fn string(row: &Row, column: usize) -> Result<String, Fault> {
    get(row, column).map(plain)
}

/// Text, if there is one.
pub(crate) fn string_if_set(row: &Row, column: usize) -> Result<Option<String>, Fault> {
    let found: Option<&str> = get(row, column)?;
    Ok(found.map(plain))
}

/// A number that is never large.
pub(crate) fn small(row: &Row, column: usize) -> Result<u32, Fault> {
    let number: i64 = get(row, column)?;
    u32::try_from(number).map_err(|_| Fault::misfit(row, column, format!("{number} is no u32")))
}

/// A document out of a column.
pub(crate) fn document<T: DeserializeOwned>(row: &Row, column: usize) -> Result<T, Fault> {
    let text: &str = get(row, column)?;
    serde_json::from_str(text).map_err(|source| Fault::misfit(row, column, source.to_string()))
}

/// A word out of a column, read by `of`.
pub(crate) fn word<T>(
    row: &Row,
    column: usize,
    of: impl Fn(&str) -> Option<T>,
) -> Result<T, Fault> {
    let text: &str = get(row, column)?;
    of(text).ok_or_else(|| {
        let what =
            format!("`{text}` is no word this version knows: was it written by a newer one?");
        Fault::misfit(row, column, what)
    })
}

/// A row of a list as `of` reads it; where it holds what this version cannot read, its place and its name, which stand in columns of their own.
pub(crate) fn listed<T, C>(
    row: &Row,
    of: impl Fn(&Row) -> Result<T, Fault>,
    place: impl Fn(&Row) -> Result<(C, String), Fault>,
) -> Result<Listed<T, C>, Fault> {
    match of(row) {
        Ok(read) => Ok(Listed::Read(read)),
        Err(Fault::Misfit { .. }) => {
            let (place, name) = place(row)?;
            Ok(Listed::Unread(place, name))
        }
        Err(fault) => Err(fault),
    }
}

/// The columns [`saga_row`] reads, in its order, of a table called `s`.
pub(crate) const SAGA_COLUMNS: &str = "s.id, s.slice, s.definition, s.version, s.status, s.paused, s.labels, s.started_by, s.started_at, s.changed_at, s.ended_at, s.purged_at, s.archive";

/// A saga's row out of [`SAGA_COLUMNS`].
pub(crate) fn saga_row(row: &Row) -> Result<SagaRow, Fault> {
    let slice: i16 = get(row, 1)?;
    let slice =
        u8::try_from(slice).map_err(|_| Fault::misfit(row, 1, format!("{slice} is no slice")))?;
    Ok(SagaRow {
        saga: saga_id(row, 0)?,
        slice: Slice(slice),
        definition: string(row, 2)?,
        version: small(row, 3)?,
        status: word(row, 4, status)?,
        paused: get(row, 5)?,
        labels: document::<BTreeMap<String, String>>(row, 6)?,
        by: string(row, 7)?,
        started_at: instant(row, 8)?,
        changed_at: instant(row, 9)?,
        ended_at: instant_if_set(row, 10)?,
        purged: match instant_if_set(row, 11)? {
            None => None,
            Some(at) => Some(Purged {
                at,
                archive: string_if_set(row, 12)?,
            }),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::{plain, text};

    #[test]
    fn every_text_comes_back_and_no_two_are_written_alike() {
        let pieces = ["\0", "\u{1}", "0", "1", "\u{1}0", "a", ""];
        let mut written = std::collections::BTreeMap::new();
        for a in pieces {
            for b in pieces {
                for c in pieces {
                    let whole = format!("{a}{b}{c}");
                    let kept = text(&whole).into_owned();
                    assert!(!kept.contains('\0'), "{whole:?}");
                    assert_eq!(plain(&kept), whole);
                    assert_eq!(*written.entry(kept).or_insert(whole.clone()), whole);
                }
            }
        }
    }
}
