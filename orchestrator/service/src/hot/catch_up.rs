//! Whether the inbox was read up to now. After a start, a lost connection or a lost turn, reports may lie in it that say otherwise than the
//! clock does; so the driver takes no verdict from time until a marker, sent through the inbox once it is consumed again, has come back and
//! all before it is committed.

use std::time::{Duration, Instant};

use baton_bus::Publisher;
use baton_messages::InboxKey;
use baton_messages::inbox::Marker;
use tokio::task::JoinSet;

use super::leases::send_marker;

/// How long a marker may take before another is sent: it may be lost, and one more costs nothing.
const AGAIN: Duration = Duration::from_secs(10);
/// Pause after one that was not confirmed.
const AGAIN_UNCONFIRMED: Duration = Duration::from_secs(1);

/// Catches up with the inbox.
pub(crate) struct CatchUp {
    publisher: Publisher,
    inbox: InboxKey,
    behind: Behind,
    /// At most one.
    sending: JoinSet<bool>,
}

impl CatchUp {
    /// Behind, as at every start.
    pub(crate) fn new(publisher: Publisher, inbox: InboxKey, instance: &str) -> Self {
        // Of this run of the process alone: a marker that an earlier one left in the inbox says nothing.
        let from = format!("{instance}/inbox/{}", uuid::Uuid::now_v7());
        Self {
            publisher,
            inbox,
            behind: Behind::new(from, Instant::now()),
            sending: JoinSet::new(),
        }
    }

    /// What the inbox holds is unknown again: only markers sent from now on count.
    pub(crate) fn hold(&mut self) {
        self.behind.hold(Instant::now());
    }

    /// The consuming link, by its epoch; true when one was lost since the last call.
    pub(crate) fn lost(&mut self, epoch: Option<u64>) -> bool {
        self.behind.lost(epoch)
    }

    /// Sends a marker where one is due; `ready` when the inbox is consumed and messages can be published.
    pub(crate) fn tick(&mut self, ready: bool) {
        let now = Instant::now();
        while let Some(sent) = self.sending.try_join_next() {
            if !matches!(sent, Ok(true)) {
                self.behind.unconfirmed(now);
            }
        }
        if !ready || !self.sending.is_empty() {
            return;
        }
        if let Some(marker) = self.behind.due(now) {
            let (publisher, inbox) = (self.publisher.clone(), self.inbox.clone());
            self.sending.spawn(send_marker(publisher, inbox, marker));
        }
    }

    /// Whether what the inbox holds is unknown.
    pub(crate) const fn is_behind(&self) -> bool {
        self.behind.behind
    }

    /// A marker came through the inbox and all before it is committed; true when that ends being behind.
    pub(crate) fn back(&mut self, marker: &Marker) -> bool {
        self.behind.back(marker)
    }
}

/// The part without a wire.
#[derive(Debug)]
struct Behind {
    from: String,
    behind: bool,
    epoch: Option<u64>,
    /// The number of the last marker sent.
    last: u64,
    /// The first number that counts.
    first: u64,
    /// When the next marker is due.
    due: Instant,
}

impl Behind {
    const fn new(from: String, now: Instant) -> Self {
        Self {
            from,
            behind: true,
            epoch: None,
            last: 0,
            first: 1,
            due: now,
        }
    }

    const fn hold(&mut self, now: Instant) {
        self.behind = true;
        self.first = self.last + 1;
        self.due = now;
    }

    fn lost(&mut self, epoch: Option<u64>) -> bool {
        let before = std::mem::replace(&mut self.epoch, epoch);
        before.is_some() && before != epoch
    }

    fn due(&mut self, now: Instant) -> Option<Marker> {
        if !self.behind || now < self.due {
            return None;
        }
        self.last += 1;
        self.due = now + AGAIN;
        Some(Marker {
            from: self.from.clone(),
            number: self.last,
        })
    }

    fn unconfirmed(&mut self, now: Instant) {
        self.due = self.due.min(now + AGAIN_UNCONFIRMED);
    }

    fn back(&mut self, marker: &Marker) -> bool {
        let counts = self.behind && marker.from == self.from && marker.number >= self.first;
        self.behind &= !counts;
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(now: Instant) -> Behind {
        Behind::new("me/inbox/1".to_owned(), now)
    }

    #[test]
    fn a_marker_ends_it_and_another_is_sent_when_one_is_late() {
        let now = Instant::now();
        let mut behind = behind(now);
        let first = behind.due(now).unwrap();
        assert_eq!(behind.due(now), None, "one is on its way");
        let second = behind.due(now + AGAIN).unwrap();
        assert_ne!(first, second);
        assert!(behind.back(&first));
        assert!(!behind.back(&second), "it is over already");
        assert_eq!(behind.due(now + AGAIN * 2), None);
    }

    #[test]
    fn a_marker_of_before_or_of_another_says_nothing() {
        let now = Instant::now();
        let mut behind = behind(now);
        let before = behind.due(now).unwrap();
        behind.hold(now);
        assert!(!behind.back(&before));
        let after = behind.due(now).unwrap();
        let other = Marker {
            from: "you/inbox/1".to_owned(),
            number: after.number,
        };
        assert!(!behind.back(&other));
        assert!(behind.back(&after));
    }

    #[test]
    fn an_unconfirmed_one_is_sent_again_sooner() {
        let now = Instant::now();
        let mut behind = behind(now);
        assert!(behind.due(now).is_some());
        behind.unconfirmed(now);
        assert!(behind.due(now + AGAIN_UNCONFIRMED).is_some());
    }

    #[test]
    fn a_link_that_was_never_there_is_not_lost() {
        let mut behind = behind(Instant::now());
        assert!(!behind.lost(None));
        assert!(!behind.lost(Some(1)));
        assert!(!behind.lost(Some(1)));
        assert!(behind.lost(Some(2)), "away and back between two looks");
        assert!(behind.lost(None));
        assert!(!behind.lost(Some(3)));
    }
}
