//! `baton edit`: a parked step, or a parked undo, is tried with another input, or by another task. What differs is shown first; what was seen of the step goes along, so that one that has
//! moved since refuses.

use serde_json::{Map, Value, json};

use super::act::{refrained, seen, step_or_item, step_path};
use super::dead_edit::{placed, pointer};
use super::typed;
use crate::args::EditStep;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::find;
use crate::input;
use crate::out::Out;
use crate::view::Saga;

pub(crate) async fn edit(
    client: &Client,
    asked: &EditStep,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let mut body = changes(asked)?;
    let id = find::saga_id(client, &asked.id).await?;
    let saga: Saga = typed(find::saga(client, &id).await?)?;
    let step = step_or_item(client, &saga, &id, &asked.step).await?;
    body["seen"] = seen(&step);
    let question = format!("try step {} so?", asked.step);
    let wish = Wish {
        path: &step_path(&id, &asked.step, "edit"),
        question: &question,
        reason: &asked.message,
        dry_run: asked.dry_run,
        yes: asked.yes,
    };
    let done = match shown_and_done(client, body, &wish, out).await? {
        Ok(done) => done,
        Err(exit) => return Ok(exit),
    };
    if out.wants_json() {
        out.value(&done);
    } else {
        out.line(format!("step {} is tried so at once", asked.step));
        out.next("then", &format!("baton watch {}", out.id(&id)));
    }
    Ok(Exit::Ok)
}

/// An edit of something, which is shown before it is done.
pub(super) struct Wish<'w> {
    /// Where the API does it, and says before what would differ.
    pub(super) path: &'w str,
    /// What is asked before it is done.
    pub(super) question: &'w str,
    /// Why, for whoever reads it later.
    pub(super) reason: &'w str,
    /// Only show what would differ.
    pub(super) dry_run: bool,
    /// Do not ask.
    pub(super) yes: bool,
}

/// Shows what an edit would change, asks, and has it done: what the API answered; or how the command ends without it.
pub(super) async fn shown_and_done(
    client: &Client,
    mut body: Value,
    wish: &Wish<'_>,
    out: &mut Out,
) -> Result<Result<Value, Exit>, CliError> {
    if wish.dry_run || !out.wants_json() {
        body["dry_run"] = json!(true);
        let planned = client.post(wish.path, &body, None).await?;
        told(&planned, out);
    }
    if wish.dry_run {
        return Ok(Err(Exit::Ok));
    }
    if wish.reason.trim().is_empty() {
        return Err(CliError::usage_then(
            "an edit needs a reason",
            "the same with -m 'why'",
        ));
    }
    if !out.agreed(wish.question, wish.yes)? {
        return Ok(Err(refrained(out)));
    }
    body["dry_run"] = json!(false);
    body["reason"] = json!(wish.reason);
    // minted here: the same request sent twice is one edit
    body["id"] = json!(uuid::Uuid::now_v7());
    client.post(wish.path, &body, None).await.map(Ok)
}

/// What the API is asked to change.
fn changes(asked: &EditStep) -> Result<Value, CliError> {
    let set = asked.set.iter().map(|one| placed(one, "--set"));
    let set = set.collect::<Result<Map<String, Value>, _>>()?;
    let unset: Vec<String> = asked.unset.iter().map(|place| pointer(place)).collect();
    if set.is_empty() && unset.is_empty() && asked.input.is_none() && asked.task.is_none() {
        return Err(CliError::usage_then(
            "what is to be changed?",
            "--set place=value, --input JSON, or --task TYPE",
        ));
    }
    let mut body = json!({ "set": set, "unset": unset });
    if let Some(whole) = &asked.input {
        body["input"] = input::json(whole, "--input")?;
    }
    if let Some(task) = &asked.task {
        body["task"] = json!(task);
    }
    Ok(body)
}

fn told(planned: &Value, out: &mut Out) {
    if out.wants_json() {
        out.value(planned);
        return;
    }
    // of a step; a letter has none
    if let Some(task) = planned["task"].as_str() {
        out.line(format!("{task} with {}", planned["input"]));
    }
    let difference = planned["difference"].as_str().unwrap_or_default();
    for line in difference.lines() {
        out.line(line);
    }
}
