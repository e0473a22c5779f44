//! The command line, as people type it: what stands everywhere, and the list of commands. One file for each group of them.

mod admin;
mod alerts;
mod audit;
mod author;
mod decide;
pub(crate) mod help;
mod locks;
mod start;
mod topology;
mod upgrade;
mod watch;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use admin::{
    Completions, Dead, DeadCommand, DeadDiscard, DeadEdit, DeadExport, DeadFilter, DeadGroups,
    DeadImport, DeadLs, DeadMove, DeadNote, DeadOp, DeadOps, DeadOpsCommand, DeadOpsLs, DeadPeek,
    DeadReplay, DeadRestore, DeadShow, Man, Token, TokenCommand,
};
pub(crate) use alerts::{Alerts, AlertsCommand, AlertsLs};
pub(crate) use audit::{Audit, AuditCommand, AuditExport, AuditLs, AuditVerify};
pub(crate) use author::{
    Apply, Check, Definitions, DefinitionsCommand, Ends, Explain, FailOn, Plan, Sweep, Tasks,
    TasksCommand,
};
pub(crate) use decide::{
    Acknowledge, Act, ActOnStep, ComeTo, Decide, EditStep, Resolve, Work, WorkAssign, WorkCommand,
    WorkLs, WorkShow, WorkTake,
};
pub(crate) use locks::{Locks, LocksCommand, LocksLs};
pub(crate) use start::{
    Event, EventCommand, OneSchedule, Publish, Run, Schedules, SchedulesCommand,
};
pub(crate) use topology::{BrokerArgs, Topology, TopologyCommand, TopologyShow, WantedArgs};
pub(crate) use upgrade::Upgrade;
pub(crate) use watch::{ClusterArgs, Ls, Show, Top, Watch, Workers};

/// Where an orchestrator listens by default.
pub(crate) const URL_DEFAULT: &str = "http://127.0.0.1:8470";

/// Starts, watches and mends sagas.
#[derive(Debug, Parser)]
#[command(
    name = "baton",
    version,
    arg_required_else_help = true,
    subcommand_required = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What stands everywhere.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Where the orchestrator listens
    #[arg(long, global = true, env = "BATON_URL", hide_env = true, default_value = URL_DEFAULT, value_name = "URL")]
    pub(crate) url: String,
    #[arg(
        long,
        help = "The token itself; better in BATON_TOKEN or a file",
        global = true,
        env = "BATON_TOKEN",
        hide_env = true,
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub(crate) token: Option<String>,
    /// A file with the token [default: .data/token, then /var/lib/baton/token]
    #[arg(
        long,
        global = true,
        env = "BATON_TOKEN_FILE",
        hide_env = true,
        value_name = "FILE"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// On behalf of whom, for the records [default: $USER]
    #[arg(
        long,
        global = true,
        env = "BATON_BY",
        hide_env = true,
        value_name = "NAME"
    )]
    pub(crate) by: Option<String>,
    /// JSON as the API gives it: one document, or one line for each item of what goes on
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[arg(
        long,
        help = "No colours, also on a terminal (as NO_COLOR)",
        global = true
    )]
    pub(crate) no_color: bool,
}

/// Each stands in one group of [`help::GROUPS`].
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a saga, or one task on its own
    #[command(after_help = help::RUN)]
    Run(Run),
    /// Publish events, and see what they caused
    #[command(after_help = help::EVENT)]
    Event(Event),
    /// See, pause and fire what starts by the clock
    Schedules(Schedules),
    /// What needs a person, and what to type next
    #[command(after_help = help::ALERTS)]
    Alerts(Alerts),
    /// List sagas, newest first
    #[command(after_help = help::LS)]
    Ls(Ls),
    /// Show a saga: steps, why it waits, what to do
    #[command(after_help = help::SHOW)]
    Show(Show),
    /// Follow one saga, or all, as they change
    #[command(after_help = help::WATCH)]
    Watch(Watch),
    /// Where time goes, by task type: the bottleneck
    Top(Top),
    /// List the workers
    Workers(Workers),
    /// List the orchestrators, and who drives what
    Cluster(ClusterArgs),
    /// Who has which lock or limit, and who waits
    #[command(after_help = help::LOCKS)]
    Locks(Locks),
    /// What people have to decide; one in full
    #[command(after_help = help::WORK)]
    Work(Work),
    /// Say yes to what waits for approval
    #[command(after_help = help::APPROVE)]
    Approve(Decide),
    /// Say no to what waits for approval
    Reject(Decide),
    /// Try a parked step, or a parked undo, again
    #[command(after_help = help::RETRY)]
    Retry(ActOnStep),
    /// Try a parked step with another input or task
    #[command(after_help = help::EDIT)]
    Edit(EditStep),
    /// Go on without a step
    Skip(ActOnStep),
    /// Say that a step was done, or undone, by hand
    #[command(after_help = help::RESOLVE)]
    Resolve(Resolve),
    /// Say that a work item was seen
    Acknowledge(Acknowledge),
    /// Let a saga through that a limit holds back
    Admit(Act),
    /// Take back what a saga has done
    #[command(after_help = help::CANCEL)]
    Cancel(Act),
    /// Let a saga start nothing new
    Pause(Act),
    /// Let a paused saga go on
    Resume(Act),
    /// Give a saga up, half done as it is
    Abandon(Act),
    /// Check definitions, here, without a server
    #[command(after_help = help::CHECK)]
    Check(Check),
    /// What a code of the checker means
    #[command(after_help = help::EXPLAIN)]
    Explain(Explain),
    /// What a definition does and takes back
    #[command(after_help = help::PLAN)]
    Plan(Plan),
    /// Try all that can go wrong with a definition
    #[command(after_help = help::SWEEP)]
    Sweep(Box<Sweep>),
    /// Register definitions
    #[command(after_help = help::APPLY)]
    Apply(Apply),
    /// Move running sagas to another version
    #[command(after_help = help::UPGRADE)]
    Upgrade(Upgrade),
    /// List and print registered definitions
    Definitions(Definitions),
    /// List task types; a manual page of each
    #[command(alias = "types", after_help = help::TASKS)]
    Tasks(Tasks),
    /// Make, list and revoke tokens; who am I
    #[command(after_help = help::TOKEN)]
    Token(Token),
    /// Messages nobody could use; replay them
    #[command(after_help = help::DEAD)]
    Dead(Box<Dead>),
    /// What operators did, and whether it stands
    #[command(after_help = help::AUDIT)]
    Audit(Box<Audit>),
    /// What stands at the broker, and what should
    #[command(after_help = help::TOPOLOGY)]
    Topology(Box<Topology>),
    /// Completions for bash, zsh, fish
    #[command(after_help = help::COMPLETIONS)]
    Completions(Completions),
    /// The manual page, as roff
    Man(Man),
}

/// Rows of a page where none are asked for.
const PAGE_ROWS: u16 = 50;

/// One page of a list.
#[derive(Debug, Clone, Args)]
pub(crate) struct PageArgs {
    /// How many at most
    #[arg(long, short = 'n', default_value_t = PAGE_ROWS, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(crate) limit: u16,
    /// Go on where the last page ended
    #[arg(long, value_name = "CURSOR")]
    pub(crate) cursor: Option<String>,
}

impl Default for PageArgs {
    fn default() -> Self {
        Self {
            limit: PAGE_ROWS,
            cursor: None,
        }
    }
}

impl PageArgs {
    /// As the API is asked.
    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("limit", self.limit.to_string())];
        if let Some(cursor) = &self.cursor {
            query.push(("cursor", cursor.clone()));
        }
        query
    }
}
