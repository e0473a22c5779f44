//! `undo.when`: whether a step that may have had an effect is taken back at all. Only a plain *no* leaves what it did: where the condition cannot be asked, or gives no answer, the undo is
//! done. An undo too many is safe by what every undo promises (it accepts that nothing happened, and touches nothing but what `do` would have left), and seen; one too few is neither.

use baton_messages::StepKey;
use serde_json::Value;

use super::fan_out::eyes;
use super::{DecideError, Deciding};
use crate::advance::wants_undo;
use crate::expr::kind_of;
use crate::record::Record;
use crate::state::{Phase, SagaState};

impl Deciding<'_> {
    /// Whether nothing of a step is to be taken back, by its definition. That the undo is done because nobody can say is noted.
    pub(super) fn undo_is_unwanted(&mut self, id: &StepKey) -> Result<bool, DecideError> {
        let Some(when) = self.task(id)?.undo_when.clone() else {
            return Ok(false);
        };
        if !wants_undo(self.step(id)?) {
            // It has been asked before, and nobody serves the undo yet, or a person has it tried again.
            return Ok(false);
        }
        let reads_itself = when.roots().iter().any(|root| *root == id.step.as_str());
        let why = if reads_itself && !answers(self.state, id) {
            "nobody knows what it did by itself".to_owned()
        } else {
            match when.eval(&eyes(self.state, id)) {
                Ok(Value::Bool(wanted)) => return Ok(!wanted),
                Ok(other) => format!("it gives {}, and not true or false", kind_of(&other)),
                Err(error) => error.to_string(),
            }
        };
        let what = format!("`undo.when` of {id} says nothing: {why}; it is undone");
        self.emit(Record::Noted { what })?;
        Ok(false)
    }

    /// What the step did stays, and counts as taken back.
    pub(super) fn not_wanted(&mut self, id: &StepKey) -> Result<(), DecideError> {
        self.close_work_item_of(id, "its undo is not wanted")?;
        self.emit(Record::Moved {
            step: id.clone(),
            to: Phase::Undone,
            due: None,
            output: None,
            failure: None,
            unwanted: true,
            by_hand: None,
        })
    }
}

/// Whether what a step returned says what it has done: it has succeeded, and nobody else may have had the same effect. A second try that found what the first had left would say of it
/// that it was there already.
fn answers(state: &SagaState, id: &StepKey) -> bool {
    let told = state.output_of(id).is_some();
    told && state
        .at(id)
        .is_some_and(|step| step.phase == Phase::Succeeded && !step.doubted)
}
