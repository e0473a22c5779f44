//! `baton locks`: who has what sagas take before their first step, and who waits; a lock taken from its holder.

use serde_json::json;

use super::act::{refrained, send};
use super::dead::quoted;
use super::{items, more};
use crate::args::{Locks, LocksCommand, LocksLs, PageArgs};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::find;
use crate::out::Out;
use crate::screens::locks;
use crate::time;

pub(crate) async fn locks(client: &Client, which: &Locks, out: &mut Out) -> Result<Exit, CliError> {
    match &which.command {
        None => all(client, &which.list, out).await,
        Some(LocksCommand::Ls(list)) => all(client, list, out).await,
        Some(LocksCommand::Show { name, kind, page }) => {
            ls(client, Some(kind), Some(name), page, out).await
        }
        Some(LocksCommand::Break {
            name,
            saga,
            reason,
            yes,
        }) => {
            let id = find::saga_id(client, saga).await?;
            let question = format!(
                "take lock {name} from saga {id}, and from all below the same root? they go on without it, and another may act on the same thing meanwhile."
            );
            if !out.agreed(&question, *yes)? {
                return Ok(refrained(out));
            }
            // the id is minted here: the same action sent twice is one
            let body =
                json!({ "name": name, "saga": id, "reason": reason, "id": uuid::Uuid::now_v7() });
            send(client, "/v1/reservations/break", &id, body, out).await
        }
    }
}

async fn all(client: &Client, list: &LocksLs, out: &mut Out) -> Result<Exit, CliError> {
    ls(client, list.kind.as_deref(), None, &list.page, out).await
}

async fn ls(
    client: &Client,
    kind: Option<&str>,
    name: Option<&str>,
    page: &PageArgs,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let mut query = page.query();
    query.extend(kind.map(|kind| ("kind", kind.to_owned())));
    query.extend(name.map(|name| ("name", name.to_owned())));
    let answer = client.get("/v1/reservations", &query).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let rows = items(&answer, "items");
    let none = match name {
        Some(_) => "(nobody has it, and nobody waits for it)",
        None => "(none: nobody has anything, and nobody waits)",
    };
    out.table(
        &locks::table(rows, time::now_ms(), out.screen.width()),
        none,
    );
    let waits = rows.iter().find(|row| row["state"] == "waiting");
    if let Some(saga) = waits.and_then(|row| row["saga"].as_str()) {
        let command = format!("baton show {}", out.id(saga));
        out.next("what it waits for, and who has that", &command);
    }
    let command = match (name, kind) {
        (Some(name), Some(kind)) => format!("locks show {} --kind {kind}", quoted(name)),
        (_, Some(kind)) => format!("locks --kind {kind}"),
        _ => "locks".to_owned(),
    };
    more(&answer, &command, page, out);
    Ok(Exit::Ok)
}
