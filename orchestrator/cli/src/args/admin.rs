//! Administer: `token`, `dead`, `completions`, `man`.

use baton_messages::DeadReason;
use clap::{Args, Subcommand, ValueEnum};

use super::PageArgs;

#[derive(Debug, Args)]
pub(crate) struct Token {
    #[command(subcommand)]
    pub(crate) command: TokenCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make one; it is shown once
    Create {
        /// Its name, as it will stand in records
        name: String,
        /// What it may do
        #[arg(long, short = 'r', value_enum, default_value_t = Role::Viewer)]
        role: Role,
        /// For how long: 12h, 30d; for ever when absent
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
    },
    /// List them
    Ls,
    /// Make one useless, at once
    Revoke {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long, short = 'y')]
        yes: bool,
    },
    /// Whose token this is, and what it may do
    Whoami,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// May look
    Viewer,
    /// May start and steer sagas
    Operator,
    /// May register definitions and make tokens
    Admin,
}

impl Role {
    /// As the API says it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Dead {
    #[command(subcommand)]
    pub(crate) command: Option<DeadCommand>,
    #[command(flatten)]
    pub(crate) list: DeadLs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadCommand {
    /// List them, newest first (the default)
    Ls(DeadLs),
    /// Show one in full: where it came from, properties, headers, body
    Show(DeadShow),
}

#[derive(Debug, Args)]
pub(crate) struct DeadLs {
    /// Only those that died of this
    #[arg(long, short = 'r', value_parser = reasons())]
    pub(crate) reason: Option<String>,
    /// Only those from this queue
    #[arg(long, short = 'q', value_name = "NAME")]
    pub(crate) queue: Option<String>,
    /// Only messages of this kind, such as task@1 or batch@1
    #[arg(long, short = 'k', value_name = "KIND")]
    pub(crate) kind: Option<String>,
    /// Only those that speak of this saga
    #[arg(long, value_name = "SAGA")]
    pub(crate) saga: Option<String>,
    /// Only those with this in their error or body, to the letter
    #[arg(long, short = 't', value_name = "TEXT")]
    pub(crate) text: Option<String>,
    /// Only those taken in since then: 2h ago is `2h`; or a date, or a time
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// Only those taken in before then
    #[arg(long, value_name = "WHEN")]
    pub(crate) until: Option<String>,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

/// Every word a message can die of.
fn reasons() -> clap::builder::PossibleValuesParser {
    DeadReason::ALL.map(DeadReason::as_str).into()
}

#[derive(Debug, Args)]
pub(crate) struct DeadShow {
    /// The message: its id, or the beginning of it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Its body and nothing else, byte for byte
    #[arg(long)]
    pub(crate) raw: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Of which shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Of which command; of `baton` itself when absent
    pub(crate) command: Option<String>,
}
