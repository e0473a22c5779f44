//! A row of the log that cannot be decoded: its saga is named as unreadable, everybody else is read, and the partition goes on.

use baton_driver::Store;

use super::FreshDatabase;
use crate::reader::Reader as _;
use crate::suite::samples::{at, manifest, saga, starts};
use crate::suite::{Subject, unreadable};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_cannot_be_decoded_stops_its_saga_alone() {
    let mut subject = FreshDatabase::new().await;
    let (mut store, mine) = subject.open().await;
    store.commit(starts(mine, 1, 0..3)).await.unwrap();
    let by_hand = subject.database.client().await;
    let spoil = "UPDATE records SET entry = '{\"from\":\"a newer version\"}' WHERE saga = (SELECT number FROM sagas WHERE id = $1)";
    let changed = by_hand.execute(spoil, &[&saga(1).0]).await.unwrap();
    assert_eq!(changed, 1);
    let loaded = store.load((0..4).map(saga).collect()).await.unwrap();
    let known: Vec<_> = loaded.iter().map(|one| one.saga).collect();
    assert_eq!(
        known,
        [saga(0), saga(1), saga(2)],
        "the fourth never started"
    );
    for one in &loaded {
        assert_eq!(one.unreadable.is_some(), one.saga == saga(1), "{one:?}");
    }
    let found = store.recover(mine.id).await.unwrap();
    let doubted: Vec<_> = found.in_doubt.iter().map(|row| row.saga).collect();
    assert_eq!(doubted, [saga(0), saga(2)], "nothing of it is sent again");
    let end = subject.reader(&store).last_entries(9).await.unwrap();
    let read: Vec<_> = end.entries.iter().map(|(saga, _)| *saga).collect();
    assert_eq!(read, [saga(0), saga(2)], "it hides no other");
    assert_eq!(Vec::from_iter(end.unreadable), [saga(1)], "and is named");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_row_that_cannot_be_read_hides_no_other_of_its_list() {
    let mut subject = FreshDatabase::new().await;
    let store = unreadable::filled(&mut subject).await;
    let before = unreadable::lists(&subject, &store).await;
    let by_hand = subject.database.client().await;
    for sql in unreadable::SPOIL {
        assert_eq!(by_hand.execute(sql, &[]).await.unwrap(), 1, "{sql}");
    }
    let after = unreadable::lists(&subject, &store).await;
    unreadable::only_the_middle_one_is_missing(&before, &after);
    store.close().await.unwrap();
}

/// Else nothing would be driven any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_cannot_be_read_hides_no_other() {
    let mut subject = FreshDatabase::new().await;
    let (mut store, _) = subject.open().await;
    let (a, b) = (manifest("a.b@1", "one"), manifest("a.c@1", "other"));
    for one in [&a, &b] {
        store.put_manifest(one.clone(), at(1)).await.unwrap();
    }
    let by_hand = subject.database.client().await;
    let spoil = "UPDATE task_types SET manifest = 'no {JSON' WHERE task_type = 'a.b@1'";
    assert_eq!(by_hand.execute(spoil, &[]).await.unwrap(), 1);
    assert_eq!(store.manifests().await.unwrap(), std::slice::from_ref(&b));
    store.put_manifest(a.clone(), at(2)).await.unwrap();
    assert_eq!(
        store.manifests().await.unwrap(),
        [a, b],
        "it is announced again"
    );
    store.close().await.unwrap();
}
