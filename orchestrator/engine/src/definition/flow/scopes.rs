//! What the variables of each expression are: the input, the outputs of the steps before, the event, the nominal time.

use super::Flow;
use crate::definition::step::{OnError, StepKind};
use crate::definition::{OnTimeout, Step};
use crate::types::{Object, Scope, Type, of_schema};

/// An event, as triggers and waits see it: attributes it need not have may be absent; of its data nothing is known.
pub(super) fn event() -> Type {
    let mut object = Object::closed([
        ("specversion", Type::TEXT),
        ("id", Type::TEXT),
        ("source", Type::TEXT),
        ("type", Type::TEXT),
        ("subject?", Type::TEXT),
        ("time?", Type::TEXT),
        ("datacontenttype?", Type::TEXT),
        ("dataschema?", Type::TEXT),
        ("data_base64?", Type::TEXT),
        ("data", Type::Any),
    ]);
    // Extension attributes stand beside the others.
    object.rest = Some(Type::Any);
    Type::object(object)
}

/// A nominal time.
pub(super) fn schedule() -> Type {
    Type::object(Object::closed([("time", Type::TEXT)]))
}

impl Flow<'_> {
    /// The saga's input.
    pub(super) fn input(&self) -> Type {
        self.definition
            .input_schema
            .as_ref()
            .map_or(Type::Any, |schema| {
                of_schema(schema.schema(), schema.schema())
            })
    }

    /// What a step yields when it is done by itself; a step that somebody skips by hand is not reckoned with.
    pub(super) fn output_of(&self, step: &Step) -> Type {
        let one = self.output_of_one(step);
        let Some(fan) = &step.fan else {
            return one;
        };
        let without = fan.tolerate.any() || step.condition.is_some();
        Type::list(if without { one.or_null() } else { one })
    }

    /// The same of one item, where the step is done for each of a list.
    fn output_of_one(&self, step: &Step) -> Type {
        if let Some((index, of)) = &self.instead
            && *index == step.index
        {
            return of.clone();
        }
        if self.doubts.broken.contains(&step.index) {
            return Type::Any;
        }
        let maybe = || Type::TEXT.or_null();
        match &step.kind {
            StepKind::Task(task) => self
                .catalogue
                .get(&task.task_type)
                .map_or(Type::Any, |known| {
                    of_schema(&known.manifest.output, &known.manifest.output)
                }),
            StepKind::Sleep(_) => Type::Null,
            StepKind::Wait(_) => Type::object(Object::closed([
                ("id", Type::TEXT),
                ("source", Type::TEXT),
                ("type", Type::TEXT),
                ("subject", maybe()),
                ("time", maybe()),
                ("data", Type::Any),
            ])),
            StepKind::Approve(_) => Type::object(Object::closed([
                ("approved", Type::Bool),
                ("by", Type::TEXT),
                ("note", Type::TEXT),
                ("at", Type::TEXT),
            ])),
            StepKind::Emit(_) => Type::object(Object::closed([("id", Type::TEXT)])),
            StepKind::Saga(saga) => match &saga.group {
                Some(group) => self.output_of_group(step, &group.definition),
                None => self.output_of_child(saga),
            },
        }
    }

    /// What every expression may read: the input, and in a group what is known around it.
    pub(super) fn base(&self) -> Scope {
        let own = || Scope::default().with("input", self.input());
        self.around.clone().unwrap_or_else(own)
    }

    /// The variables of a step's expressions.
    pub(super) fn scope_of(&self, step: &Step) -> Scope {
        let base = self.base();
        let before: Vec<usize> = match self.doubts.unsure.contains(&step.index) {
            // nobody knows what comes before it, and any other may; what it would read of that is known
            true => (0..self.definition.steps.len())
                .filter(|index| *index != step.index)
                .collect(),
            false => step.ancestors.iter().copied().collect(),
        };
        before.into_iter().fold(base, |scope, index| {
            match self.definition.steps.get(index) {
                Some(before) => scope.with(before.id.as_str(), self.seen(before, Some(step))),
                None => scope,
            }
        })
    }

    /// The same, for its undo: its own output too, which it does not have when nobody knows whether it happened.
    pub(super) fn scope_of_undo(&self, step: &Step, scope: &Scope) -> Scope {
        let own = self.output_of_one(step);
        scope.clone().with(step.id.as_str(), own.or_null())
    }

    /// The same, for the condition of its undo: its own output as it returns it, since where there is none the undo is done unasked.
    pub(super) fn scope_of_undo_when(&self, step: &Step, scope: &Scope) -> Scope {
        let own = self.output_of_one(step);
        scope.clone().with(step.id.as_str(), own)
    }

    /// The variables of the saga's output.
    pub(super) fn scope_at_the_end(&self) -> Scope {
        let base = self.base();
        self.definition.steps.iter().fold(base, |scope, step| {
            scope.with(step.id.as_str(), self.seen(step, None))
        })
    }

    /// What a step's output is for who comes after it: null as well when it may have been skipped or tolerated.
    fn seen(&self, step: &Step, reader: Option<&Step>) -> Type {
        let of = self.outputs.get(step.index).cloned().unwrap_or(Type::Any);
        if may_be_skipped(step, reader) || goes_on_without(step) {
            of.or_null()
        } else {
            of
        }
    }
}

/// Whether its `if` may have skipped it. A reader with the very same condition runs only when it did, unless that is asked of each item of a list of its own: there
/// `item` is another one.
fn may_be_skipped(step: &Step, reader: Option<&Step>) -> bool {
    let Some(condition) = step.condition.as_ref().filter(|_| step.fan.is_none()) else {
        // of a step with `for_each` it skips items, and the list is there
        return false;
    };
    let same = reader
        .filter(|reader| !reader.asks_of_each())
        .and_then(|reader| reader.condition.as_ref())
        .is_some_and(|own| own.text() == condition.text());
    !same
}

/// Whether the saga goes on when it has not succeeded.
fn goes_on_without(step: &Step) -> bool {
    let on_timeout = match &step.kind {
        StepKind::Wait(wait) => Some(wait.on_timeout),
        StepKind::Approve(approve) => Some(approve.on_timeout),
        StepKind::Task(_) | StepKind::Sleep(_) | StepKind::Emit(_) | StepKind::Saga(_) => None,
    };
    step.on_error == OnError::Continue || on_timeout == Some(OnTimeout::Continue)
}
