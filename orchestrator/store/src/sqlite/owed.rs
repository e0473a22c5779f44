//! The table of what is owed: events and words to other sagas that are published again. Written with a batch, read lane by lane.

use baton_driver::{OwedRow, StoreError};
use baton_messages::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use super::columns::{document, failed, instant, int, json, rows, saga_id, uint, uuid};
use super::commit::Fault;
use super::deltas::{Count, Deltas};
use super::load::all;

const REMOVE: &str = "DELETE FROM owed WHERE id = ?1";
const ADD: &str =
    "INSERT INTO owed (id, partition, lane, saga, since, what) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (id) DO NOTHING";
const NEXT_LANE: &str =
    "SELECT lane FROM owed WHERE partition = ?1 AND lane > ?2 ORDER BY lane LIMIT 1";
const PAGE: &str = "SELECT id, saga, lane, since, what FROM owed
    WHERE partition = ?1 AND lane = ?2 AND (since, id) > (?3, ?4) ORDER BY since, id LIMIT ?5";
const COUNT: &str = "SELECT n FROM counts WHERE partition = ?1 AND name = 'owed'";
/// Every row, page by page.
pub(super) const BY_ID: &str =
    "SELECT id, saga, lane, since, what FROM owed WHERE id > ?1 ORDER BY id LIMIT ?2";

/// Every query here that must not look at a whole table.
#[cfg(test)]
pub(crate) const QUERIES: [&str; 3] = [NEXT_LANE, PAGE, BY_ID];

/// Makes a batch's changes. What is both removed and added stays: what is published once too often is known by its id, what is forgotten is lost.
pub(crate) fn write(
    conn: &Connection,
    buffer: &mut Vec<u8>,
    partition: u8,
    (remove, add): (&[Uuid], &[OwedRow]),
    deltas: &mut Deltas,
) -> Result<(), Fault> {
    for id in remove {
        let deleted = conn.prepare_cached(REMOVE)?.execute([id.as_bytes()])?;
        deltas.subtract(Count::Owed, deleted);
    }
    for row in add {
        let what = json(buffer, &row.what)?;
        let added = conn.prepare_cached(ADD)?.execute(params![
            row.id.as_bytes(),
            partition,
            row.lane,
            row.saga.0.as_bytes(),
            int(row.since.0),
            what
        ])?;
        deltas.add(Count::Owed, added);
    }
    Ok(())
}

/// In which lanes something is owed: from lane to lane along the index, however much waits in each.
pub(crate) fn lanes(conn: &Connection, partition: u8) -> rusqlite::Result<Vec<String>> {
    let mut next = conn.prepare_cached(NEXT_LANE)?;
    let mut lanes: Vec<String> = Vec::new();
    loop {
        // no lane is called by the empty word
        let after = lanes.last().map_or("", String::as_str);
        let found = next
            .query_row(params![partition, after], |row| row.get(0))
            .optional()?;
        let Some(lane) = found else {
            return Ok(lanes);
        };
        lanes.push(lane);
    }
}

/// How much is owed.
pub(crate) fn count(conn: &Connection, partition: u8) -> rusqlite::Result<u64> {
    let kept: Option<i64> = conn
        .query_row(COUNT, [partition], |row| row.get(0))
        .optional()?;
    Ok(kept.map_or(0, uint))
}

/// Some of a lane, longest first.
pub(crate) fn page(
    conn: &Connection,
    partition: u8,
    lane: &str,
    after: Option<(Timestamp, Uuid)>,
    limit: usize,
) -> Result<Vec<OwedRow>, StoreError> {
    // nothing is owed since before 1970
    let (since, id) = after.map_or((-1, Uuid::nil()), |(since, id)| (int(since.0), id));
    all(
        conn,
        PAGE,
        params![partition, lane, since, id.as_bytes(), rows(limit)],
        row,
    )
    .map_err(failed(format!("what is owed in lane {lane}")))
}

/// A row out of the columns of [`PAGE`].
pub(super) fn row(row: &Row<'_>) -> rusqlite::Result<OwedRow> {
    let id = uuid(row, 0)?;
    let what = document(row, 4);
    if let Err(error) = &what {
        tracing::error!(message.id = %id, %error, "what is owed cannot be read by this version; it stays, and one that can read it publishes it");
    }
    Ok(OwedRow {
        id,
        saga: saga_id(row, 1)?,
        lane: row.get(2)?,
        since: instant(row, 3)?,
        what: what.ok(),
    })
}
