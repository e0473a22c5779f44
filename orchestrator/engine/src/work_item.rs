//! Work items: what a named person has to decide or do, with the choices that are possible now.

use baton_messages::{Failure, StepKey, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of decision is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WorkItemKind {
    /// A step failed for good where nothing can be taken back by itself.
    StepFailed,
    /// Nobody can tell whether a step happened, and nothing can be taken back by itself.
    StepDoubtful,
    /// An undo failed for good.
    UndoFailed,
    /// A step has an effect and no undo.
    UndoMissing,
    /// A report came after the end and shows an effect nobody knew of.
    LateEvidence,
    /// Somebody asked to cancel after the pivot.
    CancelAfterPivot,
    /// The deadline passed after the pivot.
    DeadlineAfterPivot,
    /// A step asks for a yes or a no.
    Approval,
    /// The engine itself could not decide; the input is kept.
    Broken,
}

impl WorkItemKind {
    /// Whether the saga can end only after it is closed. The others close by themselves at the end, an approval with its step.
    #[must_use]
    pub const fn blocks(self) -> bool {
        !matches!(
            self,
            Self::CancelAfterPivot | Self::DeadlineAfterPivot | Self::Approval
        )
    }
}

/// What can be done about a work item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// Try again.
    Retry,
    /// Go on without the step; its output is null.
    Skip,
    /// Say, with a reason, that it was done by hand.
    ResolveDone,
    /// Say, with a reason, that it was undone by hand (or never happened).
    ResolveUndone,
    /// Say yes.
    Approve,
    /// Say no.
    Reject,
    /// Take back what was done.
    Cancel,
    /// Seen; nothing more to do.
    Acknowledge,
    /// Give the saga up, with a reason.
    Abandon,
}

impl Choice {
    /// Its name, as in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Skip => "skip",
            Self::ResolveDone => "resolve-done",
            Self::ResolveUndone => "resolve-undone",
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Cancel => "cancel",
            Self::Acknowledge => "acknowledge",
            Self::Abandon => "abandon",
        }
    }
}

/// One open work item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkItem {
    /// Its number within its saga.
    pub number: u32,
    /// What is asked for.
    pub kind: WorkItemKind,
    /// The step it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepKey>,
    /// Who is to act: the definition's owner, or whom an approval asks.
    pub owner: String,
    /// A sentence for people.
    pub title: String,
    /// The last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What can be done now.
    pub choices: Vec<Choice>,
    /// Since when.
    pub opened_at: Timestamp,
}
