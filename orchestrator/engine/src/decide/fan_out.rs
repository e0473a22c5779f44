//! A step that is done for each item of a list: how its items begin, window by window; what it comes to when they are settled; what one that
//! fails means for it; and how they are taken back, in windows too.

use std::sync::Arc;

use baton_messages::{StepId, StepKey};
use serde_json::Value;

use super::no_value::{no_value, wrong_kind};
use super::{DecideError, Deciding, failure};
use crate::definition::{FanOut, OnError, Step};
use crate::expr::Scope;
use crate::fan::{BEGUN_MAX, COLLECTED_BYTES_MAX, Fan, UNDO_PARKED_MAX};
use crate::planted::{Planted, breaks};
use crate::record::Record;
use crate::state::{Phase, SagaState, StepState};

/// What the expressions of a step, or of one of its items, may read.
pub(crate) struct Eyes<'a> {
    state: &'a SagaState,
    /// Of an item: its step, itself, its number, what it returned.
    item: Option<(&'a StepId, &'a Value, Value, Option<&'a Value>)>,
}

impl Scope for Eyes<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        let Some((step, item, index, output)) = &self.item else {
            return self.state.get(name);
        };
        match name {
            "item" => Some(item),
            "index" => Some(index),
            // Within an item its step's name is its own output: that of one that has none is null.
            _ if name == step.as_str() => Some(output.unwrap_or(&Value::Null)),
            _ => self.state.get(name),
        }
    }
}

/// What the expressions of a step, or of one of its items, may read.
pub(crate) fn eyes<'a>(state: &'a SagaState, key: &'a StepKey) -> Eyes<'a> {
    let item = key.item.and_then(|n| {
        let fan = state.step(&key.step)?.fan.as_ref()?;
        let item = fan.items.get(usize::try_from(n).ok()?)?;
        Some((&key.step, item, Value::from(n), state.output_of(key)))
    });
    Eyes { state, item }
}

