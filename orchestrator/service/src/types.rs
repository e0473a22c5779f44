//! The catalogue as it is shown: a copy of what the loop decides by, for those who only look.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use baton_engine::catalogue::Known;
use baton_messages::{Manifest, TaskType};

/// The task types known.
#[derive(Debug, Default)]
pub(crate) struct Types {
    known: Mutex<BTreeMap<TaskType, Arc<Known>>>,
}

impl Types {
    /// Takes in what the loop has taken in.
    pub(crate) fn put(&self, manifest: Manifest) {
        let known = match Known::of(manifest) {
            Ok(known) => Arc::new(known),
            // the loop takes in none whose schema is none
            Err(error) => {
                tracing::warn!(%error, "a task type cannot be shown");
                return;
            }
        };
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(known.manifest.task_type.clone(), known);
    }

    /// Takes in what other loops have kept: what is known stays.
    pub(crate) fn put_all(&self, manifests: Vec<Manifest>) {
        for manifest in manifests {
            let known = self.get(&manifest.task_type);
            if known.is_none_or(|known| known.manifest != manifest) {
                self.put(manifest);
            }
        }
    }

    /// Every manifest, by name.
    pub(crate) fn all(&self) -> Vec<Manifest> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().map(|known| known.manifest.clone()).collect()
    }

    /// One type.
    pub(crate) fn get(&self, task_type: &TaskType) -> Option<Arc<Known>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(task_type).cloned()
    }
}
