//! A step that is done for each item of a list: what is known of its items. Those under way lie in `live`, which everything that scans looks
//! at; those that are settled lie on the shelf, which nothing scans, so that a report of the last of ten thousand costs what one of the
//! first did. A record of an item takes it from the shelf, and the fold puts it back when it is settled again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use baton_messages::{Direction, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::expr::json_bytes;
use crate::state::{Attempt, Phase, StepState};

/// The most items of one step: their list still stands in one record. What is kept of each is its input, its checkpoints and its output: with those of a usual size
/// tens of megabytes together.
pub const ITEMS_MAX: u32 = 10_000;
/// The most items under way at once: each report looks at all of these.
pub const PARALLEL_MAX: u32 = 256;
/// Items under way at once, where the step does not say.
pub const PARALLEL_DEFAULT: u32 = 10;
/// The most bytes of all items' outputs together, as JSON: every expression that reads them handles them whole.
pub const COLLECTED_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Undos of one step that wait for persons before no further ones are begun: so many fail for one reason, which is looked at first.
pub const UNDO_PARKED_MAX: usize = 100;
/// Items begun, or whose undo is begun, in one decision: where nothing has to be sent for them, ten thousand would make one commit.
pub(crate) const BEGUN_MAX: usize = PARALLEL_MAX as usize;

/// The items of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fan {
    /// The items, in order.
    pub items: Arc<Vec<Value>>,
    /// How many may fail without the step failing.
    pub tolerated: u32,
    /// Those under way, by number.
    pub live: BTreeMap<u32, Box<StepState>>,
    /// Those that are settled, by number; shared between copies of the state.
    pub shelf: BTreeMap<u32, Arc<StepState>>,
    /// The numbers of those on the shelf that may have changed the world.
    pub effects: BTreeSet<u32>,
    /// How those on the shelf stand.
    pub counts: Counts,
    /// The bytes of the outputs of those on the shelf that are done, as JSON.
    pub output_bytes: u64,
}

/// How many items on the shelf stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Done.
    pub done: u32,
    /// Not wanted.
    pub skipped: u32,
    /// Failed with nothing changed, and tolerated.
    pub tolerated: u32,
    /// Failed, or in doubt, with the step.
    pub failed: u32,
    /// Taken back.
    pub undone: u32,
}

impl Counts {
    /// The counter of a phase.
    const fn of(&mut self, phase: Phase) -> &mut u32 {
        match phase {
            Phase::Succeeded => &mut self.done,
            Phase::Skipped => &mut self.skipped,
            Phase::Continued => &mut self.tolerated,
            Phase::Undone => &mut self.undone,
            _ => &mut self.failed,
        }
    }

    /// All of them.
    #[must_use]
    pub const fn all(&self) -> u32 {
        self.done + self.skipped + self.tolerated + self.failed + self.undone
    }
}

impl Fan {
    /// None of these has begun.
    #[must_use]
    pub(crate) const fn new(items: Arc<Vec<Value>>, tolerated: u32) -> Self {
        Self {
            items,
            tolerated,
            live: BTreeMap::new(),
            shelf: BTreeMap::new(),
            effects: BTreeSet::new(),
            counts: Counts {
                done: 0,
                skipped: 0,
                tolerated: 0,
                failed: 0,
                undone: 0,
            },
            output_bytes: 0,
        }
    }

    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        u32::try_from(self.items.len()).unwrap_or(u32::MAX)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many have begun, and so the number of the next.
    #[must_use]
    pub fn begun(&self) -> u32 {
        u32::try_from(self.live.len() + self.shelf.len()).unwrap_or(u32::MAX)
    }

    /// The numbers of those on the shelf that are neither done nor skipped. Looks at all of it.
    pub fn troubled(&self) -> impl Iterator<Item = u32> {
        let troubled = |step: &StepState| !matches!(step.phase, Phase::Succeeded | Phase::Skipped);
        let shelf = self.shelf.iter();
        shelf.filter_map(move |(item, step)| troubled(step).then_some(*item))
    }

    /// One item that has begun.
    #[must_use]
    pub fn get(&self, item: u32) -> Option<&StepState> {
        let live = self.live.get(&item).map(Box::as_ref);
        live.or_else(|| self.shelf.get(&item).map(Arc::as_ref))
    }

