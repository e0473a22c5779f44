//! Author: `check`, `apply`, `definitions`, `tasks`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
    /// The task types to plan with, as `baton tasks --json` gives them [default: those of this version]
    #[arg(long, value_name = "FILE")]
    pub(crate) catalogue: Option<PathBuf>,
    /// As a Mermaid flowchart, to be put into a page
    #[arg(long, conflicts_with = "json")]
    pub(crate) mermaid: bool,
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
    /// Print one as it was registered
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
