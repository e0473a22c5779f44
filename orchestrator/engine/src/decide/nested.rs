//! A step that is another saga: how its child begins, how it is told what is wanted of it, and when it is told again.

use std::sync::Arc;

use baton_messages::{Failure, INPUT_BYTES_MAX, Standing, StepKey, Wanted};
use serde_json::Value;

use super::fan_out::eyes;
use super::limits::ask_again_ms;
use super::no_value::no_value;
use super::{DecideError, Deciding, failure};
use crate::advance::dependents_gone;
use crate::child::Child;
use crate::definition::{SagaStep, StepKind};
use crate::expr::json_bytes;
use crate::planted::{Planted, breaks};
use crate::record::Record;
use crate::state::{Phase, StepState};
use crate::work_item::WorkItemKind;

impl Deciding<'_> {
    /// The child begins: another one for each doing of the step, since one that has ended begins no more.
    pub(crate) fn begin_child(&mut self, id: &StepKey, saga: &SagaStep) -> Result<(), DecideError> {
        let input = match child_input(self, id, saga) {
            Ok(input) => input,
            Err(failure) => return self.fail_for_good(id, failure),
        };
        if self.step(id)?.child.is_some() {
            self.emit(Record::NewRound { step: id.clone() })?;
        }
        let until = saga.timeout_ms.map(|ms| self.now.plus_ms(ms));
        let again = self.now.plus_ms(ask_again_ms(0));
        let round = self.step(id)?.round;
        let child = baton_messages::SagaId::of_child(self.state.id, &id.step, id.item, round);
        let pivot = self.defined(id)?.pivot;
        self.emit(Record::ChildBegun {
            step: id.clone(),
            child,
            definition: saga.name.clone(),
            version: saga.version,
            input: Arc::new(input),
            until,
            due: until.map_or(again, |until| until.min(again)),
            pivot,
        })
    }

    /// Tells a child what is wanted of it, for the first time or once more.
    fn tell_child(&mut self, id: &StepKey, want: Wanted, why: &str) -> Result<(), DecideError> {
        let Some(child) = self.step(id)?.child.as_deref() else {
            return Ok(());
        };
        let due = child.next_word(want, self.now);
        self.emit(Record::ChildTold {
            step: id.clone(),
            want,
            why: why.to_owned(),
            due,
        })
    }

    /// Tells a child once more what it was told.
    fn tell_again(&mut self, id: &StepKey) -> Result<(), DecideError> {
        let Some(child) = self.step(id)?.child.as_deref() else {
            return Ok(());
        };
        let (want, why) = (child.want, child.why.clone());
        self.tell_child(id, want, &why)
    }

    /// The step's own timer, while it waits for its child: its time is over, or nothing was heard for long.
    pub(crate) fn child_due(&mut self, id: &StepKey) -> Result<(), DecideError> {
        let step = self.step(id)?;
        let Some(child) = step.child.as_deref() else {
            return Ok(());
        };
        // one on which something depends that was let begin before it was done waits until that is gone
        let late = child.until.is_some_and(|until| until <= self.now)
            && dependents_gone(self, self.defined(id)?.index);
        if step.phase == Phase::InChild && child.want == Wanted::Done && late {
            let name = format!("{}@{}", child.definition, child.version);
            let text = format!("{name} was not done within its timeout");
            return self.recall(id, failure("timeout", text));
        }
        self.tell_again(id)
    }

    /// The child is not wanted any more while the saga goes forward: when nothing of it is left the step has failed.
    pub(crate) fn recall(&mut self, id: &StepKey, failure: Failure) -> Result<(), DecideError> {
        let (due, why) = (self.step(id)?.due, failure.message.clone());
        self.move_to(id, Phase::InChild, due, None, Some(failure))?;
        self.tell_child(id, Wanted::Undone, &why)
    }

    /// The saga turns back: every child that is under way is taken back at once. One on which something depends that was let begin before it was done (what lay between was
    /// skipped) has to wait until that is gone.
    pub(crate) fn recall_children(&mut self) -> Result<(), DecideError> {
        for id in self.children(|step| step.phase == Phase::InChild) {
            let index = self.defined(&id)?.index;
            if dependents_gone(self, index) {
                self.undo_child(&id)?;
            }
        }
        Ok(())
    }

    /// A child takes back what it did; one that cannot is for a person.
    pub(crate) fn undo_child(&mut self, id: &StepKey) -> Result<(), DecideError> {
        let Some(child) = self.step(id)?.child.as_deref() else {
            // An operator said that it is done, and it never began: so it stands in records from before anybody was asked to take that back.
            return self.undone(id);
        };
        let (said, wanted) = (child.standing.clone(), child.want);
        if matches!(said, Some(Standing::Compensated { .. })) || breaks(Planted::ChildNotTold) {
            return self.undone(id);
        }
        if let Some(why) = stuck(child) {
            return self.undo_failed(id, why);
        }
        let due = self.step(id)?.due.or(Some(self.now));
        self.move_to(id, Phase::UndoInChild, due, None, None)?;
        if wanted == Wanted::Undone {
            // It was told so already, when its time was over.
            return Ok(());
        }
        self.tell_child(
            id,
            Wanted::Undone,
            "the saga whose step it is takes back what it did",
        )
    }

    /// Every child that is under way hears whether this saga is paused.
    pub(crate) fn tell_children(&mut self) -> Result<(), DecideError> {
        let waits = |step: &StepState| matches!(step.phase, Phase::InChild | Phase::UndoInChild);
        for id in self.children(waits) {
            self.tell_again(&id)?;
        }
        Ok(())
    }

    /// The steps, and items, that are children and stand so.
    fn children(&self, so: impl Fn(&StepState) -> bool) -> Vec<StepKey> {
        let live = self.state.live();
        let children = live.filter(|(_, step)| step.child.is_some() && so(step));
        children.map(|(spot, _)| spot.key()).collect()
    }

    /// Whether a step is another saga.
    pub(crate) fn is_child(&self, id: &StepKey) -> Result<bool, DecideError> {
        Ok(matches!(self.defined(id)?.kind, StepKind::Saga(_)))
    }

    /// The child has said that it will not be undone: a person settles it.
    pub(crate) fn child_is_stuck(&mut self, id: &StepKey) -> Result<(), DecideError> {
        let why = self.step(id)?.child.as_deref().and_then(stuck);
        why.map_or(Ok(()), |why| self.undo_failed(id, why))
    }

    /// A child that has failed with what it left unknown.
    pub(crate) fn child_left_it(&mut self, id: &StepKey, why: Failure) -> Result<(), DecideError> {
        if !self.step(id)?.child.as_deref().is_some_and(Child::stays) {
            return self.doubtful(id, why);
        }
        let title = format!("{id}: {}", why.message);
        self.park(
            id,
            Phase::Parked,
            WorkItemKind::StepDoubtful,
            title,
            Some(why),
        )
    }
}

/// Why a child is never undone by itself, if it is not.
fn stuck(child: &Child) -> Option<Failure> {
    let why = match &child.standing {
        Some(Standing::Abandoned) => "was abandoned; what it left, nobody knows",
        Some(Standing::Completed {
            only_forward: true, ..
        }) => "is past its pivot and is not taken back",
        _ => return None,
    };
    let text = format!(
        "saga {} ({}@{}) {why}",
        child.id, child.definition, child.version
    );
    Some(failure("child", text))
}

fn child_input(d: &Deciding<'_>, id: &StepKey, saga: &SagaStep) -> Result<Value, Failure> {
    let input = saga.with.eval(&eyes(d.state, id));
    let input = input.map_err(|error| no_value("with", &error))?;
    let bytes = json_bytes(&input);
    if bytes > INPUT_BYTES_MAX {
        let text = format!(
            "the input of {}@{} has {bytes} bytes; {INPUT_BYTES_MAX} are allowed",
            saga.name, saga.version
        );
        return Err(failure("too-large", text));
    }
    Ok(input)
}
