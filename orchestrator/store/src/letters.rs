//! Dead letters after their intake: where each stands, who moved it and why, and replays of many at once.
//!
//! Guarantee: every move is one conditional change (it happens only where the letter still stands where whoever moves it believes it to), so that of two who
//! press at once one moves it. What a replay of many has done is counted in the transaction that moves the letter: after a crash nothing is counted twice.

use std::future::Future;

use baton_driver::{DeadLetterRow, StoreError};
use baton_messages::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::read::{DeadLetterCursor, DeadLetterFilter};

/// Where a dead letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LetterState {
    /// Nobody has done anything about it, or what was done did not help.
    #[default]
    Dead,
    /// It is on its way back to work.
    Replaying,
    /// It did its work after all.
    Resolved,
    /// Somebody said that it is not wanted.
    Discarded,
}

impl LetterState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Dead, Self::Replaying, Self::Resolved, Self::Discarded];

    /// The word it is kept and shown as.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Replaying => "replaying",
            Self::Resolved => "resolved",
            Self::Discarded => "discarded",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// What has become of a letter since it was taken in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Where it stands.
    pub state: LetterState,
    /// Letters of one cause share it ([`crate::group::group_of`]).
    pub group: String,
    /// How often it was sent back to work.
    pub replays: u32,
    /// When it was moved last.
    pub changed_at: Option<Timestamp>,
    /// By whom.
    pub changed_by: Option<String>,
    /// Why.
    pub why: Option<String>,
    /// What somebody noted.
    pub note: Option<String>,
    /// The id of the action that moved it last.
    pub action: Option<Uuid>,
    /// The replay of many it belongs to.
    pub operation: Option<Uuid>,
    /// What came of it, in a sentence.
    pub outcome: Option<String>,
    /// Which copy of it is sent: 0 is the original.
    pub edition: u32,
}

/// A letter and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct LetterRow {
    /// It, as it was taken in.
    pub letter: DeadLetterRow,
    /// Where it stands.
    pub now: Standing,
    /// How long the body is, in bytes: a list has only its head.
    pub body_bytes: u64,
}

impl LetterRow {
    /// Whether the body is here as it came.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.letter.body.len() as u64 == self.body_bytes
    }
}

/// Copies one letter may have: bounds what is shown of it.
pub const EDITIONS_MAX: u32 = 100;

/// An edited copy of a letter: what is sent instead of it. The original stays as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct EditRow {
    /// Of which letter.
    pub letter: Uuid,
    /// Which copy, from 1.
    pub edition: u32,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// Why.
    pub why: String,
    /// The id of the action, minted by whoever asked first.
    pub action: Uuid,
    /// What differs from the copy before it, in lines for people.
    pub difference: String,
    /// Its properties and headers.
    pub properties: serde_json::Value,
    /// Its body; none: the original's.
    pub body: Option<Vec<u8>>,
}

/// Who moves a letter, when, why, and by which action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mover {
    /// The id of the action, minted by whoever asked first.
    pub action: Uuid,
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
    /// When.
    pub at: Timestamp,
}

/// A move of one letter by a person: to be replayed, discarded, or restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Which letter.
    pub letter: Uuid,
    /// Where it has to stand.
    pub from: LetterState,
    /// Where it stands afterwards.
    pub to: LetterState,
    /// By whom.
    pub mover: Mover,
}

/// What came of sending a letter back to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It did its work.
    Resolved,
    /// It failed again.
    Failed,
    /// It was not sent: nobody wants it, or not now.
    Refused,
}

impl Ending {
    /// Where a letter stands then.
    #[must_use]
    pub const fn state(self) -> LetterState {
        match self {
            Self::Resolved => LetterState::Resolved,
            Self::Failed | Self::Refused => LetterState::Dead,
        }
    }

    /// By how much the letter's count of replays is less than it was when the letter set out: what was never sent does not count.
    #[must_use]
    pub const fn uncounted(self) -> u32 {
        matches!(self, Self::Refused) as u32
    }
}

