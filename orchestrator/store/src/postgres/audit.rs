//! What operators did, in the database. Whoever adds to it, at whichever orchestrator, holds an advisory lock until that is committed; the driver's commits
//! do not know that lock.

use baton_driver::StoreError;
use baton_messages::{AuditEntry, AuditRow};
use deadpool_postgres::GenericClient;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::columns::{get, int, owned, rows as most, string, uint};
use super::connect::{Connections, rows};
use super::fault::Fault;
use super::load::each;
use crate::audit::{
    AuditCursor, AuditFilter, AuditLog, cursor, limited, page_query, sealed, values,
};
use crate::read::{Page, page};

/// The advisory lock under which the chain grows: "BATN", then a word for this use.
const ADDING: i64 = 0x4241_544e_0000_0006;
const LOCK: &str = "SELECT pg_advisory_xact_lock($1)";
const ADD: &str = "INSERT INTO audit (seq, body, hash) SELECT a.seq, a.body, a.hash
    FROM unnest($1::bigint[], $2::text[], $3::text[]) AS a (seq, body, hash) RETURNING seq";
pub(crate) const LAST: &str =
    "SELECT seq, body, hash FROM audit WHERE seq = (SELECT max(seq) FROM audit)";
pub(crate) const AFTER: &str =
    "SELECT seq, body, hash FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2";

/// The query of a page.
pub(crate) fn query(filter: &AuditFilter) -> String {
    page_query(filter, |_| String::new(), |number| format!("${number}"))
}

/// The audit log of a database.
#[derive(Debug, Clone)]
pub struct PostgresAudit {
    connections: Connections,
}

impl PostgresAudit {
    pub(crate) const fn new(connections: Connections) -> Self {
        Self { connections }
    }

    /// Keeps rows of another store as they are.
    pub(crate) async fn put(&self, moved: Vec<AuditRow>) -> Result<(), StoreError> {
        let put = self
            .connections
            .with(async |client| put(client, &moved).await);
        put.await
            .map_err(|fault| fault.read("rows of the audit log, to keep them"))
    }
}

async fn put(client: &impl GenericClient, chained: &[AuditRow]) -> Result<(), Fault> {
    let seqs: Vec<i64> = chained.iter().map(|row| int(row.seq)).collect();
    let bodies: Vec<&str> = chained.iter().map(|row| row.body.as_str()).collect();
    let hashes: Vec<&str> = chained.iter().map(|row| row.hash.as_str()).collect();
    rows(client, ADD, &[&seqs, &bodies, &hashes]).await?;
    Ok(())
}

fn audit_row(row: &Row) -> Result<AuditRow, Fault> {
    Ok(AuditRow {
        seq: get(row, 0).map(uint)?,
        body: get::<&str>(row, 1)?.to_owned(),
        hash: string(row, 2)?,
    })
}

async fn last(client: &impl GenericClient) -> Result<Option<AuditRow>, Fault> {
    let found = rows(client, LAST, &[]).await?;
    found.first().map(audit_row).transpose()
}

impl AuditLog for PostgresAudit {
    async fn append(&self, entries: Vec<AuditEntry>) -> Result<Vec<AuditRow>, StoreError> {
        let adding = self.connections.with(async |client| {
            let transaction = client.transaction().await?;
            rows(&transaction, LOCK, &[&ADDING]).await?;
            // read after the lock is had, and so after all who had it have committed
            let chained = sealed(entries, last(&transaction).await?)?;
            put(&transaction, &chained).await?;
            transaction.commit().await?;
            Ok(chained)
        });
        let added = adding.await;
        added.map_err(|fault| fault.read("the audit log, to add to it"))
    }

    async fn rows(&self, after: u64, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        let values: [&(dyn ToSql + Sync); 2] = [&int(after), &most(limited(limit))];
        let found = self.connections.rows(AFTER, &values).await;
        let read = found.and_then(|rows| each(&rows, audit_row));
        read.map_err(|fault| fault.read("the audit log"))
    }

    async fn head(&self) -> Result<Option<AuditRow>, StoreError> {
        let found = self.connections.with(async |client| last(client).await);
        found
            .await
            .map_err(|fault| fault.read("the end of the audit log"))
    }

    async fn page(
        &self,
        filter: AuditFilter,
        after: Option<AuditCursor>,
        limit: usize,
    ) -> Result<Page<AuditRow, AuditCursor>, StoreError> {
        let limit = limited(limit);
        let (at, seq) = after.map_or((i64::MAX, i64::MAX), |last| (int(last.at.0), int(last.seq)));
        let from = filter.from.map_or(0, |from| int(from.0));
        let until = filter.until.map_or(i64::MAX, |until| int(until.0));
        let given: Vec<String> = values(&filter).iter().map(|text| owned(text)).collect();
        let rows_most = most(limit + 1);
        let mut all: Vec<&(dyn ToSql + Sync)> = vec![&at, &seq, &from, &until, &rows_most];
        all.extend(given.iter().map(|text| text as &(dyn ToSql + Sync)));
        let found = self.connections.rows(&query(&filter), &all).await;
        let read = found.and_then(|rows| each(&rows, audit_row));
        let read = read.map_err(|fault| fault.read("the audit log"))?;
        Ok(page(read, limit, cursor))
    }
}
