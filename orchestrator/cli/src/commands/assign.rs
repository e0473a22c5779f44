//! `baton work take`, `give-back` and `assign`: whose a work item is, and by when.

use serde_json::{Value, json};

use super::{act, typed};
use crate::args::{WorkAssign, WorkTake};
use crate::client::{Client, escaped};
use crate::error::CliError;
use crate::exit::Exit;
use crate::find;
use crate::out::Out;
use crate::view::Saga;

pub(crate) async fn assign(
    client: &Client,
    which: &WorkAssign,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let mut body = json!({ "id": uuid::Uuid::now_v7(), "reason": which.reason });
    if let Some(name) = &which.to {
        body["to"] = json!(name);
    }
    said(
        client,
        "assign",
        (&which.id, which.number, which.due.as_deref()),
        body,
        out,
    )
    .await
}

pub(crate) async fn take(
    client: &Client,
    action: &str,
    which: &WorkTake,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let mut body = json!({ "id": uuid::Uuid::now_v7() });
    if let Some(reason) = &which.reason {
        body["reason"] = json!(reason);
    }
    said(
        client,
        action,
        (&which.id, which.number, which.due.as_deref()),
        body,
        out,
    )
    .await
}

async fn said(
    client: &Client,
    action: &str,
    (id, number, due): (&str, Option<u32>, Option<&str>),
    mut body: Value,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let id = find::saga_id(client, id).await?;
    let number = match number {
        Some(number) => number,
        None => the_one_that_is_open(&typed(find::saga(client, &id).await?)?, action)?,
    };
    if let Some(due) = due {
        body["due"] = json!(due);
    }
    let path = format!("/v1/sagas/{}/work-items/{number}/{action}", escaped(&id));
    match act::send(client, &path, &id, body, out).await {
        Err(error) if error.status() == Some(404) => {
            let what = format!("no work item {number} of {} is open", out.id(&id));
            let next = format!("baton show {id}; or baton work, for all that is open");
            Err(CliError::not_there(what, None, next))
        }
        done => done,
    }
}

fn the_one_that_is_open(saga: &Saga, action: &str) -> Result<u32, CliError> {
    let id = &saga.row.id;
    match saga.work_items.as_slice() {
        [one] => Ok(one.number),
        [] => Err(CliError::not_there(
            format!(
                "no work item of {} is open ({})",
                saga.row.what(),
                saga.row.standing()
            ),
            None,
            format!("baton show {id}"),
        )),
        several => {
            let numbers: Vec<String> = several.iter().map(|one| one.number.to_string()).collect();
            Err(CliError::usage(format!(
                "several work items are open: {}; name one: baton work {action} {id} {}",
                numbers.join(", "),
                numbers[0]
            )))
        }
    }
}
