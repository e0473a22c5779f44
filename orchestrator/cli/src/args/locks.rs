//! What sagas take before their first step: `locks`.

use clap::{Args, Subcommand};

use super::PageArgs;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Locks {
    #[command(subcommand)]
    pub(crate) command: Option<LocksCommand>,
    #[command(flatten)]
    pub(crate) list: LocksLs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LocksCommand {
    /// List who has what, and who waits (the default)
    Ls(LocksLs),
    /// Show who has one of them, and who waits, in the order they came
    Show {
        /// Its name
        name: String,
        /// Which kind: lock, concurrency, blast-radius
        #[arg(long, default_value = "lock", value_parser = KINDS)]
        kind: String,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Take a lock from the saga that holds it, and from all below the same root; they go on without it
    Break {
        /// The lock
        name: String,
        /// The saga that holds it: its id, or the beginning of it
        #[arg(long, value_name = "SAGA")]
        saga: String,
        /// Why, for whoever reads it later
        #[arg(long, short = 'm', value_name = "TEXT")]
        reason: String,
        /// Do not ask
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

/// Every kind.
const KINDS: [&str; 3] = ["lock", "concurrency", "blast-radius"];

#[derive(Debug, Args)]
pub(crate) struct LocksLs {
    /// Only one kind: lock, concurrency, blast-radius
    #[arg(long, value_parser = KINDS)]
    pub(crate) kind: Option<String>,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}
