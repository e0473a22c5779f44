//! Alerts in the database.

use baton_driver::StoreError;
use baton_messages::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::columns::{document, get, instant, int, listed, owned, rows as most};
use super::connect::{Connections, rows};
use super::fault::Fault;
use super::load::each;
use crate::alerts::{AlertCursor, AlertRow, AlertState, Alerts, cursor};
use crate::audit::limited;
use crate::read::{Listed, Page, listed as page};

const ADD: &str = "INSERT INTO alerts (id, key, kind, state, opened_at, revision, unsaid, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT DO NOTHING RETURNING id";
pub(crate) const CHANGE: &str = "UPDATE alerts SET key = $2, kind = $3, state = $4, opened_at = $5, revision = $6::bigint, unsaid = $7, body = $8
    WHERE id = $1 AND revision = $6::bigint - 1 RETURNING id";
pub(crate) const OPEN: &str =
    "SELECT body, opened_at, id FROM alerts WHERE state = 'open' ORDER BY opened_at, id LIMIT $1";
pub(crate) const UNSAID: &str = "SELECT body, opened_at, id FROM alerts WHERE unsaid AND opened_at >= 0 AND state = 'resolved' ORDER BY opened_at, id LIMIT $1";
pub(crate) const KEYED: &str = "SELECT body, opened_at, id FROM alerts WHERE key = ANY ($1)";
pub(crate) const PAGE: &str = "SELECT body, opened_at, id FROM alerts WHERE (opened_at, id) < ($1, $2) ORDER BY opened_at DESC, id DESC LIMIT $3";
pub(crate) const PAGE_OF_STATE: &str =
    "SELECT body, opened_at, id FROM alerts WHERE state = $4 AND (opened_at, id) < ($1, $2)
    ORDER BY opened_at DESC, id DESC LIMIT $3";
pub(crate) const BETWEEN: &str =
    "SELECT body FROM alerts WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT 2";
pub(crate) const FORGET: &str = "DELETE FROM alerts WHERE id = ANY (ARRAY
    (SELECT id FROM alerts WHERE state = 'resolved' AND opened_at < $1 AND NOT unsaid ORDER BY opened_at, id LIMIT $2))";

/// Every question here that must not look at a whole table.
#[cfg(test)]
pub(crate) const QUERIES: [&str; 7] = [CHANGE, OPEN, UNSAID, KEYED, PAGE, PAGE_OF_STATE, BETWEEN];

/// The alerts of a database.
#[derive(Debug, Clone)]
pub struct PostgresAlerts {
    connections: Connections,
}

impl PostgresAlerts {
    pub(crate) const fn new(connections: Connections) -> Self {
        Self { connections }
    }

    async fn list(
        &self,
        what: &'static str,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<AlertRow>, StoreError> {
        let found = self.connections.rows(sql, values).await;
        let read = found.and_then(|rows| each(&rows, |row| document(row, 0)));
        read.map_err(|fault: Fault| fault.read(what))
    }

    /// The same, one that cannot be read by its name.
    async fn listed(
        &self,
        what: &'static str,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Listed<AlertRow, AlertCursor>>, StoreError> {
        let found = self.connections.rows(sql, values).await;
        let read = found.and_then(|rows| each(&rows, listed_alert));
        read.map_err(|fault| fault.read(what))
    }
}

/// An alert out of the columns of [`PAGE`].
fn listed_alert(row: &Row) -> Result<Listed<AlertRow, AlertCursor>, Fault> {
    listed(
        row,
        |row| document(row, 0),
        |row| {
            let (opened_at, id): (_, Uuid) = (instant(row, 1)?, get(row, 2)?);
            Ok((AlertCursor { opened_at, id }, id.to_string()))
        },
    )
}

impl Alerts for PostgresAlerts {
    async fn put(&self, alerts: Vec<AlertRow>) -> Result<Vec<Uuid>, StoreError> {
        let putting = self.connections.with(async |client| {
            let transaction = client.transaction().await?;
            let mut written = Vec::with_capacity(alerts.len());
            for row in &alerts {
                let body = owned(&serde_json::to_string(row)?);
                let values: [&(dyn ToSql + Sync); 8] = [
                    &row.id,
                    &owned(&row.key),
                    &owned(&row.kind),
                    &row.state.as_str(),
                    &int(row.opened_at.0),
                    &int(row.revision),
                    &row.unsaid.is_some(),
                    &body,
                ];
                let sql = if row.revision == 1 { ADD } else { CHANGE };
                if rows(&transaction, sql, &values).await?.len() == 1 {
                    written.push(row.id);
                }
            }
            transaction.commit().await?;
            Ok(written)
        });
        let written = putting.await;
        written.map_err(|fault| fault.read("alerts, to keep them"))
    }

    async fn standing(&self, limit: usize) -> Result<Page<AlertRow, AlertCursor>, StoreError> {
        let most = most(limit);
        let mut found = self.listed("open alerts", OPEN, &[&most]).await?;
        let over = self
            .listed("alerts that are over", UNSAID, &[&most])
            .await?;
        found.extend(over);
        Ok(page(found, usize::MAX, cursor))
    }

    async fn keyed(&self, keys: Vec<String>) -> Result<Vec<AlertRow>, StoreError> {
        let keys: Vec<String> = keys.iter().map(|key| owned(key)).collect();
        let found = self.listed("alerts", KEYED, &[&keys]).await?;
        Ok(page(found, usize::MAX, cursor).rows)
    }

    async fn page(
        &self,
        state: Option<AlertState>,
        after: Option<AlertCursor>,
        limit: usize,
    ) -> Result<Page<AlertRow, AlertCursor>, StoreError> {
        let limit = limited(limit);
        let (at, id) = after.map_or((i64::MAX, Uuid::max()), |last| {
            (int(last.opened_at.0), last.id)
        });
        let rows_most = most(limit + 1);
        let word = state.map(AlertState::as_str);
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![&at, &id, &rows_most];
        let sql = match &word {
            None => PAGE,
            Some(word) => {
                values.push(word);
                PAGE_OF_STATE
            }
        };
        let found = self.listed("alerts", sql, &values).await?;
        Ok(page(found, limit, cursor))
    }

    async fn between(&self, first: Uuid, last: Uuid) -> Result<Vec<AlertRow>, StoreError> {
        self.list("an alert", BETWEEN, &[&first, &last]).await
    }

    async fn forget(&self, opened_before: Timestamp, limit: usize) -> Result<(), StoreError> {
        let values: [&(dyn ToSql + Sync); 2] = [&int(opened_before.0), &most(limit)];
        let forgotten = self.connections.execute(FORGET, &values).await;
        forgotten.map_err(|fault| fault.read("old alerts, to forget them"))?;
        Ok(())
    }
}
