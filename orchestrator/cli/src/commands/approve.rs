//! `baton approve` and `reject`: what a person says to a step that waits for it, or to all that wait under one label.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use super::{act, labelled, typed};
use crate::args::Decide;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::find;
use crate::input;
use crate::out::{Line, Out, Tone, short};
use crate::screens::work::Open;
use crate::view::Saga;

/// The kind of work item that waits for a yes or no.
const APPROVAL: &str = "approval";
/// Sagas asked for, and decided, at once: enough to fill the orchestrator's commits, and no flood.
const AT_ONCE: usize = 16;
/// What is asked about is shown, so many at most.
const SHOWN_MAX: usize = 10;

pub(crate) async fn decide(
    client: &Client,
    action: &str,
    decide: &Decide,
    out: &mut Out,
) -> Result<Exit, CliError> {
    if let Some(label) = &decide.label {
        return of_label(client, action, label, decide, out).await;
    }
    let id = find::saga_id(client, decide.id.as_deref().unwrap_or_default()).await?;
    let saga: Saga = typed(find::saga(client, &id).await?)?;
    let step = match decide.step.as_ref().or(decide.of_label.as_ref()) {
        Some(step) => step.clone(),
        None => the_one_that_waits(&saga, action)?,
    };
    let body = said(&saga, &step, decide)?;
    act::send(client, &act::step_path(&id, &step, action), &id, body, out).await
}

fn said(saga: &Saga, step: &str, decide: &Decide) -> Result<Value, CliError> {
    let step = find::step(saga, step)?;
    let mut body = json!({ "id": uuid::Uuid::now_v7(), "seen": act::seen(step) });
    if let Some(note) = &decide.note {
        body["note"] = json!(note);
    }
    Ok(body)
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

/// One step of one saga, and what will be said to it.
struct Waiting {
    saga: String,
    step: String,
    title: String,
    body: Value,
}

/// All that wait under a label. What a person was shown is what is decided: whatever waits from then on is another time's.
async fn of_label(
    client: &Client,
    action: &str,
    label: &str,
    decide: &Decide,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let label = &input::label(label)?;
    let sagas = labelled::sagas(client, label).await?;
    let ids: BTreeSet<&str> = sagas.iter().map(|row| &*row.id).collect();
    if ids.is_empty() {
        let what = format!("no saga has the label `{label}`");
        return Err(CliError::not_there(what, None, "baton ls"));
    }
    let mut open = labelled::approvals(client).await?;
    open.retain(|one| ids.contains(&*one.saga));
    let open = of_one_step(open, action, label, decide.of_label.as_deref())?;
    if open.is_empty() {
        let what = format!(
            "none of {} with `{label}` waits for approval",
            many(ids.len())
        );
        let next = format!("baton ls --label {label}");
        return Err(CliError::not_there(what, None, next));
    }
    let waiting = looked_at(client, open, decide).await?;
    if !agreed(action, &waiting, ids.len(), decide.yes, out)? {
        out.note("nothing was done");
        return Ok(Exit::Error);
    }
    said_to_all(client, action, label, waiting, out).await
}

fn of_one_step(
    mut open: Vec<Open>,
    action: &str,
    label: &str,
    wanted: Option<&str>,
) -> Result<Vec<Open>, CliError> {
    if let Some(wanted) = wanted {
        open.retain(|one| one.item.step.as_deref() == Some(wanted));
        return Ok(open);
    }
    let steps: BTreeSet<&str> = open
        .iter()
        .filter_map(|one| one.item.step.as_deref())
        .collect();
    match steps.first() {
        Some(first) if steps.len() > 1 => {
            let all = steps.iter().copied().collect::<Vec<_>>().join(", ");
            Err(CliError::usage(format!(
                "different steps wait for approval: {all}; name one: baton {action} --label {label} --step {first}"
            )))
        }
        _ => Ok(open),
    }
}

async fn looked_at(
    client: &Client,
    open: Vec<Open>,
    decide: &Decide,
) -> Result<Vec<Waiting>, CliError> {
    let looks = open.into_iter().map(|one| async move {
        let saga: Saga = typed(find::saga(client, &one.saga).await?)?;
        let step = one.item.step.unwrap_or_default();
        Ok(Waiting {
            body: said(&saga, &step, decide)?,
            saga: one.saga,
            step,
            title: one.item.title,
        })
    });
    let looks: Vec<Result<Waiting, CliError>> =
        stream::iter(looks).buffered(AT_ONCE).collect().await;
    looks.into_iter().collect()
}

/// Shows what is decided, and asks.
fn agreed(
    action: &str,
    waiting: &[Waiting],
    all: usize,
    yes: bool,
    out: &mut Out,
) -> Result<bool, CliError> {
    if !out.wants_json() {
        let width = out.side.width();
        for one in waiting.iter().take(SHOWN_MAX) {
            let line = Line::faint(format!("  {}  ", short(&one.saga, width)));
            out.side.line(&line.plain(one.title.as_str()));
        }
        if waiting.len() > SHOWN_MAX {
            let more = format!("  and {} more", waiting.len() - SHOWN_MAX);
            out.side.line(&Line::faint(more));
        }
    }
    let rest = match all - waiting.len() {
        0 => String::new(),
        rest => format!("; {rest} with this label do not wait for it"),
    };
    let question = format!("{action} {}{rest}?", many(waiting.len()));
    out.agreed(&question, yes)
}

fn many(sagas: usize) -> String {
    format!("{sagas} saga{}", if sagas == 1 { "" } else { "s" })
}

/// One that has moved since refuses by itself, and holds up none of the others.
async fn said_to_all(
    client: &Client,
    action: &str,
    label: &str,
    waiting: Vec<Waiting>,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let all = waiting.len();
    let saying = waiting.into_iter().map(|one| async move {
        let path = act::step_path(&one.saga, &one.step, action);
        let answer = client.post(&path, &one.body, None).await;
        (one.saga, answer.err())
    });
    let mut answers = stream::iter(saying).buffer_unordered(AT_ONCE);
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    while let Some((saga, error)) = answers.next().await {
        match error {
            None => done.push(saga),
            Some(error) => refused.push((saga, error.to_string())),
        }
        if out.side.is_terminal() && !out.wants_json() {
            let text = format!("{} of {all}", done.len() + refused.len());
            out.side.draw(&[Line::faint(text)]);
        }
    }
    out.side.erase();
    told(action, label, &done, &refused, out);
    Ok(if refused.is_empty() {
        Exit::Ok
    } else {
        Exit::Error
    })
}

fn told(action: &str, label: &str, done: &[String], refused: &[(String, String)], out: &mut Out) {
    if out.wants_json() {
        let refused: Vec<Value> = refused
            .iter()
            .map(|(saga, why)| json!({ "saga": saga, "why": why }))
            .collect();
        out.value(&json!({ "action": action, "label": label, "sagas": done, "refused": refused }));
        return;
    }
    out.screen.flush();
    let width = out.side.width();
    for (saga, why) in refused {
        let line = Line::of("error: ", Tone::Bad).plain(format!("{}: {why}", short(saga, width)));
        out.side.line(&line);
    }
    out.side.flush();
    let what = format!("{action}: {}; what comes of it", many(done.len()));
    out.next(&what, &format!("baton ls --label {label}"));
}
