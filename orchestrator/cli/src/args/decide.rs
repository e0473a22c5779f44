//! Decide: what an operator does to a saga, a step, a work item.

use clap::{Args, Subcommand, ValueEnum};

use super::PageArgs;

#[derive(Debug, Args)]
pub(crate) struct Act {
    /// The saga: its id, or the beginning of it
    #[arg(value_name = "SAGA")]
    pub(crate) id: String,
    /// Why, for whoever reads it later
    #[arg(long, short = 'm', value_name = "TEXT")]
    pub(crate) reason: String,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ActOnStep {
    /// The saga: its id, or the beginning of it
    #[arg(value_name = "SAGA")]
    pub(crate) id: String,
    /// The step
    pub(crate) step: String,
    #[command(flatten)]
    pub(crate) why: StepReason,
}

#[derive(Debug, Args)]
pub(crate) struct EditStep {
    /// The saga: its id, or the beginning of it
    #[arg(value_name = "SAGA")]
    pub(crate) id: String,
    /// The step
    pub(crate) step: String,
    /// Set a place of its input: /hosts/0=JSON or text (hosts.0 will do)
    #[arg(long, short = 's', value_name = "PLACE=VALUE")]
    pub(crate) set: Vec<String>,
    /// Take a place of its input away
    #[arg(long, value_name = "PLACE")]
    pub(crate) unset: Vec<String>,
    /// The whole input as JSON, or @FILE
    #[arg(long, short = 'i', value_name = "JSON", conflicts_with_all = ["set", "unset"])]
    pub(crate) input: Option<String>,
    /// Another task type, in place of the one it has
    #[arg(long, value_name = "TYPE")]
    pub(crate) task: Option<String>,
    /// Why, for whoever reads it later
    #[arg(
        long,
        short = 'm',
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) message: String,
    /// Only show what would differ
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StepReason {
    /// Why, for whoever reads it later
    #[arg(long, short = 'm', value_name = "TEXT")]
    pub(crate) reason: String,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
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
pub(crate) struct Decide {
    /// The saga: its id, or the beginning of it
    #[arg(value_name = "SAGA", required_unless_present = "label")]
    pub(crate) id: Option<String>,
    /// The step; needed only where several wait for approval
    #[arg(value_name = "STEP")]
    pub(crate) step: Option<String>,
    /// Every saga with this label whose step waits for approval
    #[arg(long, short = 'l', value_name = "KEY=VALUE", conflicts_with_all = ["id", "step"])]
    pub(crate) label: Option<String>,
    /// The step, with --label as without; needed only where different ones wait
    #[arg(long = "step", value_name = "STEP", conflicts_with = "step")]
    pub(crate) of_label: Option<String>,
    /// A note that goes into the records, and into the step's output
    #[arg(long, short = 'm', value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// Do not ask; with --label a person at a terminal is asked
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Acknowledge {
    /// The saga: its id, or the beginning of it
    #[arg(value_name = "SAGA")]
    pub(crate) id: String,
    /// The number of the work item
    pub(crate) number: u32,
    /// Why, for whoever reads it later
    #[arg(long, short = 'm', value_name = "TEXT", default_value = "seen")]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Work {
    #[command(subcommand)]
    pub(crate) command: Option<WorkCommand>,
    #[command(flatten)]
    pub(crate) ls: WorkLs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkCommand {
    /// List them, oldest first (the default)
    Ls(WorkLs),
    /// Show what a saga's work items are about, with the commands that decide them
    Show(WorkShow),
    /// Take one: it is yours, and escalated no further
    Take(WorkTake),
    /// Give one back to whose it was: it is escalated again
    GiveBack(WorkTake),
    /// Give one to somebody, or say by when it should be done
    Assign(WorkAssign),
}

#[derive(Debug, Args)]
pub(crate) struct WorkTake {
    /// The saga: its id, or the beginning of it
    #[arg(value_name = "SAGA")]
    pub(crate) id: String,
    /// The number of the work item; may be left out where one is open
    #[arg(value_name = "NUMBER")]
    pub(crate) number: Option<u32>,
    /// When it should be done, from now: 30m, 2h, 1d
    #[arg(long, value_name = "DURATION")]
    pub(crate) due: Option<String>,
    /// Why, for whoever reads it later
    #[arg(long, short = 'm', value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WorkAssign {
    /// The saga: its id, or the beginning of it
    #[arg(value_name = "SAGA")]
    pub(crate) id: String,
    /// The number of the work item; may be left out where one is open
    #[arg(value_name = "NUMBER")]
    pub(crate) number: Option<u32>,
    /// Whose it is from now on: a person or a team
    #[arg(long, value_name = "NAME", required_unless_present = "due")]
    pub(crate) to: Option<String>,
    /// When it should be done, from now: 30m, 2h, 1d
    #[arg(long, value_name = "DURATION")]
    pub(crate) due: Option<String>,
    /// Why, for whoever reads it later
    #[arg(long, short = 'm', value_name = "TEXT")]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct WorkLs {
    /// Also what is closed
    #[arg(long, conflicts_with_all = ["mine", "unassigned", "assignee", "overdue"])]
    pub(crate) all: bool,
    /// Only what is yours: of the name your token has
    #[arg(long, conflicts_with_all = ["unassigned", "assignee"])]
    pub(crate) mine: bool,
    /// Only what is nobody's
    #[arg(long, conflicts_with = "assignee")]
    pub(crate) unassigned: bool,
    /// Only what is this person's or team's
    #[arg(long = "for", value_name = "NAME")]
    pub(crate) assignee: Option<String>,
    /// Only what should have been done
    #[arg(long)]
    pub(crate) overdue: bool,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WorkShow {
    /// The saga: its id, or the beginning of it
    #[arg(value_name = "SAGA")]
    pub(crate) id: String,
    /// The number of one of its work items; all that are open when absent
    #[arg(value_name = "NUMBER")]
    pub(crate) number: Option<u32>,
}
