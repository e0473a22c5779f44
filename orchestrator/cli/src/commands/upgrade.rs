//! `baton upgrade`: running sagas go on under another version, as many as can; with `--dry-run`, what would become of each. Page by page, to the end.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::items;
use crate::args::Upgrade;
use crate::client::{Client, escaped};
use crate::error::CliError;
use crate::exit::Exit;
use crate::find;
use crate::out::Out;
use crate::screens::upgrade::{self, Seen};

/// Sagas of one request: their moves share commits, and an answer comes while somebody still waits for it.
const PAGE: usize = 200;
/// How much longer than other answers one of a page may take: whoever takes over a partition is waited for, by some sagas at a time.
const TAKE_OVER_WAIT: Duration = Duration::from_secs(400);

pub(crate) async fn upgrade(
    client: &Client,
    which: &Upgrade,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let saga = match &which.saga {
        Some(typed) => Some(find::saga_id(client, typed).await?),
        None => None,
    };
    let path = format!("/v1/definitions/{}/upgrade", escaped(&which.name));
    // the ids are minted here: the same page sent twice moves nothing twice
    let run = Uuid::now_v7();
    let (mut seen, mut cursor) = (Seen::default(), None);
    for page in 0_u64.. {
        let body = body(which, saga.as_deref(), (run, page), cursor.as_ref());
        let answer = client.post_long(&path, &body, TAKE_OVER_WAIT).await?;
        seen.add(items(&answer, "sagas"), out.wants_json());
        cursor = Some(answer["next"].clone()).filter(Value::is_string);
        if cursor.is_none() {
            break;
        }
    }
    let exit = if seen.unknown > 0 {
        Exit::Error
    } else if seen.stay > 0 {
        Exit::Stays
    } else {
        Exit::Ok
    };
    if out.wants_json() {
        out.value(&json!({
            "definition": which.name, "to": which.to, "dry_run": which.dry_run,
            "moved": seen.moved, "stay": seen.stay, "unknown": seen.unknown, "sagas": seen.sagas,
        }));
        return Ok(exit);
    }
    show(which, &seen, out);
    Ok(exit)
}

fn body(
    which: &Upgrade,
    saga: Option<&str>,
    (run, page): (Uuid, u64),
    cursor: Option<&Value>,
) -> Value {
    let mut body = json!({ "to": which.to, "dry_run": which.dry_run, "limit": PAGE });
    if let Some(why) = &which.why {
        body["reason"] = json!(why);
        body["id"] = json!(Uuid::new_v5(&run, &page.to_be_bytes()));
    }
    if let Some(from) = which.from {
        body["from"] = json!(from);
    }
    if let Some(saga) = saga {
        body["saga"] = json!(saga);
    }
    if let Some(cursor) = cursor {
        body["cursor"] = cursor.clone();
    }
    body
}

fn show(which: &Upgrade, seen: &Seen, out: &mut Out) {
    for line in upgrade::lines(which, seen, out.screen.width()) {
        out.say(&line);
    }
    if which.dry_run && seen.moved > 0 {
        let command = upgrade::command(which, &["--why WHY"]);
        out.next("move those that can be", &command);
    }
    if let Some(first) = seen.first_that_stays() {
        let command = format!("baton show {}", out.id(first));
        let what = "those that stay go on under their version, to their end; one of them";
        out.next(what, &command);
    }
    if seen.unknown > 0 {
        let command = match which.dry_run {
            true => upgrade::command(which, &["--dry-run"]),
            false => upgrade::command(which, &["--why WHY"]),
        };
        out.next("again, for those nobody answered for", &command);
    }
}
