//! Tokens in the SQLite file. Everything goes to the store's one thread, beside what the driver asks of it.

use baton_driver::StoreError;
use baton_messages::Timestamp;
use rusqlite::types::FromSqlError;
use rusqlite::{Row, params};

use super::columns::{instant, instant_if_set, int, misfit};
use super::load::all;
use super::thread::WeakThread;
use crate::tokens::{HASH_BYTES, TokenRow, TokenStore};

const PUT: &str = "INSERT INTO tokens (name, role, hash, made_at, made_by, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
const DELETE: &str = "DELETE FROM tokens WHERE name = ?1";
/// Every token: as many as people made.
pub(crate) const TOKENS: &str =
    "SELECT name, role, hash, made_at, made_by, expires_at FROM tokens ORDER BY name";

/// The tokens of one store; answers errors once the store is closed.
#[derive(Debug, Clone)]
pub struct SqliteTokens {
    thread: WeakThread,
}

impl SqliteTokens {
    pub(crate) const fn new(thread: WeakThread) -> Self {
        Self { thread }
    }
}

impl TokenStore for SqliteTokens {
    async fn put_token(&self, row: TokenRow) -> Result<bool, StoreError> {
        self.thread
            .on_connection("a token to be kept", move |conn| {
                let values = params![
                    row.name,
                    row.role,
                    row.hash.as_slice(),
                    int(row.made_at.0),
                    row.made_by,
                    row.expires_at.map(|Timestamp(ms)| int(ms)),
                ];
                Ok(conn.execute(PUT, values)? == 1)
            })
            .await
    }

    async fn delete_token(&self, name: String) -> Result<bool, StoreError> {
        self.thread
            .on_connection("a token to be forgotten", move |conn| {
                Ok(conn.execute(DELETE, [name])? == 1)
            })
            .await
    }

    async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        self.thread
            .on_connection("tokens", |conn| all(conn, TOKENS, [], token))
            .await
    }
}

fn token(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
    let value = row.get_ref(2)?;
    let hash: [u8; HASH_BYTES] = value
        .as_blob()
        .and_then(|bytes| bytes.try_into().map_err(FromSqlError::other))
        .map_err(|source| misfit(2, value, source))?;
    Ok(TokenRow {
        name: row.get(0)?,
        role: row.get(1)?,
        hash,
        made_at: instant(row, 3)?,
        made_by: row.get(4)?,
        expires_at: instant_if_set(row, 5)?,
    })
}
