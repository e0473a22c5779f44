//! `baton run`: starts a saga, or one task on its own, or one for each line of a file; waits when asked to.

use std::time::Duration;

use baton_engine::Definition;
use serde_json::{Value, json};

use super::{each, items, show};
use crate::args::Run;
use crate::client::{Client, escaped};
use crate::error::CliError;
use crate::exit::Exit;
use crate::find;
use crate::input::{self, Wanted};
use crate::out::Out;
use crate::screens::saga::Detail;

/// Pause before a start in doubt is sent once more: a restart of the orchestrator takes about that long.
const AGAIN: Duration = Duration::from_secs(2);

pub(crate) async fn run(client: &Client, run: &Run, out: &mut Out) -> Result<Exit, CliError> {
    let mut body = what(&run.what)?;
    if run.each.is_some() {
        return match each::each(client, run, body.clone(), out).await {
            Err(error) if matches!(error.status(), Some(404 | 422)) => {
                Err(explained(client, &body, error).await)
            }
            answer => answer,
        };
    }
    let wanted = wanted(client, &body, &run.fields).await;
    body["input"] = input::fields_into(run.input.as_deref(), "--input", &run.fields, &wanted)?;
    body["labels"] = json!(input::labels(&run.labels)?);
    let request = run.id.unwrap_or_else(uuid::Uuid::now_v7);
    body["id"] = json!(request);
    let answer = match started(client, &body, run.key.as_deref(), request).await {
        Err(error) if matches!(error.status(), Some(404 | 422)) => {
            return Err(explained(client, &body, error).await);
        }
        answer => answer?,
    };
    let id = answer["id"].as_str().unwrap_or_default().to_owned();
    if run.wait {
        return show::waited(client, &id, run.timeout, Detail::Steps, out).await;
    }
    if out.wants_json() {
        out.value(&answer);
    } else {
        // alone on its line, so that a script may take it
        out.line(&id);
        if out.screen.is_terminal() {
            let command = format!("baton watch {}", out.id(&id));
            out.next("follow it", &command);
        }
    }
    Ok(Exit::Ok)
}

/// What the schema of the input wants, where there are fields to be read by it. What cannot be found out the orchestrator says when it is asked to start.
async fn wanted(client: &Client, body: &Value, fields: &[String]) -> Wanted {
    if fields.is_empty() {
        return Wanted::default();
    }
    let schema = match (body["task"].as_str(), body["definition"].as_str()) {
        (Some(task), _) => {
            let path = format!("/v1/task-types/{}", escaped(task));
            let manifest = client.get(&path, &[]).await.ok();
            manifest.map(|manifest| manifest["input"].clone())
        }
        (None, Some(name)) => of_definition(client, name, body["version"].as_u64()).await,
        (None, None) => None,
    };
    Wanted::by(schema)
}

async fn of_definition(client: &Client, name: &str, version: Option<u64>) -> Option<Value> {
    let version = match version {
        Some(version) => version,
        None => each::newest(client, name).await.ok()??,
    };
    let path = format!("/v1/definitions/{}/{version}", escaped(name));
    let text = client.get_text(&path).await.ok()?;
    let definition = Definition::parse(&text).ok()?;
    let schema = definition.input_schema?;
    Some(schema.schema().clone())
}

/// A name nobody knows, with what may have been meant; an input that does not fit, with where to read what does.
async fn explained(client: &Client, body: &Value, error: CliError) -> CliError {
    let CliError::Problem {
        status,
        detail,
        next,
        document,
    } = error
    else {
        return error;
    };
    let known = |answer: Result<Value, CliError>, list: &str, name: &str| -> Vec<String> {
        let answer = answer.unwrap_or_default();
        let names = items(&answer, list)
            .iter()
            .filter_map(|row| row[name].as_str());
        names.map(str::to_owned).collect()
    };
    let next = match (status, body["task"].as_str(), body["definition"].as_str()) {
        (404, Some(task), _) => {
            let types = known(
                client.get("/v1/task-types", &[]).await,
                "task_types",
                "task_type",
            );
            return find::unknown("task type", task, &types, "baton tasks");
        }
        (404, _, Some(name)) => {
            let names = known(
                client.get("/v1/definitions", &[]).await,
                "definitions",
                "definition",
            );
            if !names.iter().any(|one| one == name) {
                return find::unknown("definition", name, &names, "baton definitions");
            }
            Some("baton definitions".to_owned())
        }
        (_, Some(task), _) => Some(format!("baton tasks show {task}")),
        (_, _, Some(name)) => Some(format!("baton definitions show {name}")),
        _ => next,
    };
    CliError::Problem {
        status,
        detail,
        next,
        document,
    }
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
            None => Err(CliError::usage_then(
                format!("a task type has a version, such as {text}@1"),
                "baton tasks",
            )),
        };
    }
    let version: Option<u32> = match version {
        None => None,
        Some(version) => Some(version.parse().map_err(|_| {
            let what = format!("`{version}` is no version; write {name} or {name}@1");
            CliError::usage_then(what, "baton definitions")
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
            document: Box::default(),
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
