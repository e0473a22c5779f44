//! `baton alerts`: what needs a person, with the command to type next; seen, muted.

use serde_json::{Value, json};

use super::{items, more};
use crate::args::{Alerts, AlertsCommand, AlertsLs};
use crate::client::{Client, escaped};
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::{Line, Out};
use crate::screens::alerts;
use crate::time;

pub(crate) async fn alerts(
    client: &Client,
    which: &Alerts,
    out: &mut Out,
) -> Result<Exit, CliError> {
    match &which.command {
        None => ls(client, &which.list, out).await,
        Some(AlertsCommand::Ls(list)) => ls(client, list, out).await,
        Some(AlertsCommand::Show { id }) => {
            let answer = client.get(&path(id, ""), &[]).await?;
            shown(&answer, out);
            Ok(Exit::Ok)
        }
        Some(AlertsCommand::Ack { ids, message }) => {
            act(
                client,
                ids,
                "acknowledge",
                json!({ "reason": message }),
                out,
            )
            .await
        }
        Some(AlertsCommand::Mute { ids, time, message }) => {
            baton_engine::definition::duration_ms(time)
                .map_err(|why| CliError::usage(format!("--for `{time}` {why}; write 2h or 3d")))?;
            let body = json!({ "reason": message, "for": time });
            act(client, ids, "mute", body, out).await
        }
        Some(AlertsCommand::Unmute { ids, message }) => {
            act(client, ids, "unmute", json!({ "reason": message }), out).await
        }
    }
}

fn path(id: &str, action: &str) -> String {
    let id = escaped(id.trim());
    match action {
        "" => format!("/v1/alerts/{id}"),
        action => format!("/v1/alerts/{id}/{action}"),
    }
}

async fn ls(client: &Client, which: &AlertsLs, out: &mut Out) -> Result<Exit, CliError> {
    let mut query = which.page.query();
    if which.state != "all" {
        query.push(("state", which.state.clone()));
    }
    let answer = client.get("/v1/alerts", &query).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let rows = items(&answer, "items");
    let first = rows.first().and_then(|row| row["id"].as_str());
    let none = match which.state.as_str() {
        "open" => "(none: nothing needs anybody)",
        _ => "(none)",
    };
    out.table(
        &alerts::table(rows, time::now_ms(), out.screen.width()),
        none,
    );
    if let Some(id) = first {
        let command = format!("baton alerts show {}", out.id(id));
        out.next("one in full, and what can be done", &command);
    }
    let command = match which.state.as_str() {
        "open" => "alerts".to_owned(),
        state => format!("alerts --state {state}"),
    };
    more(&answer, &command, &which.page, out);
    Ok(Exit::Ok)
}

fn shown(answer: &Value, out: &mut Out) {
    if out.wants_json() {
        out.value(answer);
        return;
    }
    for line in alerts::one(answer, time::now_ms(), out.screen.width()) {
        out.say(&line);
    }
    if let Some(command) = answer["command"].as_str() {
        out.next("look at it", command);
    }
    if answer["state"] != "open" {
        return;
    }
    if let Some(group) = answer["data"]["group"].as_str() {
        let command = format!("baton dead replay --group {group} -m 'why'");
        out.next("send them back, once their cause is mended", &command);
    }
    let id = answer["id"].as_str().unwrap_or_default();
    if answer["acknowledged"].is_null() {
        let command = format!("baton alerts ack {} -m 'why'", out.id(id));
        out.next("say that you have seen it", &command);
    }
}

async fn act(
    client: &Client,
    ids: &[String],
    action: &str,
    body: Value,
    out: &mut Out,
) -> Result<Exit, CliError> {
    for (n, id) in ids.iter().enumerate() {
        let answer = client.post(&path(id, action), &body, None).await?;
        if n > 0 && !out.wants_json() {
            out.say(&Line::new());
        }
        shown(&answer, out);
    }
    Ok(Exit::Ok)
}
