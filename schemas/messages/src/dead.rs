//! Why a message is dead, and the headers with which it is parked on `baton.dead`: the body stays as it was, byte for byte.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::derive;

/// Header: the id of this dead letter, a UUID: derived from queue and `message_id` ([`id_of`]), so that one that is parked twice is
/// one; made by chance where there is no `message_id`, so that two messages that look alike are two.
pub const ID_HEADER: &str = "baton-dead-id";
/// Header: the reason, one word of [`DeadReason`].
pub const REASON_HEADER: &str = "baton-dead-reason";
/// Header: a sentence for people.
pub const ERROR_HEADER: &str = "baton-dead-error";
/// Header: the queue it was taken from.
pub const QUEUE_HEADER: &str = "baton-dead-queue";
/// Header: the exchange it had been published to.
pub const EXCHANGE_HEADER: &str = "baton-dead-exchange";
/// Header: its routing key.
pub const KEY_HEADER: &str = "baton-dead-key";
/// Header: when it was parked, milliseconds since the Unix epoch.
pub const AT_HEADER: &str = "baton-dead-at-ms";
/// Header: who parked it.
pub const BY_HEADER: &str = "baton-dead-by";
/// Header: how often it had been delivered.
pub const DELIVERIES_HEADER: &str = "baton-dead-deliveries";
/// Header: how often this message was sent back to work by an operator. It stays on the message, so that one that dies again is known.
pub const REPLAYS_HEADER: &str = "baton-replays";
/// Header: the dead letter it was sent back from.
pub const REPLAY_OF_HEADER: &str = "baton-replay-of";
/// Every parking header begins so; they are taken off when a message is put back to work.
pub const PREFIX: &str = "baton-dead-";

/// The id of the message `message_id` with that body, taken from `queue` and parked: the same however often it is parked. What others publish may
/// carry one id twice; another body is another letter, so that none hides behind the one before it.
#[must_use]
pub fn id_of(queue: &str, message_id: &str, body: &[u8]) -> Uuid {
    let body = Uuid::new_v5(&Uuid::NAMESPACE_OID, body).to_string();
    derive("dead", &[queue, message_id, &body])
}

/// Why nobody could use a message.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum DeadReason {
    /// Not JSON, or not of the shape its kind has.
    Undecodable,
    /// A kind or version this reader does not know.
    UnknownKind,
    /// Larger than [`crate::BODY_BYTES_MAX`].
    TooLarge,
    /// Well formed, but its content does not fit the schema of its type.
    Misfit,
    /// Speaks of a saga, step or definition nobody knows.
    UnknownSaga,
    /// Names a task type this worker does not serve.
    UnknownType,
    /// Delivered more often than the limit: it may be what kills its consumers.
    DeliveredTooOften,
    /// Came back from the broker: nowhere to go.
    Unroutable,
    /// Dead-lettered by the broker itself.
    BrokerRejected,
    /// None of the above; the error says more.
    Other,
}

impl DeadReason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::Undecodable,
        Self::UnknownKind,
        Self::TooLarge,
        Self::Misfit,
        Self::UnknownSaga,
        Self::UnknownType,
        Self::DeliveredTooOften,
        Self::Unroutable,
        Self::BrokerRejected,
        Self::Other,
    ];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::UnknownKind => "unknown-kind",
            Self::TooLarge => "too-large",
            Self::Misfit => "misfit",
            Self::UnknownSaga => "unknown-saga",
            Self::UnknownType => "unknown-type",
            Self::DeliveredTooOften => "delivered-too-often",
            Self::Unroutable => "unroutable",
            Self::BrokerRejected => "broker-rejected",
            Self::Other => "other",
        }
    }

    /// Reads the word on the wire; what is not known is [`DeadReason::Other`], since a dead letter is never refused.
    #[must_use]
    pub fn of(word: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == word)
            .unwrap_or(Self::Other)
    }
}
