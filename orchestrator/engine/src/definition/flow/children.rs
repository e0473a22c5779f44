//! A step that is another saga, against that saga's definition: that there is one, what it takes and returns, whether it can be taken back, and that
//! sagas do not lie within each other without end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::Flow;
use super::safety::pivot_before;
use super::values::Target;
use crate::child::DEPTH_MAX;
use crate::definition::diagnostic::code;
use crate::definition::reader::nearest;
use crate::definition::step::{SagaStep, Step, StepKind};
use crate::definition::{Definition, OnError, group_in};
use crate::types::{Scope, Type};

/// The definitions a document may name: those that are registered, or that stand beside it.
pub trait Sagas {
    /// One of them.
    fn saga(&self, name: &str, version: u32) -> Option<&Definition>;
    /// The names of all, with their versions: `restore-host@1`.
    fn names(&self) -> Vec<String>;
    /// Whether these are all there are: what is not among them cannot run.
    fn all(&self) -> bool;
}

impl std::fmt::Debug for dyn Sagas + '_ {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// Nothing is known of other definitions.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSagas;

impl Sagas for NoSagas {
    fn saga(&self, _: &str, _: u32) -> Option<&Definition> {
        None
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    fn all(&self) -> bool {
        false
    }
}

/// Definitions that are known together: files side by side, or what is registered.
#[derive(Debug, Clone, Default)]
pub struct Together {
    sagas: BTreeMap<(String, u32), Arc<Definition>>,
    more: Vec<String>,
    all: bool,
}

impl Together {
    /// Those of these documents that can be read; others may be registered somewhere.
    #[must_use]
    pub fn beside<'t>(documents: impl IntoIterator<Item = &'t str>) -> Self {
        let mut together = Self::default();
        let read = documents.into_iter().map(Definition::parse);
        for definition in read.filter_map(Result::ok) {
            together.add(Arc::new(definition));
        }
        together
    }

    /// All there are: these, and those of these names, into which nobody needs to look.
    #[must_use]
    pub fn registered(names: Vec<String>) -> Self {
        Self {
            sagas: BTreeMap::new(),
            more: names,
            all: true,
        }
    }

    /// One more.
    pub fn add(&mut self, definition: Arc<Definition>) {
        let key = (definition.saga.clone(), definition.version);
        self.sagas.insert(key, definition);
    }
}

impl Sagas for Together {
    fn saga(&self, name: &str, version: u32) -> Option<&Definition> {
        if let Some((saga, way)) = group_in(name) {
            let of = self.sagas.get(&(saga.to_owned(), version))?;
            return of.group(way).map(Arc::as_ref);
        }
        let found = self.sagas.get(&(name.to_owned(), version));
        found.map(Arc::as_ref)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.sagas.keys().map(|(n, v)| format!("{n}@{v}")).collect();
        names.extend(self.more.iter().cloned());
        names
    }

    fn all(&self) -> bool {
        self.all
    }
}

/// The sagas that the steps of a document name, as far as it can be read.
#[must_use]
pub fn named(source: &str) -> Vec<(String, u32)> {
    let read = crate::definition::read::partial(source).definition;
    read.as_ref().map_or_else(Vec::new, Definition::names)
}

/// The places of documents in the order in which they can be registered: what a document names comes before it. Those that name each other stay as
/// they are.
#[must_use]
pub fn in_order(documents: &[&str]) -> Vec<usize> {
    let read = |source: &&str| {
        let read = crate::definition::read::partial(source).definition;
        read.map_or_else(Default::default, |definition| {
            let named = definition.names();
            (Some((definition.saga, definition.version)), named)
        })
    };
    let read: Vec<(Option<Id>, Vec<Id>)> = documents.iter().map(read).collect();
    let mut left: Vec<usize> = (0..documents.len()).collect();
    let mut order = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |at: &usize| {
            let named = read.get(*at).map_or(&[][..], |(_, named)| named);
            let is_left = |other: &usize| {
                let id = read.get(*other).and_then(|(id, _)| id.as_ref());
                other != at && id.is_some_and(|id| named.contains(id))
            };
            left.iter().any(is_left)
        };
        let next = left.iter().position(|at| !waits(at)).unwrap_or(0);
        order.push(left.remove(next));
    }
    order
}

