//! What goes wrong, and what to do: every error names the next command where there is one.

use std::path::PathBuf;

use serde_json::Value;

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
    /// The terminal cannot be read.
    #[error("the answer cannot be read from this terminal; --yes goes without asking")]
    Terminal {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("{path} cannot be written")]
    NotMade {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The answer cannot be written.
    #[error("the answer could not be written to the standard output")]
    Unwritten {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No client.
    #[error("no HTTP client can be made here")]
    NoClient {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Nobody answers.
    #[error("no orchestrator answers at {url}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// No broker answers.
    #[error("no management API of a broker answers at {place}")]
    NoBroker {
        /// Where.
        place: String,
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
    /// The answer means something else than it should.
    #[error("what answers is an orchestrator of another version: {what}")]
    Shape {
        /// What does not fit.
        what: String,
    },
    /// There is no token.
    #[error("no token: looked for {looked}")]
    NoToken {
        /// Where it was looked for.
        looked: String,
    },
    /// A file cannot be read.
    #[error("{} cannot be read{}", path.display(), meant(near.as_deref()))]
    File {
        /// The file.
        path: PathBuf,
        /// One that is there, and may have been meant.
        near: Option<String>,
        /// Where to look next.
        next: String,
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
        /// All it says.
        document: Box<Value>,
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
    /// Of many, some were started, and then none could be.
    #[error(
        "{started} of {lines} lines were started; run the same again: what was started is not started twice"
    )]
    BrokenOff {
        /// How many are known to be started.
        started: usize,
        /// Of how many.
        lines: usize,
        /// What came between.
        #[source]
        source: Box<Self>,
    },
    /// Lines of a file cannot be used.
    #[error("{what}")]
    Lines {
        /// Which, and why.
        what: String,
        /// Where to look next.
        next: String,
    },
    /// The command line says too little, or what is none; and there is a better place to look than its help.
    #[error("{what}")]
    TooLittle {
        /// What is missing or wrong.
        what: String,
        /// Where to find it.
        next: String,
    },
    /// It was understood, and cannot be done as things stand.
    #[error("{what}")]
    NotNow {
        /// What is in the way.
        what: String,
        /// Where to look next.
        next: String,
    },
    /// A name nobody knows.
    #[error("{what}{}", meant(near.as_deref()))]
    NotThere {
        /// What was looked for.
        what: String,
        /// What may have been meant.
        near: Option<String>,
        /// Where to look next.
        next: String,
    },
    /// What was given cannot be used.
    #[error("{what}")]
    Usage {
        /// What, and what it should be.
        what: String,
    },
}

fn meant(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

impl CliError {
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::Usage { what: what.into() }
    }

    /// The same, with where to look next.
    pub(crate) fn usage_then(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::TooLittle {
            what: what.into(),
            next: next.into(),
        }
    }

    pub(crate) fn not_now(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::NotNow {
            what: what.into(),
            next: next.into(),
        }
    }

    pub(crate) fn not_there(what: String, near: Option<&str>, next: impl Into<String>) -> Self {
        Self::NotThere {
            what,
            near: near.map(str::to_owned),
            next: next.into(),
        }
    }

    /// With why, on one line.
    pub(crate) fn whole(&self) -> String {
        use std::error::Error as _;
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        text
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

    /// Whether it may be over in a moment: the orchestrator is away, starting or busy.
    pub(crate) const fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Answer { .. } => true,
            Self::Problem { status, .. } => matches!(*status, 429 | 502 | 503),
            _ => false,
        }
    }

    /// The status of a refusal.
    pub(crate) const fn status(&self) -> Option<u16> {
        match self {
            Self::Problem { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// What to type next; `command` is the one that was typed, and tells what it takes where nothing better is known.
    pub(crate) fn next(&self, command: &str) -> Option<String> {
        let help = || Some(format!("baton {command} --help").replace("  ", " "));
        let text = match self {
            Self::Problem { next, .. } => return next.clone().or_else(help),
            Self::File { next, .. }
            | Self::NotNow { next, .. }
            | Self::NotThere { next, .. }
            | Self::Lines { next, .. }
            | Self::TooLittle { next, .. } => next,
            Self::Unreachable { .. } => {
                "start one: baton-orchestrator (it needs a broker, see its --help); or name another place: --url or BATON_URL"
            }
            Self::NoBroker { .. } => {
                "rabbitmq-plugins enable rabbitmq_management; or name another place: --management or BATON_MANAGEMENT"
            }
            Self::Answer { .. } | Self::Shape { .. } => {
                "baton --version, and look who listens there; another place is named by --url or BATON_URL"
            }
            Self::NoToken { .. } => {
                "--token-file FILE or BATON_TOKEN; an orchestrator keeps its first one in <data_dir>/token, an admin makes more: baton token create NAME"
            }
            Self::InDoubt { .. } | Self::BrokenOff { .. } => "baton ls",
            Self::Usage { .. } => return help(),
            Self::NotMade { .. } => {
                "look at the folder's rights and room; a file that is there already is not overwritten: give another name"
            }
            Self::Runtime { .. }
            | Self::Terminal { .. }
            | Self::Unwritten { .. }
            | Self::NoClient { .. } => return None,
        };
        Some(text.to_owned())
    }

    /// The exit code of a command that ended so.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } | Self::Lines { .. } | Self::TooLittle { .. } => Exit::Usage,
            _ => Exit::Error,
        }
    }
}
