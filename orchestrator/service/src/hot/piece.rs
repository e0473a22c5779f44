//! One piece of a turn: where it came from, so that it can be acknowledged or answered, and what the driver is given for it: nothing, one
//! input, or all those of a batch. Kept until the turn is committed, since a lost turn is given again. A delivery is never spread over two
//! turns: it is acknowledged when its turn is committed, and then all of it is.

use baton_bus::Delivery;
use baton_driver::Work;
use baton_engine::{Input, Verdict};
use baton_messages::SagaId;
use baton_messages::inbox::Marker;
use tokio::sync::oneshot;

use super::mail::Letter;
use crate::decode::{self, Read, Unusable};

/// One piece of a turn.
pub(crate) enum Piece {
    /// A report or request from the inbox.
    Report {
        /// To be acknowledged.
        delivery: Delivery,
        /// What it says; taken by the first try, read anew from the delivery by the next.
        read: Option<Told>,
    },
    /// Several reports that came in one message.
    Batch {
        /// To be acknowledged, when all of them are committed.
        delivery: Delivery,
        /// What they say; taken and read anew as above.
        read: Option<Vec<Told>>,
        /// How many they are.
        inputs: usize,
        /// What is wrong with the rest of the message.
        broken: Option<Unusable>,
    },
    /// What of a message is ours, when the rest of it is being sent on.
    Mixed {
        /// To be acknowledged, when both are over.
        delivery: Delivery,
        /// What is ours; kept, since the message says more than that.
        told: Vec<Told>,
        /// What is wrong with the rest of the message.
        broken: Option<Unusable>,
    },
    /// One report of a message under suspicion: its turn is this one alone, and the message is acknowledged when all of it is through.
    Part {
        /// It, as the message it would be alone.
        delivery: Delivery,
        /// What it says; kept, since it may not be read a second time without a note of it.
        read: Told,
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

/// An input, and the saga it is about.
pub(crate) type Told = (SagaId, Box<Input>);

impl Piece {
    /// How many inputs it gives the driver.
    pub(crate) fn inputs(&self) -> usize {
        match self {
            Self::Report { .. } | Self::Part { .. } | Self::Asked { .. } | Self::Dead(_) => 1,
            Self::Batch { inputs, .. } => *inputs,
            Self::Mixed { told, .. } => told.len(),
            Self::Marker(..) => 0,
        }
    }

    /// What the driver is given for it, as many as [`Piece::inputs`], under `token` and those after it.
    pub(crate) fn work(&mut self, token: u64, into: &mut Vec<Work>) {
        match self {
            Self::Report { delivery, read } => {
                let told = read.take().or_else(|| again(delivery).pop());
                into.extend(told.map(|told| asked(token, told)));
            }
            Self::Batch { delivery, read, .. } => {
                let told = read.take().unwrap_or_else(|| again(delivery));
                into.extend((token..).zip(told).map(|(token, told)| asked(token, told)));
            }
            Self::Mixed { told, .. } => {
                let told = told.iter().cloned();
                into.extend((token..).zip(told).map(|(token, told)| asked(token, told)));
            }
            Self::Part { read, .. } => into.push(asked(token, read.clone())),
            Self::Marker(..) => {}
            Self::Asked { saga, input, .. } => into.push(asked(token, (*saga, input.clone()))),
            Self::Dead((letter, input)) => into.push(Work::Dead {
                token,
                letter: letter.clone(),
                input: input.clone(),
            }),
        }
    }
}

fn asked(token: u64, (saga, input): Told) -> Work {
    Work::Saga { token, saga, input }
}

/// Reads a delivery once more: it was read before, and says the same.
fn again(delivery: &Delivery) -> Vec<Told> {
    match decode::inbox(delivery) {
        Ok(Read::Input(saga, input)) => vec![(saga, input)],
        Ok(Read::Inputs(inputs, _)) => inputs,
        Ok(Read::Marker(_)) | Err(_) => Vec::new(),
    }
}
