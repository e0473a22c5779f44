//! What a report costs in one saga of very many items: its first thousand beside its last, and the memory it took.

use std::fmt::Write as _;

use anyhow::Result;

use crate::baton::{Baton, ItemsRun, Share};
use crate::options::Options;
use crate::rounds::{Place, Way};

/// Reports that are compared, where there are that many on both sides.
const SHARE: u32 = 1_000;
/// The most items of a step that are under way at once: what the language allows.
const PARALLEL_MAX: usize = 256;

/// One round for each way to run Baton, and says what each gave.
pub(crate) async fn measure(place: &Place, options: &Options, items: u32) -> Result<String> {
    let parallel = options.in_flight.min(PARALLEL_MAX);
    let parallel = u32::try_from(parallel)?;
    let share = u64::from(SHARE.min(items / 2));
    let mut said = String::new();
    for number in 1..=options.pairs {
        for way in Way::all(options) {
            let (vhost, url) = place.fresh().await?;
            let database = place.database(way.store).await?;
            let baton = Baton::start(&url, options, way.orchestrators, database).await?;
            let run = baton.items(items, parallel, share).await?;
            baton.check(1).await?;
            baton.end().await?;
            place.forget(vhost).await;
            writeln!(
                said,
                "round {number}, {}: {}",
                way.name(),
                told(items, &run)
            )?;
        }
    }
    Ok(said)
}

/// CPU time of the orchestrators for one report, in microseconds.
fn each_us(share: &Share) -> f64 {
    // CPU seconds for 10,000 of them
    share
        .orchestrators
        .per_10k(usize::try_from(share.reports).unwrap_or(usize::MAX))
        * 100.0
}

fn told(items: u32, run: &ItemsRun) -> String {
    let part = |share: &Share| {
        let per_s = share.reports as f64 / share.took.as_secs_f64().max(f64::EPSILON);
        format!(
            "{} reports {:.0} us each ({per_s:.0}/s)",
            share.reports,
            each_us(share)
        )
    };
    let ratio = each_us(&run.last) / each_us(&run.first).max(f64::EPSILON);
    format!(
        "{items} items in {:.1} s; first {}, last {} (x {ratio:.2}); memory {} MiB at most, {} MiB at the end; database {} MiB",
        run.took.as_secs_f64(),
        part(&run.first),
        part(&run.last),
        run.memory.peak_kb / 1024,
        run.memory.now_kb / 1024,
        run.db_bytes / (1024 * 1024)
    )
}
