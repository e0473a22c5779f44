//! Taking the records of ended sagas out: what stays of them, what is never touched, and that every figure follows.

use baton_driver::{Batch, ColdRow, CommitError, Store, SubscriptionChange, WorkItemRow};
use baton_engine::Status;
use baton_messages::StepId;

use super::Subject;
use super::samples::{at, batch, later, purge, row, saga, saga_row, snapshot, starts, work_item};
use crate::Partition;
use crate::read::{Counts, EndedCursor, SagaFilter};
use crate::reader::Reader;

/// Six sagas started, the first four ended, all of it published: seven rows, two of the first saga.
fn ended(mine: Partition) -> [Batch; 2] {
    let mut next = batch(mine, 7);
    next.rows = vec![row(7, saga(0), 2, later(1, 2))];
    next.sagas = vec![
        saga_row(0, Status::Completed),
        saga_row(1, Status::Compensated),
        saga_row(2, Status::Abandoned),
        saga_row(3, Status::Completed),
    ];
    next.snapshots = vec![snapshot(0, 2, "kept")];
    [starts(mine, 1, 0..6), next]
}

async fn filled<S: Subject>(subject: &mut S) -> (S::Store, Partition) {
    let (mut store, mine) = subject.open().await;
    for batch in ended(mine) {
        store.commit(batch).await.unwrap();
    }
    (store, mine)
}

/// The records of these sagas are to be taken out, whatever they are.
fn purging(mine: Partition, watermark: u64, sagas: &[u32]) -> Batch {
    let mut all = batch(mine, watermark);
    all.purged = sagas.iter().map(|n| purge(*n, 100)).collect();
    all
}

/// What is there of a saga, as everybody sees it.
async fn there<S: Subject>(subject: &S, store: &mut S::Store, n: u32) -> (usize, bool) {
    let loaded = store.load(vec![saga(n)]).await.unwrap();
    let log = subject.reader(store).saga(saga(n)).await.unwrap().unwrap();
    assert_eq!(log.0.purged.is_some(), loaded[0].base.purged_at.is_some());
    (log.1.len(), log.0.purged.is_some())
}

/// The row stays, and says how it ended and where its records lie; everything else of it is gone, and nothing of any other.
pub async fn a_purged_saga_leaves_its_row(subject: &mut impl Subject) {
    let (mut store, mine) = filled(subject).await;
    let before = subject.counts().await;
    let step = StepId::new("waits").unwrap();
    let mut all = batch(mine, 7);
    all.work_items = vec![
        WorkItemRow::Open {
            saga: saga(0),
            item: Box::new(work_item(1)),
        },
        WorkItemRow::Close {
            saga: saga(0),
            number: 1,
            by: "ann".to_owned(),
            at: at(9),
        },
    ];
    all.subscriptions = vec![SubscriptionChange::Remove(saga(0), step)];
    all.cold = vec![ColdRow {
        saga: saga(0),
        cold: true,
        wake_at: Some(at(3)),
    }];
    store.commit(all).await.unwrap();
    store.commit(purging(mine, 7, &[0])).await.unwrap();
    subject.close(store).await;

    let (mut store, mine) = subject.open().await;
    let reader = subject.reader(&store);
    let (row, log) = reader.saga(saga(0)).await.unwrap().unwrap();
    let mut left = saga_row(0, Status::Completed);
    left.labels.clear();
    left.purged = Some(purge(0, 100).purged);
    assert_eq!((row, log.len()), (left.clone(), 0));
    let (first, folds) = reader.folding(saga(0)).await.unwrap().unwrap();
    let loaded = store.load(vec![saga(0), saga(1)]).await.unwrap();
    assert_eq!(loaded[0].base, left.tombstone().unwrap());
    assert_eq!(
        (
            loaded[0].entries.len(),
            loaded[0].cold,
            &loaded[0].unreadable
        ),
        (0, false, &None)
    );
    assert_eq!((first.records.len(), &folds), (0, &loaded[0]));
    assert_eq!(loaded[1].entries.len(), 1, "its neighbour is whole");
    assert!(reader.entries(saga(0), 0, 10).await.unwrap().is_empty());
    let listed = reader
        .sagas(SagaFilter::default(), None, 100)
        .await
        .unwrap();
    assert_eq!(listed.rows.len(), 5, "it is in no list");
    let label = Some(("host".to_owned(), "host-0".to_owned()));
    let labelled = SagaFilter {
        label,
        ..SagaFilter::default()
    };
    let listed = reader.sagas(labelled, None, 100).await.unwrap();
    assert!(listed.rows.iter().all(|row| row.saga != saga(0)));
    let items = reader.work_items(false, None, None, 100).await.unwrap();
    assert!(items.rows.is_empty(), "{items:?}");
    let due = store.cold_due(mine.id, at(1_000), 10).await.unwrap();
    assert_eq!(due, (Vec::new(), None));
    let counts = subject.counts().await;
    assert_eq!(counts.purged, 1);
    assert_eq!(counts.log_rows, before.log_rows - 2);
    assert_eq!(counts.sagas[&Status::Completed], 1);
    subject.close(store).await;
}

