//! What sagas take before their first step: every store answers as the rule does, and shows lines in their order.

use std::collections::BTreeSet;

use baton_driver::reservations::ReservationState;
use baton_driver::{Batch, CommitError, ReservationChange, Reservations, Store};
use baton_engine::reservation::Change;
use baton_engine::{ReservationKind, Status, Want};
use baton_messages::{SagaId, Timestamp};

use super::Subject;
use super::samples::{batch, saga, saga_row};
use crate::Partition;
use crate::reservations::{ReservationBook, ReservationCursor, ReservationFilter};

/// One filter of each kind.
pub(crate) fn filters() -> Vec<ReservationFilter> {
    vec![
        ReservationFilter::All,
        ReservationFilter::Kind(ReservationKind::Lock),
        ReservationFilter::Name(ReservationKind::Lock, "a".to_owned()),
        ReservationFilter::Saga(saga(1)),
    ]
}

fn want(kind: ReservationKind, name: &str, max: u32, per_ms: Option<u64>) -> Want {
    Want {
        kind,
        name: name.to_owned(),
        max,
        per_ms,
    }
}

fn lock(name: &str) -> Want {
    want(ReservationKind::Lock, name, 1, None)
}

/// A store and the rule beside it, given the same.
struct Both<'a, S, B> {
    store: &'a mut S,
    book: B,
    mine: Partition,
    rule: Reservations,
    ended: BTreeSet<SagaId>,
    now: u64,
}

impl<'a, S: Store, B: ReservationBook> Both<'a, S, B> {
    fn new(store: &'a mut S, book: B, mine: Partition) -> Self {
        Self {
            store,
            book,
            mine,
            rule: Reservations::default(),
            ended: BTreeSet::new(),
            now: 1_000,
        }
    }

    async fn commit(&mut self, n: u32, status: Status, change: Change) {
        let change = ReservationChange {
            saga: saga(n),
            at: Timestamp(self.now),
            change,
        };
        if status.ended() {
            self.ended.insert(saga(n));
        }
        let all = Batch {
            sagas: vec![saga_row(n, status)],
            reservations: vec![change.clone()],
            ..batch(self.mine, 0)
        };
        self.store.commit(all).await.unwrap();
        let ended = &self.ended;
        self.rule.change(change, |one| !ended.contains(&one));
    }

    async fn wants(&mut self, n: u32, root: u32, wants: Vec<Want>) {
        let root = saga(root);
        self.commit(n, Status::Running, Change::Wanted { root, wants })
            .await;
    }

    /// Both admit the same; answers whom, as numbers.
    async fn admits(&mut self) -> Vec<SagaId> {
        self.now += 1;
        let now = Timestamp(self.now);
        let answer = self.book.admit(now, None).await.unwrap();
        assert_eq!(answer, self.rule.admit(now, None));
        answer.admitted.into_iter().map(|(one, _)| one).collect()
    }
}

/// Whatever sagas want, get, hear and let go, in any order: a store answers as the rule does, numbers included.
pub async fn like_the_rule(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let book = subject.reservations(&store);
    let mut both = Both::new(&mut store, book, mine);
    let few = |name: &str| want(ReservationKind::Concurrency, name, 2, None);
    let hourly = |name: &str| want(ReservationKind::BlastRadius, name, 2, Some(20));
    both.wants(1, 1, vec![lock("a"), lock("b")]).await;
    both.wants(2, 2, vec![lock("b"), few("s")]).await;
    both.wants(3, 3, vec![lock("c"), few("s"), hourly("s")])
        .await;
    both.wants(4, 4, vec![few("s")]).await;
    both.wants(11, 11, vec![lock("a")]).await;
    both.wants(13, 13, vec![lock("a"), lock("d")]).await;
    both.wants(5, 1, vec![lock("a")]).await;
    both.wants(12, 1, vec![lock("d")]).await;
    both.wants(6, 6, vec![hourly("s")]).await;
    both.wants(7, 7, vec![hourly("s")]).await;
    assert_eq!(
        both.admits().await.len(),
        5,
        "1, 3, 6, and below 1: 5 past 11, 12 past 13, which waits for 1"
    );
    assert_eq!(
        both.admits().await.len(),
        5,
        "nobody has said that he knows"
    );
    for n in [1, 3, 5, 6, 12] {
        both.commit(n, Status::Running, Change::Told).await;
    }
    both.commit(13, Status::Compensated, Change::Over).await;
    both.commit(7, Status::Running, Change::HeldBack).await;
    assert_eq!(both.admits().await, []);
    both.commit(1, Status::Completed, Change::Over).await;
    assert_eq!(
        both.admits().await,
        [saga(2)],
        "5 goes on and has `a`, nobody `b`"
    );
    both.commit(2, Status::Running, Change::Told).await;
    both.wants(8, 8, vec![lock("a")]).await;
    assert_eq!(both.admits().await, []);
    both.commit(5, Status::Compensated, Change::Over).await;
    assert_eq!(both.admits().await, [saga(11)]);
    both.commit(11, Status::Completed, Change::Over).await;
    assert_eq!(both.admits().await, [saga(8)]);
    both.commit(8, Status::Running, Change::Told).await;
    both.commit(8, Status::Running, Change::Asked).await;
    assert_eq!(both.admits().await, [saga(8)], "it does not know");
    both.commit(7, Status::Running, Change::LetThrough).await;
    assert_eq!(both.admits().await, [saga(7), saga(8)]);
    both.commit(4, Status::Compensated, Change::Over).await;
    both.wants(9, 9, vec![lock("c")]).await;
    both.commit(
        3,
        Status::Running,
        Change::Broken {
            lock: "c".to_owned(),
        },
    )
    .await;
    both.commit(8, Status::Running, Change::Told).await;
    both.commit(7, Status::Running, Change::Told).await;
    assert_eq!(both.admits().await, [saga(9)]);
    both.commit(9, Status::Running, Change::Told).await;
    both.wants(10, 10, vec![hourly("s")]).await;
    assert_eq!(both.admits().await, []);
    both.now += 30;
    assert_eq!(both.admits().await, [saga(10)], "the time is over");
    subject.close(store).await;
}

