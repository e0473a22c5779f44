//! A step that is done for each item of a list: that it is a list, what its items are, and that there is a bound to it.

use std::iter;

use baton_messages::StepId;
use serde_json::Value;

use super::Flow;
use super::constants::constant;
use super::places::Place;
use crate::catalogue::Catalogue;
use crate::definition::diagnostic::code;
use crate::definition::yaml::Mark;
use crate::definition::{Definition, FanOut, Step};
use crate::expr::{Shape, Template};
use crate::fan::ITEMS_MAX;
use crate::types::{Scope, Type, resolve};

/// What is to be done where nobody says how long a list may be.
const NO_BOUND: &str = "add `max_items: …` to the step, or `maxItems` to the schema the list comes from; a longer one fails before anything is begun";

/// What makes a list of one that has a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    /// One of two.
    Choice,
    /// Some of its items.
    Filter,
}

impl Made {
    fn written(self) -> &'static str {
        match self {
            Self::Choice => "? :",
            Self::Filter => "filter",
        }
    }
}

impl Flow<'_> {
    /// Looks at the list, and gives what the expressions of one item may read.
    pub(super) fn each(&mut self, step: &Step, fan: &FanOut, scope: Scope) -> Scope {
        let at = format!("{}/for_each", self.at(step));
        let shape = fan.items.shape();
        let known = scope_of_list(step, scope.clone());
        self.value(&shape, None, &known, &at);
        let of = self.shape(&shape, &known);
        self.is_list(&of, &fan.items, &at);
        match fan.max_items {
            Some(most) => self.no_longer(step, fan, most),
            None if !of.is_never() => self.bound(&fan.items, &at),
            None => {}
        }
        self.scope_of_items(step, fan, scope)
    }

    fn is_list(&mut self, of: &Type, items: &Template, at: &str) {
        let wrong = |one: &&Type| !matches!(one, Type::List(_) | Type::Any);
        let Some(one) = of.alternatives().iter().find(wrong) else {
            return;
        };
        let (code, help) = match one {
            Type::Null => (
                code::ABSENT,
                "guard it: `has(input.hosts) ? input.hosts : []`",
            ),
            _ => (code::RESULT, "name the list itself, or make one: `[…]`"),
        };
        let what = items.as_hole().map_or("this", |expr| expr.text());
        let message = format!("`{what}` yields {of}, and `for_each` has to be a list");
        let mark = self.list_mark(items, at);
        self.error(code, mark, message, help.to_owned());
    }

    fn list_mark(&self, items: &Template, at: &str) -> Mark {
        let place = Place {
            pointer: at,
            nth: 0,
        };
        items
            .as_hole()
            .map_or_else(|| self.tree.mark_at(at), |expr| self.whole(expr, place))
    }

    /// That a list which is written out is no longer than is said of it: it would fail before anything is begun.
    fn no_longer(&mut self, step: &Step, fan: &FanOut, most: u32) {
        let there = match fan.items.shape() {
            Shape::Literal(Value::Array(items)) => items.len(),
            Shape::List(items) => items.len(),
            Shape::Hole(expr) => match constant(expr) {
                Some(Value::Array(items)) => items.len(),
                _ => return,
            },
            Shape::Literal(_) | Shape::Text(_) | Shape::Object(_) => return,
        };
        if u32::try_from(there).is_ok_and(|there| there <= most) {
            return;
        }
        let message = format!(
            "the list has {there} items, and `max_items` is {most}: it fails before anything is begun"
        );
        let help = "say as many as there are, or shorten the list".to_owned();
        let mark = self.tree.mark_at(&format!("{}/max_items", self.at(step)));
        self.error(code::RANGE, mark, message, help);
    }

    /// That somebody says how long the list may be.
    fn bound(&mut self, items: &Template, at: &str) {
        let (most, after) = match items.shape() {
            Shape::Literal(Value::Array(items)) => (Some(items.len() as u64), None),
            Shape::List(items) => (Some(items.len() as u64), None),
            Shape::Hole(expr) if expr.is_unreadable() => return,
            Shape::Hole(expr) => self.most_of(expr.text()),
            Shape::Literal(_) | Shape::Text(_) | Shape::Object(_) => return,
        };
        let allowed = u64::from(ITEMS_MAX);
        let (message, help) = match (most, after) {
            (Some(most), None) if most <= allowed => return,
            (Some(most), None | Some(Made::Choice)) if most > allowed => (
                format!("this list may have {most} items; a step is done for {ITEMS_MAX} at most"),
                format!(
                    "add `max_items: {ITEMS_MAX}`; a longer list fails before anything is begun"
                ),
            ),
            (Some(most), Some(after)) => (
                format!(
                    "how long this list may be is not known after `{}`",
                    after.written()
                ),
                format!("add `max_items: {}`", most.clamp(1, allowed)),
            ),
            _ => (
                "nobody says how long this list may be".to_owned(),
                NO_BOUND.to_owned(),
            ),
        };
        let mark = self.list_mark(items, at);
        self.error(code::UNBOUNDED, mark, message, help);
    }

    /// How many items an expression may yield at most, as far as its text says, and what makes that no bound.
    fn most_of(&self, text: &str) -> (Option<u64>, Option<Made>) {
        let most = self.most(text);
        if most.is_some() {
            return (most, None);
        }
        let arms = text.split_once(" ? ");
        if let Some((one, other)) = arms.and_then(|(_, arms)| arms.split_once(" : ")) {
            let of = |arm: &str| match arm.trim() {
                "[]" => Some(0),
                path => self.most(path),
            };
            let most = of(one).and_then(|one| Some(one.max(of(other)?)));
            return (most, Some(Made::Choice));
        }
        let list = text.split_once(".filter(").map(|(list, _)| list);
        (list.and_then(|list| self.most(list)), Some(Made::Filter))
    }

    /// How many items the schema behind a plain path allows.
    fn most(&self, path: &str) -> Option<u64> {
        let around = iter::successors(self.outside, |one| one.outside);
        let around = around.map(|one| Around {
            definition: one.definition,
            step: one.step,
        });
        let around: Vec<Around<'_>> = around.collect();
        let site = ListSite {
            definition: self.definition,
            around: &around,
            catalogue: self.catalogue,
        };
        site.most(path)
    }
}

