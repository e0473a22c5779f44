//! The contract: every message that crosses the bus, every id in it and how that id is derived, and the
//! names of the exchanges and queues it crosses. Pure data: this crate knows serde and nothing of brokers, stores or clocks.
//!
//! Wire rules, the same for every message: the body is JSON, externally tagged with kind and version
//! (`{"finished@1": {…}}`), unknown fields are refused (save in events, which are everybody's), an optional value that is
//! absent is not the same as one that is null, and a change of shape is a new version beside the old one.

pub mod control;
pub mod dead;
pub mod event;
pub mod fleet;
pub mod headers;
pub mod ids;
pub mod inbox;
pub mod manifest;
pub mod names;
pub mod present;
pub mod slice;
pub mod task;
pub mod time;
pub mod topology;

pub use control::{ControlMessage, Grant, GrantAnswer, RefusedWhy};
pub use dead::DeadReason;
pub use event::Event;
pub use fleet::FleetMessage;
pub use ids::{IdempotencyKey, InputId, MessageId, RunId, SagaId};
pub use inbox::{
    AttemptRef, Checkpoint, CheckpointKind, Failure, Finished, InboxMessage, ProbeAnswer, Start,
    Started, TaskResult,
};
pub use manifest::{Effect, Hold, Manifest, RetryDefaults};
pub use names::{Direction, InboxKey, NameError, PoolName, StepId, TaskType, WorkerId};
pub use slice::Slice;
pub use task::{Task, TaskMessage};
pub use time::Timestamp;

/// The largest body anybody may publish, in bytes. A task over it is refused before dispatch; 4.x brokers stop at 16 MiB,
/// a quorum queue holds bodies in memory, so the cap sits far below.
pub const BODY_BYTES_MAX: usize = 512 * 1024;
