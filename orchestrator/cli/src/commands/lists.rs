//! `baton work`, `dead`, `workers`, `types`: what people have to decide, what nobody could use, who is there, what they can do.

use serde::Deserialize;
use serde_json::Value;

use super::typed;
use crate::args::Page;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::{Out, Tone};
use crate::table::Table;
use crate::time;
use crate::view::Item;

#[derive(Debug, Deserialize)]
struct Open {
    saga: String,
    item: Item,
    closed: Option<Value>,
}

/// What people have to decide, with the commands that do it.
pub(crate) async fn work(client: &Client, page: &Page, out: &mut Out) -> Result<Exit, CliError> {
    let mut query = page_query(page);
    query.push(("all", page.all.to_string()));
    let mut answer = client.get("/v1/work-items", &query).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let open: Vec<Open> = typed(answer["work_items"].take())?;
    for one in &open {
        let item = &one.item;
        let closed = if one.closed.is_some() {
            " (closed)"
        } else {
            ""
        };
        let title = out.coloured(&item.title, Tone::Bad);
        out.line(format!(
            "{} {} for {}, {}{closed}: {title}",
            one.saga,
            item.number,
            item.owner,
            time::ago(item.opened_at, None)
        ));
        if one.closed.is_none() {
            for command in item.commands(&one.saga) {
                out.line(format!("  {command}"));
            }
        }
    }
    ended(&answer, open.is_empty(), "work", out);
    Ok(Exit::Ok)
}

/// What nobody could use.
pub(crate) async fn dead(client: &Client, page: &Page, out: &mut Out) -> Result<Exit, CliError> {
    let answer = client.get("/v1/dead-letters", &page_query(page)).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let rows = answer["dead_letters"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let mut table = Table::new(&["id", "since", "reason", "from", "saga", "error"]);
    for row in rows {
        table.row(vec![
            (text(row, "id"), Tone::Plain),
            (
                time::ago(row["at"].as_u64().unwrap_or(0), None),
                Tone::Plain,
            ),
            (text(row, "reason"), Tone::Waits),
            (text(row, "queue"), Tone::Plain),
            (text(row, "saga"), Tone::Plain),
            (text(row, "error"), Tone::Plain),
        ]);
    }
    out.table(&table);
    ended(&answer, rows.is_empty(), "dead", out);
    Ok(Exit::Ok)
}

/// Who is there.
pub(crate) async fn workers(client: &Client, out: &mut Out) -> Result<Exit, CliError> {
    let answer = client.get("/v1/workers", &[]).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let rows = answer["workers"].as_array().map_or(&[][..], Vec::as_slice);
    let mut table = Table::new(&["worker", "heard", "pools", "runs", "types"]);
    for row in rows {
        let silent = row["silent"].as_bool().unwrap_or(false);
        let tone = if silent { Tone::Bad } else { Tone::Plain };
        let runs = row["running"].as_array().map_or(0, Vec::len);
        table.row(vec![
            (text(row, "worker"), tone),
            (time::ago(row["heard_at"].as_u64().unwrap_or(0), None), tone),
            (joined(&row["pools"]), Tone::Plain),
            (format!("{runs}/{}", row["concurrency"]), Tone::Plain),
            (joined(&row["types"]), Tone::Faint),
        ]);
    }
    out.table(&table);
    if rows.is_empty() {
        out.line("(none has been heard; is `baton-worker` running on the same broker?)");
    }
    Ok(Exit::Ok)
}

/// What they can do.
pub(crate) async fn types(client: &Client, out: &mut Out) -> Result<Exit, CliError> {
    let answer = client.get("/v1/task-types", &[]).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let rows = answer["task_types"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let mut table = Table::new(&["task type", "effect", "undo", "probe", "summary"]);
    for row in rows {
        let yes = |name: &str| {
            let yes = row[name].as_bool().unwrap_or(false);
            (if yes { "yes" } else { "" }).to_owned()
        };
        table.row(vec![
            (text(row, "task_type"), Tone::Plain),
            (text(row, "effect"), Tone::Plain),
            (yes("undo"), Tone::Plain),
            (yes("probe"), Tone::Plain),
            (text(row, "summary"), Tone::Plain),
        ]);
    }
    out.table(&table);
    if rows.is_empty() {
        out.line("(none was ever announced; start a `baton-worker`)");
    }
    Ok(Exit::Ok)
}

fn page_query(page: &Page) -> Vec<(&'static str, String)> {
    let mut query = vec![("limit", page.page.limit.to_string())];
    if let Some(cursor) = &page.page.cursor {
        query.push(("cursor", cursor.clone()));
    }
    query
}

fn ended(answer: &Value, empty: bool, command: &str, out: &mut Out) {
    if empty {
        out.line("(none)");
    }
    if let Some(next) = answer["next"].as_str() {
        out.line(format!("more: baton {command} --cursor {next}"));
    }
}

fn text(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or_default().to_owned()
}

fn joined(list: &Value) -> String {
    let all: Vec<&str> = list
        .as_array()
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .filter_map(Value::as_str)
        .collect();
    all.join(" ")
}
