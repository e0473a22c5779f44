//! The process dies at any moment: what it had said was committed is there, and no batch is there in part.
//!
//! The child is this test binary again, told by its environment to commit until it is killed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use baton_driver::Store;

use super::TempStore;
use crate::suite::Subject;
use crate::suite::samples::starts;
use crate::{SqliteOptions, SqliteStore};

const ROUNDS: u64 = 100;
const BATCH: u64 = 5;
const STORE: &str = "BATON_STORE_TEST_CHILD_COMMITS_INTO";
const SAID: &str = "committed ";

/// In the child: commits and says so until it is killed. Otherwise: passes at once.
#[tokio::test]
async fn commits_until_it_is_killed() {
    let Some(path) = std::env::var_os(STORE) else {
        return;
    };
    let mut store = SqliteStore::open(path, SqliteOptions::default()).unwrap();
    let mine = store.partition();
    let mut log_seq = store.recover(mine.id).await.unwrap().log_seq;
    let mut said = std::io::stdout().lock();
    loop {
        let first = u32::try_from(log_seq).unwrap();
        let last = u32::try_from(log_seq + BATCH).unwrap();
        let mut batch = starts(mine, log_seq + 1, first..last);
        batch.watermark = log_seq;
        store.commit(batch).await.unwrap();
        log_seq += BATCH;
        writeln!(said, "{SAID}{log_seq}").unwrap();
    }
}

#[tokio::test]
async fn what_was_said_to_be_committed_survives_kill_9() {
    let mut subject = TempStore::new();
    for round in 0..ROUNDS {
        let said = commit_and_kill(&subject, 1 + round % 7);
        let (mut store, mine) = subject.open().await;
        let found = store.recover(mine.id).await.unwrap();
        assert!(
            found.log_seq >= said,
            "round {round}: {said} was said, {} is there",
            found.log_seq
        );
        assert!(
            found.log_seq.is_multiple_of(BATCH),
            "round {round}: a batch in part, {}",
            found.log_seq
        );
        assert_eq!(
            found.hot.len(),
            usize::try_from(found.log_seq).unwrap(),
            "round {round}"
        );
        subject.close(store).await;
    }
}

/// Starts the child and kills it after so many of its sentences; answers the last it said.
fn commit_and_kill(subject: &TempStore, sentences: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "sqlite::tests::killed::commits_until_it_is_killed",
            "--nocapture",
        ])
        .env(STORE, subject.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut heard = 0;
    let mut last = 0;
    while heard < sentences {
        let line = lines
            .next()
            .expect("the child goes on until it is killed")
            .unwrap();
        if let Some((_, said)) = line.split_once(SAID) {
            last = said.parse().unwrap();
            heard += 1;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // what it said before it died counts as well; a half line does not
    for line in lines.map_while(Result::ok) {
        last = line
            .split_once(SAID)
            .and_then(|(_, said)| said.parse().ok())
            .filter(|said| said % BATCH == 0)
            .unwrap_or(last)
            .max(last);
    }
    last
}
