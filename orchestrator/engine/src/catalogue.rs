//! The task types known, as workers announced them: what a definition is decided against. An announcement that would change
//! a major version incompatibly is refused, so that facts once used stay true.

mod compatible;

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_messages::{Manifest, TaskType};
use serde_json::Value;

use crate::definition::{InputMisfit, misfits};

/// Why a manifest was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// The input schema is no JSON Schema.
    #[error("take in {task_type}: its input schema is not valid: {what}")]
    Schema {
        /// Which type.
        task_type: TaskType,
        /// What is wrong.
        what: String,
    },
    /// It contradicts what is known of the same major version.
    #[error("take in {task_type}: {what}; give the change a new major version")]
    Incompatible {
        /// Which type.
        task_type: TaskType,
        /// What differs.
        what: String,
    },
}

/// One known type.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its manifest.
    pub manifest: Manifest,
    validator: Arc<jsonschema::Validator>,
}

impl Known {
    /// A type as its workers announced it.
    ///
    /// # Errors
    /// When the schema of its input is none.
    pub fn of(manifest: Manifest) -> Result<Self, CatalogueError> {
        let validator =
            jsonschema::validator_for(&manifest.input).map_err(|error| CatalogueError::Schema {
                task_type: manifest.task_type.clone(),
                what: error.to_string(),
            })?;
        Ok(Self {
            manifest,
            validator: Arc::new(validator),
        })
    }

    /// Where an input does not fit the type's schema; the first of several places. None when it does.
    #[must_use]
    pub fn misfits(&self, input: &Value) -> Vec<InputMisfit> {
        misfits(&self.validator, input)
    }

    /// Whether an input fits the type's schema.
    ///
    /// # Errors
    /// A sentence that names the first misfit and where it is.
    pub fn check_input(&self, input: &Value) -> Result<(), String> {
        match self.validator.iter_errors(input).next() {
            None => Ok(()),
            Some(misfit) => {
                let at = misfit.instance_path().to_string();
                Err(if at.is_empty() {
                    misfit.to_string()
                } else {
                    format!("at {at}: {misfit}")
                })
            }
        }
    }
}

/// The task types known.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    types: BTreeMap<TaskType, Known>,
}

impl Catalogue {
    /// What is known of a type.
    #[must_use]
    pub fn get(&self, task_type: &TaskType) -> Option<&Known> {
        self.types.get(task_type)
    }

    /// Every manifest, by name.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.types.values().map(|known| &known.manifest)
    }

    /// Takes in what a worker announced; true when it is new or changed.
    ///
    /// # Errors
    /// [`CatalogueError`] when the schema is invalid, or the same major version was known otherwise in a way decisions rest on.
    pub fn announce(&mut self, manifest: Manifest) -> Result<bool, CatalogueError> {
        if let Some(known) = self.types.get(&manifest.task_type) {
            if known.manifest == manifest {
                return Ok(false);
            }
            if let Some(what) = compatible::contradiction(&known.manifest, &manifest) {
                return Err(CatalogueError::Incompatible {
                    task_type: manifest.task_type,
                    what,
                });
            }
        }
        let known = Known::of(manifest)?;
        self.types.insert(known.manifest.task_type.clone(), known);
        Ok(true)
    }
}
