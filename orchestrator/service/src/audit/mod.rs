//! What operators do, written down: before an action is carried out that it was asked for, after it what came of it.
//!
//! Guarantee: no action of the API is begun before the row that says so is committed; where it cannot be, the action is refused. Whatever dies between the two
//! rows leaves the first one, which then says that nobody knows what came of it. Whoever asks at the same time shares one commit ([`together`]), so that the
//! store's writer is asked once however many there are; nothing of the hot path waits for any of it.

mod heads;
mod which;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use baton_messages::{AuditEntry, AuditRow, Timestamp};
use baton_store::{AnyAudit, AuditLog as _};

use crate::chain::chain;
use crate::metrics;
use crate::together::{self, Desk};

pub(crate) use heads::{announce, keep_file};
pub(crate) use which::Which;

/// Rows that wait for their commit: more than HTTP has connections, so that nobody waits for a place.
const WAITING_MAX: usize = 2_048;
/// Rows of one commit.
const BATCH_MAX: usize = 256;
/// Who would wait longer than this for his row is told to come again, where that can be done: well within [`COMMIT_WAIT`], since a second row and a
/// commit of a driver come after it.
const BEHIND: Duration = Duration::from_secs(5);
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
    pace: Arc<Mutex<Pace>>,
    refusals: Mutex<BTreeMap<String, Refusals>>,
}

/// How fast rows are written, and how many wait.
#[derive(Debug, Default)]
struct Pace {
    waiting: usize,
    /// Since when a commit is under way.
    since: Option<Instant>,
    /// How long the last one took.
    last: Duration,
}

impl Pace {
    /// Whether who comes now would wait for too long. While nobody waits nobody is told so: who is let in shows whether it has become faster.
    fn is_behind(&self, now: Instant) -> bool {
        let under_way = self.since.map(|since| now.duration_since(since));
        let each = self.last.max(under_way.unwrap_or_default());
        let rounds = u32::try_from(self.waiting / BATCH_MAX + 1).unwrap_or(u32::MAX);
        self.waiting > 0 && each.saturating_mul(rounds) > BEHIND
    }
}

/// One who waits, until this is dropped: also when he has gone away.
struct Waits<'a>(&'a Mutex<Pace>);

impl<'a> Waits<'a> {
    fn of(pace: &'a Mutex<Pace>) -> Self {
        lock(pace).waiting += 1;
        Self(pace)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut pace = lock(self.0);
        pace.waiting = pace.waiting.saturating_sub(1);
    }
}

fn lock(pace: &Mutex<Pace>) -> std::sync::MutexGuard<'_, Pace> {
    pace.lock().unwrap_or_else(PoisonError::into_inner)
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
        let pace = Arc::<Mutex<Pace>>::default();
        let paced = pace.clone();
        let writing = writer.run(move |entries| {
            let (log, pace) = (writes.clone(), paced.clone());
            async move {
                let began = Instant::now();
                lock(&pace).since = Some(began);
                let rows = appended(&log, entries).await;
                let mut pace = lock(&pace);
                (pace.since, pace.last) = (None, began.elapsed());
                rows
            }
        });
        let audit = Self {
            log,
            desk,
            pace,
            refusals: Mutex::default(),
        };
        (audit, writing)
    }

    /// Whether rows are written so slowly, or so many wait, that one more would wait for too long.
    pub(crate) fn is_behind(&self) -> bool {
        lock(&self.pace).is_behind(Instant::now())
    }

    /// Writes a row; it is committed when this returns.
    ///
    /// # Errors
    /// [`NotWritten`]: the store cannot be written, or not in time. Then it may be there all the same.
    pub(crate) async fn write(&self, entry: AuditEntry) -> Result<AuditRow, NotWritten> {
        let _waits = Waits::of(&self.pace);
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

    #[test]
    fn who_would_wait_too_long_is_told_so_and_never_where_nobody_waits() {
        let pace = Mutex::new(Pace::default());
        let now = Instant::now();
        let behind = || lock(&pace).is_behind(now);
        let mut waiting: Vec<_> = (0..BATCH_MAX).map(|_| Waits::of(&pace)).collect();
        assert!(!behind(), "a fast commit has room for many");
        lock(&pace).last = BEHIND * 2 / 3;
        assert!(behind(), "the second commit comes too late");
        waiting.pop();
        assert!(!behind());
        lock(&pace).since = now.checked_sub(BEHIND * 2);
        assert!(behind(), "one that does not end is slow as well");
        waiting.clear();
        assert!(!behind(), "somebody has to try");
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
