//! The world being changed: one cell for each step of each saga, and for each item of one that is done for a list, and what was done to it in which order. It stands outside everything
//! Baton knows, so what it shows at the end is what has really happened.

use std::collections::{BTreeMap, BTreeSet};

use baton_messages::{IdempotencyKey, SagaId, StepKey};
use serde_json::{Value, json};

use crate::plan::Matter;

/// Where an effect would stand.
pub type Place = (SagaId, StepKey);

/// One cell of the world.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    /// Of a keyed thing: the keys it has acted on.
    done_keys: BTreeSet<IdempotencyKey>,
    /// Of everything: the keys of undos it has already taken.
    undone_keys: BTreeSet<IdempotencyKey>,
    /// How often the effect stands.
    pub standing: u32,
    /// Of a file: its content; none: the original.
    content: Option<String>,
    /// How often anybody acted.
    pub acts: u32,
    /// How often an undo that must run once has run, by its round.
    undo_runs: BTreeMap<u32, u32>,
    /// The highest round whose undo has been answered with success.
    pub undone_round: u32,
}

impl Cell {
    /// How often an undo that must run once has run, in the round in which that was most often.
    #[must_use]
    pub fn undo_runs(&self) -> u32 {
        self.undo_runs.values().copied().max().unwrap_or(0)
    }
}

/// What came of an undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undone {
    /// It is as it was.
    Yes,
    /// Something else stands there: nothing was touched.
    Conflict,
}

/// The world.
#[derive(Debug, Default)]
pub struct Ledger {
    cells: BTreeMap<Place, Cell>,
}

impl Ledger {
    /// A cell, as it is now.
    #[must_use]
    pub fn cell(&self, place: &Place) -> Cell {
        self.cells.get(place).cloned().unwrap_or_default()
    }

    /// What a file holds now: the before-image.
    #[must_use]
    pub fn content(&self, place: &Place) -> Value {
        json!(
            self.cells
                .get(place)
                .and_then(|cell| cell.content.clone())
                .unwrap_or_else(|| original(place))
        )
    }

    /// The effect happens, as far as its kind lets it.
    pub fn act(&mut self, place: &Place, matter: Matter, key: IdempotencyKey) {
        let cell = self.cells.entry(place.clone()).or_default();
        match matter {
            Matter::Nothing => {}
            Matter::Keyed => {
                if cell.done_keys.insert(key) {
                    cell.standing = 1;
                }
            }
            Matter::File => {
                cell.content = Some(written(place));
                cell.standing = 1;
            }
            Matter::Counter => cell.standing += 1,
        }
        cell.acts += 1;
    }

    /// The effect is taken back, compare-and-set. A key that was taken before acts no second time.
    pub fn undo(
        &mut self,
        place: &Place,
        matter: Matter,
        key: IdempotencyKey,
        round: u32,
        before: Option<&Value>,
    ) -> Undone {
        let cell = self.cells.entry(place.clone()).or_default();
        if matter == Matter::File {
            match (before.and_then(Value::as_str), &cell.content) {
                // It never acted: a before-image comes first.
                (None, _) | (Some(_), None) => {}
                (Some(image), Some(there)) if there == image => {}
                (Some(image), Some(there)) => {
                    if *there != written(place) {
                        return Undone::Conflict;
                    }
                    cell.content = (image != original(place)).then(|| image.to_owned());
                    cell.standing = u32::from(cell.content.is_some());
                }
            }
        } else if cell.undone_keys.insert(key) {
            cell.standing = 0;
        }
        cell.undone_round = cell.undone_round.max(round);
        Undone::Yes
    }

    /// A task that must run once has run to take it back.
    pub fn undo_ran(&mut self, place: &Place, round: u32) {
        let cell = self.cells.entry(place.clone()).or_default();
        *cell.undo_runs.entry(round).or_default() += 1;
    }

    /// A person puts it back.
    pub fn put_back(&mut self, place: &Place) {
        let cell = self.cells.entry(place.clone()).or_default();
        cell.content = None;
        cell.standing = 0;
    }

    /// A person does it.
    pub fn do_by_hand(&mut self, place: &Place, matter: Matter) {
        let cell = self.cells.entry(place.clone()).or_default();
        cell.standing = u32::from(matter != Matter::Nothing);
        if matter == Matter::File {
            cell.content = Some(written(place));
        }
    }

    /// Whether a file holds neither its original nor what its step writes.
    #[must_use]
    pub fn is_original(&self, place: &Place) -> bool {
        self.cells
            .get(place)
            .is_none_or(|cell| cell.content.is_none() && cell.standing == 0)
    }
}

fn original(place: &Place) -> String {
    format!("original of {} {}", place.0, place.1)
}

fn written(place: &Place) -> String {
    format!("written by {} {}", place.0, place.1)
}
