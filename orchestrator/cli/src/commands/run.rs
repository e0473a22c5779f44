//! `baton run`: starts a saga, or one task on its own; waits for it when asked to.

use std::time::Duration;

use serde_json::{Value, json};

use super::show::{self, Until};
use crate::args::Run;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::input;
use crate::out::Out;

/// Pause before a start in doubt is sent once more: a restart of the orchestrator takes about that long.
const AGAIN: Duration = Duration::from_secs(2);

pub(crate) async fn run(client: &Client, run: &Run, out: &mut Out) -> Result<Exit, CliError> {
    let mut body = what(&run.what)?;
    body["input"] = input::saga_input(run.input.as_deref(), &run.fields)?;
    body["labels"] = json!(input::labels(&run.labels)?);
    let request = run.id.unwrap_or_else(uuid::Uuid::now_v7);
    body["id"] = json!(request);
    let answer = started(client, &body, run.key.as_deref(), request).await?;
    let id = answer["id"].as_str().unwrap_or_default().to_owned();
    if !run.wait {
        if out.wants_json() {
            out.value(&answer);
        } else {
            out.line(&id);
        }
        return Ok(Exit::Ok);
    }
    let until = Until::after(run.timeout);
    let saga = show::settled(client, &id, &until).await?;
    let exit = Exit::of_status(saga["status"].as_str().unwrap_or_default());
    show::print(saga, out)?;
    Ok(exit)
}

/// Sends it, and once more when nobody knows whether the first was committed: under the same id or key it is the same saga.
async fn started(
    client: &Client,
    body: &Value,
    key: Option<&str>,
    request: uuid::Uuid,
) -> Result<Value, CliError> {
    let first = match client.post("/v1/sagas", body, key).await {
        Err(error) if error.in_doubt() => error,
        known => return known,
    };
    tokio::time::sleep(AGAIN).await;
    match client.post("/v1/sagas", body, key).await {
        Err(error) if error.in_doubt() => Err(in_doubt(error, key, request)),
        // Refused or not reached now, but the first one may have come through.
        Err(CliError::Unreachable { .. }) => Err(in_doubt(first, key, request)),
        known => known,
    }
}

fn in_doubt(error: CliError, key: Option<&str>, request: uuid::Uuid) -> CliError {
    CliError::InDoubt {
        with: key.map_or_else(|| format!("--id {request}"), |key| format!("--key {key}")),
        source: Box::new(error),
    }
}

/// A definition, or a task type: those have a dot in their name and always a version.
fn what(text: &str) -> Result<Value, CliError> {
    let (name, version) = match text.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    };
    if name.contains('.') {
        return match version {
            Some(_) => Ok(json!({ "task": text })),
            None => Err(CliError::usage(format!(
                "a task type has a version: {text}@1; see `baton types`"
            ))),
        };
    }
    let version: Option<u32> = match version {
        None => None,
        Some(version) => Some(version.parse().map_err(|_| {
            CliError::usage(format!(
                "`{version}` is no version; write {name} or {name}@1"
            ))
        })?),
    };
    Ok(json!({ "definition": name, "version": version }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_in_doubt_names_how_it_is_repeated() {
        let refused = || CliError::Problem {
            status: 503,
            detail: "not committed in time".to_owned(),
            next: None,
        };
        assert!(refused().in_doubt());
        let id = uuid::Uuid::from_u128(7);
        let text = in_doubt(refused(), None, id).to_string();
        assert!(text.contains(&format!("--id {id}")), "{text}");
        let text = in_doubt(refused(), Some("k1"), id).to_string();
        assert!(text.contains("--key k1"), "{text}");
    }

    #[test]
    fn a_name_with_a_dot_is_a_task_type() {
        assert_eq!(what("test.echo@1").unwrap(), json!({"task": "test.echo@1"}));
        assert_eq!(
            what("restore").unwrap(),
            json!({"definition": "restore", "version": null})
        );
        assert_eq!(
            what("restore@3").unwrap(),
            json!({"definition": "restore", "version": 3})
        );
        assert!(what("test.echo").is_err());
        assert!(what("restore@x").is_err());
    }
}
