//! `baton show`: one saga, its steps as a list in their order, why it waits, and what you can do.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::typed;
use crate::args::Show;
use crate::client::{Client, escaped};
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::{Out, Tone};
use crate::table::Table;
use crate::time;
use crate::view::{Item, Saga, Step};

/// How long one answer is held back: shorter than any proxy's patience.
const ASK_S: u64 = 20;

/// Until when somebody waits.
pub(crate) struct Until(Option<Instant>);

impl Until {
    /// After so many seconds; for ever when there are none.
    pub(crate) fn after(seconds: Option<u64>) -> Self {
        Self(seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds)))
    }

    fn left_s(&self) -> u64 {
        self.0.map_or(ASK_S, |end| {
            let left = end.saturating_duration_since(Instant::now());
            left.as_secs().min(ASK_S)
        })
    }

    fn over(&self) -> bool {
        self.0.is_some_and(|end| Instant::now() >= end)
    }
}

pub(crate) async fn show(client: &Client, show: &Show, out: &mut Out) -> Result<Exit, CliError> {
    let path = format!("/v1/sagas/{}", escaped(&show.id));
    if show.records {
        return records(client, &path, out).await;
    }
    let (saga, exit) = if show.wait {
        let saga = settled(client, &show.id, &Until::after(show.timeout)).await?;
        let exit = Exit::of_status(saga["status"].as_str().unwrap_or_default());
        (saga, exit)
    } else {
        (client.get(&path, &[]).await?, Exit::Ok)
    };
    print(saga, out)?;
    Ok(exit)
}

/// The saga once it has ended or is parked, or as it is when the time is over.
pub(crate) async fn settled(client: &Client, id: &str, until: &Until) -> Result<Value, CliError> {
    let path = format!("/v1/sagas/{}", escaped(id));
    loop {
        let query = [("wait_s", until.left_s().to_string())];
        let saga = client.get(&path, &query).await?;
        let status = saga["status"].as_str().unwrap_or_default();
        if Exit::of_status(status) != Exit::Waiting || until.over() {
            return Ok(saga);
        }
    }
}

/// Every page of records.
async fn records(client: &Client, path: &str, out: &mut Out) -> Result<Exit, CliError> {
    let path = format!("{path}/records");
    let mut after = 0_u64;
    loop {
        let answer = client.get(&path, &[("after", after.to_string())]).await?;
        let rows = answer["records"].as_array().map_or(&[][..], Vec::as_slice);
        for row in rows {
            if out.wants_json() {
                out.line(row.to_string());
            } else {
                let at = row["at"].as_u64().unwrap_or(0);
                let number = row["number"].as_u64().unwrap_or(0);
                out.line(format!("{number:>5}  {at}  {}", row["record"]));
            }
        }
        match answer["next"].as_u64() {
            Some(next) => after = next,
            None => return Ok(Exit::Ok),
        }
    }
}

/// One saga, for people or as JSON.
pub(crate) fn print(saga: Value, out: &mut Out) -> Result<(), CliError> {
    if out.wants_json() {
        out.value(&saga);
        return Ok(());
    }
    let saga: Saga = typed(saga)?;
    head(&saga, out);
    let mut table = Table::new(&["", "step", "task", "phase", "tries", "took", "why"]);
    for step in &saga.steps {
        table.row(cells(step, saga.now));
    }
    out.table(&table);
    if let Some(output) = saga.output.as_ref().filter(|output| !output.is_null()) {
        out.line(format!("output: {output}"));
    }
    for item in &saga.work_items {
        work_item(&saga, item, out);
    }
    Ok(())
}

fn head(saga: &Saga, out: &mut Out) {
    let row = &saga.row;
    let status = out.coloured(&row.status, Tone::of(&row.status));
    let paused = if row.paused { ", paused" } else { "" };
    let took = row.ended_at.map_or_else(String::new, |end| {
        format!(", took {}", time::span(end.saturating_sub(row.started_at)))
    });
    out.line(format!(
        "{}@{}  {}  {status}{paused}",
        row.definition, row.version, row.id
    ));
    out.line(format!(
        "started {} by {}{took}",
        time::ago(row.started_at, Some(saga.now)),
        saga.by
    ));
    if let Some(deadline) = saga.deadline_at.filter(|_| row.ended_at.is_none()) {
        let left = time::span(deadline.saturating_sub(saga.now));
        out.line(format!("deadline in {left}"));
    }
    if let Some(cause) = &saga.unwinding {
        out.line(format!("takes back what it did: {}", sentence(cause)));
    }
}

/// Why a saga unwinds, in a sentence.
fn sentence(cause: &Value) -> String {
    let failed = &cause["step-failed"];
    let cancelled = &cause["cancelled"];
    if let Some(step) = failed["step"].as_str() {
        let message = failed["failure"]["message"].as_str().unwrap_or_default();
        return format!("step {step} failed: {message}");
    }
    if let Some(by) = cancelled["by"].as_str() {
        let reason = cancelled["reason"].as_str().unwrap_or_default();
        return format!("cancelled by {by}: {reason}");
    }
    if cause.as_str() == Some("deadline") {
        return "its deadline passed".to_owned();
    }
    if let Some(step) = cause["late-evidence"]["step"].as_str() {
        return format!("step {step} turned out to have happened");
    }
    cause.to_string()
}

fn cells(step: &Step, now: u64) -> Vec<(String, Tone)> {
    let tone = Tone::of(&step.phase);
    let mark = match step.phase.as_str() {
        "succeeded" => "+",
        "undone" => "<",
        "failed" | "doubtful" | "parked" | "undo-parked" => "!",
        "waiting" => ".",
        "skipped" | "continued" => "-",
        _ => "*",
    };
    let took = step.began_at.map_or_else(String::new, |began| {
        let end = match step.phase.as_str() {
            "succeeded" | "failed" | "undone" | "skipped" | "continued" => step.since,
            _ => now,
        };
        time::span(end.saturating_sub(began))
    });
    let failed = step
        .last_failure
        .as_ref()
        .filter(|_| step.phase != "succeeded")
        .map(|failure| format!("{}: {}", failure.code, failure.message));
    let why: Vec<String> = [step.why.clone(), failed].into_iter().flatten().collect();
    let name = if step.pivot {
        format!("{} (pivot)", step.id)
    } else {
        step.id.clone()
    };
    let tries = if step.tries == 0 {
        String::new()
    } else {
        step.tries.to_string()
    };
    vec![
        (mark.to_owned(), tone),
        (name, Tone::Plain),
        (step.task.clone().unwrap_or_default(), Tone::Faint),
        (step.phase.clone(), tone),
        (tries, Tone::Plain),
        (took, Tone::Plain),
        (why.join("; "), Tone::Plain),
    ]
}

fn work_item(saga: &Saga, item: &Item, out: &mut Out) {
    let title = out.coloured(&item.title, Tone::Bad);
    out.line(format!(
        "\nwork item {} for {}, {} ({}): {title}",
        item.number,
        item.owner,
        time::ago(item.opened_at, Some(saga.now)),
        item.kind,
    ));
    if let Some(failure) = &item.failure {
        out.line(format!("  {}: {}", failure.code, failure.message));
    }
    for command in item.commands(&saga.row.id) {
        out.line(format!("  {command}"));
    }
}
