//! What the driver reads to go on, after each kind of batch.

use baton_driver::{ColdRow, IN_DOUBT_ROWS, Recovered, Store, WorkItemRow};
use baton_engine::Status;
use baton_messages::SagaId;

use super::Subject;
use super::samples::{
    at, attempt_ref, batch, dead_letter, definition, kind, later, manifest, owed_event, row, saga,
    saga_row, snapshot, starts, unsent, work_item,
};

/// Nothing is there, and that can be read.
pub async fn a_fresh_store_is_empty(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    assert_eq!(store.recover(mine.id).await.unwrap(), Recovered::default());
    assert!(store.definitions().await.unwrap().is_empty());
    assert!(store.manifests().await.unwrap().is_empty());
    assert_eq!(
        store.cold_due(mine.id, at(0), 10).await.unwrap(),
        (Vec::new(), None)
    );
    subject.close(store).await;
}

/// A saga that never started is not in the answer, and does not keep others out of it.
pub async fn an_unknown_saga_is_missing(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    store.commit(starts(mine, 1, 0..1)).await.unwrap();
    let found = store.load(vec![saga(7), saga(0), saga(8)]).await.unwrap();
    assert_eq!(
        found.iter().map(|loaded| loaded.saga).collect::<Vec<_>>(),
        [saga(0)]
    );
    subject.close(store).await;
}

/// Commands past the watermark may not have left: their rows come back, ascending.
pub async fn in_doubt_is_what_lies_past_the_watermark(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    store.commit(starts(mine, 1, 0..4)).await.unwrap();
    let mut next = batch(mine, 3);
    next.rows = vec![row(5, saga(2), 2, later(1, 2))];
    store.commit(next.clone()).await.unwrap();
    let found = store.recover(mine.id).await.unwrap();
    assert_eq!((found.watermark, found.log_seq), (3, 5));
    assert_eq!(
        found.in_doubt,
        [starts(mine, 1, 0..4).rows[3].clone(), next.rows[0].clone()]
    );
    store.commit(batch(mine, 5)).await.unwrap();
    assert!(store.recover(mine.id).await.unwrap().in_doubt.is_empty());
    subject.close(store).await;
}

/// Ended sagas and evicted ones are not hot; an evicted one keeps its wake through changes of its row.
pub async fn hot_is_what_has_not_ended_and_is_in_memory(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    store.commit(starts(mine, 1, 0..6)).await.unwrap();
    let mut next = batch(mine, 6);
    next.sagas = vec![
        saga_row(0, Status::Completed),
        saga_row(1, Status::Compensated),
        saga_row(2, Status::Abandoned),
        saga_row(3, Status::Parked),
    ];
    next.cold = vec![
        ColdRow {
            saga: saga(3),
            cold: true,
            wake_at: None,
        },
        ColdRow {
            saga: saga(4),
            cold: true,
            wake_at: Some(at(500)),
        },
    ];
    store.commit(next).await.unwrap();
    let found = store.recover(mine.id).await.unwrap();
    assert_eq!((found.hot, found.cold_wake), (vec![saga(5)], Some(at(500))));
    assert!(store.load(vec![saga(4)]).await.unwrap()[0].cold);

    let mut moved = batch(mine, 6);
    moved.sagas = vec![saga_row(4, Status::Compensating)];
    store.commit(moved).await.unwrap();
    let found = store.recover(mine.id).await.unwrap();
    assert_eq!((found.hot, found.cold_wake), (vec![saga(5)], Some(at(500))));

    let mut back = batch(mine, 6);
    back.cold = vec![
        ColdRow {
            saga: saga(3),
            cold: false,
            wake_at: None,
        },
        ColdRow {
            saga: saga(4),
            cold: false,
            wake_at: Some(at(1)),
        },
    ];
    back.sagas = vec![saga_row(2, Status::Parked)];
    store.commit(back).await.unwrap();
    let found = store.recover(mine.id).await.unwrap();
    assert_eq!(
        (sorted(found.hot), found.cold_wake),
        (sorted(vec![saga(2), saga(3), saga(4), saga(5)]), None)
    );
    subject.close(store).await;
}

/// Added twice it is there once, since when it first was; removed twice it is gone.
pub async fn unsent_comes_and_goes_once(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let mut add = batch(mine, 0);
    add.unsent_add = vec![unsent(1, 1, 30), unsent(1, 2, 10), unsent(2, 1, 20)];
    store.commit(add).await.unwrap();
    let mut again = batch(mine, 0);
    again.unsent_add = vec![unsent(1, 1, 99)];
    again.unsent_remove = vec![attempt_ref(7, 7)];
    store.commit(again).await.unwrap();
    let oldest_first = [unsent(1, 2, 10), unsent(2, 1, 20), unsent(1, 1, 30)];
    assert_eq!(store.recover(mine.id).await.unwrap().unsent, oldest_first);
    for _ in 0..2 {
        let mut remove = batch(mine, 0);
        remove.unsent_remove = vec![attempt_ref(1, 2), attempt_ref(1, 1)];
        store.commit(remove).await.unwrap();
    }
    assert_eq!(
        store.recover(mine.id).await.unwrap().unsent,
        [unsent(2, 1, 20)]
    );
    assert_eq!(subject.counts().await.unsent, 1);
    subject.close(store).await;
}

