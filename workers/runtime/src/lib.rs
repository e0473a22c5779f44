//! The worker's runtime: what an author of automations depends on.
//!
//! An author writes an [`Automation`] and hands it to a [`Registry`]; a [`Worker`] takes its tasks from the bus, holds them as their type
//! wants it, enters the automation within its time, its lease and its permits, and reports how each attempt ended. What it promises:
//!
//! - a task is acknowledged only after its report (or its claim) is confirmed by the broker; a report is tried again until it is;
//! - a claimed task acts only when granted, and is dead before anybody counts it as dead;
//! - `failed` is only said when provably nothing was changed; whatever ends otherwise is `unknown`;
//! - a secret is resolved last thing, only where a type's schema lets it stand, and masked in everything that leaves the worker;
//! - what cannot be read is parked whole; what came too late, was given back or cancelled in time is `not run`.
//!
//! The worker never declares task queues and never publishes tasks. The protocol, for other languages: `workers/PROTOCOL.md`.

mod acks;
mod automation;
mod claim;
mod clock;
mod context;
mod control;
mod entered;
mod hold;
mod inspect;
mod intake;
mod lane;
mod lease;
mod manifest;
mod masks;
mod meter;
mod options;
mod pace;
mod parcel;
mod presence;
mod registry;
mod runs;
mod secret_refs;
mod secret_text;
mod secrets;
mod shared;
mod sink;
mod stop;
mod task_error;
pub mod testing;
mod worker;

pub use automation::{Asked, Automation, Done, Probe};
pub use context::{CheckpointError, Context};
pub use manifest::{ManifestError, manifest_of};
pub use masks::Masks;
pub use options::{CONCURRENCY_MAX, WorkerOptions};
pub use registry::Registry;
pub use secret_text::{SECRET_KEY, SecretText};
pub use secrets::{SecretError, SecretSource, Secrets, Veil};
pub use task_error::TaskError;
pub use worker::{Worker, WorkerError, WorkerHandle};

// What an automation's constants and answers are made of.
pub use baton_messages::{
    AttemptRef, Direction, Effect, IdempotencyKey, Manifest, RetryDefaults, RunId, TaskType,
    WorkerId,
};
