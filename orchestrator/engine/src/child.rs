//! A step that is another saga, and a saga that is a step of another one: what each knows of the other. Neither reads the other's state; all that
//! passes between them are [`ChildWanted`] and [`ChildSaid`], made here from what is, so that sent again they say what holds then.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_messages::child::CHILD_OUTPUT_BYTES_MAX;
use baton_messages::{
    ChildSaid, ChildWanted, Failure, ParentRef, SagaId, Standing, StepKey, Timestamp, Wanted,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decide::limits::ask_again_ms;
use crate::expr::json_bytes;
use crate::fold::{FoldError, moved};
use crate::record::Record;
use crate::state::{Cause, Phase, SagaState, Status, StepState};

/// How deep sagas may lie within each other: a child of the root is 1. Deeper, and nobody sees any more what one cancel takes back.
pub const DEPTH_MAX: u32 = 8;

/// What a step knows of its child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Child {
    /// Which saga it is.
    pub id: SagaId,
    /// The definition it runs.
    pub definition: String,
    /// Its version.
    pub version: u32,
    /// Its input; shared with the record that began it.
    pub input: Arc<Value>,
    /// Until when it has to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What is wanted of it.
    pub want: Wanted,
    /// Why, for people.
    pub why: String,
    /// How often it was told.
    pub number: u32,
    /// How often it was told since it last said something new.
    pub asked: u32,
    /// The last word of it that counts.
    pub seen: u64,
    /// What it said; of a completed one without its output, which is the step's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
}

impl Child {
    /// Whether it has completed and only goes forward: it is not taken back.
    #[must_use]
    pub const fn stays(&self) -> bool {
        matches!(
            self.standing,
            Some(Standing::Completed {
                only_forward: true,
                ..
            })
        )
    }

    /// When it is told the next time after it is told this now, if it says nothing new before.
    pub(crate) fn next_word(&self, want: Wanted, now: Timestamp) -> Timestamp {
        let again = now.plus_ms(ask_again_ms(self.asked.saturating_add(1)));
        match (self.until, want) {
            (Some(until), Wanted::Done) if until > now => again.min(until),
            _ => again,
        }
    }
}

/// What a child knows of its parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parent {
    /// Whose step it is.
    pub of: ParentRef,
    /// The saga at the top.
    pub root: SagaId,
    /// How deep it lies.
    pub depth: u32,
    /// The last word of the parent that was heard.
    pub heard: u32,
    /// What it wants.
    pub want: Wanted,
    /// Whether it is paused, and this saga with it.
    pub paused: bool,
    /// The numbers of the locks of the sagas above.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fences: BTreeMap<String, u64>,
}

/// What the parent wants of the child of a step, as things are.
#[must_use]
pub fn wanted(state: &SagaState, key: &StepKey) -> Option<ChildWanted> {
    let step = state.at(key)?;
    let child = step.child.as_deref()?;
    let (root, depth) = state
        .parent
        .as_ref()
        .map_or((state.id, 0), |parent| (parent.root, parent.depth));
    Some(ChildWanted {
        child: child.id,
        parent: ParentRef {
            saga: state.id,
            step: key.step.clone(),
            item: key.item,
            round: step.round,
        },
        root,
        depth: depth + 1,
        number: child.number,
        definition: child.definition.clone(),
        version: child.version,
        // Who has said something has begun, and reads it no more.
        input: match child.standing {
            None => child.input.as_ref().clone(),
            Some(_) => Value::Null,
        },
        want: child.want,
        paused: state.paused,
        why: child.why.clone(),
        fences: state.fences(),
    })
}

/// What a child says of itself, as things are; none of a saga that has no parent.
#[must_use]
pub fn said(state: &SagaState) -> Option<ChildSaid> {
    let parent = state.parent.as_ref()?;
    Some(ChildSaid {
        parent: parent.of.clone(),
        child: state.id,
        seq: state.seq,
        standing: standing(state),
    })
}

