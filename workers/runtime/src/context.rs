//! What an automation is handed beside its input: who it is, what is known from before, how long it may go on, and the one way to store
//! something durably before it acts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_messages::{
    AttemptRef, BEFORE_BYTES_MAX, Checkpoint, CheckpointKind, Direction, IdempotencyKey,
    PROGRESS_BYTES_MAX, RunId, Timestamp, WorkerId,
};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::now;
use crate::lease::Lease;
use crate::masks::Masks;
use crate::secrets::Veil;
use crate::sink::{Sink, SinkError};
use crate::task_error::TaskError;

/// A value that could not be stored. What was to be done after it must not be done.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The run was ended while it waited for the confirm.
    #[error("the {kind} checkpoint was not confirmed before the run had to end")]
    NotConfirmed {
        /// `before` or `progress`.
        kind: &'static str,
    },
    /// The value is larger than [`BEFORE_BYTES_MAX`] or [`PROGRESS_BYTES_MAX`].
    #[error("the {kind} checkpoint has {bytes} bytes, more than the {bytes_max} it may have")]
    TooLarge {
        /// `before` or `progress`.
        kind: &'static str,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        bytes_max: usize,
    },
    /// The value is no JSON.
    #[error("the {kind} checkpoint cannot be written as JSON")]
    Json {
        /// `before` or `progress`.
        kind: &'static str,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// The value holds a secret, and what is stored must not.
    #[error(
        "the {kind} checkpoint holds a secret of this worker, which must never be stored: keep the secret out of what the step changes"
    )]
    HoldsSecret {
        /// `before` or `progress`.
        kind: &'static str,
    },
    /// The confirm came, but the run may not act any more: its lease or its time is over.
    #[error("the {kind} checkpoint is stored, but the run may not act any more")]
    NoLongerAllowed {
        /// `before` or `progress`.
        kind: &'static str,
    },
}

impl CheckpointError {
    const fn kind(&self) -> &'static str {
        match self {
            Self::NotConfirmed { kind }
            | Self::TooLarge { kind, .. }
            | Self::Json { kind, .. }
            | Self::HoldsSecret { kind }
            | Self::NoLongerAllowed { kind } => kind,
        }
    }
}

/// A `before` that could not be stored comes before anything was done: failed. After a `progress` nobody can say: unknown.
impl From<CheckpointError> for TaskError {
    fn from(error: CheckpointError) -> Self {
        let code = match &error {
            CheckpointError::NotConfirmed { .. } => "checkpoint-unconfirmed",
            CheckpointError::TooLarge { .. } => "checkpoint-too-large",
            CheckpointError::Json { .. } => "checkpoint-misfit",
            CheckpointError::HoldsSecret { .. } => "checkpoint-holds-secret",
            CheckpointError::NoLongerAllowed { .. } => "no-longer-allowed",
        };
        let retryable = matches!(
            error,
            CheckpointError::NotConfirmed { .. } | CheckpointError::NoLongerAllowed { .. }
        );
        let told = if error.kind() == "before" {
            Self::failed(code, error.to_string())
        } else {
            Self::unknown(code, error.to_string()).is_final()
        };
        if retryable { told.retryable() } else { told }
    }
}

/// What a run knows from before, and what it stored itself.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Known before-image, of whatever attempt.
    pub(crate) before: Option<Value>,
    /// Last known progress, of whatever attempt.
    pub(crate) progress: Option<Value>,
    /// Whether this run stored `before` itself.
    pub(crate) before_is_ours: bool,
    /// Whether this run stored `progress` itself.
    pub(crate) progress_is_ours: bool,
    /// How many checkpoints this run has sent.
    pub(crate) number: u32,
}

/// One run, as the runtime and the automation share it.
pub struct Context {
    pub(crate) of: AttemptRef,
    pub(crate) run: RunId,
    pub(crate) worker: WorkerId,
    pub(crate) idempotency_key: IdempotencyKey,
    pub(crate) fences: BTreeMap<String, u64>,
    pub(crate) not_after: Timestamp,
    pub(crate) ends: Instant,
    pub(crate) cancel: CancellationToken,
    pub(crate) lease: Option<Arc<Lease>>,
    pub(crate) kept: Mutex<Kept>,
    pub(crate) sink: Sink,
    pub(crate) veil: Veil,
    pub(crate) blocking: TaskTracker,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("of", &self.of)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}

