//! How a service stands, and how that is stored before it is touched.

use std::fmt;

use baton_worker::TaskError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a service stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum State {
    /// It runs.
    Running {
        /// Which run of it.
        instance: String,
    },
    /// It does not run, and nobody wants it to.
    Stopped,
    /// It should run and does not: it fails again and again, or has been given up.
    Failing,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running { .. } => "running",
            Self::Stopped => "stopped",
            Self::Failing => "failing",
        })
    }
}

pub(crate) fn before_value(found: &State) -> Result<Value, TaskError> {
    serde_json::to_value(found).map_err(|error| {
        TaskError::failed(
            "before-misfit",
            format!("how the service stood cannot be stored: {error}"),
        )
    })
}

pub(crate) fn before_of(stored: &Value) -> Result<State, TaskError> {
    serde_json::from_value(stored.clone()).map_err(|error| {
        TaskError::failed(
            "before-misfit",
            format!("how the service stood before cannot be read: {error}"),
        )
    })
}

/// It stands neither as it did nor as it was told to.
pub(crate) fn somebody_else(service: &str, found: &State) -> TaskError {
    TaskError::failed(
        "changed-by-somebody-else",
        format!("{service} is {found}, as this step never left it: changed by somebody else"),
    )
}
