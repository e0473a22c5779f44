//! What is put into a turn, and what comes of it.

use baton_engine::{Input, Verdict};
use baton_messages::SagaId;

use crate::batch::DeadLetterRow;

/// The caller's own name for one piece of work; the driver gives it back untouched.
pub type Token = u64;

/// One piece of work for a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// An input about one saga.
    Saga {
        /// The caller's name for it.
        token: Token,
        /// The saga.
        saga: SagaId,
        /// The input.
        input: Box<Input>,
    },
    /// A dead letter to be kept, and, where it was a task, its saga told.
    Dead {
        /// The caller's name for it.
        token: Token,
        /// The letter.
        letter: Box<DeadLetterRow>,
        /// What its saga is told, if it is known.
        input: Option<(SagaId, Box<Input>)>,
    },
}

/// What came of one piece of work; given after the commit, so that it may be acknowledged and answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The caller's name for it.
    pub token: Token,
    /// The saga it was about.
    pub saga: Option<SagaId>,
    /// How it was taken. A refused report is for the caller to park.
    pub verdict: Verdict,
}
