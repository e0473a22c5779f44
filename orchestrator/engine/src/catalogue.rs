//! The task types known, as workers announced them: what a definition is decided against. An announcement that would change
//! a major version incompatibly is refused, so that facts once used stay true.

mod compatible;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use baton_messages::{Manifest, TaskType};
use serde_json::Value;

use crate::definition::{InputMisfit, misfits};
use crate::types::whole_numbers;

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
    /// None where anything is an output, or where its schema is none that anything could be held against.
    output: Option<Arc<jsonschema::Validator>>,
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
        let output = match allows_anything(&manifest.output) {
            true => None,
            false => jsonschema::validator_for(&manifest.output).ok(),
        };
        Ok(Self {
            manifest,
            validator: Arc::new(validator),
            output: output.map(Arc::new),
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

    /// What a task has returned, with every integer as expressions have it; none where it is so already.
    pub(crate) fn whole_numbers(&self, output: &Value) -> Option<Value> {
        whole_numbers(&self.manifest.output, output)
    }
}

impl Known {
    /// Whether an output fits the type's schema.
    ///
    /// # Errors
    /// A sentence that names the first place where it does not, without what stands there.
    pub fn check_output(&self, output: &Value) -> Result<(), String> {
        // to ask whether it fits costs less than to look for what does not
        let held = self.output.as_ref();
        let Some(validator) = held.filter(|validator| !validator.is_valid(output)) else {
            return Ok(());
        };
        validator.validate(output).map_err(|misfit| {
            let (at, what) = (misfit.instance_path().to_string(), misfit.masked());
            match at.is_empty() {
                true => what.to_string(),
                false => format!("at {at}: {what}"),
            }
        })
    }
}

/// Whether a schema says nothing of a value: then nothing is held against it.
fn allows_anything(schema: &Value) -> bool {
    const SAYS_NOTHING: [&str; 4] = ["$schema", "title", "description", "$comment"];
    match schema {
        Value::Bool(true) => true,
        Value::Object(map) => map.keys().all(|key| SAYS_NOTHING.contains(&key.as_str())),
        _ => false,
    }
}

/// Task types that processes of the library need and that no worker does yet, by their manifests.
const PLANNED: &str = include_str!("../../sagas/planned.json");

/// Read and compiled once. A test sees to it that all of them are sound.
static ALL_PLANNED: LazyLock<Catalogue> = LazyLock::new(|| {
    let mut all = Catalogue::default();
    for manifest in serde_json::from_str(PLANNED).unwrap_or_else(|_| Vec::new()) {
        let _ = all.plan(manifest);
    }
    all
});

/// The task types known.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    types: BTreeMap<TaskType, Known>,
    /// Those no worker does yet.
    planned: BTreeSet<TaskType>,
}

impl Catalogue {
    /// Those that processes of the library need and that no worker does yet. Definitions are checked against them, and a step that waits for one says so; nothing is
    /// ever sent to them.
    #[must_use]
    pub fn planned() -> &'static Self {
        &ALL_PLANNED
    }

    /// This one, with [`Catalogue::planned`] beside what was announced.
    #[must_use]
    pub fn with_planned(mut self) -> Self {
        for (task_type, known) in &Self::planned().types {
            if !self.types.contains_key(task_type) {
                self.planned.insert(task_type.clone());
                self.types.insert(task_type.clone(), known.clone());
            }
        }
        self
    }

    /// What is known of a type.
    #[must_use]
    pub fn get(&self, task_type: &TaskType) -> Option<&Known> {
        self.types.get(task_type)
    }

    /// Every manifest, by name.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.types.values().map(|known| &known.manifest)
    }

    /// Whether it is only planned: its manifest is written, and no worker does it yet.
    #[must_use]
    pub fn is_planned(&self, task_type: &TaskType) -> bool {
        self.planned.contains(task_type)
    }

    /// Takes in the manifest of a type that no worker does yet: definitions are checked against it. What was announced stays.
    ///
    /// # Errors
    /// [`CatalogueError`] when the schema is invalid.
    pub fn plan(&mut self, manifest: Manifest) -> Result<(), CatalogueError> {
        if !self.types.contains_key(&manifest.task_type) {
            let known = Known::of(manifest)?;
            self.planned.insert(known.manifest.task_type.clone());
            self.types.insert(known.manifest.task_type.clone(), known);
        }
        Ok(())
    }

    /// Takes in what a worker announced; true when it is new or changed. What is refused changes nothing.
    ///
    /// # Errors
    /// [`CatalogueError`] when the schema is invalid, or the same major version was known otherwise in a way decisions rest on.
    pub fn announce(&mut self, manifest: Manifest) -> Result<bool, CatalogueError> {
        let planned = self.planned.contains(&manifest.task_type);
        if let Some(known) = self.types.get(&manifest.task_type).filter(|_| !planned) {
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
        self.planned.remove(&known.manifest.task_type);
        self.types.insert(known.manifest.task_type.clone(), known);
        Ok(true)
    }
}
