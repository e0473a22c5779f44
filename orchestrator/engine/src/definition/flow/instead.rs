//! Whether another task type may stand in for the one a step has: whether whoever reads what the step yields can read what the other yields.
//!
//! Guarantee: nothing is called unreadable that the step's own task type leaves as unreadable. Of an item of a group only the group itself is looked at: what reads the group's
//! items stands in another definition.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Flow;
use super::children::{Kin, NoSagas};
use crate::catalogue::Catalogue;
use crate::definition::diagnostic::Diagnostic;
use crate::definition::{Definition, Step};
use crate::types::{Type, of_schema};

/// Those that read what a step yields.
pub(crate) struct Readers<'a> {
    definition: &'a Definition,
    catalogue: &'a Catalogue,
    step: &'a Step,
    own: Option<Type>,
}

impl<'a> Readers<'a> {
    /// Those of this step.
    pub(crate) fn of(definition: &'a Definition, catalogue: &'a Catalogue, step: &'a Step) -> Self {
        let own = step.task().and_then(|task| catalogue.get(&task.task_type));
        let own = own.map(|known| of_schema(&known.manifest.output, &known.manifest.output));
        Self {
            definition,
            catalogue,
            step,
            own,
        }
    }

    /// Who of them could not read what, were this the schema of what the step yields; none where each of them can.
    pub(crate) fn cannot_read(&self, output: &Value) -> Option<String> {
        let other = of_schema(output, output);
        if self.own.as_ref() == Some(&other) {
            return None;
        }
        let after = self.wrong(Some(other));
        if after.is_empty() {
            return None;
        }
        let before = self.wrong(None);
        let new = after.into_iter().find(|one| !before.contains(one));
        new.map(|(reader, one)| format!("{reader}: {}", one.message))
    }

    /// What is wrong with the steps after it and with the saga's output, where the step yields this, or what its own task type does.
    fn wrong(&self, yields: Option<Type>) -> Vec<(String, Diagnostic)> {
        let kin = Kin::of(&NoSagas);
        let mut flow = Flow {
            instead: yields.map(|of| (self.step.index, of)),
            ..Flow::of_types(self.definition, self.catalogue, &kin, BTreeSet::new())
        };
        flow.learn_outputs();
        let mut all = Vec::new();
        let after = self.definition.steps.iter();
        for reader in after.filter(|one| one.ancestors.contains(&self.step.index)) {
            flow.step(reader);
            let new = std::mem::take(&mut flow.checked.errors).into_iter();
            all.extend(new.map(|error| (reader.id.to_string(), error)));
        }
        if let Some(output) = &self.definition.output {
            let scope = flow.scope_at_the_end();
            flow.template(output, &scope, "/output");
        }
        let new = flow.checked.errors.into_iter();
        all.extend(new.map(|error| ("output".to_owned(), error)));
        all
    }
}
