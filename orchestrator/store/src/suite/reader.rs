//! What a reader answers: filters, steady pages, logs, figures.

use std::collections::BTreeMap;

use baton_driver::{ColdRow, DeadLetterRow, SagaRow, Store, WorkItemRow};
use baton_engine::{Status, WorkItemKind};
use baton_messages::{DeadReason, Event, TaskType, Timestamp};
use serde_json::json;
use uuid::Uuid;

use super::Subject;
use super::samples::{
    at, batch, dead_letter, definition, later, row, saga, saga_row, snapshot, started, starts,
    work_item,
};
use crate::Partition;
use crate::read::{DeadLetterFilter, LogEnd, SagaFilter, UNSERVED_COUNTED_MAX, WorkItemView};
use crate::reader::Reader;
use crate::tokens::{HASH_BYTES, TokenRow, TokenStore};
use crate::triggers::{Arrival, Claim, Effect, Planned, ScheduleRow, TriggerRef, Triggers};

/// Forty sagas, some of them moved on.
async fn with_sagas<S: Subject>(subject: &mut S) -> (S::Store, Partition, Vec<SagaRow>) {
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
    (store, mine, rows)
}

/// All pages of a filter, a few rows each.
async fn pages(reader: &impl Reader, filter: &SagaFilter) -> Vec<SagaRow> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = reader.sagas(filter.clone(), after, 3).await.unwrap();
        assert!(page.rows.len() <= 3);
        all.extend(page.rows);
        let Some(next) = page.next else { return all };
        after = Some(next);
    }
}

/// Every filter there can be.
fn filters() -> Vec<SagaFilter> {
    let statuses = [
        None,
        Some(Status::Running),
        Some(Status::Completed),
        Some(Status::Parked),
        Some(Status::Abandoned),
    ];
    let labels = [
        None,
        Some(("host", "host-2")),
        Some(("site", "berlin")),
        Some(("site", "host-2")),
    ];
    let ranges = [
        (None, None),
        (Some(at(3)), None),
        (Some(at(3)), Some(at(9))),
    ];
    let mut all = Vec::new();
    for status in statuses {
        for definition in [None, Some("move-port"), Some("nothing")] {
            for label in labels {
                for (started_from, started_until) in ranges {
                    all.push(SagaFilter {
                        status,
                        definition: definition.map(str::to_owned),
                        label: label.map(|(name, value)| (name.to_owned(), value.to_owned())),
                        started_from,
                        started_until,
                    });
                }
            }
        }
    }
    all
}

fn fits(filter: &SagaFilter, row: &SagaRow) -> bool {
    let label = |(name, value): &(String, String)| row.labels.get(name) == Some(value);
    filter.status.is_none_or(|status| row.status == status)
        && filter
            .definition
            .as_ref()
            .is_none_or(|name| row.definition == *name)
        && filter.label.as_ref().is_none_or(label)
        && filter
            .started_from
            .is_none_or(|from| row.started_at >= from)
        && filter
            .started_until
            .is_none_or(|until| row.started_at <= until)
}

/// Whatever is asked for comes whole, newest first, in pages.
pub async fn every_filter_gives_its_sagas_newest_first(subject: &mut impl Subject) {
    let (store, _, rows) = with_sagas(subject).await;
    let reader = subject.reader(&store);
    for filter in filters() {
        let expected: Vec<SagaRow> = rows
            .iter()
            .filter(|row| fits(&filter, row))
            .cloned()
            .collect();
        assert_eq!(pages(&reader, &filter).await, expected, "{filter:?}");
    }
    subject.close(store).await;
}

