//! `baton approve` and `reject`: what a person says to a step that waits for it.

use serde_json::json;

use super::{act, typed};
use crate::args::Decide;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::find;
use crate::out::Out;
use crate::view::Saga;

/// The kind of work item that waits for a yes or no.
const APPROVAL: &str = "approval";

pub(crate) async fn decide(
    client: &Client,
    action: &str,
    decide: &Decide,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let id = find::saga_id(client, &decide.id).await?;
    let saga: Saga = typed(find::saga(client, &id).await?)?;
    let step = match &decide.step {
        Some(step) => step.clone(),
        None => the_one_that_waits(&saga, action)?,
    };
    let step = find::step(&saga, &step)?;
    let mut body = json!({ "id": uuid::Uuid::now_v7(), "seen": act::seen(step) });
    if let Some(note) = &decide.note {
        body["note"] = json!(note);
    }
    act::send(
        client,
        &act::step_path(&id, &step.id, action),
        &id,
        body,
        out,
    )
    .await
}

fn the_one_that_waits(saga: &Saga, action: &str) -> Result<String, CliError> {
    let approvals = saga.work_items.iter().filter(|item| item.kind == APPROVAL);
    let waiting: Vec<&str> = approvals.filter_map(|item| item.step.as_deref()).collect();
    let id = &saga.row.id;
    match waiting.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(CliError::not_there(
            format!(
                "no step of {} waits for approval ({})",
                saga.row.what(),
                saga.row.standing()
            ),
            None,
            format!("baton show {id}"),
        )),
        several => Err(CliError::usage(format!(
            "several steps wait for approval: {}; name one: baton {action} {id} {}",
            several.join(", "),
            several[0]
        ))),
    }
}
