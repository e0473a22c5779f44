//! What can be done about a work item: what its kind and its step offer, and which of that is taken now.
//!
//! Guarantee: what is called possible is taken by [`decide`] in this state, because it is asked: each choice is tried on a copy. Of an edit and a substitute, whose input nobody knows
//! yet, everything but the input is looked at, by the same function that decides them; and so of what a step that is called done has returned.

use baton_messages::{InputId, StepKey, TaskType, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use super::edit_step::{Substitutes, undone_by_itself};
use super::{DecideError, Deciding, Refusal, Rules, Verdict, decide};
use crate::definition::{Approver, Step, StepKind};
use crate::input::{Approval, Input, Operator, Resolution};
use crate::role::Role;
use crate::state::{Phase, SagaState};
use crate::work_item::{Choice, WorkItem, WorkItemKind};

/// One choice of an open work item, as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Possible {
    /// Which.
    pub choice: Choice,
    /// Why it is not taken just now; none: it is.
    pub refused: Option<String>,
    /// Of one that says that the step is done: whether it has to say what it returned, which is read.
    pub wants_output: bool,
    /// Of a substitute: task types that may be named, those whose names are like the step's own first.
    pub task_types: Vec<TaskType>,
    /// Of a substitute: how many more task types are known, of which nobody looked whether they may be named.
    pub more: usize,
}

/// Whoever asks what is possible decides nothing: what is tried is thrown away.
const NOBODY: InputId = InputId(Uuid::nil());

/// What can be done about an open work item at `now`, by whoever may decide it; none where it is not open.
///
/// # Errors
/// [`DecideError`], as deciding one of them would.
pub fn possible(
    rules: Rules<'_>,
    state: &SagaState,
    number: u32,
    now: Timestamp,
) -> Result<Option<Vec<Possible>>, DecideError> {
    let Some(item) = state.work_items.get(&number) else {
        return Ok(None);
    };
    let now = now.max(state.last_at);
    let mut copy = state.clone();
    let looks = Deciding::looking(rules, &mut copy, now);
    let mut all = Vec::new();
    for choice in looks.choices(item.step.as_ref(), item.kind) {
        let mut wants_output = false;
        let (refused, found) = match (choice, &item.step) {
            (Choice::Edit, Some(step)) => (looks.not_edited(step, None)?, Substitutes::default()),
            (Choice::Substitute, Some(step)) => substituted(&looks, step)?,
            _ => {
                let verdict = tried(rules, state, item, choice, now)?;
                wants_output = matches!(
                    verdict,
                    Some(Verdict::Refused(Refusal::OutputMisfit { .. }))
                );
                (why_not(verdict), Substitutes::default())
            }
        };
        all.push(Possible {
            choice,
            refused,
            wants_output,
            task_types: found.named,
            more: found.more,
        });
    }
    Ok(Some(all))
}

/// Why no other task can be named, and those that can.
fn substituted(
    looks: &Deciding<'_>,
    step: &StepKey,
) -> Result<(Option<String>, Substitutes), DecideError> {
    let found = looks.substitutes(step)?;
    if !found.named.is_empty() {
        return Ok((None, found));
    }
    let refused = match (looks.not_substituted(step)?, found.more) {
        (Some(why), _) => why,
        (None, 0) => format!("no task type that is known could take the place of {step}'s"),
        (None, more) => format!(
            "of {} task types that were looked at none could take the place of {step}'s; {more} more are known (`baton tasks`), and one that fits is taken when it is named",
            found.looked_at
        ),
    };
    Ok((Some(refused), found))
}

/// What comes of a choice that is made now; none where it wants a step and has none.
fn tried(
    rules: Rules<'_>,
    state: &SagaState,
    item: &WorkItem,
    choice: Choice,
    now: Timestamp,
) -> Result<Option<Verdict>, DecideError> {
    let step = item.step.as_ref();
    let defined = step.and_then(|key| rules.definition.step(&key.step));
    let Some(input) = asked(choice, item, decider(defined)) else {
        return Ok(None);
    };
    let mut copy = state.clone();
    Ok(Some(decide(rules, &mut copy, &input, now, 0)?.verdict))
}

/// Why a choice is not taken now; none: it is. What a step has returned nobody has said yet.
fn why_not(verdict: Option<Verdict>) -> Option<String> {
    match verdict {
        Some(Verdict::Applied | Verdict::Refused(Refusal::OutputMisfit { .. })) => None,
        Some(Verdict::Duplicate) => Some("it was done already".to_owned()),
        Some(Verdict::Ignored { why }) => Some(why),
        Some(Verdict::Refused(refusal)) => Some(refusal.to_string()),
        None => Some("it is about no step".to_owned()),
    }
}

/// Somebody who may decide what is asked.
fn decider(step: Option<&Step>) -> Operator {
    let (by, role) = match step.map(|step| &step.kind) {
        Some(StepKind::Approve(asked)) => match &asked.by {
            Approver::Role(role) => ("somebody", *role),
            Approver::Person(name) => (name.as_str(), Role::Operator),
        },
        _ => ("somebody", Role::Operator),
    };
    Operator {
        id: NOBODY,
        by: by.to_owned(),
        role,
        reason: "to see whether it is possible".to_owned(),
        seen: None,
    }
}

