//! A full disk and somebody else's lock: nothing is written, that is said, and afterwards it goes on.

use baton_driver::{CommitError, Store};
use rusqlite::Connection;

use super::TempStore;
use crate::suite::samples::starts;
use crate::{SqliteOptions, SqliteStore};

#[tokio::test]
async fn a_full_disk_loses_nothing() {
    let subject = TempStore::new();
    let small = SqliteOptions {
        pages_max: Some(120),
        ..SqliteOptions::default()
    };
    let mut store = SqliteStore::open(subject.path(), small).unwrap();
    let mine = store.partition();
    let mut committed: u64 = 0;
    let refused = loop {
        let first = u32::try_from(committed).unwrap();
        match store
            .commit(starts(mine, committed + 1, first..first + 32))
            .await
        {
            Ok(()) => committed += 32,
            Err(refused) => break refused,
        }
        assert!(committed < 10_000, "a file of 120 pages never fills");
    };
    assert!(committed > 0, "the first batch has to fit");
    assert!(matches!(refused, CommitError::Failed { .. }), "{refused:?}");
    let found = store.recover(mine.id).await.unwrap();
    assert_eq!(found.log_seq, committed, "nothing of the refused batch");
    let again = store
        .commit(starts(mine, committed + 1, 90_000..90_032))
        .await;
    assert!(
        matches!(again, Err(CommitError::Failed { .. })),
        "{again:?}"
    );
    store.close().await.unwrap();

    let mut store = SqliteStore::open(subject.path(), SqliteOptions::default()).unwrap();
    let mine = store.partition();
    store
        .commit(starts(mine, committed + 1, 90_000..90_032))
        .await
        .expect("room again");
    assert_eq!(
        store.recover(mine.id).await.unwrap().log_seq,
        committed + 32
    );
    assert_eq!(store.integrity().await.unwrap(), Vec::<String>::new());
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_that_gets_room_goes_on_in_the_same_process() {
    let subject = TempStore::new();
    let small = SqliteOptions {
        pages_max: Some(140),
        ..SqliteOptions::default()
    };
    let mut store = SqliteStore::open(subject.path(), small).unwrap();
    let mine = store.partition();
    let refused = store.commit(starts(mine, 1, 0..512)).await;
    assert!(
        matches!(refused, Err(CommitError::Failed { .. })),
        "{refused:?}"
    );
    store
        .read("room", |conn| {
            conn.pragma_update_and_check(None, "max_page_count", 1_000_000, |_| Ok(()))
                .map_err(super::super::columns::failed("room"))
        })
        .await
        .unwrap();
    store
        .commit(starts(mine, 1, 0..512))
        .await
        .expect("room again");
    assert_eq!(store.integrity().await.unwrap(), Vec::<String>::new());
    store.close().await.unwrap();
}

#[tokio::test]
async fn somebody_elses_lock_is_waited_for_and_then_said() {
    let subject = TempStore::new();
    let hasty = SqliteOptions {
        busy_timeout_ms: 50,
        ..SqliteOptions::default()
    };
    let mut store = SqliteStore::open(subject.path(), hasty).unwrap();
    let mine = store.partition();
    let other = Connection::open(subject.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = store.commit(starts(mine, 1, 0..4)).await;
    assert!(
        matches!(refused, Err(CommitError::Failed { .. })),
        "{refused:?}"
    );
    other.execute_batch("ROLLBACK").unwrap();
    store
        .commit(starts(mine, 1, 0..4))
        .await
        .expect("the lock is gone");
    store.close().await.unwrap();
}
