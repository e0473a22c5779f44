//! `baton run`: starts a saga, or one task on its own; waits for it when asked to.

use serde_json::{Value, json};

use super::show::{self, Until};
use crate::args::Run;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::input;
use crate::out::Out;

pub(crate) async fn run(client: &Client, run: &Run, out: &mut Out) -> Result<Exit, CliError> {
    let mut body = what(&run.what)?;
    body["input"] = input::saga_input(run.input.as_deref(), &run.fields)?;
    body["labels"] = json!(input::labels(&run.labels)?);
    // An id of our own: if the answer is lost, sending it again would be the same saga.
    body["id"] = json!(uuid::Uuid::now_v7());
    let answer = client.post("/v1/sagas", &body, run.key.as_deref()).await?;
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
