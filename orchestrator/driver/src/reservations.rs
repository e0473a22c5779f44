//! What sagas take before their first step, as a store keeps it, and who is admitted: the rule in its plainest form, over rows in memory. Every store answers as
//! this does; the store in memory and the simulator's disk are made of it.
//!
//! The rule. Whoever wants something gets a ticket. A saga is admitted when of each thing it wants fewer than its bound are taken or wanted by somebody before it:
//! then it is given all of it at once. So whoever has the lowest ticket of all waits for nobody who waits, nobody overtakes in a line, and two who have nothing
//! in common never wait for each other. A saga that is a step of another one goes past the line, and waits for nothing but what is taken: its root holds what those
//! in the line may be waiting for. A lock that a saga's root has already, or another saga below that root, is given to it with the same number.

use std::collections::BTreeMap;

use baton_engine::reservation::Change;
pub use baton_engine::reservation::ReservationState;
use baton_engine::{ReservationKind, Want};
use baton_messages::{SagaId, Timestamp};

use crate::batch::ReservationChange;

/// Sagas looked at in one call: what waits behind them is looked at by the next, which goes on where this one ended.
pub const ADMIT_PAGE: usize = 256;
/// Rows whose time is over that go in one call.
pub const OVER_PAGE: usize = 1_000;

/// What a saga was told of its waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// Nothing.
    Nothing,
    /// That it is held back.
    HeldBack,
    /// That it was admitted.
    Admitted,
}

/// One thing one saga takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservationRow {
    /// The saga; unique with kind and name.
    pub saga: SagaId,
    /// The saga at the top, in whose name locks are held.
    pub root: SagaId,
    /// Its place among all: the lower was there before.
    pub ticket: u64,
    /// What.
    pub want: Want,
    /// Where it stands.
    pub state: ReservationState,
    /// Whether an operator lets it through a limit of what is begun within a time.
    pub let_through: bool,
    /// The number of a lock that is held.
    pub fence: Option<u64>,
    /// When it was wanted.
    pub asked_at: Timestamp,
    /// When it was given.
    pub held_at: Option<Timestamp>,
    /// Until when it counts; only of what is spent.
    pub until: Option<Timestamp>,
    /// What its saga knows.
    pub told: Told,
}

/// What one look at the waiting came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admission {
    /// Sagas that have all they want and are to be told, with the numbers of their locks: those of this look, and, in a look from the beginning, those that have
    /// not said yet that they know.
    pub admitted: Vec<(SagaId, BTreeMap<String, u64>)>,
    /// Sagas that wait for nothing but the end of a time, and were not told yet.
    pub held_back: Vec<SagaId>,
    /// Where the next look goes on; none when this one came to the end.
    pub next: Option<u64>,
    /// When the next time is over, in a look that came to the end.
    pub wake_at: Option<Timestamp>,
}

/// The rows in memory.
#[derive(Debug, Clone, Default)]
pub struct Reservations {
    rows: BTreeMap<(ReservationKind, String, u64, SagaId), ReservationRow>,
    numbers: u64,
}

