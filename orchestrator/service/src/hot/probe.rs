//! Whether the broker still takes what goes into the inbox, asked where nothing else tells it. A node that has lost most of the others goes on with its
//! connections; whoever publishes nothing then and is delivered nothing would never notice. So a marker that nobody waits for goes into the partition's own
//! inbox, a quorum queue: only a leader with a majority confirms it.

use std::time::{Duration, Instant};

use baton_bus::Publisher;
use baton_messages::InboxKey;
use baton_messages::inbox::Marker;
use tokio::task::JoinSet;

use super::leases::send_marker;

/// How long nothing may have been answered before it is asked: together with a confirm that is given up and the wait that is told only when it lasts, whoever
/// asks hears of it within two minutes; and one small message in that time is all it costs.
const QUIET_MAX: Duration = Duration::from_secs(30);
/// Pause after one that was not confirmed: so soon it is over when it is.
const AGAIN: Duration = Duration::from_secs(5);

/// Asks the broker from time to time.
pub(super) struct Probe {
    publisher: Publisher,
    inbox: InboxKey,
    quiet: Quiet,
    /// At most one.
    sending: JoinSet<bool>,
}

impl Probe {
    pub(super) fn new(publisher: Publisher, inbox: InboxKey, instance: &str) -> Self {
        // nobody takes it for a marker he waits for
        let from = format!("{instance}/probe/{}", uuid::Uuid::now_v7());
        Self {
            publisher,
            inbox,
            quiet: Quiet::new(from, Instant::now()),
            sending: JoinSet::new(),
        }
    }

    /// The broker has answered something that was published.
    pub(super) fn answered(&mut self) {
        self.quiet.answered(Instant::now());
    }

    /// Asks where it is due; `free` when messages can be published and nothing that was delivered is in hand.
    pub(super) fn tick(&mut self, free: bool) {
        while let Some(sent) = self.sending.try_join_next() {
            let now = Instant::now();
            match sent {
                Ok(true) => self.quiet.answered(now),
                Ok(false) | Err(_) => self.quiet.unanswered(now),
            }
        }
        if !free || !self.sending.is_empty() {
            return;
        }
        if let Some(marker) = self.quiet.due(Instant::now()) {
            let (publisher, inbox) = (self.publisher.clone(), self.inbox.clone());
            self.sending.spawn(send_marker(publisher, inbox, marker));
        }
    }

    /// Whether the last that was asked was not confirmed, and nothing was since.
    pub(super) const fn is_unanswered(&self) -> bool {
        self.quiet.unanswered
    }
}

/// The part without a wire.
#[derive(Debug)]
struct Quiet {
    from: String,
    number: u64,
    due: Instant,
    unanswered: bool,
}

impl Quiet {
    fn new(from: String, now: Instant) -> Self {
        Self {
            from,
            number: 0,
            due: now + QUIET_MAX,
            unanswered: false,
        }
    }

    fn answered(&mut self, now: Instant) {
        self.unanswered = false;
        self.due = now + QUIET_MAX;
    }

    fn unanswered(&mut self, now: Instant) {
        self.unanswered = true;
        self.due = now + AGAIN;
    }

    fn due(&mut self, now: Instant) -> Option<Marker> {
        if now < self.due {
            return None;
        }
        self.number += 1;
        Some(Marker {
            from: self.from.clone(),
            number: self.number,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_asked_only_where_nothing_was_answered_for_long() {
        let begun = Instant::now();
        let mut quiet = Quiet::new("me/probe/1".to_owned(), begun);
        let later = |seconds: u64| begun + Duration::from_secs(seconds);
        assert_eq!(quiet.due(later(29)), None);
        quiet.answered(later(29));
        assert_eq!(quiet.due(later(58)), None, "whoever is busy never asks");
        assert!(quiet.due(later(59)).is_some());
        quiet.unanswered(later(89));
        assert!(quiet.unanswered);
        assert_eq!(quiet.due(later(93)), None);
        assert!(quiet.due(later(94)).is_some(), "so soon it is over");
        quiet.answered(later(95));
        assert!(!quiet.unanswered);
        assert_eq!(quiet.due(later(124)), None);
    }
}
