//! The contract: every message that crosses the bus, every id in it and how that id is derived, and the
//! names of the exchanges and queues it crosses. Pure data: this crate knows serde and nothing of brokers, stores or clocks.
//!
//! Wire rules, the same for every message: the body is JSON, externally tagged with kind and version
//! (`{"finished@1": {…}}`), unknown fields are refused (save in events, which are everybody's), an optional value that is
//! absent is not the same as one that is null, and a change of shape is a new version beside the old one.

pub mod alert;
pub mod audit;
pub mod batch;
pub mod child;
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
pub mod roles;
pub mod secret_place;
pub mod slice;
pub mod step_key;
pub mod task;
pub mod time;
pub mod topology;

pub use alert::AlertSaid;
pub use audit::{
    AUDIT_HEAD_EVENT, AuditCheck, AuditEntry, AuditFault, AuditHead, AuditOutcome, AuditPhase,
    AuditRow,
};
pub use batch::{Report, ReportBatch, StartBatch, TaskBatch, TasksMessage};
pub use child::{ChildSaid, ChildWanted, ParentRef, Standing, Wanted};
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
pub use step_key::StepKey;
pub use task::{Task, TaskMessage};
pub use time::Timestamp;

/// The largest body anybody may publish, in bytes. A task over it is refused before dispatch; 4.x brokers stop at 16 MiB,
/// a quorum queue holds bodies in memory, so the cap sits far below.
pub const BODY_BYTES_MAX: usize = 512 * 1024;

/// The largest input of a task, in bytes of JSON. A task to undo or to probe carries all four of these at once, and a saga whose
/// undo cannot be sent is stuck with what it has done: so each has its share, and their sum with the envelope fits one body.
pub const INPUT_BYTES_MAX: usize = 176 * 1024;
/// The largest output of a task, in bytes of JSON; see [`INPUT_BYTES_MAX`].
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// The largest `before` checkpoint, in bytes of JSON; see [`INPUT_BYTES_MAX`]. A file of 128 KiB in base64 fits.
pub const BEFORE_BYTES_MAX: usize = 176 * 1024;
/// The largest `progress` checkpoint, in bytes of JSON; see [`INPUT_BYTES_MAX`].
pub const PROGRESS_BYTES_MAX: usize = 64 * 1024;

/// Room for all else in a message: ids, names, times, of which each is bounded.
const ENVELOPE_BYTES_MAX: usize = 32 * 1024;

const _: () = assert!(
    INPUT_BYTES_MAX + OUTPUT_BYTES_MAX + BEFORE_BYTES_MAX + PROGRESS_BYTES_MAX + ENVELOPE_BYTES_MAX
        <= BODY_BYTES_MAX,
    "a task to undo or to probe fits one body"
);
