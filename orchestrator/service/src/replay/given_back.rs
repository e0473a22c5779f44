//! Reports that were put aside since the member that drove their saga could not read it (its records are of a newer version) go back to it by themselves, as soon as
//! whoever drives it can: nobody has to see to them during an upgrade.
//!
//! Guarantee: a letter is only moved after its saga has answered as one that is read; asking changes nothing. What somebody has edited, what came back as often as
//! anything is replayed without a reason, and what cannot be read itself is left to a person. It is a replay as any other: of what dies in between it is done again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use baton_driver::{DeadLetterRow, StoreError};
use baton_engine::{Input, Refusal, Verdict};
use baton_messages::{AttemptRef, DeadReason, Direction, RunId, SagaId, StepId};
use baton_store::letters::{Move, Mover};
use baton_store::{
    DeadLetterCursor, DeadLetterFilter, LetterRow, LetterState, Letters as _, Reader as _,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::route::{self, Kind, Route};
use super::{DECIDE_WAIT, Orders, Replay};
use crate::chain::chain;
use crate::clock;

/// How soon it is looked again after something went back, and at the latest: a worker that is lost is given up after some ten seconds, and its report should be there before.
const LOOK_MIN: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_secs(8);
/// Groups of letters read at a time.
const GROUPS_AT_ONCE: usize = 500;
/// Letters read at a time: each may be large.
const LETTERS_AT_ONCE: usize = 32;
/// Sagas of one group that still cannot be read and are asked in one look: each is a turn of its loop. The next look goes on behind them.
const ASKED_MAX: usize = 64;
/// Groups of other letters that are remembered as such; beyond that all are looked at anew.
const OTHERS_MAX: usize = 10_000;
/// How it calls itself where people are named.
const ITSELF: &str = "itself";
/// Why it does so.
const WHY: &str = "its saga is driven by a version that can read it";

/// What is known of the groups of dead letters.
#[derive(Default)]
struct Groups {
    /// Those of letters that were put aside unread, each with how far it has been looked through.
    ours: BTreeMap<String, Option<DeadLetterCursor>>,
    /// Those that are something else.
    others: BTreeSet<String>,
}

impl Replay {
    /// Gives back what was put aside unread, until `stop`.
    pub(crate) async fn give_back(self, stop: CancellationToken) {
        let mut groups = Groups::default();
        let mut pause = LOOK_MIN;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = match self.look_for_unread(&mut groups, &stop).await {
                Ok(0) => (pause * 2).min(LOOK_MAX),
                Ok(letters) => {
                    tracing::info!(
                        letters,
                        "reports that an older version had put aside went back to their sagas"
                    );
                    LOOK_MIN
                }
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "reports that an older version has put aside cannot be looked for; it is tried again");
                    (pause * 2).min(LOOK_MAX)
                }
            };
        }
    }

    /// Looks through all groups once; how many letters went back.
    async fn look_for_unread(
        &self,
        groups: &mut Groups,
        stop: &CancellationToken,
    ) -> Result<usize, StoreError> {
        if groups.others.len() > OTHERS_MAX {
            groups.others.clear();
        }
        let (mut after, mut given) = (None, 0);
        loop {
            let page = self
                .reader
                .dead_letter_groups(after, GROUPS_AT_ONCE)
                .await?;
            let is_last = page.len() < GROUPS_AT_ONCE;
            after = page.last().map(|last| last.group.clone());
            for one in page {
                if stop.is_cancelled() {
                    return Ok(given);
                }
                if self.is_of_unread(&one.group, groups).await? {
                    let from = groups.ours.get(&one.group).copied().flatten();
                    let (some, next) = self.through_group(&one.group, from, stop).await?;
                    given += some;
                    groups.ours.insert(one.group, next);
                }
            }
            if is_last {
                return Ok(given);
            }
        }
    }

    /// Whether letters of this group were put aside unread: all of a group died of the same.
    async fn is_of_unread(&self, group: &str, groups: &mut Groups) -> Result<bool, StoreError> {
        if groups.ours.contains_key(group) || groups.others.contains(group) {
            return Ok(groups.ours.contains_key(group));
        }
        let page = self.reader.dead_letter_heads(of_group(group), None, 1);
        let Some(first) = page.await?.rows.pop() else {
            return Ok(false);
        };
        let is_ours = was_unread(&first.letter);
        if is_ours {
            groups.ours.insert(group.to_owned(), None);
        } else {
            groups.others.insert(group.to_owned());
        }
        Ok(is_ours)
    }

    /// Looks through the letters of a group; how many went back, and where to go on: none from the beginning.
    async fn through_group(
        &self,
        group: &str,
        mut after: Option<DeadLetterCursor>,
        stop: &CancellationToken,
    ) -> Result<(usize, Option<DeadLetterCursor>), StoreError> {
        let (mut given, mut unread) = (0, BTreeSet::new());
        loop {
            let page = self
                .reader
                .dead_letter_heads(of_group(group), after, LETTERS_AT_ONCE)
                .await?;
            for row in &page.rows {
                given += usize::from(self.given_back(row, &mut unread).await?);
            }
            after = page.next;
            if after.is_none() || unread.len() >= ASKED_MAX || stop.is_cancelled() {
                return Ok((given, after));
            }
        }
    }

    /// Gives one back where every saga it speaks of can be read; true when it set out. `unread`: those that cannot, as far as they were asked.
    async fn given_back(
        &self,
        row: &LetterRow,
        unread: &mut BTreeSet<SagaId>,
    ) -> Result<bool, StoreError> {
        // a person has it in hand
        if row.now.edition > 0 || !was_unread(&row.letter) {
            return Ok(false);
        }
        let Some(letter) = self.current(row).await? else {
            return Ok(false);
        };
        let replays = route::replays(&letter, row.now.replays);
        if route::held_back(&letter, replays).is_some() {
            return Ok(false);
        }
        let Ok(Route::Inputs(inputs, None)) = route::route(&letter, None) else {
            return Ok(false);
        };
        let sagas: BTreeSet<SagaId> = inputs.iter().map(|(saga, _)| *saga).collect();
        for saga in sagas {
            if unread.contains(&saga) {
                return Ok(false);
            }
            if !self.is_read(saga).await {
                unread.insert(saga);
                return Ok(false);
            }
        }
        self.set_out_alone(row).await
    }

    /// Whether whoever drives a saga now can read it.
    async fn is_read(&self, saga: SagaId) -> bool {
        let Some(input) = of_nobody(saga) else {
            return false;
        };
        match self.router.decided(saga, input, DECIDE_WAIT).await {
            Ok(Verdict::Refused(Refusal::Unreadable)) | Err(_) => false,
            Ok(_) => true,
        }
    }

    /// Sends one back to work, as a person would.
    async fn set_out_alone(&self, row: &LetterRow) -> Result<bool, StoreError> {
        let letter = row.letter.id;
        let asked = Move {
            letter,
            from: LetterState::Dead,
            to: LetterState::Replaying,
            mover: Mover {
                action: Uuid::now_v7(),
                by: ITSELF.to_owned(),
                why: WHY.to_owned(),
                at: clock::now(),
            },
        };
        if !self.letters.move_letter(asked).await? {
            return Ok(false);
        }
        let now = self
            .reader
            .dead_letter_heads_between(letter, letter)
            .await?;
        let Some(now) = now.into_iter().next() else {
            return Ok(false);
        };
        let set_out = LetterRow {
            letter: row.letter.clone(),
            body_bytes: row.body_bytes,
            ..now
        };
        let orders = Orders {
            by: ITSELF.to_owned(),
            reason: WHY.to_owned(),
            force: false,
            target: None,
            redirect: Vec::new(),
        };
        if let Err(not) = self.carry(&set_out, &orders).await {
            // it stays on its way, and whoever looks after single letters does it again
            tracing::warn!(%letter, why = %not, "a report that goes back to its saga was not taken yet; it is done again");
        }
        Ok(true)
    }
}

