//! Start: the saga begins, or it is there already: the same request twice is the same saga.

use std::collections::BTreeMap;

use baton_messages::{InputId, Start};
use serde_json::Value;

use super::{Deciding, Handled, Refusal, Verdict};
use crate::definition::{Definition, OnlyInput};
use crate::record::Record;
use crate::state::Status;

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
    let record = begun(d, &start.input, &start.labels, start.by.clone(), start.id);
    let wants = match d.wanted(&record) {
        Ok(wants) => wants,
        Err(misfit) => {
            return Ok(Verdict::Refused(Refusal::Misfit {
                definition: definition.saga.clone(),
                misfit,
            }));
        }
    };
    d.emit(record)?;
    d.reserve(wants)?;
    Ok(Verdict::Applied)
}

/// What a saga is searched by, as its definition computes it.
pub(crate) fn labels(definition: &Definition, input: &Value) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (name, template) in &definition.labels {
        // A label that cannot be computed, or is null, is missing, not fatal: it is there to be searched by.
        if let Ok(value) = template.eval(&OnlyInput(input))
            && !value.is_null()
        {
            let text = value.as_str().map(str::to_owned);
            labels.insert(name.clone(), text.unwrap_or_else(|| value.to_string()));
        }
    }
    labels
}

/// The first record of a saga.
pub(super) fn begun(
    d: &Deciding<'_>,
    input: &Value,
    more: &BTreeMap<String, String>,
    by: String,
    id: InputId,
) -> Record {
    let definition = d.rules.definition;
    let schema = definition.input_schema.as_ref();
    let made = schema.and_then(|schema| schema.whole_numbers(input));
    let input = made.as_ref().unwrap_or(input);
    let mut labels = labels(definition, input);
    labels.extend(
        more.iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    Record::Started {
        definition: definition.saga.clone(),
        version: definition.version,
        input: input.clone(),
        labels,
        by,
        id,
        // of one that waits to be admitted it begins then
        deadline_at: definition
            .deadline_ms
            .filter(|_| definition.reserves.is_none())
            .map(|ms| d.now.plus_ms(ms)),
        steps: definition
            .steps
            .iter()
            .map(|step| step.id.clone())
            .collect(),
    }
}
