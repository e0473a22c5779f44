//! One piece of a turn: where it came from, so that it can be acknowledged or answered, and what the driver is given for it. Kept until
//! the turn is committed, since a lost turn is given again.

use baton_bus::Delivery;
use baton_driver::Work;
use baton_engine::{Input, Verdict};
use baton_messages::SagaId;
use baton_messages::inbox::Marker;
use tokio::sync::oneshot;

use super::mail::Letter;
use crate::decode::{self, Read};

/// One piece of a turn.
pub(crate) enum Piece {
    /// A report or request from the inbox.
    Report {
        /// To be acknowledged.
        delivery: Delivery,
        /// What it says; taken by the first try, read anew from the delivery by the next.
        read: Option<(SagaId, Box<Input>)>,
    },
    /// Our own marker, come back: it counts only after all before it is committed.
    Marker(Delivery, Marker),
    /// An input from the API.
    Asked {
        /// The saga.
        saga: SagaId,
        /// The input.
        input: Box<Input>,
        /// Who waits.
        answer: oneshot::Sender<Verdict>,
    },
    /// A dead letter.
    Dead(Letter),
}

impl Piece {
    /// What the driver is given for it under `token`.
    pub(crate) fn work(&mut self, token: u64) -> Option<Work> {
        match self {
            Self::Report { delivery, read } => {
                let (saga, input) = read.take().or_else(|| again(delivery))?;
                Some(Work::Saga { token, saga, input })
            }
            Self::Marker(..) => None,
            Self::Asked { saga, input, .. } => Some(Work::Saga {
                token,
                saga: *saga,
                input: input.clone(),
            }),
            Self::Dead((letter, input)) => Some(Work::Dead {
                token,
                letter: letter.clone(),
                input: input.clone(),
            }),
        }
    }
}

fn again(delivery: &Delivery) -> Option<(SagaId, Box<Input>)> {
    match decode::inbox(delivery) {
        Ok(Read::Input(saga, input)) => Some((saga, input)),
        Ok(Read::Marker(_)) | Err(_) => None,
    }
}
