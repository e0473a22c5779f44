//! `baton`: the operator's and the author's tool. Speaks to an orchestrator over its HTTP API; decides nothing itself.
//!
//! Exit codes are part of the interface, see [`exit`].

mod args;
mod client;
mod commands;
mod error;
mod exit;
mod input;
mod out;
mod table;
mod time;
mod view;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use client::Client;
use error::CliError;
use exit::Exit;
use out::Out;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = Out::new(cli.global.json, cli.global.no_color);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(cli, &mut out)),
        Err(source) => Err(CliError::Runtime { source }),
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => {
            out.error(&error);
            error.exit().into()
        }
    }
}

async fn run(cli: Cli, out: &mut Out) -> Result<Exit, CliError> {
    let client = Client::new(&cli.global)?;
    match cli.command {
        Command::Apply(apply) => commands::apply::apply(&client, &apply, out).await,
        Command::Run(run) => commands::run::run(&client, &run, out).await,
        Command::Ls(which) => commands::ls::ls(&client, &which, out).await,
        Command::Show(show) => commands::show::show(&client, &show, out).await,
        Command::Cancel(act) => commands::act::on_saga(&client, "cancel", &act, out).await,
        Command::Pause(act) => commands::act::on_saga(&client, "pause", &act, out).await,
        Command::Resume(act) => commands::act::on_saga(&client, "resume", &act, out).await,
        Command::Abandon(act) => commands::act::on_saga(&client, "abandon", &act, out).await,
        Command::Retry(act) => commands::act::on_step(&client, "retry", &act, out).await,
        Command::Skip(act) => commands::act::on_step(&client, "skip", &act, out).await,
        Command::Resolve(act) => commands::act::resolve(&client, &act, out).await,
        Command::Acknowledge(act) => commands::act::acknowledge(&client, &act, out).await,
        Command::Work(page) => commands::lists::work(&client, &page, out).await,
        Command::Dead(page) => commands::lists::dead(&client, &page, out).await,
        Command::Workers => commands::lists::workers(&client, out).await,
        Command::Types => commands::lists::types(&client, out).await,
    }
}
