//! Author: `check`, `plan`, `sweep`, `apply`, `definitions`, `tasks`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Files with one definition each; - is the standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The task types to check against, as `baton tasks --json` gives them [default: those of this version]
    #[arg(long, value_name = "FILE", conflicts_with = "online")]
    pub(crate) catalogue: Option<PathBuf>,
    /// Have a running orchestrator check, against the task types it knows
    #[arg(long)]
    pub(crate) online: bool,
    /// Print each expression with its type, and how many of them nobody can know
    #[arg(long, conflicts_with = "online")]
    pub(crate) types: bool,
    /// Exit with 1 on warnings too: what is likely a mistake
    #[arg(long, conflicts_with = "types")]
    pub(crate) deny_warnings: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A code as `baton check` prints it, BT0012; all of them when left out
    #[arg(value_name = "CODE")]
    pub(crate) code: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// A file with a definition; - is the standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// An input to plan for: JSON, @FILE or @-
    #[arg(long, value_name = "JSON")]
    pub(crate) input: Option<String>,
    /// A file with a saga that a step names, to be shown within it; once for each
    #[arg(long, value_name = "FILE")]
    pub(crate) beside: Vec<PathBuf>,
    /// The task types to plan with, as `baton tasks --json` gives them [default: those of this version]
    #[arg(long, value_name = "FILE")]
    pub(crate) catalogue: Option<PathBuf>,
    /// As a Mermaid flowchart, to be put into a page
    #[arg(long, conflicts_with = "json")]
    pub(crate) mermaid: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Sweep {
    /// Files with one definition each, or folders of such; - is the standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// A file, or a folder, with sagas that steps name, to be played within theirs; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) beside: Vec<PathBuf>,
    /// What the saga is started with: JSON, @FILE or @-
    #[arg(long, value_name = "JSON")]
    pub(crate) input: Option<String>,
    /// What tasks return, by step, as far as it matters: JSON, @FILE or @-. Of a saga within it by the way there: restore/begin
    #[arg(long, value_name = "JSON")]
    pub(crate) returns: Option<String>,
    /// The data of the events that steps wait for, by step: JSON, @FILE or @-
    #[arg(long, value_name = "JSON")]
    pub(crate) events: Option<String>,
    /// The task types there are, as `baton tasks --json` gives them [default: those of this version]
    #[arg(long, value_name = "FILE")]
    pub(crate) catalogue: Option<PathBuf>,
    /// Only the rows of this step, and of what lies within it; may be repeated
    #[arg(long, value_name = "STEP")]
    pub(crate) step: Vec<String>,
    /// How often each cell is played
    #[arg(long, value_name = "N", default_value_t = baton_sim::sweep::PLAYS, value_parser = clap::value_parser!(u64).range(1..=baton_sim::sweep::PLAYS_MAX))]
    pub(crate) plays: u64,
    /// Play one seed again
    #[arg(long, value_name = "N", conflicts_with_all = ["step", "plays"])]
    pub(crate) seed: Option<u64>,
    /// With --seed: everything that happens in it
    #[arg(long, requires = "seed")]
    pub(crate) trace: bool,
    /// How it ends on purpose when nothing befalls it [default: it completes]
    #[arg(long, value_name = "HOW", conflicts_with = "seed")]
    pub(crate) ends: Option<Ends>,
    /// Fail also where the promise is kept, by a person
    #[arg(long, value_name = "WHAT", conflicts_with = "seed")]
    pub(crate) fail_on: Option<FailOn>,
    /// With --fail-on: a step about which a person may be asked; may be repeated
    #[arg(long, value_name = "STEP", requires = "fail_on")]
    pub(crate) may_park: Vec<String>,
    /// Stop after so long, such as 5m
    #[arg(long, value_name = "TIME", conflicts_with = "seed")]
    pub(crate) within: Option<String>,
}

/// How a saga may end on purpose that is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ends {
    /// It does all it is there for
    Completed,
    /// It takes back what it did
    Compensated,
    /// A person has to decide
    Parked,
}

/// What a sweep fails on beside a broken promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// A saga is parked
    Parked,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// Files with one definition each; - is the standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Definitions {
    #[command(subcommand)]
    pub(crate) command: Option<DefinitionsCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DefinitionsCommand {
    /// List them (the default)
    Ls,
    /// Print one as it was registered, and what is wrong with it now
    Show {
        /// name (the newest version) or name@version
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Tasks {
    #[command(subcommand)]
    pub(crate) command: Option<TasksCommand>,
    /// Those that come with this version, without a server
    #[arg(long, global = true)]
    pub(crate) offline: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TasksCommand {
    /// List them (the default)
    Ls,
    /// The manual page of one
    Show {
        /// name@version, or a name
        #[arg(value_name = "TYPE")]
        name: String,
    },
}
