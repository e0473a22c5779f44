//! The catalogue as it is shown: a copy of what the loop decides by, for those who only look.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use baton_engine::Catalogue;
use baton_engine::catalogue::Known;
use baton_messages::{Manifest, TaskType};

/// The task types known.
#[derive(Debug, Default)]
pub(crate) struct Types {
    known: Mutex<BTreeMap<TaskType, Arc<Known>>>,
    changes: AtomicU64,
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
        let before = all.insert(known.manifest.task_type.clone(), known.clone());
        if before.is_none_or(|before| before.manifest != known.manifest) {
            self.changes.fetch_add(1, Ordering::Release);
        }
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

    /// How often a type came that was not known, or was known otherwise. Read before [`Self::catalogue`] it says whether that is still all there is.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The task types known now, to hold definitions against. What contradicts was refused when it was announced.
    pub(crate) fn catalogue(&self) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for manifest in self.all() {
            if let Err(error) = catalogue.announce(manifest) {
                tracing::debug!(%error, "a task type is left out of a check");
            }
        }
        catalogue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_again_as_it_was_changes_nothing() {
        let types = Types::default();
        let mut manifests = Catalogue::planned().manifests().cloned();
        let (first, mut other) = (manifests.next().unwrap(), manifests.next().unwrap());
        types.put(first.clone());
        types.put(first.clone());
        types.put_all(vec![first]);
        assert_eq!(types.changes(), 1);
        types.put(other.clone());
        assert_eq!(types.changes(), 2);
        other.summary.push('.');
        types.put(other);
        assert_eq!(types.changes(), 3);
        assert_eq!(types.catalogue().manifests().count(), 2);
    }
}
