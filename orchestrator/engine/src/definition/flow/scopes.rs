//! What the variables of each expression are: the input, the outputs of the steps before, the event, the nominal time.

use super::Flow;
use crate::definition::step::{OnError, StepKind};
use crate::definition::{OnTimeout, Step};
use crate::types::{Cause, Object, Scope, Type, of_schema};

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
                Some(before) => self.with_output(scope, before, Some(step)),
                None => scope,
            }
        })
    }

    /// The same, for its undo: its own output too, which it does not have when nobody knows whether it happened.
    pub(super) fn scope_of_undo(&self, step: &Step, scope: &Scope) -> Scope {
        let own = self.output_of_one(step);
        let id = step.id.as_str();
        let why = Cause::May("it may not be known whether it happened");
        let scope = scope.clone().with(id, own.or_null());
        scope.because(id.to_owned(), why)
    }

    /// The same, for the condition of its undo: its own output as it returns it, since where there is none the undo is done unasked.
    pub(super) fn scope_of_undo_when(&self, step: &Step, scope: &Scope) -> Scope {
        let own = self.output_of_one(step);
        scope.clone().with(step.id.as_str(), own)
    }

    /// The variables of the saga's output.
    pub(super) fn scope_at_the_end(&self) -> Scope {
        let base = self.base();
        self.definition
            .steps
            .iter()
            .fold(base, |scope, step| self.with_output(scope, step, None))
    }

    /// The output of a step as a variable, and why something in it is null.
    fn with_output(&self, scope: Scope, step: &Step, reader: Option<&Step>) -> Scope {
        let id = step.id.as_str();
        let scope = scope.with(id, self.seen(step, reader));
        let scope = match &step.kind {
            StepKind::Wait(_) => ["subject", "time"].iter().fold(scope, |scope, key| {
                scope.because(
                    format!("{id}.{key}"),
                    Cause::May("an event need not have one"),
                )
            }),
            StepKind::Saga(_) => scope.made(id),
            StepKind::Task(_) | StepKind::Sleep(_) | StepKind::Approve(_) | StepKind::Emit(_) => {
                scope
            }
        };
        let asked = self.asked.get(step.index).and_then(Option::as_ref);
        let yields = self.outputs.get(step.index);
        let is_there = step.fan.is_none() && !goes_on_without(step);
        let scope = match asked.filter(|_| is_there && yields.is_some_and(|of| !of.may_be_null())) {
            Some(asked) => scope.runs_where(id, asked),
            None => scope,
        };
        let whole = why_skipped(step, reader).or_else(|| why_without(step));
        let whole = whole.map(Cause::May);
        let (whole, item) = match (self.nothing(step), step.fan.is_some()) {
            (nothing, true) => (whole, nothing.or_else(|| why_not_an_item(step))),
            (nothing, false) => (nothing.or(whole), None),
        };
        let causes = [(id.to_owned(), whole), (format!("{id}[]"), item)];
        causes
            .into_iter()
            .fold(scope, |scope, (place, cause)| match cause {
                Some(cause) => scope.because(place, cause),
                None => scope,
            })
    }

    /// What a step is that returns nothing, whatever happens.
    fn nothing(&self, step: &Step) -> Option<Cause> {
        let read_another = "take it out, or read another step";
        let (is, help) = match &step.kind {
            StepKind::Sleep(_) => ("is a sleep, which returns nothing", read_another),
            StepKind::Saga(saga) => match &saga.group {
                Some(group) if group.definition.output.is_none() => (
                    "is of a group without `output`, which returns nothing",
                    "add `output: { … }` to the group",
                ),
                None if self.output_of_child(saga) == Type::Null => (
                    "is of a saga without `output`, which returns nothing",
                    "add `output: { … }` to that saga, or read another step",
                ),
                Some(_) | None => return None,
            },
            StepKind::Task(_) | StepKind::Wait(_) | StepKind::Approve(_) | StepKind::Emit(_) => {
                return None;
            }
        };
        Some(Cause::Always { is, help })
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

fn why_skipped(step: &Step, reader: Option<&Step>) -> Option<&'static str> {
    may_be_skipped(step, reader).then_some("its `if` may skip it")
}

fn why_without(step: &Step) -> Option<&'static str> {
    goes_on_without(step).then_some(match step.on_error {
        OnError::Continue => "`on_error: continue` goes on without it",
        OnError::Compensate | OnError::Park => "`on_timeout: continue` goes on without it",
    })
}

/// Why an item of a step with `for_each` may be null.
fn why_not_an_item(step: &Step) -> Option<Cause> {
    let tolerates = step.fan.as_ref().is_some_and(|fan| fan.tolerate.any());
    let why = match (tolerates, step.condition.is_some()) {
        (true, _) => "`tolerate` goes on without it",
        (false, true) => "the `if` may skip it",
        (false, false) => return None,
    };
    Some(Cause::May(why))
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
