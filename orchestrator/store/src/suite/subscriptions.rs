//! Steps that wait for events: committed with their saga, found by the type of an event, told again until they were searched.

use std::slice::from_ref;

use baton_driver::{Store, SubscriptionChange, SubscriptionRow};
use baton_engine::definition::EventPattern;
use baton_messages::StepId;

use super::Subject;
use super::samples::{at, batch, saga, starts};
use crate::Partition;

fn waits(n: u32, step: &str, event: &str) -> SubscriptionRow {
    SubscriptionRow {
        saga: saga(n),
        step: StepId::new(step).unwrap(),
        event: EventPattern::new(event).unwrap(),
        since: at(u64::from(n)),
    }
}

fn gone(row: &SubscriptionRow) -> SubscriptionChange {
    SubscriptionChange::Remove(row.saga, row.step.clone())
}

async fn change(store: &mut impl Store, partition: Partition, changes: Vec<SubscriptionChange>) {
    let mut written = batch(partition, 0);
    written.subscriptions = changes;
    store.commit(written).await.unwrap();
}

async fn found(store: &mut impl Store, kind: &str) -> Vec<SubscriptionRow> {
    store.subscribers(kind.into(), None, 10).await.unwrap()
}

/// A step is found by the type it names, and by every type below the prefix it names.
pub async fn a_waiting_step_is_found_by_its_events(subject: &mut impl Subject) {
    let (mut store, partition) = subject.open().await;
    store.commit(starts(partition, 1, 1..4)).await.unwrap();
    let (exact, below, other) = (
        waits(1, "a", "com.example.paid"),
        waits(2, "b", "com.example.*"),
        waits(3, "c", "org.other"),
    );
    let rows = [&exact, &below, &other];
    let added = rows.map(|row| SubscriptionChange::Add(row.clone()));
    change(&mut store, partition, added.into()).await;
    let mut both = vec![exact.clone(), below.clone()];
    both.sort_by_key(|row| row.saga);
    assert_eq!(found(&mut store, "com.example.paid").await, both);
    assert_eq!(
        found(&mut store, "com.example.late").await,
        from_ref(&below)
    );
    assert_eq!(found(&mut store, "com.example").await, []);
    assert_eq!(found(&mut store, "org.other").await, from_ref(&other));
    change(&mut store, partition, vec![gone(&exact), gone(&other)]).await;
    assert_eq!(found(&mut store, "com.example.paid").await, [below]);
    assert_eq!(found(&mut store, "org.other").await, []);
    subject.close(store).await;
}

/// Pages follow saga and step, over exact types and prefixes alike.
pub async fn waiting_steps_come_in_pages(subject: &mut impl Subject) {
    let (mut store, partition) = subject.open().await;
    store.commit(starts(partition, 1, 1..6)).await.unwrap();
    let mut rows = Vec::new();
    for n in 1..6 {
        rows.push(waits(n, "first", "a.b.c"));
        rows.push(waits(n, "second", "a.*"));
        rows.push(waits(n, "third", "a.b.*"));
    }
    let added = rows.iter().cloned().map(SubscriptionChange::Add);
    change(&mut store, partition, added.collect()).await;
    rows.sort_by(|a, b| (a.saga, &a.step).cmp(&(b.saga, &b.step)));
    let mut read: Vec<SubscriptionRow> = Vec::new();
    loop {
        let after = read.last().map(|row| (row.saga, row.step.clone()));
        let page = store.subscribers("a.b.c".into(), after, 4).await.unwrap();
        let full = page.len() == 4;
        read.extend(page);
        if !full {
            break;
        }
    }
    assert_eq!(read, rows);
    subject.close(store).await;
}

/// A new owner is told of every subscription of which nobody wrote down that it was searched; one that is replaced is new.
pub async fn what_was_not_searched_is_told_again(subject: &mut impl Subject) {
    let (mut store, partition) = subject.open().await;
    store.commit(starts(partition, 1, 1..4)).await.unwrap();
    let rows: Vec<_> = (1..4).map(|n| waits(n, "a", "a.b")).collect();
    let added = rows.iter().cloned().map(SubscriptionChange::Add);
    change(&mut store, partition, added.collect()).await;
    let searched = |n: usize| SubscriptionChange::Searched(rows[n].saga, rows[n].step.clone());
    change(&mut store, partition, vec![searched(0), searched(1)]).await;
    let again = SubscriptionRow {
        since: at(77),
        ..rows[1].clone()
    };
    let changes = vec![
        gone(&rows[1]),
        SubscriptionChange::Add(again.clone()),
        // Of one that is gone: nothing to say.
        SubscriptionChange::Searched(rows[1].saga, StepId::new("other").unwrap()),
    ];
    change(&mut store, partition, changes).await;
    subject.close(store).await;
    let (mut store, partition) = subject.open().await;
    let told = store.recover(partition.id).await.unwrap().unsearched;
    let mut expected = vec![again, rows[2].clone()];
    expected.sort_by_key(|row| row.saga);
    assert_eq!(told, expected);
    subject.close(store).await;
}

/// The changes of one batch are made in their order.
pub async fn changes_of_subscriptions_keep_their_order(subject: &mut impl Subject) {
    let (mut store, partition) = subject.open().await;
    store.commit(starts(partition, 1, 1..3)).await.unwrap();
    let (stays, goes) = (waits(1, "a", "a.b"), waits(2, "a", "a.b"));
    let changes = vec![
        gone(&stays),
        SubscriptionChange::Add(stays.clone()),
        SubscriptionChange::Add(goes.clone()),
        gone(&goes),
    ];
    change(&mut store, partition, changes).await;
    assert_eq!(found(&mut store, "a.b").await, [stays]);
    subject.close(store).await;
}
