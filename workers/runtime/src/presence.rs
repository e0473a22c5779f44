//! How a worker makes itself known: what it can do, that it lives, what it runs. Each confirmed heartbeat renews the leases of the runs it
//! named, counted from when it was sent.

use std::sync::Arc;
use std::time::Duration;

use baton_bus::{HeaderValue, Headers, Link, Outgoing, Sent, version_header};
use baton_messages::fleet::{Announcement, Heartbeat, Leaving};
use baton_messages::headers::TOGETHER;
use baton_messages::{FleetMessage, Manifest, MessageId, topology};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::clock::now;
use crate::registry::Served;
use crate::runs::renew;
use crate::shared::Shared;

/// How long before an announcement that nobody heard (no orchestrator yet, or its exchanges are still to be declared) is made again.
const UNHEARD: Duration = Duration::from_secs(1);

/// Announces the worker on every connection, at every roll call and at every interval, for ever; and soon again when nobody was there to hear it.
pub(crate) async fn announce(
    shared: Arc<Shared>,
    types: Vec<Manifest>,
    mut state: watch::Receiver<baton_bus::BusState>,
) {
    let mut interval = interval(shared.options.announce_ms);
    let mut announced = None;
    let mut unheard = false;
    loop {
        let epoch = epoch(&state.borrow_and_update().publishing);
        let due = tokio::select! {
            biased;
            _ = interval.tick() => true,
            () = tokio::time::sleep(UNHEARD), if unheard => true,
            () = shared.called.notified() => true,
            changed = state.changed() => {
                if changed.is_err() {
                    return;
                }
                false
            }
        };
        let connected = self::epoch(&state.borrow().publishing).or(epoch);
        if connected.is_some() && (due || connected != announced) {
            let announcement = FleetMessage::Announcement(Announcement {
                worker: shared.options.id.clone(),
                pools: shared.options.pools.clone(),
                version: shared.options.version.clone(),
                concurrency: shared.options.concurrency,
                types: types.clone(),
                at: now(),
            });
            let heard = say(&shared, &announcement, true, None).await;
            unheard = !heard;
            if heard {
                announced = connected;
            }
        }
    }
}

/// Says at every interval that it lives and what it runs, for ever.
pub(crate) async fn beat(shared: Arc<Shared>, served: Vec<Arc<Served>>) {
    let mut interval = interval(shared.options.heartbeat_ms);
    let mut number = 0;
    loop {
        interval.tick().await;
        number += 1;
        let claimed = shared.runs.claimed();
        let heartbeat = FleetMessage::Heartbeat(Heartbeat {
            worker: shared.options.id.clone(),
            number,
            running: claimed.iter().map(|(running, _)| running.clone()).collect(),
            at: now(),
        });
        let sent = Instant::now();
        if say(&shared, &heartbeat, false, together(&served)).await {
            renew(&claimed, sent);
        }
        metrics::gauge!("baton_worker_running").set(small(shared.in_hand()));
    }
}

/// Which types may come several tasks in a message.
fn together(served: &[Arc<Served>]) -> Option<(String, HeaderValue)> {
    let types: Headers = served
        .iter()
        .map(|served| (&served.manifest.task_type, served.pace.together()))
        .filter(|(_, together)| *together > 1)
        .filter_map(|(of, together)| {
            let together = i64::try_from(together).ok()?;
            Some((of.to_string(), HeaderValue::I64(together)))
        })
        .collect();
    (!types.is_empty()).then(|| (TOGETHER.to_owned(), HeaderValue::Table(types)))
}

/// Says goodbye.
pub(crate) async fn leave(shared: &Shared) {
    let leaving = FleetMessage::Leaving(Leaving {
        worker: shared.options.id.clone(),
    });
    say(shared, &leaving, false, None).await;
}

/// Whether it was confirmed, and, where it is to be heard, not returned. It is not kept: it is said again in a moment.
async fn say(
    shared: &Shared,
    message: &FleetMessage,
    to_be_heard: bool,
    header: Option<(String, HeaderValue)>,
) -> bool {
    let body = match serde_json::to_vec(message) {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(%error, kind = message.kind(), "a message to the fleet cannot be written");
            return false;
        }
    };
    let id = MessageId(uuid::Uuid::now_v7());
    let mut out = Outgoing::json(topology::FLEET, "", message.kind(), id, body, now().0);
    out.mandatory = to_be_heard;
    out.persistent = false;
    out.headers = vec![version_header()];
    out.headers.extend(header);
    let sent = shared.publisher.publish(vec![out]).await;
    sent.first() == Some(&Sent::Confirmed)
}

fn interval(every_ms: u64) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(Duration::from_millis(every_ms.max(1)));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

const fn epoch(link: &Link) -> Option<u64> {
    match link {
        Link::Up { epoch } | Link::Blocked { epoch, .. } => Some(*epoch),
        Link::Down { .. } => None,
    }
}

/// A gauge takes a float; the number of permits is far below where one loses a digit.
fn small(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}
