//! The trait an automation implements, and what its undo and its probe are handed. What an automation promises is written
//! in its constants, announced in its manifest, and believed by the engine: a false promise here is a broken saga there.

use std::future::Future;

use baton_messages::{Effect, RetryDefaults};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::context::Context;
use crate::task_error::TaskError;

/// One automation: a task type, what it does, and how that is undone and found out.
///
/// `run` is written as a plain `async fn`. Every await is a place where the run may be dropped (time limit, cancel, lease):
/// what it does to the world must stand in [`Context::checkpoint_before`] before it is done.
pub trait Automation: Send + Sync + Sized + 'static {
    /// Name and major version, `switch.set-vlan@1`.
    const TYPE: &'static str;
    /// One line for people.
    const SUMMARY: &'static str;
    /// What it does to the world.
    const EFFECT: Effect;
    /// Whether running it twice with the same key leaves what running it once leaves.
    const IDEMPOTENT: bool;
    /// Whether it stores the state it found before it acts.
    const BEFORE_IMAGE: bool = false;
    /// Whether [`Automation::undo`] is written.
    const HAS_UNDO: bool = false;
    /// Whether [`Automation::probe`] is written.
    const HAS_PROBE: bool = false;
    /// Name of the lock that keeps two sagas off what it acts on, if any, for people who write the `locks` of a saga: nobody takes it by itself.
    const LOCK: Option<&'static str> = None;
    /// Time limit of one attempt where the step sets none, in milliseconds.
    const TIMEOUT_MS_DEFAULT: u64 = 60_000;
    /// The longest time limit a step may set, in milliseconds. With more than five minutes the type is always claimed.
    const TIMEOUT_MS_MAX: u64 = 300_000;
    /// How long the world needs to come to rest before a probe's answer counts, in milliseconds.
    const SETTLE_MS: u64 = 0;
    /// What the worker's host must have, for people.
    const NEEDS: &'static [&'static str] = &[];

    /// What it is given; the schema is checked before `run` is entered.
    type Input: DeserializeOwned + Serialize + JsonSchema + Send;
    /// What it returns; fits its schema by construction.
    type Output: DeserializeOwned + Serialize + JsonSchema + Send;

    /// How it is tried again where its definition does not say.
    #[must_use]
    fn retry() -> RetryDefaults {
        RetryDefaults::default()
    }

    /// Inputs that show its use.
    #[must_use]
    fn examples() -> Vec<Self::Input> {
        Vec::new()
    }

    /// Makes the effect.
    ///
    /// # Errors
    /// [`TaskError::failed`] only when provably nothing was changed and nothing started is still alive; else [`TaskError::unknown`].
    fn run(
        &self,
        context: &Context,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output, TaskError>> + Send;

    /// Takes the effect back: idempotent, content with "it never happened", and compare-and-set: what stands there must be what
    /// `run` would have left; the original means undone; anything else fails and is left alone.
    ///
    /// # Errors
    /// As [`Automation::run`].
    fn undo(
        &self,
        context: &Context,
        done: Done<Self>,
    ) -> impl Future<Output = Result<(), TaskError>> + Send {
        let _ = (context, done);
        async {
            Err(TaskError::failed(
                "no-undo",
                format!("{} has no undo", Self::TYPE),
            ))
        }
    }

    /// Finds out whether the effect happened; changes nothing.
    ///
    /// # Errors
    /// [`TaskError::failed`] when it could not look; looking again may help if it is retryable.
    fn probe(
        &self,
        context: &Context,
        asked: Asked<Self>,
    ) -> impl Future<Output = Result<Probe<Self::Output>, TaskError>> + Send {
        let _ = (context, asked);
        async { Ok(Probe::CannotTell(format!("{} has no probe", Self::TYPE))) }
    }
}

/// What an undo is handed.
#[derive(Debug)]
pub struct Done<A: Automation> {
    /// What `run` was given.
    pub input: A::Input,
    /// What it returned, where it is known; none when it may have happened and nobody heard.
    pub output: Option<A::Output>,
    /// The state found before anything was changed, if it was stored.
    pub before: Option<Value>,
    /// The last progress stored.
    pub progress: Option<Value>,
}

/// What a probe is handed.
#[derive(Debug)]
pub struct Asked<A: Automation> {
    /// What `run` was given.
    pub input: A::Input,
    /// The state found before anything was changed, if it was stored.
    pub before: Option<Value>,
    /// The last progress stored.
    pub progress: Option<Value>,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe<O> {
    /// It happened; this is what `run` would have returned.
    Happened(O),
    /// It did not happen.
    DidNot,
    /// It cannot be told, and why.
    CannotTell(String),
}
