//! `baton tasks`: what workers can do, and a manual page of each.

use serde_json::Value;

use super::{check, items, typed_items};
use crate::args::{Tasks, TasksCommand};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::find;
use crate::out::Out;
use crate::screens::{fleet, manual};
use crate::view::TaskType;

/// From an orchestrator.
pub(crate) async fn online(
    client: &Client,
    tasks: &Tasks,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let answer = client.get("/v1/task-types", &[]).await?;
    shown(&answer, tasks, out)
}

/// Those that come with this version.
pub(crate) fn offline(tasks: &Tasks, out: &mut Out) -> Result<Exit, CliError> {
    let answer = serde_json::json!({ "task_types": check::shipped_json()? });
    shown(&answer, tasks, out)
}

fn shown(answer: &Value, tasks: &Tasks, out: &mut Out) -> Result<Exit, CliError> {
    match &tasks.command {
        None | Some(TasksCommand::Ls) => ls(answer, out),
        Some(TasksCommand::Show { name }) => show(answer, name, out),
    }
}

fn ls(answer: &Value, out: &mut Out) -> Result<Exit, CliError> {
    if out.wants_json() {
        out.value(answer);
        return Ok(Exit::Ok);
    }
    let rows: Vec<TaskType> = typed_items(answer, "task_types")?;
    out.table(
        &fleet::types(&rows),
        "(none was ever announced; start a worker: baton-worker; or see what this version comes with: baton tasks --offline)",
    );
    if let Some(first) = rows.first() {
        out.next(
            "a manual page",
            &format!("baton tasks show {}", first.task_type),
        );
    }
    Ok(Exit::Ok)
}

fn show(answer: &Value, name: &str, out: &mut Out) -> Result<Exit, CliError> {
    let rows = items(answer, "task_types");
    let named = |row: &&Value| {
        let known = row["task_type"].as_str().unwrap_or_default();
        known == name || known.split('@').next() == Some(name)
    };
    // the newest version of a name alone; names sort so that it is the last
    let Some(found) = rows.iter().rfind(named) else {
        let known: Vec<String> = rows
            .iter()
            .filter_map(|row| row["task_type"].as_str())
            .map(str::to_owned)
            .collect();
        return Err(find::unknown("task type", name, &known, "baton tasks"));
    };
    if out.wants_json() {
        out.value(found);
        return Ok(Exit::Ok);
    }
    let task: TaskType = super::typed(found.clone())?;
    for line in manual::page(&task, out.screen.width()) {
        out.say(&line);
    }
    Ok(Exit::Ok)
}
