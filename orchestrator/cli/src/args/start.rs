//! Start things: `run`, `event`, `schedules`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::PageArgs;

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// A registered saga, name or name@version; or a task type, such as test.echo@1
    #[arg(value_name = "WHAT")]
    pub(crate) what: String,
    /// The input: JSON, or @FILE, or @- for the standard input
    #[arg(long, visible_alias = "with", value_name = "JSON")]
    pub(crate) input: Option<String>,
    /// One field of the input, as its schema wants it: text as it stands, all else as JSON
    #[arg(short = 'f', long = "field", value_name = "KEY=VALUE")]
    pub(crate) fields: Vec<String>,
    /// One saga for each line of a file: its input, as JSON; `-` is the standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["input", "id"])]
    pub(crate) each: Option<PathBuf>,
    /// A label to search by
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Idempotency key: the same key again is the same saga (with --each: the same line)
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// The same id (a UUID) again is the same saga; one is made when neither this nor a key is given
    #[arg(long, value_name = "UUID", conflicts_with = "key")]
    pub(crate) id: Option<uuid::Uuid>,
    /// Show how it goes on until it has ended or is parked, and exit accordingly
    #[arg(long, short = 'w')]
    pub(crate) wait: bool,
    /// How long to wait at most, in seconds
    #[arg(long, value_name = "SECONDS", requires = "wait")]
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Event {
    #[command(subcommand)]
    pub(crate) command: EventCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    /// Publish one, as a cloud event
    Publish(Publish),
    /// List the events kept, newest first
    Ls {
        /// Only those of this type
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Show an event and what it started, joined or woke
    Show {
        /// Its id
        id: String,
        /// Its source; looked for among the newest events when absent
        #[arg(long)]
        source: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The event's type, such as com.example.paid
    #[arg(value_name = "TYPE")]
    pub(crate) kind: String,
    /// What it says: JSON, or @FILE, or @- for the standard input
    #[arg(long, value_name = "JSON")]
    pub(crate) data: Option<String>,
    /// One field of the data; the value is JSON where it can be, else text
    #[arg(short = 'f', long = "field", value_name = "KEY=VALUE")]
    pub(crate) fields: Vec<String>,
    /// Who says it, a URI
    #[arg(long, default_value = "/baton/cli", value_name = "URI")]
    pub(crate) source: String,
    /// Its id within its source: the same again is the same event; one is made when absent
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// What it is about
    #[arg(long)]
    pub(crate) subject: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Schedules {
    #[command(subcommand)]
    pub(crate) command: Option<SchedulesCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SchedulesCommand {
    /// List them, with their next and last firing (the default)
    Ls,
    /// Start nothing by the clock any more
    Pause(OneSchedule),
    /// Start by the clock again
    Resume(OneSchedule),
    /// Start now
    Fire(OneSchedule),
}

#[derive(Debug, Args)]
pub(crate) struct OneSchedule {
    /// The definition
    pub(crate) definition: String,
    /// Which of its triggers, by place in `on:`; needed only where it has several schedules
    pub(crate) trigger: Option<u32>,
}
