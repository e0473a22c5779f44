//! One row that cannot be read hides no other of its list, and is named in its place. Rows are spoiled by hand: no store writes such ones.

use baton_driver::{Store, StoreError, WorkItemRow};
use baton_engine::WorkItemKind;

use super::Subject;
use super::letters::operation;
use super::reader::{arrival, event};
use super::samples::{at, batch, dead_letter, saga, starts, work_item};
use crate::alerts::Alerts;
use crate::items::ItemFilter;
use crate::letters::Letters;
use crate::read::{DeadLetterFilter, Page, SagaFilter};
use crate::reader::Reader;
use crate::triggers::Triggers;

/// What spoils the second of three rows of each list: JSON that is none, and a word nobody knows.
pub const SPOIL: [&str; 6] = [
    "UPDATE sagas SET labels = 'no {JSON' WHERE id = (SELECT id FROM sagas ORDER BY id LIMIT 1 OFFSET 1)",
    "UPDATE work_items SET item = 'no {JSON' WHERE saga = (SELECT id FROM sagas ORDER BY id LIMIT 1 OFFSET 1)",
    "UPDATE dead_letters SET state = 'in-limbo' WHERE id = (SELECT id FROM dead_letters ORDER BY id LIMIT 1 OFFSET 1)",
    "UPDATE dead_operations SET body = 'no {JSON' WHERE id = (SELECT id FROM dead_operations ORDER BY id LIMIT 1 OFFSET 1)",
    "UPDATE events SET body = 'no {JSON' WHERE seq = (SELECT seq FROM events ORDER BY seq LIMIT 1 OFFSET 1)",
    "UPDATE alerts SET body = 'no {JSON' WHERE id = (SELECT id FROM alerts ORDER BY id LIMIT 1 OFFSET 1)",
];

/// Rows of a page: a spoiled one ends the first of two.
const ROWS: usize = 2;

/// Names of the rows of a list that were read, and of those that could not be.
type Seen = (Vec<String>, Vec<String>);

/// Three rows of each list.
pub async fn filled<S: Subject>(subject: &mut S) -> S::Store {
    let (mut store, mine) = subject.open().await;
    store.commit(starts(mine, 1, 0..3)).await.unwrap();
    let mut more = batch(mine, 3);
    more.work_items = (0..3)
        .map(|n| WorkItemRow::Open {
            saga: saga(n),
            item: Box::new(work_item(1)),
        })
        .collect();
    more.dead_letters = (0..3).map(dead_letter).collect();
    store.commit(more).await.unwrap();
    let letters = subject.letters(&store);
    for n in 1..=3 {
        letters.begin(operation(n)).await.unwrap();
    }
    let events = ["1", "2", "3"].map(|id| event("/tests", id, "com.example.a"));
    let arrivals = events.map(|event| arrival(event, at(5), Vec::new()));
    let tables = subject.triggers(&store);
    tables.take_in(arrivals.into()).await.unwrap();
    let alerts = (1..=3).map(super::alerts::alert).collect();
    subject.alerts(&store).put(alerts).await.unwrap();
    store
}

/// Every list, page by page.
pub async fn lists<S: Subject>(subject: &S, store: &S::Store) -> Vec<(&'static str, Seen)> {
    let (reader, alerts) = (subject.reader(store), subject.alerts(store));
    let (reader, alerts) = (&reader, &alerts);
    let mut all = of_work(reader).await;
    all.extend(of_letters(reader).await);
    let sagas = walked(async |after| {
        let page = reader.sagas(SagaFilter::default(), after, ROWS).await;
        page.map(|page| named(page, |row| row.saga.to_string()))
    });
    all.push(("sagas", sagas.await));
    let events = walked(async |after| {
        let page = reader.events(None, after, ROWS).await;
        page.map(|page| named(page, |row| row.seq.to_string()))
    });
    all.push(("events", events.await));
    let standing = alerts.standing(9).await.unwrap();
    let ids = standing.rows.iter().map(|row| row.id.to_string());
    all.push(("standing alerts", (ids.collect(), standing.unreadable)));
    let alerts = walked(async |after| {
        let page = alerts.page(None, after, ROWS).await;
        page.map(|page| named(page, |row| row.id.to_string()))
    });
    all.push(("alerts", alerts.await));
    all
}

async fn of_work(reader: &impl Reader) -> Vec<(&'static str, Seen)> {
    let kind = Some(WorkItemKind::UndoFailed);
    let of_nobody = ItemFilter {
        whose: Some(String::new()),
        kind,
        ..ItemFilter::default()
    };
    let open = walked(async |after| {
        let page = reader.work_items(true, kind, after, ROWS).await;
        page.map(|page| named(page, item_name))
    });
    let every = walked(async |after| {
        let page = reader.work_items(false, None, after, ROWS).await;
        page.map(|page| named(page, item_name))
    });
    let nobodys = walked(async |after| {
        let page = reader.work_items_of(of_nobody.clone(), after, ROWS).await;
        page.map(|page| named(page, item_name))
    });
    vec![
        ("open work items", open.await),
        ("work items", every.await),
        ("work items of nobody", nobodys.await),
    ]
}

async fn of_letters(reader: &impl Reader) -> Vec<(&'static str, Seen)> {
    let any = DeadLetterFilter::default;
    let whole = walked(async |after| {
        let page = reader.dead_letters(any(), after, ROWS).await;
        page.map(|page| named(page, letter_name))
    });
    let heads = walked(async |after| {
        let page = reader.dead_letter_heads(any(), after, ROWS).await;
        page.map(|page| named(page, letter_name))
    });
    let replays = walked(async |after| {
        let page = reader.dead_operations(after, ROWS).await;
        page.map(|page| named(page, |row| row.id.to_string()))
    });
    vec![
        ("dead letters", whole.await),
        ("heads of dead letters", heads.await),
        ("replays", replays.await),
    ]
}

/// Of each list the middle one is named, the others are there.
pub fn only_the_middle_one_is_missing(before: &[(&str, Seen)], after: &[(&str, Seen)]) {
    for ((list, (all, none)), (_, (read, unread))) in before.iter().zip(after) {
        assert_eq!((all.len(), none.len()), (3, 0), "{list}");
        assert_eq!(unread[..], all[1..2], "{list}");
        assert_eq!(read[..], [all[0].clone(), all[2].clone()], "{list}");
    }
}

fn item_name(view: &crate::read::WorkItemView) -> String {
    format!("{}/{}", view.saga, view.item.number)
}

fn letter_name(row: &crate::letters::LetterRow) -> String {
    row.letter.id.to_string()
}

fn named<T, C>(page: Page<T, C>, name: impl Fn(&T) -> String) -> Page<String, C> {
    Page {
        rows: page.rows.iter().map(name).collect(),
        next: page.next,
        unreadable: page.unreadable,
    }
}

async fn walked<C>(page: impl AsyncFn(Option<C>) -> Result<Page<String, C>, StoreError>) -> Seen {
    let (mut read, mut unread, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let found = page(after).await.unwrap();
        assert!(found.rows.len() + found.unreadable.len() <= ROWS);
        read.extend(found.rows);
        unread.extend(found.unreadable);
        after = found.next;
        if after.is_none() {
            return (read, unread);
        }
    }
}
