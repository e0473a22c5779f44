//! Where the checkpoints of a run go: through the report lane, or into memory when an author tests an automation without a broker.

use std::sync::{Arc, Mutex, PoisonError};

use baton_messages::{Checkpoint, InboxKey, MessageId};

use crate::clock::now;
use crate::lane::Lane;
use crate::parcel::Said;

/// Why a checkpoint was not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SinkError {
    /// It cannot be written as JSON.
    #[error("it cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The worker is gone.
    #[error("the worker is gone")]
    Closed,
}

/// Where checkpoints go.
#[derive(Clone)]
pub(crate) enum Sink {
    /// To the inbox of the saga, confirmed.
    Bus {
        /// The worker's reports.
        lane: Lane,
        /// Where this saga's reports go.
        inbox: InboxKey,
    },
    /// Into memory.
    Memory(Arc<Mutex<Vec<Checkpoint>>>),
}

impl Sink {
    /// Returns when it is stored, however long that takes.
    pub(crate) async fn checkpoint(&self, checkpoint: Checkpoint) -> Result<(), SinkError> {
        match self {
            Self::Bus { lane, inbox } => {
                let id = MessageId::of_report("checkpoint", checkpoint.run, checkpoint.number);
                let said = Said::Checkpoint(&checkpoint);
                lane.confirmed(inbox, said, id, now()).await
            }
            Self::Memory(all) => {
                all.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(checkpoint);
                Ok(())
            }
        }
    }
}
