//! Why an attempt did not succeed, as an automation says it. There are two words, and the difference between them decides whether
//! a saga retries or first finds out: *failed* is a proof that nothing was changed, *unknown* is everything else.

use std::time::Duration;

use baton_messages::{Failure, TaskResult};

/// An attempt that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct TaskError {
    code: String,
    message: String,
    nothing_changed: bool,
    retryable: bool,
    retry_after_ms: Option<u64>,
}

impl TaskError {
    /// Provably nothing was changed and nothing started is still alive. Not retryable unless [`TaskError::retryable`] says so.
    /// `code` is a short stable word for machines, `message` a sentence for people, without secrets.
    #[must_use]
    pub fn failed(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            nothing_changed: true,
            retryable: false,
            retry_after_ms: None,
        }
    }

    /// It may or may not have happened.
    #[must_use]
    pub fn unknown(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            nothing_changed: false,
            retryable: true,
            ..Self::failed(code, message)
        }
    }

    /// Another attempt may come out otherwise.
    #[must_use]
    pub const fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// No other attempt can come out otherwise.
    #[must_use]
    pub const fn is_final(mut self) -> Self {
        self.retryable = false;
        self
    }

    /// Another attempt makes sense after this long; says retryable as well.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retryable = true;
        self.retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The short stable word.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Whether this says that provably nothing was changed.
    #[must_use]
    pub const fn nothing_changed(&self) -> bool {
        self.nothing_changed
    }

    /// Whether another attempt may come out otherwise.
    #[must_use]
    pub const fn may_retry(&self) -> bool {
        self.retryable
    }

    pub(crate) fn into_result(self) -> TaskResult {
        let nothing_changed = self.nothing_changed;
        let failure = Failure {
            code: self.code,
            message: self.message,
            retryable: self.retryable,
            retry_after_ms: self.retry_after_ms,
        };
        if nothing_changed {
            TaskResult::Failed(failure)
        } else {
            TaskResult::Unknown(failure)
        }
    }
}
