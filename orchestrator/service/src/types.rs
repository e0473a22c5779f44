//! The catalogue as it is shown: a copy of what the loop decides by, for those who only look.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use baton_messages::{Manifest, TaskType};

/// The task types known.
#[derive(Debug, Default)]
pub(crate) struct Types {
    known: Mutex<BTreeMap<TaskType, Manifest>>,
}

impl Types {
    pub(crate) fn put(&self, manifest: Manifest) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(manifest.task_type.clone(), manifest);
    }

    pub(crate) fn all(&self) -> Vec<Manifest> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().cloned().collect()
    }
}
