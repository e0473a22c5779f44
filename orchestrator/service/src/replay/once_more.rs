//! A letter that was under way when a process died is done once more, alone: it may be what killed it (`hot/trial.rs`). A message of others is only published, whatever it
//! says, so that nobody dies of that. What another member decides is tried alone as well.
//!
//! Guarantee: nobody dies over one letter for ever. After a few deaths, or after nobody has committed anything about it a few times and for longer than another takes over
//! from one that died, it is written down as failed and stays dead, for a person to look at.

use std::time::Duration;

use baton_driver::StoreError;
use baton_store::letters::{Ending, Settling, Written};
use baton_store::{LetterRow, OperationRow};
use tokio::time::Instant;

use super::held::{HELD_MAX, Piece};
use super::route::{self, Kind};
use super::{Came, DECIDE_WAIT, Did, NotYet, Orders, Replay, action_id};
use crate::clock;
use crate::cluster::NotTaken;
use crate::hot::trial::{Begun, DEATHS_MAX};

/// Tries of one letter, each alone, in which nothing was committed in time: whoever drives its saga elsewhere may have died over each.
const LATE_MAX: u32 = DEATHS_MAX;
/// For so many leases at least, in which nothing was committed: one that died for another reason owns its partitions for one, and who takes them over has read them long
/// before the second is over.
const LEASES_LATE: u32 = 2;

/// How a letter is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Try {
    /// For the first time.
    First,
    /// It may have been done before, and the answer was lost.
    Again,
    /// The same; and a process died meanwhile, or nothing was committed in time: nothing else is done meanwhile.
    Alone,
}

impl Try {
    /// How it is tried after nobody could say what came of it.
    pub(super) const fn after(self, not: &NotYet) -> Self {
        match (self, not) {
            (Self::Alone, _) | (_, NotYet::NotTaken(NotTaken::Late)) => Self::Alone,
            _ => Self::Again,
        }
    }
}

impl Replay {
    /// Does again, and alone, what may have been done before; what came of it, and the try where that has to be written down before it is over.
    pub(super) async fn once_more(
        &self,
        row: &LetterRow,
        orders: &Orders,
    ) -> Result<(Did, Option<Begun>), NotYet> {
        match route::kind(&row.letter) {
            Kind::Foreign => return Ok((self.done(row, orders, true).await?, None)),
            // what was kept before goes first, each of it alone as well: who waits for that must not be who has that turn
            Kind::Event => self.router.caught_up(DECIDE_WAIT).await?,
            // also of what another member drives just now: after a start, or when that one dies, this process may come to drive it before it is decided
            Kind::Task | Kind::Inbox => {}
        }
        let begun = self.router.alone(action_id(row).0, 0).await;
        let begun = begun.ok_or(NotTaken::Stopping)?;
        if begun.deaths >= DEATHS_MAX {
            let came = deadly(begun.deaths);
            tracing::error!(letter = %row.letter.id, why = came.outcome, "a dead letter is replayed no more");
            return Ok((came.into(), Some(begun)));
        }
        let did = self.done(row, orders, true).await?;
        begun.over();
        Ok((did, None))
    }

    /// Writes down which letters it cannot wait for: they stay dead, and what goes elsewhere goes on.
    pub(super) async fn given_up(
        &self,
        piece: &Piece,
        of: &OperationRow,
        again: bool,
    ) -> Result<(), StoreError> {
        for (letter, why) in piece.beyond() {
            let came = one_too_many(why, again);
            let settled = Settling {
                letter: *letter,
                action: of.id,
                operation: Some(of.id),
                ending: came.ending,
                outcome: came.outcome,
                at: clock::now(),
                attempt: None,
            };
            self.scribe.write(Written::Settled(settled)).await?;
        }
        Ok(())
    }
}

/// What killed its orchestrator each time.
fn deadly(deaths: u32) -> Came {
    Came::failed(format!(
        "the orchestrator died {deaths} times over it while nothing else was tried; it may be what kills it: look at its log before this is replayed again"
    ))
}

/// One that may have been sent before a crash and that nothing takes now, of an operation that does not run: nobody waits for it any more.
pub(super) fn left_over(why: &str) -> Came {
    Came::failed(format!(
        "{why}. It may have been delivered before; look there before it is replayed again"
    ))
}

/// One for which an operation cannot wait, since it waits for as many other places as it may. `again`: it may have been sent before a crash.
fn one_too_many(why: &str, again: bool) -> Came {
    if again {
        return left_over(why);
    }
    Came::to(
        Ending::Refused,
        format!(
            "{why}. The replay waits for {HELD_MAX} other places already, so that this one stays dead: replay it again when something takes it there"
        ),
    )
}

