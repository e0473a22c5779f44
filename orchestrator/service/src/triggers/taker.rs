//! Keeps events: whatever waits, from the broker and from hooks, is held against the live triggers and kept in one transaction. In which
//! order they are kept is the order in which they are carried out, so that a saga is started before others join it.

use std::time::Duration;

use baton_engine::Feature;
use baton_messages::{Event, Timestamp};
use baton_store::{Arrival, EventRow, Planned, TriggerRef, Triggers as _};
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::carrier::Carried;
use super::mended::is_mended;
use crate::chain::chain;
use crate::clock;

/// Events of one sender.
pub(crate) struct Incoming {
    /// They.
    pub(crate) events: Vec<Event>,
    /// The secret that signed them, of events that came by a hook.
    pub(crate) secret: Option<String>,
    /// Kept even where nobody wants them: what came by a hook is answered for.
    pub(crate) keep: bool,
    /// Triggers that refused an event that is kept, and look at it again.
    pub(crate) again: Vec<TriggerRef>,
    /// Told when they are kept; what nobody wants is not kept, and counts as done.
    pub(crate) kept: Option<oneshot::Sender<Vec<EventRow>>>,
    /// Told when all they cause is committed.
    pub(crate) done: Option<oneshot::Sender<()>>,
}

/// Takes until nobody sends any more or the process stops.
pub(super) async fn take(
    shared: Shared,
    mut incoming: mpsc::Receiver<Incoming>,
    carrier: mpsc::Sender<Carried>,
    batch_max: usize,
) {
    loop {
        let first = tokio::select! {
            () = shared.stop.cancelled() => return,
            first = incoming.recv() => first,
        };
        let Some(first) = first else { return };
        let mut events = first.events.len();
        let mut batch = vec![first];
        while events < batch_max
            && let Ok(more) = incoming.try_recv()
        {
            events += more.events.len();
            batch.push(more);
        }
        let Some(kept) = keep(&shared, &batch).await else {
            return;
        };
        let mut rows = kept.into_iter();
        let mut to_carry = Carried::default();
        for one in batch {
            let mut wanted: Vec<EventRow> = Vec::with_capacity(one.events.len());
            wanted.extend(rows.by_ref().take(one.events.len()).flatten());
            if let Some(told) = one.kept {
                // a caller who has gone away finds it kept when he asks again
                let _ = told.send(wanted.clone());
            }
            to_carry.rows.extend(wanted);
            to_carry.done.extend(one.done);
        }
        if carrier.send(to_carry).await.is_err() {
            return;
        }
    }
}

/// Each event's row, in order; none for those nobody wants. None at all when the process stops before they are kept.
async fn keep(shared: &Shared, batch: &[Incoming]) -> Option<Vec<Option<EventRow>>> {
    // the clock sagas start by: where that of the machine was set back, no event is older than the saga that waits for it
    let now = clock::steady();
    let arrivals: Vec<Option<Arrival>> = batch
        .iter()
        .flat_map(|one| one.events.iter().map(move |event| (one, event)))
        .map(|(one, event)| arrival(shared, one, event, now))
        .collect();
    let wanted: Vec<Arrival> = arrivals.iter().flatten().cloned().collect();
    let unwanted = arrivals.len() - wanted.len();
    metrics::counter!("baton_orchestrator_events_total", "outcome" => "unwanted")
        .increment(unwanted as u64);
    metrics::counter!("baton_orchestrator_events_total", "outcome" => "kept")
        .increment(wanted.len() as u64);
    let mut pause = super::AGAIN_MIN;
    let rows = loop {
        if wanted.is_empty() {
            break Vec::new();
        }
        match shared.tables.take_in(wanted.clone()).await {
            Ok(rows) => break rows,
            Err(error) => said_once(pause, &error),
        }
        if !shared.pause(&mut pause).await {
            return None;
        }
    };
    let mut rows = rows.into_iter();
    Some(
        arrivals
            .into_iter()
            .map(|arrival| arrival.and_then(|_| rows.next()))
            .collect(),
    )
}

fn said_once(pause: Duration, error: &dyn std::error::Error) {
    if pause == super::AGAIN_MIN {
        tracing::error!(error = %chain(error), "events could not be kept; they are not acknowledged, it is tried again until it succeeds");
    }
}

/// What is kept of an event: all that is of use now, or may be to a step that waits later.
fn arrival(shared: &Shared, one: &Incoming, event: &Event, now: Timestamp) -> Option<Arrival> {
    let live = shared.live.borrow().clone();
    let mut planned = live.planned(event, one.secret.as_deref(), now);
    if !Feature::CancelTrigger.is_read_at(shared.router.level()) {
        planned = planned.into_iter().map(not_yet).collect();
    }
    let mut awaited = live.is_awaited(&event.kind);
    if is_mended(event) {
        // for those that refused the first, and for nobody else
        planned.retain(|planned| one.again.iter().any(|of| of.is_place_of(planned.of())));
        awaited = false;
    }
    let keep = one.keep || !one.again.is_empty() || !planned.is_empty() || awaited;
    keep.then(|| Arrival {
        event: event.clone(),
        at: now,
        planned,
        awaited,
        again: one.again.clone(),
    })
}

/// What cancels is refused while a member is there that cannot read an event which has caused that; its letter is replayed when none is left.
fn not_yet(planned: Planned) -> Planned {
    match planned {
        Planned::Cancel { of, .. } => Planned::Refused {
            of,
            error: "an orchestrator of an older version is there (`baton cluster`), which does not know triggers that cancel: replay this when it is gone".to_owned(),
        },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_an_older_member_is_there_what_cancels_is_refused_and_nothing_else() {
        let of = TriggerRef {
            definition: "treat".to_owned(),
            version: 1,
            trigger: 1,
        };
        let cancel = Planned::Cancel {
            of: of.clone(),
            key: "web-7".to_owned(),
            reason: "over".to_owned(),
        };
        let refused = not_yet(cancel);
        assert!(
            matches!(&refused, Planned::Refused { of: it, error } if *it == of && error.contains("older version")),
            "{refused:?}"
        );
        let start = Planned::Start {
            of,
            saga: baton_messages::SagaId(uuid::Uuid::nil()),
            key: None,
        };
        assert_eq!(not_yet(start.clone()), start);
    }
}
