//! Notes of what is tried alone because it may be what kills its orchestrator. A note is committed before the try and taken away after it:
//! the notes that are found are those of tries over which a process died.

use baton_driver::StoreError;
use baton_messages::Timestamp;
use rusqlite::params;
use uuid::Uuid;

use super::columns::int;
use super::thread::WeakThread;

/// How long a note is kept whose message did not come again: longer than anybody leaves a broker's queue alone.
const KEPT_MS: u64 = 30 * 24 * 3_600_000;

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

    /// Writes down that a part of a message is tried now; answers how many tries of it before came to no end.
    ///
    /// # Errors
    /// When it is not certain to be written: do not try.
    pub async fn begin(&self, message: Uuid, part: u32, now: Timestamp) -> Result<u32, StoreError> {
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

    /// The try has come to no end so far, and the process lives: this try says nothing about what is tried. Those before it still do.
    ///
    /// # Errors
    /// When the note may still stand as it was.
    pub async fn take_back(&self, message: Uuid, part: u32) -> Result<(), StoreError> {
        self.thread
            .on_connection("a note of what is tried alone", move |conn| {
                conn.execute(TAKE_BACK, params![message.as_bytes().as_slice(), part])?;
                Ok(())
            })
            .await
    }

    /// The try came to an end, whatever it was.
    ///
    /// # Errors
    /// When the note may still stand; it then counts as a try that came to none.
    pub async fn done(&self, message: Uuid, part: u32) -> Result<(), StoreError> {
        self.thread
            .on_connection("a note of what was tried alone", move |conn| {
                conn.execute(DONE, params![message.as_bytes().as_slice(), part])?;
                Ok(())
            })
            .await
    }
}
