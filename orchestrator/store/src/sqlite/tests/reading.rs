//! What only a file has to show of reading: another process sees it too, and nothing is asked of a store that is closed.

use baton_driver::{ColdRow, Store};
use baton_engine::Status;
use baton_messages::Timestamp;
use uuid::Uuid;

use super::TempStore;
use crate::suite::Subject;
use crate::suite::samples::{batch, definition, saga, saga_row, starts};
use crate::{Reader as _, SqliteOptions, SqliteReader, Suspects as _};

#[tokio::test]
async fn figures_and_definitions_are_seen_from_another_process_too() {
    let mut subject = TempStore::new();
    let (mut store, mine) = subject.open().await;
    store.commit(starts(mine, 1, 0..40)).await.unwrap();
    let mut next = batch(mine, 40);
    next.sagas = vec![saga_row(3, Status::Completed)];
    next.cold = vec![ColdRow {
        saga: saga(1),
        cold: true,
        wake_at: None,
    }];
    store.commit(next).await.unwrap();
    store
        .put_definition(definition("move-port", 1, "saga: a\n"))
        .await
        .unwrap();
    let reader = SqliteReader::open(subject.path(), &SqliteOptions::default()).unwrap();
    let counts = reader.counts().await.unwrap();
    assert_eq!(
        counts.sagas.into_iter().collect::<Vec<_>>(),
        [(Status::Running, 39), (Status::Completed, 1)]
    );
    assert_eq!((counts.log_rows, counts.unsent), (40, 0));
    assert!(counts.db_bytes > 4_096);
    assert_eq!(
        reader.definitions().await.unwrap(),
        [definition("move-port", 1, "saga: a\n")]
    );
    subject.close(store).await;
}

#[tokio::test]
async fn a_closed_store_takes_no_notes() {
    let mut subject = TempStore::new();
    let (store, _) = subject.open().await;
    let notes = store.suspects();
    subject.close(store).await;
    let refused = notes.begin(Uuid::from_u128(1), 7, Timestamp(1)).await;
    assert!(refused.is_err());
}
