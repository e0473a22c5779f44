//! How a step is taken back, by what its definition and its task type say.

use baton_messages::{Effect, StepId, TaskType};
use serde::Serialize;

use super::{Planner, order};
use crate::definition::{EmitStep, Step, StepKind, UndoPlan};

/// How a step is taken back, and when that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TakenBack {
    /// How.
    #[serde(flatten)]
    pub how: How,
    /// Only where this holds, as it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_when: Option<String>,
}

/// One undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Undo {
    /// Of which step.
    pub step: StepId,
    /// How.
    #[serde(flatten)]
    pub how: How,
    /// It is wanted only where this holds, as it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_when: Option<String>,
    /// When it is needed.
    pub when: When,
}

/// How a step is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum How {
    /// By its own automation.
    Own {
        /// Which.
        task: TaskType,
    },
    /// By another.
    Task {
        /// Which.
        task: TaskType,
    },
    /// By the saga it is, which takes back what it did.
    Saga {
        /// Which.
        saga: String,
        /// In this order, where it is known and not too much to be shown; what stands together is taken back side by side.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        undo: Vec<Vec<Undo>>,
    },
    /// Not at all.
    NotUndone {
        /// Why that is right.
        because: String,
    },
    /// By a person: its automation has no undo.
    ByHand,
    /// Nobody knows yet what its automation does.
    Unknown,
}

impl How {
    /// It, without what lies within it.
    pub(super) fn by_itself(&self) -> Self {
        match self {
            Self::Saga { saga, .. } => Self::Saga {
                saga: saga.clone(),
                undo: Vec::new(),
            },
            other => other.clone(),
        }
    }
}

/// When an undo is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Whenever it was run: it comes before what failed.
    Done,
    /// When it had begun by then: it runs beside what failed.
    Begun,
    /// When nobody knows whether it happened: it is what failed itself.
    InDoubt,
}

impl<'a> Planner<'a> {
    /// What is taken back of a saga that is done.
    pub(super) fn all_back(&self) -> Vec<Vec<Undo>> {
        let steps = &self.definition.steps;
        let before: Vec<Vec<usize>> = steps.iter().map(|step| self.before(step)).collect();
        let back: Vec<usize> = order(&before).into_iter().rev().collect();
        let backs: Vec<Option<TakenBack>> = steps
            .iter()
            .map(|step| self.taken_back(step).or_else(|| said_last(step)))
            .collect();
        let is_undone = |index: usize| backs.get(index).is_some_and(Option::is_some);
        let undo = |index: usize| {
            let back = backs.get(index)?.clone()?;
            Some(Undo {
                step: steps.get(index)?.id.clone(),
                how: back.how,
                only_when: back.only_when,
                when: When::Done,
            })
        };
        let waves = self.waves(&back, is_undone).into_iter();
        waves
            .map(|wave| wave.into_iter().filter_map(undo).collect())
            .collect()
    }

    /// Its own undo. Whether the pivot happened is never guessed: see [`Self::doubt`].
    pub(super) fn in_doubt(&self, step: &Step, backs: &[Option<TakenBack>]) -> Option<Undo> {
        // Of a list the other items are taken back too: they stand among the rest.
        // Of an event that could not be made none was published.
        let one = !step.pivot && step.fan.is_none() && step.task().is_some();
        let back = backs.get(step.index)?.clone().filter(|_| one)?;
        // what the step returned is not known then, so that a condition on that is not asked
        let reads_itself = step
            .task()
            .and_then(|task| task.undo_when.as_ref())
            .is_some_and(|when| when.roots().iter().any(|root| *root == step.id.as_str()));
        Some(Undo {
            step: step.id.clone(),
            how: back.how,
            only_when: back.only_when.filter(|_| !reads_itself),
            when: When::InDoubt,
        })
    }

    /// How a step is taken back, without what lies within it; none where it never is.
    pub(super) fn undo_of(&self, step: &Step, backs: &[Option<TakenBack>]) -> Option<TakenBack> {
        let back = backs.get(step.index)?.as_ref();
        let back = back.filter(|_| !self.is_from_pivot_on(step))?;
        Some(TakenBack {
            how: back.how.by_itself(),
            only_when: back.only_when.clone(),
        })
    }

    /// How a step is taken back, and when; none when there is nothing to take back.
    pub(super) fn taken_back(&self, step: &'a Step) -> Option<TakenBack> {
        let when = step.task().and_then(|task| task.undo_when.as_ref());
        Some(TakenBack {
            how: self.how(step)?,
            only_when: when.map(|when| when.text().to_owned()),
        })
    }

    /// How a step is taken back; none when there is nothing to take back.
    fn how(&self, step: &'a Step) -> Option<How> {
        if let Some(child) = step.child() {
            return Some(How::Saga {
                saga: format!("{}@{}", child.name, child.version),
                undo: self.taken_back_within(child),
            });
        }
        if let StepKind::Emit(emit) = &step.kind {
            return (emit.because.is_some() || !self.definition.ends_with(step))
                .then(|| published(emit));
        }
        let task = step.task()?;
        let manifest = self.manifest(task);
        if manifest.is_some_and(|manifest| manifest.effect == Effect::None) {
            return None;
        }
        Some(match (&task.undo, manifest) {
            (UndoPlan::None { because }, _) => How::NotUndone {
                because: because.clone(),
            },
            (UndoPlan::Task(undo), _) => How::Task {
                task: undo.task_type.clone(),
            },
            (UndoPlan::Own, None) => How::Unknown,
            (UndoPlan::Own, Some(manifest)) if manifest.undo => How::Own {
                task: task.task_type.clone(),
            },
            (UndoPlan::Own, Some(_)) => How::ByHand,
        })
    }
}

/// What was published last of all, where the saga is taken back once it is done.
fn said_last(step: &Step) -> Option<TakenBack> {
    let StepKind::Emit(emit) = &step.kind else {
        return None;
    };
    Some(TakenBack {
        how: published(emit),
        only_when: None,
    })
}

/// An event stays with those that have it.
fn published(emit: &EmitStep) -> How {
    let because = emit.because.as_deref();
    How::NotUndone {
        because: because.unwrap_or("an event is not taken back").to_owned(),
    }
}
