//! What stands beside sagas and triggers: the tokens of the HTTP API, and the notes of what is tried alone.

use baton_driver::StoreError;
use baton_messages::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::columns::{get, instant, instant_if_set, int, owned, string};
use super::connect::{Connections, rows};
use super::fault::Fault;
use super::load::each;
use crate::suspects::{KEPT_MS, Suspects};
use crate::tokens::{HASH_BYTES, TokenRow, TokenStore};

const TOKEN_PUT: &str = "INSERT INTO tokens (name, role, hash, made_at, made_by, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT DO NOTHING";
const TOKEN_DELETE: &str = "DELETE FROM tokens WHERE name = $1";
/// Every token: as many as people made.
pub(crate) const TOKENS: &str =
    "SELECT name, role, hash, made_at, made_by, expires_at FROM tokens ORDER BY name";
/// One more try; answers the tries before it.
const TRY: &str = "INSERT INTO suspects (message, part, tries, at) VALUES ($1, $2, 1, $3)
    ON CONFLICT (message, part) DO UPDATE SET tries = suspects.tries + 1, at = excluded.at RETURNING tries - 1";
/// One try less.
const TAKE_BACK: &str =
    "UPDATE suspects SET tries = tries - 1 WHERE message = $1 AND part = $2 AND tries > 0";
const TRIED: &str = "DELETE FROM suspects WHERE message = $1 AND part = $2";
/// The whole table is looked at: it has a row for each message that ever killed somebody.
const FORGET: &str = "DELETE FROM suspects WHERE at < $1";

/// The tokens of one store.
#[derive(Debug, Clone)]
pub struct PostgresTokens {
    connections: Connections,
}

impl PostgresTokens {
    pub(crate) const fn new(connections: Connections) -> Self {
        Self { connections }
    }
}

impl TokenStore for PostgresTokens {
    async fn put_token(&self, row: TokenRow) -> Result<bool, StoreError> {
        let values: [&(dyn ToSql + Sync); 6] = [
            &owned(&row.name),
            &owned(&row.role),
            &row.hash.as_slice(),
            &int(row.made_at.0),
            &owned(&row.made_by),
            &row.expires_at.map(|at| int(at.0)),
        ];
        let put = self.connections.execute(TOKEN_PUT, &values).await;
        Ok(put.map_err(|fault| fault.read("a token to be kept"))? == 1)
    }

    async fn delete_token(&self, name: String) -> Result<bool, StoreError> {
        let name = owned(&name);
        let deleted = self.connections.execute(TOKEN_DELETE, &[&name]).await;
        Ok(deleted.map_err(|fault| fault.read("a token to be forgotten"))? == 1)
    }

    async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        let found = self.connections.rows(TOKENS, &[]).await;
        let read = found.and_then(|rows| each(&rows, token));
        read.map_err(|fault| fault.read("tokens"))
    }
}

fn token(row: &Row) -> Result<TokenRow, Fault> {
    let hash: &[u8] = get(row, 2)?;
    let hash: [u8; HASH_BYTES] = hash
        .try_into()
        .map_err(|_| Fault::misfit(row, 2, "is no SHA-256".to_owned()))?;
    Ok(TokenRow {
        name: string(row, 0)?,
        role: string(row, 1)?,
        hash,
        made_at: instant(row, 3)?,
        made_by: string(row, 4)?,
        expires_at: instant_if_set(row, 5)?,
    })
}

/// The notes of one store.
#[derive(Debug, Clone)]
pub struct PostgresSuspects {
    connections: Connections,
}

impl PostgresSuspects {
    pub(crate) const fn new(connections: Connections) -> Self {
        Self { connections }
    }
}

impl Suspects for PostgresSuspects {
    async fn begin(&self, message: Uuid, part: u32, now: Timestamp) -> Result<u32, StoreError> {
        let noting = self.connections.with(async |client| {
            let transaction = client.transaction().await?;
            let before = int(now.0.saturating_sub(KEPT_MS));
            rows(&transaction, FORGET, &[&before]).await?;
            let values: [&(dyn ToSql + Sync); 3] = [&message, &i64::from(part), &int(now.0)];
            let noted = rows(&transaction, TRY, &values).await?;
            let tries: i64 = noted.first().map_or(Ok(0), |row| get(row, 0))?;
            transaction.commit().await?;
            Ok(u32::try_from(tries).unwrap_or(u32::MAX))
        });
        let noted = noting.await;
        noted.map_err(|fault| fault.read("a note of what is tried alone"))
    }

    async fn take_back(&self, message: Uuid, part: u32) -> Result<(), StoreError> {
        let values: [&(dyn ToSql + Sync); 2] = [&message, &i64::from(part)];
        let taken = self.connections.execute(TAKE_BACK, &values).await;
        taken.map_err(|fault| fault.read("a note of what is tried alone"))?;
        Ok(())
    }

    async fn done(&self, message: Uuid, part: u32) -> Result<(), StoreError> {
        let values: [&(dyn ToSql + Sync); 2] = [&message, &i64::from(part)];
        let done = self.connections.execute(TRIED, &values).await;
        done.map_err(|fault| fault.read("a note of what was tried alone"))?;
        Ok(())
    }
}
