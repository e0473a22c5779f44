//! Dead letters after their intake: where each stands, who moved it and why, and replays of many at once.
//!
//! Guarantee: every move is one conditional change (it happens only where the letter still stands where whoever moves it believes it to), so that of two who
//! press at once one moves it. What a replay of many has done is counted in the transaction that moves the letter: after a crash nothing is counted twice.

use std::future::Future;

use baton_driver::{DeadLetterRow, StoreError};
use baton_messages::{AttemptRef, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::arrivals::{Arrived, Arriving};
use crate::facets::Facets;
pub use crate::operation::{
    BACK_S, CANARY, Claiming, GivingBack, Held, OperationRow, OperationState, OperationStep,
    Redirect, Tally, WAIT_S,
};
use crate::read::DeadLetterCursor;

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

    /// Where nobody has to do anything about it any more.
    pub const SETTLED: [Self; 2] = [Self::Resolved, Self::Discarded];

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
    /// The attempt its saga minted for it the last time.
    pub attempt: Option<AttemptRef>,
    /// Since when its outcome is waited for, while it is on its way and was sent.
    pub sent_at: Option<Timestamp>,
    /// The stage of the replay of many it set out in, as [`OperationRow::leg`] counts them.
    pub stage: Option<u32>,
    /// How often it died after it was sent back.
    pub died_again: u32,
    /// When it did so the last time.
    pub died_at: Option<Timestamp>,
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
    /// What it is about, as it was read out of all of it at its intake.
    pub about: Facets,
}

impl LetterRow {
    /// When it died the last time: lists go by that.
    #[must_use]
    pub fn seen_at(&self) -> Timestamp {
        self.now.died_at.unwrap_or(self.letter.at)
    }

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
    /// It was published, confirmed and routed; whether somebody does its work nobody here hears, unless it dies again.
    Published,
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
            Self::Resolved | Self::Published => LetterState::Resolved,
            Self::Failed | Self::Refused => LetterState::Dead,
        }
    }

    /// The word its history has.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolved => "resolved",
            Self::Published => "published",
            Self::Failed => "failed",
            Self::Refused => "refused",
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
    /// The last attempt there is of what its saga was asked for, where that is another than was known.
    pub attempt: Option<AttemptRef>,
}

/// A letter that was sent, and whose outcome is to be waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// Which letter.
    pub letter: Uuid,
    /// The action by which it set out.
    pub action: Uuid,
    /// The attempt its saga mints.
    pub attempt: AttemptRef,
    /// What is known so far, in a sentence.
    pub outcome: String,
    /// When.
    pub at: Timestamp,
}

/// What is written down of a letter that set out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// What came of it.
    Settled(Settling),
    /// That it was sent.
    Sent(Sending),
}

/// A letter whose outcome is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Which letter.
    pub letter: Uuid,
    /// The action by which it set out.
    pub action: Uuid,
    /// The replay of many that counts it.
    pub operation: Option<Uuid>,
    /// The attempt its saga minted.
    pub attempt: AttemptRef,
    /// Since when.
    pub sent_at: Timestamp,
}

/// A letter that was sent back to work and died again.
#[derive(Debug, Clone, PartialEq)]
pub struct Death {
    /// Which letter.
    pub letter: Uuid,
    /// The id of this death: taken in twice it is one.
    pub death: Uuid,
    /// When it was taken in.
    pub at: Timestamp,
    /// Why it is dead, in a sentence.
    pub error: String,
    /// All properties and headers it had then.
    pub properties: serde_json::Value,
    /// Its body, where it is another one than before.
    pub body: Option<Vec<u8>>,
    /// The attempt that died, of a task.
    pub attempt: Option<AttemptRef>,
}

/// Something that happened to a letter after it was taken in.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryRow {
    /// In which order.
    pub n: u32,
    /// When.
    pub at: Timestamp,
    /// What: `sent`, `resolved`, `published`, `failed`, `refused`, `died`, `discarded`, `dead` (restored), `noted`.
    pub what: String,
    /// By whom; empty: by nobody.
    pub by: String,
    /// Why somebody did it.
    pub why: String,
    /// What came of it, in a sentence.
    pub text: String,
    /// What the message was, of one that died.
    pub died: Option<Died>,
}

/// What a message was when it died again.
#[derive(Debug, Clone, PartialEq)]
pub struct Died {
    /// The id of this death.
    pub death: Uuid,
    /// All properties and headers it had.
    pub properties: serde_json::Value,
    /// Its body, where it was another one than before.
    pub body: Option<Vec<u8>>,
}

/// All that is kept of a letter.
#[derive(Debug, Clone, PartialEq)]
pub struct WholeLetter {
    /// It, and where it stands.
    pub row: LetterRow,
    /// Its edited copies, oldest first.
    pub edits: Vec<EditRow>,
    /// What happened to it, oldest first.
    pub history: Vec<HistoryRow>,
}

