//! Moving running sagas to another version: `upgrade`.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    /// The definition
    pub(crate) name: String,
    /// The version they are to run, registered before
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) to: u32,
    /// Only sagas of this version [default: of all older ones]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) from: Option<u32>,
    /// Only this saga: its id, or the beginning of it
    #[arg(long, value_name = "SAGA", conflicts_with = "from")]
    pub(crate) saga: Option<String>,
    /// Say what would become of each, and move none
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Why, for whoever reads it later; it stands in the history of each
    #[arg(
        long = "why",
        alias = "reason",
        short = 'm',
        value_name = "TEXT",
        required_unless_present = "dry_run"
    )]
    pub(crate) why: Option<String>,
}