/// Who has not ended, or not for long enough; who asks somebody; whose records are not all elsewhere, or not all published: it stays whole.
pub async fn what_is_not_at_rest_is_never_touched(subject: &mut impl Subject) {
    let (mut store, mine) = filled(subject).await;
    let mut asks = batch(mine, 7);
    asks.work_items = vec![WorkItemRow::Open {
        saga: saga(1),
        item: Box::new(work_item(1)),
    }];
    asks.sagas = vec![saga_row(5, Status::Parked)];
    asks.rows = vec![row(8, saga(3), 2, later(1, 1))];
    store.commit(asks).await.unwrap();
    let before = subject.counts().await;

    // running, parked, an open work item, a record past the watermark
    store.commit(purging(mine, 7, &[4, 5, 1, 3])).await.unwrap();
    // a record that came after it was archived
    let mut late = batch(mine, 8);
    late.purged = vec![purge(3, 7), purge(0, 6)];
    store.commit(late).await.unwrap();
    // too young, by a moment
    let mut young = batch(mine, 8);
    let mut one = purge(0, 100);
    one.ended_before = at(5_000);
    young.purged = vec![one, purge(77, 100)];
    store.commit(young).await.unwrap();
    for n in 0..6 {
        let records = if n == 0 || n == 3 { 2 } else { 1 };
        assert_eq!(there(subject, &mut store, n).await, (records, false), "{n}");
    }
    assert_eq!(figures(subject.counts().await), figures(before));

    store.commit(purging(mine, 8, &[0, 1, 3])).await.unwrap();
    assert_eq!(there(subject, &mut store, 0).await, (0, true));
    assert_eq!(there(subject, &mut store, 1).await, (1, false));
    assert_eq!(there(subject, &mut store, 3).await, (0, true));
    subject.close(store).await;
}

/// Whoever had the partition before takes nothing out.
pub async fn another_epoch_purges_nothing(subject: &mut impl Subject) {
    let (store, before) = filled(subject).await;
    subject.close(store).await;
    let (mut store, _) = subject.open().await;
    let refused = store.commit(purging(before, 7, &[0])).await;
    assert!(
        matches!(refused, Err(CommitError::Fenced { .. })),
        "{refused:?}"
    );
    assert_eq!(there(subject, &mut store, 0).await, (2, false));
    subject.close(store).await;
}

/// The places of rows that were taken out are never given again, not even those at the end of the log.
pub async fn the_log_goes_on_behind_what_was_purged(subject: &mut impl Subject) {
    let (mut store, mine) = filled(subject).await;
    store.commit(purging(mine, 7, &[0, 1, 2, 3])).await.unwrap();
    subject.close(store).await;
    let (mut store, mine) = subject.open().await;
    let found = store.recover(mine.id).await.unwrap();
    assert_eq!((found.watermark, found.log_seq), (7, 7));
    assert!(found.in_doubt.is_empty());
    assert_eq!(found.hot.len(), 2);
    store.commit(starts(mine, 8, 8..9)).await.unwrap();
    assert_eq!(store.recover(mine.id).await.unwrap().log_seq, 8);
    // once more what is gone already: it is as it was
    let mut again = purging(mine, 8, &[0]);
    again.purged[0].purged.at = at(99_000);
    store.commit(again).await.unwrap();
    let row = subject.reader(&store).saga_row(saga(0)).await.unwrap();
    assert_eq!(row.unwrap().purged, Some(purge(0, 100).purged));
    assert_eq!(subject.counts().await.purged, 4);
    subject.close(store).await;
}

/// Those that may go come oldest first, a page at a time; nobody else does.
pub async fn ended_sagas_come_oldest_first(subject: &mut impl Subject) {
    let (mut store, mine) = filled(subject).await;
    let mut older = batch(mine, 7);
    let mut first = saga_row(3, Status::Completed);
    first.ended_at = Some(at(4_000));
    older.sagas = vec![first];
    older.work_items = vec![WorkItemRow::Open {
        saga: saga(1),
        item: Box::new(work_item(1)),
    }];
    older.rows = vec![row(8, saga(2), 2, later(1, 1))];
    store.commit(older).await.unwrap();
    let reader = subject.reader(&store);
    let ended = async |before, after, limit| {
        let found = reader.ended(mine.id, at(before), after, limit).await;
        found.unwrap()
    };
    let of = |n, ms| EndedCursor {
        ended_at: at(ms),
        saga: saga(n),
    };
    // one asks somebody, two has a row past the watermark
    let all = [of(3, 4_000), of(0, 5_000)];
    assert_eq!(ended(5_001, None, 10).await, all);
    assert_eq!(ended(5_001, None, 1).await, all[..1]);
    assert_eq!(ended(5_001, Some(all[0]), 10).await, all[1..]);
    assert_eq!(ended(5_000, None, 10).await, all[..1]);
    assert!(ended(5_001, Some(all[1]), 10).await.is_empty());
    assert_eq!(reader.sizes().await.unwrap().oldest_ended, Some(at(4_000)));
    store.commit(purging(mine, 7, &[3])).await.unwrap();
    assert_eq!(ended(5_001, None, 10).await, all[1..]);
    assert_eq!(reader.sizes().await.unwrap().oldest_ended, Some(at(5_000)));
    subject.close(store).await;
}

fn figures(mut counts: Counts) -> Counts {
    counts.db_bytes = 0;
    counts
}
