//! A saga definition: the versioned, immutable YAML document, read and checked. Whoever holds a [`Definition`] holds one whose shape,
//! names, order and references are right; everything wrong with a document is reported at once, each at its line and column.
//!
//! The way: `yaml` makes a tree with places, the `read` files give it shape, `graph` puts the steps in order, `check` holds what
//! concerns several steps.

mod check;
mod diagnostic;
pub mod duration;
mod event_pattern;
mod explain;
mod fan_out;
mod flow;
mod graph;
mod group;
mod item_rules;
mod json_schema;
mod meant;
mod read;
mod read_fan_out;
mod read_group;
mod read_item_rules;
mod read_reserves;
mod read_retry;
mod read_saga;
mod read_step;
mod read_task;
mod read_trigger;
mod read_waiting;
mod reader;
mod reserves;
mod retry;
mod schedule;
mod schema;
mod schema_faults;
mod schema_words;
mod single;
mod step;
mod step_waiting;
mod subschemas;
mod trigger;
mod yaml;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_constant;
#[cfg(test)]
mod tests_flow;
#[cfg(test)]
mod tests_handed;
#[cfg(test)]
mod tests_help;
#[cfg(test)]
mod tests_promised;
#[cfg(test)]
mod tests_told;
#[cfg(test)]
mod tests_triggers;
#[cfg(test)]
mod tests_waiting;

use std::sync::Arc;

use baton_messages::StepId;
use serde_json::Value;

pub use diagnostic::Diagnostic;
pub use duration::{DURATION_MS_MAX, duration_ms, duration_ms_of, duration_text};
pub use event_pattern::{EVENT_TYPE_BYTES_MAX, EventPattern, event_type};
pub use explain::{Explanation, explain, explanations};
pub use fan_out::{FanOut, Tolerate};
pub use flow::{
    Checked, NoSagas, Sagas, Together, TypedExpression, Unannounced, check, check_among, in_order,
    mistakes_of_types, named,
};

pub(crate) use flow::{Around, ListSite, Readers};
pub use group::{Group, group_in, registered_as};
pub use item_rules::{
    ASSIGNEE_BYTES_MAX, ESCALATIONS_MAX, ItemRules, RulesOfItem, Rung, Who, assignee,
};
pub use json_schema::json_schema;
pub(crate) use reserves::OnlyInput;
pub use reserves::{
    LIMIT_MAX, LOCKS_MAX, Limit, LimitKey, LockName, PER_MS_MAX, RESERVED_NAME_BYTES_MAX, Reserves,
};
pub use retry::{Attempts, Jitter, RetryPolicy};
pub use schedule::{CATCH_UP_MAX, CatchUp, Overlap, Schedule, ScheduleError, rfc3339};
pub(crate) use schema::misfits;
pub use schema::{InputMisfit, InputSchema};
pub use step::{
    OnError, OwnUndo, ProbePlan, SagaStep, Step, StepKind, TaskStep, UndoPlan, UndoTask,
};
pub use step_waiting::{ApproveStep, Approver, EmitStep, OnTimeout, WaitStep};
pub use trigger::{
    CANCEL_REASON_CHARS_MAX, EventRule, OnHit, ScheduleRule, TRIGGERS_MAX, Trigger, hook_source,
    hook_type,
};

use crate::expr::{Expr, Template};

/// The longest document, in bytes: a thousand steps of a dozen lines fit, and it still travels in one message.
pub const DEFINITION_BYTES_MAX: usize = 384 * 1024;

/// The most steps of a saga. Beyond it a saga wants to be several, and what is kept for each pair of steps stays small.
pub const STEPS_MAX: usize = 1_000;

/// The most labels of a saga: each is an index entry for each saga.
pub const LABELS_MAX: usize = 16;

/// Who gets a saga's work items when the definition names nobody.
pub const OWNER_DEFAULT: &str = "operator";

