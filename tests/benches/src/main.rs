//! `baton-bench`: how much of what the raw broker gives is left when sagas are driven over it, in ratios of one run.
//!
//! Nothing here is asserted about time: it measures and prints. What it does assert is that every saga asked for has
//! completed. `--smoke` goes through all of it in seconds.

mod baton;
mod cpu;
mod figures;
mod items;
mod letters;
mod options;
mod raw;
mod rounds;
mod show;

use std::io::Write as _;

use anyhow::{Context as _, Result};

use options::{Options, Role};
use rounds::Place;
use show::Outcome;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::read();
    if let Some(Role::RawWorker { url, connections }) = &options.role {
        return raw::worker::run(url, *connections).await;
    }
    let place = Place::find(&options).await;
    if let Some(count) = options.letters {
        let said = letters::measure(&place, &options, count).await?;
        write!(std::io::stdout(), "{said}")?;
        return Ok(());
    }
    if let Some(items) = options.items {
        let said = items::measure(&place, &options, items).await?;
        write!(std::io::stdout(), "{said}")?;
        return Ok(());
    }
    let outcome = measure(&place, &options).await?;
    writeln!(std::io::stdout(), "{}", outcome.table())?;
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&outcome)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

async fn measure(place: &Place, options: &Options) -> Result<Outcome> {
    let sizes = baton::sizes(options.payload_bytes)?;
    if options.raw_only {
        let mut references = Vec::new();
        for _ in 0..options.pairs {
            references.push(place.reference(options, 1).await?);
            references.push(place.reference(options, 2).await?);
        }
        return Ok(Outcome::of(options, sizes, Vec::new(), references, None));
    }
    let rounds = rounds::run(place, options).await?;
    let alone = place.alone(options).await?;
    Ok(Outcome::of(options, sizes, rounds, Vec::new(), Some(alone)))
}
