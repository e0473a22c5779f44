//! What an author says of the values of a sweep: typed, or in `cases/NAME.yaml` beside the definition. Everything else is made from the schemas.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use baton_engine::Status;
use baton_messages::StepId;
use serde_json::Value;

/// What an author says of the values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Given {
    /// The saga's input.
    pub input: Option<Value>,
    /// What steps return; of an object only the fields that matter.
    pub returns: BTreeMap<String, Value>,
    /// What the events say that steps wait for.
    pub events: BTreeMap<String, Value>,
    /// How it ends on purpose when nothing befalls it, where that is not that it completes.
    pub ends: Option<Status>,
}

/// Why the cases of a definition say nothing.
#[derive(Debug, thiserror::Error)]
pub enum CasesError {
    /// The file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what cases are.
    #[error("{} cannot be read: {what}", path.display())]
    Wrong {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl Given {
    /// What the cases of a definition say, and where they stand; none where it has none.
    ///
    /// # Errors
    /// [`CasesError`], where they cannot be read.
    pub fn beside(definition: &Path) -> Result<Option<(PathBuf, Self)>, CasesError> {
        let Some(path) = cases_of(definition) else {
            return Ok(None);
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(CasesError::Read { path, source }),
        };
        match Self::of_cases(&text) {
            Ok(given) => Ok(Some((path, given))),
            Err(what) => Err(CasesError::Wrong { path, what }),
        }
    }

    /// The input of the first case that has one, and what stands under `sweep:`.
    fn of_cases(text: &str) -> Result<Self, String> {
        // as definitions are read: `n` and `no` are text
        let options = serde_saphyr::options! { strict_booleans: true };
        let read: Value = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| error.to_string())?;
        let said = |key: &str| {
            by_step(read["sweep"][key].clone()).map_err(|what| format!("sweep.{key} {what}"))
        };
        let cases = read["cases"].as_array().into_iter().flatten();
        Ok(Self {
            input: cases.filter_map(|case| case.get("input")).next().cloned(),
            returns: said("returns")?,
            events: said("events")?,
            ends: ends(&read["sweep"]["ends"])?,
        })
    }

    /// What it says of the steps of a group: `each_host/find` is `find` there.
    #[must_use]
    pub(super) fn within(&self, group: &StepId) -> Self {
        let inside = |all: &BTreeMap<String, Value>| {
            let own = all.iter().filter_map(|(step, value)| {
                let within = step.strip_prefix(group.as_str())?.strip_prefix('/')?;
                Some((within.to_owned(), value.clone()))
            });
            own.collect()
        };
        Self {
            input: None,
            returns: inside(&self.returns),
            events: inside(&self.events),
            ends: None,
        }
    }

    /// This, and what another says of which this says nothing.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.input = self.input.or(other.input);
        self.ends = self.ends.or(other.ends);
        for (step, value) in other.returns {
            self.returns.entry(step).or_insert(value);
        }
        for (step, value) in other.events {
            self.events.entry(step).or_insert(value);
        }
        self
    }
}

/// A value for each step.
///
/// # Errors
/// What it is instead of an object.
pub fn by_step(value: Value) -> Result<BTreeMap<String, Value>, String> {
    match value {
        Value::Null => Ok(BTreeMap::new()),
        Value::Object(all) => Ok(all.into_iter().collect()),
        _ => Err("is an object with a value for each step: {\"STEP\": …}".to_owned()),
    }
}

/// How a saga ends when nothing befalls it, as cases say it.
fn ends(said: &Value) -> Result<Option<Status>, String> {
    if said.is_null() {
        return Ok(None);
    }
    let all = [Status::Completed, Status::Compensated, Status::Parked];
    let one = all
        .into_iter()
        .find(|one| said.as_str() == Some(one.as_str()));
    one.map(Some)
        .ok_or_else(|| format!("sweep.ends is completed, compensated or parked, and not {said}"))
}

/// The cases of a definition: in `cases/` beside it, or of its folder in `cases/` beside that, from whatever folder it is named.
fn cases_of(definition: &Path) -> Option<PathBuf> {
    let whole = std::path::absolute(definition).ok()?;
    let (file, folder) = (whole.file_name()?, whole.parent()?);
    let beside = folder.join("cases").join(file);
    let above = folder.file_name().zip(folder.parent());
    let above = above.map(|(own, up)| up.join("cases").join(own).join(file));
    let mut all = std::iter::once(beside).chain(above);
    all.find(|cases| cases.is_file())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cases_say_the_first_input_and_what_is_meant_for_a_sweep() {
        let text = "cases:\n  - { case: a, event: { type: x } }\n  - { case: b, input: { n: 1 } }\n  - { case: c, input: { n: 2 } }\nsweep: { returns: { a: { b: 3 } } }\n";
        let given = Given::of_cases(text).unwrap();
        assert_eq!(given.input, Some(json!({ "n": 1 })));
        assert_eq!(given.returns["a"], json!({ "b": 3 }));
        let typed = Given {
            returns: BTreeMap::from([("a".to_owned(), json!(7))]),
            ..Given::default()
        };
        let both = typed.or(given);
        assert_eq!(both.returns["a"], 7, "what is typed goes before");
        assert_eq!(both.input, Some(json!({ "n": 1 })));
        let wrong = Given::of_cases("sweep: { events: [1] }").unwrap_err();
        assert!(wrong.starts_with("sweep.events is an object"), "{wrong}");
        assert!(Given::of_cases("a: [").is_err());
        let ends = |word: &str| Given::of_cases(&format!("sweep: {{ ends: {word} }}"));
        assert_eq!(ends("parked").unwrap().ends, Some(Status::Parked));
        assert!(ends("running").unwrap_err().starts_with("sweep.ends is"));
    }
}
