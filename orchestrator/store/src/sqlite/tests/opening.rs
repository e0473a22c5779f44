//! Whose file it is, and whether it is one of ours.

use rusqlite::Connection;

use super::TempStore;
use crate::sqlite::schema::version_known;
use crate::suite::Subject;
use crate::suite::samples::starts;
use crate::{OpenError, SqliteOptions, SqliteReader, SqliteStore};
use baton_driver::Store;

#[tokio::test]
async fn a_second_owner_is_refused_and_told_who_has_it() {
    let mut subject = TempStore::new();
    let (store, first) = subject.open().await;
    let refused = SqliteStore::open(subject.path(), SqliteOptions::default()).unwrap_err();
    let said = refused.to_string();
    assert!(matches!(refused, OpenError::Owned { .. }), "{said}");
    assert!(
        said.contains(&format!("process {} on ", std::process::id())),
        "{said}"
    );
    assert!(said.contains("stop that one"), "{said}");
    subject.close(store).await;
    let (store, second) = subject.open().await;
    assert_eq!(
        second.epoch,
        first.epoch + 1,
        "a refused opening begins no epoch"
    );
    subject.close(store).await;
}

#[tokio::test]
async fn a_newer_file_is_refused_unchanged() {
    let mut subject = TempStore::new();
    let (store, _) = subject.open().await;
    subject.close(store).await;
    let newer = version_known() + 1;
    Connection::open(subject.path())
        .unwrap()
        .pragma_update(None, "user_version", newer)
        .unwrap();
    let before = std::fs::read(subject.path()).unwrap();
    for refused in [
        SqliteStore::open(subject.path(), SqliteOptions::default())
            .map(drop)
            .unwrap_err(),
        SqliteReader::open(subject.path(), &SqliteOptions::default())
            .map(drop)
            .unwrap_err(),
    ] {
        assert!(
            matches!(refused, OpenError::Newer { found, .. } if found == newer),
            "{refused}"
        );
    }
    assert_eq!(std::fs::read(subject.path()).unwrap(), before);
}

#[tokio::test]
async fn a_file_of_another_program_is_refused() {
    let subject = TempStore::new();
    Connection::open(subject.path())
        .unwrap()
        .execute_batch("CREATE TABLE theirs (a)")
        .unwrap();
    let refused = SqliteStore::open(subject.path(), SqliteOptions::default())
        .map(drop)
        .unwrap_err();
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
}

#[tokio::test]
async fn a_reader_of_nothing_is_refused() {
    let subject = TempStore::new();
    let refused = SqliteReader::open(subject.path(), &SqliteOptions::default())
        .map(drop)
        .unwrap_err();
    assert!(matches!(refused, OpenError::Sqlite { .. }), "{refused}");
}

#[tokio::test]
async fn what_was_sent_is_done_before_the_file_is_closed() {
    let mut subject = TempStore::new();
    let (mut store, mine) = subject.open().await;
    {
        let mut commit = std::pin::pin!(store.commit(starts(mine, 1, 0..64)));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(Future::poll(commit.as_mut(), &mut context).is_pending());
    }
    store.close().await.unwrap();
    let (store, _) = subject.open().await;
    assert_eq!(subject.counts().await.log_rows, 64);
    subject.close(store).await;
}

#[test]
fn every_migration_can_be_made() {
    let migrations = rusqlite_migration::Migrations::from_slice(crate::sqlite::schema::MIGRATIONS);
    migrations.validate().unwrap();
}
