//! The clocks of leases: they run while our own canary is heard, and a verdict from silence waits for a marker that has gone through
//! our own inbox (see [`baton_driver::LeaseTable`]).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use baton_bus::{Publisher, Sent};
use baton_driver::LeaseTable;
use baton_messages::inbox::Marker;
use baton_messages::{AttemptRef, InboxKey, InboxMessage, MessageId, RunId};
use tokio::task::JoinSet;

use super::letter::for_inbox;
use crate::clock;

/// How long after the last canary we still count as hearing: three of them.
const DEAF_AFTER: Duration = Duration::from_secs(3);
/// The most time one look at the leases counts; it is looked once a second.
const TICK_COUNTED: Duration = Duration::from_secs(2);
/// How long a marker may take through the inbox before it counts as lost. Longer than a full inbox takes to be worked off.
const MARKER_WAIT: Duration = Duration::from_secs(120);

/// Watches silence.
pub(crate) struct Watch {
    publisher: Publisher,
    inbox: InboxKey,
    instance: String,
    /// Grows when the table is made anew, so that a marker of an old table says nothing about a new one.
    generation: u64,
    heard: Option<Instant>,
    ticked: Instant,
    out: BTreeMap<u64, Instant>,
    sending: JoinSet<(u64, u64, bool)>,
}

impl Watch {
    pub(crate) fn new(publisher: Publisher, inbox: InboxKey, instance: String) -> Self {
        Self {
            publisher,
            inbox,
            // Of this run of the process alone: a marker that an earlier one left in the inbox says nothing.
            instance: format!("{instance}/{}", uuid::Uuid::now_v7()),
            generation: 1,
            heard: None,
            ticked: Instant::now(),
            out: BTreeMap::new(),
            sending: JoinSet::new(),
        }
    }

    /// Our canary came back.
    pub(crate) fn canary(&mut self) {
        self.heard = Some(Instant::now());
    }

    /// Whether our own canary was heard lately.
    pub(crate) fn is_hearing(&self) -> bool {
        let heard = self.heard.as_ref();
        heard.is_some_and(|heard| heard.elapsed() < DEAF_AFTER)
    }

    /// The table was made anew.
    pub(crate) fn anew(&mut self) {
        self.generation += 1;
        self.out.clear();
    }

    /// Lets time pass; sends a marker where somebody is too silent. `counts`: whether silence says anything; not while reports may lie in another inbox.
    pub(crate) fn tick(&mut self, table: &mut LeaseTable, counts: bool) {
        let now = Instant::now();
        // Time in which this loop itself stood still (a slow disk) is nobody's silence: heartbeats that came meanwhile are read before it is counted.
        let elapsed = now
            .duration_since(std::mem::replace(&mut self.ticked, now))
            .min(TICK_COUNTED);
        let hearing = counts && self.is_hearing();
        while let Some(sent) = self.sending.try_join_next() {
            let Ok((generation, marker, confirmed)) = sent else {
                continue;
            };
            if !confirmed && generation == self.generation && self.out.remove(&marker).is_some() {
                table.marker_lost(marker);
            }
        }
        let late: Vec<u64> = self
            .out
            .iter()
            .filter(|(_, since)| now.duration_since(**since) > MARKER_WAIT)
            .map(|(marker, _)| *marker)
            .collect();
        for marker in late {
            self.out.remove(&marker);
            table.marker_lost(marker);
        }
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        if let Some(suspicion) = table.tick(elapsed_ms, hearing) {
            tracing::info!(
                marker = suspicion.marker,
                "claimed tasks are silent past their lease; a marker goes through the inbox before they are given up"
            );
            self.send(suspicion.marker, now);
        }
    }

    fn send(&mut self, marker: u64, now: Instant) {
        self.out.insert(marker, now);
        let message = Marker {
            from: self.from(),
            number: marker,
        };
        let sending = send_marker(self.publisher.clone(), self.inbox.clone(), message);
        let generation = self.generation;
        self.sending
            .spawn(async move { (generation, marker, sending.await) });
    }

    /// A marker came through the inbox; the leases that are over, when it is one of ours.
    pub(crate) fn marker_back(
        &mut self,
        marker: &Marker,
        table: &mut LeaseTable,
    ) -> Vec<(AttemptRef, RunId)> {
        if marker.from != self.from() {
            return Vec::new();
        }
        self.out.remove(&marker.number);
        table.marker_back(marker.number)
    }

    fn from(&self) -> String {
        format!("{}/{}", self.instance, self.generation)
    }
}

/// Sends a marker through the partition's own inbox; true when the broker has it.
pub(super) async fn send_marker(publisher: Publisher, inbox: InboxKey, marker: Marker) -> bool {
    let message = InboxMessage::Marker(marker);
    let id = MessageId(uuid::Uuid::now_v7());
    let Some(out) = for_inbox(&inbox, id, &message, clock::now()) else {
        return false;
    };
    let sent = publisher.publish(vec![out]).await;
    matches!(sent.first(), Some(Sent::Confirmed))
}
