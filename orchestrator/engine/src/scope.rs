//! What the expressions of a saga read: its input, or, of an item of a group, what was captured of what is around that; and what its steps returned.

use serde_json::Value;

use crate::definition::group_in;
use crate::expr::Scope;
use crate::state::{Phase, SagaState};

/// What the expressions of a saga read without any step.
pub(crate) struct Given<'a>(pub(crate) &'a SagaState);

impl Scope for Given<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        given(self.0, name)
    }
}

/// The input; of an item of a group, what was captured of what is around that.
fn given<'a>(state: &'a SagaState, name: &str) -> Option<&'a Value> {
    match group_in(&state.definition) {
        None => (name == "input").then_some(&state.input),
        Some(_) => state.input.get(name),
    }
}

impl Scope for SagaState {
    fn get(&self, name: &str) -> Option<&Value> {
        // no step of a group is called as what is around it
        if let Some(given) = given(self, name) {
            return Some(given);
        }
        let step = self.steps.get(name)?;
        match step.phase {
            Phase::Skipped | Phase::Continued => Some(&Value::Null),
            Phase::Waiting
            | Phase::Unserved
            | Phase::Trying
            | Phase::Backoff
            | Phase::Settling
            | Phase::Probing
            | Phase::ProbeBackoff
            | Phase::Sleeping
            | Phase::Listening
            | Phase::Asked
            | Phase::FannedOut
            | Phase::InChild
            | Phase::Succeeded
            | Phase::Failed
            | Phase::Doubtful
            | Phase::Parked
            | Phase::Undoing
            | Phase::UndoUnserved
            | Phase::UndoBackoff
            | Phase::UndoInChild
            | Phase::UndoParked
            | Phase::Undone => Some(step.output.as_ref().unwrap_or(&Value::Null)),
        }
    }
}
