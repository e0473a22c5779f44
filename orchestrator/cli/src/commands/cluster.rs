//! `baton cluster`: the orchestrators on one store, and who drives what.

use crate::args::ClusterArgs;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::out::Out;
use crate::screens::cluster as screen;

use super::typed;

pub(crate) async fn cluster(
    client: &Client,
    _: &ClusterArgs,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let answer = client.get("/v1/cluster", &[]).await?;
    if out.wants_json() {
        out.value(&answer);
        return Ok(Exit::Ok);
    }
    let cluster: screen::Cluster = typed(answer)?;
    out.table(&screen::members(&cluster), "(nobody)");
    out.line("");
    out.table(&screen::partitions(&cluster), "(none)");
    Ok(Exit::Ok)
}