/// A definition by its name and version.
pub(super) type Id = (String, u32);

/// The definitions a document may name, with what was found out about them: where many steps name the same one, on every level, each is looked at once.
pub(super) struct Kin<'a> {
    sagas: &'a dyn Sagas,
    outputs: RefCell<BTreeMap<Id, Type>>,
    pivots: RefCell<BTreeMap<Id, Option<String>>>,
    events: RefCell<BTreeMap<Id, Option<String>>>,
    /// How many levels each is with those within it.
    levels: RefCell<BTreeMap<Id, u32>>,
}

impl<'a> Kin<'a> {
    pub(super) fn of(sagas: &'a dyn Sagas) -> Self {
        Self {
            sagas,
            outputs: RefCell::default(),
            pivots: RefCell::default(),
            events: RefCell::default(),
            levels: RefCell::default(),
        }
    }

    /// The pivot of a saga, or of one within it.
    fn pivot_within(&self, id: &Id, saga: &Definition) -> Option<String> {
        self.first_within(&self.pivots, Definition::pivot, (id, saga), 0)
    }

    /// An event that a saga, or one within it, publishes without a word of why it may be told though the saga turns back.
    pub(super) fn event_within(&self, id: &Id, saga: &Definition) -> Option<String> {
        self.first_within(&self.events, told_at_the_end, (id, saga), 0)
    }

    /// The first step of a saga, or of one within it, that is such a one, by the way there. Those in a circle, or too deep, are refused for that.
    fn first_within(
        &self,
        all: &RefCell<BTreeMap<Id, Option<String>>>,
        own: fn(&Definition) -> Option<&Step>,
        (id, saga): (&Id, &Definition),
        depth: u32,
    ) -> Option<String> {
        if let Some(step) = own(saga) {
            return Some(step.id.to_string());
        }
        if depth > DEPTH_MAX {
            return None;
        }
        if let Some(known) = all.borrow().get(id) {
            return known.clone();
        }
        let found = saga.steps.iter().find_map(|step| {
            let child = step.child()?;
            let id = (child.name.clone(), child.version);
            let within = child.definition(self.sagas)?;
            let found = self.first_within(all, own, (&id, within), depth + 1)?;
            Some(format!("{}.{found}", step.id))
        });
        all.borrow_mut().insert(id.clone(), found.clone());
        found
    }

    /// How many levels a saga is with those within it, below the way that leads to it; or why there may be none such.
    fn levels(&self, saga: &SagaStep, way: &mut Vec<Id>) -> Result<u32, Nested> {
        let this = (saga.name.clone(), saga.version);
        if way.contains(&this) {
            let names = way.iter().chain([&this]);
            let names = names.map(|(name, version)| format!("{name}@{version}"));
            return Err(Nested::Circle(names.collect()));
        }
        let known = self.levels.borrow().get(&this).copied();
        let Some(definition) = saga.definition(self.sagas) else {
            return deep(way, &this, 1);
        };
        if let Some(levels) = known {
            return deep(way, &this, levels);
        }
        // the first way that is too deep ends the look: no more than that is asked
        deep(way, &this, 1)?;
        way.push(this.clone());
        let mut below = 0;
        for child in definition.steps.iter().filter_map(Step::child) {
            below = below.max(self.levels(child, way)?);
        }
        way.pop();
        self.levels.borrow_mut().insert(this, below + 1);
        Ok(below + 1)
    }
}

/// The first step that publishes an event and says no `because`.
fn told_at_the_end(saga: &Definition) -> Option<&Step> {
    let says_no_more =
        |step: &&Step| matches!(&step.kind, StepKind::Emit(emit) if emit.because.is_none());
    saga.steps.iter().find(says_no_more)
}