/// The input that makes a choice; none where it wants a step and has none, and of what an input has to be given for.
fn asked(choice: Choice, item: &WorkItem, operator: Operator) -> Option<Input> {
    let number = item.number;
    let step = || item.step.clone();
    Some(match choice {
        Choice::Cancel => Input::Cancel(operator),
        Choice::Abandon => Input::Abandon(operator),
        Choice::Admit => Input::Admit(operator),
        Choice::Acknowledge => Input::Acknowledge { number, operator },
        Choice::Retry => Input::RetryStep {
            step: step()?,
            operator,
        },
        Choice::Skip => Input::SkipStep {
            step: step()?,
            operator,
        },
        Choice::ResolveDone => Input::ResolveStep {
            step: step()?,
            resolution: Resolution::Done {
                output: Value::Null,
            },
            operator,
        },
        Choice::ResolveUndone => Input::ResolveStep {
            step: step()?,
            resolution: Resolution::Undone,
            operator,
        },
        Choice::Approve => Input::Approve {
            step: step()?,
            decision: Approval::Approve,
            operator,
        },
        Choice::Reject => Input::Approve {
            step: step()?,
            decision: Approval::Reject,
            operator,
        },
        Choice::Edit | Choice::Substitute => return None,
    })
}

impl<'a> Deciding<'a> {
    /// One that only looks.
    fn looking(rules: Rules<'a>, state: &'a mut SagaState, now: Timestamp) -> Self {
        Self {
            rules,
            next: None,
            state,
            now,
            entropy: 0,
            records: Vec::new(),
            begun: 0,
        }
    }
}

impl Deciding<'_> {
    /// What a work item of a kind offers, as its step stands; in the order of [`Choice::ALL`].
    pub(super) fn choices(&self, step: Option<&StepKey>, kind: WorkItemKind) -> Vec<Choice> {
        let offered = self.by_kind(step, kind);
        let edits = step.map_or(&[][..], |id| self.edits(id));
        // one that had completed its parent alone takes back
        let is_the_parents = self.state.had_completed;
        let cancels = !self.state.past_pivot && self.state.unwinding.is_none() && !is_the_parents;
        let is_offered = |choice: &Choice| {
            offered.contains(choice)
                || edits.contains(choice)
                || (cancels && *choice == Choice::Cancel)
                || *choice == Choice::Abandon
        };
        Choice::ALL.into_iter().filter(is_offered).collect()
    }

    fn by_kind(&self, step: Option<&StepKey>, kind: WorkItemKind) -> &'static [Choice] {
        let at = step.and_then(|id| self.state.at(id));
        let backward = at.is_some_and(|step| step.phase == Phase::UndoParked);
        let asks = step
            .and_then(|id| self.rules.definition.step(&id.step))
            .is_some_and(|step| matches!(step.kind, StepKind::Approve(_)));
        // of a step whose items are all done there is nothing to try again
        let whole_fan = at.is_some_and(|step| step.fan.is_some());
        let in_child = at.is_some_and(|step| step.child.is_some());
        match kind {
            WorkItemKind::HeldBack => &[Choice::Admit],
            WorkItemKind::Approval => &[Choice::Approve, Choice::Reject, Choice::Skip],
            WorkItemKind::StepFailed if asks => {
                &[Choice::Approve, Choice::Reject, Choice::Retry, Choice::Skip]
            }
            WorkItemKind::StepFailed if whole_fan => &[Choice::Skip, Choice::ResolveDone],
            // another child would be begun beside what this one left
            WorkItemKind::StepDoubtful if in_child => &[Choice::Skip, Choice::ResolveDone],
            WorkItemKind::UndoFailed if in_child => &[Choice::ResolveUndone],
            WorkItemKind::StepFailed | WorkItemKind::StepDoubtful => {
                &[Choice::Retry, Choice::Skip, Choice::ResolveDone]
            }
            WorkItemKind::UndoFailed => &[Choice::Retry, Choice::ResolveUndone],
            WorkItemKind::UndoMissing => &[Choice::ResolveUndone],
            WorkItemKind::LateEvidence if step.is_none() => &[Choice::Acknowledge],
            WorkItemKind::LateEvidence if backward => &[Choice::Retry, Choice::ResolveUndone],
            WorkItemKind::LateEvidence => &[Choice::Skip, Choice::ResolveDone],
            WorkItemKind::CancelAfterPivot
            | WorkItemKind::DeadlineAfterPivot
            | WorkItemKind::Broken => &[Choice::Acknowledge],
        }
    }

    /// Whether a parked task, or a parked undo of one, is tried with another input, and by another task: where the task may have changed something with the input it had neither is.
    fn edits(&self, id: &StepKey) -> &'static [Choice] {
        let Some(step) = self.state.at(id).filter(|step| step.phase.asks()) else {
            return &[];
        };
        let defined = self.rules.definition.step(&id.step);
        let of_many = defined.is_some_and(|step| step.fan.is_some()) && id.item.is_none();
        let Some(task) = defined.and_then(Step::task).filter(|_| !of_many) else {
            return &[];
        };
        let backward = step.phase.backward();
        if !backward && step.may_have_effect {
            return &[];
        }
        match backward && undone_by_itself(step, task) {
            true => &[Choice::Substitute],
            false => &[Choice::Edit, Choice::Substitute],
        }
    }
}
