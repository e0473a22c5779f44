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
}

#[derive(Debug, Args)]
pub(crate) struct WorkLs {
    /// Also what is closed
    #[arg(long)]
    pub(crate) all: bool,
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
