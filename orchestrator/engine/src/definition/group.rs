//! A group of steps that is done for each item of a list: `steps:` below a `for_each`. It is a saga of its own in all but the document: a definition that
//! stands in its parent's, is named by the way there (`patch-hosts/each_host`), and has its parent's version. Nothing of it is registered.
//!
//! What its expressions read of what is around it (`input`, `item`, `index`, the outputs of steps before it) is captured when an item begins: it is the
//! input of the item's saga, an object of those variables by their names, and no more of each than is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::step::{SagaStep, Step, StepKind, UndoPlan};
use super::{Definition, ItemRules, Sagas};
use crate::expr::{Expr, Template, Uses, joined};

/// What stands between the names of a group and of what it stands in; no saga that is registered has it in its name.
const WITHIN: char = '/';

/// A group of steps.
#[derive(Debug, Clone)]
pub struct Group {
    /// What an item runs.
    pub definition: Arc<Definition>,
    /// Its steps and its output as they are written, without places.
    pub(super) written: Value,
}

/// Two are the same when they are written the same.
impl PartialEq for Group {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

/// The saga a group stands in, and the steps that lead to it from there, by the name of its definition; none of any other saga.
#[must_use]
pub fn group_in(name: &str) -> Option<(&str, &str)> {
    name.split_once(WITHIN)
}

/// The definition that stands in the document of this one: itself, where it is no group.
#[must_use]
pub fn registered_as(name: &str) -> &str {
    group_in(name).map_or(name, |(saga, _)| saga)
}

/// The name of a group.
pub(super) fn group_name(of: &str, step: &str) -> String {
    format!("{of}{WITHIN}{step}")
}

impl Definition {
    /// What its steps, or those of its groups, name as other sagas: groups are none of them.
    #[must_use]
    pub fn names(&self) -> Vec<(String, u32)> {
        let mut names = Vec::new();
        for child in self.steps.iter().filter_map(Step::child) {
            match &child.group {
                Some(group) => names.extend(group.definition.names()),
                None if child.is_unreadable() => {}
                None => names.push((child.name.clone(), child.version)),
            }
        }
        names
    }

    /// The group that these steps lead to, as the name of its definition has them: `each_host/each_disk`.
    #[must_use]
    pub fn group(&self, way: &str) -> Option<&Arc<Self>> {
        let (step, on) = way.split_once(WITHIN).unwrap_or((way, ""));
        let step = self.steps.iter().find(|one| one.id.as_str() == step)?;
        let group = step.child()?.group.as_ref()?;
        match on {
            "" => Some(&group.definition),
            on => group.definition.group(on),
        }
    }

    /// All its steps and those of its groups, however deep.
    #[must_use]
    pub fn all_steps(&self) -> Vec<&Step> {
        let mut all = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            all.push(step);
            if let Some(group) = step.child().and_then(|child| child.group.as_ref()) {
                all.extend(group.definition.all_steps());
            }
        }
        all
    }

    /// What it reads that is none of its own steps: of a group, what has to be captured.
    pub(super) fn reads_around(&self) -> BTreeMap<String, Uses> {
        let steps = self.steps.iter().map(Step::reads);
        let output = self.output.iter().map(of_template);
        let rules = self.item_rules.iter().map(|rules| of_rules(rules));
        let mut all = joined(steps.chain(output).chain(rules));
        all.retain(|name, _| self.steps.iter().all(|step| step.id.as_str() != name));
        all
    }
}

impl SagaStep {
    /// What it runs: its group, or the saga of its name among these.
    #[must_use]
    pub fn definition<'a>(&'a self, sagas: &'a dyn Sagas) -> Option<&'a Definition> {
        match &self.group {
            Some(group) => Some(&group.definition),
            None => sagas.saga(&self.name, self.version),
        }
    }
}

impl Step {
    /// What its expressions read, but for what they alone know: the item of its own list, and the event a wait looks at.
    fn reads(&self) -> BTreeMap<String, Uses> {
        let condition = self.condition.iter().map(Expr::uses);
        let mut own = joined(condition.chain(self.reads_of_kind()));
        if self.fan.is_some() {
            own.retain(|name, _| name != "item" && name != "index");
        }
        let list = self.fan.iter().map(|fan| of_template(&fan.items));
        let rules = self.item_rules.iter().map(|rules| of_rules(rules));
        joined(list.chain(rules).chain([own]))
    }

