//! Opening the file: pragmas, migrations, the new epoch, and a look at whether all hangs together.
//! A file that is no store, or a newer one, is refused before anything is changed in it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_driver::StoreError;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use rusqlite_migration::{M, Migrations};

use super::SqliteOptions;
use super::columns::uint;
use super::moving::{Mark, mark};
use crate::Partition;

/// Marks the file as ours (SQLite's `application_id`): "BATN".
const APPLICATION_ID: i32 = 0x4241_544e;

/// How many prepared statements a connection keeps: more than there are different ones.
const STATEMENTS_CACHED: usize = 64;

/// The tables, version by version; what was released is never edited.
pub(crate) const MIGRATIONS: &[M<'static>] = &[
    M::up(include_str!("../../migrations/sqlite/0001_init.sql")),
    M::up(include_str!("../../migrations/sqlite/0002_tokens.sql")),
    M::up(include_str!("../../migrations/sqlite/0003_triggers.sql")),
    M::up(include_str!(
        "../../migrations/sqlite/0004_subscriptions.sql"
    )),
    M::up(include_str!("../../migrations/sqlite/0005_suspects.sql")),
    M::up(include_str!(
        "../../migrations/sqlite/0006_schedules_by_name.sql"
    )),
    M::up(include_str!("../../migrations/sqlite/0007_retention.sql")),
    M::up(include_str!("../../migrations/sqlite/0008_replay.sql")),
    M::up(include_str!(
        "../../migrations/sqlite/0009_dead_letters.sql"
    )),
    M::up(include_str!("../../migrations/sqlite/0010_audit.sql")),
    M::up(include_str!("../../migrations/sqlite/0011_outcomes.sql")),
    M::up(include_str!("../../migrations/sqlite/0012_tries.sql")),
    M::up(include_str!("../../migrations/sqlite/0013_arrivals.sql")),
    M::up(include_str!(
        "../../migrations/sqlite/0014_reservations.sql"
    )),
    M::up(include_str!("../../migrations/sqlite/0015_assigned.sql")),
    M::up(include_str!(
        "../../migrations/sqlite/0016_owed_and_moved.sql"
    )),
];

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another orchestrator has it.
    #[error(
        "open store {path}: {owner} has it. Only one orchestrator may use a file: stop that one, or give this one a file of its own \
         (the lock is on {lock} and ends with its process)"
    )]
    Owned {
        /// The store.
        path: PathBuf,
        /// Who has it.
        owner: String,
        /// The lock file.
        lock: PathBuf,
    },
    /// The lock file cannot be used.
    #[error("open store: lock {path}. The directory has to exist and be writable")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file was written by a newer version.
    #[error(
        "open store {path}: its tables have version {found}, this program knows {known} at most. Use the newer program, or a backup \
         made before it was upgraded; nothing was changed"
    )]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The file holds something else.
    #[error(
        "open store {path}: it is a database of another program. Name another file; nothing was changed"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Everything in it was moved into a database.
    #[error(
        "open store {path}: it was moved to the database at {place}, which has its sagas now; driven from here they would be done twice. Set store.kind to \
         postgres and store.url to that database, and keep the file aside: it can be read and exported; nothing was changed"
    )]
    Moved {
        /// The store.
        path: PathBuf,
        /// Hosts and database.
        place: String,
    },
    /// It is being moved into a database, or that was cut short.
    #[error(
        "open store {path}: an import of it into the database at {place} was begun, and did not say how it ended. Start the orchestrator on that database: where \
         it starts, it has everything. Where it says that an import was not finished, drop the database, make it anew and import again; or, to go on with the \
         file, drop the database, then `sqlite3 {path} 'DELETE FROM moved'`. Never have both; nothing was changed"
    )]
    Moving {
        /// The store.
        path: PathBuf,
        /// Hosts and database.
        place: String,
    },
    /// There is no store yet.
    #[error(
        "open store {path} for reading: its tables have version {found}, not {known}. Start the orchestrator once, so that it brings them up to date"
    )]
    Older {
        /// The store.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The tables could not be brought to this version.
    #[error("open store {path}: bring its tables to this version")]
    Migrate {
        /// The store.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite_migration::Error,
    },
    /// SQLite refuses.
    #[error("open store {path}")]
    Sqlite {
        /// The store.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The readers' connections cannot be pooled.
    #[error("open store: pool the readers' connections")]
    Pool {
        /// Why.
        #[source]
        source: deadpool::managed::BuildError,
    },
    /// The store's thread could not be started.
    #[error("open store: start its thread")]
    Thread {
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl OpenError {
    /// Whether somebody else holds the file at the moment: a backup, a shell.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let mut below: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = below {
            if let Some(rusqlite::Error::SqliteFailure(failure, _)) = error.downcast_ref() {
                return matches!(
                    failure.code,
                    rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked
                );
            }
            below = error.source();
        }
        false
    }
}

/// The version of the tables this program writes.
pub(crate) fn version_known() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// What a file is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Its sagas are driven.
    Drive,
    /// It is moved into a database, also where an earlier import of it was cut short.
    Move,
}