/// What is owed is found by its lane, longest first, page by page; added twice it is there once, as it first was; what is both removed and added stays.
pub async fn what_is_owed_comes_by_lanes_and_goes_once(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let rows: Vec<_> = (1..=6)
        .map(|n| owed_event(n, 100 - u64::from(n) * 10))
        .collect();
    let mut add = batch(mine, 0);
    add.owed_add.clone_from(&rows);
    store.commit(add).await.unwrap();
    let mut again = batch(mine, 0);
    again.owed_add = vec![owed_event(1, 999), rows[1].clone()];
    again.owed_remove = vec![rows[1].id, owed_event(9, 0).id];
    store.commit(again).await.unwrap();
    let found = store.recover(mine.id).await.unwrap();
    let (even, odd) = (rows[1].lane.clone(), rows[0].lane.clone());
    assert_eq!(found.owed_lanes, [even.clone(), odd.clone()]);
    assert_eq!((found.owed, subject.counts().await.owed), (6, 6));
    let first = store.owed(mine.id, odd.clone(), None, 2).await.unwrap();
    assert_eq!(first, [rows[4].clone(), rows[2].clone()]);
    let last = first.last().map(|row| (row.since, row.id));
    let rest = store.owed(mine.id, odd, last, 2).await.unwrap();
    assert_eq!(rest, [rows[0].clone()], "as it first was");
    let nowhere = store.owed(mine.id, "event/c".to_owned(), None, 9).await;
    assert!(nowhere.unwrap().is_empty());
    for _ in 0..2 {
        let mut remove = batch(mine, 0);
        remove.owed_remove = rows.iter().step_by(2).map(|row| row.id).collect();
        store.commit(remove).await.unwrap();
    }
    let found = store.recover(mine.id).await.unwrap();
    assert_eq!((found.owed_lanes, found.owed), (vec![even], 3));
    subject.close(store).await;
}

/// However much is in doubt, it is read a page at a time.
pub async fn a_log_in_doubt_comes_page_by_page(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let all = starts(mine, 1, 0..700);
    store.commit(all.clone()).await.unwrap();
    store.commit(batch(mine, 10)).await.unwrap();
    let found = store.recover(mine.id).await.unwrap();
    assert_eq!(found.in_doubt, all.rows[10..10 + IN_DOUBT_ROWS]);
    let mut more = found.in_doubt_more;
    assert_eq!(more, Some(522));
    let mut rest = Vec::new();
    while let Some(after) = more {
        let page = store.in_doubt(mine.id, after, 89).await.unwrap();
        assert!(page.rows.len() <= 89);
        rest.extend(page.rows);
        more = page.more;
    }
    assert_eq!(rest, all.rows[522..]);
    subject.close(store).await;
}

/// A saga whose records do not hang together is said to be unreadable, and its neighbours are unharmed; a snapshot covers what stands before it.
pub async fn a_saga_with_a_gap_is_unreadable(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    store.commit(starts(mine, 1, 0..3)).await.unwrap();
    let mut behind = batch(mine, 0);
    behind.rows = vec![
        row(4, saga(0), 2, later(1, 2)),
        // of the first two nothing more is missing than what a snapshot covers
        row(5, saga(1), 4, later(1, 2)),
        row(6, saga(2), 4, later(1, 2)),
    ];
    behind.snapshots = vec![snapshot(1, 4, "covers")];
    store.commit(behind).await.unwrap();
    let found = store.load((0..3).map(saga).collect()).await.unwrap();
    let broken: Vec<bool> = found.iter().map(|one| one.unreadable.is_some()).collect();
    assert_eq!(broken, [false, false, true]);
    let why = found[2].unreadable.clone().unwrap();
    assert!(why.contains("after the first 2 come"), "{why}");
    subject.close(store).await;
}

/// Held once too often is looked at again; forgotten is lost.
pub async fn unsent_removed_and_added_stays(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let mut add = batch(mine, 0);
    add.unsent_add = vec![unsent(1, 1, 30)];
    add.unserved_add = vec![(kind("a.b@1"), saga(1))];
    store.commit(add.clone()).await.unwrap();
    add.unsent_remove = vec![attempt_ref(1, 1)];
    add.unserved_remove = vec![(kind("a.b@1"), saga(1))];
    store.commit(add).await.unwrap();
    let found = store.recover(mine.id).await.unwrap();
    assert_eq!((found.unsent.len(), found.unserved.len()), (1, 1));
    subject.close(store).await;
}

