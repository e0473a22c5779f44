//! Taking the records of ended sagas out, within a commit and behind its fence. Each saga is looked at here once more: what whoever asked
//! for it saw may be over.

use baton_driver::PurgeRow;
use rusqlite::{Connection, OptionalExtension, params};

use super::columns::{self, document, instant, int, word};
use super::commit::{Fault, log_id};
use super::deltas::{Count, Deltas};
use super::saga_rows;

const FIND: &str = "SELECT s.number, s.status, s.labels, s.started_at FROM sagas s
    WHERE s.id = ?1 AND s.partition = ?2 AND s.active = 0 AND s.purged_at IS NULL AND s.ended_at < ?3
    AND NOT EXISTS (SELECT 1 FROM work_items w WHERE w.saga = s.id AND w.closed_at IS NULL)
    AND NOT EXISTS (SELECT 1 FROM records r WHERE r.saga = s.number AND r.id > ?4)";
const RECORDS: &str = "DELETE FROM records WHERE saga = ?1";
const BESIDE: [&str; 3] = [
    "DELETE FROM snapshots WHERE saga = ?1",
    "DELETE FROM work_items WHERE saga = ?1",
    "DELETE FROM subscriptions WHERE saga = ?1",
];
const MARK: &str = "UPDATE sagas SET purged_at = ?2, archive = ?3, labels = '{}', cold = 0, wake_at = NULL WHERE number = ?1";

/// Every query here that must not look at a whole table.
#[cfg(test)]
pub(crate) const QUERIES: [&str; 6] = [FIND, RECORDS, BESIDE[0], BESIDE[1], BESIDE[2], MARK];

/// Takes out what may go of these.
pub(crate) fn write(
    conn: &Connection,
    partition: u8,
    watermark: u64,
    rows: &[PurgeRow],
    deltas: &mut Deltas,
) -> Result<(), Fault> {
    for row in rows {
        one(conn, partition, watermark, row, deltas)?;
    }
    Ok(())
}

fn one(
    conn: &Connection,
    partition: u8,
    watermark: u64,
    row: &PurgeRow,
    deltas: &mut Deltas,
) -> Result<(), Fault> {
    let saga = row.saga.0.as_bytes();
    let last = log_id(partition, row.log_seq.min(watermark));
    let values = params![saga, partition, int(row.ended_before.0), last];
    let found = conn
        .prepare_cached(FIND)?
        .query_row(values, |row| {
            let number: i64 = row.get(0)?;
            Ok((
                number,
                word(row, 1, columns::status)?,
                document(row, 2)?,
                instant(row, 3)?,
            ))
        })
        .optional()?;
    let Some((number, status, labels, started_at)) = found else {
        return Ok(());
    };
    let gone = conn.prepare_cached(RECORDS)?.execute([number])?;
    deltas.subtract(Count::LogRows, gone);
    for sql in BESIDE {
        conn.prepare_cached(sql)?.execute([saga])?;
    }
    saga_rows::unlabel(conn, row.saga, started_at, &labels)?;
    let at = int(row.purged.at.0);
    conn.prepare_cached(MARK)?
        .execute(params![number, at, row.purged.archive])?;
    deltas.gone(status);
    deltas.add(Count::Purged, 1);
    Ok(())
}
