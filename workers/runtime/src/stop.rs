//! Why a run is asked to stop; the first reason stays.

use std::sync::OnceLock;

use baton_messages::{Failure, TaskResult};
use tokio_util::sync::CancellationToken;

/// Why a run is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Cancelled,
    Drained,
    TimedOut,
    LeaseLost,
}

impl Why {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Drained => "drained",
            Self::TimedOut => "timeout",
            Self::LeaseLost => "lease-lost",
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::Cancelled => "it was cancelled, and ended without saying how far it had come",
            Self::Drained => "its worker was drained, and it did not end within the grace period",
            Self::TimedOut => "its time limit was over",
            Self::LeaseLost => {
                "its worker could not confirm in time that it lives, and ended it before anybody else may start"
            }
        }
    }

    /// What is reported of a run that was dropped.
    pub(crate) fn unknown(self) -> TaskResult {
        TaskResult::Unknown(Failure {
            code: self.code().to_owned(),
            message: self.sentence().to_owned(),
            retryable: true,
            retry_after_ms: None,
        })
    }
}

/// Asks one run to stop. Separate from the token the automation sees, which is cancelled for every reason.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    why: OnceLock<Why>,
    asked: CancellationToken,
}

impl Stop {
    pub(crate) fn ask(&self, why: Why) {
        // The first reason stays; a second one changes nothing.
        let _ = self.why.set(why);
        self.asked.cancel();
    }

    pub(crate) fn is_asked(&self) -> Option<Why> {
        self.asked
            .is_cancelled()
            .then(|| self.why.get().copied().unwrap_or(Why::Cancelled))
    }

    pub(crate) async fn asked(&self) -> Why {
        self.asked.cancelled().await;
        self.why.get().copied().unwrap_or(Why::Cancelled)
    }
}
