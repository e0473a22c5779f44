//! The registered definitions, as the engine asks for those that a step names. What is not among them is not known: a saga of it is decided all the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_engine::Definition;
use baton_engine::definition::{Sagas, group_in};

/// Those the driver runs.
pub(crate) struct Registered<'d>(pub(crate) &'d BTreeMap<(String, u32), Arc<Definition>>);

impl Sagas for Registered<'_> {
    fn saga(&self, name: &str, version: u32) -> Option<&Definition> {
        let (saga, way) = match group_in(name) {
            Some((saga, way)) => (saga, Some(way)),
            None => (name, None),
        };
        let found = self.0.get(&(saga.to_owned(), version))?;
        match way {
            Some(way) => found.group(way).map(Arc::as_ref),
            None => Some(found.as_ref()),
        }
    }

    fn names(&self) -> Vec<String> {
        let name = |(name, version): &(String, u32)| format!("{name}@{version}");
        self.0.keys().map(name).collect()
    }

    fn all(&self) -> bool {
        false
    }
}
