//! What operators did, in the SQLite file. Added to on the store's one thread, or by who only makes a copy of the file, beside it: the lock all who add share is that of SQLite,
//! under which one transaction writes at a time. Read beside it.

use std::path::Path;

use baton_driver::StoreError;
use baton_messages::{AuditEntry, AuditRow};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};

use super::columns::{int, rows, uint};
use super::load::all;
use super::schema::open_beside;
use super::thread::WeakThread;
use super::{OpenError, SqliteOptions, SqliteReader};
use crate::audit::{
    AuditCursor, AuditFilter, AuditLog, cursor, limited, page_query, sealed, values,
};
use crate::read::{Page, page};

const ADD: &str = "INSERT INTO audit (seq, body, hash) VALUES (?1, ?2, ?3)";
pub(crate) const LAST: &str =
    "SELECT seq, body, hash FROM audit WHERE seq = (SELECT max(seq) FROM audit)";
pub(crate) const AFTER: &str =
    "SELECT seq, body, hash FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2";

/// The query of a page.
pub(crate) fn query(filter: &AuditFilter) -> String {
    page_query(
        filter,
        |index| format!(" INDEXED BY {index}"),
        |number| format!("?{number}"),
    )
}

/// The audit log of one store; cannot be added to once the store is closed.
#[derive(Debug, Clone)]
pub struct SqliteAudit {
    thread: WeakThread,
    reader: SqliteReader,
}

impl SqliteAudit {
    pub(crate) const fn new(thread: WeakThread, reader: SqliteReader) -> Self {
        Self { thread, reader }
    }

    /// Adds rows to the log of a file that an orchestrator may have, without taking it over; waits for who writes, as long as `options` say. Its tables have to be
    /// of this version.
    ///
    /// # Errors
    /// [`OpenError`], also where the rows cannot be written: then none of them is there.
    pub fn append_beside(
        path: &Path,
        options: &SqliteOptions,
        entries: Vec<AuditEntry>,
    ) -> Result<Vec<AuditRow>, OpenError> {
        let conn = open_beside(path, options)?;
        append(&conn, entries).map_err(|source| OpenError::Sqlite {
            path: path.to_path_buf(),
            source,
        })
    }
}

fn audit_row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok(AuditRow {
        seq: uint(row.get(0)?),
        body: row.get(1)?,
        hash: row.get(2)?,
    })
}

fn last(conn: &Connection) -> rusqlite::Result<Option<AuditRow>> {
    conn.prepare_cached(LAST)?
        .query_row([], audit_row)
        .optional()
}

fn append(conn: &Connection, entries: Vec<AuditEntry>) -> rusqlite::Result<Vec<AuditRow>> {
    let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    let chained = sealed(entries, last(&transaction)?)
        .map_err(|source| rusqlite::Error::ToSqlConversionFailure(Box::new(source)))?;
    for row in &chained {
        let values = params![int(row.seq), row.body, row.hash];
        transaction.prepare_cached(ADD)?.execute(values)?;
    }
    transaction.commit()?;
    Ok(chained)
}

impl AuditLog for SqliteAudit {
    async fn append(&self, entries: Vec<AuditEntry>) -> Result<Vec<AuditRow>, StoreError> {
        self.thread
            .on_connection("the audit log, to add to it", move |conn| {
                append(conn, entries)
            })
            .await
    }

    async fn rows(&self, after: u64, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        self.reader
            .read("the audit log", move |conn| {
                all(
                    conn,
                    AFTER,
                    params![int(after), rows(limited(limit))],
                    audit_row,
                )
            })
            .await
    }

    async fn head(&self) -> Result<Option<AuditRow>, StoreError> {
        self.reader.read("the end of the audit log", last).await
    }

    async fn page(
        &self,
        filter: AuditFilter,
        after: Option<AuditCursor>,
        limit: usize,
    ) -> Result<Page<AuditRow, AuditCursor>, StoreError> {
        let limit = limited(limit);
        self.reader
            .read("the audit log", move |conn| {
                let (at, seq) =
                    after.map_or((i64::MAX, i64::MAX), |last| (int(last.at.0), int(last.seq)));
                let from = filter.from.map_or(0, |from| int(from.0));
                let until = filter.until.map_or(i64::MAX, |until| int(until.0));
                let mut given: Vec<Value> = [at, seq, from, until, rows(limit + 1)]
                    .map(Value::Integer)
                    .to_vec();
                given.extend(values(&filter).into_iter().map(Value::Text));
                let given = rusqlite::params_from_iter(given);
                let found = all(conn, &query(&filter), given, audit_row)?;
                Ok(page(found, limit, cursor))
            })
            .await
    }
}
