//! `baton workers`: who is there.

use super::items;
use crate::args::Workers;
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
