//! What a commit has to be: whole, fenced, refused for the right reason, seen only when it is done.

use baton_driver::{CommitError, Store, WorkItemRow};
use baton_engine::Status;
use baton_engine::state::SNAPSHOT_VERSION;

use super::Subject;
use super::samples::{
    at, attempt_ref, batch, dead_letter, kind, later, owed_event, row, saga, saga_row, snapshot,
    started, starts, unsent, work_item,
};
use crate::read::Counts;

/// Everything in a batch is there after it, and after the store was opened again.
pub async fn a_batch_is_whole(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let mut all = starts(mine, 1, 0..3);
    all.unsent_add.push(unsent(0, 1, 5));
    all.owed_add.push(owed_event(1, 5));
    all.unserved_add.push((kind("switch.set-vlan@1"), saga(1)));
    all.work_items.push(WorkItemRow::Open {
        saga: saga(2),
        item: Box::new(work_item(1)),
    });
    all.dead_letters.push(dead_letter(1));
    all.snapshots.push(snapshot(1, 2, "whole"));
    store
        .commit(all.clone())
        .await
        .expect("a batch of each kind of row");
    subject.close(store).await;

    let (mut store, mine) = subject.open().await;
    let found = store.recover(mine.id).await.unwrap();
    assert_eq!(found.in_doubt, all.rows);
    assert_eq!(found.unsent, all.unsent_add);
    assert_eq!(
        (found.owed_lanes, found.owed),
        (vec![owed_event(1, 5).lane], 1)
    );
    assert_eq!(found.unserved, [kind("switch.set-vlan@1")]);
    assert_eq!(found.hot.len(), 3);
    let counts = subject.counts().await;
    assert_eq!(
        (
            counts.log_rows,
            counts.unsent,
            counts.work_items_open,
            counts.dead_letters
        ),
        (3, 1, 1, 1)
    );
    assert_eq!(
        store.load(vec![saga(1)]).await.unwrap()[0].base,
        all.snapshots[0].state
    );
    subject.close(store).await;
}

/// What is read back is what was written, to the last float and control character, in the order of the fold.
pub async fn a_replayed_saga_is_the_same(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    store.commit(starts(mine, 1, 0..2)).await.unwrap();
    let mut next = batch(mine, 0);
    next.rows = vec![
        row(3, saga(0), 2, later(1, 3)),
        row(4, saga(1), 2, later(2, 1)),
        row(5, saga(0), 5, later(3, 2)),
    ];
    store.commit(next).await.unwrap();
    let found = store.load(vec![saga(0), saga(1)]).await.unwrap();
    assert_eq!(found[0].entries, [started(0), later(1, 3), later(3, 2)]);
    assert_eq!(found[1].entries, [started(1), later(2, 1)]);
    assert_eq!(
        (found[0].saga, found[0].cold, found[0].base.seq),
        (saga(0), false, 0)
    );
    subject.close(store).await;
}

/// A saga is its last snapshot and the entries after it.
pub async fn a_snapshot_and_what_came_after(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    store.commit(starts(mine, 1, 0..1)).await.unwrap();
    let mut next = batch(mine, 1);
    next.rows = vec![
        row(2, saga(0), 2, later(1, 3)),
        row(3, saga(0), 5, later(2, 2)),
    ];
    next.snapshots = vec![snapshot(0, 2, "first")];
    store.commit(next).await.unwrap();
    assert_eq!(
        store.load(vec![saga(0)]).await.unwrap()[0].entries,
        [later(1, 3), later(2, 2)]
    );

    let mut last = batch(mine, 1);
    last.snapshots = vec![snapshot(0, 5, "second")];
    store.commit(last).await.unwrap();
    let found = store.load(vec![saga(0)]).await.unwrap();
    assert_eq!(found[0].base, snapshot(0, 5, "second").state);
    assert_eq!(found[0].entries, [later(2, 2)]);
    subject.close(store).await;
}

/// A snapshot another version wrote is not read: all records are.
pub async fn a_snapshot_of_another_version_is_left_aside(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let mut all = starts(mine, 1, 0..1);
    let mut foreign = snapshot(0, 2, "foreign");
    foreign.version = SNAPSHOT_VERSION + 1;
    all.snapshots = vec![foreign];
    store.commit(all).await.unwrap();
    let found = store.load(vec![saga(0)]).await.unwrap();
    assert_eq!((found[0].base.seq, found[0].entries.len()), (0, 1));
    subject.close(store).await;
}

/// Whoever had the partition before writes nothing, whatever is in the batch.
pub async fn another_epoch_is_fenced(subject: &mut impl Subject) {
    let (store, before) = subject.open().await;
    subject.close(store).await;
    let (mut store, mine) = subject.open().await;
    assert_eq!(mine.epoch, before.epoch + 1, "a new owner, a new epoch");
    let refused = store.commit(starts(before, 1, 0..2)).await;
    assert!(
        matches!(refused, Err(CommitError::Fenced { epoch, .. }) if epoch == before.epoch),
        "{refused:?}"
    );
    let mut ahead = mine;
    ahead.epoch += 1;
    assert!(matches!(
        store.commit(starts(ahead, 1, 0..2)).await,
        Err(CommitError::Fenced { .. })
    ));
    let found = store.recover(mine.id).await.unwrap();
    assert_eq!((found.log_seq, found.hot.len(), found.watermark), (0, 0, 0));
    store
        .commit(starts(mine, 1, 0..2))
        .await
        .expect("the owner writes");
    subject.close(store).await;
}

