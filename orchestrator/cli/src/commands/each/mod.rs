//! `baton run NAME --each FILE`: one saga for each line. Every line is held against the input's schema before anything starts; the sagas have a label
//! in common, and ids derived from the file and the line, so that the same command again starts nothing twice.

mod counts;
mod lines;

use std::time::{Duration, Instant};

use baton_engine::{Catalogue, Definition, definition::StepKind};
use baton_messages::{Manifest, TaskType};
use futures::stream::{self, StreamExt as _};
use serde_json::{Value, json};

use super::{items, typed};
use crate::args::Run;
use crate::client::{Client, escaped};
use crate::error::CliError;
use crate::exit::Exit;
use crate::input::{self, Wanted};
use crate::out::{Line, Out, Tone};
use lines::{Batch, OneLine};

/// Starts under way at once: enough to fill the orchestrator's commits, and no flood.
const AT_ONCE: usize = 16;
/// Pause before a start that may pass is sent again.
const AGAIN: Duration = Duration::from_secs(2);
/// How long the orchestrator may be away: a restart with a long recovery.
const AWAY_MAX: Duration = Duration::from_secs(120);
/// How often a log hears of progress; a terminal sees each step of it.
const SAID_EVERY: Duration = Duration::from_secs(5);
/// Refused lines that are told of one by one.
const TOLD_MAX: usize = 10;

/// A saga of a line.
struct Started {
    line: usize,
    id: String,
    /// Whether it was there already.
    duplicate: bool,
}

/// What came of all lines.
#[derive(Default)]
struct Outcome {
    started: Vec<Started>,
    refused: Vec<(usize, String)>,
}

/// What is run, as far as it is known before it starts.
struct Known {
    body: Value,
    approves: bool,
}

pub(super) async fn each(
    client: &Client,
    run: &Run,
    body: Value,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let path = run.each.as_deref().unwrap_or_else(|| "-".as_ref());
    let labels = input::labels(&run.labels)?;
    let mut batch = lines::read(path, run)?;
    let label = format!("each={}", batch.id());
    let known = fitting(client, body, &mut batch, &run.fields, &label).await?;
    let mut common = known.body;
    common["labels"] = json!(labels);
    common["labels"]["each"] = json!(batch.id());
    let outcome = start_all(client, &common, &batch, out).await?;
    let batch = counts::Begun {
        what: &run.what,
        label: &label,
        approves: known.approves,
        lines: batch.lines.len(),
        outcome: &outcome,
    };
    if run.wait {
        return counts::waited(client, &batch, run.timeout, out).await;
    }
    told(&batch, out);
    Ok(of_refusals(&outcome, Exit::Ok))
}

/// The definition in one version for all lines, each line's input held against it. What was begun before an interruption goes on in the
/// version it was begun with.
async fn fitting(
    client: &Client,
    mut body: Value,
    batch: &mut Batch,
    fields: &[String],
    label: &str,
) -> Result<Known, CliError> {
    if let Some(task) = body["task"].as_str() {
        let types = client.get("/v1/task-types", &[]).await?;
        let manifest = items(&types, "task_types")
            .iter()
            .find(|row| row["task_type"] == task);
        // the orchestrator says what is wrong with a name nobody knows
        if let Some(manifest) = manifest {
            let task_type = TaskType::new(task).map_err(|e| CliError::usage(e.to_string()))?;
            let manifest: Manifest = typed(manifest.clone())?;
            batch.convert(fields, &Wanted::by(Some(manifest.input.clone())));
            let mut catalogue = Catalogue::default();
            let announced = catalogue.announce(manifest);
            announced.map_err(|error| CliError::Shape {
                what: error.to_string(),
            })?;
            let known = catalogue.get(&task_type);
            let check = |input: &Value| known.map_or(Ok(()), |known| known.check_input(input));
            batch.check(check, &format!("baton tasks show {task}"))?;
        }
        return Ok(Known {
            body,
            approves: false,
        });
    }
    let name = body["definition"].as_str().unwrap_or_default().to_owned();
    let version = match begun_with(client, label).await? {
        Some(version) => Some(version),
        None => match body["version"].as_u64() {
            Some(version) => Some(version),
            None => newest(client, &name).await?,
        },
    };
    let mut approves = false;
    if let Some(version) = version {
        body["version"] = json!(version);
        let path = format!("/v1/definitions/{}/{version}", escaped(&name));
        // one that a newer program wrote cannot be read here: the orchestrator checks each line as it starts
        if let Ok(definition) = Definition::parse(&client.get_text(&path).await?) {
            let schema = definition.input_schema.as_ref();
            let schema = schema.map(|schema| schema.schema().clone());
            batch.convert(fields, &Wanted::by(schema));
            let next = format!("baton definitions show {name}@{version}");
            batch.check(|input| definition.check_input(input), &next)?;
            let mut steps = definition.steps.iter();
            approves = steps.any(|step| matches!(step.kind, StepKind::Approve(_)));
        }
    }
    Ok(Known { body, approves })
}