/// Opens the one connection that writes.
pub(crate) fn open_for_writing(
    path: &Path,
    options: &SqliteOptions,
    purpose: Purpose,
) -> Result<Connection, OpenError> {
    let failed = |source| OpenError::Sqlite {
        path: path.to_path_buf(),
        source,
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags).map_err(failed)?;
    conn.busy_timeout(Duration::from_millis(options.busy_timeout_ms))
        .map_err(failed)?;
    check_kind(&conn, path)?;
    check_place(&conn, path, purpose)?;
    pragmas(&conn, options).map_err(failed)?;
    Migrations::from_slice(MIGRATIONS)
        .to_latest(&mut conn)
        .map_err(|source| OpenError::Migrate {
            path: path.to_path_buf(),
            source,
        })?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(conn)
}

/// Opens a connection that can only read.
pub(crate) fn open_for_reading(path: &Path, busy_timeout_ms: u64) -> Result<Connection, OpenError> {
    open_as_it_is(path, OpenFlags::SQLITE_OPEN_READ_ONLY, busy_timeout_ms)
}

/// Opens a connection that can write beside the one of an orchestrator, as durably; it makes no file and no table.
pub(crate) fn open_beside(path: &Path, options: &SqliteOptions) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let conn = open_as_it_is(path, flags, options.busy_timeout_ms)?;
    conn.pragma_update(None, "synchronous", "FULL")
        .map_err(|source| OpenError::Sqlite {
            path: path.to_path_buf(),
            source,
        })?;
    Ok(conn)
}

/// The version of the tables of a file; 0 where there is none yet.
pub(crate) fn version_of(path: &Path, busy_timeout_ms: u64) -> Result<u32, OpenError> {
    if !path.exists() {
        return Ok(0);
    }
    let conn = connected(path, OpenFlags::SQLITE_OPEN_READ_ONLY, busy_timeout_ms)?;
    check_kind(&conn, path)
}

fn connected(path: &Path, flags: OpenFlags, busy_timeout_ms: u64) -> Result<Connection, OpenError> {
    let failed = |source| OpenError::Sqlite {
        path: path.to_path_buf(),
        source,
    };
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(failed)?;
    conn.busy_timeout(Duration::from_millis(busy_timeout_ms))
        .map_err(failed)?;
    Ok(conn)
}

/// Opens a file whose tables are of this version.
fn open_as_it_is(
    path: &Path,
    flags: OpenFlags,
    busy_timeout_ms: u64,
) -> Result<Connection, OpenError> {
    let conn = connected(path, flags, busy_timeout_ms)?;
    let (found, known) = (check_kind(&conn, path)?, version_known());
    if found < known {
        return Err(OpenError::Older {
            path: path.to_path_buf(),
            found,
            known,
        });
    }
    conn.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(conn)
}

/// Refuses what is not ours or too new; answers the version of the tables.
fn check_kind(conn: &Connection, path: &Path) -> Result<u32, OpenError> {
    let failed = |source| OpenError::Sqlite {
        path: path.to_path_buf(),
        source,
    };
    let application: i32 = conn
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(failed)?;
    let found: u32 = conn
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(failed)?;
    let tables: i64 = conn
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    let empty = tables == 0 && found == 0;
    if application != APPLICATION_ID && !(application == 0 && empty) {
        return Err(OpenError::Foreign {
            path: path.to_path_buf(),
        });
    }
    if found > version_known() {
        return Err(OpenError::Newer {
            path: path.to_path_buf(),
            found,
            known: version_known(),
        });
    }
    Ok(found)
}

/// Refuses a file whose sagas a database has, or may have.
fn check_place(conn: &Connection, path: &Path, purpose: Purpose) -> Result<(), OpenError> {
    let found = mark(conn).map_err(|source| OpenError::Sqlite {
        path: path.to_path_buf(),
        source,
    })?;
    let path = path.to_path_buf();
    match found {
        None => Ok(()),
        Some(Mark { place, done, .. }) if done => Err(OpenError::Moved { path, place }),
        Some(_) if purpose == Purpose::Move => Ok(()),
        Some(Mark { place, .. }) => Err(OpenError::Moving { path, place }),
    }
}

/// Full durability at each commit: the log is synced before a commit returns.
fn pragmas(conn: &Connection, options: &SqliteOptions) -> rusqlite::Result<()> {
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "cache_size", -i64::from(options.cache_kib))?;
    conn.pragma_update(None, "wal_autocheckpoint", options.wal_autocheckpoint_pages)?;
    if let Some(pages) = options.pages_max {
        conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Ok(())
}

/// Begins a new epoch of a partition: whoever had it before is fenced from here on.
pub(crate) fn take_partition(
    conn: &mut Connection,
    id: u8,
    owner: &str,
) -> rusqlite::Result<Partition> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let epoch: i64 = transaction.query_row(
        "INSERT INTO partitions (id, epoch, owner) VALUES (?1, 1, ?2)
         ON CONFLICT (id) DO UPDATE SET epoch = epoch + 1, owner = excluded.owner, lease_until = NULL
         RETURNING epoch",
        params![id, owner],
        |row| row.get(0),
    )?;
    transaction.commit()?;
    Ok(Partition {
        id,
        epoch: uint(epoch),
    })
}

