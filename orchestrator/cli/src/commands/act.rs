//! What an operator does: cancel, pause, resume, abandon, retry, skip, resolve, acknowledge.

use serde_json::{Value, json};

use crate::args::{Acknowledge, Act, ActOnStep, ComeTo, Resolve};
use crate::client::{Client, escaped};
use crate::error::CliError;
use crate::exit::Exit;
use crate::input;
use crate::out::Out;

pub(crate) async fn on_saga(
    client: &Client,
    action: &str,
    act: &Act,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let path = format!("/v1/sagas/{}/{action}", escaped(&act.id));
    send(client, &path, &act.id, body(&act.reason), out).await
}

pub(crate) async fn on_step(
    client: &Client,
    action: &str,
    act: &ActOnStep,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let path = step_path(act, action);
    send(client, &path, &act.id, body(&act.reason), out).await
}

pub(crate) async fn resolve(
    client: &Client,
    resolve: &Resolve,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let mut body = body(&resolve.act.reason);
    body["as"] = match resolve.come_to {
        ComeTo::Done => json!("done"),
        ComeTo::Undone => json!("undone"),
    };
    if let Some(output) = &resolve.output {
        body["output"] = input::json(output, "--output")?;
    }
    let path = step_path(&resolve.act, "resolve");
    send(client, &path, &resolve.act.id, body, out).await
}

pub(crate) async fn acknowledge(
    client: &Client,
    act: &Acknowledge,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let (id, number) = (escaped(&act.id), act.number);
    let path = format!("/v1/sagas/{id}/work-items/{number}/acknowledge");
    send(client, &path, &act.id, body(&act.reason), out).await
}

fn step_path(act: &ActOnStep, action: &str) -> String {
    let (id, step) = (escaped(&act.id), escaped(&act.step));
    format!("/v1/sagas/{id}/steps/{step}/{action}")
}

/// The id is minted here: the same action sent twice is one.
fn body(reason: &str) -> Value {
    json!({ "reason": reason, "id": uuid::Uuid::now_v7() })
}

async fn send(
    client: &Client,
    path: &str,
    id: &str,
    body: Value,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let answer = client.post(path, &body, None).await?;
    if out.wants_json() {
        out.value(&answer);
    } else {
        out.line(format!("done; see: baton show {id}"));
    }
    Ok(Exit::Ok)
}
