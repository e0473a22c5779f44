//! A step, read and checked.

use std::collections::BTreeSet;
use std::sync::Arc;

use baton_messages::{Direction, StepId, TaskType};

use super::{ApproveStep, EmitStep, FanOut, Group, ItemRules, RetryPolicy, WaitStep};
use crate::expr::{Expr, Template};

/// One unit of a saga. Steps name each other by their index in [`super::Definition::steps`].
#[derive(Debug, Clone)]
pub struct Step {
    /// Its id, and the name by which expressions reach its output.
    pub id: StepId,
    /// Its own place in the list of steps.
    pub index: usize,
    /// The steps that must be done before it, ascending.
    pub after: Vec<usize>,
    /// The steps that name it in their `after`, ascending.
    pub dependents: Vec<usize>,
    /// Everything that comes before it, over any number of steps.
    pub ancestors: BTreeSet<usize>,
    /// Everything that comes after it, over any number of steps.
    pub descendants: BTreeSet<usize>,
    /// `if`: when it yields false the step is skipped, and its output is null. Of a step that is done for each item of a list the item is; where it asks nothing
    /// of an item, the list is not computed and counts as empty.
    pub condition: Option<Expr>,
    /// `for_each`: it is done for each item of a list.
    pub fan: Option<Box<FanOut>>,
    /// What it does.
    pub kind: StepKind,
    /// From its dispatch on the saga only goes forward. Always a task or a saga.
    pub pivot: bool,
    /// What happens when it has failed for good.
    pub on_error: OnError,
    /// Whose its work items are and by when, where the step itself says so.
    pub item_rules: Option<Box<ItemRules>>,
}

impl Step {
    /// The task it runs, when it is one.
    #[must_use]
    pub fn task(&self) -> Option<&TaskStep> {
        match &self.kind {
            StepKind::Task(task) => Some(task),
            StepKind::Sleep(_)
            | StepKind::Wait(_)
            | StepKind::Approve(_)
            | StepKind::Emit(_)
            | StepKind::Saga(_) => None,
        }
    }

    /// Whether its `if` is asked of each item of its own list, and not once for all of them.
    #[must_use]
    pub fn asks_of_each(&self) -> bool {
        let of_item = |root: &String| root == "item" || root == "index";
        let mut roots = self.condition.iter().flat_map(Expr::roots);
        self.fan.is_some() && roots.any(of_item)
    }

    /// The saga it is, when it is one.
    #[must_use]
    pub fn child(&self) -> Option<&SagaStep> {
        match &self.kind {
            StepKind::Saga(saga) => Some(saga),
            _ => None,
        }
    }
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum StepKind {
    /// Has a worker run a task.
    Task(Box<TaskStep>),
    /// Waits: the template yields text such as `10m`, or a number of milliseconds; read it with [`super::duration_ms_of`].
    Sleep(Template),
    /// Waits for an event.
    Wait(Box<WaitStep>),
    /// Waits for a person.
    Approve(Box<ApproveStep>),
    /// Publishes an event.
    Emit(Box<EmitStep>),
    /// Is another saga.
    Saga(Box<SagaStep>),
}

/// A step that is another saga: its child, which compensates with its root. Its output is the child's.
#[derive(Debug, Clone, PartialEq)]
pub struct SagaStep {
    /// The definition it runs.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Its input.
    pub with: Template,
    /// `timeout`: until when it has to be done, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// `steps`: what it runs stands in place, and its name is the way there.
    pub group: Option<Arc<Group>>,
}

impl SagaStep {
    /// Whether its name could not be read, so that nobody knows which saga it is.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.name.is_empty()
    }
}

/// What happens when a step has failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// Everything done is undone.
    #[default]
    Compensate,
    /// A person decides.
    Park,
    /// The saga goes on; the step's output is null.
    Continue,
}

/// A step that runs a task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskStep {
    /// Which automation.
    pub task_type: TaskType,
    /// Which workers may take it; yields the name of a pool.
    pub pool: Template,
    /// Its input.
    pub with: Template,
    /// `timeout`: how long one attempt may take, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// `queue_timeout`: how long it may wait for a worker, in milliseconds.
    pub queue_timeout_ms: Option<u64>,
    /// `heartbeat`: how long a claimed task counts as alive without a sign of its worker, in milliseconds.
    pub lease_ms: Option<u64>,
    /// How often and when it is tried again.
    pub retry: RetryPolicy,
    /// How it is taken back.
    pub undo: UndoPlan,
    /// How its own automation is tried at taking it back, where `undo` says so and names no other task.
    pub own_undo: OwnUndo,
    /// `undo: { when: … }`: it is taken back only where this holds. Asked when the way back has come to the step, and of its own output only where it is certain whose that is.
    pub undo_when: Option<Expr>,
    /// How to find out whether it happened, when not by its own automation.
    pub probe: Option<ProbePlan>,
}

impl TaskStep {
    /// What runs that way, by what is written: for whoever knows of nothing that was made ready yet.
    #[must_use]
    pub fn runs(&self, direction: Direction) -> &TaskType {
        match (&self.undo, &self.probe, direction) {
            (UndoPlan::Task(undo), _, Direction::Undo) => &undo.task_type,
            (_, Some(probe), Direction::Probe) => &probe.task_type,
            _ => &self.task_type,
        }
    }
}

/// How a step is taken back.
#[derive(Debug, Clone, PartialEq)]
pub enum UndoPlan {
    /// By the automation itself, when it has an undo.
    Own,
    /// Not at all, on purpose.
    None {
        /// Why that is right, for whoever reads what happened.
        because: String,
    },
    /// By another task.
    Task(Box<UndoTask>),
}

/// How often and how long an automation is tried at taking back what it did; as usual where nothing is said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OwnUndo {
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// How often and when it is tried again.
    pub retry: RetryPolicy,
}

/// A task that takes a step back. Its expressions may read the step's own output, which is null when it has none.
#[derive(Debug, Clone, PartialEq)]
pub struct UndoTask {
    /// Which automation.
    pub task_type: TaskType,
    /// Which workers may take it; the step's own pool when absent.
    pub pool: Option<Template>,
    /// Its input.
    pub with: Template,
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// How often and when it is tried again.
    pub retry: RetryPolicy,
    /// What the step says of a second run that may follow a first of which nobody knows: that it does no harm, or that it does; its automation's word where
    /// it says nothing.
    pub idempotent: Option<bool>,
}

/// A task that finds out whether a step happened.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbePlan {
    /// Which automation.
    pub task_type: TaskType,
    /// Its input.
    pub with: Template,
}
