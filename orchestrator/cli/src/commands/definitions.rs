//! `baton definitions`: what is registered, its text, and what the checker says of it now.

use baton_engine::definition::registered_as;
use serde_json::json;

use super::check::draw;
use super::{items, typed_items};
use crate::args::{Definitions, DefinitionsCommand};
use crate::client::{Client, escaped};
use crate::error::CliError;
use crate::exit::Exit;
use crate::find;
use crate::out::Out;
use crate::screens::diagnostics::Diagnostic;
use crate::screens::tokens;
use crate::time;

pub(crate) async fn definitions(
    client: &Client,
    which: &Definitions,
    out: &mut Out,
) -> Result<Exit, CliError> {
    match &which.command {
        None | Some(DefinitionsCommand::Ls) => ls(client, out).await,
        Some(DefinitionsCommand::Show { name }) => show(client, name, out).await,
    }
}

async fn ls(client: &Client, out: &mut Out) -> Result<Exit, CliError> {
    let answer = client.get("/v1/definitions", &[]).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let table = tokens::definitions(items(&answer, "definitions"), time::now_ms());
    out.table(
        &table,
        "(none is registered; write one, then: baton check FILE, baton apply FILE)",
    );
    Ok(Exit::Ok)
}

async fn show(client: &Client, named: &str, out: &mut Out) -> Result<Exit, CliError> {
    let answer = client.get("/v1/definitions", &[]).await?;
    let (name, version) = match named.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (named, None),
    };
    // a group stands in the document of its saga
    let name = registered_as(name);
    let known: Vec<(String, u64)> = items(&answer, "definitions")
        .iter()
        .filter_map(|row| {
            let name = row["definition"]
                .as_str()
                .or_else(|| row["name"].as_str())?;
            Some((name.to_owned(), row["version"].as_u64()?))
        })
        .collect();
    let found = known
        .iter()
        .filter(|(one, number)| {
            one == name && version.is_none_or(|wanted| wanted == number.to_string())
        })
        .map(|(_, number)| *number)
        .max();
    let Some(version) = found else {
        let names: Vec<String> = known
            .iter()
            .map(|(name, version)| format!("{name}@{version}"))
            .collect();
        return Err(find::unknown(
            "definition",
            named,
            &names,
            "baton definitions",
        ));
    };
    let path = format!("/v1/definitions/{}", escaped(name));
    let text = client.get_text(&format!("{path}/{version}")).await?;
    let now = client
        .get(&path, &[("version", version.to_string())])
        .await?;
    if out.wants_json() {
        let wrong = items(&now, "diagnostics");
        out.value(&json!({ "definition": name, "version": version, "source": text, "diagnostics": wrong }));
        return Ok(Exit::Ok);
    }
    let wrong: Vec<Diagnostic> = typed_items(&now, "diagnostics")?;
    if !out.screen.is_terminal() {
        // byte for byte: it may go into a file
        out.screen.raw(&text);
    } else {
        for line in text.lines() {
            out.line(line);
        }
    }
    // beside it: its text may go into a file
    draw(&wrong, &format!("{name}@{version}"), &text, out);
    Ok(Exit::Ok)
}
