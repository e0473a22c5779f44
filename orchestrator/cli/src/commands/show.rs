//! `baton show`: one saga, its steps in their order, why it waits, and what you can do.

use serde_json::Value;

use super::follow::{self, Ended, Follow, Shown};
use super::{items, typed};
use crate::args::Show;
use crate::client::{Client, escaped};
use crate::error::CliError;
use crate::exit::Exit;
use crate::find;
use crate::out::{Line, Out, Tone};
use crate::screens::saga::{self, Detail};
use crate::time;
use crate::view::{Saga, Step};

pub(crate) async fn show(client: &Client, show: &Show, out: &mut Out) -> Result<Exit, CliError> {
    let id = find::saga_id(client, &show.id).await?;
    if show.records {
        return records(client, &id, out).await;
    }
    if let Some(step) = &show.items {
        return each_item(client, &id, step, show.troubled, out).await;
    }
    let detail = if show.attempts {
        Detail::Attempts
    } else {
        Detail::Steps
    };
    if show.wait {
        return waited(client, &id, show.timeout, detail, out).await;
    }
    let saga = detailed(client, find::saga(client, &id).await?, detail).await?;
    print(saga, detail, out)?;
    Ok(Exit::Ok)
}

/// A saga with its attempts, where those are wanted.
async fn detailed(client: &Client, mut saga: Value, detail: Detail) -> Result<Value, CliError> {
    // of one whose records were purged there are none
    if detail == Detail::Attempts && saga["purged"].is_null() {
        let id = saga["id"].as_str().unwrap_or_default();
        let path = format!("/v1/sagas/{}/attempts", escaped(id));
        let answer = client.get(&path, &[]).await?;
        saga["attempts"] = answer["attempts"].clone();
        saga["attempts_left_out"] = answer["left_out"].clone();
    }
    Ok(saga)
}

/// Shows how it goes on until it has ended or is parked, then where it stands; the exit code tells.
pub(crate) async fn waited(
    client: &Client,
    id: &str,
    timeout_s: Option<u64>,
    detail: Detail,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let follow = Follow {
        id,
        to_parked: true,
        until: follow::until(timeout_s),
        shown: Shown::Beside,
    };
    let saga = match follow::follow(client, &follow, out).await? {
        Ended::There(saga) | Ended::TimeOver(Some(saga)) => saga,
        Ended::TimeOver(None) => find::saga(client, id).await?,
        Ended::Interrupted => return Ok(follow::detached(id, out)),
        Ended::Unread => return Ok(Exit::Waiting),
    };
    let exit = Exit::of_status(saga["status"].as_str().unwrap_or_default());
    print(detailed(client, saga, detail).await?, detail, out)?;
    if exit == Exit::Waiting {
        let shown = out.id(id).to_owned();
        out.note(format!(
            "not ended in time; it goes on. Watch it: baton watch {shown}"
        ));
    }
    Ok(exit)
}

/// Every page of the items of a step.
async fn each_item(
    client: &Client,
    id: &str,
    step: &str,
    troubled: bool,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let saga: Saga = typed(find::saga(client, id).await?)?;
    let path = format!("/v1/sagas/{}/steps/{}/items", escaped(id), escaped(step));
    let mut query = vec![
        ("troubled", troubled.to_string()),
        ("limit", "500".to_owned()),
    ];
    loop {
        let answer = client.get(&path, &query).await?;
        if out.wants_json() {
            items(&answer, "items").iter().for_each(|row| out.item(row));
        } else {
            let page: Vec<Step> = typed(answer["items"].clone())?;
            for line in saga::items(&saga, &page, saga.now, out.screen.width()) {
                out.say(&line);
            }
        }
        match answer["next"].as_u64() {
            Some(next) if !out.screen.is_gone() => {
                query.truncate(2);
                query.push(("after", next.to_string()));
            }
            _ => return Ok(Exit::Ok),
        }
    }
}

/// Every page of records.
async fn records(client: &Client, id: &str, out: &mut Out) -> Result<Exit, CliError> {
    let path = format!("/v1/sagas/{}/records", escaped(id));
    let mut after = 0_u64;
    loop {
        let answer = client.get(&path, &[("after", after.to_string())]).await?;
        for row in items(&answer, "records") {
            if out.wants_json() {
                out.item(row);
            } else {
                out.say(&record(row));
            }
        }
        match answer["next"].as_u64() {
            Some(next) if !out.screen.is_gone() => after = next,
            _ => return Ok(Exit::Ok),
        }
    }
}

/// Number, instant, kind, and what it says.
fn record(row: &Value) -> Line {
    let number = row["number"].as_u64().unwrap_or(0);
    let at = time::read(&row["at"]).map_or_else(String::new, time::instant);
    let (kind, said) = match row["record"]
        .as_object()
        .and_then(|record| record.iter().next())
    {
        Some((kind, said)) => (kind.clone(), said.to_string()),
        None => (row["record"].to_string(), String::new()),
    };
    Line::faint(format!("{number:>5}  {at}  "))
        .with(format!("{kind:<12}"), Tone::Strong)
        .plain(format!("  {said}"))
}

/// One saga, for people or as JSON.
pub(crate) fn print(value: Value, detail: Detail, out: &mut Out) -> Result<(), CliError> {
    if out.wants_json() {
        out.value(&value);
        return Ok(());
    }
    let saga: Saga = typed(value)?;
    for line in saga::lines(&saga, saga.now, out.screen.width(), detail) {
        out.say(&line);
    }
    Ok(())
}
