//! `baton event`: published, listed, shown with what it caused.

use baton_engine::definition::event_type;
use reqwest::Method;
use serde_json::json;

use super::{items, more, typed, typed_items};
use crate::args::{Event, EventCommand, PageArgs, Publish};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::input;
use crate::out::{Out, Tone};
use crate::screens::events::{self, Kept};
use crate::time;

/// How many of the newest events an id alone is looked for in.
const LOOKED_THROUGH: usize = 500;

pub(crate) async fn event(client: &Client, event: &Event, out: &mut Out) -> Result<Exit, CliError> {
    match &event.command {
        EventCommand::Publish(event) => publish(client, event, out).await,
        EventCommand::Ls { kind, page } => ls(client, kind.as_deref(), page, out).await,
        EventCommand::Show { id, source } => show(client, id, source.as_deref(), out).await,
    }
}

async fn publish(client: &Client, event: &Publish, out: &mut Out) -> Result<Exit, CliError> {
    event_type(&event.kind)
        .map_err(|why| CliError::usage(format!("the type `{}` {why}", event.kind)))?;
    let id = event
        .id
        .clone()
        .unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    let mut body = json!({
        "specversion": "1.0", "type": event.kind, "source": event.source, "id": id,
    });
    if let Some(subject) = &event.subject {
        body["subject"] = json!(subject);
    }
    if event.data.is_some() || !event.fields.is_empty() {
        body["data"] = input::fields_into(
            event.data.as_deref(),
            "--data",
            &event.fields,
            &input::Wanted::default(),
        )?;
        body["datacontenttype"] = json!("application/json");
    }
    let kind = "application/cloudevents+json";
    let answer = client
        .send(Method::POST, "/v1/events", kind, body.to_string())
        .await?;
    if out.wants_json() {
        out.value(&answer);
    } else {
        let said = format!("{} {id} is published, confirmed by the broker", event.kind);
        out.words(0, &said, Tone::Plain);
        if answer["wanted"] == false {
            unwanted(&event.kind, out);
        } else {
            let source = if event.source == DEFAULT_SOURCE {
                String::new()
            } else {
                format!(" --source {}", event.source)
            };
            out.next("what it caused", &format!("baton event show {id}{source}"));
        }
    }
    Ok(Exit::Ok)
}

/// Nothing comes of it, and there is nothing to be shown.
fn unwanted(kind: &str, out: &mut Out) {
    let words = format!(
        "nothing comes of it, and it is not kept: no saga wants it. No trigger takes it (`on:` with `event: {kind}`, and a `when` that lets it through), and no step waits for its type."
    );
    out.words(0, &words, Tone::Waits);
    out.next("what is registered", "baton definitions");
}

/// Who says what is published here, unless somebody else is named.
const DEFAULT_SOURCE: &str = "/baton/cli";

async fn ls(
    client: &Client,
    kind: Option<&str>,
    page: &PageArgs,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let mut query = page.query();
    if let Some(kind) = kind {
        query.push(("type", kind.to_owned()));
    }
    let answer = client.get("/v1/events", &query).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let rows: Vec<Kept> = typed_items(&answer, "events")?;
    let table = events::table(&rows, time::now_ms());
    out.table(
        &table,
        "(none is kept: events are kept when a trigger or a wait asks for their type)",
    );
    more(&answer, "event ls", page, out);
    Ok(Exit::Ok)
}

async fn show(
    client: &Client,
    id: &str,
    source: Option<&str>,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let source = match source {
        Some(source) => source.to_owned(),
        None => source_of(client, id).await?,
    };
    let query = [("source", source), ("id", id.to_owned())];
    let answer = match client.get("/v1/events/one", &query).await {
        Err(error) if error.status() == Some(404) => {
            return Err(CliError::not_there(
                error.to_string(),
                None,
                "baton event ls",
            ));
        }
        answer => answer?,
    };
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let kept: Kept = typed(answer)?;
    for line in events::one(&kept, time::now_ms(), out.screen.width()) {
        out.say(&line);
    }
    Ok(Exit::Ok)
}

/// The source of an event, looked for among the newest.
async fn source_of(client: &Client, id: &str) -> Result<String, CliError> {
    let query = [("limit", LOOKED_THROUGH.to_string())];
    let answer = client.get("/v1/events", &query).await?;
    let found = items(&answer, "events")
        .iter()
        .map(|row| &row["event"])
        .find(|event| event["id"] == id)
        .and_then(|event| event["source"].as_str());
    found.map(str::to_owned).ok_or_else(|| {
        CliError::not_there(
            format!("none of the newest {LOOKED_THROUGH} events kept has the id `{id}`; one that nobody wants is not kept"),
            None,
            "baton event ls",
        )
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn the_default_source_is_the_one_of_the_command_line() {
        let cli = Cli::parse_from(["baton", "event", "publish", "a.b"]);
        let Command::Event(Event {
            command: EventCommand::Publish(publish),
        }) = cli.command
        else {
            panic!("it is read as something else");
        };
        assert_eq!(publish.source, DEFAULT_SOURCE);
    }
}
