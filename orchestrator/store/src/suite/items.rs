//! Work items by whose they are and by when: what any store has to answer.

use baton_driver::{Store, WorkItemRow};
use baton_engine::{WorkItem, WorkItemKind};

use super::Subject;
use super::samples::{assigned_item, at, batch, saga, starts};
use crate::items::ItemFilter;
use crate::reader::Reader;

/// Those that are open alone: by whose they are oldest first, by when they are due soonest first, in pages; also as they changed, in the batch that opened
/// or closed them too.
pub async fn work_items_are_found_by_whose_they_are_and_by_when(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let open = |of, number, whose, due| WorkItemRow::Open {
        saga: saga(of),
        item: Box::new(assigned_item(number, whose, due)),
    };
    let change = |of, number, whose, due, escalated| WorkItemRow::Change {
        saga: saga(of),
        item: Box::new(WorkItem {
            escalated,
            ..assigned_item(number, whose, due)
        }),
    };
    let close = |of, number| WorkItemRow::Close {
        saga: saga(of),
        number,
        by: "ann".to_owned(),
        at: at(99),
    };
    let mut all = starts(mine, 1, 0..2);
    all.work_items = vec![
        open(0, 1, Some("ann"), Some(50)),
        open(0, 2, Some("ann"), Some(20)),
        open(0, 3, None, Some(30)),
        open(0, 4, Some("bob"), None),
        open(1, 1, None, None),
        open(1, 2, Some("ann"), Some(10)),
        open(1, 3, Some("ann"), Some(10)),
        change(1, 3, Some("bob"), Some(40), 1),
        close(1, 2),
    ];
    store.commit(all).await.unwrap();
    let reader = subject.reader(&store);
    let of = |whose: Option<&str>, due_until: Option<u64>, escalated| ItemFilter {
        whose: whose.map(str::to_owned),
        due_until: due_until.map(at),
        escalated,
        kind: None,
    };
    let places = async |filter: &ItemFilter| {
        let mut places = Vec::new();
        let mut after = None;
        loop {
            let page = reader
                .work_items_of(filter.clone(), after, 1)
                .await
                .unwrap();
            for view in &page.rows {
                assert!(
                    view.closed.is_none() && filter.takes(&view.item),
                    "{view:?}"
                );
                let mut sagas = 0..2;
                places.push((
                    sagas.find(|n| saga(*n) == view.saga).unwrap(),
                    view.item.number,
                ));
            }
            after = page.next;
            if after.is_none() {
                return places;
            }
        }
    };
    assert_eq!(
        places(&of(Some("ann"), None, false)).await,
        [(0, 1), (0, 2)]
    );
    assert_eq!(places(&of(Some(""), None, false)).await, [(1, 1), (0, 3)]);
    assert_eq!(
        places(&of(Some("bob"), None, false)).await,
        [(1, 3), (0, 4)]
    );
    assert_eq!(
        places(&of(None, Some(40), false)).await,
        [(0, 2), (0, 3), (1, 3)]
    );
    assert_eq!(
        places(&of(Some("ann"), Some(60), false)).await,
        [(0, 2), (0, 1)]
    );
    assert_eq!(places(&of(None, None, true)).await, [(1, 3)]);
    assert_eq!(places(&of(Some("ann"), None, true)).await, []);
    assert_eq!(places(&of(None, None, false)).await.len(), 6);
    let approvals = ItemFilter {
        kind: Some(WorkItemKind::Approval),
        ..of(Some("ann"), Some(60), false)
    };
    assert_eq!(places(&approvals).await, []);

    let mut next = batch(mine, 2);
    next.work_items = vec![
        change(0, 1, Some("bob"), Some(5), 0),
        change(0, 2, None, Some(20), 0),
        close(0, 2),
    ];
    store.commit(next).await.unwrap();
    assert_eq!(places(&of(Some("ann"), None, false)).await, []);
    assert_eq!(places(&of(None, Some(9), false)).await, [(0, 1)]);
    let every = reader.work_items(false, None, None, 9).await.unwrap().rows;
    let closed = every
        .iter()
        .find(|view| view.saga == saga(0) && view.item.number == 2);
    let closed = closed.unwrap();
    assert_eq!(
        (closed.item.assignee.as_deref(), closed.closed.is_some()),
        (None, true)
    );
    subject.close(store).await;
}