impl Deciding<'_> {
    fn fan(&self, id: &StepId) -> Option<&Fan> {
        self.state.step(id)?.fan.as_deref()
    }

    /// The list is computed, once. One that is no list, or longer than the step allows, is a failure with nothing changed. Where an `if` that asks nothing of
    /// an item does not hold, there is none, and the list may read what is not there then: what a step with the same `if` would have returned.
    pub(crate) fn fan_out(&mut self, step: &Step, fan: &FanOut) -> Result<(), DecideError> {
        let key = StepKey::from(&step.id);
        let items = match self.holds_for_none(step) {
            true => Ok(Value::Array(Vec::new())),
            false => fan.items.eval(self.state),
        };
        let items = match items {
            Ok(Value::Array(items)) => items,
            Ok(other) => {
                let wrong = wrong_kind("for_each", &other, "a list: `[ … ]` around it makes one");
                return self.fail_for_good(&key, wrong);
            }
            Err(error) => return self.fail_for_good(&key, no_value("for_each", &error)),
        };
        let most = fan.most();
        if items.len() > most as usize {
            let text = format!(
                "`for_each` gives {} items; {most} are allowed, and none was begun: raise `max_items`, or give it fewer",
                items.len()
            );
            return self.fail_for_good(&key, failure("too-many-items", text));
        }
        let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
        self.emit(Record::FannedOut {
            step: step.id.clone(),
            items: Arc::new(items),
            tolerated: fan.tolerate.of(count),
        })
    }

    /// Whether its `if` says no to all items at once. Where it gives no answer, each item is asked, and fails by itself.
    fn holds_for_none(&self, step: &Step) -> bool {
        let state: &SagaState = self.state;
        let of_all = step.condition.as_ref().filter(|_| !step.asks_of_each());
        of_all.is_some_and(|condition| condition.eval(state) == Ok(Value::Bool(false)))
    }

    /// Moves on a step that is done for each of a list: what is in doubt and tolerated is taken back, items begin while there is room, and when
    /// all are settled the step is done.
    pub(crate) fn spread(&mut self, step: &Step, rule: &FanOut) -> Result<(), DecideError> {
        self.settle_tolerated(&step.id)?;
        if self.state.step(&step.id).map(|s| s.phase) != Some(Phase::FannedOut) {
            return Ok(());
        }
        // What is too much now is too much at the end. Where nothing would be taken back the others are done all the same: a person decides then.
        if step.on_error == OnError::Compensate && !self.state.past_pivot && self.is_too_much(step)
        {
            return self.collected(step);
        }
        while let Some(item) = self.next_item(&step.id, rule) {
            if self.begun >= BEGUN_MAX {
                return self.take_breath(&step.id);
            }
            self.begun += 1;
            let key = StepKey::of_item(step.id.clone(), item);
            self.emit(Record::ItemBegun { step: key.clone() })?;
            crate::advance::begin(self, &key)?;
        }
        match self.fan(&step.id) {
            Some(fan) if self.state.unwinding.is_none() && fan.settled() => self.collected(step),
            _ => Ok(()),
        }
    }

    /// The next item, if one may begin: there is room, and no person is asked about another.
    fn next_item(&self, id: &StepId, rule: &FanOut) -> Option<u32> {
        let most = match breaks(Planted::MoreThanParallel) {
            true => usize::MAX,
            false => rule.max_parallel as usize,
        };
        let fan = self
            .fan(id)
            .filter(|fan| fan.begun() < fan.len() && fan.live.len() < most)?;
        let asked = fan.live.values().any(|item| item.phase == Phase::Parked);
        (self.state.unwinding.is_none() && !asked).then(|| fan.begun())
    }

    /// What one decision may begin is begun; the rest follows at once, in further ones.
    fn take_breath(&mut self, id: &StepId) -> Result<(), DecideError> {
        let step = self.step(&id.into())?;
        if step.due.is_some() {
            return Ok(());
        }
        let phase = step.phase;
        self.move_to(&id.into(), phase, Some(self.now), None, None)
    }

    /// Every item is settled: the step is done, and its output are theirs, unless they are too much to be read by anybody.
    fn collected(&mut self, step: &Step) -> Result<(), DecideError> {
        let key = StepKey::from(&step.id);
        if !self.is_too_much(step) {
            return self.move_to(&key, Phase::Succeeded, None, None, None);
        }
        let fan = self.fan(&step.id);
        let (begun, bytes) = fan.map_or((0, 0), |fan| (fan.begun(), fan.output_bytes));
        let text = format!(
            "its items have returned {bytes} bytes together, and {begun} of them have begun; {COLLECTED_BYTES_MAX} are allowed: have them return references"
        );
        self.fail_for_good(&key, failure("too-large", text))
    }

    fn is_too_much(&self, step: &Step) -> bool {
        let fan = self.fan(&step.id);
        fan.is_some_and(|fan| fan.output_bytes > COLLECTED_BYTES_MAX)
    }

    /// One that is tolerated and may have had an effect is taken back while the saga goes forward.
    fn settle_tolerated(&mut self, id: &StepId) -> Result<(), DecideError> {
        if breaks(Planted::ToleratedLeftInDoubt) {
            return Ok(());
        }
        let now = self.now;
        let ready = |item: &StepState| item.phase == Phase::Doubtful && !item.unsettled(now);
        let in_doubt: Vec<u32> = self.fan(id).map_or_else(Vec::new, |fan| {
            let live = fan.live.iter().filter(|(_, item)| ready(item));
            live.map(|(n, _)| *n).collect()
        });
        for item in in_doubt {
            self.prepare_and_offer_undo(&StepKey::of_item(id.clone(), item))?;
        }
        Ok(())
    }

    /// Whether another item may fail without the step failing.
    pub(crate) fn tolerates(&self, key: &StepKey) -> bool {
        self.fan(&key.step)
            .is_some_and(|fan| fan.failures() < fan.tolerated)
    }

    /// Whether the pivot is under way, or over: from then on nothing is taken back. It is also under way while nobody serves it, or a person is asked
    /// about it: what it waited for is settled, and it is sent without another look.
    pub(crate) fn pivot_has_begun(&self) -> bool {
        let pivot = self.rules.definition.steps.iter().find(|step| step.pivot);
        let phase = pivot.and_then(|step| Some(self.state.step(&step.id)?.phase));
        let begun = phase.is_some_and(|phase| !matches!(phase, Phase::Waiting | Phase::Skipped));
        self.state.past_pivot || begun
    }

    /// Takes back the items of a step, the last first, so many at once as it may have under way.
    pub(crate) fn take_back(&mut self, step: &Step, rule: &FanOut) -> Result<(), DecideError> {
        while let Some(item) = self.next_undo(&step.id, rule) {
            if self.begun >= BEGUN_MAX {
                return self.take_breath(&step.id);
            }
            self.begun += 1;
            self.prepare_and_offer_undo(&StepKey::of_item(step.id.clone(), item))?;
        }
        let undone = |fan: &Fan| fan.gone(self.now) && fan.counts.undone > 0;
        let all = self.fan(&step.id).is_some_and(undone);
        let phase = self.state.step(&step.id).map(|step| step.phase);
        if all
            && matches!(
                phase,
                Some(Phase::Succeeded | Phase::Skipped | Phase::Failed)
            )
        {
            return self.move_to(&(&step.id).into(), Phase::Undone, None, None, None);
        }
        Ok(())
    }

    /// The next item whose undo may begin, if one may.
    fn next_undo(&self, id: &StepId, rule: &FanOut) -> Option<u32> {
        let fan = self.fan(id)?;
        let (mut under_way, mut parked) = (0, 0);
        for item in fan.live.values() {
            match item.phase {
                Phase::Undoing | Phase::UndoBackoff | Phase::UndoUnserved | Phase::UndoInChild => {
                    under_way += 1
                }
                Phase::UndoParked => parked += 1,
                _ => {}
            }
        }
        if under_way >= rule.max_parallel as usize || parked >= UNDO_PARKED_MAX {
            return None;
        }
        let ready = |n: &u32| {
            let item = fan.get(*n);
            item.is_some_and(|item| crate::advance::wants_undo(item) && !item.unsettled(self.now))
        };
        let live = fan.live.keys().rev().copied().find(|n| ready(n));
        live.or_else(|| fan.effects.iter().rev().copied().find(|n| ready(n)))
    }
}