fn standing(state: &SagaState) -> Standing {
    let only_forward = state.past_pivot;
    match state.status {
        Status::Completed => {
            let bytes = state.output.as_ref().map_or(0, json_bytes);
            let fits = bytes <= CHILD_OUTPUT_BYTES_MAX;
            Standing::Completed {
                output: state.output.clone().filter(|_| fits),
                too_large: (!fits).then_some(bytes as u64),
                no_output: state.no_output.clone(),
                only_forward,
            }
        }
        Status::Compensated => Standing::Compensated {
            failure: state.unwinding.as_ref().and_then(why_undone),
        },
        Status::Abandoned => Standing::Abandoned,
        Status::New | Status::Running | Status::Compensating | Status::Parked => {
            Standing::UnderWay {
                compensating: state.unwinding.is_some(),
                parked: (state.status == Status::Parked).then(|| asks(state)),
                only_forward,
            }
        }
    }
}

/// What is asked of a person first.
fn asks(state: &SagaState) -> String {
    let mut blocking = state.work_items.values().filter(|one| one.kind.blocks());
    let title = blocking.next().map(|one| one.title.as_str());
    title.unwrap_or("a person has to decide").to_owned()
}

/// Why a child is compensated, as its parent is told; none where the parent wanted it.
fn why_undone(cause: &Cause) -> Option<Failure> {
    let told = |code: &str, message: String| {
        Some(Failure {
            code: code.to_owned(),
            message,
            retryable: false,
            retry_after_ms: None,
        })
    };
    match cause {
        Cause::StepFailed { step, failure } => {
            told(&failure.code, format!("{step}: {}", failure.message))
        }
        Cause::Cancelled { by, reason } => {
            told("cancelled", format!("{by} cancelled it: {reason}"))
        }
        Cause::Deadline => told("deadline", "its deadline passed".to_owned()),
        Cause::LateEvidence { step } => {
            told("late-evidence", format!("{step} had happened after all"))
        }
        Cause::Refused { failure } => Some(failure.clone()),
        Cause::Parent { .. } => None,
    }
}

/// What a word of a child says, but for the output, which is kept once.
#[must_use]
fn without_output(standing: &Standing) -> Standing {
    match standing {
        Standing::Completed {
            too_large,
            no_output,
            only_forward,
            ..
        } => Standing::Completed {
            output: None,
            too_large: *too_large,
            no_output: no_output.clone(),
            only_forward: *only_forward,
        },
        other => other.clone(),
    }
}

/// A step's child begins: from here on something of it may have happened.
pub(crate) fn begun(
    step: &mut StepState,
    key: &StepKey,
    record: &Record,
    at: Timestamp,
) -> Result<(), FoldError> {
    let Record::ChildBegun {
        child,
        definition,
        version,
        input,
        until,
        due,
        ..
    } = record
    else {
        return Ok(());
    };
    moved(step, key, Phase::InChild, Some(*due), at)?;
    step.began_at.get_or_insert(at);
    step.may_have_effect = true;
    step.child = Some(Box::new(Child {
        id: *child,
        definition: definition.clone(),
        version: *version,
        input: input.clone(),
        until: *until,
        want: Wanted::Done,
        why: String::new(),
        number: 1,
        asked: 0,
        seen: 0,
        standing: None,
    }));
    Ok(())
}

/// A child has said how it stands; what it returns is what the step returns.
pub(crate) fn heard(step: &mut StepState, seq: u64, standing: &Standing) {
    let Some(child) = &mut step.child else {
        return;
    };
    child.seen = seq;
    let says = Some(without_output(standing));
    if child.standing != says {
        // Who only says the same again is asked more and more rarely.
        child.asked = 0;
        child.standing = says;
    }
    if let Standing::Completed {
        output: Some(output),
        ..
    } = standing
        // Later steps may have read it.
        && step.phase == Phase::InChild
    {
        step.output = Some(output.clone());
    }
}
