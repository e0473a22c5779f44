//! Whose the work items of a saga are, and by when: `work_items:` of a saga and of a step. Names are computed when an item is opened, from the saga's
//! input alone, so that whatever parks the saga keeps nobody from being named.

use serde_json::Value;

use super::{Definition, Step};
use crate::expr::{Scope, Template};

/// The most escalations of a work item: what nobody of ten has seen to needs another way.
pub const ESCALATIONS_MAX: usize = 10;
/// The longest name of whoever a work item is given to, in bytes: it stands in an index, and people type it.
pub const ASSIGNEE_BYTES_MAX: usize = 128;

/// What a definition says of work items; what it leaves out is said elsewhere, or nowhere.
#[derive(Debug, Clone, Default)]
pub struct ItemRules {
    /// Whose they are.
    pub assign: Option<Who>,
    /// How long after it was opened one should be done, in milliseconds.
    pub due_ms: Option<u64>,
    /// Who gets one that stays open, by rising time; an empty list: nobody.
    pub escalate: Option<Vec<Rung>>,
}

/// Whoever gets a work item that has been open for so long.
#[derive(Debug, Clone)]
pub struct Rung {
    /// How long after it was opened, in milliseconds.
    pub after_ms: u64,
    /// Who.
    pub to: Who,
}

/// A person or a team.
#[derive(Debug, Clone)]
pub struct Who {
    /// As it is written.
    pub text: String,
    /// What the name is computed by.
    pub template: Template,
}

impl Who {
    /// The name, with what is given; none where it cannot be computed, or is none.
    #[must_use]
    pub fn name(&self, given: &dyn Scope) -> Option<String> {
        let text = match self.template.eval(given).ok()? {
            Value::String(text) => text,
            value @ (Value::Bool(_) | Value::Number(_)) => value.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        assignee(&text).ok().map(str::to_owned)
    }
}

/// The name a text is of whom a work item may be given to.
///
/// # Errors
/// Why it is none, fitting after the text.
pub fn assignee(text: &str) -> Result<&str, &'static str> {
    let name = text.trim();
    if name.is_empty() {
        return Err("is empty");
    }
    if name.len() > ASSIGNEE_BYTES_MAX {
        return Err("is longer than 128 bytes");
    }
    if name.chars().any(char::is_control) {
        return Err("holds control characters");
    }
    Ok(name)
}

/// What holds for the work items of one step, or for those about the whole saga.
#[derive(Debug, Clone, Copy)]
pub struct RulesOfItem<'d> {
    /// Whose they are.
    pub assign: Option<&'d Who>,
    /// How long after it was opened one should be done, in milliseconds.
    pub due_ms: Option<u64>,
    /// Who gets one that stays open, by rising time.
    pub escalate: &'d [Rung],
}

impl Definition {
    /// What holds for the work items of a step, or for those about the whole saga: what the step says, else the saga, key by key.
    #[must_use]
    pub fn rules_of_items(&self, step: Option<&Step>) -> RulesOfItem<'_> {
        let own = step.and_then(|step| self.steps.get(step.index));
        let own = own.and_then(|step| step.item_rules.as_deref());
        let all = self.item_rules.as_deref();
        let both = || own.into_iter().chain(all);
        RulesOfItem {
            assign: both().find_map(|rules| rules.assign.as_ref()),
            due_ms: both().find_map(|rules| rules.due_ms),
            escalate: both()
                .find_map(|rules| rules.escalate.as_deref())
                .unwrap_or_default(),
        }
    }
}
