//! What came of letters, written down together: letters are done side by side, and each has to be written down before it counts as done. What the store refuses of
//! one fails that one alone.

use std::future::Future;

use baton_driver::StoreError;
use baton_store::letters::Written;
use baton_store::{AnyLetters, Letters as _};

use crate::together::{self, Desk};

/// Who waits at most: some operations, each with letters side by side. Others wait for a place.
const WAITING_MAX: usize = 256;
/// Written down in one transaction at most: what some operations do side by side.
const TOGETHER_MAX: usize = 64;
/// So many of a group that failed may fail by themselves before the rest is told to come again: then it is the store that does not answer.
const ALONE_MAX: usize = 2;

type Answer = Result<(), StoreError>;

/// Clones write together.
#[derive(Clone)]
pub(crate) struct Scribe {
    desk: Desk<Written, Answer>,
}

impl Scribe {
    /// It, and what writes for it: it ends when nobody can ask any more.
    pub(crate) fn new(letters: AnyLetters) -> (Self, impl Future<Output = ()> + Send) {
        let (desk, writer) = together::desk(WAITING_MAX, TOGETHER_MAX);
        let writing = writer.run(move |some| {
            let letters = letters.clone();
            async move { written(&letters, some).await }
        });
        (Self { desk }, writing)
    }

    /// Writes one down; returns when it is committed.
    ///
    /// # Errors
    /// When the store does not answer, or the orchestrator is stopping: it may be written all the same.
    pub(crate) async fn write(&self, one: Written) -> Answer {
        let stopping = || Err(failed("the orchestrator is stopping"));
        self.desk.write(one).await.unwrap_or_else(stopping)
    }
}

/// All of them in one transaction; where that fails, one by one.
async fn written(letters: &AnyLetters, some: Vec<Written>) -> Vec<Answer> {
    let Err(error) = letters.write_down(some.clone()).await else {
        return some.iter().map(|_| Ok(())).collect();
    };
    if some.len() == 1 {
        return vec![Err(error)];
    }
    let (mut failures, mut answers) = (0, Vec::with_capacity(some.len()));
    for one in some {
        if failures == ALONE_MAX {
            answers.push(Err(failed("others failed before it")));
            continue;
        }
        let alone = letters.write_down(vec![one]).await;
        failures += usize::from(alone.is_err());
        answers.push(alone.map(|_| ()));
    }
    answers
}

fn failed(why: &'static str) -> StoreError {
    StoreError {
        what: "what came of dead letters".to_owned(),
        source: why.into(),
    }
}

#[cfg(test)]
mod tests {
    use baton_messages::Timestamp;
    use baton_store::letters::{Ending, Settling};
    use baton_store::{SqliteOptions, SqliteStore};
    use futures::future::join_all;
    use uuid::Uuid;

    use super::*;

    fn store(folder: &tempfile::TempDir) -> SqliteStore {
        let path = folder.path().join("baton.db");
        SqliteStore::open(path, SqliteOptions::default()).unwrap()
    }

    fn of_nobody() -> Written {
        Written::Settled(Settling {
            letter: Uuid::new_v4(),
            action: Uuid::new_v4(),
            operation: None,
            ending: Ending::Resolved,
            outcome: String::new(),
            at: Timestamp(1),
            attempt: None,
        })
    }

    /// More than go into one transaction, on several threads, some of whom go away: each of the others has its answer, and the writer ends with the last.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_writes_has_an_answer() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let (scribe, writing) = Scribe::new(AnyLetters::Sqlite(store.letters()));
        let writing = tokio::spawn(writing);
        let writers: Vec<_> = (0..TOGETHER_MAX * 4)
            .map(|n| {
                let scribe = scribe.clone();
                tokio::spawn(async move {
                    let wait = if n % 5 == 0 { 50 * n as u64 } else { u64::MAX };
                    let soon = std::time::Duration::from_micros(wait);
                    let in_time = tokio::time::timeout(soon, scribe.write(of_nobody()));
                    in_time.await.unwrap_or(Ok(()))
                })
            })
            .collect();
        for answer in join_all(writers).await {
            answer.unwrap().unwrap();
        }
        drop(scribe);
        writing.await.unwrap();
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn all_are_told_that_it_failed() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let (scribe, writing) = Scribe::new(AnyLetters::Sqlite(store.letters()));
        store.close().await.unwrap();
        let writing = tokio::spawn(writing);
        let answers = join_all((0..5).map(|_| scribe.write(of_nobody()))).await;
        assert!(answers.iter().all(Result::is_err), "{answers:?}");
        writing.abort();
        let _ = writing.await;
        let late = scribe.write(of_nobody()).await.unwrap_err();
        assert_eq!(late.source.to_string(), "the orchestrator is stopping");
    }
}
