//! The automations one worker serves, each behind one object-safe face: JSON in, the result of an attempt out.
//! Schemas are compiled once, here, and never on the way of a task.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_messages::{Direction, Manifest, ProbeAnswer, TaskResult, TaskType};
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::automation::{Asked, Automation, Done, Probe};
use crate::context::Context;
use crate::manifest::{ManifestError, manifest_of};
use crate::meter::Meter;
use crate::pace::Pace;
use crate::task_error::TaskError;

/// What an attempt is entered with.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) direction: Direction,
    pub(crate) input: Value,
    pub(crate) output: Option<Value>,
    pub(crate) before: Option<Value>,
    pub(crate) progress: Option<Value>,
}

/// One automation without its types.
trait Face: Send + Sync {
    fn enter<'a>(&'a self, context: &'a Context, given: Given) -> BoxFuture<'a, TaskResult>;
}

/// One automation as it is served.
pub(crate) struct Served {
    pub(crate) manifest: Manifest,
    pub(crate) meter: Meter,
    pub(crate) pace: Pace,
    validator: jsonschema::Validator,
    face: Box<dyn Face>,
}

impl Served {
    /// Says in one sentence how `input` breaks the input schema, if it does.
    pub(crate) fn misfit(&self, input: &Value) -> Option<String> {
        if self.validator.is_valid(input) {
            return None;
        }
        let first = self.validator.validate(input).err()?;
        // The value itself is masked: it may hold what must not be logged.
        Some(format!(
            "at `{}`: {}",
            first.instance_path(),
            first.masked()
        ))
    }

    pub(crate) fn enter<'a>(
        &'a self,
        context: &'a Context,
        given: Given,
    ) -> BoxFuture<'a, TaskResult> {
        self.face.enter(context, given)
    }
}

/// The automations one worker serves.
#[derive(Default, Clone)]
pub struct Registry {
    served: BTreeMap<TaskType, Arc<Served>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.served.keys()).finish()
    }
}

impl Registry {
    /// Serves nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves `automation` as well.
    ///
    /// # Errors
    /// [`ManifestError`] when its type, schemas or examples are not right, or the type is served already.
    pub fn with<A: Automation>(mut self, automation: A) -> Result<Self, ManifestError> {
        let manifest = manifest_of::<A>()?;
        let validator =
            jsonschema::validator_for(&manifest.input).map_err(|e| ManifestError::Schema {
                task_type: A::TYPE.to_owned(),
                why: e.to_string(),
            })?;
        let task_type = manifest.task_type.clone();
        let served = Served {
            manifest,
            meter: Meter::default(),
            pace: Pace::default(),
            validator,
            face: Box::new(Erased(automation)),
        };
        if self
            .served
            .insert(task_type.clone(), Arc::new(served))
            .is_some()
        {
            return Err(ManifestError::Twice(task_type));
        }
        Ok(self)
    }

    /// The manifests, in order of their names.
    #[must_use]
    pub fn manifests(&self) -> Vec<Manifest> {
        self.served.values().map(|s| s.manifest.clone()).collect()
    }

    /// Keeps only the types for which `keep` says so.
    #[must_use]
    pub fn only(mut self, keep: impl Fn(&TaskType) -> bool) -> Self {
        self.served.retain(|task_type, _| keep(task_type));
        self
    }

    pub(crate) fn all(&self) -> Vec<Arc<Served>> {
        self.served.values().cloned().collect()
    }

    pub(crate) fn types(&self) -> impl Iterator<Item = (&TaskType, &Arc<Served>)> {
        self.served.iter()
    }
}

/// Gives an automation its untyped face.
struct Erased<A>(A);

impl<A: Automation> Face for Erased<A> {
    fn enter<'a>(&'a self, context: &'a Context, given: Given) -> BoxFuture<'a, TaskResult> {
        Box::pin(async move {
            let entered = match given.direction {
                Direction::Do => self.run(context, given).await,
                Direction::Undo => self.undo(context, given).await,
                Direction::Probe => self.probe(context, given).await,
            };
            entered.unwrap_or_else(TaskError::into_result)
        })
    }
}

impl<A: Automation> Erased<A> {
    async fn run(&self, context: &Context, given: Given) -> Result<TaskResult, TaskError> {
        let input = input_of::<A::Input>(given.input)?;
        let output = self.0.run(context, input).await?;
        Ok(TaskResult::Succeeded {
            output: output_value(&output)?,
        })
    }

    async fn undo(&self, context: &Context, given: Given) -> Result<TaskResult, TaskError> {
        let done = Done {
            input: input_of::<A::Input>(given.input)?,
            // An output nobody can read is as good as none: the undo must be able to do without.
            output: given.output.and_then(|o| serde_json::from_value(o).ok()),
            before: given.before,
            progress: given.progress,
        };
        self.0.undo(context, done).await?;
        Ok(TaskResult::Succeeded {
            output: Value::Null,
        })
    }

    async fn probe(&self, context: &Context, given: Given) -> Result<TaskResult, TaskError> {
        let asked = Asked {
            input: input_of::<A::Input>(given.input)?,
            before: given.before,
            progress: given.progress,
        };
        let answer = match self.0.probe(context, asked).await? {
            Probe::Happened(output) => ProbeAnswer::Happened {
                output: output_value(&output)?,
            },
            Probe::DidNot => ProbeAnswer::DidNot,
            Probe::CannotTell(reason) => ProbeAnswer::CannotTell { reason },
        };
        Ok(TaskResult::Probed(answer))
    }
}

fn input_of<I: DeserializeOwned>(input: Value) -> Result<I, TaskError> {
    serde_json::from_value(input).map_err(|e| {
        TaskError::failed(
            "input-misfit",
            format!("the input does not fit the type: {e}"),
        )
    })
}

/// The effect has been made when this fails, hence unknown.
fn output_value<O: serde::Serialize>(output: &O) -> Result<Value, TaskError> {
    serde_json::to_value(output).map_err(|e| {
        TaskError::unknown(
            "output-misfit",
            format!("the output cannot be written as JSON: {e}"),
        )
        .is_final()
    })
}
