//! What the driver reads, on the thread that writes: it sees exactly what it has committed.

use baton_driver::{
    DefinitionRow, IN_DOUBT_ROWS, InDoubt, Loaded, LogRow, Recovered, StoreError, Unbroken,
    UnsentRow,
};
use baton_engine::state::SNAPSHOT_VERSION;
use baton_engine::{Entry, SagaState};
use baton_messages::{Manifest, SagaId, TaskType, Timestamp};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::columns::{document, failed, instant, int, is_misfit, rows, saga_id, uint, word};
use super::commit::{LOG_SEQ_MAX, log_id};
use super::queries::{DEFINITIONS, UNSERVED_NEXT};
use super::{one_saga, owed, subscriptions};

const COLD: &str = "SELECT cold, number, purged_at IS NOT NULL FROM sagas WHERE id = ?1";
const SNAPSHOT: &str = "SELECT state, seq FROM snapshots WHERE saga = ?1 AND version <= ?2";
const ENTRIES: &str = "SELECT entry, log_seq, saga_seq FROM records WHERE saga = ?1 AND saga_seq >= ?2 ORDER BY saga_seq";
const WATERMARK: &str = "SELECT watermark FROM partitions WHERE id = ?1";
const LOG_END: &str =
    "SELECT log_seq FROM records WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT 1";
const IN_DOUBT: &str = "SELECT r.log_seq, s.id, r.saga_seq, r.entry FROM records r CROSS JOIN sagas s ON s.number = r.saga
    WHERE r.id BETWEEN ?1 AND ?2 ORDER BY r.id LIMIT ?3";
const UNSENT: &str = "SELECT attempt, since FROM unsent WHERE partition = ?1 ORDER BY since, id";
const HOT: &str =
    "SELECT id FROM sagas WHERE partition = ?1 AND active = 1 AND cold = 0 ORDER BY id";
const COLD_WAKE: &str =
    "SELECT min(wake_at) FROM sagas WHERE partition = ?1 AND wake_at IS NOT NULL";
const COLD_DUE: &str = "SELECT id, wake_at FROM sagas WHERE partition = ?1 AND wake_at IS NOT NULL ORDER BY wake_at, id LIMIT ?2";
const UNSERVED: &str = "SELECT saga FROM unserved WHERE partition = ?1 AND task_type = ?2 AND saga > ?3 ORDER BY saga LIMIT ?4";
const DEFINITION_ADD: &str =
    "INSERT INTO definitions (name, version, source, registered_at, registered_by)
    VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (name, version) DO NOTHING";
const DEFINITION_SOURCE: &str = "SELECT source FROM definitions WHERE name = ?1 AND version = ?2";
const MANIFEST_PUT: &str = "INSERT INTO task_types (task_type, manifest, at) VALUES (?1, ?2, ?3)
    ON CONFLICT (task_type) DO UPDATE SET manifest = excluded.manifest, at = excluded.at";
pub(crate) const MANIFESTS: &str = "SELECT manifest, task_type FROM task_types ORDER BY task_type";

/// Every query here that must not look at a whole table.
#[cfg(test)]
pub(crate) const QUERIES: [&str; 10] = [
    COLD, SNAPSHOT, ENTRIES, WATERMARK, LOG_END, IN_DOUBT, UNSENT, HOT, COLD_WAKE, COLD_DUE,
];

/// Sagas as the driver folds them, all read in one transaction: each statement by itself would take and give up the file's locks.
pub(crate) fn sagas(conn: &Connection, ids: &[SagaId]) -> Result<Vec<Loaded>, StoreError> {
    let reading = conn
        .unchecked_transaction()
        .map_err(failed("sagas, to fold them"))?;
    let mut loaded = Vec::new();
    for id in ids {
        loaded.extend(saga(&reading, *id)?);
    }
    reading.finish().map_err(failed("sagas, to fold them"))?;
    Ok(loaded)
}

/// One saga; none when it has neither a snapshot nor a record: most that are asked for are about to start, and cost two looks.
pub(crate) fn saga(conn: &Connection, saga: SagaId) -> Result<Option<Loaded>, StoreError> {
    let id = saga.0.as_bytes();
    let failed = |source| failed(format!("saga {saga}"))(source);
    let found: Option<(bool, i64, bool)> = conn
        .prepare_cached(COLD)
        .and_then(|mut find| {
            find.query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()
        })
        .map_err(failed)?;
    if let Some((_, _, true)) = found {
        return one_saga::tombstone(conn, saga).map_err(failed);
    }
    let snapshot = snapshot(conn, saga)?;
    if found.is_none() && snapshot.is_none() {
        return Ok(None);
    }
    let (cold, number) = found.map_or((false, None), |(cold, number, _)| (cold, Some(number)));
    let after = snapshot.as_ref().map_or(0, |(seq, _)| *seq);
    let mut entries = Vec::new();
    let mut unreadable = None;
    let read: Vec<(u64, Result<Entry, String>)> =
        all(conn, ENTRIES, params![number, int(after)], |row| {
            let log_seq = uint(row.get(1)?);
            let broken = |source: rusqlite::Error| format!("row {log_seq} of the log: {source}");
            Ok((uint(row.get(2)?), document(row, 0).map_err(broken)))
        })
        .map_err(failed)?;
    let mut unbroken = Unbroken::after(after);
    for (saga_seq, entry) in read {
        match entry {
            Ok(entry) => {
                // behind one that cannot be read nobody knows what is to follow
                if unreadable.is_none() {
                    unreadable = unbroken.follow(saga_seq, entry.records.len()).err();
                }
                entries.push(entry);
            }
            Err(why) => unreadable = unreadable.or(Some(why)),
        }
    }
    if snapshot.is_none() && entries.is_empty() && unreadable.is_none() {
        return Ok(None);
    }
    let base = snapshot.map_or_else(|| Box::new(SagaState::new(saga)), |(_, state)| state);
    Ok(Some(Loaded {
        saga,
        base,
        entries,
        cold,
        unreadable,
    }))
}