/// What is changed of dead letters beside the driver. Clones share what they write with.
pub trait Letters: Clone + Send + Sync + 'static {
    /// Moves a letter; false when it does not stand where it has to.
    ///
    /// # Errors
    /// When the store does not answer: it may be moved all the same.
    fn move_letter(&self, asked: Move) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Notes something on a letter, in place of what was noted before, which stays in its history; false when there is no such letter.
    ///
    /// # Errors
    /// When the store does not answer.
    fn note(
        &self,
        letter: Uuid,
        note: String,
        by: String,
        at: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Keeps an edited copy of a letter, which is the one that is sent from then on; false when the letter is not dead, or its last copy is not the one before.
    ///
    /// # Errors
    /// When the store does not answer: it may be kept all the same, and is found by its action.
    fn edit(&self, edit: EditRow) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Keeps letters of another store, with where they stood, their edited copies and their history, all or none; those that are here stay as they are. Their groups are made anew.
    ///
    /// # Errors
    /// When the store does not answer: they may be kept all the same, and the same again adds none.
    fn import(
        &self,
        letters: Vec<WholeLetter>,
    ) -> impl Future<Output = Result<Imported, StoreError>> + Send;

    /// Says of letters that set out what came of them, or that they were sent and their outcome is waited for: all in one transaction, in which their operations
    /// count them. Answers for each whether that was written: false where it is no more on its way by that action.
    ///
    /// # Errors
    /// When the store does not answer: they may be written all the same.
    fn write_down(
        &self,
        written: Vec<Written>,
    ) -> impl Future<Output = Result<Vec<bool>, StoreError>> + Send;

    /// Letters whose outcome is waited for, by id, after that one.
    ///
    /// # Errors
    /// When the store does not answer.
    fn waiting(
        &self,
        after: Option<Uuid>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Waiting>, StoreError>> + Send;

    /// The same, of those that one stage of an operation waits for.
    ///
    /// # Errors
    /// When the store does not answer.
    fn waiting_in(
        &self,
        operation: Uuid,
        stage: u32,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Waiting>, StoreError>> + Send;

    /// A letter died again, and the death is in its history. One of others is dead, wherever it stood, and its operation counts it as failed in the same
    /// transaction. A task's stands where it stood: its saga alone says what comes of it, and may know of a worker that took it before it died. True also when
    /// that death is known already; false when there is no such letter.
    ///
    /// # Errors
    /// When the store does not answer: it may be written all the same, and the same again is the same.
    fn died_again(&self, death: Death) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Writes down messages that came out of a queue before their letters are kept, and forgets those that are acknowledged, in one transaction. Answers which
    /// arrival each of them is: the one it was, where it was delivered before and not acknowledged.
    ///
    /// # Errors
    /// When the store does not answer: ask again before any of them is kept.
    fn arrived(
        &self,
        arriving: Arriving,
    ) -> impl Future<Output = Result<Vec<Arrived>, StoreError>> + Send;

    /// Of which arrival letters were made, of those that are here.
    ///
    /// # Errors
    /// When the store does not answer.
    fn arrivals_of(
        &self,
        letters: Vec<Uuid>,
    ) -> impl Future<Output = Result<Vec<(Uuid, Option<Uuid>)>, StoreError>> + Send;

    /// Has letters that set out for an operation, and were not sent, stand as they did before, and the operation take them again, in one transaction: those that
    /// it takes because another operation left them are that one's again. Answers how many.
    ///
    /// # Errors
    /// When the store does not answer: they may be given back all the same.
    fn give_back(
        &self,
        letters: GivingBack,
    ) -> impl Future<Output = Result<usize, StoreError>> + Send;

    /// Whether there is any that [`Letters::expire`] would take out.
    ///
    /// # Errors
    /// When the store does not answer.
    fn is_any_over(
        &self,
        before: Timestamp,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Takes out letters that are resolved or discarded and were last moved before then, with their history and their copies: at most `limit`. Answers which.
    ///
    /// # Errors
    /// When the store does not answer: they may be gone all the same.
    fn expire(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Uuid>, StoreError>> + Send;

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

    /// Letters that set out and of which it is not known whether they were sent, in the order in which they were taken in, from the one after `after` on: of one
    /// operation, or of single replays, that were moved before that moment.
    ///
    /// # Errors
    /// When the store does not answer.
    fn on_their_way(
        &self,
        operation: Option<Uuid>,
        before: Timestamp,
        after: Option<DeadLetterCursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<LetterRow>, StoreError>> + Send;

    /// Operations that run, and those that do not and have letters on their way of which nobody has written down whether they were sent; oldest first.
    ///
    /// # Errors
    /// When the store does not answer.
    fn running(&self) -> impl Future<Output = Result<Vec<OperationRow>, StoreError>> + Send;
}
