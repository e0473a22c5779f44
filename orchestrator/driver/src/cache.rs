//! The sagas in memory, and the wheel of their next wakes. Whatever is here can be read anew from the store at any time.

use std::collections::{BTreeMap, BTreeSet};

use baton_engine::state::{Listens, Stage};
use baton_engine::{Definition, SagaState};
use baton_messages::{SagaId, StepId, TaskType, Timestamp};

/// A saga in memory.
#[derive(Debug, Clone)]
pub(crate) struct Cached {
    /// Its state after every committed record (and, within a turn, after those being committed).
    pub(crate) state: Box<SagaState>,
    /// When it was last looked at.
    pub(crate) touched: Timestamp,
    /// Whether the store holds it for evicted.
    pub(crate) cold: bool,
    /// How many of its records stand in the snapshot the store has of it.
    pub(crate) kept: u64,
    /// The task types the store knows it to wait for.
    pub(crate) unserved: BTreeSet<TaskType>,
    /// What the store knows its steps to wait for.
    pub(crate) listening: BTreeMap<StepId, Listens>,
    wake: Option<Timestamp>,
}

impl Cached {
    pub(crate) fn new(
        state: Box<SagaState>,
        definition: Option<&Definition>,
        cold: bool,
        now: Timestamp,
    ) -> Self {
        let unserved = definition
            .map(|definition| waits_for(&state, definition))
            .unwrap_or_default();
        let listening = listening(&state);
        Self {
            state,
            touched: now,
            cold,
            kept: 0,
            unserved,
            listening,
            wake: None,
        }
    }

    /// Whether a snapshot of it is worth writing: one of a saga with ten thousand items is large, and is written after as many records, so that
    /// what it costs does not grow with them either. Whoever reads it folds the rest.
    pub(crate) fn worth_a_snapshot(&self) -> bool {
        let fans = self
            .state
            .steps
            .values()
            .filter_map(|step| step.fan.as_ref());
        let items: u64 = fans.map(|fan| u64::from(fan.begun())).sum();
        self.kept == 0 || self.state.seq.saturating_sub(self.kept) >= items
    }

    /// Whether it may leave memory: nothing about it is kept only here, as a lease is.
    pub(crate) fn evictable(&self) -> bool {
        !self.state.live().any(|(_, s)| {
            s.attempts
                .iter()
                .any(|a| matches!(a.stage, Stage::Claimed { .. }))
        })
    }
}

/// What a saga's steps wait for.
pub(crate) fn listening(state: &SagaState) -> BTreeMap<StepId, Listens> {
    let listening = state.listening();
    listening
        .map(|(step, listens)| (step.clone(), listens.clone()))
        .collect()
}

/// The task types a saga's steps wait for: the prepared one, or, before that, the defined one.
pub(crate) fn waits_for(state: &SagaState, definition: &Definition) -> BTreeSet<TaskType> {
    let mut types = BTreeSet::new();
    if !state.active() {
        return types;
    }
    for (spot, step) in state.live() {
        let Some(direction) = step.unserved() else {
            continue;
        };
        let defined = definition.step(spot.0).and_then(|step| step.task());
        types.extend(step.runs(direction, defined).cloned());
    }
    types
}

/// The sagas in memory, ordered, so that every run with the same inputs goes the same way.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    sagas: BTreeMap<SagaId, Cached>,
    wheel: BTreeSet<(Timestamp, SagaId)>,
}

impl Cache {
    pub(crate) fn get(&self, saga: SagaId) -> Option<&Cached> {
        self.sagas.get(&saga)
    }

    pub(crate) fn get_mut(&mut self, saga: SagaId) -> Option<&mut Cached> {
        self.sagas.get_mut(&saga)
    }

    pub(crate) fn insert(&mut self, saga: SagaId, cached: Cached) {
        self.remove(saga);
        self.sagas.insert(saga, cached);
        self.rewind(saga);
    }

    pub(crate) fn remove(&mut self, saga: SagaId) -> Option<Cached> {
        let gone = self.sagas.remove(&saga)?;
        if let Some(at) = gone.wake {
            self.wheel.remove(&(at, saga));
        }
        Some(gone)
    }

    pub(crate) fn clear(&mut self) {
        self.sagas.clear();
        self.wheel.clear();
    }

    /// Puts a saga where its state says on the wheel.
    pub(crate) fn rewind(&mut self, saga: SagaId) {
        let Some(cached) = self.sagas.get_mut(&saga) else {
            return;
        };
        let next = cached.state.next_wake();
        if next == cached.wake {
            return;
        }
        if let Some(at) = cached.wake {
            self.wheel.remove(&(at, saga));
        }
        if let Some(at) = next {
            self.wheel.insert((at, saga));
        }
        cached.wake = next;
    }

    /// Lets a saga's timers rest until then, or until something else happens to it.
    pub(crate) fn snooze(&mut self, saga: SagaId, until: Timestamp) {
        let Some(cached) = self.sagas.get_mut(&saga) else {
            return;
        };
        if let Some(at) = cached.wake.replace(until) {
            self.wheel.remove(&(at, saga));
        }
        self.wheel.insert((until, saga));
    }

    /// The sagas whose wake is due, soonest first.
    pub(crate) fn due(&self, now: Timestamp, limit: usize) -> Vec<SagaId> {
        self.wheel
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(limit)
            .map(|(_, saga)| *saga)
            .collect()
    }

    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        self.wheel.first().map(|(at, _)| *at)
    }

    pub(crate) fn len(&self) -> usize {
        self.sagas.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SagaId, &Cached)> {
        self.sagas.iter().map(|(saga, cached)| (*saga, cached))
    }
}
