//! What must be true of effects, read in the ledger: the promise of a saga held against what was really done.

use std::collections::BTreeMap;

use baton_harness::Ledger;
use baton_harness::ledger::{Call, Did, Effect, State};

/// Everything the ledger knows, at one moment.
#[derive(Debug)]
pub struct Book {
    effects: BTreeMap<String, Effect>,
    calls: Vec<Call>,
}

impl Book {
    /// Reads the ledger.
    pub async fn of(ledger: &Ledger) -> Self {
        Self {
            effects: ledger.report().await,
            calls: ledger.calls().await,
        }
    }

    /// How an effect stands.
    pub fn effect(&self, key: &str) -> Effect {
        self.effects.get(key).cloned().unwrap_or_default()
    }

    /// Every name there is.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.effects.keys().map(String::as_str)
    }

    /// How often somebody called to do or undo an effect, whether or not that changed anything.
    pub fn count(&self, key: &str, direction: Did) -> usize {
        let meant = |call: &&Call| call.key == key && call.direction == direction;
        self.calls.iter().filter(meant).count()
    }

    /// Where in the order of all calls an effect was first called to be done or undone.
    pub fn first(&self, key: &str, direction: Did) -> Option<usize> {
        self.calls
            .iter()
            .position(|call| call.key == key && call.direction == direction)
    }

    /// All calls of an effect, for messages.
    pub fn history(&self, key: &str) -> Vec<String> {
        let of_key = self.calls.iter().filter(|call| call.key == key);
        of_key
            .map(|call| format!("{:?} by run {}", call.direction, call.run))
            .collect()
    }

    /// What is wrong when this effect should stand, brought about exactly once.
    pub fn not_done_once(&self, key: &str) -> Option<String> {
        let effect = self.effect(key);
        let right = effect.state == State::Applied
            && (effect.done, effect.undone, effect.done_after_undo) == (1, 0, 0);
        (!right).then(|| self.wrong(key, "should stand, done once"))
    }

    /// What is wrong when this effect should have been brought about by one call only: of a type that is claimed.
    pub fn called_twice(&self, key: &str) -> Option<String> {
        (self.count(key, Did::Do) > 1).then(|| self.wrong(key, "should have been asked for once"))
    }

    /// What is wrong when this effect should not stand: never done, or done once and taken back, and never touched after that.
    pub fn not_taken_back(&self, key: &str) -> Option<String> {
        let effect = self.effect(key);
        let right = match effect.state {
            State::Never => effect.done == 0,
            State::Reverted => effect.done == 1 && effect.undone == 1,
            State::Applied => false,
        };
        (!right || effect.done_after_undo > 0)
            .then(|| self.wrong(key, "should be taken back, or never have been"))
    }

    /// What is wrong when this effect should never have been brought about.
    pub fn ever_done(&self, key: &str) -> Option<String> {
        (self.effect(key).done > 0).then(|| self.wrong(key, "should never have been done"))
    }

    /// What is wrong when `first` should have been called to be undone before `then`.
    pub fn undone_out_of_order(&self, first: &str, then: &str) -> Option<String> {
        match (self.first(first, Did::Undo), self.first(then, Did::Undo)) {
            (Some(one), Some(other)) if one > other => {
                Some(format!("{then} was undone before {first}"))
            }
            _ => None,
        }
    }

    fn wrong(&self, key: &str, should: &str) -> String {
        format!(
            "{key} {should}; it is {:?}, after {:?}",
            self.effect(key),
            self.history(key)
        )
    }
}
