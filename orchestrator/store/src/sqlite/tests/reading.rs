//! What a reader answers: filters, steady pages, logs, figures.

use baton_driver::{ColdRow, SagaRow, Store, WorkItemRow};
use baton_engine::Status;

use super::TempStore;
use crate::suite::Subject;
use crate::suite::samples::{
    at, batch, dead_letter, definition, later, row, saga, saga_row, started, starts, work_item,
};
use crate::{Reader, SagaFilter, SqliteOptions, SqliteStore};

/// Forty sagas, some of them moved on.
async fn with_sagas(subject: &mut TempStore) -> (SqliteStore, Vec<SagaRow>) {
    let (mut store, mine) = subject.open().await;
    store.commit(starts(mine, 1, 0..40)).await.unwrap();
    let mut next = batch(mine, 40);
    next.sagas = (0..40)
        .step_by(3)
        .map(|n| saga_row(n, Status::Completed))
        .chain([saga_row(4, Status::Parked)])
        .collect();
    store.commit(next.clone()).await.unwrap();
    let mut rows: Vec<SagaRow> = (0..40).map(|n| saga_row(n, Status::Running)).collect();
    for moved in next.sagas {
        let place = rows.iter().position(|row| row.saga == moved.saga).unwrap();
        rows[place] = moved;
    }
    rows.sort_by_key(|row| std::cmp::Reverse((row.started_at, row.saga)));
    (store, rows)
}

/// All pages of a filter, a few rows each.
async fn pages(reader: &Reader, filter: &SagaFilter) -> Vec<SagaRow> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = reader.sagas(filter.clone(), after, 3).await.unwrap();
        assert!(page.rows.len() <= 3);
        all.extend(page.rows);
        let Some(next) = page.next else { return all };
        after = Some(next);
    }
}

#[tokio::test]
async fn every_filter_gives_its_sagas_newest_first() {
    let mut subject = TempStore::new();
    let (store, rows) = with_sagas(&mut subject).await;
    let reader = store.reader();
    for status in [
        None,
        Some(Status::Running),
        Some(Status::Completed),
        Some(Status::Parked),
        Some(Status::Abandoned),
    ] {
        for definition in [None, Some("move-port"), Some("nothing")] {
            for label in [
                None,
                Some(("host", "host-2")),
                Some(("site", "berlin")),
                Some(("site", "host-2")),
            ] {
                for (from, until) in [
                    (None, None),
                    (Some(at(3)), None),
                    (Some(at(3)), Some(at(9))),
                ] {
                    let filter = SagaFilter {
                        status,
                        definition: definition.map(str::to_owned),
                        label: label.map(|(name, value)| (name.to_owned(), value.to_owned())),
                        started_from: from,
                        started_until: until,
                    };
                    let wanted = |row: &&SagaRow| {
                        status.is_none_or(|status| row.status == status)
                            && definition.is_none_or(|name| row.definition == name)
                            && label.is_none_or(|(name, value)| {
                                row.labels.get(name).is_some_and(|is| is == value)
                            })
                            && from.is_none_or(|from| row.started_at >= from)
                            && until.is_none_or(|until| row.started_at <= until)
                    };
                    let expected: Vec<SagaRow> = rows.iter().filter(wanted).cloned().collect();
                    assert_eq!(pages(&reader, &filter).await, expected, "{filter:?}");
                }
            }
        }
    }
    subject.close(store).await;
}

#[tokio::test]
async fn pages_are_steady_while_sagas_start() {
    let mut subject = TempStore::new();
    let (mut store, rows) = with_sagas(&mut subject).await;
    let (reader, mine) = (store.reader(), store.partition());
    let first = reader.sagas(SagaFilter::default(), None, 10).await.unwrap();
    let mut newer = starts(mine, 41, 40..60);
    for row in &mut newer.sagas {
        row.started_at = at(1_000);
    }
    store.commit(newer).await.unwrap();
    let second = reader
        .sagas(SagaFilter::default(), first.next, 500)
        .await
        .unwrap();
    let seen: Vec<SagaRow> = first.rows.into_iter().chain(second.rows).collect();
    assert_eq!(seen, rows);
    assert_eq!(second.next, None);
    subject.close(store).await;
}

#[tokio::test]
async fn a_saga_comes_with_its_whole_log() {
    let mut subject = TempStore::new();
    let (mut store, _) = with_sagas(&mut subject).await;
    let mut next = batch(store.partition(), 40);
    next.rows = vec![
        row(41, saga(1), 2, later(1, 2)),
        row(42, saga(2), 2, later(2, 2)),
    ];
    store.commit(next).await.unwrap();
    let reader = store.reader();
    let (row, log) = reader.saga(saga(1)).await.unwrap().unwrap();
    assert_eq!(row, saga_row(1, Status::Running));
    assert_eq!(log, [(2, started(1)), (41, later(1, 2))]);
    assert_eq!(reader.saga(saga(99)).await.unwrap(), None);
    subject.close(store).await;
}

#[tokio::test]
async fn work_items_and_dead_letters_come_in_pages() {
    let mut subject = TempStore::new();
    let (mut store, mine) = subject.open().await;
    let mut all = starts(mine, 1, 0..2);
    let open = |of, number| WorkItemRow::Open {
        saga: saga(of),
        item: Box::new(work_item(number)),
    };
    all.work_items = vec![open(0, 1), open(1, 1), open(0, 2), open(0, 3)];
    all.work_items.push(WorkItemRow::Close {
        saga: saga(0),
        number: 2,
        by: "ann".to_owned(),
        at: at(99),
    });
    all.dead_letters = (0..5).map(dead_letter).collect();
    store.commit(all).await.unwrap();

    let reader = store.reader();
    let first = reader.work_items(true, None, None, 2).await.unwrap();
    let second = reader.work_items(true, None, first.next, 2).await.unwrap();
    let numbers =
        |rows: &[crate::WorkItemView]| rows.iter().map(|view| view.item.number).collect::<Vec<_>>();
    assert_eq!(
        (numbers(&first.rows), numbers(&second.rows), second.next),
        (vec![1, 1], vec![3], None)
    );
    let every = reader.work_items(false, None, None, 9).await.unwrap().rows;
    assert_eq!(every[2].closed, Some((at(99), "ann".to_owned())));
    assert_eq!(every.len(), 4);

    let first = reader.dead_letters(None, 3).await.unwrap();
    let second = reader.dead_letters(first.next, 3).await.unwrap();
    let letters: Vec<_> = first.rows.into_iter().chain(second.rows).collect();
    assert_eq!(letters, (0..5).rev().map(dead_letter).collect::<Vec<_>>());
    subject.close(store).await;
}

#[tokio::test]
async fn figures_and_definitions_are_seen_from_another_process_too() {
    let mut subject = TempStore::new();
    let (mut store, _) = with_sagas(&mut subject).await;
    let mut next = batch(store.partition(), 40);
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
    let reader = Reader::open(subject.path(), &SqliteOptions::default()).unwrap();
    let counts = reader.counts().await.unwrap();
    assert_eq!(
        counts.sagas.into_iter().collect::<Vec<_>>(),
        [
            (Status::Running, 25),
            (Status::Parked, 1),
            (Status::Completed, 14)
        ]
    );
    assert_eq!((counts.log_rows, counts.unsent), (40, 0));
    assert!(counts.db_bytes > 4_096);
    assert_eq!(
        reader.definitions().await.unwrap(),
        [definition("move-port", 1, "saga: a\n")]
    );
    subject.close(store).await;
}
