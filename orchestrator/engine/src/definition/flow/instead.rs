//! Whether another task type may stand in for the one a step has: whether whoever reads what the step yields can read what the other yields.
//!
//! Or whether a value may: one that a person names, or one that does not fit its schema.
//!
//! Guarantee: nothing is called unreadable that the step's own task type leaves as unreadable. Who reads what a saga returns to the one above it, an item of a group to what comes
//! after the group, stands in another definition: there it has to return what fits what its definition says it does.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Flow;
use super::children::{Kin, Sagas};
use crate::catalogue::Catalogue;
use crate::definition::diagnostic::{Diagnostic, code};
use crate::definition::{Definition, OnError, Step};
use crate::types::{Object, Property, Type, doubt, misfit, of_schema};

/// What is wrong with whom.
type Wrong = Vec<(String, Diagnostic)>;

/// How closely those are looked at that read what a step yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// At kinds: it is one of several values.
    Kinds,
    /// At this one value: what may not fit does not, and the step's own undo reads it too.
    Value,
}

/// Those that read what a step yields.
pub(crate) struct Readers<'a> {
    definition: &'a Definition,
    catalogue: &'a Catalogue,
    /// What the sagas take and return that steps are.
    sagas: &'a dyn Sagas,
    step: &'a Step,
    own: Option<Type>,
    /// Whether another saga reads what this one returns.
    is_read_above: bool,
    /// What is wrong with them as they are; the same whatever is held against them.
    before: OnceCell<Wrong>,
}

impl<'a> Readers<'a> {
    /// Those of this step; with those of the saga's output above it, where that is read there.
    pub(crate) fn of(
        definition: &'a Definition,
        (catalogue, sagas): (&'a Catalogue, &'a dyn Sagas),
        step: &'a Step,
        is_read_above: bool,
    ) -> Self {
        let own = step.task().and_then(|task| catalogue.get(&task.task_type));
        let own = own.map(|known| of_schema(&known.manifest.output, &known.manifest.output));
        Self {
            definition,
            catalogue,
            sagas,
            step,
            own,
            is_read_above,
            before: OnceCell::new(),
        }
    }

    /// Who of them could not read what, were this the schema of what the step yields; none where each of them can.
    pub(crate) fn cannot_read(&self, output: &Value) -> Option<String> {
        let other = of_schema(output, output);
        if self.own.as_ref() == Some(&other) {
            return None;
        }
        self.unreadable(other)
    }

    /// Who of them could not read what, were this what the step yields, or each of several where it is done for each of a list; none where each of them can, and of a step of which nobody knows
    /// what it yields.
    pub(crate) fn cannot_read_value(&self, values: &[&Value]) -> Option<String> {
        let own = self.own.as_ref()?;
        let step = self.step;
        // whoever reads what may be skipped or tolerated is ready for nothing
        let may_be_nothing = step.condition.is_some()
            || step.on_error == OnError::Continue
            || step.fan.as_ref().is_some_and(|fan| fan.tolerate.any());
        if may_be_nothing && values.iter().all(|value| value.is_null()) {
            return None;
        }
        let read = values.iter().map(|value| as_read(value, own, of_kind));
        self.unreadable(Type::union(read))
    }

    /// Who could not read what, were it this very value that the step, or one item of its list, has yielded: the step's own undo among them. None where each of them can, whatever its
    /// schema says.
    pub(crate) fn cannot_take(&self, value: &Value) -> Option<String> {
        let own = self.own.clone().unwrap_or(Type::Any);
        let one = as_read(value, &own, Type::of_value);
        // the other items of a list are as their schema says
        let other = match self.step.fan {
            Some(_) => Type::union([own, one]),
            None => one,
        };
        let before = self.wrong(None, Look::Value);
        let mut after = self.wrong(Some(other.clone()), Look::Value).into_iter();
        match after.find(|one| !before.contains(one)) {
            Some((reader, one)) => Some(format!("{reader}: {}", one.message)),
            None => self.returns_otherwise(other, Look::Value),
        }
    }

    fn unreadable(&self, other: Type) -> Option<String> {
        let after = self.wrong(Some(other.clone()), Look::Kinds);
        if !after.is_empty() {
            let before = self.before.get_or_init(|| self.wrong(None, Look::Kinds));
            let new = after.into_iter().find(|one| !before.contains(one));
            if let Some((reader, one)) = new {
                return Some(format!("{reader}: {}", one.message));
            }
        }
        self.returns_otherwise(other, Look::Kinds)
    }

