//! Watching what goes on at the orchestrator by itself: whoever interrupts, or loses it from sight, only stops looking.

use std::pin::pin;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::dead_ops::operation_path;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::Out;
use crate::screens::dead_ops;

/// How often it is looked how far a replay is.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long an orchestrator that was lost is asked again: longer than one takes to start anew, or another to take over.
const LOST_MAX: Duration = Duration::from_secs(60);

/// An orchestrator that may be away for a while.
#[derive(Debug, Default)]
pub(super) struct Watched {
    lost: Option<Instant>,
}

impl Watched {
    /// What stands there now; none: nobody answers, and it is asked again.
    pub(super) async fn asked(
        &mut self,
        client: &Client,
        path: &str,
        out: &mut Out,
    ) -> Result<Option<Value>, CliError> {
        match client.get(path, &[]).await {
            Ok(now) => {
                if self.lost.take().is_some() {
                    out.note("the orchestrator is back");
                }
                Ok(Some(now))
            }
            Err(error) if error.may_pass() => {
                if self.lost.is_none() {
                    self.lost = Some(Instant::now());
                    out.note(format!(
                        "the orchestrator does not answer; it is asked again for {} seconds",
                        LOST_MAX.as_secs()
                    ));
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether it was asked again for long enough.
    pub(super) fn is_over(&self) -> bool {
        self.lost.is_some_and(|since| since.elapsed() >= LOST_MAX)
    }
}

/// Shows how far it is until it does not run.
pub(super) async fn follow(
    client: &Client,
    begun: &Value,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let id = begun["id"].as_str().unwrap_or_default().to_owned();
    let path = operation_path(&id, "");
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let (mut watched, mut last) = (Watched::default(), String::new());
    loop {
        match watched.asked(client, &path, out).await {
            Err(error) => {
                goes_on(&id, out);
                return Err(error);
            }
            Ok(Some(now)) => {
                said(&now, &mut last, out);
                if now["state"] != "running" {
                    return Ok(ended(&now, &id, out));
                }
            }
            Ok(None) if watched.is_over() => {
                out.note(format!(
                    "nobody has answered for {} seconds; the replay goes on by itself as soon as an orchestrator runs: baton dead ops show {id}",
                    LOST_MAX.as_secs()
                ));
                return Ok(Exit::Waiting);
            }
            Ok(None) => {}
        }
        tokio::select! {
            _ = &mut interrupted => {
                goes_on(&id, out);
                return Ok(Exit::Interrupted);
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// How far it is, where that is something new.
fn said(now: &Value, last: &mut String, out: &mut Out) {
    let mut told = dead_ops::progress(now);
    let why = now["why"].as_str().unwrap_or_default();
    if now["state"] == "running" && !why.is_empty() {
        told += &format!("; {why}");
    }
    if !out.wants_json() && told != *last {
        out.line(told.clone());
        *last = told;
    }
}

/// Nobody looks any longer, and that is all.
fn goes_on(id: &str, out: &mut Out) {
    out.note(format!(
        "it goes on without anybody watching; how far it is: baton dead ops show {id}"
    ));
}

fn ended(now: &Value, id: &str, out: &mut Out) -> Exit {
    let clean = now["state"] == "done" && now["failed"] == 0 && now["refused"] == 0;
    if out.wants_json() {
        out.value(now);
    } else {
        let word = |name: &str| now[name].as_str().unwrap_or_default().to_owned();
        out.line(format!("{}: {}", word("state"), word("why")));
        let left = format!("baton dead --operation {id}");
        if now["state"] == "stopped" {
            out.next("what they say", &left);
            out.next("then", &format!("baton dead ops resume {id}"));
        } else if !clean {
            out.next("what is left", &left);
        }
    }
    if clean { Exit::Ok } else { Exit::Error }
}
