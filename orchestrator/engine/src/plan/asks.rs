//! Whose the work items of a definition are and by when: of the saga, and of each step that says otherwise.

use baton_messages::StepId;
use serde::Serialize;

use crate::definition::{Definition, Step};

/// Whose work items are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asks {
    /// Of which step; none: of every other, and of the saga itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepId>,
    /// Whose, as it is written; none: nobody's.
    pub assign: Option<String>,
    /// How long after it was opened one should be done, in milliseconds.
    pub due_ms: Option<u64>,
    /// Who gets one that stays open.
    pub escalate: Vec<Rung>,
}

/// Whoever gets a work item that has been open for so long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rung {
    /// How long, in milliseconds.
    pub after_ms: u64,
    /// Who, as it is written.
    pub to: String,
}

/// The saga's first, where it says anything, then each step's that does.
pub(super) fn asks(definition: &Definition) -> Vec<Asks> {
    let all = definition.item_rules.as_ref().map(|_| None);
    let steps = definition.steps.iter();
    let own = steps.filter(|step| step.item_rules.is_some()).map(Some);
    let whose = all.into_iter().chain(own);
    whose.map(|step| of(definition, step)).collect()
}

fn of(definition: &Definition, step: Option<&Step>) -> Asks {
    let rules = definition.rules_of_items(step);
    let rungs = rules.escalate.iter().map(|rung| Rung {
        after_ms: rung.after_ms,
        to: rung.to.text.clone(),
    });
    Asks {
        step: step.map(|step| step.id.clone()),
        assign: rules.assign.map(|who| who.text.clone()),
        due_ms: rules.due_ms,
        escalate: rungs.collect(),
    }
}
