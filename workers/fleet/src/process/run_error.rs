//! Why a run did not come to its own end, and what that means for the attempt it was made for.

use baton_worker::TaskError;

use super::folder::FolderError;

/// Whether what was run may have changed something outside its own folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// It only looks.
    Nothing,
    /// It may have.
    Something,
}

/// Why a run did not come to its own end. In every case but [`RunError::Alive`] nothing of it is alive any more.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// What was asked for is not allowed; nothing was started.
    #[error("{0}")]
    Refused(String),
    /// A file it needs is not what the configuration says it is; nothing was started.
    #[error("{0}")]
    Changed(String),
    /// The attempt may not act any more; nothing was started.
    #[error("the run may not act any more: its time or its lease is over, or it was cancelled")]
    NotAllowed,
    /// No folder; nothing was started.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The program could not be started; nothing ran.
    #[error("{0}")]
    NotStarted(String),
    /// It was ended before its end.
    #[error("{program} was ended: {why}; it and all it had started are gone{said}")]
    Stopped {
        /// The program's name.
        program: String,
        /// Its time limit, or a cancel.
        why: &'static str,
        /// The end of what it had printed, as a part of a sentence.
        said: String,
    },
    /// It was ended, or came to its end, and something it had started could not be killed.
    #[error(
        "{program} could not be ended: {what} may still be at work; end it by hand before anything is retried or undone"
    )]
    Alive {
        /// The program's name.
        program: String,
        /// Which processes.
        what: String,
    },
    /// How it ended is not known, for its launcher was killed; nothing of it is alive.
    #[error("how {program} ended is not known: {why}; it and all it had started are gone")]
    Lost {
        /// The program's name.
        program: String,
        /// What happened.
        why: String,
    },
}

impl RunError {
    /// These processes are left; 0 stands for ones that cannot be seen.
    pub(crate) fn alive(program: String, left: &[i32]) -> Self {
        let seen: Vec<String> = left
            .iter()
            .filter(|pid| **pid != 0)
            .map(ToString::to_string)
            .collect();
        let what = if seen.is_empty() {
            "a process that cannot be seen".to_owned()
        } else {
            format!("process {}", seen.join(", "))
        };
        Self::Alive { program, what }
    }

    /// Whether the program provably never ran.
    #[must_use]
    pub const fn nothing_ran(&self) -> bool {
        match self {
            Self::Refused(_)
            | Self::Changed(_)
            | Self::NotAllowed
            | Self::Folder(_)
            | Self::NotStarted(_) => true,
            Self::Stopped { .. } | Self::Alive { .. } | Self::Lost { .. } => false,
        }
    }

    /// A short stable word.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Changed(_) => "program-changed",
            Self::NotAllowed => "no-longer-allowed",
            Self::Folder(_) => "work-folder",
            Self::NotStarted(_) => "not-started",
            Self::Stopped { .. } => "stopped",
            Self::Alive { .. } => "still-alive",
            Self::Lost { .. } => "launcher-lost",
        }
    }

    /// What it means for the attempt: *failed* when nothing ran, or what ran only looks and is gone; else *unknown*.
    #[must_use]
    pub fn into_task_error(self, changes: Changes) -> TaskError {
        let (code, message) = (self.code(), self.to_string());
        match self {
            Self::Refused(_) | Self::Changed(_) | Self::NotStarted(_) => {
                TaskError::failed(code, message)
            }
            Self::NotAllowed | Self::Folder(_) => TaskError::failed(code, message).retryable(),
            Self::Alive { .. } => TaskError::unknown(code, message),
            Self::Stopped { .. } | Self::Lost { .. } => match changes {
                Changes::Nothing => TaskError::failed(code, message).retryable(),
                Changes::Something => TaskError::unknown(code, message),
            },
        }
    }
}
