//! `deploy/broker`: the private RabbitMQ of the tests, started, found and ended by hand.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, bail};
use baton_harness::broker::shared;
use baton_harness::shared::Keep;

const USAGE: &str = "\
usage: broker start [--while-used] [DIR]   start a private RabbitMQ on loopback, unless one runs in DIR
       broker stop [--force] [DIR]         end it and remove its data; --force: also while tests use it
       broker status [DIR]                 say whether it runs; exit code 1 when not
       broker url [DIR]                    print its AMQP address
DIR is below the target directory unless given. --while-used: it ends about a minute after its last user.";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // nobody left to tell when this fails too
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let mut args: Vec<_> = std::env::args().skip(1).collect();
    let mut option = |name: &str| {
        args.iter()
            .position(|arg| arg == name)
            .map(|at| args.remove(at))
            .is_some()
    };
    let (while_used, force) = (option("--while-used"), option("--force"));
    let dir = if args.len() > 1 {
        // the server looks for its files from elsewhere
        std::path::absolute(args.remove(1))?
    } else {
        shared::default_dir()
    };
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["start"] => {
            let keep = if while_used {
                Keep::WhileUsed
            } else {
                Keep::UntilStopped
            };
            let (amqp, management) = shared::start(&dir, keep).await?;
            say(&format!(
                "RabbitMQ runs at {amqp}, management at {management}, files in {}",
                dir.display()
            ))
        }
        ["stop"] if shared::stop(&dir, force)? => say("stopped"),
        ["stop"] => say("no broker runs"),
        ["status"] => match shared::status(&dir)? {
            Some((amqp, management)) => say(&format!(
                "RabbitMQ runs at {amqp}, management at {management}"
            )),
            None => bail!("no broker runs in {}", dir.display()),
        },
        ["url"] => match shared::status(&dir)? {
            Some((amqp, _)) => say(&amqp),
            None => bail!(
                "no broker runs in {}: `deploy/broker start` starts one",
                dir.display()
            ),
        },
        ["--help" | "-h" | "help"] => say(USAGE),
        _ => bail!("{USAGE}"),
    }
}

fn say(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