/// Rows that come meanwhile neither shift nor repeat others.
pub async fn pages_are_steady_while_sagas_start(subject: &mut impl Subject) {
    let (mut store, mine, rows) = with_sagas(subject).await;
    let reader = subject.reader(&store);
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

/// Row and log of one saga, and nothing of the others.
pub async fn a_saga_comes_with_its_whole_log(subject: &mut impl Subject) {
    let (mut store, mine, _) = with_sagas(subject).await;
    let mut next = batch(mine, 40);
    next.rows = vec![
        row(41, saga(1), 2, later(1, 2)),
        row(42, saga(2), 2, later(2, 2)),
    ];
    store.commit(next).await.unwrap();
    let reader = subject.reader(&store);
    let (row, log) = reader.saga(saga(1)).await.unwrap().unwrap();
    assert_eq!(row, saga_row(1, Status::Running));
    assert_eq!(log, [(2, started(1)), (41, later(1, 2))]);
    assert_eq!(reader.saga(saga(99)).await.unwrap(), None);
    assert_eq!(reader.saga_row(saga(1)).await.unwrap(), Some(row));
    assert_eq!(reader.saga_row(saga(99)).await.unwrap(), None);
    subject.close(store).await;
}

/// From its last snapshot on, with its first entry, as the driver would.
pub async fn one_saga_is_read_as_it_folds(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let mut all = starts(mine, 1, 0..2);
    all.rows.push(row(3, saga(0), 2, later(1, 3)));
    all.rows.push(row(4, saga(0), 5, later(2, 2)));
    all.snapshots = vec![snapshot(0, 5, "kept")];
    store.commit(all).await.unwrap();
    let reader = subject.reader(&store);
    for n in 0..2 {
        let (first, loaded) = reader.folding(saga(n)).await.unwrap().unwrap();
        assert_eq!(first, started(n));
        assert_eq!([loaded], store.load(vec![saga(n)]).await.unwrap()[..]);
    }
    assert_eq!(reader.folding(saga(9)).await.unwrap(), None);
    subject.close(store).await;
}

/// In the order of type and saga, no more than asked for; the counts are of all, up to a bound.
pub async fn who_waits_for_a_worker_is_counted(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let mut all = starts(mine, 1, 0..3);
    let named = |name: &str| TaskType::new(name).unwrap();
    let waiting = [
        ("b.type@1", 1),
        ("b.type@1", 0),
        ("a.two@1", 2),
        ("a.one@1", 2),
    ];
    all.unserved_add = waiting.map(|(name, n)| (named(name), saga(n))).to_vec();
    store.commit(all).await.unwrap();
    let reader = subject.reader(&store);
    let told = reader.unserved(3).await.unwrap();
    let counts = [("a.one@1", 1), ("a.two@1", 1), ("b.type@1", 2)];
    assert_eq!(
        told.by_type,
        counts.map(|(name, count)| (named(name), count))
    );
    let mut sorted: Vec<_> = waiting.map(|(name, n)| (named(name), saga(n))).to_vec();
    sorted.sort();
    sorted.truncate(3);
    assert_eq!(told.first, sorted);
    // a look does not take longer the more of them there are
    let mut many = batch(mine, 3);
    let beyond = u32::try_from(UNSERVED_COUNTED_MAX).unwrap() + 1;
    let all = (0..beyond).map(|n| (named("c.type@1"), saga(10 + n)));
    many.unserved_add = all.collect();
    store.commit(many).await.unwrap();
    let told = reader.unserved(3).await.unwrap();
    let last = (named("c.type@1"), UNSERVED_COUNTED_MAX);
    assert_eq!(told.by_type.last(), Some(&last));
    assert_eq!(told.first, sorted);
    subject.close(store).await;
}

/// From the entry that holds the next record on, no more than asked for.
pub async fn records_come_from_any_place_on(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let mut all = starts(mine, 1, 0..2);
    let entries = [
        (0, started(0)),
        (2, later(1, 3)),
        (5, later(2, 2)),
        (7, later(3, 1)),
    ];
    for ((seq, entry), log_seq) in entries[1..].iter().cloned().zip(3..) {
        all.rows.push(row(log_seq, saga(0), seq, entry));
    }
    store.commit(all).await.unwrap();
    let reader = subject.reader(&store);
    for after in 0..10 {
        for limit in [1, 2, 9] {
            let expected: Vec<_> = entries
                .iter()
                .filter(|(seq, entry)| seq + entry.records.len() as u64 > after)
                .take(limit)
                .cloned()
                .collect();
            let mut found = reader.entries(saga(0), after, limit).await.unwrap();
            // one that ends just there may have been counted and left out
            assert!(
                found.len() >= expected.len().min(limit - 1),
                "{after} {limit}"
            );
            found.truncate(expected.len());
            assert_eq!(found, expected[..found.len()], "{after} {limit}");
        }
    }
    assert_eq!(reader.entries(saga(9), 0, 5).await.unwrap(), []);
    subject.close(store).await;
}

/// The last of everybody, oldest first.
pub async fn the_end_of_the_log_comes_oldest_first(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let reader = subject.reader(&store);
    assert_eq!(reader.last_entries(3).await.unwrap(), LogEnd::default());
    store.commit(starts(mine, 1, 0..6)).await.unwrap();
    let last: Vec<_> = (3..6).map(|n| (saga(n), started(n))).collect();
    let found = reader.last_entries(3).await.unwrap();
    assert_eq!((found.entries, found.unreadable.len()), (last, 0));
    assert_eq!(reader.last_entries(99).await.unwrap().entries.len(), 6);
    subject.close(store).await;
}

/// Oldest item first, newest letter first, in pages; by kind, and with their ends.
pub async fn work_items_and_dead_letters_come_in_pages(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let mut all = starts(mine, 1, 0..2);
    let open = |of, number| WorkItemRow::Open {
        saga: saga(of),
        item: Box::new(work_item(number)),
    };
    let mut approval = work_item(4);
    approval.kind = WorkItemKind::Approval;
    all.work_items = vec![open(0, 1), open(1, 1), open(0, 2), open(0, 3)];
    all.work_items.push(WorkItemRow::Close {
        saga: saga(0),
        number: 2,
        by: "ann".to_owned(),
        at: at(99),
    });
    all.work_items.push(WorkItemRow::Open {
        saga: saga(0),
        item: Box::new(approval),
    });
    all.dead_letters = (0..5).map(dead_letter).collect();
    store.commit(all).await.unwrap();

    let reader = subject.reader(&store);
    let first = reader.work_items(true, None, None, 2).await.unwrap();
    let second = reader.work_items(true, None, first.next, 2).await.unwrap();
    let numbers =
        |rows: &[WorkItemView]| rows.iter().map(|view| view.item.number).collect::<Vec<_>>();
    assert_eq!(
        (numbers(&first.rows), numbers(&second.rows), second.next),
        (vec![1, 1], vec![3, 4], None)
    );
    let every = reader.work_items(false, None, None, 9).await.unwrap().rows;
    assert_eq!(every[2].closed, Some((at(99), "ann".to_owned())));
    assert_eq!(every.len(), 5);
    for (open_only, kind, expected) in [
        (true, WorkItemKind::Approval, vec![4]),
        (true, WorkItemKind::UndoFailed, vec![1, 1, 3]),
        (false, WorkItemKind::UndoFailed, vec![1, 1, 2, 3]),
    ] {
        let found = reader
            .work_items(open_only, Some(kind), None, 9)
            .await
            .unwrap();
        assert_eq!(numbers(&found.rows), expected, "{kind:?}");
    }

    let first = reader
        .dead_letters(DeadLetterFilter::default(), None, 3)
        .await
        .unwrap();
    // what comes while somebody turns pages is before the first, and moves none
    let mut new = batch(mine, 2);
    new.dead_letters = (5..9).map(dead_letter).collect();
    store.commit(new).await.unwrap();
    let second = reader
        .dead_letters(DeadLetterFilter::default(), first.next, 3)
        .await
        .unwrap();
    assert_eq!(second.next, None);
    let letters = first.rows.into_iter().chain(second.rows);
    let letters: Vec<_> = letters.map(|row| row.letter).collect();
    assert_eq!(letters, (0..5).rev().map(dead_letter).collect::<Vec<_>>());
    subject.close(store).await;
}

/// Each filter of dead letters, alone and with others.
pub async fn dead_letters_are_filtered(subject: &mut impl Subject) {
    let (mut store, mine, _) = with_sagas(subject).await;
    let mut all = batch(mine, 40);
    let mut letters: Vec<DeadLetterRow> = (0..6).map(dead_letter).collect();
    letters[0].reason = DeadReason::TooLarge;
    letters[1].queue = "orders".to_owned();
    letters[2].kind = Some("task@1".to_owned());
    letters[3].error = "it is 100% \\odd_".to_owned();
    letters[4].body = b"\xffhost-7\x00".to_vec();
    all.dead_letters = letters.clone();
    store.commit(all).await.unwrap();
    let reader = subject.reader(&store);
    let none = DeadLetterFilter::default;
    let text = |text: &str| DeadLetterFilter {
        text: Some(text.to_owned()),
        ..none()
    };
    let cases: [(DeadLetterFilter, &[u32]); 14] = [
        (none(), &[5, 4, 3, 2, 1, 0]),
        (
            DeadLetterFilter {
                label: Some(("host".to_owned(), "host-2".to_owned())),
                ..none()
            },
            &[2],
        ),
        (
            DeadLetterFilter {
                definition: Some("move-port".to_owned()),
                ..none()
            },
            &[4, 2, 0],
        ),
        (
            DeadLetterFilter {
                reason: Some(DeadReason::TooLarge),
                ..none()
            },
            &[0],
        ),
        (
            DeadLetterFilter {
                queue: Some("orders".to_owned()),
                ..none()
            },
            &[1],
        ),
        (
            DeadLetterFilter {
                kind: Some("task@1".to_owned()),
                ..none()
            },
            &[2],
        ),
        (
            DeadLetterFilter {
                saga: Some(saga(4)),
                ..none()
            },
            &[4],
        ),
        (
            DeadLetterFilter {
                from: Some(at(2)),
                until: Some(at(3)),
                ..none()
            },
            &[3, 2],
        ),
        (text("0% \\odd_"), &[3]),
        (text("host-7"), &[4]),
        (text("nowhere"), &[]),
        (text("expected"), &[5, 4, 2, 1, 0]),
        (
            DeadLetterFilter {
                until: Some(at(1)),
                ..text("expected")
            },
            &[1, 0],
        ),
        (
            DeadLetterFilter {
                queue: Some("orders".to_owned()),
                saga: Some(saga(4)),
                ..none()
            },
            &[],
        ),
    ];
    for (filter, expected) in cases {
        let page = reader.dead_letters(filter.clone(), None, 9).await.unwrap();
        let expected: Vec<_> = expected
            .iter()
            .map(|n| letters[*n as usize].clone())
            .collect();
        let found: Vec<_> = page.rows.into_iter().map(|row| row.letter).collect();
        assert_eq!(found, expected, "{filter:?}");
        // the other way, and a page at a time
        let turned = DeadLetterFilter {
            oldest_first: true,
            ..filter
        };
        let (mut after, mut found) = (None, Vec::new());
        loop {
            let page = reader.dead_letter_heads(turned.clone(), after, 2).await;
            let page = page.unwrap();
            found.extend(page.rows.into_iter().map(|row| row.letter));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        found.reverse();
        assert_eq!(found, expected, "{turned:?}");
        let count = reader.dead_letters_count(turned.clone()).await.unwrap();
        assert_eq!(count, expected.len() as u64, "{turned:?}");
    }
    for letter in &letters {
        let found = reader.dead_letters_between(letter.id, letter.id).await;
        assert_eq!(found.unwrap()[0].letter, *letter);
    }
    let (first, last) = (letters[0].id, letters[4].id);
    let found = reader.dead_letters_between(first, last).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|row| row.letter).collect();
    assert_eq!(found, letters[..2], "two say that there are several");
    let found = reader.dead_letters_between(Uuid::nil(), Uuid::nil()).await;
    assert_eq!(found.unwrap(), []);
    drop(reader);
    subject.close(store).await;
}

/// Figures and definitions, as they are after each commit.
pub async fn figures_follow_what_is_there(subject: &mut impl Subject) {
    let (mut store, mine, _) = with_sagas(subject).await;
    let mut next = batch(mine, 40);
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
    let reader = subject.reader(&store);
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
    let kept = definition("move-port", 1, "saga: a\n");
    assert_eq!(
        reader.definitions().await.unwrap(),
        std::slice::from_ref(&kept)
    );
    let name = || "move-port".to_owned();
    assert_eq!(reader.definition(name(), 1).await.unwrap(), Some(kept));
    assert_eq!(reader.definition(name(), 2).await.unwrap(), None);
    subject.close(store).await;
}

pub(super) fn event(source: &str, id: &str, kind: &str) -> Event {
    serde_json::from_value(
        json!({ "specversion": "1.0", "id": id, "source": source, "type": kind }),
    )
    .unwrap()
}

pub(super) fn arrival(event: Event, at: Timestamp, planned: Vec<Planned>) -> Arrival {
    Arrival {
        event,
        at,
        planned,
        awaited: false,
        again: Vec::new(),
    }
}

/// Events newest first, of one type or all; one by its names; schedules.
pub async fn events_and_schedules_are_shown(subject: &mut impl Subject) {
    let (store, _) = subject.open().await;
    let (tables, reader) = (subject.triggers(&store), subject.reader(&store));
    let all = (0..6_u64)
        .map(|n| {
            let kind = if n % 2 == 0 { "com.even" } else { "com.odd" };
            arrival(event("/here", &n.to_string(), kind), at(n / 3), Vec::new())
        })
        .collect();
    let rows = tables.take_in(all).await.unwrap();
    let ids = |rows: &[crate::EventRow]| {
        let ids = rows.iter().map(|row| row.event.id.clone());
        ids.collect::<Vec<_>>()
    };
    let first = reader.events(None, None, 4).await.unwrap();
    let second = reader.events(None, first.next, 4).await.unwrap();
    assert_eq!(ids(&first.rows), ["5", "4", "3", "2"]);
    assert_eq!(
        (ids(&second.rows), second.next),
        (vec!["1".to_owned(), "0".to_owned()], None)
    );
    let odd = reader
        .events(Some("com.odd".to_owned()), None, 2)
        .await
        .unwrap();
    let more = reader
        .events(Some("com.odd".to_owned()), odd.next, 2)
        .await
        .unwrap();
    assert_eq!(
        (ids(&odd.rows), ids(&more.rows)),
        (vec!["5".to_owned(), "3".to_owned()], vec!["1".to_owned()])
    );
    let one = reader
        .event("/here".to_owned(), "3".to_owned())
        .await
        .unwrap();
    assert_eq!(one.as_ref(), rows.get(3));
    assert_eq!(
        reader
            .event("/there".to_owned(), "3".to_owned())
            .await
            .unwrap(),
        None
    );
    let schedule = ScheduleRow {
        definition: "d".to_owned(),
        trigger: 3,
        name: "0 2 * * * UTC".to_owned(),
        after: at(7),
        last_at: Some(at(6)),
        last_saga: Some(saga(1)),
        paused: true,
        skipped: 1,
        skipped_at: Some(at(8)),
        skipped_why: Some("it ran".to_owned()),
    };
    tables.put_schedule(schedule.clone()).await.unwrap();
    assert_eq!(reader.schedules().await.unwrap(), [schedule]);
    subject.close(store).await;
}

/// A row is what the driver says it is, also what should never change in the life of a saga.
pub async fn a_row_whose_constants_change_is_found_by_the_new_ones(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    store.commit(starts(mine, 1, 1..4)).await.unwrap();
    let mut other = saga_row(1, Status::Running);
    other.definition = "another".to_owned();
    other.started_at = at(77);
    other.labels = BTreeMap::from([
        ("host".to_owned(), "elsewhere".to_owned()),
        ("site".to_owned(), "berlin".to_owned()),
    ]);
    let mut next = batch(mine, 3);
    next.sagas = vec![saga_row(1, Status::Parked), other.clone()];
    store.commit(next).await.unwrap();
    let reader = subject.reader(&store);
    let by_label = |name: &str, value: &str| SagaFilter {
        label: Some((name.to_owned(), value.to_owned())),
        ..SagaFilter::default()
    };
    assert_eq!(pages(&reader, &by_label("host", "host-1")).await, []);
    assert_eq!(
        pages(&reader, &by_label("host", "elsewhere")).await,
        [other.clone()]
    );
    let berlin = pages(&reader, &by_label("site", "berlin")).await;
    assert_eq!(
        (berlin.len(), &berlin[0]),
        (3, &other),
        "once, and the newest"
    );
    let by_definition = SagaFilter {
        definition: Some("another".to_owned()),
        ..SagaFilter::default()
    };
    assert_eq!(pages(&reader, &by_definition).await, [other]);
    subject.close(store).await;
}

/// Text is anybody's: control characters, the end of a C string, quotes, very long names. It comes back as it was, and is found by.
pub async fn text_of_any_kind_comes_back_as_it_was(subject: &mut impl Subject) {
    let odd = "a\u{0}b\u{1}c'\"\\{},\u{1f980}\n".to_owned();
    let long = "x\u{0}".repeat(900);
    let (mut store, mine) = subject.open().await;
    let mut all = starts(mine, 1, 1..2);
    all.sagas[0].labels = BTreeMap::from([(odd.clone(), long.clone())]);
    all.sagas[0].by.clone_from(&odd);
    let mut item = work_item(1);
    (item.owner, item.title) = (odd.clone(), odd.clone());
    all.work_items = vec![
        WorkItemRow::Open {
            saga: saga(1),
            item: Box::new(item),
        },
        WorkItemRow::Close {
            saga: saga(1),
            number: 1,
            by: odd.clone(),
            at: at(3),
        },
    ];
    let mut letter = dead_letter(2);
    letter.error.clone_from(&odd);
    letter.queue.clone_from(&odd);
    letter.key.clone_from(&long);
    letter.message_id = Some(odd.clone());
    letter.kind = Some(odd.clone());
    letter.properties = json!({ "headers": { odd.clone(): odd.clone() } });
    all.dead_letters = vec![letter.clone()];
    store.commit(all.clone()).await.unwrap();
    let mut source = definition("odd", 1, &odd);
    source.by.clone_from(&odd);
    assert!(store.put_definition(source.clone()).await.unwrap());

    let reader = subject.reader(&store);
    let filter = SagaFilter {
        label: Some((odd.clone(), long.clone())),
        ..SagaFilter::default()
    };
    assert_eq!(pages(&reader, &filter).await, all.sagas);
    let items = reader.work_items(false, None, None, 9).await.unwrap().rows;
    assert_eq!(
        (&items[0].item.owner, &items[0].closed),
        (&odd, &Some((at(3), odd.clone())))
    );
    assert_eq!(
        reader
            .dead_letters(DeadLetterFilter::default(), None, 9)
            .await
            .unwrap()
            .rows[0]
            .letter,
        letter
    );
    assert_eq!(reader.definitions().await.unwrap(), [source]);

    let claimed = long.clone();
    let key = Claim {
        key: long.clone(),
        until: at(9),
    };
    let of = TriggerRef {
        definition: "odd".to_owned(),
        version: 1,
        trigger: 0,
    };
    let start = |of_saga| Planned::Start {
        of: of.clone(),
        saga: of_saga,
        key: Some(key.clone()),
    };
    let tables = subject.triggers(&store);
    // what stands in the names of an event is no control character; it may be long all the same
    let (long, odd) = ("\u{1f980}".repeat(512), "a'\"\\{},".to_owned());
    let taken = tables
        .take_in(vec![
            arrival(event(&long, &odd, &long), at(1), vec![start(saga(7))]),
            arrival(event(&long, &long, &odd), at(2), vec![start(saga(8))]),
            arrival(event(&long, &odd, "again"), at(3), Vec::new()),
        ])
        .await
        .unwrap();
    assert_eq!(taken[0], taken[2], "the same event");
    assert!(
        matches!(&taken[1].effects[0], Effect::Joined { saga: holder, key, .. } if *holder == saga(7) && *key == claimed)
    );
    assert_eq!(
        reader
            .event(long.clone(), odd.clone())
            .await
            .unwrap()
            .as_ref(),
        Some(&taken[0])
    );
    let token = TokenRow {
        name: odd.clone(),
        role: "viewer".to_owned(),
        hash: [7; HASH_BYTES],
        made_at: at(1),
        made_by: odd.clone(),
        expires_at: None,
    };
    let tokens = subject.tokens(&store);
    assert!(tokens.put_token(token.clone()).await.unwrap());
    assert_eq!(tokens.tokens().await.unwrap(), [token]);
    subject.close(store).await;
}
