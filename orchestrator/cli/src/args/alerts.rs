//! What needs a person: `alerts`.

use clap::{Args, Subcommand};

use super::PageArgs;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Alerts {
    #[command(subcommand)]
    pub(crate) command: Option<AlertsCommand>,
    #[command(flatten)]
    pub(crate) list: AlertsLs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AlertsCommand {
    /// List them, newest first (the default)
    Ls(AlertsLs),
    /// Show one in full
    Show {
        /// Its id, or the beginning of it
        id: String,
    },
    /// Say that they were seen: they are not repeated
    Ack {
        /// Their ids, or the beginnings of them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        /// Why, for whoever reads it later
        #[arg(long, short = 'm', value_name = "TEXT")]
        message: String,
    },
    /// Publish nothing of them for a while
    Mute {
        /// Their ids, or the beginnings of them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        /// For how long: 2h, 3d
        #[arg(long = "for", value_name = "TIME")]
        time: String,
        /// Why, for whoever reads it later
        #[arg(long, short = 'm', value_name = "TEXT")]
        message: String,
    },
    /// Publish them again
    Unmute {
        /// Their ids, or the beginnings of them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        /// Why, for whoever reads it later
        #[arg(long, short = 'm', value_name = "TEXT")]
        message: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AlertsLs {
    /// Which: open, resolved, all
    #[arg(long, default_value = "open", value_parser = ["open", "resolved", "all"])]
    pub(crate) state: String,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}
