//! `baton completions` and `man`: made from the command line itself.

use clap::CommandFactory as _;

use crate::args::{Cli, Completions, Man};
use crate::error::CliError;
use crate::exit::Exit;
use crate::find;
use crate::out::Out;

pub(crate) fn completions(which: &Completions, out: &mut Out) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(which.shell, &mut Cli::command(), "baton", &mut script);
    out.screen.raw(&String::from_utf8_lossy(&script));
    Exit::Ok
}

pub(crate) fn man(which: &Man, out: &mut Out) -> Result<Exit, CliError> {
    let mut command = Cli::command();
    command.build();
    let command = match &which.command {
        None => command,
        Some(name) => {
            let known: Vec<String> = command
                .get_subcommands()
                .map(|one| one.get_name().to_owned())
                .collect();
            let found = command.find_subcommand(name).cloned();
            found.ok_or_else(|| find::unknown("command", name, &known, "baton --help"))?
        }
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|source| CliError::Runtime { source })?;
    out.screen.raw(&String::from_utf8_lossy(&page));
    Ok(Exit::Ok)
}
