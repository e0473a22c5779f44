//! Rows of dead letters as they are read: a letter with where it stands, its edited copies, what happened to it; and the values by which they are asked for.

use baton_driver::DeadLetterRow;
use baton_messages::{AttemptRef, DeadReason, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::columns::{document, instant, instant_if_set, int, rows, saga_id, uint, uuid, word};
use super::queries;
use crate::facets::Facets;
use crate::letters::{Died, EditRow, HistoryRow, LetterRow, LetterState, Standing};
use crate::read::{DeadLetterCursor, DeadLetterFilter, Newest};

/// An id that sorts after every other: where a list that runs backwards begins.
pub(super) const LAST_ID: [u8; 17] = [0xff; 17];

/// An edited copy as it is sent.
pub(super) fn edit_row(row: &Row<'_>) -> rusqlite::Result<EditRow> {
    edit(row, document(row, 7)?)
}

/// One of a list, of which one that cannot be read hides no other.
pub(super) fn edit_head(row: &Row<'_>) -> rusqlite::Result<EditRow> {
    edit(row, properties(row, 7))
}

fn edit(row: &Row<'_>, properties: serde_json::Value) -> rusqlite::Result<EditRow> {
    Ok(EditRow {
        letter: uuid(row, 0)?,
        edition: row.get(1)?,
        at: instant(row, 2)?,
        by: row.get(3)?,
        why: row.get(4)?,
        action: uuid(row, 5)?,
        difference: row.get(6)?,
        properties,
        body: row.get(8)?,
    })
}

/// A letter and where it stands, out of the columns of letters.
pub(super) fn letter_row(row: &Row<'_>) -> rusqlite::Result<LetterRow> {
    let id = |column: usize| {
        let set = row.get_ref(column)? != rusqlite::types::ValueRef::Null;
        set.then(|| uuid(row, column)).transpose()
    };
    Ok(LetterRow {
        letter: dead_letter(row)?,
        now: Standing {
            state: word(row, 12, LetterState::of)?,
            group: row.get(13)?,
            replays: row.get(14)?,
            changed_at: instant_if_set(row, 15)?,
            changed_by: row.get(16)?,
            why: row.get(17)?,
            note: row.get(18)?,
            action: id(19)?,
            operation: id(20)?,
            outcome: row.get(21)?,
            edition: row.get(23)?,
            attempt: attempt(row, 24)?,
            sent_at: instant_if_set(row, 25)?,
            stage: row.get(26)?,
            died_again: row.get(27)?,
            died_at: instant_if_set(row, 34)?,
        },
        body_bytes: uint(row.get(22)?),
        about: Facets {
            pool: row.get(28)?,
            task_type: row.get(29)?,
            event_type: row.get(30)?,
            definition: row.get(31)?,
            worker: row.get(32)?,
            replays_before: row.get(33)?,
        },
    })
}

/// An attempt, where one is kept.
fn attempt(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<AttemptRef>> {
    let set = row.get_ref(column)? != rusqlite::types::ValueRef::Null;
    set.then(|| document(row, column)).transpose()
}

/// What happened to a letter, from that column on.
pub(super) fn history_row(row: &Row<'_>, first: usize) -> rusqlite::Result<HistoryRow> {
    let set = row.get_ref(first + 6)? != rusqlite::types::ValueRef::Null;
    let died = || {
        Ok::<_, rusqlite::Error>(Died {
            death: uuid(row, first + 6)?,
            properties: properties(row, first + 7),
            body: row.get(first + 8)?,
        })
    };
    Ok(HistoryRow {
        n: row.get(first)?,
        at: instant(row, first + 1)?,
        what: row.get(first + 2)?,
        by: row.get(first + 3)?,
        why: row.get(first + 4)?,
        text: row.get(first + 5)?,
        died: set.then(died).transpose()?,
    })
}

/// Properties and headers; those that cannot be read must not hide all the others.
fn properties(row: &Row<'_>, column: usize) -> serde_json::Value {
    document(row, column)
        .unwrap_or_else(|error| serde_json::json!({ "unreadable": error.to_string() }))
}

fn dead_letter(row: &Row<'_>) -> rusqlite::Result<DeadLetterRow> {
    Ok(DeadLetterRow {
        id: uuid(row, 0)?,
        at: instant(row, 1)?,
        reason: word(row, 2, |text| Some(DeadReason::of(text)))?,
        error: row.get(3)?,
        queue: row.get(4)?,
        exchange: row.get(5)?,
        key: row.get(6)?,
        message_id: row.get(7)?,
        kind: row.get(8)?,
        saga: if row.get_ref(9)? == rusqlite::types::ValueRef::Null {
            None
        } else {
            Some(saga_id(row, 9)?)
        },
        properties: properties(row, 10),
        body: row.get(11)?,
    })
}

/// How far the letters that stand there have come.
pub(super) fn newest(
    conn: &Connection,
    state: LetterState,
    not_after: Timestamp,
) -> rusqlite::Result<Newest> {
    let last = |sql: &str| {
        let values = params![state.as_str(), int(not_after.0)];
        let mut statement = conn.prepare_cached(sql)?;
        statement
            .query_row(values, |row| instant(row, 0))
            .optional()
    };
    let died = last(queries::NEWEST_DEATH)?;
    Ok(Newest::of(died, last(queries::NEWEST_MOVE)?))
}

/// Where a list of letters goes on.
pub(super) fn letter_place(oldest_first: bool, after: Option<&DeadLetterCursor>) -> (i64, Vec<u8>) {
    match after {
        Some(after) => (int(after.at.0), after.id.as_bytes().to_vec()),
        None if oldest_first => (-1, Vec::new()),
        None => (i64::MAX, LAST_ID.to_vec()),
    }
}

/// The values of a question about letters.
pub(super) fn letter_values(
    filter: &DeadLetterFilter,
    after: Option<&DeadLetterCursor>,
    limit: usize,
    end: Option<&DeadLetterCursor>,
) -> Vec<Value> {
    let (at, id) = letter_place(filter.oldest_first, after);
    let label = filter.label.as_ref();
    let text = |text: Option<&str>| text.map_or(Value::Null, |text| Value::Text(text.to_owned()));
    vec![
        Value::Integer(at),
        Value::Blob(id),
        Value::Integer(rows(limit)),
        Value::Integer(filter.from.map_or(0, |from| int(from.0))),
        Value::Integer(filter.until.map_or(i64::MAX, |until| int(until.0))),
        text(filter.reason.map(DeadReason::as_str)),
        text(filter.queue.as_deref()),
        text(filter.kind.as_deref()),
        filter
            .saga
            .map_or(Value::Null, |saga| Value::Blob(saga.0.as_bytes().to_vec())),
        text(filter.text.as_deref()),
        text(filter.state.map(LetterState::as_str)),
        text(filter.group.as_deref()),
        filter
            .changed_until
            .map_or(Value::Null, |at| Value::Integer(int(at.0))),
        text(filter.error.as_deref()),
        text(filter.pool.as_deref()),
        text(filter.task_type.as_deref()),
        text(filter.event_type.as_deref()),
        text(filter.definition.as_deref()),
        text(filter.worker.as_deref()),
        filter
            .replays
            .map_or(Value::Null, |n| Value::Integer(i64::from(n))),
        text(label.map(|(name, _)| name.as_str())),
        text(label.map(|(_, value)| value.as_str())),
        end.map_or(Value::Null, |end| Value::Integer(int(end.at.0))),
        end.map_or(Value::Null, |end| Value::Blob(end.id.as_bytes().to_vec())),
        if filter.ids.is_empty() {
            Value::Null
        } else {
            let ids = filter.ids.iter().map(|id| id.simple().to_string());
            Value::Text(serde_json::Value::from_iter(ids).to_string())
        },
        filter
            .operation
            .map_or(Value::Null, |id| Value::Blob(id.as_bytes().to_vec())),
    ]
}
