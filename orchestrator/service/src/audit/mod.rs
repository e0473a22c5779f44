//! What operators do, written down: before an action is carried out that it was asked for, after it what came of it.
//!
//! Guarantee: no action of the API is begun before the row that says so is committed; where it cannot be, the action is refused. Whatever dies between the two
//! rows leaves the first one, which then says that nobody knows what came of it. Whoever asks at the same time shares one commit ([`together`]), so that the
//! store's writer is asked once however many there are; nothing of the hot path waits for any of it.

mod heads;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use baton_messages::{AuditEntry, AuditRow, Timestamp};
use baton_store::{AnyAudit, AuditLog as _};

use crate::chain::chain;
use crate::metrics;
use crate::together::{self, Desk};

pub(crate) use heads::{announce, keep_file};

/// Rows that wait for their commit: more than HTTP has connections, so that nobody waits for a place.
const WAITING_MAX: usize = 2_048;
/// Rows of one commit.
const BATCH_MAX: usize = 256;
/// How long a caller waits until his row is committed.
const COMMIT_WAIT: Duration = Duration::from_secs(15);
/// Refusals of one token that are written down in one [`REFUSALS_MS`]; the others are counted.
const REFUSALS_MAX: u32 = 10;
/// In milliseconds: one minute.
const REFUSALS_MS: u64 = 60_000;

/// Why a row was not written.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the audit log cannot be written: {0}")]
pub(crate) struct NotWritten(String);

/// Where actions are written down. Shared by all who serve requests.
pub(crate) struct Audit {
    /// What is read of it.
    pub(crate) log: AnyAudit,
    desk: Desk<AuditEntry, Result<AuditRow, NotWritten>>,
    refusals: Mutex<BTreeMap<String, Refusals>>,
}

/// What one token was refused lately.
#[derive(Debug, Default)]
struct Refusals {
    since: Timestamp,
    written: u32,
    left_out: u64,
}

impl Audit {
    /// It, and what writes, many rows in one commit: it ends when nobody can ask any more.
    pub(crate) fn new(log: AnyAudit) -> (Self, impl Future<Output = ()> + Send) {
        let (desk, writer) = together::desk(WAITING_MAX, BATCH_MAX);
        let writes = log.clone();
        let writing = writer.run(move |entries| {
            let log = writes.clone();
            async move { appended(&log, entries).await }
        });
        let audit = Self {
            log,
            desk,
            refusals: Mutex::default(),
        };
        (audit, writing)
    }

    /// Writes a row; it is committed when this returns.
    ///
    /// # Errors
    /// [`NotWritten`]: the store cannot be written, or not in time. Then it may be there all the same.
    pub(crate) async fn write(&self, entry: AuditEntry) -> Result<AuditRow, NotWritten> {
        let gone = || NotWritten("the orchestrator is stopping".to_owned());
        let writing = async { self.desk.write(entry).await.unwrap_or_else(|| Err(gone())) };
        let written = tokio::time::timeout(COMMIT_WAIT, writing).await;
        let late = || NotWritten(format!("no commit within {} s", COMMIT_WAIT.as_secs()));
        let written = written.unwrap_or_else(|_| Err(late()));
        if written.is_err() {
            metrics::audit_not_written();
        }
        written
    }

    /// Whether a refusal of this token is written down, and how many before it were only counted. Bounded, since a program that asks again and again for
    /// what it may not do would otherwise fill the store.
    pub(crate) fn refusal(&self, token: &str, now: Timestamp) -> Option<u64> {
        let mut all = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let one = all.entry(token.to_owned()).or_default();
        if now.since_ms(one.since) >= REFUSALS_MS {
            (one.since, one.written) = (now, 0);
        }
        if one.written >= REFUSALS_MAX {
            one.left_out += 1;
            return None;
        }
        one.written += 1;
        Some(std::mem::take(&mut one.left_out))
    }
}

/// Rows, one for each entry, in one commit.
async fn appended(log: &AnyAudit, entries: Vec<AuditEntry>) -> Vec<Result<AuditRow, NotWritten>> {
    let many = entries.len();
    match log.append(entries).await {
        Ok(rows) => {
            metrics::audit_rows(rows.len(), rows.last().map_or(0, |row| row.seq));
            rows.into_iter().map(Ok).collect()
        }
        Err(error) => {
            let why = chain(&error);
            tracing::error!(error = %why, "the audit log cannot be written; what operators ask for is refused meanwhile");
            vec![Err(NotWritten(why)); many]
        }
    }
}

#[cfg(test)]
mod tests {
    use baton_messages::{AuditCheck, AuditPhase};
    use baton_store::{AnyStore, SqliteOptions, SqliteStore};

    use super::*;

    pub(super) fn entry(who: &str) -> AuditEntry {
        AuditEntry {
            seq: 0,
            prev: String::new(),
            at: Timestamp(1),
            phase: AuditPhase::Asked,
            of: None,
            action: "cancelSaga".to_owned(),
            object: "sagas/1".to_owned(),
            part: None,
            who: who.to_owned(),
            behalf: None,
            role: "operator".to_owned(),
            why: None,
            from: "::1".to_owned(),
            forwarded: None,
            request: "r".to_owned(),
            instance: "o".to_owned(),
            asked: None,
            before: None,
            after: None,
            outcome: None,
            uncounted: None,
        }
    }

    pub(super) fn store(folder: &tempfile::TempDir) -> AnyStore {
        let path = folder.path().join("baton.db");
        AnyStore::Sqlite(SqliteStore::open(path, SqliteOptions::default()).unwrap())
    }

    #[tokio::test]
    async fn whoever_asks_at_once_shares_a_commit_and_each_gets_his_row() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let (audit, writer) = Audit::new(store.audit());
        let names: Vec<String> = (0..300).map(|n| format!("w{n}")).collect();
        let asked = futures::future::join_all(names.iter().map(|name| audit.write(entry(name))));
        let writing = tokio::spawn(writer);
        for (name, row) in names.iter().zip(asked.await) {
            assert_eq!(row.unwrap().entry().unwrap().who, *name);
        }
        let mut check = AuditCheck::default();
        for row in audit.log.rows(0, 500).await.unwrap() {
            check.row(row).unwrap();
        }
        assert_eq!(check.rows(), 300);
        store.close().await.unwrap();
        let refused = audit.write(entry("late")).await.unwrap_err();
        assert!(refused.to_string().contains("audit log"), "{refused}");
        drop(audit);
        writing.await.unwrap();
    }

    #[tokio::test]
    async fn refusals_of_a_token_are_bounded_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let (audit, _writer) = Audit::new(store(&folder).audit());
        let now = Timestamp(1_000_000);
        let written = |at| {
            (0..25)
                .filter(|_| audit.refusal("wall", at).is_some())
                .count()
        };
        assert_eq!(written(now), 10);
        assert_eq!(audit.refusal("ci", now), Some(0), "each token by itself");
        let later = now.plus_ms(REFUSALS_MS);
        assert_eq!(audit.refusal("wall", later), Some(15));
        assert_eq!(audit.refusal("wall", later), Some(0));
    }
}
