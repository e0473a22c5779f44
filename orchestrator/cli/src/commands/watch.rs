//! `baton watch`: one saga, or all, as they change.

use serde_json::Value;

use super::away::Away;
use super::follow::{self, Ended, Follow, Shown};
use super::{items, show, typed};
use crate::args::Watch;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::find;
use crate::out::Out;
use crate::screens::saga::Detail;
use crate::screens::sagas;
use crate::sse::{Event, Events};
use crate::time;
use crate::view::Row;

/// The largest page there is.
const PAGE_ROWS: usize = 500;

pub(crate) async fn watch(client: &Client, watch: &Watch, out: &mut Out) -> Result<Exit, CliError> {
    let Some(typed) = &watch.id else {
        if !watch.all && watch.definition.is_none() && watch.status.is_none() {
            return Err(CliError::usage_then(
                "which saga? its id, or the beginning of it; or --all for every one",
                "baton ls, then baton watch SAGA; or baton watch --all",
            ));
        }
        let status = watch.status.map(|status| status.name());
        let asked = [("definition", watch.definition.clone()), ("status", status)];
        let query: Vec<(&str, String)> = asked
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        return all(client, &query, out).await;
    };
    let id = find::saga_id(client, typed).await?;
    let follow = Follow {
        id: &id,
        to_parked: false,
        until: None,
        shown: Shown::Answer,
    };
    match follow::follow(client, &follow, out).await? {
        Ended::There(saga) => {
            let exit = Exit::of_status(saga["status"].as_str().unwrap_or_default());
            if !out.wants_json() && out.screen.is_terminal() {
                show::print(saga, Detail::Steps, out)?;
            }
            Ok(exit)
        }
        Ended::Interrupted => Ok(follow::detached(&id, out)),
        Ended::TimeOver(_) | Ended::Unread => Ok(Exit::Ok),
    }
}

/// Every change of every saga, a line each, until nobody reads on.
pub(crate) async fn all(
    client: &Client,
    query: &[(&str, String)],
    out: &mut Out,
) -> Result<Exit, CliError> {
    if !out.wants_json() {
        out.note("watching; Ctrl-C ends it");
    }
    let mut away = Away::default();
    let mut last = None;
    loop {
        let ended = match client.events("/v1/watch", query, None).await {
            Ok(events) => {
                // what was told before any change is as new as the looking
                last.get_or_insert_with(time::now_ms);
                if away.back(out) {
                    missed(client, query, &mut last, out).await?;
                }
                heard(events, &mut last, out).await?
            }
            Err(error) => Some(error),
        };
        if out.screen.is_gone() {
            return Ok(Exit::Ok);
        }
        away.lost(ended, out).await?;
    }
}

/// Tells what it hears until the stream ends.
async fn heard(
    mut events: Events,
    last: &mut Option<u64>,
    out: &mut Out,
) -> Result<Option<CliError>, CliError> {
    loop {
        match events.next().await {
            Ok(Some(event)) => told(event, last, out)?,
            Ok(None) => return Ok(None),
            Err(error) => return Ok(Some(error)),
        }
        if out.screen.is_gone() {
            return Ok(None);
        }
    }
}

/// What has changed while nobody could tell, as far as one page of the newest shows it.
async fn missed(
    client: &Client,
    query: &[(&str, String)],
    last: &mut Option<u64>,
    out: &mut Out,
) -> Result<(), CliError> {
    let Some(since) = *last else {
        return Ok(());
    };
    let mut asked = query.to_vec();
    asked.push(("limit", PAGE_ROWS.to_string()));
    let answer = match client.get("/v1/sagas", &asked).await {
        Ok(answer) => answer,
        // lost again: asked again
        Err(error) if error.may_pass() => return Ok(()),
        Err(error) => return Err(error),
    };
    let changed_at = |row: &Value| row["changed_at"].as_u64().unwrap_or(0);
    let mut rows: Vec<Value> = items(&answer, "sagas").to_vec();
    rows.retain(|row| changed_at(row) > since);
    rows.sort_by_key(changed_at);
    for row in rows {
        say(row, last, out)?;
    }
    Ok(())
}

fn told(event: Event, last: &mut Option<u64>, out: &mut Out) -> Result<(), CliError> {
    match event.kind.as_str() {
        "saga" => say(event.data, last, out),
        "lagged" => {
            out.note("more happened than could be told; the whole of it: baton ls");
            Ok(())
        }
        // that it begins, that it ends, or a word of a later version
        _ => Ok(()),
    }
}

/// A line for a saga that has changed.
fn say(value: Value, last: &mut Option<u64>, out: &mut Out) -> Result<(), CliError> {
    *last = (*last).max(value["changed_at"].as_u64());
    if out.wants_json() {
        out.item(&value);
        return Ok(());
    }
    let row: Row = typed(value)?;
    let line = sagas::change(&row, time::now_ms(), out.screen.width());
    out.say(&line);
    out.screen.flush();
    Ok(())
}
