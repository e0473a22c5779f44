//! A group of steps against what is around it: the types of the item, of the input and of the steps before flow in, and what its items return flows out.

use super::Flow;
use super::children::Id;
use super::fan_out::scope_of_list;
use crate::definition::step::{SagaStep, Step};
use crate::definition::yaml::Node;
use crate::definition::{Definition, FanOut};
use crate::expr::Expr;
use crate::types::{Scope, Type};

/// What a group stands in.
pub(super) struct Outside<'a> {
    pub(super) definition: &'a Definition,
    /// The step that is the group.
    pub(super) step: &'a Step,
    /// Where the definition is a group itself: what that stands in.
    pub(super) outside: Option<&'a Self>,
}

impl Flow<'_> {
    /// The steps of a group.
    pub(super) fn group(&mut self, step: &Step, saga: &SagaStep, scope: &Scope, at: &str) {
        let Some(group) = saga.group.as_deref() else {
            return;
        };
        let too_deep = self.nesting(saga, at, "steps");
        let outside = Outside {
            definition: self.definition,
            step,
            outside: self.outside,
        };
        let mut within = Flow {
            definition: &group.definition,
            catalogue: self.catalogue,
            kin: self.kin,
            above: self.above.clone(),
            unannounced: self.unannounced,
            outputs: Vec::new(),
            asked: Vec::new(),
            instead: None,
            doubts: self.doubts.groups.remove(&step.index).unwrap_or_default(),
            spoilt: std::mem::take(&mut self.spoilt),
            tree: std::mem::replace(&mut self.tree, Node::nothing()),
            checked: std::mem::take(&mut self.checked),
            prefix: at.to_owned(),
            around: Some(scope.clone()),
            outside: Some(&outside),
            too_deep,
        };
        within.body();
        let Flow {
            spoilt,
            tree,
            checked,
            ..
        } = within;
        (self.spoilt, self.tree, self.checked) = (spoilt, tree, checked);
        self.timeout_within(step, saga, &group.definition);
        self.group_turned_back(step, &group.definition, at);
    }

    /// What an item of a group returns.
    pub(super) fn output_of_group(&self, step: &Step, group: &Definition) -> Type {
        let Some(output) = &group.output else {
            return Type::Null;
        };
        let mut scope = self.scope_of(step);
        if let Some(fan) = &step.fan {
            scope = self.scope_of_items(step, fan, scope);
        }
        if let Some(condition) = &step.condition {
            scope = scope.assuming(condition);
        }
        let mut within = Flow {
            around: Some(scope),
            ..Flow::of_types(group, self.catalogue, self.kin, self.above.clone())
        };
        within.learn_outputs();
        within.shape(&output.shape(), &within.scope_at_the_end())
    }

    /// What the expressions of one item may read.
    pub(super) fn scope_of_items(&self, step: &Step, fan: &FanOut, scope: Scope) -> Scope {
        let of = self.shape(&fan.items.shape(), &scope_of_list(step, scope.clone()));
        let items = of.alternatives().iter().map(|one| match one {
            Type::List(item) => item.as_ref().clone(),
            _ => Type::Any,
        });
        let list = fan.items.as_hole().map_or("", Expr::text);
        scope
            .with("item", Type::union(items))
            .because_of(&format!("{list}[]"), "item")
            .with("index", Type::COUNT)
    }

    /// The sagas this one lies in within its document, the registered one first, and itself last.
    pub(super) fn way(&self) -> Vec<Id> {
        let id = |definition: &Definition| (definition.saga.clone(), definition.version);
        let mut way = vec![id(self.definition)];
        let mut outside = self.outside;
        while let Some(one) = outside {
            way.insert(0, id(one.definition));
            outside = one.outside;
        }
        way
    }
}
