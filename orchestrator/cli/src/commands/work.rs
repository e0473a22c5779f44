//! `baton work`: what people have to decide, with the commands that do it.

use super::{more, typed_items};
use crate::args::Work;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::{Out, Tone};
use crate::screens::work::{self, Open};
use crate::time;

pub(crate) async fn work(client: &Client, which: &Work, out: &mut Out) -> Result<Exit, CliError> {
    let mut query = which.page.query();
    query.push(("all", which.all.to_string()));
    let answer = client.get("/v1/work-items", &query).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let all: Vec<Open> = typed_items(&answer, "work_items")?;
    if all.is_empty() {
        out.words(0, "(nothing waits for a person)", Tone::Faint);
    }
    for line in work::lines(&all, time::now_ms(), out.screen.width()) {
        out.say(&line);
    }
    more(
        &answer,
        if which.all { "work --all" } else { "work" },
        &which.page,
        out,
    );
    Ok(Exit::Ok)
}
