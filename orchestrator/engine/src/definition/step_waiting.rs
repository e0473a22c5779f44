//! Steps that need no worker: one waits for an event, one for a person, one says something to everybody. None of them has an effect to undo.

use super::EventPattern;
use crate::expr::{Expr, Template};
use crate::input::Operator;
use crate::role::Role;

/// What happens when what a step waits for does not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTimeout {
    /// It has failed: everything done is undone; after the pivot a person decides.
    Fail,
    /// A person decides.
    Park,
    /// The saga goes on; the step's output is null.
    Continue,
}

/// A step that waits for an event. Its output is `{ id, source, type, subject, time, data }`, null where the event has none.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitStep {
    /// Of which type.
    pub event: EventPattern,
    /// Only one for which this is true; reads `event`, the input and the steps before.
    pub when: Option<Expr>,
    /// How long, in milliseconds.
    pub timeout_ms: u64,
    /// What then.
    pub on_timeout: OnTimeout,
    /// How long before the saga's start an event may have been received to count, in milliseconds; clocks that differ are allowed for beyond that.
    pub since_ms: u64,
}

/// Who may decide an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approver {
    /// Whoever has this role, or a higher one.
    Role(Role),
    /// This person, whatever the role.
    Person(String),
}

impl Approver {
    /// A role by its word; any other text is a person's name.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Role::of(text).map_or_else(|| Self::Person(text.to_owned()), Self::Role)
    }

    /// Whether this operator may decide.
    #[must_use]
    pub fn is(&self, operator: &Operator) -> bool {
        match self {
            Self::Role(role) => operator.role >= *role,
            Self::Person(name) => operator.name() == name,
        }
    }
}

impl std::fmt::Display for Approver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Role(role) => role.fmt(f),
            Self::Person(name) => f.write_str(name),
        }
    }
}

/// A step that waits for a person's yes or no. Its output is `{ approved, by, note, at }`.
#[derive(Debug, Clone, PartialEq)]
pub struct ApproveStep {
    /// Who may decide.
    pub by: Approver,
    /// The question; one is made when it is left out.
    pub prompt: Option<Template>,
    /// How long, in milliseconds.
    pub timeout_ms: u64,
    /// What then.
    pub on_timeout: OnTimeout,
    /// Whether a no is an answer like any other; otherwise the step has failed for good.
    pub goes_on_rejected: bool,
}

/// A step that publishes an event. Its output is `{ id }`.
#[derive(Debug, Clone, PartialEq)]
pub struct EmitStep {
    /// Its type, and the key it is published under.
    pub kind: String,
    /// What it is about; yields text.
    pub subject: Option<Template>,
    /// What it says.
    pub data: Option<Template>,
    /// `because`, beside it: why it may be published while the saga may still turn back.
    pub because: Option<String>,
}

impl EmitStep {
    /// Whether it says the same whatever the variables are: then nothing of it can fail.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        let mut parts = self.subject.iter().chain(&self.data);
        parts.all(Template::is_literal)
    }
}
