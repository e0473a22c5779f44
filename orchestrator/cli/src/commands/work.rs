//! `baton work`: what people have to decide, and what each is about, with the commands that do it.

use serde_json::Value;

use super::{assign, more, typed, typed_items};
use crate::args::{Work, WorkCommand, WorkLs, WorkShow};
use crate::client::{Client, escaped};
use crate::error::CliError;
use crate::exit::Exit;
use crate::find;
use crate::out::{Line, Out};
use crate::screens::work::{self, Open};
use crate::screens::work_item::Detail;
use crate::time;
use crate::view::Saga;

pub(crate) async fn work(client: &Client, which: &Work, out: &mut Out) -> Result<Exit, CliError> {
    match &which.command {
        None => ls(client, &which.ls, out).await,
        Some(WorkCommand::Ls(which)) => ls(client, which, out).await,
        Some(WorkCommand::Show(which)) => show(client, which, out).await,
        Some(WorkCommand::Assign(which)) => assign::assign(client, which, out).await,
        Some(WorkCommand::Take(which)) => assign::take(client, "take", which, out).await,
        Some(WorkCommand::GiveBack(which)) => assign::take(client, "give-back", which, out).await,
    }
}

async fn ls(client: &Client, which: &WorkLs, out: &mut Out) -> Result<Exit, CliError> {
    let mut query = which.page.query();
    query.push(("all", which.all.to_string()));
    let mut command = if which.all { "work --all" } else { "work" }.to_owned();
    for (name, asked) in [
        ("mine", which.mine),
        ("unassigned", which.unassigned),
        ("overdue", which.overdue),
    ] {
        if asked {
            query.push((name, "true".to_owned()));
            command += &format!(" --{name}");
        }
    }
    if let Some(name) = &which.assignee {
        query.push(("assignee", name.clone()));
        command += &format!(" --for '{name}'");
    }
    let answer = client.get("/v1/work-items", &query).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let all: Vec<Open> = typed_items(&answer, "work_items")?;
    let table = work::table(&all, time::now_ms(), out.screen.width());
    out.table(&table, "(nothing waits for a person)");
    if let Some(first) = all.iter().find(|one| one.closed.is_none()) {
        let command = format!("baton work show {}", out.id(&first.saga));
        out.next("what it is about, and how to decide", &command);
        let taken = first.item.taken.as_ref();
        if taken.is_none_or(|taken| taken.team) {
            let command = format!(
                "baton work take {} {}",
                out.id(&first.saga),
                first.item.number
            );
            out.next("see to it yourself", &command);
        }
    }
    more(&answer, &command, &which.page, out);
    Ok(Exit::Ok)
}

async fn show(client: &Client, which: &WorkShow, out: &mut Out) -> Result<Exit, CliError> {
    let id = find::saga_id(client, &which.id).await?;
    let answer = find::saga(client, &id).await?;
    let mut saga: Saga = typed(answer.clone())?;
    if let Some(number) = which.number {
        saga.work_items.retain(|item| item.number == number);
    }
    if saga.work_items.is_empty() {
        let what = match which.number {
            Some(number) => format!("no work item {number}"),
            None => "no work item".to_owned(),
        };
        let (row, short) = (&saga.row, out.id(&id));
        return Err(CliError::not_there(
            format!(
                "{what} of {short} is open ({}, {})",
                row.what(),
                row.standing()
            ),
            None,
            format!("baton show {short}"),
        ));
    }
    let detail = match saga.work_items.as_slice() {
        [one] => detail(client, &id, one.number).await?,
        _ => None,
    };
    if out.wants_json() {
        let items = answer["work_items"].as_array().into_iter().flatten();
        let wanted =
            items.filter(|item| which.number.is_none_or(|number| item["number"] == number));
        let wanted: Vec<_> = wanted.cloned().collect();
        out.value(&serde_json::json!({ "saga": id, "work_items": wanted, "detail": detail }));
        return Ok(Exit::Ok);
    }
    if let Some(detail) = detail {
        let detail: Detail = typed(detail)?;
        for line in detail.lines(time::now_ms(), out.screen.width()) {
            out.say(&line);
        }
        return Ok(Exit::Ok);
    }
    for (n, item) in saga.work_items.iter().enumerate() {
        if n > 0 {
            out.say(&Line::new());
        }
        for line in work::item(&id, item, time::now_ms(), out.screen.width()) {
            out.say(&line);
        }
    }
    if let Some(first) = saga.work_items.first() {
        let command = format!("baton work show {} {}", out.id(&id), first.number);
        out.next("what was tried, and what can be done now", &command);
    }
    Ok(Exit::Ok)
}

/// All there is to one of them; none where it was closed a moment ago.
async fn detail(client: &Client, id: &str, number: u32) -> Result<Option<Value>, CliError> {
    let path = format!("/v1/sagas/{}/work-items/{number}", escaped(id));
    match client.get(&path, &[]).await {
        Err(error) if error.status() == Some(404) => Ok(None),
        answer => answer.map(Some),
    }
}