    /// Whether the saga would return what whoever reads that above it could not.
    fn returns_otherwise(&self, other: Type, look: Look) -> Option<String> {
        if !self.is_read_above {
            return None;
        }
        let (is, takes) = (self.returned(Some(other)), self.returned(None));
        let why = misfit(&is, &takes);
        let why = why.or_else(|| doubt(&is, &takes).filter(|_| look == Look::Value));
        why.map(|_| {
            format!(
                "output: it would be {}, and whoever reads it above takes {}",
                is.long(),
                takes.long()
            )
        })
    }

    /// What the saga returns, where the step yields this, or what its own task type does.
    fn returned(&self, yields: Option<Type>) -> Type {
        let Some(output) = &self.definition.output else {
            return Type::Null;
        };
        let kin = Kin::of(self.sagas);
        let mut flow = self.flow(&kin, yields);
        flow.learn_outputs();
        flow.shape(&output.shape(), &flow.scope_at_the_end())
    }

    fn flow<'f>(&'f self, kin: &'f Kin<'f>, yields: Option<Type>) -> Flow<'f> {
        Flow {
            instead: yields.map(|of| (self.step.index, of)),
            ..Flow::of_types(self.definition, self.catalogue, kin, BTreeSet::new())
        }
    }

    /// What is wrong with the steps after it and with the saga's output, where the step yields this, or what its own task type does.
    fn wrong(&self, yields: Option<Type>, look: Look) -> Wrong {
        let kin = Kin::of(self.sagas);
        let mut flow = self.flow(&kin, yields);
        flow.learn_outputs();
        let mut all = Vec::new();
        let reads = |one: &&Step| {
            let own = look == Look::Value && one.index == self.step.index;
            own || one.ancestors.contains(&self.step.index)
        };
        for reader in self.definition.steps.iter().filter(reads) {
            flow.step(reader);
            let new = faults(&mut flow, look).into_iter();
            all.extend(new.map(|error| (reader.id.to_string(), error)));
        }
        if let Some(output) = &self.definition.output {
            let scope = flow.scope_at_the_end();
            flow.template(output, &scope, "/output");
        }
        let new = faults(&mut flow, look).into_iter();
        all.extend(new.map(|error| ("output".to_owned(), error)));
        all
    }
}

/// Takes what has been found wrong so far; of one value also what is said to be in doubt.
fn faults(flow: &mut Flow<'_>, look: Look) -> Vec<Diagnostic> {
    let warnings = std::mem::take(&mut flow.checked.warnings).into_iter();
    let doubts = warnings.filter(|one| look == Look::Value && one.code == code::MAY_NOT_FIT);
    let mut all = std::mem::take(&mut flow.checked.errors);
    all.extend(doubts);
    all
}

/// What a value is that is no list and no object: of its kind and not of its one value.
fn of_kind(value: &Value) -> Type {
    match value {
        Value::Null => Type::Null,
        Value::Bool(_) => Type::Bool,
        Value::Number(n) if n.is_f64() => Type::Double,
        Value::Number(_) => Type::INT,
        Value::String(_) => Type::TEXT,
        Value::Array(_) | Value::Object(_) => Type::Any,
    }
}

/// What a value is for those that were written for values of this type, with the keys that such a value may have and this one does not; `plain` says what it is where it is no list and no
/// object.
fn as_read(value: &Value, own: &Type, plain: fn(&Value) -> Type) -> Type {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => plain(value),
        Value::Array(items) => {
            let of = own.alternatives().iter().find_map(|one| match one {
                Type::List(of) => Some(of.as_ref()),
                _ => None,
            });
            let of = of.unwrap_or(&Type::Any);
            Type::list(Type::union(
                items.iter().map(|item| as_read(item, of, plain)),
            ))
        }
        Value::Object(map) => {
            let declared = own.alternatives().iter().find_map(|one| match one {
                Type::Object(object) => Some(object.as_ref()),
                _ => None,
            });
            let known = |key: &str| declared?.key(key);
            let given = map.iter().map(|(key, value)| {
                let of = as_read(value, &known(key).unwrap_or(Type::Any), plain);
                (key.clone(), Property { of, required: true })
            });
            let absent = declared.into_iter().flat_map(|object| &object.properties);
            let absent = absent.filter(|(key, _)| !map.contains_key(*key));
            let absent = absent.map(|(key, one)| {
                let of = one.of.clone();
                let required = false;
                (key.clone(), Property { of, required })
            });
            let properties = given.chain(absent).collect();
            let nothing = || Object::with(BTreeMap::new(), Some(Type::Any));
            let others = declared.cloned().unwrap_or_else(nothing);
            Type::object(Object {
                properties,
                ..others
            })
        }
    }
}