/// The snapshot, if one of our version is there; one that cannot be read is left aside, since the log says the same.
fn snapshot(conn: &Connection, saga: SagaId) -> Result<Option<(u64, Box<SagaState>)>, StoreError> {
    let read = conn
        .prepare_cached(SNAPSHOT)
        .and_then(|mut find| {
            find.query_row(params![saga.0.as_bytes(), SNAPSHOT_VERSION], |row| {
                Ok((uint(row.get(1)?), document::<Box<SagaState>>(row, 0)))
            })
            .optional()
        })
        .map_err(failed(format!("the snapshot of saga {saga}")))?;
    match read {
        None => Ok(None),
        Some((seq, Ok(state))) => Ok(Some((seq, state))),
        Some((_, Err(source))) => {
            tracing::warn!(saga.id = %saga, error = %source, "a snapshot cannot be read: the saga is folded from its records");
            Ok(None)
        }
    }
}

/// What is needed to go on with a partition.
pub(crate) fn recover(conn: &Connection, partition: u8) -> Result<Recovered, StoreError> {
    let read = || {
        let watermark = uint(conn.query_row(WATERMARK, [partition], |row| row.get(0))?);
        let (first, last) = (log_id(partition, 0), log_id(partition, LOG_SEQ_MAX));
        let log_seq: Option<i64> = conn
            .query_row(LOG_END, [first, last], |row| row.get(0))
            .optional()?;
        let doubted = in_doubt(conn, partition, watermark, IN_DOUBT_ROWS)?;
        Ok(Recovered {
            watermark,
            // what lay at the end may have been taken out; its places are never given again
            log_seq: log_seq.map_or(0, uint).max(watermark),
            in_doubt: doubted.rows,
            in_doubt_more: doubted.more,
            unsent: all(conn, UNSENT, [partition], |row| {
                Ok(UnsentRow {
                    of: document(row, 0)?,
                    since: instant(row, 1)?,
                })
            })?,
            owed_lanes: owed::lanes(conn, partition)?,
            owed: owed::count(conn, partition)?,
            hot: all(conn, HOT, [partition], |row| saga_id(row, 0))?,
            cold_wake: conn
                .query_row(COLD_WAKE, [partition], |row| row.get::<_, Option<i64>>(0))?
                .map(|ms| Timestamp(uint(ms))),
            unserved: unserved_types(conn, partition)?,
            unsearched: subscriptions::unsearched(conn, partition)?,
        })
    };
    read().map_err(failed(format!("partition {partition}, to go on with it")))
}

/// Task types that sagas wait for and nobody serves: from type to type along the index, however many sagas wait for each.
fn unserved_types(conn: &Connection, partition: u8) -> rusqlite::Result<Vec<TaskType>> {
    let mut next = conn.prepare_cached(UNSERVED_NEXT)?;
    let (mut types, mut after) = (Vec::new(), String::new());
    loop {
        let found = next.query_row(params![partition, after], |row| {
            let task_type = word(row, 0, |text: &str| TaskType::new(text).ok())?;
            Ok((row.get::<_, String>(0)?, task_type))
        });
        let Some((name, task_type)) = found.optional()? else {
            return Ok(types);
        };
        types.push(task_type);
        after = name;
    }
}

/// Rows of the log behind this one.
pub(crate) fn in_doubt(
    conn: &Connection,
    partition: u8,
    after: u64,
    limit: usize,
) -> rusqlite::Result<InDoubt> {
    let (first, last) = (log_id(partition, after) + 1, log_id(partition, LOG_SEQ_MAX));
    let found = all(conn, IN_DOUBT, [first, last, rows(limit)], |row| {
        Ok((uint(row.get(0)?), log_row(row)?))
    })?;
    let end = found.last().filter(|_| found.len() >= limit);
    Ok(InDoubt {
        more: end.map(|(log_seq, _)| *log_seq),
        rows: found.into_iter().filter_map(|(_, row)| row).collect(),
    })
}