/// What became of letters that were imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// New here.
    pub added: u64,
    /// Here already, and left as they are.
    pub known: u64,
}

/// A letter that was sent back to work, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settling {
    /// Which letter.
    pub letter: Uuid,
    /// The action by which it set out: another one's is left alone.
    pub action: Uuid,
    /// The replay of many that counts it.
    pub operation: Option<Uuid>,
    /// How it ended.
    pub ending: Ending,
    /// In a sentence.
    pub outcome: String,
    /// When.
    pub at: Timestamp,
}

/// Where a replay of many stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
    /// It goes on.
    Running,
    /// Somebody stopped it for a while.
    Paused,
    /// It stopped by itself: too many failed again.
    Stopped,
    /// Somebody ended it.
    Cancelled,
    /// Every letter has had its turn.
    Done,
}

impl OperationState {
    /// The word it is kept and shown as.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Cancelled => "cancelled",
            Self::Done => "done",
        }
    }
}

/// Letters of the first two stages of a replay of many; the third has the rest.
pub const CANARY: [u64; 2] = [1, 10];

/// What one stage has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Set out.
    pub replayed: u64,
    /// Did their work.
    pub resolved: u64,
    /// Were not sent.
    pub refused: u64,
    /// Failed again.
    pub failed: u64,
}

impl Tally {
    /// Whether none is on its way.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.resolved + self.refused + self.failed >= self.replayed
    }

    fn add(&mut self, ending: Ending) {
        match ending {
            Ending::Resolved => self.resolved += 1,
            Ending::Failed => self.failed += 1,
            Ending::Refused => self.refused += 1,
        }
    }
}

/// A replay of many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationRow {
    /// Its id, minted by whoever asked for it.
    pub id: Uuid,
    /// Which letters: of those that were dead when it was made.
    pub filter: DeadLetterFilter,
    /// Who asked for it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Whether what is refused for its history alone is sent all the same.
    pub force: bool,
    /// Where foreign messages go instead of where they came from: exchange and routing key.
    pub target: Option<(String, String)>,
    /// Letters a second at most.
    pub rate: u32,
    /// It stops by itself when more than this share of a stage, in percent, failed again.
    pub stop_at: u8,
    /// Where it stands.
    pub state: OperationState,
    /// Why it stands there.
    pub why: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it was last changed by somebody, or by itself.
    pub changed_at: Timestamp,
    /// By whom.
    pub changed_by: String,
    /// Letters that fitted when it was made.
    pub found: u64,
    /// Which stage it is in, from 0.
    pub stage: u8,
    /// What this stage has come to.
    pub in_stage: Tally,
    /// What all of it has come to.
    pub total: Tally,
    /// The last letter that had its turn: newest first.
    pub cursor: Option<(Timestamp, Uuid)>,
}

impl OperationRow {
    /// How many more letters this stage may set out.
    #[must_use]
    pub fn room(&self) -> u64 {
        let most = CANARY.get(usize::from(self.stage));
        most.map_or(u64::MAX, |most| most.saturating_sub(self.in_stage.replayed))
    }

    /// Whether too many of this stage failed again: more than the share, of those that were sent. Of the last stage that is asked all the time, once
    /// there are as many as in the one before it.
    #[must_use]
    pub fn fails_too_often(&self) -> bool {
        let of = self.in_stage;
        let sent = of.failed + of.resolved;
        let last = usize::from(self.stage) >= CANARY.len();
        let enough = if last {
            sent >= CANARY[1]
        } else {
            of.is_settled()
        };
        enough && of.failed * 100 > sent * u64::from(self.stop_at)
    }

    /// Where its letters go on.
    #[must_use]
    pub fn after(&self) -> Option<DeadLetterCursor> {
        self.cursor.map(|(at, id)| DeadLetterCursor { at, id })
    }

