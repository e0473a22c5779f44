//! What goes wrong, and what to do: every error ends with the next command where there is one.

use std::path::PathBuf;

use crate::exit::Exit;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// No runtime.
    #[error("this program cannot run here")]
    Runtime {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nobody answers.
    #[error(
        "no orchestrator answers at {url}; is `baton-orchestrator` running? Another place is named by --url or BATON_URL"
    )]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The answer cannot be read.
    #[error("what answers at {url} is no orchestrator of this version")]
    Answer {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// There is no token.
    #[error(
        "no token: looked for {looked}. Name one by BATON_TOKEN or --token-file; the orchestrator keeps its own in <data_dir>/token"
    )]
    NoToken {
        /// Where it was looked for.
        looked: String,
    },
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The orchestrator says no.
    #[error("{detail}")]
    Problem {
        /// The HTTP status.
        status: u16,
        /// What it says.
        detail: String,
        /// Where to look next.
        next: Option<String>,
    },
    /// Nobody knows whether it happened.
    #[error(
        "it is not known whether it was started; run the same again with {with}: if it was, that is the same saga"
    )]
    InDoubt {
        /// What makes it the same.
        with: String,
        /// Why it is not known.
        #[source]
        source: Box<Self>,
    },
    /// What was given cannot be used.
    #[error("{what}")]
    Usage {
        /// What, and what it should be.
        what: String,
    },
}

impl CliError {
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::Usage { what: what.into() }
    }

    /// Whether what was asked for may have happened all the same: it was sent, and no answer says what became of it.
    pub(crate) fn in_doubt(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => !source.is_connect(),
            Self::Answer { .. } => true,
            Self::Problem { status, .. } => *status == 503,
            _ => false,
        }
    }

    /// The exit code of a command that ended so.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } => Exit::Usage,
            Self::Runtime { .. }
            | Self::Unreachable { .. }
            | Self::Answer { .. }
            | Self::NoToken { .. }
            | Self::File { .. }
            | Self::Problem { .. }
            | Self::InDoubt { .. } => Exit::Error,
        }
    }
}