/// Letters of a group that are dead, the first to die first.
fn of_group(group: &str) -> DeadLetterFilter {
    DeadLetterFilter {
        state: Some(LetterState::Dead),
        group: Some(group.to_owned()),
        oldest_first: true,
        ..DeadLetterFilter::default()
    }
}

/// Whether it was put aside because its saga could not be read: whoever did so says it in the same words, of whichever version it is.
fn was_unread(letter: &DeadLetterRow) -> bool {
    letter.reason == DeadReason::Other
        && route::kind(letter) == Kind::Inbox
        && letter.error == Refusal::Unreadable.to_string()
}

/// The end of a lease nobody has: a saga that is read has nothing to say to it, and nothing is recorded.
fn of_nobody(saga: SagaId) -> Option<Input> {
    let of = AttemptRef {
        saga,
        step: StepId::new("none").ok()?,
        item: None,
        direction: Direction::Do,
        round: 1,
        attempt: 1,
        dispatch: 1,
    };
    let run = RunId(Uuid::now_v7());
    Some(Input::LeaseOver { of, run })
}

#[cfg(test)]
mod tests {
    use super::super::route::tests::letter;
    use super::*;
    use crate::decode;

    /// Letters of every version before are known by these words.
    #[test]
    fn the_words_of_what_was_put_aside_unread_stay_as_they_are() {
        assert_eq!(
            Refusal::Unreadable.to_string(),
            "its records cannot be read; look at the orchestrator's log, and at the version that wrote them"
        );
    }

    /// What the loop puts aside is what is looked for here.
    #[test]
    fn a_report_whose_saga_could_not_be_read_is_told_from_every_other_letter() {
        let why = decode::refused(&Refusal::Unreadable).expect("it is put aside");
        let mut unread = letter(Some("finished@1"), b"{}");
        (unread.reason, unread.error) = (why.reason, why.error);
        assert!(was_unread(&unread));
        let mut foreign = unread.clone();
        foreign.kind = Some("order@1".to_owned());
        assert!(!was_unread(&foreign), "of others");
        for refusal in [
            Refusal::NoSaga,
            Refusal::Misfit {
                definition: "a".to_owned(),
                misfit: "b".to_owned(),
            },
        ] {
            let why = decode::refused(&refusal).expect("it is put aside");
            let mut other = unread.clone();
            (other.reason, other.error) = (why.reason, why.error);
            assert!(!was_unread(&other), "{refusal}");
        }
    }
}
