//! What the API says of a saga, as far as it is shown here. Fields this version does not know are let pass.

use std::collections::BTreeMap;

use baton_engine::work_item::Choice;
use baton_messages::Failure;
use serde::Deserialize;
use serde_json::Value;

/// A saga of a list.
#[derive(Debug, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) definition: String,
    pub(crate) version: u32,
    pub(crate) status: String,
    pub(crate) paused: bool,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) started_at: u64,
    pub(crate) ended_at: Option<u64>,
}

/// One saga.
#[derive(Debug, Deserialize)]
pub(crate) struct Saga {
    #[serde(flatten)]
    pub(crate) row: Row,
    pub(crate) by: String,
    pub(crate) now: u64,
    pub(crate) deadline_at: Option<u64>,
    pub(crate) unwinding: Option<Value>,
    pub(crate) output: Option<Value>,
    pub(crate) steps: Vec<Step>,
    pub(crate) work_items: Vec<Item>,
}

/// One step.
#[derive(Debug, Deserialize)]
pub(crate) struct Step {
    pub(crate) id: String,
    pub(crate) task: Option<String>,
    pub(crate) phase: String,
    pub(crate) since: u64,
    pub(crate) began_at: Option<u64>,
    pub(crate) tries: u32,
    pub(crate) pivot: bool,
    pub(crate) why: Option<String>,
    pub(crate) last_failure: Option<Failure>,
}

/// One work item.
#[derive(Debug, Deserialize)]
pub(crate) struct Item {
    pub(crate) number: u32,
    pub(crate) kind: String,
    pub(crate) step: Option<String>,
    pub(crate) title: String,
    pub(crate) owner: String,
    pub(crate) failure: Option<Failure>,
    pub(crate) choices: Vec<Choice>,
    pub(crate) opened_at: u64,
}

impl Item {
    /// The commands that act on it, as they are typed.
    pub(crate) fn commands(&self, saga: &str) -> Vec<String> {
        let step = self.step.as_deref().unwrap_or("STEP");
        self.choices
            .iter()
            .map(|choice| match choice {
                Choice::Retry => format!("baton retry {saga} {step} -m WHY"),
                Choice::Skip => format!("baton skip {saga} {step} -m WHY"),
                Choice::ResolveDone => format!("baton resolve {saga} {step} --as done -m WHY"),
                Choice::ResolveUndone => format!("baton resolve {saga} {step} --as undone -m WHY"),
                Choice::Approve => format!("baton approve {saga} {step} -m NOTE"),
                Choice::Reject => format!("baton reject {saga} {step} -m WHY"),
                Choice::Cancel => format!("baton cancel {saga} -m WHY"),
                Choice::Acknowledge => format!("baton acknowledge {saga} {}", self.number),
                Choice::Abandon => format!("baton abandon {saga} -m WHY"),
            })
            .collect()
    }
}
