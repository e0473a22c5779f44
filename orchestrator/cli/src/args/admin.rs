//! Administer: `token`, `dead`, `completions`, `man`.

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
pub(crate) struct Dead {
    #[command(flatten)]
    pub(crate) page: PageArgs,
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
