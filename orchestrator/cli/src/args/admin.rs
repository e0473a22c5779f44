//! Administer: `token`, `dead`, `completions`, `man`.

use std::path::PathBuf;

use baton_messages::DeadReason;
use clap::{Args, Subcommand, ValueEnum};

use super::{PageArgs, help};

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
    /// May look, also at what operators did
    Auditor,
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
            Self::Auditor => "auditor",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Dead {
    #[command(subcommand)]
    pub(crate) command: Option<DeadCommand>,
    #[arg(
        long,
        help = "The broker itself, for peek and move where no orchestrator runs; better in BATON_AMQP",
        global = true,
        hide = true,
        env = "BATON_AMQP",
        hide_env = true,
        hide_env_values = true,
        value_name = "URL"
    )]
    pub(crate) amqp: Option<String>,
    #[command(flatten)]
    pub(crate) list: DeadLs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadCommand {
    /// List them, newest first (the default)
    Ls(DeadLs),
    /// Show one in full: where it came from, properties, headers, body
    Show(DeadShow),
    /// Groups of one cause, largest first
    Groups(DeadGroups),
    /// Send one back to work, or all that fit: the plan is shown first
    ///
    /// What is ours is known by its id and done once, whoever dies meanwhile. Messages of others that were on their way when an orchestrator died (32 at most) are
    /// sent again, since nobody can say whether they arrived: under the same message id and with the same header `baton-replay-of`.
    Replay(Box<DeadReplay>),
    /// Say that some, or all that fit, are not wanted
    Discard(DeadDiscard),
    /// Say that some that were discarded, or all that fit, are wanted after all
    Restore(DeadRestore),
    /// Note something on one
    Note(DeadNote),
    /// Edit a copy of one before it is replayed; the original stays
    Edit(Box<DeadEdit>),
    /// Write them as JSON lines, bodies in full
    Export(Box<DeadExport>),
    /// Take in JSON lines of an export; what is there already stays
    Import(DeadImport),
    /// Replays of many: list, show, pause, resume, cancel
    Ops(DeadOps),
    /// Look into a queue at the broker itself (--amqp URL); all stays there, delivered once more
    #[command(after_help = help::PEEK)]
    Peek(DeadPeek),
    /// Move messages from one queue to another place at the broker itself (--amqp URL)
    #[command(after_help = help::MOVE)]
    Move(DeadMove),
}

#[derive(Debug, Args)]
pub(crate) struct DeadEdit {
    /// The message: its id, or the beginning of it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Set a place of a JSON body: /order/items/0=JSON or text (order.items.0 will do)
    #[arg(long, short = 's', value_name = "PLACE=VALUE")]
    pub(crate) set: Vec<String>,
    /// Take a place of a JSON body away
    #[arg(long, value_name = "PLACE")]
    pub(crate) unset: Vec<String>,
    /// The whole body from a file, or - for the standard input
    #[arg(long, short = 'b', value_name = "FILE", conflicts_with_all = ["set", "unset"])]
    pub(crate) body: Option<PathBuf>,
    /// Set a header: JSON or text
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) header: Vec<String>,
    /// Take a header away
    #[arg(long, value_name = "NAME")]
    pub(crate) no_header: Vec<String>,
    /// Another content type
    #[arg(long, value_name = "TYPE")]
    pub(crate) content_type: Option<String>,
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
    /// Send it back to work at once
    #[arg(long)]
    pub(crate) replay: bool,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeadExport {
    #[command(flatten)]
    pub(crate) filter: DeadFilter,
    /// Only those that stand there
    #[arg(long, default_value = "dead", value_parser = ["dead", "replaying", "resolved", "discarded", "all"])]
    pub(crate) state: String,
    /// Into this file; else to the standard output
    #[arg(long, short = 'o', value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DeadImport {
    /// A file of JSON lines, or - for the standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct DeadPeek {
    /// The queue
    #[arg(value_name = "QUEUE", default_value = "baton.dead")]
    pub(crate) queue: String,
    /// How many at most
    #[arg(long, short = 'n', default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) limit: u16,
    /// Also into a queue of Baton's own, where a message that is delivered ten times counts as the one that kills its consumers
    #[arg(long)]
    pub(crate) force: bool,
    /// Show headers and bodies as they came; without it what looks like a secret is covered, by names and shapes
    #[arg(long)]
    pub(crate) raw: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeadMove {
    /// The queue they lie in
    #[arg(value_name = "QUEUE")]
    pub(crate) from: String,
    /// Where to: /QUEUE, or EXCHANGE/KEY; EXCHANGE/ keeps each message's own key
    #[arg(value_name = "WHERE")]
    pub(crate) to: String,
    /// How many at most [default: all that lie there now]
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) limit: Option<u32>,
    /// Do not ask; needed where there is nobody to ask: without a terminal, and with --json
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeadLs {
    #[command(flatten)]
    pub(crate) filter: DeadFilter,
    /// Only those that stand there
    #[arg(long, default_value = "dead", value_parser = ["dead", "replaying", "resolved", "discarded", "all"])]
    pub(crate) state: String,
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

impl DeadLs {
    /// Whether any of it was typed.
    pub(crate) fn is_asked(&self) -> bool {
        let page = &self.page;
        let paged = page.cursor.is_some() || page.limit != super::PAGE_ROWS;
        !self.filter.is_empty() || self.state != "dead" || paged
    }
}

#[derive(Debug, Args)]
pub(crate) struct DeadReplay {
    /// Messages: their ids, or the beginnings of them; else all that fit
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: DeadFilter,
    /// Why, for whoever reads it later
    #[arg(
        long,
        short = 'm',
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) message: String,
    /// Also what was replayed three times already, had expired, or is a task whose type nobody serves
    #[arg(long)]
    pub(crate) force: bool,
    /// Send messages of others there: EXCHANGE/KEY, or /QUEUE
    #[arg(long, value_name = "WHERE")]
    pub(crate) to: Option<String>,
    /// Send those that came from one place, or died in one queue, to another: QUEUE or EXCHANGE/KEY each; may be given again
    #[arg(long, value_name = "FROM=TO")]
    pub(crate) redirect: Vec<String>,
    /// Of many: the one that died last goes first; otherwise the one that died first does
    #[arg(long)]
    pub(crate) newest_first: bool,
    /// How many seconds it waits for what comes of one; of many, how long nothing may come of a stage [default: 60; for messages of others 5]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub(crate) wait: Option<u32>,
    /// Only show what it would do
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Of many: for how many seconds what it would do is looked at, message by message; all of 200,000 takes about a minute [default: 5]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=600))]
    pub(crate) look: Option<u32>,
    /// Of many: messages a second at most [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: Option<u32>,
    /// Of many: stop when more than so many in a hundred fail again [default: 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) stop_at: Option<u8>,
    /// Do not ask; needed for more than one where there is nobody to ask: without a terminal, and with --json
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeadDiscard {
    /// Messages: their ids, or the beginnings of them; else all that fit
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: DeadFilter,
    /// Why, for whoever reads it later; needed for all but a dry run
    #[arg(
        long,
        short = 'm',
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) message: String,
    /// Only say which it would be
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask; needed for more than one where there is nobody to ask: without a terminal, and with --json
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeadRestore {
    /// Messages: their ids, or the beginnings of them; else all that fit of those that were discarded
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: DeadFilter,
    /// Why, for whoever reads it later
    #[arg(
        long,
        short = 'm',
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) message: String,
    /// Only say which it would be
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask; needed for more than one where there is nobody to ask: without a terminal, and with --json
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeadNote {
    /// The message: its id, or the beginning of it
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// What is to be known of it; empty takes the note away
    #[arg(long, short = 'm', value_name = "TEXT")]
    pub(crate) message: String,
}

