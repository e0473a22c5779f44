//! What can go wrong on the bus, one variant for each operation, with what to do about it.

use std::{io, path::PathBuf};

use thiserror::Error;

/// An operation of the bus that failed. Publishing never fails this way: it says [`crate::Sent`] of each message.
#[derive(Debug, Error)]
pub enum BusError {
    /// A value of the configuration cannot be used.
    #[error("bus configuration: {key} {why}")]
    Config {
        /// The key of the configuration.
        key: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// A certificate or key cannot be opened.
    #[error("tls file {} cannot be read; check that it exists and that this process may read it", path.display())]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A certificate or key has no usable content.
    #[error("tls file {} holds nothing usable: {why}", path.display())]
    TlsContent {
        /// The file.
        path: PathBuf,
        /// What is missing in it.
        why: String,
    },
    /// The certificates cannot be used together.
    #[error("tls cannot be set up: {why}")]
    Tls {
        /// What to look at.
        why: String,
        /// What the TLS library said.
        #[source]
        source: io::Error,
    },
    /// No broker is connected, or the operation took too long.
    #[error(
        "the broker did not answer {operation} within {limit_ms} ms; is it running and reachable?"
    )]
    NoAnswer {
        /// What was asked.
        operation: String,
        /// How long the answer was awaited.
        limit_ms: u64,
    },
    /// The broker refused the operation, or the connection broke during it.
    #[error("the broker did not do {operation}")]
    Refused {
        /// What was asked.
        operation: String,
        /// What the broker or the connection said.
        #[source]
        source: Box<lapin::Error>,
    },
}

/// An acknowledgement that came too late: its channel is gone, the broker delivers the message again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("delivery {tag} belongs to an earlier channel; the broker delivers the message again")]
pub struct Stale {
    /// The delivery tag on the channel that is gone.
    pub tag: u64,
}

/// A message that could not be put aside; it must not be acknowledged.
#[derive(Debug, Error)]
pub enum ParkError {
    /// `baton.dead` has no queue bound to it.
    #[error(
        "message was returned by {exchange} ({code} {text}); the dead letter queue is missing: baton topology apply makes it, with an account that may administer the broker; deploy/BROKER.md says how"
    )]
    Returned {
        /// Where it was published.
        exchange: String,
        /// AMQP reply code.
        code: u16,
        /// AMQP reply text.
        text: String,
    },
    /// The queue behind `baton.dead` is full or unavailable.
    #[error("message was refused by the dead letter queue; it is full or has lost its majority")]
    Nacked,
    /// No confirm came: it may or may not be in the dead letter queue.
    #[error("nobody knows whether the dead letter arrived: {why}")]
    Unknown {
        /// What was lost.
        why: String,
    },
    /// It is in the dead letter queue, and will be delivered again here as well.
    #[error("the message is parked, but its delivery could not be acknowledged")]
    Acknowledge {
        /// The lost delivery.
        #[source]
        source: Stale,
    },
}
