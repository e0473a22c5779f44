//! What the expressions of a saga read: its input, or, of an item of a group, what was captured of what is around that; and what its steps returned.

use serde_json::Value;

use crate::definition::{Around, OnlyInput, group_in};
use crate::expr::Scope;
use crate::state::{Phase, SagaState};

impl SagaState {
    /// What its expressions read without any step: the input; of an item of a group, what was captured of what is around that.
    #[must_use]
    pub fn given(&self) -> Box<dyn Scope + '_> {
        match group_in(&self.definition) {
            Some(_) => Box::new(Around(&self.input)),
            None => Box::new(OnlyInput(&self.input)),
        }
    }
}

impl Scope for SagaState {
    fn get(&self, name: &str) -> Option<&Value> {
        match group_in(&self.definition) {
            None if name == "input" => return Some(&self.input),
            None => {}
            // no step of the group is called as what is around it
            Some(_) => {
                if let Some(captured) = self.input.get(name) {
                    return Some(captured);
                }
            }
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
