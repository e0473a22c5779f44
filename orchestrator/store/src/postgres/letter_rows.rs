//! Rows of dead letters as they are read: a letter with where it stands, its edited copies, what happened to it, and what it waits for.

use baton_driver::DeadLetterRow;
use baton_messages::{AttemptRef, DeadReason, SagaId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::columns::{
    document, get, instant, instant_if_set, small, string, string_if_set, uint, word,
};
use super::fault::Fault;
use crate::facets::Facets;
use crate::letters::{Died, EditRow, HistoryRow, LetterRow, LetterState, Standing, Waiting};

/// An edited copy as it is sent.
pub(super) fn edit_row(row: &Row) -> Result<EditRow, Fault> {
    edit(row, document(row, 7)?)
}

/// One of a list, of which one that cannot be read hides no other.
pub(super) fn edit_head(row: &Row) -> Result<EditRow, Fault> {
    edit(row, properties(row, 7))
}

fn edit(row: &Row, properties: serde_json::Value) -> Result<EditRow, Fault> {
    let edition: i64 = get(row, 1)?;
    Ok(EditRow {
        letter: get(row, 0)?,
        edition: u32::try_from(edition).unwrap_or_default(),
        at: instant(row, 2)?,
        by: string(row, 3)?,
        why: string(row, 4)?,
        action: get(row, 5)?,
        difference: string(row, 6)?,
        properties,
        body: get(row, 8)?,
    })
}

/// A letter and where it stands, out of the columns of letters.
pub(super) fn letter_row(row: &Row) -> Result<LetterRow, Fault> {
    let (replays, bytes, edition): (i64, i64, i64) = (get(row, 14)?, get(row, 22)?, get(row, 23)?);
    let stage: Option<i64> = get(row, 26)?;
    Ok(LetterRow {
        letter: dead_letter(row)?,
        now: Standing {
            state: word(row, 12, LetterState::of)?,
            group: string(row, 13)?,
            replays: u32::try_from(replays).unwrap_or_default(),
            changed_at: instant_if_set(row, 15)?,
            changed_by: string_if_set(row, 16)?,
            why: string_if_set(row, 17)?,
            note: string_if_set(row, 18)?,
            action: get(row, 19)?,
            operation: get(row, 20)?,
            outcome: string_if_set(row, 21)?,
            edition: u32::try_from(edition).unwrap_or_default(),
            attempt: attempt(row, 24)?,
            sent_at: instant_if_set(row, 25)?,
            stage: stage.map(|stage| u32::try_from(stage).unwrap_or_default()),
            died_again: small(row, 27)?,
            died_at: instant_if_set(row, 34)?,
        },
        body_bytes: uint(bytes),
        about: Facets {
            pool: string_if_set(row, 28)?,
            task_type: string_if_set(row, 29)?,
            event_type: string_if_set(row, 30)?,
            definition: string_if_set(row, 31)?,
            worker: string_if_set(row, 32)?,
            replays_before: small(row, 33)?,
        },
    })
}

/// An attempt, where one is kept.
fn attempt(row: &Row, column: usize) -> Result<Option<AttemptRef>, Fault> {
    let set: Option<&str> = get(row, column)?;
    set.map(|_| document(row, column)).transpose()
}

pub(super) fn history_row(row: &Row) -> Result<HistoryRow, Fault> {
    Ok(HistoryRow {
        n: small(row, 0)?,
        at: instant(row, 1)?,
        what: string(row, 2)?,
        by: string(row, 3)?,
        why: string(row, 4)?,
        text: string(row, 5)?,
        died: get::<Option<Uuid>>(row, 6)?
            .map(|death| died(row, death))
            .transpose()?,
    })
}

fn died(row: &Row, death: Uuid) -> Result<Died, Fault> {
    Ok(Died {
        death,
        properties: properties(row, 7),
        body: get(row, 8)?,
    })
}

/// Properties and headers; those that cannot be read must not hide all the others.
fn properties(row: &Row, column: usize) -> serde_json::Value {
    document(row, column)
        .unwrap_or_else(|error| serde_json::json!({ "unreadable": error.to_string() }))
}

fn dead_letter(row: &Row) -> Result<DeadLetterRow, Fault> {
    let saga: Option<Uuid> = get(row, 9)?;
    Ok(DeadLetterRow {
        id: get(row, 0)?,
        at: instant(row, 1)?,
        reason: word(row, 2, |text| Some(DeadReason::of(text)))?,
        error: string(row, 3)?,
        queue: string(row, 4)?,
        exchange: string(row, 5)?,
        key: string(row, 6)?,
        message_id: string_if_set(row, 7)?,
        kind: string_if_set(row, 8)?,
        saga: saga.map(SagaId),
        properties: properties(row, 10),
        body: get(row, 11)?,
    })
}

pub(super) fn waiting(row: &Row) -> Result<Waiting, Fault> {
    Ok(Waiting {
        letter: get(row, 0)?,
        action: get(row, 1)?,
        operation: get(row, 2)?,
        attempt: document(row, 3)?,
        sent_at: instant(row, 4)?,
    })
}