    /// Whether every item has begun and is settled.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.begun() == self.len() && self.live.is_empty()
    }

    /// Whether nothing of it may have an effect, now or later.
    #[must_use]
    pub fn gone(&self, now: Timestamp) -> bool {
        self.effects.is_empty()
            && self
                .live
                .values()
                .all(|item| !item.may_have_effect && !item.unsettled(now))
    }

    /// How many items have failed while the saga goes forward: with nothing changed, or in doubt and taken back, or being taken back.
    #[must_use]
    pub fn failures(&self) -> u32 {
        let back = self.live.values().filter(|item| item.phase.backward());
        let back = u32::try_from(back.count()).unwrap_or(u32::MAX);
        (self.counts.tolerated + self.counts.undone).saturating_add(back)
    }

    /// The next item begins.
    pub(crate) fn begin(&mut self, item: u32, at: Timestamp) -> bool {
        if item != self.begun() || item >= self.len() {
            return false;
        }
        self.live.insert(item, Box::new(StepState::waiting(at)));
        true
    }

    /// One item, taken from the shelf if it lies there: what changes it calls [`Self::tidy`] afterwards.
    pub(crate) fn take(&mut self, item: u32) -> Option<&mut StepState> {
        if let Some(step) = self.shelf.remove(&item) {
            *self.counts.of(step.phase) -= 1;
            self.effects.remove(&item);
            self.output_bytes = self.output_bytes.saturating_sub(returned(&step));
            self.live.insert(item, Box::new(Arc::unwrap_or_clone(step)));
        }
        self.live.get_mut(&item).map(Box::as_mut)
    }

    /// Puts an item on the shelf when it is settled.
    pub(crate) fn tidy(&mut self, item: u32, unwinding: bool, at: Timestamp) {
        let rests = |step: &StepState| rests(step, unwinding, at);
        if !self.live.get(&item).is_some_and(|step| rests(step)) {
            return;
        }
        let Some(mut step) = self.live.remove(&item) else {
            return;
        };
        step.asking = None;
        step.listens = None;
        *self.counts.of(step.phase) += 1;
        if step.may_have_effect {
            self.effects.insert(item);
        }
        self.output_bytes = self.output_bytes.saturating_add(returned(&step));
        self.shelf.insert(item, Arc::new(*step));
    }

    /// The saga turns back. What lies on the shelf and for which somebody may still act is waited for, and so lies there no more: the one look
    /// at all of it.
    pub(crate) fn turn(&mut self, at: Timestamp) {
        let acting = self.shelf.iter().filter(|(_, step)| step.unsettled(at));
        let acting: Vec<u32> = acting.map(|(item, _)| *item).collect();
        for item in acting {
            self.take(item);
        }
        let live: Vec<u32> = self.live.keys().copied().collect();
        for item in live {
            self.tidy(item, true, at);
        }
    }

    /// The outputs of all items in order, null where there is none; the items themselves keep none but null.
    pub(crate) fn collect(&mut self) -> Value {
        let mut all = vec![Value::Null; self.items.len()];
        for (item, step) in &mut self.shelf {
            let place = usize::try_from(*item).ok().and_then(|n| all.get_mut(n));
            let (Some(place), Phase::Succeeded) = (place, step.phase) else {
                continue;
            };
            if step.output.as_ref().is_some_and(|output| !output.is_null()) {
                *place = Arc::make_mut(step).output.take().unwrap_or_default();
            }
        }
        self.output_bytes = 0;
        Value::Array(all)
    }
}

/// Whether nothing follows of an item by itself, and nothing of it is waited for.
fn rests(step: &StepState, unwinding: bool, at: Timestamp) -> bool {
    let over = match step.phase {
        Phase::Succeeded | Phase::Skipped | Phase::Continued | Phase::Failed | Phase::Undone => {
            true
        }
        // While the saga goes forward one in doubt is taken back at once.
        Phase::Doubtful => unwinding,
        _ => false,
    };
    let undo_lingers = |a: &Attempt| a.direction == Direction::Undo && a.lingers();
    over && step.open_attempt().is_none()
        && !step.attempts.iter().any(undo_lingers)
        && !(unwinding && step.unsettled(at))
}

/// The bytes of what an item adds to its step's output.
fn returned(step: &StepState) -> u64 {
    let output = step.output.as_ref();
    let output = output.filter(|_| step.phase == Phase::Succeeded);
    output.map_or(0, |output| json_bytes(output) as u64)
}
