//! What sagas take before their first step, as a store keeps it for all of them: who has what, who waits, and who is admitted next. The rule is that of
//! `baton_driver::reservations`; what a saga wants and lets go is written by its own commit.
//!
//! Guarantee: of two who look at the waiting at once (members, or one that wakes up late) the second sees what the first has given: nothing is given twice. What
//! was given and not heard of is told again until its saga has said that it knows.

use std::future::Future;

use baton_driver::reservations::{ReservationState, Told};
use baton_driver::{Admission, ReservationRow, StoreError};
use baton_engine::ReservationKind;
use baton_messages::{SagaId, Timestamp};

use crate::read::Page;

/// Which rows are asked for; what is not set does not restrict. A name is one of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ReservationFilter {
    /// All.
    #[default]
    All,
    /// Those of a kind.
    Kind(ReservationKind),
    /// Those of one thing.
    Name(ReservationKind, String),
    /// Those of one saga, which are few.
    Saga(SagaId),
}

/// The last row of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservationCursor {
    /// Its kind.
    pub kind: ReservationKind,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: ReservationState,
    /// Its ticket.
    pub ticket: u64,
    /// Its saga.
    pub saga: SagaId,
}

impl ReservationCursor {
    /// That of a row.
    #[must_use]
    pub fn of(row: &ReservationRow) -> Self {
        Self {
            kind: row.want.kind,
            name: row.want.name.clone(),
            state: row.state,
            ticket: row.ticket,
            saga: row.saga,
        }
    }

    /// In the order of pages: by kind and name, then who has it, then who waits in the order they came.
    pub(crate) fn place(&self) -> (&'static str, &str, &'static str, u64, SagaId) {
        let (kind, state) = (self.kind.as_str(), self.state.as_str());
        (kind, &self.name, state, self.ticket, self.saga)
    }
}

/// Where what sagas take is kept. Clones mean the same place.
pub trait ReservationBook: Clone + Send + Sync {
    /// Looks at sagas that wait, behind the ticket `after`, and gives whom it can all it wants; one transaction, alone among all that do so. Bounded:
    /// `baton_driver::reservations` has the numbers.
    fn admit(
        &self,
        now: Timestamp,
        after: Option<u64>,
    ) -> impl Future<Output = Result<Admission, StoreError>> + Send;

    /// Lets go of what is held by sagas that have ended with all above them, where that was not seen when they did.
    fn tidy(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Rows, by kind and name; who has it before who waits, in the order they came.
    fn reservations(
        &self,
        filter: ReservationFilter,
        after: Option<ReservationCursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<ReservationRow, ReservationCursor>, StoreError>> + Send;

    /// How many wait for a thing before this ticket.
    fn before(
        &self,
        kind: ReservationKind,
        name: String,
        ticket: u64,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;
}

/// The kind's word back.
pub(crate) fn kind_of(word: &str) -> Option<ReservationKind> {
    let mut all = ReservationKind::ALL.into_iter();
    all.find(|kind| kind.as_str() == word)
}

/// The state's word back.
pub(crate) fn state_of(word: &str) -> Option<ReservationState> {
    let mut all = ReservationState::ALL.into_iter();
    all.find(|state| state.as_str() == word)
}

/// What a saga knows, as a number.
pub(crate) const fn told_number(told: Told) -> i16 {
    match told {
        Told::Nothing => 0,
        Told::HeldBack => 1,
        Told::Admitted => 2,
    }
}

/// The number's meaning back.
pub(crate) const fn told_of(number: i64) -> Told {
    match number {
        0 => Told::Nothing,
        1 => Told::HeldBack,
        _ => Told::Admitted,
    }
}

/// Columns of a row, in the order both stores read them.
const COLUMNS: &str = "r.saga, r.root, r.ticket, r.kind, r.name, r.max, r.per_ms, r.state, r.let_through, r.fence, r.asked_at, r.held_at, r.until, r.told";

/// The query of a page of rows; `mark` is what stands before the number of a value.
pub(crate) fn list(filter: &ReservationFilter, mark: char) -> String {
    let of = match filter {
        ReservationFilter::All => String::new(),
        ReservationFilter::Kind(_) => format!("AND r.kind = {mark}7"),
        ReservationFilter::Name(_, _) => format!("AND r.kind = {mark}7 AND r.name = {mark}8"),
        ReservationFilter::Saga(_) => {
            return format!(
                "SELECT {COLUMNS} FROM reservations r WHERE r.saga = {mark}1 ORDER BY r.kind, r.name LIMIT {mark}2"
            );
        }
    };
    format!(
        "SELECT {COLUMNS} FROM reservations r
        WHERE (r.kind, r.name, r.state, r.ticket, r.saga) > ({mark}1, {mark}2, {mark}3, {mark}4, {mark}5) {of}
        ORDER BY r.kind, r.name, r.state, r.ticket, r.saga LIMIT {mark}6"
    )
}

/// What the look at one page of the waiting saw of one thing of one saga.
pub(crate) struct Seen {
    pub(crate) saga: SagaId,
    pub(crate) kind: ReservationKind,
    /// Whether nothing was told to its saga yet.
    pub(crate) untold: bool,
    /// Whether so many have it, or want it before, as there may be.
    pub(crate) full: bool,
}

/// What a page came to: who is admitted, who is held back, both in the order they came.
pub(crate) fn decide(seen: &[Seen]) -> (Vec<SagaId>, Vec<SagaId>) {
    let (mut admitted, mut held_back) = (Vec::new(), Vec::new());
    for of_one in seen.chunk_by(|a, b| a.saga == b.saga) {
        let Some(first) = of_one.first() else {
            continue;
        };
        let mut full = of_one.iter().filter(|one| one.full).peekable();
        if full.peek().is_none() {
            admitted.push(first.saga);
        } else if first.untold && full.all(|one| one.kind == ReservationKind::BlastRadius) {
            held_back.push(first.saga);
        }
    }
    (admitted, held_back)
}