impl Context {
    /// Which attempt of which step of which saga this is.
    #[must_use]
    pub const fn of(&self) -> &AttemptRef {
        &self.of
    }

    /// Which try of this direction this is, from 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.of.attempt
    }

    /// This execution.
    #[must_use]
    pub const fn run(&self) -> RunId {
        self.run
    }

    /// The worker it runs in.
    #[must_use]
    pub const fn worker(&self) -> &WorkerId {
        &self.worker
    }

    /// The key of what this direction does: the same for every attempt. A system that remembers keys, handed this one, acts once.
    #[must_use]
    pub const fn idempotency_key(&self) -> IdempotencyKey {
        self.idempotency_key
    }

    /// The key of the effect of `do`, whatever the direction: what an undo or a probe names to the outside system.
    #[must_use]
    pub fn effect_key(&self) -> IdempotencyKey {
        IdempotencyKey::of(
            self.of.saga,
            &self.of.step,
            self.of.item,
            Direction::Do,
            self.of.round,
        )
    }

    /// The number of each lock its saga acts under, by the lock's name. A system that remembers the highest number it has seen for a lock, handed this one,
    /// refuses whoever acts under a lock that was given to another since.
    #[must_use]
    pub const fn fences(&self) -> &BTreeMap<String, u64> {
        &self.fences
    }

    /// The state found before anything was changed, if any attempt stored it.
    #[must_use]
    pub fn before(&self) -> Option<Value> {
        self.kept().before.clone()
    }

    /// The last progress any attempt stored.
    #[must_use]
    pub fn progress(&self) -> Option<Value> {
        self.kept().progress.clone()
    }

    /// Cancelled when the run should stop: time limit, a cancel of the saga, a drain, the end of the lease. What answers within a short
    /// grace is believed; what does not is dropped and counts as unknown.
    #[must_use]
    pub const fn cancelled(&self) -> &CancellationToken {
        &self.cancel
    }

    /// How long this run may still go on.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let now = Instant::now();
        let lease = self.lease.as_ref().map(|lease| lease.ends());
        let ends = lease.map_or(self.ends, |lease| lease.min(self.ends));
        ends.saturating_duration_since(now)
    }

    /// Why it was cancelled, in words: for what an automation says of a run it ended.
    #[must_use]
    pub fn why_cancelled(&self) -> &'static str {
        let now = Instant::now();
        if self.ends <= now {
            return "its time limit was over";
        }
        match &self.lease {
            Some(lease) if lease.ends() <= now => {
                "its worker could not confirm in time that it lives"
            }
            _ => "it was told to stop",
        }
    }

    /// Whether it may still act: to be asked last thing before an effect that cannot be taken back by the outside system's own memory.
    #[must_use]
    pub fn still_allowed(&self) -> bool {
        !self.cancel.is_cancelled() && !self.remaining().is_zero()
    }

    /// Stores the state found before anything is changed. Returns when it is durably stored, and only then may be acted. When it is
    /// known already (an earlier attempt stored it) that one is returned and nothing is stored: undo restores the *original*.
    ///
    /// # Errors
    /// [`CheckpointError`]; it turns into a failed attempt by `?`.
    pub async fn checkpoint_before(&self, found: Value) -> Result<Value, CheckpointError> {
        if let Some(known) = self.before() {
            return Ok(known);
        }
        self.store(CheckpointKind::Before, &found).await?;
        let mut kept = self.kept();
        // Two at once are a mistake of the automation; the first one that was stored stands.
        let known = kept.before.get_or_insert(found).clone();
        kept.before_is_ours = true;
        drop(kept);
        self.allowed_after("before")?;
        Ok(known)
    }

    /// Stores how far it has come; the last one counts.
    ///
    /// # Errors
    /// [`CheckpointError`]; it turns into an unknown attempt by `?`.
    pub async fn checkpoint_progress(&self, reached: Value) -> Result<(), CheckpointError> {
        self.store(CheckpointKind::Progress, &reached).await?;
        let mut kept = self.kept();
        kept.progress = Some(reached);
        kept.progress_is_ours = true;
        drop(kept);
        self.allowed_after("progress")
    }

    /// Runs what blocks (files, a library without async) on a thread of its own. A run is not reported as ended while such a thread
    /// still works for it, even when the run itself was dropped.
    ///
    /// # Errors
    /// An unknown outcome when `work` panicked, a failed one when the run may not act any more.
    pub async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TaskError> {
        if !self.still_allowed() {
            return Err(
                TaskError::failed("no-longer-allowed", "the run may not act any more").retryable(),
            );
        }
        self.blocking
            .spawn_blocking(work)
            .await
            .map_err(|_| TaskError::unknown("panicked", "what blocked panicked"))
    }

    /// The text with every secret this worker knows masked. Reports are masked in any case; this is for what is cut short first, since a
    /// part of a secret is not known for one.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        self.veil.hide(text)
    }

    /// The masks of every secret this worker knows: what is cut loses as much beside the cut as could be a part of one.
    #[must_use]
    pub fn masks(&self) -> Arc<Masks> {
        self.veil.masks()
    }

    async fn store(&self, kind: CheckpointKind, value: &Value) -> Result<(), CheckpointError> {
        let name = name_of(kind);
        // Masked, a before-image would not bring back what was there; as it is, it would lie in the store and the queues for ever.
        if self.veil.covers(value) {
            return Err(CheckpointError::HoldsSecret { kind: name });
        }
        let bytes = serde_json::to_vec(value)
            .map_err(|source| CheckpointError::Json { kind: name, source })?
            .len();
        let bytes_max = match kind {
            CheckpointKind::Before => BEFORE_BYTES_MAX,
            CheckpointKind::Progress => PROGRESS_BYTES_MAX,
        };
        if bytes > bytes_max {
            return Err(CheckpointError::TooLarge {
                kind: name,
                bytes,
                bytes_max,
            });
        }
        let number = {
            let mut kept = self.kept();
            kept.number += 1;
            kept.number
        };
        let checkpoint = Checkpoint {
            of: self.of.clone(),
            run: self.run,
            kind,
            number,
            value: value.clone(),
        };
        tokio::select! {
            stored = self.sink.checkpoint(checkpoint) => stored.map_err(|error| match error {
                SinkError::Json(source) => CheckpointError::Json { kind: name, source },
                SinkError::Closed => CheckpointError::NotConfirmed { kind: name },
            }),
            () = self.cancel.cancelled() => Err(CheckpointError::NotConfirmed { kind: name }),
        }
    }

    fn allowed_after(&self, kind: &'static str) -> Result<(), CheckpointError> {
        if self.still_allowed() {
            Ok(())
        } else {
            Err(CheckpointError::NoLongerAllowed { kind })
        }
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `finished` repeats: the checkpoints this run stored itself.
    pub(crate) fn stored(&self) -> (Option<Value>, Option<Value>) {
        let kept = self.kept();
        let before = kept.before.clone().filter(|_| kept.before_is_ours);
        let progress = kept.progress.clone().filter(|_| kept.progress_is_ours);
        (before, progress)
    }

    /// Whether it came too late: checked last thing before it is entered.
    pub(crate) fn too_late(&self) -> bool {
        now() > self.not_after
    }
}

