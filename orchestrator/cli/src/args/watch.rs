//! Watch: `ls`, `show`, `watch`, `top`, `workers`, `cluster`.

use clap::{Args, ValueEnum};

use super::PageArgs;

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Only those that stand there
    #[arg(long, short = 's', value_enum)]
    pub(crate) status: Option<Status>,
    /// Only those of this definition
    #[arg(long, short = 'd', value_name = "NAME")]
    pub(crate) definition: Option<String>,
    /// Only those with this label
    #[arg(long, short = 'l', value_name = "KEY=VALUE")]
    pub(crate) label: Option<String>,
    /// Only those started since then: 2h ago is `2h`; or a date, 2026-01-31, or a time, 2026-01-31T14:00:00Z
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// Only those started before then
    #[arg(long, value_name = "WHEN")]
    pub(crate) until: Option<String>,
    /// Go on showing, as they change
    #[arg(long)]
    pub(crate) watch: bool,
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

impl Status {
    /// As the API says it.
    pub(crate) fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The saga: its id, or the beginning of it
    #[arg(value_name = "SAGA")]
    pub(crate) id: String,
    /// Every attempt of every step
    #[arg(long, short = 'a')]
    pub(crate) attempts: bool,
    /// Every record, as it is kept
    #[arg(long)]
    pub(crate) records: bool,
    /// Every item of a step that is done for each of a list
    #[arg(long, value_name = "STEP", conflicts_with_all = ["records", "attempts", "wait"])]
    pub(crate) items: Option<String>,
    /// Of the items only those that have failed, or ask a person
    #[arg(long, requires = "items")]
    pub(crate) troubled: bool,
    /// Show how it goes on until it has ended or is parked, and exit accordingly
    #[arg(long, short = 'w')]
    pub(crate) wait: bool,
    /// How long to wait at most, in seconds
    #[arg(long, value_name = "SECONDS", requires = "wait")]
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// The saga: its id, or the beginning of it
    #[arg(value_name = "SAGA")]
    pub(crate) id: Option<String>,
    /// Every saga
    #[arg(long, conflicts_with = "id")]
    pub(crate) all: bool,
    /// Of all, only those of this definition
    #[arg(long, short = 'd', value_name = "NAME", conflicts_with = "id")]
    pub(crate) definition: Option<String>,
    /// Of all, only those that come to stand there
    #[arg(long, short = 's', value_enum, conflicts_with = "id")]
    pub(crate) status: Option<Status>,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Go on showing
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {}

#[derive(Debug, Args)]
pub(crate) struct Workers {
    /// What each can do, and what it runs
    #[arg(long, short = 'a')]
    pub(crate) all: bool,
}
