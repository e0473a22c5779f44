//! Dead letters beside the broker alone, in one run: how many a second are taken in, and how many go back, where the broker by itself takes so many from a publisher and hands so
//! many to a consumer. A letter taken in is one message consumed and committed; one that goes back is two commits and one message confirmed.

use std::fmt::Write as _;

use anyhow::Result;

use crate::baton::Baton;
use crate::options::Options;
use crate::raw::{self, Link};
use crate::rounds::{Place, Way};

/// The queue dead letters lie in.
const DEAD: &str = "baton.dead";
/// Bytes of a letter: as of a small task.
const BODY_BYTES: usize = 500;

/// One round for each way to run Baton, and says what each gave.
pub(crate) async fn measure(place: &Place, options: &Options, count: usize) -> Result<String> {
    let mut said = String::new();
    for number in 1..=options.pairs {
        for way in Way::all(options) {
            let (vhost, url) = place.fresh().await?;
            let database = place.database(way.store).await?;
            let baton = Baton::start(&url, options, way.orchestrators, database).await?;
            let link = Link::open(&url, 1).await?;
            let raw = raw::flow(&link, BODY_BYTES, count).await?;
            link.make_queues().await?;
            let publish = raw::fill(&link, DEAD, BODY_BYTES, count);
            let run = baton.letters(count, publish, raw::TASKS).await?;
            link.close().await?;
            baton.end().await?;
            place.forget(vhost).await;
            let per_s = |took: std::time::Duration| count as f64 / took.as_secs_f64();
            let (taken_in, replayed) = (per_s(run.taken_in), per_s(run.replayed));
            let (published, consumed) = (per_s(raw.published), per_s(raw.consumed));
            writeln!(
                said,
                "round {number}, {}: {count} letters, taken in {taken_in:.0}/s ({:.2} of {consumed:.0}/s consumed raw), sent back {replayed:.0}/s ({:.2} of {published:.0}/s published raw)",
                way.name(),
                taken_in / consumed,
                replayed / published,
            )?;
        }
    }
    Ok(said)
}
