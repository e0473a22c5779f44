//! Start: the saga begins, or it is there already: the same request twice is the same saga.

use std::collections::BTreeMap;

use baton_messages::Start;
use serde_json::Value;

use super::{Deciding, Handled, Refusal, Verdict};
use crate::expr::Scope;
use crate::record::Record;
use crate::state::Status;

struct OnlyInput<'a>(&'a Value);

impl Scope for OnlyInput<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        (name == "input").then_some(self.0)
    }
}

pub(super) fn start(d: &mut Deciding<'_>, start: &Start) -> Handled {
    if d.state.status != Status::New {
        return Ok(Verdict::Duplicate);
    }
    let definition = d.rules.definition;
    if let Err(misfit) = definition.check_input(&start.input) {
        return Ok(Verdict::Refused(Refusal::Misfit {
            definition: definition.saga.clone(),
            misfit,
        }));
    }
    let mut labels = BTreeMap::new();
    for (name, template) in &definition.labels {
        // A label that cannot be computed is missing, not fatal: it is there to be searched by.
        if let Ok(value) = template.eval(&OnlyInput(&start.input)) {
            labels.insert(
                name.clone(),
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned),
            );
        }
    }
    labels.extend(
        start
            .labels
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    let record = Record::Started {
        definition: definition.saga.clone(),
        version: definition.version,
        input: start.input.clone(),
        labels,
        by: start.by.clone(),
        id: start.id,
        deadline_at: definition.deadline_ms.map(|ms| d.now.plus_ms(ms)),
        steps: definition
            .steps
            .iter()
            .map(|step| step.id.clone())
            .collect(),
    };
    d.emit(record)?;
    Ok(Verdict::Applied)
}