const fn name_of(kind: CheckpointKind) -> &'static str {
    match kind {
        CheckpointKind::Before => "before",
        CheckpointKind::Progress => "progress",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestStep;

    /// A text of so many bytes of JSON, with its quotes.
    fn text(bytes: usize) -> Value {
        Value::String("x".repeat(bytes - 2))
    }

    #[tokio::test]
    async fn a_checkpoint_over_its_share_is_refused_and_not_stored() {
        let step = TestStep::new();
        let context = step.attempt(Direction::Do).unwrap();
        let before = context.checkpoint_before(text(BEFORE_BYTES_MAX + 1)).await;
        assert!(
            matches!(before, Err(CheckpointError::TooLarge { bytes, .. }) if bytes == BEFORE_BYTES_MAX + 1)
        );
        let progress = context
            .checkpoint_progress(text(PROGRESS_BYTES_MAX + 1))
            .await;
        assert!(matches!(progress, Err(CheckpointError::TooLarge { .. })));
        assert_eq!((step.stored(), context.before()), (0, None));

        context
            .checkpoint_before(text(BEFORE_BYTES_MAX))
            .await
            .unwrap();
        context
            .checkpoint_progress(text(PROGRESS_BYTES_MAX))
            .await
            .unwrap();
        assert_eq!(step.stored(), 2);
    }
}