/// A saga as people know it: a group by the id of its step.
fn shown((name, version): &Id) -> String {
    match group_in(name) {
        Some((_, way)) => way.rsplit('/').next().unwrap_or(way).to_owned(),
        None => format!("{name}@{version}"),
    }
}

/// Why sagas may not lie within each other so.
enum Nested {
    /// The first of those that lie too deep, from below the saga at the top.
    TooDeep(Vec<String>),
    /// A way that comes back to where it was.
    Circle(Vec<String>),
}

/// How many of those that lie too deep are told.
const DEEP_TOLD: usize = 3;

/// So many levels, of a saga and those within it, below a way, which begins with the saga at the top.
fn deep(way: &[Id], this: &Id, levels: u32) -> Result<u32, Nested> {
    let above = u32::try_from(way.len())
        .unwrap_or(u32::MAX)
        .saturating_sub(1);
    match above.saturating_add(levels) > DEPTH_MAX {
        true => {
            let below = way.iter().chain([this]).skip(1);
            Err(Nested::TooDeep(below.take(DEEP_TOLD).map(shown).collect()))
        }
        false => Ok(levels),
    }
}

impl Flow<'_> {
    fn known(&self, saga: &SagaStep) -> Option<&Definition> {
        self.kin.sagas.saga(&saga.name, saga.version)
    }

    /// What the saga returns, as far as its definition says.
    pub(super) fn output_of_child(&self, saga: &SagaStep) -> Type {
        let Some(child) = self.known(saga) else {
            return Type::Any;
        };
        // Whoever names itself, or lies too deep, is refused for that.
        if self.above.len() > DEPTH_MAX as usize {
            return Type::Any;
        }
        let mut above = self.above.clone();
        let id = (saga.name.clone(), saga.version);
        if !above.insert(id.clone()) {
            return Type::Any;
        }
        if let Some(known) = self.kin.outputs.borrow().get(&id) {
            return known.clone();
        }
        let of = super::output_type(child, self.catalogue, self.kin, above);
        let mut outputs = self.kin.outputs.borrow_mut();
        outputs.insert(id, of.clone());
        of
    }

    pub(super) fn child(&mut self, step: &Step, saga: &SagaStep, scope: &Scope, at: &str) {
        if saga.group.is_some() {
            return self.group(step, saga, scope, at);
        }
        let sagas = self.kin.sagas;
        let place = match self.says(at, "with") {
            true => format!("{at}/with"),
            false => at.to_owned(),
        };
        if saga.is_unreadable() {
            return self.template(&saga.with, scope, &place);
        }
        let itself = self.way().contains(&(saga.name.clone(), saga.version));
        let child = sagas.saga(&saga.name, saga.version);
        let Some(child) = child.filter(|_| !itself) else {
            self.template(&saga.with, scope, &place);
            if itself {
                self.nesting(saga, at, "saga");
            } else {
                self.unknown_saga(saga, at);
            }
            return;
        };
        let taker = format!("{}@{}", saga.name, saga.version);
        let target = child.input_schema.as_ref().map(|schema| Target {
            root: schema.schema(),
            schema: schema.schema(),
            taker: &taker,
        });
        let before = self.checked.errors.len();
        self.value(&saga.with.shape(), target, scope, &place);
        if let Some(schema) = &child.input_schema {
            let misfits = |value: &Value| schema.misfits(value);
            self.written_out(&saga.with, before, misfits, &taker, &place);
        }
        self.nesting(saga, at, "saga");
        self.timeout_within(step, saga, child);
        self.turned_back(step, saga, child, at);
    }

    fn unknown_saga(&mut self, saga: &SagaStep, at: &str) {
        let name = format!("{}@{}", saga.name, saga.version);
        let mark = self.tree.mark_at(&format!("{at}/saga"));
        let names = self.kin.sagas.names();
        let near = nearest(&name, names.iter().map(String::as_str));
        let register = "register it before: `baton apply` takes several files at once; offline, name its file in the same `baton check`";
        let help = near.map_or_else(
            || register.to_owned(),
            |near| format!("did you mean `{near}`? Otherwise {register}"),
        );
        let message = format!("there is no saga `{name}`");
        if self.kin.sagas.all() {
            self.error(code::UNKNOWN_SAGA, mark, message, help);
        } else {
            self.warning(code::UNKNOWN_SAGA, mark, message, help);
        }
    }

    /// No saga lies within itself, and none too deep; says whether that has been said of one too deep.
    pub(super) fn nesting(&mut self, saga: &SagaStep, at: &str, key: &str) -> bool {
        let mark = self.tree.mark_at(&format!("{at}/{key}"));
        match self.kin.levels(saga, &mut self.way()) {
            // the step inside that leads back says so
            Err(Nested::Circle(_)) if saga.group.is_some() => {}
            Err(Nested::Circle(way)) => {
                let message = format!("sagas lie within themselves: {}", way.join(" → "));
                let help =
                    "a saga ends only after those within it have; take one of these steps out";
                self.error(code::NESTING, mark, message, help.to_owned());
            }
            Err(Nested::TooDeep(_)) if self.too_deep => {}
            Err(Nested::TooDeep(way)) => {
                let message = format!(
                    "groups and sagas lie more than {DEPTH_MAX} deep: {} → …",
                    way.join(" → ")
                );
                let help = "flatten it: one `for_each` over a list of all, or separate steps one after another";
                self.error(code::NESTING, mark, message, help.to_owned());
                return true;
            }
            Ok(_) => {}
        }
        self.too_deep
    }

    /// A saga that has a pivot cannot be taken back: it is the pivot itself, or comes after it.
    fn turned_back(&mut self, step: &Step, saga: &SagaStep, child: &Definition, at: &str) {
        let of = (saga.name.clone(), saga.version);
        let Some(pivot) = self.kin.pivot_within(&of, child) else {
            return self.told_within(step, saga, child, at);
        };
        let id = &step.id;
        let name = format!("{}@{}", saga.name, saga.version);
        if step.on_error == OnError::Continue {
            let mark = self.tree.mark_at(&format!("{at}/on_error"));
            let message = format!(
                "`on_error: continue` does not hold once {name} is past its pivot `{pivot}`: a failure then waits for a person"
            );
            let help = "write `on_error: park`, or leave it if that is meant".to_owned();
            self.warning(code::IRREVERSIBLE, mark, message, help);
        }
        if self.only_forward(step) {
            return;
        }
        let mark = self.tree.mark_at(&format!("{at}/saga"));
        let message = format!(
            "{name} is past a pivot once `{pivot}` is sent, and after `{id}` this saga may still turn back"
        );
        let help = self.where_it_may(step);
        self.error(code::IRREVERSIBLE, mark, message, help);
    }

    /// A pivot in a group stands only where the saga around it only goes forward. Of one in a saga that a step of the group is, that step has said it.
    pub(super) fn group_turned_back(&mut self, step: &Step, group: &Definition, at: &str) {
        let Some(pivot) = group.pivot().filter(|_| !self.only_forward(step)) else {
            return;
        };
        let place = format!("{at}/steps/{}/pivot", pivot.index);
        let message = format!(
            "once `{}` is sent an item of `{}` only goes forward, and the saga may still turn back",
            pivot.id, step.id
        );
        let past = self.skipped_before(step);
        let before = past.map_or_else(
            || pivot_before(self.definition, step),
            |pivot| Self::runs_past(pivot, step),
        );
        let help = format!("{before}; or take `pivot: true` out");
        let mark = self.tree.name_mark(&place);
        self.error(code::IRREVERSIBLE, mark, message, help);
    }
}