/// Soonest first, no more than asked for, and when to come again.
pub async fn cold_due_comes_soonest_first(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let mut all = starts(mine, 1, 0..6);
    let wakes = [Some(50), Some(10), None, Some(30), Some(70), Some(30)];
    all.cold = wakes
        .into_iter()
        .zip(0..)
        .map(|(wake, n)| ColdRow {
            saga: saga(n),
            cold: true,
            wake_at: wake.map(at),
        })
        .collect();
    store.commit(all).await.unwrap();
    let mut pair = vec![saga(3), saga(5)];
    pair.sort_unstable();
    let soonest = [vec![saga(1)], pair, vec![saga(0)]].concat();
    assert_eq!(
        store.cold_due(mine.id, at(50), 10).await.unwrap(),
        (soonest.clone(), Some(at(70)))
    );
    assert_eq!(
        store.cold_due(mine.id, at(50), 2).await.unwrap(),
        (soonest[..2].to_vec(), Some(at(30)))
    );
    assert_eq!(
        store.cold_due(mine.id, at(9), 10).await.unwrap(),
        (Vec::new(), Some(at(10)))
    );
    assert_eq!(store.cold_due(mine.id, at(70), 5).await.unwrap().1, None);
    subject.close(store).await;
}

/// Page by page, by id, until there are no more; what no longer waits is gone.
pub async fn unserved_comes_in_pages(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let (vlan, other) = (kind("switch.set-vlan@1"), kind("switch.set-vlan@2"));
    let mut all = batch(mine, 0);
    all.unserved_add = (0..7).map(|n| (vlan.clone(), saga(n))).collect();
    all.unserved_add
        .extend([(vlan.clone(), saga(3)), (other.clone(), saga(9))]);
    store.commit(all).await.unwrap();
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = store
            .unserved(mine.id, vlan.clone(), after, 3)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 3);
        after = Some(*last);
        pages.extend(page);
    }
    assert_eq!(pages, sorted((0..7).map(saga).collect()));
    assert_eq!(
        store.recover(mine.id).await.unwrap().unserved,
        [vlan.clone(), other.clone()]
    );
    let mut gone = batch(mine, 0);
    gone.unserved_remove = (0..7).map(|n| (vlan.clone(), saga(n))).collect();
    store.commit(gone).await.unwrap();
    assert_eq!(store.recover(mine.id).await.unwrap().unserved, [other]);
    subject.close(store).await;
}

/// The first content of a name and version stays; the same again is no harm.
pub async fn definitions_never_change(subject: &mut impl Subject) {
    let (mut store, _) = subject.open().await;
    let (first, second) = (
        definition("move-port", 1, "saga: a\n"),
        definition("move-port", 2, "saga: b\n"),
    );
    assert!(store.put_definition(second.clone()).await.unwrap());
    assert!(store.put_definition(first.clone()).await.unwrap());
    let mut again = first.clone();
    again.by = "somebody else".to_owned();
    assert!(store.put_definition(again).await.unwrap());
    assert!(
        !store
            .put_definition(definition("move-port", 1, "saga: other\n"))
            .await
            .unwrap()
    );
    subject.close(store).await;
    let (mut store, _) = subject.open().await;
    assert_eq!(store.definitions().await.unwrap(), [first, second]);
    subject.close(store).await;
}

/// The catalogue has what was announced last.
pub async fn manifests_are_replaced(subject: &mut impl Subject) {
    let (mut store, _) = subject.open().await;
    for (name, summary) in [
        ("net.resolve@1", "old"),
        ("check.ping@1", "ping"),
        ("net.resolve@1", "new"),
    ] {
        store
            .put_manifest(manifest(name, summary), at(1))
            .await
            .unwrap();
    }
    let found = store.manifests().await.unwrap();
    assert_eq!(
        found,
        [
            manifest("check.ping@1", "ping"),
            manifest("net.resolve@1", "new")
        ]
    );
    subject.close(store).await;
}

/// Taken in twice it is one row, the first.
pub async fn a_dead_letter_twice_is_one_row(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    for _ in 0..2 {
        let mut all = batch(mine, 0);
        all.dead_letters = vec![dead_letter(1), dead_letter(2), dead_letter(1)];
        store.commit(all).await.unwrap();
    }
    assert_eq!(subject.counts().await.dead_letters, 2);
    subject.close(store).await;
}

/// A work item is opened once and closed once.
pub async fn work_items_open_and_close(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let mut all = starts(mine, 1, 0..2);
    all.work_items = (1..4)
        .map(|n| WorkItemRow::Open {
            saga: saga(0),
            item: Box::new(work_item(n)),
        })
        .collect();
    store.commit(all).await.unwrap();
    for number in [2, 2, 9] {
        let mut close = batch(mine, 0);
        close.work_items = vec![WorkItemRow::Close {
            saga: saga(0),
            number,
            by: "ann".to_owned(),
            at: at(9),
        }];
        store.commit(close).await.unwrap();
    }
    assert_eq!(subject.counts().await.work_items_open, 2);
    let mut twice = batch(mine, 0);
    twice.work_items = vec![WorkItemRow::Open {
        saga: saga(0),
        item: Box::new(work_item(1)),
    }];
    let refused = store.commit(twice).await;
    assert!(
        matches!(refused, Err(baton_driver::CommitError::Data { .. })),
        "{refused:?}"
    );
    subject.close(store).await;
}

fn sorted(mut sagas: Vec<SagaId>) -> Vec<SagaId> {
    sagas.sort_unstable();
    sagas
}
