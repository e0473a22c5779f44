//! `baton workers` and `dead`: who is there, and what nobody could use.

use super::{items, more};
use crate::args::{Dead, Workers};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::Out;
use crate::screens::fleet;
use crate::time;

pub(crate) async fn workers(
    client: &Client,
    which: &Workers,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let answer = client.get("/v1/workers", &[]).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let width = out.screen.width();
    let table = fleet::workers(items(&answer, "workers"), time::now_ms(), width, which.all);
    out.table(
        &table,
        "(none has been heard; start one on the same broker: baton-worker)",
    );
    Ok(Exit::Ok)
}

pub(crate) async fn dead(client: &Client, dead: &Dead, out: &mut Out) -> Result<Exit, CliError> {
    let answer = client.get("/v1/dead-letters", &dead.page.query()).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let width = out.screen.width();
    let table = fleet::dead(items(&answer, "dead_letters"), time::now_ms(), width);
    out.table(&table, "(none)");
    more(&answer, "dead", &dead.page, out);
    Ok(Exit::Ok)
}
