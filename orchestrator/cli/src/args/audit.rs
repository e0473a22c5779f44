//! What was done: `audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::PageArgs;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Audit {
    #[command(subcommand)]
    pub(crate) command: Option<AuditCommand>,
    #[command(flatten)]
    pub(crate) list: AuditLs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List actions, newest first (the default)
    Ls(AuditLs),
    /// Follow the chain from the first row to the last
    Verify(AuditVerify),
    /// Write every row as it is kept, a line of JSON each
    Export(AuditExport),
    /// How far the log is: a line to keep elsewhere
    Head,
}

#[derive(Debug, Args)]
pub(crate) struct AuditLs {
    /// Only what was done with this token
    #[arg(long, value_name = "TOKEN")]
    pub(crate) who: Option<String>,
    /// Only this action, as the API calls it: cancelSaga, replayDeadLetter
    #[arg(long, value_name = "ACTION")]
    pub(crate) action: Option<String>,
    /// Only what was done to this: sagas/ID, tokens/NAME, definitions/NAME@1
    #[arg(long, value_name = "OBJECT")]
    pub(crate) object: Option<String>,
    /// Only what came out so; asked: nobody wrote down what came of it
    #[arg(long, value_parser = ["asked", "done", "refused", "seen"])]
    pub(crate) phase: Option<String>,
    /// Only what was done since: 2h, 3d, or a date
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// Only what was done until then
    #[arg(long, value_name = "WHEN")]
    pub(crate) until: Option<String>,
    /// Each row, also that in which something was asked that was answered
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AuditVerify {
    #[arg(
        long,
        help = "Heads that were exported: the file of audit.heads_file, or lines of baton audit head",
        value_name = "FILE"
    )]
    pub(crate) head: Option<PathBuf>,
    /// Verify an export instead of what the orchestrator has
    #[arg(long, value_name = "FILE")]
    pub(crate) export: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct AuditExport {
    /// Only rows behind this number
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) after: u64,
    /// Into a new file instead of standard output
    #[arg(long, short = 'o', value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}