/// A checked saga definition. Cheap enough to share behind an `Arc`, not meant to be cloned for each saga.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Its name, `quarantine-host`.
    pub saga: String,
    /// Its version, from 1. The same name and version never change.
    pub version: u32,
    /// One line for people.
    pub title: Option<String>,
    /// Who gets the work items of its sagas.
    pub owner: String,
    /// What starts its sagas by itself; only those of the newest version of a definition are live.
    pub triggers: Vec<Trigger>,
    /// What the input must look like; anything when absent.
    pub input_schema: Option<InputSchema>,
    /// How long after its start a saga may take up to its pivot, in milliseconds.
    pub deadline_ms: Option<u64>,
    /// Searchable words, computed from the input at the start, in the order of the document.
    pub labels: Vec<(String, Template)>,
    /// What a saga takes before its first step, if it takes anything.
    pub reserves: Option<Box<Reserves>>,
    /// Whose its work items are and by when, where no step says otherwise.
    pub item_rules: Option<Box<ItemRules>>,
    /// The steps in the order of the document; an index into this list is what steps call each other by.
    pub steps: Vec<Step>,
    /// What the saga yields when it has completed.
    pub output: Option<Template>,
    /// The YAML, byte for byte.
    pub source: Arc<str>,
}

impl Definition {
    /// Reads and checks a document.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the document; never an empty list.
    pub fn parse(yaml: &str) -> Result<Self, Vec<Diagnostic>> {
        read::definition(yaml)
    }

    /// The step of this id.
    #[must_use]
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == *id)
    }

    /// The step after whose dispatch the saga only goes forward.
    #[must_use]
    pub fn pivot(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.pivot)
    }

    /// Whether the saga can only go forward once a step has begun: it is the pivot, or comes after it and runs only where the pivot was sent. A pivot that its
    /// `if` skips is never sent, and the way back stays open: of what comes after it only what has the very same `if` is certain not to run then. One that is
    /// tolerated (`on_error: continue`) may fail before it is sent, and then all that comes after it runs.
    #[must_use]
    pub fn only_forward(&self, step: &Step) -> bool {
        let Some(pivot) = self.pivot() else {
            return false;
        };
        if step.index == pivot.index {
            return true;
        }
        if pivot.on_error == OnError::Continue {
            return false;
        }
        let same = |condition: &Expr| {
            // of a list it is asked of each item, which may be called as what the pivot reads
            let of_item = |root: &String| root == "item" || root == "index";
            let other = step.fan.is_some() && condition.roots().iter().any(of_item);
            step.condition.as_ref() == Some(condition) && !other
        };
        step.ancestors.contains(&pivot.index) && pivot.condition.as_ref().is_none_or(same)
    }

    /// Every kind of event its triggers and its waits look for: what has to reach whoever takes events in, from its registration on, since a wait
    /// takes what came before it.
    pub fn events(&self) -> impl Iterator<Item = EventPattern> {
        let triggers = self.triggers.iter().filter_map(Trigger::pattern);
        let steps = self.all_steps().into_iter();
        let waits = steps.filter_map(|step| match &step.kind {
            StepKind::Wait(wait) => Some(wait.event.clone()),
            StepKind::Task(_)
            | StepKind::Sleep(_)
            | StepKind::Approve(_)
            | StepKind::Emit(_)
            | StepKind::Saga(_) => None,
        });
        triggers.chain(waits)
    }

    /// Whether a step is the last one: all others come before it, or only publish events and cannot fail at that.
    #[must_use]
    pub fn ends_with(&self, step: &Step) -> bool {
        self.steps.iter().all(|other| {
            other.index == step.index
                || step.ancestors.contains(&other.index)
                || matches!(&other.kind, StepKind::Emit(emit) if other.condition.is_none() && emit.is_fixed())
        })
    }

    /// Whether an input fits the definition's schema.
    ///
    /// # Errors
    /// What does not fit and where, for people; without the values themselves, which may be private.
    pub fn check_input(&self, input: &Value) -> Result<(), String> {
        self.input_schema
            .as_ref()
            .map_or(Ok(()), |schema| schema.check(input))
    }
}