/// What a list may read: an `if` that asks nothing of an item is looked at before it, and where it does not hold there is no list.
pub(super) fn scope_of_list(step: &Step, scope: Scope) -> Scope {
    match &step.condition {
        Some(condition) if !step.asks_of_each() => scope.assuming(condition),
        Some(_) | None => scope,
    }
}

/// A schema, below the document it stands in.
type Found<'s> = (&'s Value, &'s Value);

/// So many lists of each other's outputs are followed: beyond them only the bound of all lists is known.
const LISTS_MAX: usize = 8;

/// A definition, and the step of it that is the group that is looked at.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    /// The definition.
    pub(crate) definition: &'a Definition,
    /// The group.
    pub(crate) step: &'a Step,
}

/// Where a list is computed.
#[derive(Clone, Copy)]
pub(crate) struct ListSite<'a> {
    /// The definition of the step it is of.
    pub(crate) definition: &'a Definition,
    /// Where that is a group: what it stands in, the nearest first.
    pub(crate) around: &'a [Around<'a>],
    /// The task types there are.
    pub(crate) catalogue: &'a Catalogue,
}

impl<'a> ListSite<'a> {
    /// How many items a list has at most: by its step, by the schema behind it, or by the list whose outputs it is.
    pub(crate) fn most_items(self, fan: &FanOut) -> u32 {
        self.most_within(fan, LISTS_MAX)
    }

    fn most_within(self, fan: &FanOut, lists: usize) -> u32 {
        let own = fan.most();
        let known = match fan.items.shape() {
            Shape::Literal(Value::Array(items)) => Some(items.len() as u64),
            Shape::List(items) => Some(items.len() as u64),
            Shape::Hole(expr) => self.most_of_path(expr.text(), lists),
            Shape::Literal(_) | Shape::Text(_) | Shape::Object(_) => None,
        };
        let known = known.and_then(|most| u32::try_from(most).ok());
        known.map_or(own, |most| own.min(most))
    }

    fn most_of_path(self, path: &str, lists: usize) -> Option<u64> {
        let named = self.step_named(path);
        let list = named.and_then(|(site, step)| Some((site, step.fan.as_deref()?)));
        match (list, lists.checked_sub(1)) {
            (Some((site, fan)), Some(left)) => Some(u64::from(site.most_within(fan, left))),
            _ => self.most(path),
        }
    }

    /// How many items the schema behind a plain path allows.
    fn most(self, path: &str) -> Option<u64> {
        // the outputs of a list that has a bound itself
        let named = self.step_named(path);
        if named.is_some_and(|(_, step)| step.fan.is_some()) {
            return Some(u64::from(ITEMS_MAX));
        }
        let (_, schema) = self.behind(path)?;
        schema.get("maxItems")?.as_u64()
    }

    /// What a group stands in, with the step that it is.
    fn outer(self) -> Option<(Self, &'a Step)> {
        let (nearest, around) = self.around.split_first()?;
        let outer = Self {
            definition: nearest.definition,
            around,
            catalogue: self.catalogue,
        };
        Some((outer, nearest.step))
    }

    /// The step of this id that is read here, with where it lies: of the definition itself or, where it is a group, of the nearest around it that has one.
    fn step_named(self, id: &str) -> Option<(Self, &'a Step)> {
        let mut sites = iter::successors(Some(self), |site| Some(site.outer()?.0));
        sites.find_map(|site| {
            let mut steps = site.definition.steps.iter();
            let step = steps.find(|step| step.id.as_str() == id)?;
            Some((site, step))
        })
    }

    /// The schema behind a plain path that is read here: of the steps, and, where it is a group, of what is around it.
    fn behind(self, path: &str) -> Option<Found<'a>> {
        let (root, rest) = path.split_once('.').unwrap_or((path, ""));
        let own = StepId::new(root).ok();
        let own = own.and_then(|id| self.definition.step(&id));
        let (document, mut at) = match (own, self.outer()) {
            (Some(step), _) if step.fan.is_some() => return None,
            (Some(step), _) => {
                let known = self.catalogue.get(&step.task()?.task_type)?;
                let output = &known.manifest.output;
                (output, output)
            }
            (None, Some((outer, step))) if root == "item" => {
                let list = step.fan.as_ref()?.items.as_hole()?.text();
                let (document, list) = outer.behind(list)?;
                (document, resolve(document, list).get("items")?)
            }
            (None, Some((outer, _))) => return outer.behind(path),
            (None, None) if root == "input" => {
                let schema = self.definition.input_schema.as_ref()?.schema();
                (schema, schema)
            }
            (None, None) => return None,
        };
        for key in rest.split('.').filter(|key| !key.is_empty()) {
            at = resolve(document, at).get("properties")?.get(key.trim())?;
        }
        Some((document, resolve(document, at)))
    }
}
