//! Alerts in the SQLite file.

use baton_driver::StoreError;
use baton_messages::Timestamp;
use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::SqliteReader;
use super::columns::{document, instant, int, listed, rows, uuid};
use super::load::all;
use super::thread::WeakThread;
use crate::alerts::{AlertCursor, AlertRow, AlertState, Alerts, cursor};
use crate::audit::limited;
use crate::read::{Listed, Page, listed as page};

const ADD: &str = "INSERT INTO alerts (id, key, kind, state, opened_at, revision, unsaid, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";
pub(crate) const CHANGE: &str = "UPDATE alerts SET key = ?2, kind = ?3, state = ?4, opened_at = ?5, revision = ?6, unsaid = ?7, body = ?8
    WHERE id = ?1 AND revision = ?6 - 1";
pub(crate) const OPEN: &str = "SELECT body, opened_at, id FROM alerts INDEXED BY alerts_by_state WHERE state = 'open' ORDER BY opened_at, id LIMIT ?1";
pub(crate) const UNSAID: &str = "SELECT body, opened_at, id FROM alerts INDEXED BY alerts_unsaid WHERE unsaid = 1 AND opened_at >= 0 AND state <> 'open' ORDER BY opened_at, id LIMIT ?1";
pub(crate) const KEYED: &str = "SELECT body, opened_at, id FROM alerts WHERE key = ?1";
pub(crate) const PAGE: &str =
    "SELECT body, opened_at, id FROM alerts INDEXED BY alerts_by_age WHERE (opened_at, id) < (?1, ?2)
    ORDER BY opened_at DESC, id DESC LIMIT ?3";
pub(crate) const PAGE_OF_STATE: &str = "SELECT body, opened_at, id FROM alerts INDEXED BY alerts_by_state WHERE state = ?4 AND (opened_at, id) < (?1, ?2)
    ORDER BY opened_at DESC, id DESC LIMIT ?3";
pub(crate) const BETWEEN: &str =
    "SELECT body FROM alerts WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT 2";
pub(crate) const FORGET: &str =
    "DELETE FROM alerts WHERE id IN (SELECT id FROM alerts INDEXED BY alerts_by_state
    WHERE state = 'resolved' AND opened_at < ?1 AND unsaid = 0 ORDER BY opened_at LIMIT ?2)";

/// Every question here that must not look at a whole table.
#[cfg(test)]
pub(crate) const QUERIES: [&str; 7] = [CHANGE, OPEN, UNSAID, KEYED, PAGE, PAGE_OF_STATE, BETWEEN];

/// An id that sorts after every other.
const LAST_ID: [u8; 17] = [0xff; 17];

/// The alerts of one store; cannot be written once the store is closed.
#[derive(Debug, Clone)]
pub struct SqliteAlerts {
    thread: WeakThread,
    reader: SqliteReader,
}

impl SqliteAlerts {
    pub(crate) const fn new(thread: WeakThread, reader: SqliteReader) -> Self {
        Self { thread, reader }
    }
}

fn put(conn: &Connection, alerts: &[AlertRow]) -> rusqlite::Result<Vec<Uuid>> {
    let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    let mut written = Vec::with_capacity(alerts.len());
    for row in alerts {
        let body = serde_json::to_string(row)
            .map_err(|source| rusqlite::Error::ToSqlConversionFailure(Box::new(source)))?;
        let values = params![
            row.id.as_bytes(),
            row.key,
            row.kind,
            row.state.as_str(),
            int(row.opened_at.0),
            int(row.revision),
            row.unsaid.is_some(),
            body,
        ];
        let sql = if row.revision == 1 { ADD } else { CHANGE };
        if transaction.prepare_cached(sql)?.execute(values)? == 1 {
            written.push(row.id);
        }
    }
    transaction.commit()?;
    Ok(written)
}

/// An alert out of the columns of [`PAGE`].
fn listed_alert(row: &Row<'_>) -> rusqlite::Result<Listed<AlertRow, AlertCursor>> {
    listed(
        row,
        |row| document(row, 0),
        |row| {
            let (opened_at, id) = (instant(row, 1)?, uuid(row, 2)?);
            Ok((AlertCursor { opened_at, id }, id.to_string()))
        },
    )
}

impl Alerts for SqliteAlerts {
    async fn put(&self, alerts: Vec<AlertRow>) -> Result<Vec<Uuid>, StoreError> {
        self.thread
            .on_connection("alerts, to keep them", move |conn| put(conn, &alerts))
            .await
    }

    async fn standing(&self, limit: usize) -> Result<Page<AlertRow, AlertCursor>, StoreError> {
        self.reader
            .read("open alerts", move |conn| {
                let of = |sql| all(conn, sql, [rows(limit)], listed_alert);
                let mut found = of(OPEN)?;
                found.extend(of(UNSAID)?);
                Ok(page(found, usize::MAX, cursor))
            })
            .await
    }

    async fn keyed(&self, keys: Vec<String>) -> Result<Vec<AlertRow>, StoreError> {
        self.reader
            .read("alerts", move |conn| {
                let mut found = Vec::new();
                for key in &keys {
                    found.extend(all(conn, KEYED, [key], listed_alert)?);
                }
                Ok(page(found, usize::MAX, cursor).rows)
            })
            .await
    }

    async fn page(
        &self,
        state: Option<AlertState>,
        after: Option<AlertCursor>,
        limit: usize,
    ) -> Result<Page<AlertRow, AlertCursor>, StoreError> {
        let limit = limited(limit);
        self.reader
            .read("alerts", move |conn| {
                let (at, id) = after.map_or((i64::MAX, LAST_ID.to_vec()), |last| {
                    (int(last.opened_at.0), last.id.as_bytes().to_vec())
                });
                let most = rows(limit + 1);
                let found = match state {
                    None => all(conn, PAGE, params![at, id, most], listed_alert)?,
                    Some(state) => {
                        let values = params![at, id, most, state.as_str()];
                        all(conn, PAGE_OF_STATE, values, listed_alert)?
                    }
                };
                Ok(page(found, limit, cursor))
            })
            .await
    }

    async fn between(&self, first: Uuid, last: Uuid) -> Result<Vec<AlertRow>, StoreError> {
        self.reader
            .read("an alert", move |conn| {
                let values = params![first.as_bytes(), last.as_bytes()];
                all(conn, BETWEEN, values, |row| document(row, 0))
            })
            .await
    }

    async fn forget(&self, opened_before: Timestamp, limit: usize) -> Result<(), StoreError> {
        self.thread
            .on_connection("old alerts, to forget them", move |conn| {
                let values = params![int(opened_before.0), rows(limit)];
                conn.prepare_cached(FORGET)?.execute(values).map(drop)
            })
            .await
    }
}
