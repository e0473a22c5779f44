//! The other half of finding: a step that begins to wait is held against the events kept by then. An event is kept before waiting steps are
//! asked for, and a step's wait is committed before kept events are: whichever comes second finds the other.

use baton_driver::SubscriptionRow;
use baton_store::{Effect, EventRow, Settled, Triggers as _};
use futures::future::join_all;
use tokio::sync::mpsc;

use super::Shared;
use super::carrier::{Stopping, stubborn, wake};

/// Kept events read at once: each may be as large as a message.
const KEPT_MAX: usize = 64;
/// Steps that are searched for side by side.
const SIDE_BY_SIDE: usize = 64;

/// Searches for each wait the loop tells of, until the process stops.
pub(crate) async fn search(shared: Shared, mut subscribed: mpsc::Receiver<Vec<SubscriptionRow>>) {
    loop {
        let new = tokio::select! {
            () = shared.stop.cancelled() => return,
            new = subscribed.recv() => new,
        };
        let Some(new) = new else { return };
        for some in new.chunks(SIDE_BY_SIDE) {
            let searched = join_all(some.iter().map(|waits| search_for(&shared, waits))).await;
            if searched.iter().any(Result::is_err) {
                return;
            }
            let done = some.iter().map(|waits| (waits.saga, waits.step.clone()));
            if !shared.router.searched(done.collect()).await {
                return;
            }
        }
    }
}

/// Tells a step of the kept events it may want, oldest first, until it takes one.
async fn search_for(shared: &Shared, waits: &SubscriptionRow) -> Result<(), Stopping> {
    let mut after = None;
    loop {
        let kept: Vec<EventRow> = stubborn(shared, "read", || {
            let pattern = waits.event.clone();
            shared.tables.kept(pattern, waits.since, after, KEPT_MAX)
        })
        .await?;
        let Some(last) = kept.last() else {
            return Ok(());
        };
        after = Some((last.received_at, last.seq));
        for row in &kept {
            let woke = wake(shared, row, std::slice::from_ref(waits)).await?;
            if !woke.is_empty() {
                return note(shared, row, woke).await;
            }
        }
    }
}

/// An event shows whom it woke.
async fn note(shared: &Shared, row: &EventRow, woke: Vec<Effect>) -> Result<(), Stopping> {
    // One that is not done yet is carried out, and then shows it as well.
    if !row.done {
        return Ok(());
    }
    let mut effects = row.effects.clone();
    effects.extend(woke.into_iter().filter(|one| !row.effects.contains(one)));
    let settled = Settled {
        seq: row.seq,
        effects,
        released: Vec::new(),
    };
    stubborn(shared, "written", || {
        shared.tables.settle(vec![settled.clone()])
    })
    .await
}