    fn claimed(&mut self, n: u64, cursor: (Timestamp, Uuid)) {
        self.in_stage.replayed += n;
        self.total.replayed += n;
        self.cursor = Some(cursor);
    }

    fn settled(&mut self, ending: Ending) {
        self.in_stage.add(ending);
        self.total.add(ending);
    }

    /// Applies a step; false where it does not fit, and nothing is changed.
    pub(crate) fn step(&mut self, step: &OperationStep) -> bool {
        match step {
            OperationStep::Stage(from) if self.stage == *from => {
                self.stage += 1;
                self.in_stage = Tally::default();
                true
            }
            OperationStep::Stage(_) => false,
            OperationStep::Steer {
                from,
                to,
                why,
                by,
                at,
            } => {
                if !from.contains(&self.state) {
                    return false;
                }
                if self.state == OperationState::Stopped && *to == OperationState::Running {
                    // whoever lets it go on has seen what failed: it begins with a canary again
                    self.stage = 0;
                    self.in_stage = Tally::default();
                }
                self.state = *to;
                self.why.clone_from(why);
                self.changed_by.clone_from(by);
                self.changed_at = *at;
                true
            }
        }
    }
}

/// A change of a replay of many, beside its letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationStep {
    /// From this stage to the next.
    Stage(u8),
    /// To another state.
    Steer {
        /// Where it has to stand.
        from: Vec<OperationState>,
        /// Where it stands then.
        to: OperationState,
        /// Why.
        why: String,
        /// By whom.
        by: String,
        /// When.
        at: Timestamp,
    },
}

/// Letters that set out together for a replay of many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claiming {
    /// Which operation; it has to be running.
    pub operation: Uuid,
    /// The letters: those of them that are still dead set out.
    pub letters: Vec<Uuid>,
    /// How far they reach: the place of the last one.
    pub cursor: (Timestamp, Uuid),
    /// When.
    pub at: Timestamp,
}

impl Claiming {
    /// Applies it to the operation's row, once it is known how many set out; none where it does not run.
    pub(crate) fn apply(&self, row: &mut OperationRow, n: usize) {
        row.claimed(n as u64, self.cursor);
    }
}

impl Settling {
    pub(crate) fn apply(&self, row: &mut OperationRow) {
        row.settled(self.ending);
    }
}