/// The version of what an earlier run of the same has started.
async fn begun_with(client: &Client, label: &str) -> Result<Option<u64>, CliError> {
    let query = [("label", label.to_owned()), ("limit", "1".to_owned())];
    let answer = client.get("/v1/sagas", &query).await?;
    Ok(items(&answer, "sagas")
        .first()
        .and_then(|row| row["version"].as_u64()))
}

pub(super) async fn newest(client: &Client, name: &str) -> Result<Option<u64>, CliError> {
    let answer = client.get("/v1/definitions", &[]).await?;
    Ok(items(&answer, "definitions")
        .iter()
        .filter(|row| row["definition"] == name)
        .filter_map(|row| row["version"].as_u64())
        .max())
}

/// Starts every line, some at once. What is refused for one line does not hold up the others.
async fn start_all(
    client: &Client,
    common: &Value,
    batch: &Batch,
    out: &mut Out,
) -> Result<Outcome, CliError> {
    let starting = batch
        .lines
        .iter()
        .map(|line| async move { (line.number, start(client, common, batch, line).await) });
    let mut answers = stream::iter(starting).buffer_unordered(AT_ONCE);
    let mut outcome = Outcome::default();
    let mut progress = Progress::new(batch.lines.len());
    while let Some((number, answer)) = answers.next().await {
        match answer {
            Ok(started) => outcome.started.push(started),
            Err(CliError::Problem {
                status: 409 | 422,
                detail,
                ..
            }) => outcome.refused.push((number, detail)),
            // whatever it is, it holds for every line
            Err(error) => {
                progress.end(out);
                return Err(broken_off(error, &outcome, batch));
            }
        }
        progress.say(&outcome, out);
    }
    progress.end(out);
    outcome.started.sort_by_key(|one| one.line);
    outcome.refused.sort();
    Ok(outcome)
}

/// Sends it until it is known to be committed: under the same id it is the same saga.
async fn start(
    client: &Client,
    common: &Value,
    batch: &Batch,
    line: &OneLine,
) -> Result<Started, CliError> {
    let mut body = common.clone();
    body["input"] = line.input.clone();
    body["id"] = json!(batch.request(line.number));
    let since = Instant::now();
    loop {
        match client.post("/v1/sagas", &body, None).await {
            Ok(answer) => {
                return Ok(Started {
                    line: line.number,
                    id: answer["id"].as_str().unwrap_or_default().to_owned(),
                    duplicate: answer["duplicate"] == true,
                });
            }
            Err(error) if error.may_pass() && since.elapsed() < AWAY_MAX => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn broken_off(error: CliError, outcome: &Outcome, batch: &Batch) -> CliError {
    if outcome.started.is_empty() {
        return error;
    }
    CliError::BrokenOff {
        started: outcome.started.len(),
        lines: batch.lines.len(),
        source: Box::new(error),
    }
}

/// How far it is.
struct Progress {
    lines: usize,
    said: Instant,
}

impl Progress {
    fn new(lines: usize) -> Self {
        Self {
            lines,
            said: Instant::now(),
        }
    }

    fn say(&mut self, outcome: &Outcome, out: &mut Out) {
        let done = outcome.started.len() + outcome.refused.len();
        let text = format!("{done} of {} lines started", self.lines);
        if out.side.is_terminal() && !out.wants_json() {
            out.side.draw(&[Line::faint(text)]);
        } else if self.said.elapsed() >= SAID_EVERY {
            self.said = Instant::now();
            out.note(text);
        }
    }

    fn end(&self, out: &mut Out) {
        out.side.erase();
    }
}

/// What was started, and what to type next.
fn told(batch: &counts::Begun<'_>, out: &mut Out) {
    refusals(batch.outcome, batch.lines, out);
    if out.wants_json() {
        out.value(&batch.document(None));
        return;
    }
    // alone on its line, so that a script may take it
    out.line(batch.label);
    out.note(batch.summary());
    if out.screen.is_terminal() {
        let label = batch.label;
        out.next("look", &format!("baton ls --label {label}"));
        if batch.approves {
            let command = format!("baton approve --label {label}");
            out.next("let all of them through", &command);
        }
    }
}

/// Each line that was refused, and why.
fn refusals(outcome: &Outcome, lines: usize, out: &mut Out) {
    if outcome.refused.is_empty() {
        return;
    }
    out.screen.flush();
    let all = outcome.refused.len();
    let head = format!("{all} of {lines} lines were refused, all others are started:");
    out.side.line(&Line::of("error: ", Tone::Bad).plain(head));
    for (number, why) in outcome.refused.iter().take(TOLD_MAX) {
        let line = Line::faint(format!("  line {number}: ")).plain(why.as_str());
        out.side.line(&line);
    }
    if all > TOLD_MAX {
        let more = format!("  and {} more; --json names all", all - TOLD_MAX);
        out.side.line(&Line::faint(more));
    }
    let next = "mend these lines in a file of their own: one that has changed is another";
    out.side.line(&Line::faint("  next: ").plain(next));
    out.side.flush();
}

/// A line that was not started is an error, whatever came of the others.
fn of_refusals(outcome: &Outcome, exit: Exit) -> Exit {
    match (outcome.refused.is_empty(), exit) {
        (false, Exit::Ok) => Exit::Error,
        (_, exit) => exit,
    }
}
