//! Why a saga stays on the version it runs: one typed reason for each thing that differs, with the step it is about and what to do. Never with a value of the
//! saga's, which may be private.

use baton_messages::StepId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most reasons that are told of one saga: whoever mends the first sees the next.
pub const REASONS_MAX: usize = 16;

/// What kind of reason it is; stable, to group and to branch on.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "UpgradeReasonKind")]
pub enum ReasonKind {
    /// It has ended.
    Ended,
    /// It takes back what it did.
    Unwinding,
    /// It is a step of another saga.
    Child,
    /// It runs this version.
    There,
    /// Its input does not fit the other version's schema.
    Input,
    /// It would take other locks, or other places of a limit.
    Reservation,
    /// Its deadline would be over.
    Deadline,
    /// A step that has begun is no more.
    StepGone,
    /// A step that has begun is of another kind, or of another task type, or runs another saga.
    StepType,
    /// A step that has begun would have been given something else.
    StepInput,
    /// A step that has begun would have been skipped, or one that was skipped would have run.
    Branch,
    /// A list of items, or how many of them may fail or run at once, is another one.
    Items,
    /// What is waited for, asked or said is something else, or for another time.
    Waiting,
    /// A failure that was tolerated would not have been.
    Tolerated,
    /// A step stands before one that has begun, and is not done.
    Before,
    /// The order in which what was done has to be undone is lost.
    UndoOrder,
    /// What was done could no more be undone.
    UndoGone,
    /// The undo of what was done cannot be made from what is known.
    UndoUnfit,
    /// How it is found out whether a step happened is another one.
    Probe,
    /// A step that has begun becomes the pivot, or was it.
    Pivot,
}

impl ReasonKind {
    /// What to do about it.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::Ended => "nothing: what has ended stays as it ended",
            Self::Unwinding => {
                "nothing: it is undone by the version that it was done by; start it anew once it is compensated"
            }
            Self::Child => {
                "a child runs the version its parent's definition names, to its end; children that begin later are of the version the moved parent names"
            }
            Self::There => "nothing: it is there",
            Self::Input => "let the new version's `input` take what sagas were started with",
            Self::Reservation => {
                "leave `locks`, `concurrency` and `blast_radius` as they are, or let it end on its version: what is held is neither taken nor let go while it runs"
            }
            Self::Deadline => "give the new version a longer `deadline`, or let it end",
            Self::StepGone => "keep the step, also where it is needed no more",
            Self::StepType => {
                "give the changed step a new id, after what has begun, and keep the old one"
            }
            Self::StepInput => {
                "leave `with` of what has begun as it is; a new step after it may do the rest"
            }
            Self::Branch => "leave `if` of what has begun as it is",
            Self::Items => {
                "leave `for_each`, `tolerate` and `max_parallel` of what has begun as they are"
            }
            Self::Waiting => {
                "leave it as it is while it is waited for, or move the saga when that is over"
            }
            Self::Tolerated => "leave `on_error` and `on_timeout` of what has begun as they are",
            Self::Before => "put the step after what has begun (`after:`)",
            Self::UndoOrder => "keep `after:` between steps that were done",
            Self::UndoGone => "keep an undo for what was done",
            Self::UndoUnfit => {
                "let the new undo read only what this saga's steps returned, and have a worker announce its task type"
            }
            Self::Probe => "leave `probe` of what is under way as it is, or move the saga later",
            Self::Pivot => {
                "leave the pivot where it is: what was done was done before it, or after"
            }
        }
    }
}

/// One thing that keeps a saga on its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "UpgradeReason")]
pub struct Reason {
    /// What kind of thing.
    pub kind: ReasonKind,
    /// The step it is about, where it is about one.
    pub step: Option<StepId>,
    /// What differs.
    pub what: String,
}

impl Reason {
    /// About the saga as a whole.
    pub(crate) fn of_saga(kind: ReasonKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            step: None,
            what: what.into(),
        }
    }

    /// About a step.
    pub(crate) fn of_step(kind: ReasonKind, step: &StepId, what: impl Into<String>) -> Self {
        Self {
            kind,
            step: Some(step.clone()),
            what: what.into(),
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(step) = &self.step {
            write!(f, "step {step}: ")?;
        }
        f.write_str(&self.what)
    }
}

/// All of them in one text.
pub(crate) fn sentence(reasons: &[Reason]) -> String {
    let all: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    all.join("; ")
}
