//! The figures a commit changes, gathered while it writes and written once at its end: a page of figures then reads a dozen rows
//! instead of counting tables.

use baton_engine::Status;
use rusqlite::{Connection, params};

use super::columns::STATUSES;

/// What is counted beside the sagas.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Count {
    /// Rows of the log.
    LogRows,
    /// Tasks to be sent again.
    Unsent,
    /// Dead letters.
    DeadLetters,
    /// Work items nobody has closed.
    WorkItemsOpen,
    /// Sagas whose records were taken out.
    Purged,
    /// Events and words to other sagas to be published again.
    Owed,
}

/// The names under which the figures are kept: the sagas of each status first, in the order of [`STATUSES`], then each [`Count`].
pub(crate) const NAMES: [&str; 13] = [
    "saga.new",
    "saga.running",
    "saga.compensating",
    "saga.parked",
    "saga.completed",
    "saga.compensated",
    "saga.abandoned",
    "log_rows",
    "unsent",
    "dead_letters",
    "work_items_open",
    "purged",
    "owed",
];

const ADD: &str = "INSERT INTO counts (partition, name, n) VALUES (?1, ?2, ?3)
    ON CONFLICT (partition, name) DO UPDATE SET n = n + excluded.n";

/// What one commit changes.
#[derive(Debug, Default)]
pub(crate) struct Deltas([i64; NAMES.len()]);

impl Deltas {
    /// So many more.
    pub(crate) fn add(&mut self, count: Count, n: usize) {
        self.0[place(count)] += i64::try_from(n).unwrap_or(i64::MAX);
    }

    /// So many fewer.
    pub(crate) fn subtract(&mut self, count: Count, n: usize) {
        self.0[place(count)] -= i64::try_from(n).unwrap_or(i64::MAX);
    }

    /// A saga stands here now, and no longer there.
    pub(crate) fn moved(&mut self, from: Option<Status>, to: Status) {
        for (status, n) in [(from, -1), (Some(to), 1)] {
            if let Some(status) = status {
                self.count(status, n);
            }
        }
    }

    /// A saga is no longer among those that stand there.
    pub(crate) fn gone(&mut self, from: Status) {
        self.count(from, -1);
    }

    fn count(&mut self, status: Status, n: i64) {
        if let Some(place) = STATUSES.iter().position(|known| *known == status) {
            self.0[place] += n;
        }
    }

    /// Adds them to what is kept.
    pub(crate) fn write(&self, conn: &Connection, partition: u8) -> rusqlite::Result<()> {
        for (name, n) in NAMES.iter().zip(self.0) {
            if n != 0 {
                conn.prepare_cached(ADD)?
                    .execute(params![partition, name, n])?;
            }
        }
        Ok(())
    }
}

const fn place(count: Count) -> usize {
    match count {
        Count::LogRows => STATUSES.len(),
        Count::Unsent => STATUSES.len() + 1,
        Count::DeadLetters => STATUSES.len() + 2,
        Count::WorkItemsOpen => STATUSES.len() + 3,
        Count::Purged => STATUSES.len() + 4,
        Count::Owed => STATUSES.len() + 5,
    }
}
