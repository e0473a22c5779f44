//! `baton dead groups | ops`: what letters died of, and the replays of many.

use serde_json::{Value, json};

use super::dead_next::of_operation;
use super::{items, more};
use crate::args::{DeadGroups, DeadOp, DeadOps, DeadOpsCommand, DeadOpsLs};
use crate::client::{Client, escaped};
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::Out;
use crate::screens::{dead, dead_ops};
use crate::time;

pub(crate) async fn groups(
    client: &Client,
    asked: &DeadGroups,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let answer = client
        .get("/v1/dead-letters/groups", &asked.page.query())
        .await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let width = out.screen.width();
    let table = dead::groups(items(&answer, "groups"), time::now_ms(), width);
    out.table(&table, "(none)");
    if let Some(next) = answer["next"].as_str() {
        let left = answer["more"].as_u64().unwrap_or_default();
        let limit = asked.page.limit;
        out.next(
            &format!("{left} smaller groups more"),
            &format!("baton dead groups -n {limit} --cursor {next}"),
        );
    }
    Ok(Exit::Ok)
}

pub(super) fn operation_path(id: &str, action: &str) -> String {
    format!("/v1/dead-letters/operations/{}{action}", escaped(id.trim()))
}

/// The whole id of the replay of many whose id begins so.
pub(super) async fn whole_id(client: &Client, id: &str) -> Result<String, CliError> {
    if let Ok(id) = id.trim().parse::<uuid::Uuid>() {
        return Ok(id.to_string());
    }
    let now = client.get(&operation_path(id, ""), &[]).await?;
    let whole = now["id"].as_str().ok_or_else(|| CliError::Shape {
        what: format!("the id of the replay of many that begins with {id}"),
    })?;
    Ok(whole.to_owned())
}

pub(crate) async fn operations(
    client: &Client,
    which: &DeadOps,
    out: &mut Out,
) -> Result<Exit, CliError> {
    match &which.command {
        None => ls(client, &DeadOpsLs::default(), out).await,
        Some(DeadOpsCommand::Ls(asked)) => ls(client, asked, out).await,
        Some(DeadOpsCommand::Show(one)) => {
            let now = client.get(&operation_path(&one.id, ""), &[]).await?;
            shown(&now, out);
            Ok(Exit::Ok)
        }
        Some(DeadOpsCommand::Pause(one)) => steer(client, one, "/pause", out).await,
        Some(DeadOpsCommand::Resume(one)) => steer(client, one, "/resume", out).await,
        Some(DeadOpsCommand::Cancel(one)) => steer(client, one, "/cancel", out).await,
    }
}

async fn ls(client: &Client, asked: &DeadOpsLs, out: &mut Out) -> Result<Exit, CliError> {
    let answer = client
        .get("/v1/dead-letters/operations", &asked.page.query())
        .await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let table = dead_ops::table(items(&answer, "operations"), time::now_ms());
    out.table(&table, "(none)");
    more(&answer, "dead ops ls", &asked.page, out);
    Ok(Exit::Ok)
}

async fn steer(
    client: &Client,
    one: &DeadOp,
    action: &str,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let body = json!({ "reason": one.message });
    let path = operation_path(&one.id, action);
    let now = client.post(&path, &body, None).await;
    let now = now.map_err(|error| of_operation(error, &one.id))?;
    shown(&now, out);
    Ok(Exit::Ok)
}

fn shown(now: &Value, out: &mut Out) {
    if out.wants_json() {
        out.value(now);
        return;
    }
    for line in dead_ops::one(now, time::now_ms(), out.screen.width()) {
        out.say(&line);
    }
}
