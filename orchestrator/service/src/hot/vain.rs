//! What the loop has waited for too long while the broker is there. Each of these waits ends by itself as a rule (a marker is sent again, a
//! consumer is built anew, a confirm is given up); where one does not, somebody has to see it: it is said once, and stands in `/readyz` and in a
//! metric for as long as it lasts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use baton_bus::{Consumer, Link};
use baton_driver::{Sent, Store, Ticket};

use super::HotLoop;

/// How long a wait may last before it is said: several tries of whatever should end it.
const VAIN_AFTER: Duration = Duration::from_secs(30);

/// Something the loop waits for, in words for whoever reads `/readyz`.
pub(super) type What = &'static str;

/// The inbox is consumed and nothing comes of it.
pub(super) const INBOX_UNREAD: What = "the inbox does not come up to now, so that no timer fires: what is sent through it does not come back; is it very full, or does another orchestrator consume it?";
/// The inbox cannot be consumed at all.
pub(super) const INBOX_CLOSED: What =
    "the inbox cannot be consumed; the log says why the broker refuses";
/// Our own words on the fleet's exchange do not reach us.
pub(super) const DEAF: What =
    "our own canary is not heard on baton.fleet, so that no lease runs out";
/// Nothing that was published is confirmed.
pub(super) const FULL: What = "the broker confirms nothing, so that no input is taken";
/// The broker is there and answers nothing to what is published: with most of its nodes gone it goes on taking connections, and confirms nothing.
pub(super) const UNCONFIRMED: What = "what is published is neither confirmed nor refused, so that no task leaves: has the broker lost most of its nodes?";

/// Events or words between sagas are refused, each time they are tried.
pub(super) const OWED: What = "events, or words between sagas, are not taken by the broker and are kept to be published again: is a queue that is bound to baton.events full and set to reject-publish, or has one no majority of its nodes?";

/// Waits, by what for.
#[derive(Debug, Default)]
pub(super) struct Vain {
    since: BTreeMap<What, (Instant, bool)>,
    /// When it was last looked.
    looked: Option<Instant>,
    /// Nothing of what came back last was answered.
    unanswered: bool,
}

impl Vain {
    /// What became of a batch: one answer, whichever, shows that the broker takes what is published. Whether there was one.
    pub(super) fn came_back(&mut self, sent: &[(Ticket, Sent)]) -> bool {
        let answered = |(_, sent): &(Ticket, Sent)| match sent {
            Sent::Confirmed | Sent::Returned | Sent::Nacked => true,
            Sent::NotSent | Sent::Unknown => false,
        };
        let any = sent.iter().any(answered);
        if !sent.is_empty() {
            self.unanswered = !any;
        }
        any
    }

    /// Which waits last too long; each is said once. While the broker is away, which is said elsewhere, no wait grows longer, and none is over: a connection
    /// that is made again and again must not hide what never ends.
    pub(super) fn look(&mut self, waits: &[(What, bool)], up: bool, now: Instant) -> Vec<What> {
        let before = self.looked.replace(now).unwrap_or(now);
        if !up {
            for (since, _) in self.since.values_mut() {
                *since += now.duration_since(before);
            }
        }
        for (what, waiting) in waits.iter().filter(|_| up) {
            if *waiting {
                let (since, said) = self.since.entry(what).or_insert((now, false));
                if !*said && now.duration_since(*since) > VAIN_AFTER {
                    *said = true;
                    tracing::warn!("{what}");
                }
            } else if let Some((_, true)) = self.since.remove(what) {
                tracing::info!("over: {what}");
            }
        }
        let said = self.since.iter().filter(|(_, (_, said))| *said);
        said.map(|(what, _)| *what).collect()
    }
}

impl<S: Store> HotLoop<S> {
    /// What there is to wait for, now.
    pub(super) fn look_for_vain_waits(&mut self) {
        let up = {
            let state = self.bus.borrow();
            [&state.publishing, &state.consuming]
                .iter()
                .all(|link| matches!(link, Link::Up { .. }))
        };
        let consumed = self.inbox.as_ref().is_some_and(Consumer::is_open);
        let figures = self.driver.figures();
        // what nobody wants any more is not sent again, and leaves nothing to wait for
        let to_send = figures.unsent > 0 || figures.owed > 0 || figures.in_flight > 0;
        let unconfirmed = (to_send && self.vain.unanswered) || self.probe.is_unanswered();
        let waits = [
            (INBOX_CLOSED, !consumed),
            (INBOX_UNREAD, consumed && self.catch_up.is_behind()),
            (DEAF, !self.watch.is_hearing()),
            (FULL, !self.driver.has_room()),
            (UNCONFIRMED, unconfirmed),
            (OWED, figures.owed_refused > 0),
        ];
        let vain = self.vain.look(&waits, up, Instant::now());
        self.health.set_vain(vain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_when_it_lasts_and_until_it_is_over() {
        let mut vain = Vain::default();
        let begun = Instant::now();
        let mut look =
            |after: u64, deaf| vain.look(&[(DEAF, deaf)], true, begun + Duration::from_secs(after));
        assert!(look(0, true).is_empty());
        assert!(look(30, true).is_empty());
        assert_eq!(look(31, true), [DEAF]);
        assert_eq!(look(99, true), [DEAF]);
        assert!(look(100, false).is_empty());
        assert!(look(101, true).is_empty(), "it begins anew");
    }

    #[test]
    fn a_connection_that_comes_and_goes_hides_no_wait() {
        let mut vain = Vain::default();
        let begun = Instant::now();
        let mut look =
            |after: u64, up| vain.look(&[(DEAF, true)], up, begun + Duration::from_secs(after));
        assert!(look(0, true).is_empty());
        assert!(look(20, true).is_empty());
        assert!(look(21, false).is_empty());
        assert!(look(99, false).is_empty());
        // what was away does not count: it has waited for 20 seconds, and those since
        assert!(look(100, true).is_empty());
        assert!(look(108, true).is_empty());
        assert_eq!(look(110, true), [DEAF]);
        assert_eq!(
            look(111, false),
            [DEAF],
            "it is not over since nobody can look"
        );
    }

    #[test]
    fn one_answer_of_any_kind_shows_that_the_broker_takes_what_is_published() {
        let mut vain = Vain::default();
        let batch = |of: &[Sent]| -> Vec<(Ticket, Sent)> {
            let tickets = (1..).map(|log_seq| Ticket { log_seq, index: 0 });
            tickets.zip(of.iter().copied()).collect()
        };
        let cases: [(&[Sent], bool); 6] = [
            (&[], false),
            (&[Sent::Unknown, Sent::NotSent], true),
            (&[], true),
            (&[Sent::Unknown, Sent::Nacked], false),
            (&[Sent::Unknown], true),
            (&[Sent::Confirmed], false),
        ];
        for (of, unanswered) in cases {
            vain.came_back(&batch(of));
            assert_eq!(vain.unanswered, unanswered, "{of:?}");
        }
    }
}