#[derive(Debug, Args)]
pub(crate) struct DeadGroups {
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeadOps {
    #[command(subcommand)]
    pub(crate) command: Option<DeadOpsCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadOpsCommand {
    /// List them, newest first (the default)
    Ls(DeadOpsLs),
    /// Show one: what it takes, how far it is, what can be done with it
    Show(DeadOpShow),
    /// Stop one for a while
    Pause(DeadOp),
    /// Have one go on
    Resume(DeadOp),
    /// End one; what it has done stays
    Cancel(DeadOp),
}

#[derive(Debug, Default, Args)]
pub(crate) struct DeadOpsLs {
    #[command(flatten)]
    pub(crate) page: PageArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeadOpShow {
    /// The replay: its id
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct DeadOp {
    /// The replay: its id
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Why, for whoever reads it later
    #[arg(
        long,
        short = 'm',
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) message: String,
}

#[derive(Debug, Args)]
pub(crate) struct DeadFilter {
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
    /// Only those that died, the last time, since then: 2h ago is `2h`; or a date, or a time
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// Only those that died, the last time, before then
    #[arg(long, value_name = "WHEN")]
    pub(crate) until: Option<String>,
    /// Only those of this group (see `baton dead groups`)
    #[arg(long, short = 'g', value_name = "KEY")]
    pub(crate) group: Option<String>,
    /// Only those with this in their error, to the letter
    #[arg(long, short = 'e', value_name = "TEXT")]
    pub(crate) error: Option<String>,
    /// Only those of a task for this pool
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Option<String>,
    /// Only those of this task type, such as net.ping@1
    #[arg(long, value_name = "TYPE")]
    pub(crate) task_type: Option<String>,
    /// Only events of this type
    #[arg(long, value_name = "TYPE")]
    pub(crate) event_type: Option<String>,
    /// Only those that ask for this definition, or whose saga runs it
    #[arg(long, value_name = "NAME")]
    pub(crate) definition: Option<String>,
    /// Only those this worker sent, or put aside
    #[arg(long, value_name = "WORKER")]
    pub(crate) worker: Option<String>,
    /// Only those that were replayed so often or oftener
    #[arg(long, value_name = "N")]
    pub(crate) replays: Option<u32>,
    /// Only those whose saga has this label
    #[arg(long, short = 'l', value_name = "NAME=VALUE")]
    pub(crate) label: Option<String>,
    /// Only those of this replay of many (see `baton dead ops`): what it left is dead
    #[arg(long, value_name = "ID")]
    pub(crate) operation: Option<String>,
}

impl DeadFilter {
    /// Whether nothing restricts.
    pub(crate) fn is_empty(&self) -> bool {
        let Self {
            reason,
            queue,
            kind,
            saga,
            text,
            since,
            until,
            group,
            error,
            pool,
            task_type,
            event_type,
            definition,
            worker,
            replays,
            label,
            operation,
        } = self;
        let texts = [
            reason, queue, kind, saga, text, since, until, group, error, pool, task_type,
            event_type, definition, worker, label, operation,
        ];
        replays.is_none() && texts.iter().all(|text| text.is_none())
    }
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
    /// The body that is sent and nothing else, byte for byte: of one that was edited, the last copy
    #[arg(long)]
    pub(crate) raw: bool,
    /// With --raw: the body as it came, whatever was edited
    #[arg(long, requires = "raw")]
    pub(crate) original: bool,
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
