//! A step that is done for each item of a list: that it is a list, what its items are, and that there is a bound to it.

use baton_messages::StepId;
use serde_json::Value;

use super::Flow;
use super::places::Place;
use crate::definition::diagnostic::code;
use crate::definition::yaml::Mark;
use crate::definition::{FanOut, Step};
use crate::expr::{Shape, Template};
use crate::fan::ITEMS_MAX;
use crate::types::{Scope, Type, resolve};

impl Flow<'_> {
    /// Looks at the list, and gives what the expressions of one item may read.
    pub(super) fn each(&mut self, step: &Step, fan: &FanOut, scope: Scope) -> Scope {
        let at = format!("/steps/{}/for_each", step.index);
        let shape = fan.items.shape();
        self.value(&shape, None, &scope, &at);
        let of = self.shape(&shape, &scope);
        self.is_list(&of, &fan.items, &at);
        if fan.max_items.is_none() && !of.is_never() {
            self.bound(&fan.items, &at);
        }
        let items = of.alternatives().iter().map(|one| match one {
            Type::List(item) => item.as_ref().clone(),
            _ => Type::Any,
        });
        scope
            .with("item", Type::union(items))
            .with("index", Type::Int)
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

    /// That somebody says how long the list may be.
    fn bound(&mut self, items: &Template, at: &str) {
        let most = match items.shape() {
            Shape::Literal(Value::Array(items)) => Some(items.len() as u64),
            Shape::List(items) => Some(items.len() as u64),
            Shape::Hole(expr) => self.most(expr.text()),
            Shape::Literal(_) | Shape::Text(_) | Shape::Object(_) => return,
        };
        let message = match most {
            Some(most) if most <= u64::from(ITEMS_MAX) => return,
            Some(most) => {
                format!("this list may have {most} items; a step is done for {ITEMS_MAX} at most")
            }
            None => "nobody says how long this list may be".to_owned(),
        };
        let help = "add `max_items: …` to the step, or `maxItems` to the schema the list comes from; a longer one fails before anything is begun";
        let mark = self.list_mark(items, at);
        self.error(code::UNBOUNDED, mark, message, help.to_owned());
    }

    /// How many items the schema behind a plain path allows.
    fn most(&self, path: &str) -> Option<u64> {
        let mut keys = path.split('.');
        let root = keys.next()?;
        let schema = match root {
            "input" => self.definition.input_schema.as_ref()?.schema(),
            step => {
                let step = self.definition.step(&StepId::new(step).ok()?)?;
                if step.fan.is_some() {
                    // the outputs of a list that has a bound itself
                    return keys.next().is_none().then_some(u64::from(ITEMS_MAX));
                }
                let known = self.catalogue.get(&step.task()?.task_type)?;
                &known.manifest.output
            }
        };
        let found = keys.try_fold(schema, |at, key| {
            resolve(schema, at).get("properties")?.get(key.trim())
        });
        resolve(schema, found?).get("maxItems")?.as_u64()
    }
}
