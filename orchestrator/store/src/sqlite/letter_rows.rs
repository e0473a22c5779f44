//! Rows of dead letters as they are read: a letter with where it stands, its edited copies, what happened to it.

use baton_driver::DeadLetterRow;
use baton_messages::{AttemptRef, DeadReason};
use rusqlite::Row;

use super::columns::{document, instant, instant_if_set, int, saga_id, uint, uuid, word};
use crate::facets::Facets;
use crate::letters::{Died, EditRow, HistoryRow, LetterRow, LetterState, Standing};
use crate::read::DeadLetterCursor;

/// An id that sorts after every other: where a list that runs backwards begins.
pub(super) const LAST_ID: [u8; 17] = [0xff; 17];

pub(super) fn edit_row(row: &Row<'_>) -> rusqlite::Result<EditRow> {
    Ok(EditRow {
        letter: uuid(row, 0)?,
        edition: row.get(1)?,
        at: instant(row, 2)?,
        by: row.get(3)?,
        why: row.get(4)?,
        action: uuid(row, 5)?,
        difference: row.get(6)?,
        properties: document(row, 7)?,
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
            properties: document(row, first + 7)?,
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
        // one that cannot be read must not hide all the others
        properties: document(row, 10)
            .unwrap_or_else(|error| serde_json::json!({ "unreadable": error.to_string() })),
        body: row.get(11)?,
    })
}

/// Where a page of letters begins.
pub(super) fn letter_place(oldest_first: bool, after: Option<&DeadLetterCursor>) -> (i64, Vec<u8>) {
    match after {
        Some(after) => (int(after.at.0), after.id.as_bytes().to_vec()),
        None if oldest_first => (-1, Vec::new()),
        None => (i64::MAX, LAST_ID.to_vec()),
    }
}
