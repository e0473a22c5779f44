//! `baton`: the operator's and the author's tool. Speaks to an orchestrator over its HTTP API; decides nothing itself.
//!
//! Exit codes are part of the interface, see [`exit`].

mod args;
mod broker;
mod client;
mod commands;
mod error;
mod exit;
mod find;
mod input;
mod out;
mod screens;
mod sse;
mod suggest;
mod time;
mod view;

use std::process::ExitCode;

use clap::FromArgMatches as _;
use clap::error::ErrorKind;
use clap::parser::ValueSource;

use args::{AuditCommand, Cli, Command, help};
use client::Client;
use commands::{
    act, alerts, apply, approve, audit, check, cluster, dead, dead_broker, definitions, edit,
    event, explain, fleet, locks, ls, plan, run, schedules, shell, show, sweep, tasks, token, top,
    topology, upgrade, watch, work,
};
use error::CliError;
use exit::Exit;
use out::Out;

fn main() -> ExitCode {
    let (cli, command) = parsed();
    let mut out = Out::new(&cli.global, command);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(cli, &mut out)),
        Err(source) => Err(CliError::Runtime { source }),
    };
    let ended = ended.and_then(|exit| match out.screen.finish() {
        Ok(()) => Ok(exit),
        Err(source) => Err(CliError::Unwritten { source }),
    });
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => {
            out.error(&error);
            error.exit().into()
        }
    }
}

/// What was typed, and which command that is. Help and mistakes are told by clap, with its colours where they are wanted.
fn parsed() -> (Cli, String) {
    let plain = std::env::args_os().any(|arg| arg == "--no-color");
    let colours = if plain {
        clap::ColorChoice::Never
    } else {
        clap::ColorChoice::Auto
    };
    let mut command = help::command().color(colours);
    command.build();
    let matches = match command.clone().try_get_matches() {
        Ok(matches) => matches,
        Err(error) if error.kind() == ErrorKind::MissingSubcommand => lost(&command),
        Err(error) => mistyped(&error, &command),
    };
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let leaf = leaf(&matches);
    let says = |name, source| leaf.value_source(name) == Some(source);
    if says("token", ValueSource::EnvVariable) && says("token_file", ValueSource::CommandLine) {
        // what is typed goes before what the environment says
        cli.global.token = None;
    }
    if let Command::Dead(which) = &mut cli.command
        && !dead_broker::is_asked(which)
        && !says("amqp", ValueSource::CommandLine)
    {
        // an address of the environment is for peek and move alone
        which.amqp = None;
    }
    (cli, named(&matches))
}

/// What clap says of a mistake, and the next command as everywhere.
fn mistyped(error: &clap::Error, command: &clap::Command) -> ! {
    use std::io::{IsTerminal as _, Write as _};
    if !error.use_stderr() {
        error.exit();
    }
    let rendered = error.render();
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let told = if colours && command.get_color() != clap::ColorChoice::Never {
        rendered.ansi().to_string()
    } else {
        rendered.to_string()
    };
    // its own last paragraph only says that there is help
    let told = told.split("For more information").next().unwrap_or(&told);
    let mut at = command;
    let mut named = "baton".to_owned();
    for word in std::env::args().skip(1) {
        if let Some(found) = at.find_subcommand(&word) {
            named.push(' ');
            named.push_str(found.get_name());
            at = found;
        }
    }
    // nobody may be there to read it
    let _ = writeln!(
        std::io::stderr(),
        "{}\n{}{named} --help",
        told.trim_end(),
        out::NEXT
    );
    std::process::exit(error.exit_code())
}

/// What was typed of the innermost command, with what stands everywhere.
fn leaf(matches: &clap::ArgMatches) -> &clap::ArgMatches {
    let mut at = matches;
    while let Some((_, below)) = at.subcommand() {
        at = below;
    }
    at
}

/// `token create`.
fn named(matches: &clap::ArgMatches) -> String {
    let mut names = Vec::new();
    let mut at = matches;
    while let Some((name, below)) = at.subcommand() {
        names.push(name);
        at = below;
    }
    names.join(" ")
}