/// What has to be true of the tables together; each query answers how many rows break it.
const TOGETHER: [(&str, &str); 14] = [
    (
        "log rows without a saga",
        "SELECT count(*) FROM records r WHERE NOT EXISTS (SELECT 1 FROM sagas s WHERE s.number = r.saga)",
    ),
    (
        // the log is dense until the records of a saga are taken out of it
        "log rows beside a dense log",
        "SELECT abs(max(log_seq) - count(*)) FROM records WHERE NOT EXISTS (SELECT 1 FROM sagas WHERE purged_at IS NOT NULL) GROUP BY partition",
    ),
    (
        "watermarks past the log",
        "SELECT count(*) FROM partitions p WHERE watermark > coalesce((SELECT max(log_seq) FROM records r WHERE r.partition = p.id), 0)
         AND NOT EXISTS (SELECT 1 FROM sagas s WHERE s.partition = p.id AND purged_at IS NOT NULL)",
    ),
    (
        "sagas purged by half",
        "SELECT count(*) FROM sagas s WHERE purged_at IS NOT NULL AND (active = 1 OR ended_at IS NULL OR labels <> '{}'
            OR EXISTS (SELECT 1 FROM records r WHERE r.saga = s.number) OR EXISTS (SELECT 1 FROM snapshots n WHERE n.saga = s.id)
            OR EXISTS (SELECT 1 FROM work_items w WHERE w.saga = s.id))",
    ),
    (
        "purged sagas off the count",
        "SELECT abs(n - (SELECT count(*) FROM sagas s WHERE purged_at IS NOT NULL AND s.partition = c.partition)) FROM counts c WHERE name = 'purged'",
    ),
    (
        "labels without a saga",
        "SELECT count(*) FROM saga_labels l WHERE NOT EXISTS (SELECT 1 FROM sagas s WHERE s.id = l.saga)",
    ),
    (
        "sagas off the count",
        "SELECT abs(n - (SELECT count(*) FROM sagas s WHERE 'saga.' || s.status = c.name AND s.partition = c.partition AND s.purged_at IS NULL)) FROM counts c WHERE name LIKE 'saga.%'",
    ),
    (
        "log rows off the count",
        "SELECT abs(n - (SELECT count(*) FROM records r WHERE r.partition = c.partition)) FROM counts c WHERE name = 'log_rows'",
    ),
    (
        "unsent rows off the count",
        "SELECT abs(n - (SELECT count(*) FROM unsent u WHERE u.partition = c.partition)) FROM counts c WHERE name = 'unsent'",
    ),
    (
        "owed rows off the count",
        "SELECT abs((SELECT count(*) FROM owed) - (SELECT coalesce(sum(n), 0) FROM counts WHERE name = 'owed'))",
    ),
    (
        "dead letters off the count",
        "SELECT abs(n - (SELECT count(*) FROM dead_letters d WHERE 'letters.' || d.state = c.name AND d.partition = c.partition)) FROM counts c WHERE name LIKE 'letters.%'",
    ),
    (
        "dead letters off the count of their hours",
        "SELECT abs((SELECT coalesce(sum(n), 0) FROM dead_group_hours h WHERE h.grp = g.grp) - n)
            FROM (SELECT grp, count(*) AS n FROM dead_letters WHERE state = 'dead' GROUP BY grp) g
         UNION ALL SELECT abs((SELECT coalesce(sum(n), 0) FROM dead_group_hours) - (SELECT count(*) FROM dead_letters WHERE state = 'dead'))",
    ),
    (
        "open work items off the count",
        "SELECT abs(n - (SELECT count(*) FROM work_items w WHERE w.partition = c.partition AND closed_at IS NULL)) FROM counts c WHERE name = 'work_items_open'",
    ),
    (
        "work items that belong to others than their rows say",
        "SELECT count(*) FROM work_items WHERE assignee <> coalesce(json_extract(item, '$.assignee'), '') OR due_at IS NOT json_extract(item, '$.due_at')
            OR escalated <> CASE WHEN json_extract(item, '$.taken') IS NULL THEN coalesce(json_extract(item, '$.escalated'), 0) ELSE 0 END",
    ),
];

/// Everything that is wrong with the file, in sentences.
pub(crate) fn integrity(conn: &Connection) -> Result<Vec<String>, StoreError> {
    let failed = |source: rusqlite::Error| StoreError {
        what: "integrity".to_owned(),
        source: Box::new(source),
    };
    let mut wrong = Vec::new();
    conn.pragma_query(None, "integrity_check", |row| {
        let line: String = row.get(0)?;
        if line != "ok" {
            wrong.push(line);
        }
        Ok(())
    })
    .map_err(failed)?;
    for (what, sql) in TOGETHER {
        let mut statement = conn.prepare(sql).map_err(failed)?;
        let numbers = statement
            .query_map([], |row| row.get::<_, i64>(0))
            .map_err(failed)?;
        for number in numbers {
            let number = number.map_err(failed)?;
            if number != 0 {
                wrong.push(format!("{number} {what}"));
            }
        }
    }
    Ok(wrong)
}
