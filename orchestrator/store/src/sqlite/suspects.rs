//! Notes of what is tried alone, in the SQLite file. Everything goes to the store's one thread.

use baton_driver::StoreError;
use baton_messages::Timestamp;
use rusqlite::params;
use uuid::Uuid;

use super::columns::int;
use super::thread::WeakThread;
use crate::suspects::{KEPT_MS, Suspects};

/// One more try; answers the tries before it.
const TRY: &str = "INSERT INTO suspects (message, part, tries, at) VALUES (?1, ?2, 1, ?3)
     ON CONFLICT (message, part) DO UPDATE SET tries = tries + 1, at = excluded.at RETURNING tries - 1";
/// One try less.
const TAKE_BACK: &str =
    "UPDATE suspects SET tries = tries - 1 WHERE message = ?1 AND part = ?2 AND tries > 0";
const DONE: &str = "DELETE FROM suspects WHERE message = ?1 AND part = ?2";
/// The whole table is looked at: it has a row for each message that ever killed somebody.
const FORGET: &str = "DELETE FROM suspects WHERE at < ?1";

/// The notes of one store; answers errors once the store is closed.
#[derive(Debug, Clone)]
pub struct SqliteSuspects {
    thread: WeakThread,
}

impl SqliteSuspects {
    pub(crate) const fn new(thread: WeakThread) -> Self {
        Self { thread }
    }
}

impl Suspects for SqliteSuspects {
    async fn begin(&self, message: Uuid, part: u32, now: Timestamp) -> Result<u32, StoreError> {
        self.thread
            .on_connection("a note of what is tried alone", move |conn| {
                let transaction = conn.unchecked_transaction()?;
                let before = i64::try_from(now.0.saturating_sub(KEPT_MS)).unwrap_or(i64::MAX);
                transaction.execute(FORGET, [before])?;
                let values = params![message.as_bytes().as_slice(), part, int(now.0)];
                let tries = transaction.query_row(TRY, values, |row| row.get(0))?;
                transaction.commit()?;
                Ok(tries)
            })
            .await
    }

    async fn take_back(&self, message: Uuid, part: u32) -> Result<(), StoreError> {
        self.thread
            .on_connection("a note of what is tried alone", move |conn| {
                conn.execute(TAKE_BACK, params![message.as_bytes().as_slice(), part])?;
                Ok(())
            })
            .await
    }

    async fn done(&self, message: Uuid, part: u32) -> Result<(), StoreError> {
        self.thread
            .on_connection("a note of what was tried alone", move |conn| {
                conn.execute(DONE, params![message.as_bytes().as_slice(), part])?;
                Ok(())
            })
            .await
    }
}
