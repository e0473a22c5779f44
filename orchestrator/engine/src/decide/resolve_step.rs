//! `ResolveStep`: an operator says, with a reason, that a step is done, or undone, by hand.
//!
//! What a person did is an effect like a worker's, and the saga answers for it: on the way back somebody is asked to take it back, since nothing that is stored says what it was. What he says
//! that it returned is held against what the steps after it read.

use baton_messages::{Effect, StepKey};
use serde_json::Value;

use super::operator::{FOR_THE_HISTORY, unreasoned, word};
use super::{DecideError, Deciding, Handled, Refusal, Verdict};
use crate::definition::StepKind;
use crate::input::{Operator, Resolution};
use crate::level::Feature;
use crate::record::{ByHand, Record};
use crate::state::Phase;

pub(super) fn resolve_step(
    d: &mut Deciding<'_>,
    step: &StepKey,
    how: &Resolution,
    operator: &Operator,
) -> Handled {
    if let Some(verdict) = d.precheck_step(step, operator) {
        return Ok(verdict);
    }
    if let Some(verdict) = unreasoned(operator, "resolve", FOR_THE_HISTORY) {
        return Ok(verdict);
    }
    let phase = d.step(step)?.phase;
    match (phase, how) {
        (Phase::Parked | Phase::Listening, Resolution::Done { output }) => {
            if let Some(refusal) = d.not_yours(step, "resolve", operator)? {
                return Ok(Verdict::Refused(refusal));
            }
            let output = &d.as_typed_by_hand(step, output)?;
            if let Some(misfit) = d.unread_as_said(step, output)? {
                let step = step.clone();
                return Ok(Verdict::Refused(Refusal::OutputMisfit { step, misfit }));
            }
            d.applied(operator, "resolve-done")?;
            d.close_work_item_of(step, &operator.by)?;
            d.done_by_hand(step, output, &operator.by)?;
        }
        (Phase::UndoParked | Phase::UndoBackoff | Phase::UndoUnserved, Resolution::Undone) => {
            d.applied(operator, "resolve-undone")?;
            d.undone(step)?;
        }
        (_, Resolution::Done { .. } | Resolution::Undone) => {
            let asked = match how {
                Resolution::Done { .. } => "done",
                Resolution::Undone => "undone",
            };
            let why = format!(
                "{step} is {}; it cannot be called {asked} by hand",
                word(phase)
            );
            return Ok(Verdict::Refused(Refusal::NotNow {
                action: "resolve",
                why,
            }));
        }
    }
    Ok(Verdict::Applied)
}

impl Deciding<'_> {
    /// A person has done what the step was to do.
    fn done_by_hand(&mut self, id: &StepKey, output: &Value, by: &str) -> Result<(), DecideError> {
        let (effect, pivot) = (self.leaves_something(id)?, self.defined(id)?.pivot);
        let known = self.step(id)?.output.as_ref() == Some(output);
        // to an older program such a step has no effect: it must not come to read one half of this and write the other
        let is_read = Feature::Handwork.is_read_at(self.rules.level);
        let by_hand = (is_read && (effect || pivot)).then(|| {
            Box::new(ByHand {
                by: by.to_owned(),
                effect,
                pivot,
            })
        });
        self.emit(Record::Moved {
            step: id.clone(),
            to: Phase::Succeeded,
            due: None,
            output: (!known).then(|| output.clone()),
            failure: None,
            unwanted: false,
            by_hand,
        })
    }

    /// Whether there is something to take back once a step is done, whoever did it. Of a list whose items have begun each item answers for itself.
    fn leaves_something(&self, id: &StepKey) -> Result<bool, DecideError> {
        let step = self.step(id)?;
        if step.fan.is_some() {
            return Ok(false);
        }
        Ok(match &self.defined(id)?.kind {
            StepKind::Saga(_) => true,
            StepKind::Task(task) => {
                let ready = step.forward.as_ref().map(|ready| ready.facts.effect);
                let known = || Some(self.rules.catalogue.get(&task.task_type)?.manifest.effect);
                // of a type nobody knows it is not known that it only looks
                ready.or_else(known) != Some(Effect::None)
            }
            StepKind::Sleep(_) | StepKind::Wait(_) | StepKind::Approve(_) | StepKind::Emit(_) => {
                false
            }
        })
    }

    /// What a task is said to have returned, with every integer of its schema as expressions have it, as if a worker had said it.
    fn as_typed_by_hand(&self, id: &StepKey, output: &Value) -> Result<Value, DecideError> {
        let defined = self.defined(id)?;
        let task = defined.task().map(|task| &task.task_type);
        let Some(known) = task.and_then(|task| self.rules.catalogue.get(task)) else {
            return Ok(output.clone());
        };
        let typed = |one: &Value| known.whole_numbers(one).unwrap_or_else(|| one.clone());
        let of_many = defined.fan.is_some() && id.item.is_none();
        Ok(match output {
            Value::Array(all) if of_many => all.iter().map(typed).collect(),
            one => typed(one),
        })
    }

    /// Which step could not read what a task is said to have returned, and why; none where each of them can. Of what a type nobody knows returns nothing is known to be wrong.
    fn unread_as_said(&self, id: &StepKey, output: &Value) -> Result<Option<String>, DecideError> {
        let defined = self.defined(id)?;
        let readers = self.readers(id)?;
        let of_many = defined.fan.is_some() && id.item.is_none();
        Ok(match (of_many, output) {
            (false, one) => readers.cannot_read_value(&[one]),
            (true, Value::Array(all)) if !all.is_empty() => {
                readers.cannot_read_value(&all.iter().collect::<Vec<_>>())
            }
            // what reads the list itself says so
            (true, _) => None,
        })
    }
}
