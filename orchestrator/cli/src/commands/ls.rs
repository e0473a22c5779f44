//! `baton ls`: sagas, newest first; with `--watch` as they change.

use std::pin::pin;
use std::time::Duration;

use baton_engine::definition::registered_as;

use super::away::Away;
use super::{items, more, typed_items, watch};
use crate::args::Ls;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::find;
use crate::input;
use crate::out::{Line, Out};
use crate::screens::sagas;
use crate::time;
use crate::view::Row;

/// A list that changes all the time is drawn again no faster than somebody reads.
const REDRAW: Duration = Duration::from_millis(300);
/// How often it is drawn again for its clocks.
const CLOCKS: Duration = Duration::from_secs(1);
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
    if rows.is_empty() {
        known_definition(client, which.definition.as_deref()).await?;
    }
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

/// Where nothing is found of a name, it may be a name nobody knows.
async fn known_definition(client: &Client, name: Option<&str>) -> Result<(), CliError> {
    // a group is called after the saga it stands in
    let Some(name) = name.map(registered_as) else {
        return Ok(());
    };
    let answer = client.get("/v1/definitions", &[]).await?;
    let known: Vec<String> = items(&answer, "definitions")
        .iter()
        .filter_map(|row| row["definition"].as_str())
        .map(str::to_owned)
        .collect();
    if known.iter().any(|known| known == name) {
        return Ok(());
    }
    Err(find::unknown(
        "definition",
        name,
        &known,
        "baton definitions",
    ))
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
        (
            "label",
            which.label.as_deref().map(input::label).transpose()?,
        ),
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

/// On a terminal the list is drawn again at each change, and for its clocks; elsewhere each change is a line.
async fn watched(
    client: &Client,
    which: &Ls,
    query: &[(&'static str, String)],
    out: &mut Out,
) -> Result<Exit, CliError> {
    let filters: Vec<(&str, String)> = query
        .iter()
        .filter(|(name, _)| !matches!(*name, "limit" | "cursor"))
        .cloned()
        .collect();
    if out.wants_json() || !out.screen.is_terminal() {
        return watch::all(client, &filters, out).await;
    }
    // whether a saga that is listed has come to stand elsewhere is news too
    let told: Vec<(&str, String)> = filters
        .into_iter()
        .filter(|(name, _)| *name != "status")
        .collect();
    known_definition(client, which.definition.as_deref()).await?;
    let mut away = Away::default();
    loop {
        match drawn(client, &told, query, &mut away, out).await {
            Ok(()) => away.lost(None, out).await?,
            Err(error) => away.lost(Some(error), out).await?,
        }
        if out.screen.is_gone() {
            return Ok(Exit::Ok);
        }
    }
}

/// Draws until the orchestrator is lost.
async fn drawn(
    client: &Client,
    told: &[(&str, String)],
    query: &[(&str, String)],
    away: &mut Away,
    out: &mut Out,
) -> Result<(), CliError> {
    // subscribed first, read then: no change falls between
    let mut events = client.events("/v1/watch", told, None).await?;
    away.back(out);
    loop {
        let rows: Vec<Row> = typed_items(&client.get("/v1/sagas", query).await?, "sagas")?;
        draw(&rows, out);
        let mut next = pin!(events.next());
        let heard = loop {
            tokio::select! {
                heard = &mut next => break heard?,
                () = tokio::time::sleep(CLOCKS) => draw(&rows, out),
            }
        };
        if heard.is_none_or(|event| event.kind == "stopping") || out.screen.is_gone() {
            return Ok(());
        }
        tokio::time::sleep(REDRAW).await;
    }
}

fn draw(rows: &[Row], out: &mut Out) {
    let (width, height) = (out.screen.width(), out.screen.height());
    let shown = rows.len().min(height.saturating_sub(LINES_AROUND + 1));
    let mut lines = sagas::table(&rows[..shown], time::now_ms(), width).lines(width);
    if rows.is_empty() {
        lines = vec![Line::faint("(none of that kind)")];
    }
    lines.push(Line::faint("as they change; Ctrl-C ends it"));
    out.screen.draw(&lines);
}
