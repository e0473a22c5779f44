//! Two orchestrators on one database: one owns the partition, the other is refused, or waits out a dead one's lease; and whoever lost it writes
//! nothing more, however late its words arrive.

use std::time::Duration;

use baton_driver::{CommitError, Store};

use super::FreshDatabase;
use crate::postgres::columns::int;
use crate::postgres::{PostgresError, PostgresOptions, PostgresStore};
use crate::suite::Subject;
use crate::suite::samples::{batch, starts};

/// What any of this may take, on a machine that is building something on every core meanwhile.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_second_orchestrator_is_refused_while_the_first_lives() {
    let mut subject = FreshDatabase::new().await;
    let first = PostgresOptions {
        owner: Some("the first".to_owned()),
        ..subject.options()
    };
    let mut store = PostgresStore::open(&first).await.unwrap();
    let mine = store.partition();
    let refused = PostgresStore::open(&subject.options())
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(&refused, PostgresError::Owned { partition: 0, owner, .. } if owner == "the first"),
        "{refused:?}"
    );
    store
        .commit(starts(mine, 1, 0..3))
        .await
        .expect("it still owns it");
    subject.close(store).await;
    let (store, next) = subject.open().await;
    assert_eq!(next.epoch, mine.epoch + 1, "given up, it is had at once");
    subject.close(store).await;
}

#[tokio::test]
async fn a_dead_owner_is_waited_out_and_fenced_when_it_was_not_dead_after_all() {
    let mut subject = FreshDatabase::new().await;
    let first = PostgresOptions {
        owner: Some("the first".to_owned()),
        ..subject.options()
    };
    let mut stopped = PostgresStore::open(&first).await.unwrap();
    let before = stopped.partition();
    stopped.commit(starts(before, 1, 0..3)).await.unwrap();
    // as if its process were stopped: its lease is renewed no more
    stopped.renewal.stop();
    let begun = std::time::Instant::now();
    let (mut store, mine) = subject.open().await;
    assert_eq!(mine.epoch, before.epoch + 1);
    assert!(begun.elapsed() < SOON);
    let refused = stopped.commit(starts(before, 4, 3..6)).await;
    assert!(
        matches!(refused, Err(CommitError::Fenced { epoch, .. }) if epoch == before.epoch),
        "{refused:?}"
    );
    assert_eq!(store.recover(mine.id).await.unwrap().log_seq, 3);
    store
        .commit(starts(mine, 4, 3..6))
        .await
        .expect("the owner writes");
    // a new connection of the old owner is refused as well
    stopped.session.end();
    let refused = stopped.commit(starts(before, 7, 6..9)).await;
    assert!(
        matches!(refused, Err(CommitError::Fenced { .. })),
        "{refused:?}"
    );
    assert!(stopped.recover(mine.id).await.is_err());
    subject.close(store).await;
}

#[tokio::test]
async fn an_owner_that_comes_back_under_its_name_does_not_wait_for_itself() {
    let mut subject = FreshDatabase::new().await;
    let named = PostgresOptions {
        owner: Some("the first".to_owned()),
        lease_ms: 300_000,
        ..subject.options()
    };
    let mut died = PostgresStore::open(&named).await.unwrap();
    let before = died.partition();
    died.renewal.stop();
    let store = tokio::time::timeout(SOON, PostgresStore::open(&named));
    let store = store.await.expect("it does not wait").unwrap();
    let refused = died.commit(starts(before, 1, 0..1)).await;
    assert!(
        matches!(refused, Err(CommitError::Fenced { .. })),
        "{refused:?}"
    );
    subject.close(store).await;
}

#[tokio::test]
async fn an_owner_hears_of_its_loss() {
    let mut subject = FreshDatabase::new().await;
    let (store, _) = subject.open().await;
    let mut ownership = store.ownership();
    let client = subject.database.client().await;
    let taken = "UPDATE partitions SET epoch = epoch + 1, owner = 'somebody else'";
    client.batch_execute(taken).await.unwrap();
    let why = tokio::time::timeout(SOON, ownership.lost()).await.unwrap();
    assert!(why.contains("another orchestrator"), "{why}");
    let again = tokio::time::timeout(SOON, store.ownership().lost()).await;
    assert_eq!(again.unwrap(), why, "whoever asks later hears it too");
}

#[tokio::test]
async fn what_an_old_connection_still_has_under_way_is_refused() {
    let mut subject = FreshDatabase::new().await;
    let (mut store, mine) = subject.open().await;
    store.commit(starts(mine, 1, 0..1)).await.unwrap();
    let old = store.session.open().await.unwrap().writer;
    store.session.end();
    assert_eq!(store.recover(mine.id).await.unwrap().log_seq, 1);
    // the server comes to it only now
    let late = |writer: u64| {
        let nothing = vec!["NULL"; 20].join(", ");
        let (epoch, writer) = (int(mine.epoch), int(writer));
        format!("SELECT commit_batch_12(0::smallint, {epoch}, {writer}, 1, 3000, {nothing})")
    };
    let client = subject.database.client().await;
    let refused = client.batch_execute(&late(old)).await.unwrap_err();
    assert_eq!(
        refused.code().map(tokio_postgres::error::SqlState::code),
        Some("BT001"),
        "{refused:?}"
    );
    client
        .batch_execute(&late(old + 1))
        .await
        .expect("the same by the connection there is");
    store.commit(batch(mine, 1)).await.unwrap();
    subject.close(store).await;
}
