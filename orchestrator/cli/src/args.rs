//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where an orchestrator listens by default.
pub(crate) const URL_DEFAULT: &str = "http://127.0.0.1:8470";

/// Starts, watches and mends sagas.
///
/// Exit codes: 0 done or completed, 1 error, 2 usage, 3 compensated, 4 parked, 5 abandoned, 6 not ended in time.
#[derive(Debug, Parser)]
#[command(name = "baton", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Where the orchestrator listens
    #[arg(long, global = true, env = "BATON_URL", default_value = URL_DEFAULT, value_name = "URL")]
    pub(crate) url: String,
    /// The token itself; better in the environment or a file than on the command line
    #[arg(
        long,
        global = true,
        env = "BATON_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub(crate) token: Option<String>,
    /// A file with the token; by default that of an orchestrator on this machine: .data/token, then /var/lib/baton/token
    #[arg(long, global = true, env = "BATON_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Who acts, as it will stand in the records; by default the user of this machine
    #[arg(long, global = true, env = "BATON_BY", value_name = "NAME")]
    pub(crate) by: Option<String>,
    /// JSON, as the API gives it
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No colours, also on a terminal
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Register saga definitions
    Apply(Apply),
    /// Start a saga, or one task on its own
    Run(Run),
    /// List sagas, newest first
    Ls(Ls),
    /// Show a saga: its steps, why it waits, what you can do
    Show(Show),
    /// Take back what a saga has done
    Cancel(Act),
    /// Let a saga start nothing new
    Pause(Act),
    /// Let a paused saga go on
    Resume(Act),
    /// Give a saga up, half done as it is
    Abandon(Act),
    /// Try a parked step, or a parked undo, again
    Retry(ActOnStep),
    /// Go on without a step
    Skip(ActOnStep),
    /// Say that a step was done, or undone, by hand
    Resolve(Resolve),
    /// Say that a work item which only informs was seen
    Acknowledge(Acknowledge),
    /// List what people have to decide
    Work(Page),
    /// List messages nobody could use
    Dead(Page),
    /// List the workers
    Workers,
    /// List the task types known
    Types,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// Files with one definition each; - is the standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// A registered saga, name or name@version; or a task type, such as test.echo@1
    #[arg(value_name = "WHAT")]
    pub(crate) what: String,
    /// The input: JSON, or @FILE, or @- for the standard input
    #[arg(long, visible_alias = "with", value_name = "JSON")]
    pub(crate) input: Option<String>,
    /// One field of the input; the value is JSON where it can be, else text
    #[arg(short = 'f', long = "field", value_name = "KEY=VALUE")]
    pub(crate) fields: Vec<String>,
    /// A label to search by
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,
    /// The same key again is the same saga
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// The same id (a UUID) again is the same saga; one is made when neither this nor a key is given
    #[arg(long, value_name = "UUID", conflicts_with = "key")]
    pub(crate) id: Option<uuid::Uuid>,
    /// Wait until it has ended or is parked, and exit accordingly
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait at most, in seconds
    #[arg(long, value_name = "SECONDS", requires = "wait")]
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Only those that stand there
    #[arg(long, value_enum)]
    pub(crate) status: Option<Status>,
    /// Only those of this definition
    #[arg(long, value_name = "NAME")]
    pub(crate) definition: Option<String>,
    /// Only those with this label
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Option<String>,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct PageArgs {
    /// How many at most
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub(crate) limit: usize,
    /// Go on where the last page ended
    #[arg(long, value_name = "CURSOR")]
    pub(crate) cursor: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Page {
    /// Also what is closed
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Status {
    Running,
    Compensating,
    Parked,
    Completed,
    Compensated,
    Abandoned,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The saga
    pub(crate) id: String,
    /// Every record, as it is kept
    #[arg(long)]
    pub(crate) records: bool,
    /// Wait until it has ended or is parked, and exit accordingly
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long to wait at most, in seconds
    #[arg(long, value_name = "SECONDS", requires = "wait")]
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Act {
    /// The saga
    pub(crate) id: String,
    /// Why, for whoever reads it later
    #[arg(long, short = 'm', value_name = "TEXT")]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct ActOnStep {
    /// The saga
    pub(crate) id: String,
    /// The step
    pub(crate) step: String,
    /// Why, for whoever reads it later
    #[arg(long, short = 'm', value_name = "TEXT")]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct Resolve {
    #[command(flatten)]
    pub(crate) act: ActOnStep,
    /// What it has come to
    #[arg(long = "as", value_enum, value_name = "WHAT")]
    pub(crate) come_to: ComeTo,
    /// What later steps read, when it is done: JSON, or @FILE
    #[arg(long, value_name = "JSON")]
    pub(crate) output: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ComeTo {
    Done,
    Undone,
}

#[derive(Debug, Args)]
pub(crate) struct Acknowledge {
    /// The saga
    pub(crate) id: String,
    /// The number of the work item
    pub(crate) number: u32,
    /// Why, for whoever reads it later
    #[arg(long, short = 'm', value_name = "TEXT", default_value = "seen")]
    pub(crate) reason: String,
}
