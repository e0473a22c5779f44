//! `baton ls`: sagas, newest first.

use clap::ValueEnum as _;

use super::typed;
use crate::args::Ls;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::{Out, Tone};
use crate::table::Table;
use crate::time;
use crate::view::Row;

pub(crate) async fn ls(client: &Client, which: &Ls, out: &mut Out) -> Result<Exit, CliError> {
    let status = which
        .status
        .and_then(|status| Some(status.to_possible_value()?.get_name().to_owned()));
    let asked = [
        ("status", status),
        ("definition", which.definition.clone()),
        ("label", which.label.clone()),
        ("limit", Some(which.page.limit.to_string())),
        ("cursor", which.page.cursor.clone()),
    ];
    let query: Vec<(&str, String)> = asked
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let mut answer = client.get("/v1/sagas", &query).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let next = answer["next"].as_str().map(str::to_owned);
    let rows: Vec<Row> = typed(answer["sagas"].take())?;
    let mut table = Table::new(&["id", "status", "definition", "started", "took", "labels"]);
    for row in &rows {
        table.row(cells(row));
    }
    out.table(&table);
    if rows.is_empty() {
        out.line("(none)");
    }
    if let Some(next) = next {
        out.line(format!("more: baton ls --cursor {next}"));
    }
    Ok(Exit::Ok)
}

fn cells(row: &Row) -> Vec<(String, Tone)> {
    let status = if row.paused {
        format!("{} (paused)", row.status)
    } else {
        row.status.clone()
    };
    let labels: Vec<String> = row
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let took = row.ended_at.map_or_else(String::new, |end| {
        time::span(end.saturating_sub(row.started_at))
    });
    vec![
        (row.id.clone(), Tone::Plain),
        (status, Tone::of(&row.status)),
        (format!("{}@{}", row.definition, row.version), Tone::Plain),
        (time::ago(row.started_at, None), Tone::Plain),
        (took, Tone::Plain),
        (labels.join(" "), Tone::Faint),
    ]
}
