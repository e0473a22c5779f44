//! `deploy/postgres`: the private PostgreSQL of the tests, started, found and ended by hand.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, bail};
use baton_harness::postgres;
use baton_harness::shared::Keep;

const USAGE: &str = "\
usage: postgres start [--while-used] [DIR]   start a private PostgreSQL on loopback, unless one runs in DIR
       postgres stop [--force] [DIR]         end it and remove its data; --force: also while tests use it
       postgres status [DIR]                 say whether it runs; exit code 1 when not
       postgres url [DIR]                    print its address, with the database postgres
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
        let at = args.iter().position(|arg| arg == name);
        at.map(|at| args.remove(at)).is_some()
    };
    let (while_used, force) = (option("--while-used"), option("--force"));
    let dir = if args.len() > 1 {
        // the server looks for its files from elsewhere
        std::path::absolute(args.remove(1))?
    } else {
        postgres::shared::default_dir()
    };
    let running = || {
        let url = postgres::shared::status(&dir)?;
        match url {
            Some(url) => Ok(url),
            None => bail!(
                "no PostgreSQL runs in {}: `deploy/postgres start` starts one",
                dir.display()
            ),
        }
    };
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["start"] => {
            let keep = if while_used {
                Keep::WhileUsed
            } else {
                Keep::UntilStopped
            };
            let url = postgres::shared::start(&dir, keep).await?;
            say(&format!(
                "PostgreSQL runs at {url}, files in {}",
                dir.display()
            ))
        }
        ["stop"] if postgres::shared::stop(&dir, force)? => say("stopped"),
        ["stop"] => say("no PostgreSQL runs"),
        ["status"] => say(&format!("PostgreSQL runs at {}", running()?)),
        ["url"] => say(&running()?),
        ["--help" | "-h" | "help"] => say(USAGE),
        _ => bail!("{USAGE}"),
    }
}

fn say(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