/// How often nothing was committed in time about one letter, and since when.
#[derive(Debug)]
pub(super) struct Lates {
    times: u32,
    first: Option<Instant>,
    /// So long at least.
    least: Duration,
}

impl Lates {
    /// `lease`: for so long nobody drives the partitions of a member that died.
    pub(super) const fn new(lease: Duration) -> Self {
        Self {
            times: 0,
            first: None,
            least: lease.saturating_mul(LEASES_LATE),
        }
    }

    /// Counts a try that ended now; whether it is one of those that count, and what has come of the letter where they are too many.
    pub(super) fn saw(&mut self, row: &LetterRow, not: &NotYet, how: Try, now: Instant) -> Late {
        // of an event the leader decides, and who leads is who counts: his own deaths are noted
        let counts = how == Try::Alone && route::kind(&row.letter) != Kind::Event;
        if !counts || !matches!(not, NotYet::NotTaken(NotTaken::Late)) {
            return Late::No;
        }
        self.times = self.times.saturating_add(1);
        let since = now.saturating_duration_since(*self.first.get_or_insert(now));
        if self.times < LATE_MAX || since < self.least {
            return Late::Again;
        }
        Late::TooOften(Came::failed(format!(
            "nothing was committed about it in time, {} times while no other letter was tried like that: whoever drives its saga may die over it, or have taken it; look at both before it is replayed again",
            self.times
        )))
    }
}

/// Whether nothing was committed in time.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// It was something else.
    No,
    /// It was, and is tried again.
    Again,
    /// It was, once too often.
    TooOften(Came),
}

#[cfg(test)]
mod tests {
    use super::super::route::tests::letter;
    use super::*;

    fn row(kind: &str) -> LetterRow {
        LetterRow {
            letter: letter(Some(kind), b"{}"),
            now: baton_store::Standing::default(),
            body_bytes: 2,
            about: baton_store::facets::Facets::default(),
        }
    }

    #[test]
    fn what_is_late_again_and_again_is_given_up_and_nothing_else_is() {
        let (report, event) = (row("finished@1"), row("cloudevent@1"));
        let late = NotYet::NotTaken(NotTaken::Late);
        let busy = NotYet::NotTaken(NotTaken::Busy);
        let now = Instant::now();
        let mut lates = Lates::new(Duration::ZERO);
        for _ in 0..LATE_MAX * 2 {
            for how in [Try::First, Try::Again] {
                assert_eq!(lates.saw(&report, &late, how, now), Late::No, "{how:?}");
            }
            assert_eq!(lates.saw(&report, &busy, Try::Alone, now), Late::No);
            assert_eq!(lates.saw(&event, &late, Try::Alone, now), Late::No);
        }
        for _ in 1..LATE_MAX {
            assert_eq!(lates.saw(&report, &late, Try::Alone, now), Late::Again);
        }
        let Late::TooOften(came) = lates.saw(&report, &late, Try::Alone, now) else {
            panic!("it is tried for ever")
        };
        assert_eq!(came.ending, Ending::Failed);
    }

    #[test]
    fn what_is_late_is_not_given_up_before_another_member_can_have_taken_it_over() {
        let (report, late) = (row("finished@1"), NotYet::NotTaken(NotTaken::Late));
        let lease = Duration::from_secs(300);
        let mut lates = Lates::new(lease);
        let (first, step) = (Instant::now(), Duration::from_secs(15));
        let mut now = first;
        while now < first + lease * LEASES_LATE {
            assert_eq!(lates.saw(&report, &late, Try::Alone, now), Late::Again);
            now += step;
        }
        let last = lates.saw(&report, &late, Try::Alone, now);
        assert!(matches!(last, Late::TooOften(_)), "{last:?}");
    }

    #[test]
    fn what_nobody_took_is_tried_alone_after_nothing_was_committed_in_time() {
        let late = NotYet::NotTaken(NotTaken::Late);
        let busy = NotYet::NotTaken(NotTaken::Busy);
        assert_eq!(Try::First.after(&busy), Try::Again);
        assert_eq!(Try::Again.after(&busy), Try::Again);
        assert_eq!(Try::First.after(&late), Try::Alone);
        assert_eq!(Try::Alone.after(&busy), Try::Alone);
    }

    #[test]
    fn what_cannot_be_waited_for_was_not_sent_unless_it_may_have_been_before() {
        assert_eq!(one_too_many("no", false).ending, Ending::Refused);
        let again = one_too_many("no", true);
        assert_eq!(again, left_over("no"));
        assert!(again.outcome.contains("may have been delivered"));
    }
}
