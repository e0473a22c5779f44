//! The commands, one file for each kind.

pub(crate) mod act;
pub(crate) mod apply;
pub(crate) mod lists;
pub(crate) mod ls;
pub(crate) mod run;
pub(crate) mod show;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::CliError;

/// An answer of the API as what is shown of it.
fn typed<T: DeserializeOwned>(value: Value) -> Result<T, CliError> {
    serde_json::from_value(value).map_err(|error| CliError::Problem {
        status: 200,
        detail: format!("the orchestrator's answer is of another version: {error}"),
        next: Some("repeat it with --json".to_owned()),
    })
}