/// A saga that was let begin and has not heard of it is told whenever it is asked, also when what it took has long stopped to count.
pub async fn what_was_given_and_not_heard_of_is_told_however_late(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let book = subject.reservations(&store);
    let mut both = Both::new(&mut store, book, mine);
    let hourly = want(ReservationKind::BlastRadius, "s", 1, Some(20));
    both.wants(1, 1, vec![hourly.clone()]).await;
    assert_eq!(both.admits().await, [saga(1)]);
    both.now += 1_000;
    assert_eq!(both.admits().await, [saga(1)], "nobody else says so");
    both.commit(1, Status::Running, Change::Told).await;
    both.wants(2, 2, vec![hourly]).await;
    assert_eq!(both.admits().await, [saga(2)], "its time is long over");
    subject.close(store).await;
}

/// Who has it, then who waits, each line in its order; page by page.
pub async fn what_is_taken_comes_in_pages_in_the_order_of_lines(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let book = subject.reservations(&store);
    let mut all = batch(mine, 0);
    for n in 1..=5 {
        all.sagas.push(saga_row(n, Status::Running));
        all.reservations.push(ReservationChange {
            saga: saga(n),
            at: Timestamp(u64::from(n)),
            change: Change::Wanted {
                root: saga(n),
                wants: vec![lock("a"), lock(&format!("own-{n}"))],
            },
        });
    }
    store.commit(all).await.unwrap();
    book.admit(Timestamp(9), None).await.unwrap();
    let of_a = ReservationFilter::Name(ReservationKind::Lock, "a".to_owned());
    let first = book.reservations(of_a.clone(), None, 3).await.unwrap();
    let second = book
        .reservations(of_a, first.next.clone(), 3)
        .await
        .unwrap();
    let rows: Vec<_> = first.rows.iter().chain(&second.rows).collect();
    let sagas: Vec<SagaId> = rows.iter().map(|row| row.saga).collect();
    assert_eq!(sagas, (1..=5).map(saga).collect::<Vec<_>>());
    assert_eq!(second.next, None);
    let (has, waits) = rows.split_first().unwrap();
    assert_eq!(has.state, ReservationState::Held);
    assert_eq!(has.held_at, Some(Timestamp(9)));
    assert!(
        waits
            .iter()
            .all(|row| row.state == ReservationState::Waiting)
    );
    for (before, row) in waits.iter().enumerate() {
        let name = row.want.name.clone();
        let counted = book.before(row.want.kind, name, row.ticket).await.unwrap();
        assert_eq!(counted, before as u64);
    }
    let of_saga = ReservationFilter::Saga(saga(3));
    let of_saga = book.reservations(of_saga, None, 10).await.unwrap().rows;
    let names: Vec<&str> = of_saga.iter().map(|row| row.want.name.as_str()).collect();
    assert_eq!(names, ["a", "own-3"]);
    let (mut after, mut seen) = (None::<ReservationCursor>, 0);
    loop {
        let page = book
            .reservations(ReservationFilter::All, after, 4)
            .await
            .unwrap();
        seen += page.rows.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, 10);
    subject.close(store).await;
}

/// Whoever lost the partition changes nothing of what is taken.
pub async fn a_batch_that_is_fenced_takes_nothing(subject: &mut impl Subject) {
    let (mut store, mine) = subject.open().await;
    let book = subject.reservations(&store);
    let before = Partition {
        epoch: mine.epoch + 1,
        ..mine
    };
    let mut all = batch(before, 0);
    all.sagas.push(saga_row(1, Status::Running));
    all.reservations.push(ReservationChange {
        saga: saga(1),
        at: Timestamp(1),
        change: Change::Wanted {
            root: saga(1),
            wants: vec![lock("a")],
        },
    });
    let refused = store.commit(all).await;
    assert!(matches!(refused, Err(CommitError::Fenced { .. })));
    let page = book
        .reservations(ReservationFilter::All, None, 10)
        .await
        .unwrap();
    assert!(page.rows.is_empty());
    subject.close(store).await;
}