impl Reservations {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            rows: BTreeMap::new(),
            numbers: 0,
        }
    }

    /// Every row, by kind, name and ticket.
    pub fn rows(&self) -> impl Iterator<Item = &ReservationRow> {
        self.rows.values()
    }

    fn of(&mut self, saga: SagaId) -> impl Iterator<Item = &mut ReservationRow> {
        self.rows.values_mut().filter(move |row| row.saga == saga)
    }

    /// Makes one change; `active` says whether a saga goes on.
    pub fn change(&mut self, change: ReservationChange, active: impl Fn(SagaId) -> bool) {
        let ReservationChange { saga, at, change } = change;
        match change {
            Change::Wanted { root, wants } => self.wanted(saga, root, wants, at),
            // It waits although it may have been admitted: whatever it was told, it does not know.
            Change::Asked => self.of(saga).for_each(|row| {
                if row.state != ReservationState::Waiting {
                    row.told = Told::Nothing;
                }
            }),
            Change::Told => self.is_told(saga, Told::Admitted),
            Change::HeldBack => self.is_told(saga, Told::HeldBack),
            Change::LetThrough => self.of(saga).for_each(|row| {
                row.let_through = row.want.kind == ReservationKind::BlastRadius;
            }),
            Change::Broken { lock } => self.broken(saga, &lock),
            Change::Over => self.over(saga, active),
        }
    }

    fn wanted(&mut self, saga: SagaId, root: SagaId, wants: Vec<Want>, at: Timestamp) {
        self.numbers += 1;
        let ticket = self.numbers;
        for want in wants {
            let key = (want.kind, want.name.clone(), ticket, saga);
            self.rows.insert(
                key,
                ReservationRow {
                    saga,
                    root,
                    ticket,
                    want,
                    state: ReservationState::Waiting,
                    let_through: false,
                    fence: None,
                    asked_at: at,
                    held_at: None,
                    until: None,
                    told: Told::Nothing,
                },
            );
        }
    }

    /// Whatever is held of it under the same root is let go: the lock is free.
    fn broken(&mut self, saga: SagaId, lock: &str) {
        let is_it = |row: &ReservationRow| {
            let is_lock = row.want.kind == ReservationKind::Lock && row.want.name == lock;
            is_lock && row.state == ReservationState::Held
        };
        let held = self
            .rows
            .values()
            .find(|row| is_it(row) && row.saga == saga);
        if let Some(root) = held.map(|row| row.root) {
            self.rows.retain(|_, row| !(is_it(row) && row.root == root));
        }
    }

    fn is_told(&mut self, saga: SagaId, what: Told) {
        self.of(saga).for_each(|row| row.told = what.max(row.told));
    }

    /// A lock stays with those below a root that goes on; what was begun counts on.
    fn over(&mut self, saga: SagaId, active: impl Fn(SagaId) -> bool) {
        self.rows.retain(|_, row| match row.state {
            ReservationState::Spent => true,
            ReservationState::Waiting => row.saga != saga,
            ReservationState::Held if row.want.kind == ReservationKind::Lock => {
                let of_it = row.saga == saga || row.root == saga;
                !of_it || active(row.saga) || active(row.root)
            }
            ReservationState::Held => row.saga != saga,
        });
        self.is_told(saga, Told::Admitted);
    }

    /// Whether of what a row wants so many are taken, or wanted before it, as there may be.
    fn is_full(&self, of: &ReservationRow) -> bool {
        let is_lock = of.want.kind == ReservationKind::Lock;
        // what its root has, or another below it, it has as well: also past those who wait for it
        let shares = |row: &ReservationRow| {
            let same = row.want == of.want && row.root == of.root;
            same && row.state == ReservationState::Held
        };
        if of.let_through || (is_lock && self.rows.values().any(shares)) {
            return false;
        }
        let before = self.rows.values().filter(|row| {
            let same = row.want.kind == of.want.kind && row.want.name == of.want.name;
            let shared = is_lock && row.root == of.root;
            // a root holds what others may wait for: what is below it goes past the line, or each of two would wait for the other
            let in_line = of.saga == of.root && row.ticket < of.ticket;
            let first = row.state != ReservationState::Waiting || in_line;
            same && !shared && first && row.saga != of.saga
        });
        before.count() >= of.want.max as usize
    }

    /// Looks at those that wait, from the first ticket after `after`, and admits whom it can.
    pub fn admit(&mut self, now: Timestamp, after: Option<u64>) -> Admission {
        // what was begun is forgotten only when its saga knows that it was: nothing else says so to one that wants nothing beside
        self.rows.retain(|_, row| {
            row.until.is_none_or(|until| until > now) || row.told != Told::Admitted
        });
        let mut answer = Admission::default();
        let waiting = |row: &&ReservationRow| {
            row.state == ReservationState::Waiting && after.is_none_or(|after| row.ticket > after)
        };
        let mut page: Vec<(u64, SagaId)> = self
            .rows()
            .filter(waiting)
            .map(|r| (r.ticket, r.saga))
            .collect();
        page.sort_unstable();
        page.dedup();
        if page.len() >= ADMIT_PAGE {
            page.truncate(ADMIT_PAGE);
            answer.next = page.last().map(|(ticket, _)| *ticket);
        }
        let mut told: Vec<SagaId> = Vec::new();
        for (_, saga) in page {
            let rows: Vec<&ReservationRow> = self.rows().filter(|row| row.saga == saga).collect();
            let full: Vec<_> = rows.iter().filter(|row| self.is_full(row)).collect();
            let by_time = full
                .iter()
                .all(|row| row.want.kind == ReservationKind::BlastRadius);
            if full.is_empty() {
                self.give(saga, now);
                told.push(saga);
            } else if by_time && rows.iter().all(|row| row.told == Told::Nothing) {
                answer.held_back.push(saga);
            }
        }
        if after.is_none() {
            told.extend(
                self.untold()
                    .filter(|saga| !told.contains(saga))
                    .collect::<Vec<_>>(),
            );
        }
        answer.admitted = told
            .into_iter()
            .map(|saga| (saga, self.fences(saga)))
            .collect();
        if answer.next.is_none() {
            // whose time is over and who has not heard of it is told again in any case
            let ends = self.rows().filter_map(|row| row.until);
            answer.wake_at = ends.filter(|until| *until > now).min();
        }
        answer
    }

    fn give(&mut self, saga: SagaId, now: Timestamp) {
        let rows: Vec<_> = self
            .rows
            .iter()
            .filter(|(_, row)| row.saga == saga)
            .collect();
        let keys: Vec<_> = rows.into_iter().map(|(key, _)| key.clone()).collect();
        for key in keys {
            let Some(row) = self.rows.get(&key) else {
                continue;
            };
            let shared = |other: &&ReservationRow| {
                other.want == row.want && other.root == row.root && other.fence.is_some()
            };
            let shared = self.rows().find(shared).and_then(|other| other.fence);
            let fence = (row.want.kind == ReservationKind::Lock).then(|| {
                shared.unwrap_or_else(|| {
                    self.numbers += 1;
                    self.numbers
                })
            });
            if let Some(row) = self.rows.get_mut(&key) {
                row.fence = fence;
                row.held_at = Some(now);
                row.until = row.want.per_ms.map(|ms| now.plus_ms(ms));
                row.state = match row.until {
                    Some(_) => ReservationState::Spent,
                    None => ReservationState::Held,
                };
            }
        }
    }

    /// Sagas that were admitted and have not said that they know.
    fn untold(&self) -> impl Iterator<Item = SagaId> {
        let mut sagas: Vec<(u64, SagaId)> = self
            .rows()
            .filter(|row| row.state != ReservationState::Waiting && row.told < Told::Admitted)
            .map(|row| (row.ticket, row.saga))
            .collect();
        sagas.sort_unstable();
        sagas.dedup();
        sagas.into_iter().map(|(_, saga)| saga).take(ADMIT_PAGE)
    }

    fn fences(&self, saga: SagaId) -> BTreeMap<String, u64> {
        let rows = self.rows().filter(|row| row.saga == saga);
        rows.filter_map(|row| Some((row.want.name.clone(), row.fence?)))
            .collect()
    }

    /// Lets go of locks whose saga and whose root have both ended, where that was not seen when either did.
    pub fn tidy(&mut self, active: impl Fn(SagaId) -> bool) {
        self.rows.retain(|_, row| {
            row.state != ReservationState::Held || active(row.saga) || active(row.root)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saga(n: u128) -> SagaId {
        SagaId(uuid::Uuid::from_u128(n))
    }

    fn lock(name: &str) -> Want {
        Want {
            kind: ReservationKind::Lock,
            name: name.to_owned(),
            max: 1,
            per_ms: None,
        }
    }

    fn want(all: &mut Reservations, n: u128, root: u128, wants: Vec<Want>) {
        let change = Change::Wanted {
            root: saga(root),
            wants,
        };
        make(all, n, change, &[]);
    }

    fn make(all: &mut Reservations, n: u128, change: Change, active: &[u128]) {
        let change = ReservationChange {
            saga: saga(n),
            at: Timestamp(1),
            change,
        };
        all.change(change, |one| active.iter().any(|n| saga(*n) == one));
    }

    fn admitted(all: &mut Reservations, at: u64) -> Vec<u128> {
        let found = all.admit(Timestamp(at), None).admitted;
        let sagas: Vec<u128> = found.iter().map(|(saga, _)| saga.0.as_u128()).collect();
        for n in &sagas {
            make(all, *n, Change::Told, &[]);
        }
        sagas
    }

    #[test]
    fn nobody_overtakes_in_a_line_and_strangers_do_not_wait() {
        let mut all = Reservations::default();
        want(&mut all, 1, 1, vec![lock("a")]);
        want(&mut all, 2, 2, vec![lock("a"), lock("b")]);
        want(&mut all, 3, 3, vec![lock("b")]);
        want(&mut all, 4, 4, vec![lock("c")]);
        assert_eq!(admitted(&mut all, 1), [1, 4]);
        make(&mut all, 1, Change::Over, &[]);
        assert_eq!(admitted(&mut all, 2), [2]);
        make(&mut all, 2, Change::Over, &[]);
        assert_eq!(admitted(&mut all, 3), [3]);
    }

    #[test]
    fn a_lock_of_the_root_is_given_below_it_with_the_same_number_and_kept_to_its_end() {
        let mut all = Reservations::default();
        want(&mut all, 1, 1, vec![lock("a")]);
        let root = all.admit(Timestamp(1), None).admitted;
        make(&mut all, 1, Change::Told, &[]);
        want(&mut all, 9, 9, vec![lock("a")]);
        want(&mut all, 2, 1, vec![lock("a")]);
        let below = all.admit(Timestamp(2), None).admitted;
        assert_eq!(
            root.first().map(|one| &one.1),
            below.first().map(|one| &one.1)
        );
        make(&mut all, 2, Change::Told, &[]);
        make(&mut all, 2, Change::Over, &[1]);
        assert_eq!(all.rows().filter(|row| row.saga == saga(2)).count(), 1);
        make(&mut all, 1, Change::Over, &[]);
        assert_eq!(admitted(&mut all, 3), [9]);
    }

    #[test]
    fn what_was_begun_counts_until_its_time_is_over_and_a_person_lets_one_through() {
        let mut all = Reservations::default();
        let two = Want {
            kind: ReservationKind::BlastRadius,
            name: "restart".to_owned(),
            max: 2,
            per_ms: Some(100),
        };
        for n in 1..=4 {
            want(&mut all, n, n, vec![two.clone()]);
        }
        let first = all.admit(Timestamp(1), None);
        assert_eq!(first.admitted.len(), 2);
        assert_eq!(first.held_back, [saga(3), saga(4)]);
        assert_eq!(first.wake_at, Some(Timestamp(101)));
        for n in 1..=2 {
            make(&mut all, n, Change::Told, &[]);
            make(&mut all, n, Change::Over, &[]);
        }
        make(&mut all, 3, Change::HeldBack, &[]);
        make(&mut all, 4, Change::LetThrough, &[]);
        let second = all.admit(Timestamp(50), None);
        assert_eq!(second.admitted.len(), 1);
        assert!(second.held_back.is_empty());
        make(&mut all, 4, Change::Told, &[]);
        assert_eq!(admitted(&mut all, 101), [3]);
    }
}