/// A row of the log out of the columns of [`IN_DOUBT`]; none when what it records cannot be decoded: its saga is then left alone, and
/// sends nothing.
fn log_row(row: &Row<'_>) -> rusqlite::Result<Option<LogRow>> {
    let saga = saga_id(row, 1)?;
    let entry = match document(row, 3) {
        Ok(entry) => entry,
        Err(error) => {
            tracing::error!(saga.id = %saga, %error, "a row of the log cannot be read; what it sends is not sent again");
            return Ok(None);
        }
    };
    Ok(Some(LogRow {
        log_seq: uint(row.get(0)?),
        saga,
        saga_seq: uint(row.get(2)?),
        entry,
    }))
}

/// Evicted sagas whose wake has come, and the soonest wake after those.
pub(crate) fn cold_due(
    conn: &Connection,
    partition: u8,
    until: Timestamp,
    limit: usize,
) -> Result<(Vec<SagaId>, Option<Timestamp>), StoreError> {
    // one more than asked for: it is the wake after those
    let soonest = all(
        conn,
        COLD_DUE,
        params![partition, rows(limit).saturating_add(1)],
        |row| Ok((saga_id(row, 0)?, instant(row, 1)?)),
    )
    .map_err(failed("evicted sagas that are due"))?;
    let due = soonest
        .iter()
        .take(limit)
        .take_while(|(_, wake)| *wake <= until)
        .count();
    let next = soonest.get(due).map(|(_, wake)| *wake);
    Ok((
        soonest
            .into_iter()
            .take(due)
            .map(|(saga, _)| saga)
            .collect(),
        next,
    ))
}

/// Sagas that wait for a task type.
pub(crate) fn unserved(
    conn: &Connection,
    partition: u8,
    task_type: &TaskType,
    after: Option<SagaId>,
    limit: usize,
) -> Result<Vec<SagaId>, StoreError> {
    // the empty blob sorts before every id
    let after: &[u8] = after.as_ref().map_or(&[], |saga| saga.0.as_bytes());
    all(
        conn,
        UNSERVED,
        params![partition, task_type.as_str(), after, rows(limit)],
        |row| saga_id(row, 0),
    )
    .map_err(failed(format!("sagas that wait for {task_type}")))
}

/// Keeps a definition; false when other content has its name and version.
pub(crate) fn put_definition(conn: &Connection, row: &DefinitionRow) -> Result<bool, StoreError> {
    let put = || {
        let values = params![row.name, row.version, row.source, int(row.at.0), row.by];
        if conn.prepare_cached(DEFINITION_ADD)?.execute(values)? == 1 {
            return Ok(true);
        }
        let kept: String =
            conn.query_row(DEFINITION_SOURCE, params![row.name, row.version], |row| {
                row.get(0)
            })?;
        Ok(kept == row.source)
    };
    put().map_err(failed(format!(
        "definition {}@{}, to keep it",
        row.name, row.version
    )))
}

/// Every definition.
pub(crate) fn definitions(conn: &Connection) -> rusqlite::Result<Vec<DefinitionRow>> {
    all(conn, DEFINITIONS, [], definition_row)
}

pub(crate) fn definition_row(row: &Row<'_>) -> rusqlite::Result<DefinitionRow> {
    Ok(DefinitionRow {
        name: row.get(0)?,
        version: row.get(1)?,
        source: row.get(2)?,
        at: instant(row, 3)?,
        by: row.get(4)?,
    })
}

/// Keeps a manifest.
pub(crate) fn put_manifest(
    conn: &Connection,
    manifest: &Manifest,
    at: Timestamp,
) -> Result<(), StoreError> {
    let what = format!("the manifest of {}, to keep it", manifest.task_type);
    let text = match serde_json::to_string(manifest) {
        Ok(text) => text,
        Err(source) => {
            return Err(StoreError {
                what,
                source: Box::new(source),
            });
        }
    };
    conn.execute(
        MANIFEST_PUT,
        params![manifest.task_type.as_str(), text, int(at.0)],
    )
    .map_err(failed(what))?;
    Ok(())
}

/// Every manifest this version can read: of the others the type is as good as unknown until a worker announces it again, which writes it anew.
pub(crate) fn manifests(conn: &Connection) -> Result<Vec<Manifest>, StoreError> {
    let read = all(conn, MANIFESTS, [], |row| match document(row, 0) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(error) if is_misfit(&error) => {
            let name: String = row.get(1)?;
            tracing::error!(task.r#type = %name, %error, "a kept manifest cannot be read; its steps wait for a worker to announce it");
            Ok(None)
        }
        Err(error) => Err(error),
    });
    let read = read.map_err(failed("manifests"))?;
    Ok(read.into_iter().flatten().collect())
}

/// Every row of a query.
pub(crate) fn all<T>(
    conn: &Connection,
    sql: &str,
    values: impl Params,
    row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    conn.prepare_cached(sql)?.query_map(values, row)?.collect()
}