    fn reads_of_kind(&self) -> Vec<BTreeMap<String, Uses>> {
        match &self.kind {
            StepKind::Task(task) => {
                let mut all = vec![of_template(&task.pool), of_template(&task.with)];
                if let UndoPlan::Task(undo) = &task.undo {
                    all.push(of_template(&undo.with));
                    all.extend(undo.pool.iter().map(of_template));
                }
                all.extend(task.undo_when.iter().map(Expr::uses));
                all.extend(task.probe.iter().map(|probe| of_template(&probe.with)));
                all
            }
            StepKind::Sleep(how_long) => vec![of_template(how_long)],
            StepKind::Wait(wait) => {
                let mut when = joined(wait.when.iter().map(Expr::uses));
                when.remove("event");
                vec![when]
            }
            StepKind::Approve(approve) => approve.prompt.iter().map(of_template).collect(),
            StepKind::Emit(emit) => {
                let parts = emit.subject.iter().chain(&emit.data);
                parts.map(of_template).collect()
            }
            StepKind::Saga(saga) => vec![of_template(&saga.with)],
        }
    }
}

/// What a template reads, or captures.
fn of_template(template: &Template) -> BTreeMap<String, Uses> {
    match template.captures() {
        Some(captured) => captured.clone(),
        None => joined(
            template
                .expressions()
                .into_iter()
                .map(|(_, expr)| expr.uses()),
        ),
    }
}

fn of_rules(rules: &ItemRules) -> BTreeMap<String, Uses> {
    let rungs = rules.escalate.iter().flatten().map(|rung| &rung.to);
    let all = rules.assign.iter().chain(rungs);
    joined(all.map(|who| of_template(&who.template)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: &str = "saga: hosts\nversion: 3\nsteps:\n  - { id: before, task: a.b@1 }\n  - id: each\n    for_each: ${ input.hosts }\n    steps:\n      - { id: find, task: a.b@1, with: { host: '${ item.ip }', key: '${ before.?key.orValue(input.key) }' } }\n      - id: disks\n        for_each: ${ find.disks }\n        steps: [{ id: wipe, task: a.b@1, with: { disk: '${ item }', of: '${ input.net.vlan }', n: '${ index }' } }]\n        output: ${ wipe }\n";

    fn hosts() -> Definition {
        Definition::parse(HOSTS).unwrap()
    }

    fn captured(step: &Step) -> Vec<String> {
        let uses = step.child().unwrap().with.captures().unwrap();
        uses.iter()
            .map(|(name, uses)| format!("{name} {uses:?}"))
            .collect()
    }

    #[test]
    fn a_group_is_found_by_the_way_to_it_and_by_nothing_else() {
        let hosts = hosts();
        let name = |way: &str| hosts.group(way).map(|one| (one.saga.clone(), one.version));
        assert_eq!(name("each"), Some(("hosts/each".to_owned(), 3)));
        assert_eq!(name("each/disks"), Some(("hosts/each/disks".to_owned(), 3)));
        for none in [
            "",
            "before",
            "each/find",
            "each/disks/wipe",
            "disks",
            "each/",
        ] {
            assert_eq!(name(none).filter(|_| none != "each/"), None, "{none}");
        }
        assert_eq!(group_in("hosts/each/disks"), Some(("hosts", "each/disks")));
        assert_eq!(group_in("hosts"), None);
        assert_eq!(hosts.names(), Vec::<(String, u32)>::new());
        assert_eq!(hosts.all_steps().len(), 5);
    }

    #[test]
    fn what_is_read_from_around_is_captured_and_no_more() {
        let hosts = hosts();
        let each = &hosts.steps[1];
        assert_eq!(
            captured(each),
            [
                "before Keys({\"key\": Whole})",
                "input Keys({\"key\": Whole, \"net\": Keys({\"vlan\": Whole})})",
                "item Keys({\"ip\": Whole})",
            ]
        );
        let within = &each.child().unwrap().group.as_ref().unwrap().definition;
        assert_eq!(
            captured(&within.steps[1]),
            [
                "index Whole",
                "input Keys({\"net\": Keys({\"vlan\": Whole})})",
                "item Whole",
            ]
        );
    }
}
