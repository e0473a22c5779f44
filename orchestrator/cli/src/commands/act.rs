//! What an operator does: cancel, pause, resume, abandon, retry, skip, resolve, acknowledge. What was seen of a step goes along, so that one
//! that has moved since refuses.

use baton_messages::StepKey;
use serde_json::{Value, json};

use super::typed;
use crate::args::{Acknowledge, Act, ActOnStep, ComeTo, Resolve};
use crate::client::{Client, escaped};
use crate::error::CliError;
use crate::exit::Exit;
use crate::find;
use crate::input;
use crate::out::Out;
use crate::view::{Saga, Step};

pub(crate) async fn on_saga(
    client: &Client,
    action: &str,
    act: &Act,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let id = find::saga_id(client, &act.id).await?;
    let consequence = match action {
        "cancel" => Some("what it did is undone"),
        "admit" => Some("the limit it goes past is there to protect something"),
        "abandon" => Some("it stays half done as it is, and nothing goes on"),
        _ => None,
    };
    if let Some(consequence) = consequence {
        let saga: Saga = typed(find::saga(client, &id).await?)?;
        let question = format!("{action} {}? {consequence}.", standing(&saga));
        if !out.agreed(&question, act.yes)? {
            return Ok(refrained(out));
        }
    }
    let path = format!("/v1/sagas/{}/{action}", escaped(&id));
    send(client, &path, &id, body(&act.reason), out).await
}

pub(crate) async fn on_step(
    client: &Client,
    action: &str,
    act: &ActOnStep,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let consequence = (action == "skip").then_some("the saga goes on without it");
    let Some((id, seen)) = looked_at(client, action, act, consequence, out).await? else {
        return Ok(refrained(out));
    };
    let mut body = body(&act.why.reason);
    body["seen"] = seen;
    send(client, &step_path(&id, &act.step, action), &id, body, out).await
}

pub(crate) async fn resolve(
    client: &Client,
    resolve: &Resolve,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let act = &resolve.act;
    let mut body = body(&act.why.reason);
    let (word, consequence) = match resolve.come_to {
        ComeTo::Done => ("done", "nobody checks it; later steps build on it"),
        ComeTo::Undone => ("undone", "nobody checks it; nothing more is done about it"),
    };
    body["as"] = json!(word);
    if let Some(output) = &resolve.output {
        body["output"] = input::json(output, "--output")?;
    }
    let action = format!("call {word}");
    let Some((id, seen)) = looked_at(client, &action, act, Some(consequence), out).await? else {
        return Ok(refrained(out));
    };
    body["seen"] = seen;
    send(
        client,
        &step_path(&id, &act.step, "resolve"),
        &id,
        body,
        out,
    )
    .await
}

pub(crate) async fn acknowledge(
    client: &Client,
    act: &Acknowledge,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let id = find::saga_id(client, &act.id).await?;
    let number = act.number;
    let path = format!("/v1/sagas/{}/work-items/{number}/acknowledge", escaped(&id));
    match send(client, &path, &id, body(&act.reason), out).await {
        Err(error) if error.status() == Some(404) => {
            let what = format!("no work item {number} of {} is open", out.id(&id));
            Err(CliError::not_there(
                what,
                None,
                format!("baton show {id}; or baton work, for all that is open"),
            ))
        }
        done => done,
    }
}

/// The saga and what was seen of the step; none when the person thinks better of it.
async fn looked_at(
    client: &Client,
    action: &str,
    act: &ActOnStep,
    consequence: Option<&str>,
    out: &mut Out,
) -> Result<Option<(String, Value)>, CliError> {
    let id = find::saga_id(client, &act.id).await?;
    let saga: Saga = typed(find::saga(client, &id).await?)?;
    let step = step_or_item(client, &saga, &id, &act.step).await?;
    if let Some(consequence) = consequence {
        let question = format!(
            "{action} step {} ({}) of {}? {consequence}.",
            step.id,
            step.phase,
            standing(&saga)
        );
        if !out.agreed(&question, act.why.yes)? {
            return Ok(None);
        }
    }
    Ok(Some((id, seen(&step))))
}

/// A step of the saga, or one item of it: `restart`, `restart[3]`.
pub(super) async fn step_or_item(
    client: &Client,
    saga: &Saga,
    id: &str,
    name: &str,
) -> Result<Step, CliError> {
    let Ok(StepKey {
        step,
        item: Some(item),
    }) = StepKey::new(name)
    else {
        return find::step(saga, name).cloned();
    };
    find::step(saga, step.as_str())?;
    let path = format!("/v1/sagas/{}/steps/{step}/items", escaped(id));
    let mut query = vec![("limit", "1".to_owned())];
    query.extend(
        item.checked_sub(1)
            .map(|before| ("after", before.to_string())),
    );
    let answer = client.get(&path, &query).await?;
    let found: Option<Step> = match answer["items"].get(0) {
        Some(found) => Some(typed(found.clone())?),
        None => None,
    };
    found.filter(|found| found.id == name).ok_or_else(|| {
        let what = format!("{name} has not begun, or there is no such item");
        CliError::not_there(what, None, format!("baton show {id} --items {step}"))
    })
}

/// What was seen of a step.
pub(super) fn seen(step: &Step) -> Value {
    json!({ "phase": step.phase, "attempt": step.tries })
}

fn standing(saga: &Saga) -> String {
    format!(
        "{} {} ({}, {} of {} steps done)",
        saga.row.what(),
        saga.row.id,
        saga.row.standing(),
        saga.steps_done(),
        saga.steps.len()
    )
}

pub(super) fn refrained(out: &mut Out) -> Exit {
    out.note("nothing was done");
    Exit::Error
}

pub(super) fn step_path(id: &str, step: &str, action: &str) -> String {
    let (id, step) = (escaped(id), escaped(step));
    format!("/v1/sagas/{id}/steps/{step}/{action}")
}

/// The id is minted here: the same action sent twice is one.
fn body(reason: &str) -> Value {
    json!({ "reason": reason, "id": uuid::Uuid::now_v7() })
}

pub(super) async fn send(
    client: &Client,
    path: &str,
    id: &str,
    body: Value,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let answer = match client.post(path, &body, None).await {
        // a saga that has moved or ended is looked at again first
        Err(CliError::Problem {
            status: 409,
            detail,
            next: None,
            document,
        }) => {
            let next = Some(format!("baton show {id}"));
            return Err(CliError::Problem {
                status: 409,
                detail,
                next,
                document,
            });
        }
        answer => answer?,
    };
    if out.wants_json() {
        out.value(&answer);
    } else {
        let shown = out.id(id).to_owned();
        out.next(
            "recorded; what comes of it",
            &format!("baton watch {shown}"),
        );
    }
    Ok(Exit::Ok)
}
