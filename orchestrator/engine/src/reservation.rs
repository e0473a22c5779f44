//! What a saga has taken, or waits for, before its first step. Who is next is not decided here but in the store, which alone sees all sagas: the saga
//! says what it wants, once, and hears that it was admitted. All it wants is given at once or nothing, so that nobody holds one thing and waits for
//! another.

use std::collections::{BTreeMap, BTreeSet};

use baton_messages::{SagaId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decide::limits::ask_again_ms;
use crate::record::Record;
use crate::state::SagaState;

/// How long a child waits for locks, where its definition does not say: its root holds what others wait for, so that it must not wait for ever.
pub const LOCK_TIMEOUT_MS_DEFAULT: u64 = 10 * 60_000;
/// How long a child waits that wants no lock, where its definition does not say: a day, as a task for its worker.
pub const LIMIT_TIMEOUT_MS_DEFAULT: u64 = 24 * 60 * 60 * 1000;

/// What kind of thing is taken.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ReservationKind {
    /// One saga at a time, with all below it, until the saga at the top has ended.
    Lock,
    /// So many at once, until each has ended.
    Concurrency,
    /// So many within a time, however soon they end.
    BlastRadius,
}

impl ReservationKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Lock, Self::Concurrency, Self::BlastRadius];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Concurrency => "concurrency",
            Self::BlastRadius => "blast-radius",
        }
    }
}

/// Where a thing that a saga takes stands, as the store has it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ReservationState {
    /// Its saga waits.
    Waiting,
    /// Its saga has it.
    Held,
    /// Its saga was begun, and counts until the time is over.
    Spent,
}

impl ReservationState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Held, Self::Spent];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Spent => "spent",
        }
    }
}

/// One thing a saga wants.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Want {
    /// What kind.
    pub kind: ReservationKind,
    /// Its name: that of the lock; of a limit the definition's, with the key behind it.
    pub name: String,
    /// How many may have it.
    pub max: u32,
    /// Within how many milliseconds; none: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_ms: Option<u64>,
}

/// What a saga has taken, or waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reservation {
    /// All it wants.
    pub wants: Vec<Want>,
    /// When the store is asked again whether it was admitted; none once it was, or is not wanted any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// How often that was asked.
    pub asked: u32,
    /// Until when it waits at most, of a child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When it was admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted_at: Option<Timestamp>,
    /// Whether an operator has let it through, whatever was begun lately.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub let_through: bool,
    /// The number of each lock it was given: whoever is given that lock later has a higher one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fences: BTreeMap<String, u64>,
    /// Locks an operator has taken from it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub broken: BTreeSet<String>,
}

impl Reservation {
    /// Whether a lock of this name was given to it and not taken from it.
    #[must_use]
    pub fn holds(&self, lock: &str) -> bool {
        self.fences.contains_key(lock) && !self.broken.contains(lock)
    }

    /// Whether it wants something of this kind.
    #[must_use]
    pub fn wants(&self, kind: ReservationKind) -> bool {
        self.wants.iter().any(|want| want.kind == kind)
    }

    /// When the store is asked the next time. Who is admitted is told at once: this is for what was lost on the way.
    pub(crate) fn next_asking(asked: u32, until: Option<Timestamp>, now: Timestamp) -> Timestamp {
        let again = now.plus_ms(ask_again_ms(asked));
        until.map_or(again, |until| again.min(until))
    }
}

/// What the store's rows of a saga become, in the commit of the record that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It waits for these, in the name of the saga at the top.
    Wanted {
        /// The saga at the top; itself, where it has no parent.
        root: SagaId,
        /// All it wants.
        wants: Vec<Want>,
    },
    /// It still waits: it may have been admitted, and the word of it lost.
    Asked,
    /// It knows that it was admitted.
    Told,
    /// It knows that it is held back, and a person is asked.
    HeldBack,
    /// An operator lets it through, whatever was begun lately.
    LetThrough,
    /// An operator has taken a lock from it.
    Broken {
        /// Which.
        lock: String,
    },
    /// It has ended.
    Over,
}

impl SagaState {
    /// Whether nothing of it begins before the store has admitted it.
    #[must_use]
    pub fn waits_for_admission(&self) -> bool {
        self.reservation
            .as_ref()
            .is_some_and(|taken| taken.admitted_at.is_none())
    }

    /// The numbers of the locks it acts under: its own, and those of the sagas above it. Also of one that was taken from it, or that it holds no more since it has
    /// ended: whoever has it since has a higher one, and by that its tasks are known for late.
    #[must_use]
    pub fn fences(&self) -> BTreeMap<String, u64> {
        let mut fences = self
            .parent
            .as_ref()
            .map(|parent| parent.fences.clone())
            .unwrap_or_default();
        if let Some(taken) = &self.reservation {
            let given = taken.fences.iter();
            fences.extend(given.map(|(lock, fence)| (lock.clone(), *fence)));
        }
        fences
    }
}

/// Folds one of the records of this file's matter.
pub(crate) fn apply(state: &mut SagaState, at: Timestamp, record: &Record) {
    if let Record::Reserving { wants, due, until } = record {
        state.reservation = Some(Box::new(Reservation {
            wants: wants.clone(),
            due: Some(*due),
            asked: 0,
            until: *until,
            admitted_at: None,
            let_through: false,
            fences: BTreeMap::new(),
            broken: BTreeSet::new(),
        }));
        return;
    }
    let Some(taken) = &mut state.reservation else {
        return;
    };
    match record {
        Record::AdmissionAsked { due } => {
            taken.asked += 1;
            taken.due = Some(*due);
        }
        Record::Admitted {
            fences,
            deadline_at,
        } => {
            state.deadline_at = *deadline_at;
            taken.due = None;
            taken.admitted_at = Some(at);
            taken.fences.clone_from(fences);
        }
        Record::LetThrough { .. } => taken.let_through = true,
        Record::LockBroken { name, .. } => {
            taken.broken.insert(name.clone());
        }
        _ => {}
    }
}

/// The saga turns back or has ended: it waits for nothing any more.
pub(crate) fn waits_no_more(state: &mut SagaState) {
    if let Some(taken) = &mut state.reservation {
        taken.due = None;
    }
}

/// What a record changes of the store's rows of its saga.
#[must_use]
pub(crate) fn change(state: &SagaState, record: &Record) -> Option<Change> {
    match record {
        Record::Reserving { wants, .. } => Some(Change::Wanted {
            root: state.parent.as_ref().map_or(state.id, |parent| parent.root),
            wants: wants.clone(),
        }),
        Record::AdmissionAsked { .. } => Some(Change::Asked),
        Record::Admitted { .. } => Some(Change::Told),
        Record::LetThrough { .. } => Some(Change::LetThrough),
        Record::LockBroken { name, .. } => Some(Change::Broken { lock: name.clone() }),
        Record::WorkItemOpened { item } if item.kind == crate::WorkItemKind::HeldBack => {
            Some(Change::HeldBack)
        }
        // What those below the saga at the top hold goes with it, whether it took something itself or not. One in the middle has nothing in its name but what it took itself.
        Record::Ended { .. } => {
            let children = || state.all().any(|(_, step)| step.child.is_some());
            let is_top = state.parent.is_none();
            (state.reservation.is_some() || (is_top && children())).then_some(Change::Over)
        }
        _ => None,
    }
}
