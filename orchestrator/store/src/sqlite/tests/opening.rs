//! Whose file it is, and whether it is one of ours.

use rusqlite::Connection;

use super::TempStore;
use crate::sqlite::schema::version_known;
use crate::suite::Subject;
use crate::suite::audit::asked;
use crate::suite::samples::starts;
use crate::{
    AuditLog as _, ExportError, OpenError, Reader as _, SqliteAudit, SqliteOptions, SqliteReader,
    SqliteStore,
};
use baton_driver::Store;
use baton_messages::AuditCheck;

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

/// Driven as well from the file, the sagas of the database would be done twice.
#[tokio::test]
async fn a_file_that_was_moved_is_driven_by_nobody_and_read_by_all() {
    let (mut subject, folder) = (TempStore::new(), tempfile::tempdir().unwrap());
    let options = SqliteOptions::default;
    let (mut store, mine) = subject.open().await;
    store.commit(starts(mine, 1, 0..3)).await.unwrap();
    store.begin_mark("db.example.com/sagas").await.unwrap();
    subject.close(store).await;
    let refused = SqliteStore::open(subject.path(), options()).unwrap_err();
    let said = refused.to_string();
    assert!(matches!(refused, OpenError::Moving { .. }), "{said}");
    assert!(said.contains("db.example.com/sagas"), "{said}");

    // nothing came of it
    let store = SqliteStore::open_to_move(subject.path(), options()).unwrap();
    store.mark_as(None).await.unwrap();
    subject.close(store).await;
    let (store, _) = subject.open().await;
    store.begin_mark("db.example.com/others").await.unwrap();
    store.end_mark().await.unwrap();
    subject.close(store).await;
    let before = std::fs::read(subject.path()).unwrap();
    for refused in [
        SqliteStore::open(subject.path(), options()).unwrap_err(),
        SqliteStore::open_to_move(subject.path(), options()).unwrap_err(),
    ] {
        let said = refused.to_string();
        assert!(
            matches!(&refused, OpenError::Moved { place, .. } if place == "db.example.com/others"),
            "{said}"
        );
    }
    assert_eq!(std::fs::read(subject.path()).unwrap(), before);

    let reader = SqliteReader::open(subject.path(), &options()).unwrap();
    assert_eq!(reader.counts().await.unwrap().log_rows, 3);
    let copy = folder.path().join("copy.db");
    reader.export(&copy).await.unwrap();
    let refused = SqliteStore::open(&copy, options()).unwrap_err();
    assert!(matches!(refused, OpenError::Moved { .. }), "{refused}");
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

#[tokio::test]
async fn a_copy_is_whole_and_of_one_moment_while_the_owner_goes_on() {
    let (mut subject, folder) = (TempStore::new(), tempfile::tempdir().unwrap());
    let (mut store, mine) = subject.open().await;
    store.commit(starts(mine, 1, 0..300)).await.unwrap();
    let into = folder.path().join("copy.db");
    let reader = store.reader();
    let (copied, ()) = tokio::join!(reader.export(&into), async {
        for n in 0..20 {
            let (seq, first) = (301 + u64::from(n) * 10, 300 + n * 10);
            store
                .commit(starts(mine, seq, first..first + 10))
                .await
                .unwrap();
        }
    });
    copied.unwrap();
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&into).unwrap());
    assert_eq!(mode & 0o077, 0, "nobody else reads it: {mode:o}");
    let before = std::fs::read(&into).unwrap();
    let refused = reader.export(&into).await.unwrap_err();
    assert!(matches!(refused, ExportError::Exists { .. }), "{refused:?}");
    assert_eq!(std::fs::read(&into).unwrap(), before);
    let nowhere = reader.export(&folder.path().join("no/copy.db")).await;
    assert!(
        matches!(nowhere, Err(ExportError::File { .. })),
        "{nowhere:?}"
    );

    let mut copy = SqliteStore::open(&into, SqliteOptions::default()).unwrap();
    assert_eq!(copy.integrity().await.unwrap(), Vec::<String>::new());
    let again = copy.partition();
    assert!(again.epoch > mine.epoch, "the copy goes on counting");
    let log_seq = copy.recover(again.id).await.unwrap().log_seq;
    assert!(
        log_seq >= 300 && log_seq.is_multiple_of(10),
        "a batch in part: {log_seq}"
    );
    copy.close().await.unwrap();
    subject.close(store).await;
}

/// Who only copies a file writes into its log beside its owner: one chain, whoever of them adds.
#[tokio::test]
async fn rows_added_beside_an_owner_stand_in_his_chain() {
    let mut subject = TempStore::new();
    let options = SqliteOptions::default();
    assert_eq!(
        SqliteReader::version_of(subject.path(), &options).unwrap(),
        0
    );
    let refused = SqliteAudit::append_beside(&subject.path(), &options, Vec::new());
    assert!(refused.is_err(), "nothing is made there");
    let (store, _) = subject.open().await;
    let version = SqliteReader::version_of(subject.path(), &options).unwrap();
    assert_eq!(version, SqliteReader::version_known());
    let log = store.audit();
    for n in 0..10 {
        let entry = |who: &str| vec![asked(who, "exportStore", "store", n)];
        let ours = log.append(entry("owner")).await.unwrap();
        let beside = SqliteAudit::append_beside(&subject.path(), &options, entry("beside"));
        assert_eq!(beside.unwrap()[0].seq, ours[0].seq + 1);
    }
    let mut check = AuditCheck::default();
    for row in log.rows(0, 99).await.unwrap() {
        check.row(row).unwrap();
    }
    assert_eq!(check.rows(), 20);
    subject.close(store).await;
}