/// The row at fault is the batch's own: nothing of it is written, and another batch is.
pub async fn a_saga_seq_twice_is_a_fault_of_the_data(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    store.commit(starts(mine, 1, 0..2)).await.unwrap();
    let before = (
        store.recover(mine.id).await.unwrap(),
        figures(subject.counts().await),
    );
    let mut twice = batch(mine, 2);
    twice.sagas = vec![saga_row(0, Status::Completed)];
    twice.unsent_add = vec![unsent(1, 1, 5)];
    twice.owed_add = vec![owed_event(1, 5)];
    twice.rows = vec![
        row(3, saga(0), 2, later(1, 1)),
        row(4, saga(1), 0, later(2, 1)),
    ];
    let refused = store.commit(twice).await;
    assert!(
        matches!(refused, Err(CommitError::Data { .. })),
        "{refused:?}"
    );
    assert_eq!(
        (
            store.recover(mine.id).await.unwrap(),
            figures(subject.counts().await)
        ),
        before
    );
    let mut right = batch(mine, 2);
    right.rows = vec![row(3, saga(0), 2, later(1, 1))];
    store
        .commit(right)
        .await
        .expect("a batch without the fault");
    subject.close(store).await;
}

/// The log has one row at each place.
pub async fn a_log_seq_twice_is_a_fault_of_the_data(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    store.commit(starts(mine, 1, 0..2)).await.unwrap();
    let refused = store.commit(starts(mine, 2, 5..6)).await;
    assert!(
        matches!(refused, Err(CommitError::Data { .. })),
        "{refused:?}"
    );
    assert!(store.load(vec![saga(5)]).await.unwrap().is_empty());
    subject.close(store).await;
}

/// A saga's first record comes with the saga's own row.
pub async fn a_record_without_a_saga_is_a_fault_of_the_data(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let mut orphan = batch(mine, 0);
    orphan.rows = vec![row(1, saga(0), 0, started(0))];
    let refused = store.commit(orphan).await;
    assert!(
        matches!(refused, Err(CommitError::Data { .. })),
        "{refused:?}"
    );
    assert_eq!(store.recover(mine.id).await.unwrap().log_seq, 0);
    subject.close(store).await;
}

/// As many rows as the driver ever puts into one.
pub async fn a_full_batch(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let all = starts(mine, 1, 0..512);
    store.commit(all.clone()).await.unwrap();
    let found = store.recover(mine.id).await.unwrap();
    assert_eq!((found.log_seq, found.hot.len()), (512, 512));
    assert_eq!(found.in_doubt, all.rows);
    let loaded = store
        .load(all.rows.iter().map(|row| row.saga).collect())
        .await
        .unwrap();
    assert_eq!(loaded.len(), 512);
    subject.close(store).await;
}

/// An idle driver writes how far it has published.
pub async fn an_empty_batch_moves_the_watermark(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    store.commit(starts(mine, 1, 0..3)).await.unwrap();
    store.commit(batch(mine, 2)).await.unwrap();
    let found = store.recover(mine.id).await.unwrap();
    assert_eq!(
        (found.watermark, found.log_seq, found.in_doubt.len()),
        (2, 3, 1)
    );
    subject.close(store).await;
}

/// A caller that goes away leaves all of its batch or nothing, and a store that goes on.
pub async fn a_dropped_commit_is_whole_or_absent(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let mut log_seq = 0;
    for polls in 0..4 {
        let first = u32::try_from(log_seq).unwrap();
        {
            let mut commit =
                std::pin::pin!(store.commit(starts(mine, log_seq + 1, first..first + 8)));
            for _ in 0..polls {
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                if commit.as_mut().poll(&mut context).is_ready() {
                    break;
                }
            }
        }
        let found = store.recover(mine.id).await.unwrap();
        assert!(
            found.log_seq == log_seq || found.log_seq == log_seq + 8,
            "{} after {log_seq}",
            found.log_seq
        );
        assert_eq!(found.hot.len(), usize::try_from(found.log_seq).unwrap());
        log_seq = found.log_seq;
    }
    subject.close(store).await;
}

/// Somebody beside the driver sees whole batches only.
pub async fn nobody_sees_what_is_not_committed(subject: &mut impl Subject) {
    const BATCH: u64 = 16;
    let (mut store, mine) = subject.open().await;
    for turn in 0..20 {
        let (log_seq, first) = (turn * BATCH + 1, u32::try_from(turn * BATCH).unwrap());
        let mut all = starts(mine, log_seq, first..first + u32::try_from(BATCH).unwrap());
        all.unsent_add = (0..BATCH)
            .map(|n| unsent(first + u32::try_from(n).unwrap(), 1, 1))
            .collect();
        all.unsent_remove = vec![attempt_ref(first, 9)];
        all.cold = vec![baton_driver::ColdRow {
            saga: saga(first),
            cold: true,
            wake_at: Some(at(turn)),
        }];
        let (committed, seen) = {
            let looking = subject.counts();
            join(store.commit(all), looking).await
        };
        committed.unwrap();
        let running = seen.sagas.get(&Status::Running).copied().unwrap_or(0);
        assert_eq!(
            (seen.log_rows % BATCH, seen.unsent, running),
            (0, seen.log_rows, seen.log_rows)
        );
        assert_eq!(subject.counts().await.log_rows, (turn + 1) * BATCH);
    }
    subject.close(store).await;
}

async fn join<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    tokio::join!(a, b)
}

/// The figures without the size of the store: what was refused may have left it larger.
fn figures(mut counts: Counts) -> Counts {
    counts.db_bytes = 0;
    counts
}