/// Who has not said what to do reads what there is, also where the environment says where the orchestrator is.
fn lost(command: &clap::Command) -> ! {
    let mut named = command;
    for word in std::env::args().skip(1) {
        named = named.find_subcommand(&word).unwrap_or(named);
    }
    // somebody who has closed the terminal needs no help
    let _ = named.clone().print_help();
    std::process::exit(2)
}

async fn run(cli: Cli, out: &mut Out) -> Result<Exit, CliError> {
    match &cli.command {
        // what needs no orchestrator needs no token either
        Command::Check(which) if !which.online => return check::offline(which, out),
        Command::Explain(which) => return explain::explain(which, out),
        Command::Plan(which) => return plan::plan(which, out),
        Command::Sweep(which) => return sweep::sweep(which, out),
        Command::Tasks(which) if which.offline => return tasks::offline(which, out),
        Command::Audit(which) => match &which.command {
            Some(AuditCommand::Verify(asked)) if asked.export.is_some() => {
                return audit::verify(None, asked, out).await;
            }
            _ => {}
        },
        Command::Topology(which) => return topology::topology(&cli.global, which, out).await,
        Command::Dead(which) if dead_broker::is_asked(which) => {
            return dead_broker::at_broker(&cli.global, which, out).await;
        }
        Command::Completions(which) => return Ok(shell::completions(which, out)),
        Command::Man(which) => return shell::man(which, out),
        _ => {}
    }
    let client = Client::new(&cli.global)?;
    asked(&client, &cli, out).await
}

async fn asked(client: &Client, cli: &Cli, out: &mut Out) -> Result<Exit, CliError> {
    match &cli.command {
        Command::Topology(which) => topology::topology(&cli.global, which, out).await,
        Command::Run(which) => run::run(client, which, out).await,
        Command::Event(which) => event::event(client, which, out).await,
        Command::Schedules(which) => schedules::schedules(client, which, out).await,
        Command::Alerts(which) => alerts::alerts(client, which, out).await,
        Command::Locks(which) => locks::locks(client, which, out).await,
        Command::Ls(which) => ls::ls(client, which, out).await,
        Command::Show(which) => show::show(client, which, out).await,
        Command::Watch(which) => watch::watch(client, which, out).await,
        Command::Top(which) => top::top(client, which, out).await,
        Command::Workers(which) => fleet::workers(client, which, out).await,
        Command::Cluster(which) => cluster::cluster(client, which, out).await,
        Command::Work(which) => work::work(client, which, out).await,
        Command::Approve(which) => approve::decide(client, "approve", which, out).await,
        Command::Reject(which) => approve::decide(client, "reject", which, out).await,
        Command::Retry(which) => act::on_step(client, "retry", which, out).await,
        Command::Edit(which) => edit::edit(client, which, out).await,
        Command::Skip(which) => act::on_step(client, "skip", which, out).await,
        Command::Resolve(which) => act::resolve(client, which, out).await,
        Command::Acknowledge(which) => act::acknowledge(client, which, out).await,
        Command::Admit(which) => act::on_saga(client, "admit", which, out).await,
        Command::Cancel(which) => act::on_saga(client, "cancel", which, out).await,
        Command::Pause(which) => act::on_saga(client, "pause", which, out).await,
        Command::Resume(which) => act::on_saga(client, "resume", which, out).await,
        Command::Abandon(which) => act::on_saga(client, "abandon", which, out).await,
        Command::Check(which) => check::online(client, which, out).await,
        Command::Explain(which) => explain::explain(which, out),
        Command::Plan(which) => plan::plan(which, out),
        Command::Sweep(which) => sweep::sweep(which, out),
        Command::Apply(which) => apply::apply(client, which, out).await,
        Command::Upgrade(which) => upgrade::upgrade(client, which, out).await,
        Command::Definitions(which) => definitions::definitions(client, which, out).await,
        Command::Tasks(which) => tasks::online(client, which, out).await,
        Command::Token(which) => token::token(client, which, out).await,
        Command::Dead(which) => dead::dead(client, which, out).await,
        Command::Audit(which) => audit::audit(client, which, out).await,
        Command::Completions(which) => Ok(shell::completions(which, out)),
        Command::Man(which) => shell::man(which, out),
    }
}
