//! Rows of lists, of which one that cannot be read is named in its place: place and name stand in columns of their own, or beside the document that holds the rest.

use rusqlite::Row;

use super::columns::{document, instant, instant_if_set, listed, saga_id, uint, uuid};
use super::letter_rows::letter_row;
use crate::letters::LetterRow;
use crate::read::{
    DeadLetterCursor, EventCursor, Listed, SagaCursor, WorkItemCursor, WorkItemView,
};

/// A saga's place and name, whatever else its row holds.
pub(super) fn saga_name(row: &Row<'_>) -> rusqlite::Result<(SagaCursor, String)> {
    let (started_at, saga) = (instant(row, 8)?, saga_id(row, 0)?);
    Ok((SagaCursor { started_at, saga }, saga.to_string()))
}

/// An event's place, and the number that is its name here.
pub(super) fn event_name(row: &Row<'_>) -> rusqlite::Result<(EventCursor, String)> {
    let (received_at, seq) = (instant(row, 1)?, uint(row.get(0)?));
    Ok((EventCursor { received_at, seq }, seq.to_string()))
}

/// The place and name of what is named by one id.
pub(super) fn letter_name(
    row: &Row<'_>,
    at: usize,
    id: usize,
) -> rusqlite::Result<(DeadLetterCursor, String)> {
    let (at, id) = (instant(row, at)?, uuid(row, id)?);
    Ok((DeadLetterCursor { at, id }, id.to_string()))
}

pub(super) fn listed_letter(
    row: &Row<'_>,
) -> rusqlite::Result<Listed<LetterRow, DeadLetterCursor>> {
    listed(row, letter_row, |row| {
        // where it died again, it stands there
        let again = instant_if_set(row, 34)?.is_some();
        letter_name(row, if again { 34 } else { 1 }, 0)
    })
}

pub(super) fn listed_item(row: &Row<'_>) -> rusqlite::Result<Listed<WorkItemView, WorkItemCursor>> {
    listed(row, work_item, |row| {
        let place = WorkItemCursor {
            saga: saga_id(row, 0)?,
            number: row.get(1)?,
            opened_at: instant(row, 2)?,
        };
        let name = format!("{}/{}", place.saga, place.number);
        Ok((place, name))
    })
}

fn work_item(row: &Row<'_>) -> rusqlite::Result<WorkItemView> {
    let closed = instant_if_set(row, 4)?.zip(row.get::<_, Option<String>>(5)?);
    Ok(WorkItemView {
        saga: saga_id(row, 0)?,
        item: document(row, 3)?,
        closed,
    })
}
