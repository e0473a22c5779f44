//! Work items: what a named person has to decide or do, with the choices that are possible now.

use baton_messages::{Failure, InputId, StepKey, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::Record;
use crate::state::SagaState;

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
    /// So many of its kind were begun lately that it waits.
    HeldBack,
    /// The engine itself could not decide; the input is kept.
    Broken,
}

impl WorkItemKind {
    /// Whether the saga can end only after it is closed. The others close by themselves at the end, an approval with its step, what holds back when it no longer does.
    #[must_use]
    pub const fn blocks(self) -> bool {
        !matches!(
            self,
            Self::CancelAfterPivot | Self::DeadlineAfterPivot | Self::Approval | Self::HeldBack
        )
    }
}

/// What can be done about a work item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// Try again.
    Retry,
    /// Try again with another input.
    Edit,
    /// Have another task type do it, or take it back.
    Substitute,
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
    /// Let it through, whatever was begun lately.
    Admit,
    /// Take back what was done.
    Cancel,
    /// Seen; nothing more to do.
    Acknowledge,
    /// Give the saga up, with a reason.
    Abandon,
}

impl Choice {
    /// All of them, in the order they are offered in.
    pub const ALL: [Self; 12] = [
        Self::Admit,
        Self::Approve,
        Self::Reject,
        Self::Retry,
        Self::Edit,
        Self::Substitute,
        Self::Skip,
        Self::ResolveDone,
        Self::ResolveUndone,
        Self::Acknowledge,
        Self::Cancel,
        Self::Abandon,
    ];

    /// Its name, as in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Edit => "edit",
            Self::Substitute => "substitute",
            Self::Skip => "skip",
            Self::ResolveDone => "resolve-done",
            Self::ResolveUndone => "resolve-undone",
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Admit => "admit",
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
    /// Whose it is: a person or a team. Nobody's when none, and then its owner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assignee: Option<String>,
    /// When it should be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// Who gets it while it stays open, by time; all of them, those it has been escalated to included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalate: Vec<Escalation>,
    /// To how many of these it has been escalated.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub escalated: u32,
    /// Who gave it to whom it belongs now, where somebody did by hand: it is escalated no further until it is given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
    /// The ids of what was last said about whose it is and by when, newest last: said again, each of them changes nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub said: Vec<InputId>,
}

/// Changes of whose a work item is that are known again when they come a second time: whoever asks again does so within seconds. Remembered with the item and not with the
/// saga, so that an item that goes round for years makes nothing grow.
const SAID_KEPT: usize = 8;

/// Who gets a work item that is still open then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Escalation {
    /// When.
    pub at: Timestamp,
    /// Who: a person or a team.
    pub to: String,
}

/// That a work item was given to somebody by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Taken {
    /// By whom: whose it is, where he took it himself.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// Whose it was before anybody took it; there it goes when it is given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Whether it was given to a team: any of it may take it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub team: bool,
}

/// What somebody does about whose a work item is, and by when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Assignment {
    /// Whose it is from now on; none leaves that as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whose: Option<Whose>,
    /// When it should be done, in milliseconds from now; none leaves that as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
}

/// Whose a work item becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whose {
    /// His who says so.
    Mine,
    /// This person's.
    Of(String),
    /// This team's: of no single person, and any of it may take it.
    Team(String),
    /// Whose it was before it was taken; it is escalated again.
    Back,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl WorkItem {
    /// The next escalation that is to come, with its number from 1; none while somebody has taken it, and after the last.
    #[must_use]
    pub fn next_escalation(&self) -> Option<(u32, &Escalation)> {
        if self.taken.is_some() {
            return None;
        }
        let next = self.escalate.get(usize::try_from(self.escalated).ok()?)?;
        Some((self.escalated + 1, next))
    }

    /// Whether it should have been done.
    #[must_use]
    pub fn overdue(&self, now: Timestamp) -> bool {
        self.due_at.is_some_and(|due| due <= now)
    }

    /// Who is to act, for people: whose it is, else its owner.
    #[must_use]
    pub fn who(&self) -> &str {
        self.assignee.as_deref().unwrap_or(&self.owner)
    }

    /// Folds what somebody did about whose it is.
    fn assigned(&mut self, change: &Assigned, at: Timestamp) {
        if let Some(id) = change.id {
            let beyond = (self.said.len() + 1).saturating_sub(SAID_KEPT);
            self.said.drain(..beyond.min(self.said.len()));
            self.said.push(id);
        }
        if let Some(due_at) = change.due_at {
            self.due_at = Some(due_at);
        }
        match &change.to {
            AssignedTo::AsBefore => {}
            AssignedTo::Taken { name, team } => {
                let before = self.assignee.replace(name.clone());
                let from = match self.taken.take() {
                    Some(taken) => taken.from,
                    None => before,
                };
                self.taken = Some(Taken {
                    by: change.by.clone(),
                    at,
                    reason: change.reason.clone(),
                    from,
                    team: *team,
                });
            }
            AssignedTo::Back => self.assignee = self.taken.take().and_then(|taken| taken.from),
        }
    }
}

/// Folds a record about work items.
pub(crate) fn folded(state: &mut SagaState, record: &Record, at: Timestamp) {
    match record {
        Record::WorkItemOpened { item } => {
            state.work_items_opened = item.number;
            state.work_items.insert(item.number, (**item).clone());
        }
        Record::WorkItemClosed { number, .. } => {
            state.work_items.remove(number);
        }
        Record::WorkItemEscalated { number, to } => {
            if let Some(item) = state.work_items.get_mut(number) {
                item.escalated += 1;
                item.assignee = Some(to.clone());
            }
        }
        Record::WorkItemAssigned(change) => {
            if let Some(item) = state.work_items.get_mut(&change.number) {
                item.assigned(change, at);
            }
        }
        _ => {}
    }
}

/// What somebody did about whose a work item is, as the history keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// The action's id; of what was said before these were kept here, it stands in a record of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<InputId>,
    /// Which.
    pub number: u32,
    /// Whose it is from now on.
    pub to: AssignedTo,
    /// When it should be done, where that was said anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Whose a work item became.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AssignedTo {
    /// Whose it was.
    AsBefore,
    /// This one's, by hand.
    Taken {
        /// A person or a team.
        name: String,
        /// Whether it is a team.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        team: bool,
    },
    /// Whose it was before it was taken.
    Back,
}
