//! `baton ls`: sagas, newest first; with `--watch` as they change.

use std::time::Duration;

use serde_json::Value;

use super::{more, typed_items, watch};
use crate::args::Ls;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::{Line, Out};
use crate::screens::sagas;
use crate::time;
use crate::view::Row;

/// A list that changes all the time is drawn again no faster than somebody reads.
const REDRAW: Duration = Duration::from_millis(300);
/// What stands around the rows: the head, and the line a cursor waits on.
const LINES_AROUND: usize = 2;

pub(crate) async fn ls(client: &Client, which: &Ls, out: &mut Out) -> Result<Exit, CliError> {
    let query = query(which)?;
    if which.watch {
        return watched(client, which, &query, out).await;
    }
    let answer = client.get("/v1/sagas", &query).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let rows: Vec<Row> = typed_items(&answer, "sagas")?;
    let none = if query.len() > 1 {
        "(none of that kind)"
    } else {
        "(none yet; start one: baton run NAME)"
    };
    let table = sagas::table(&rows, time::now_ms(), out.screen.width());
    out.table(&table, none);
    more(&answer, &repeated(which), &which.page, out);
    Ok(Exit::Ok)
}

fn query(which: &Ls) -> Result<Vec<(&'static str, String)>, CliError> {
    let now = time::now_ms();
    let instant = |text: &Option<String>, what: &str| {
        let at = text
            .as_deref()
            .map(|text| time::when(text, what, now))
            .transpose()?;
        Ok::<_, CliError>(at.map(|at| at.to_string()))
    };
    let asked = [
        ("status", which.status.map(|status| status.name())),
        ("definition", which.definition.clone()),
        ("label", which.label.clone()),
        ("since", instant(&which.since, "--since")?),
        ("until", instant(&which.until, "--until")?),
    ];
    let mut query = which.page.query();
    query.extend(
        asked
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    Ok(query)
}

/// The command with its filters, for the next page.
fn repeated(which: &Ls) -> String {
    let mut text = "ls".to_owned();
    let options = [
        ("--status", which.status.map(|status| status.name())),
        ("--definition", which.definition.clone()),
        ("--label", which.label.clone()),
        ("--since", which.since.clone()),
        ("--until", which.until.clone()),
    ];
    for (name, value) in options {
        if let Some(value) = value {
            text.push_str(&format!(" {name} {value}"));
        }
    }
    text
}

/// On a terminal the list is drawn again at each change; elsewhere each change is a line.
async fn watched(
    client: &Client,
    which: &Ls,
    query: &[(&str, String)],
    out: &mut Out,
) -> Result<Exit, CliError> {
    let definition: Vec<(&str, String)> = which
        .definition
        .iter()
        .map(|name| ("definition", name.clone()))
        .collect();
    if out.wants_json() || !out.screen.is_terminal() {
        return watch::all(client, &definition, out).await;
    }
    loop {
        // subscribed first, read then: no change falls between
        let mut events = client.events("/v1/watch", &definition, None).await?;
        loop {
            draw(&client.get("/v1/sagas", query).await?, out)?;
            if !matches!(events.next().await, Ok(Some(_))) {
                break;
            }
            tokio::time::sleep(REDRAW).await;
        }
    }
}

fn draw(answer: &Value, out: &mut Out) -> Result<(), CliError> {
    let rows: Vec<Row> = typed_items(answer, "sagas")?;
    let (width, height) = (out.screen.width(), out.screen.height());
    let shown = rows.len().min(height.saturating_sub(LINES_AROUND + 1));
    let mut lines = sagas::table(&rows[..shown], time::now_ms(), width).lines(width);
    lines.push(Line::faint("as they change; Ctrl-C ends it"));
    out.screen.draw(&lines);
    Ok(())
}
