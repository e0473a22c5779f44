//! `baton watch`: one saga, or all, as they change.

use std::time::Duration;

use super::follow::{self, Ended, Follow, Shown};
use super::{show, typed};
use crate::args::Watch;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::find;
use crate::out::Out;
use crate::screens::saga::Detail;
use crate::screens::sagas;
use crate::sse::Event;
use crate::time;
use crate::view::Row;

/// Pause before an orchestrator that was lost is asked again.
const AGAIN: Duration = Duration::from_secs(1);

pub(crate) async fn watch(client: &Client, watch: &Watch, out: &mut Out) -> Result<Exit, CliError> {
    let Some(typed) = &watch.id else {
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
    loop {
        let mut events = client.events("/v1/watch", query, None).await?;
        while let Some(event) = events.next().await.unwrap_or(None) {
            told(event, out)?;
            if out.screen.is_gone() {
                return Ok(Exit::Ok);
            }
        }
        out.note("the orchestrator was lost; it is asked again. What happened meanwhile: baton ls");
        tokio::time::sleep(AGAIN).await;
    }
}

fn told(event: Event, out: &mut Out) -> Result<(), CliError> {
    match event.kind.as_str() {
        "saga" => {}
        "lagged" => {
            out.note("more happened than could be told; the whole of it: baton ls");
            return Ok(());
        }
        // that it begins, that it ends, or a word of a later version
        _ => return Ok(()),
    }
    if out.wants_json() {
        out.item(&event.data);
        return Ok(());
    }
    let row: Row = typed(event.data)?;
    let line = sagas::change(&row, time::now_ms(), out.screen.width());
    out.say(&line);
    out.screen.flush();
    Ok(())
}