/// What is changed of dead letters beside the driver. Clones share what they write with.
pub trait Letters: Clone + Send + Sync + 'static {
    /// Moves a letter; false when it does not stand where it has to.
    ///
    /// # Errors
    /// When the store does not answer: it may be moved all the same.
    fn move_letter(&self, asked: Move) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Notes something on a letter, in place of what was noted before; false when there is none.
    ///
    /// # Errors
    /// When the store does not answer.
    fn note(
        &self,
        letter: Uuid,
        note: String,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Keeps an edited copy of a letter, which is the one that is sent from then on; false when the letter is not dead, or its last copy is not the one before.
    ///
    /// # Errors
    /// When the store does not answer: it may be kept all the same, and is found by its action.
    fn edit(&self, edit: EditRow) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Keeps letters of another store, with where they stood and their edited copies, all or none; those that are here stay as they are. Their groups are made anew.
    ///
    /// # Errors
    /// When the store does not answer: they may be kept all the same, and the same again adds none.
    fn import(
        &self,
        letters: Vec<(LetterRow, Vec<EditRow>)>,
    ) -> impl Future<Output = Result<Imported, StoreError>> + Send;

    /// Says what came of a letter that set out; false when it is no more on its way by that action. Its operation counts it in the same transaction.
    ///
    /// # Errors
    /// When the store does not answer: it may be written all the same.
    fn settle(&self, settled: Settling) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Keeps a new operation; false when one with its id is there.
    ///
    /// # Errors
    /// When the store does not answer.
    fn begin(&self, row: OperationRow) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Has letters set out for an operation, and says how far it has come, in one transaction. Answers those that were still dead; none when the
    /// operation does not run.
    ///
    /// # Errors
    /// When the store does not answer: they may have set out all the same, and are found by [`Letters::on_their_way`].
    fn claim(
        &self,
        claiming: Claiming,
    ) -> impl Future<Output = Result<Option<Vec<Uuid>>, StoreError>> + Send;

    /// Changes an operation; none when there is none, false when it does not stand where it has to.
    ///
    /// # Errors
    /// When the store does not answer.
    fn step(
        &self,
        operation: Uuid,
        step: OperationStep,
    ) -> impl Future<Output = Result<Option<bool>, StoreError>> + Send;

    /// Letters that set out and have not ended, oldest first: of one operation, or of single replays that were moved before that moment.
    ///
    /// # Errors
    /// When the store does not answer.
    fn on_their_way(
        &self,
        operation: Option<Uuid>,
        before: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<LetterRow>, StoreError>> + Send;

    /// Operations that run, oldest first.
    ///
    /// # Errors
    /// When the store does not answer.
    fn running(&self) -> impl Future<Output = Result<Vec<OperationRow>, StoreError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> OperationRow {
        OperationRow {
            id: Uuid::nil(),
            filter: DeadLetterFilter::default(),
            by: String::new(),
            reason: String::new(),
            force: false,
            target: None,
            rate: 50,
            stop_at: 20,
            state: OperationState::Running,
            why: String::new(),
            made_at: Timestamp(1),
            changed_at: Timestamp(1),
            changed_by: String::new(),
            found: 0,
            stage: 0,
            in_stage: Tally::default(),
            total: Tally::default(),
            cursor: None,
        }
    }

    fn stage(stage: u8, resolved: u64, failed: u64, refused: u64) -> OperationRow {
        let in_stage = Tally {
            replayed: resolved + failed + refused,
            resolved,
            refused,
            failed,
        };
        OperationRow {
            stage,
            in_stage,
            ..row()
        }
    }

    #[test]
    fn a_canary_is_one_then_ten_then_the_rest() {
        assert_eq!(row().room(), 1);
        assert_eq!(stage(0, 1, 0, 0).room(), 0);
        assert_eq!(stage(1, 3, 0, 0).room(), 7);
        assert_eq!(stage(2, 900, 0, 0).room(), u64::MAX);
    }

    #[test]
    fn more_than_the_share_of_a_stage_stops_it_and_refusals_say_nothing() {
        assert!(stage(0, 0, 1, 0).fails_too_often());
        assert!(!stage(0, 0, 0, 1).fails_too_often());
        assert!(
            !stage(1, 8, 2, 0).fails_too_often(),
            "not more than a fifth"
        );
        assert!(stage(1, 7, 3, 0).fails_too_often());
        let mut on_its_way = stage(1, 0, 3, 0);
        on_its_way.in_stage.replayed = 10;
        assert!(!on_its_way.fails_too_often(), "its stage has not settled");
        assert!(!stage(2, 0, 9, 0).fails_too_often(), "too few to say");
        assert!(stage(2, 7, 3, 0).fails_too_often());
    }

    #[test]
    fn who_lets_a_stopped_one_go_on_is_not_stopped_by_what_failed_before() {
        let mut stopped = stage(1, 5, 5, 0);
        stopped.state = OperationState::Stopped;
        let on = OperationStep::Steer {
            from: vec![OperationState::Paused, OperationState::Stopped],
            to: OperationState::Running,
            why: String::new(),
            by: "ann".to_owned(),
            at: Timestamp(2),
        };
        assert!(stopped.step(&on));
        assert!(!stopped.fails_too_often());
        assert_eq!(stopped.room(), 1, "a canary again");
        assert!(!stopped.step(&on), "it runs already");
        assert!(stopped.step(&OperationStep::Stage(0)));
        assert!(!stopped.step(&OperationStep::Stage(0)), "once");
    }
}
