//! `baton plan`: what a definition is going to do. Needs no server.

use std::path::Path;

use baton_engine::definition::{Together, Unannounced, check_among};
use baton_engine::plan::plan_among as planned;

use super::check::{draw, known};
use super::dead::quoted;
use crate::args::Plan;
use crate::error::CliError;
use crate::exit::Exit;
use crate::input;
use crate::out::Out;
use crate::screens::diagnostics::Diagnostic;
use crate::screens::mermaid::mermaid;
use crate::screens::plan::lines;

pub(crate) fn plan(which: &Plan, out: &mut Out) -> Result<Exit, CliError> {
    let catalogue = known(which.catalogue.as_deref())?;
    let text = input::file(&which.file)?;
    let beside: Result<Vec<String>, CliError> =
        which.beside.iter().map(|path| input::file(path)).collect();
    let sagas = Together::beside(beside?.iter().map(String::as_str));
    let found = check_among(&text, &catalogue, &sagas, Unannounced::RefusedWhenNear);
    let Some(definition) = &found.definition else {
        let wrong: Vec<Diagnostic> = found
            .errors
            .iter()
            .map(|one| Diagnostic::of(one, "error"))
            .collect();
        draw(&wrong, &which.file.display().to_string(), &text, out);
        return Ok(Exit::Error);
    };
    let given = which
        .input
        .as_deref()
        .map(|text| input::json(text, "--input"))
        .transpose()?;
    if let Some(given) = &given {
        definition
            .check_input(given)
            .map_err(|misfit| CliError::usage(format!("--input does not fit: {misfit}")))?;
    }
    let made = planned(definition, &catalogue, &sagas, given.as_ref());
    if out.wants_json() {
        let value = serde_json::to_value(&made).map_err(|error| CliError::Shape {
            what: error.to_string(),
        })?;
        out.value(&value);
    } else if which.mermaid {
        out.screen.raw(&mermaid(&made));
    } else {
        for line in lines(&made, out.screen.width()) {
            out.say(&line);
        }
        if !found.errors.is_empty() {
            let count = found.errors.len();
            out.note(format!(
                "the checker refuses it as it is ({count}): {} tells why",
                check_of(which)
            ));
        }
    }
    Ok(Exit::Ok)
}

/// What checks the same among the same files.
fn check_of(which: &Plan) -> String {
    let files = which.beside.iter().chain([&which.file]);
    let catalogue = which.catalogue.iter();
    let catalogue = catalogue.flat_map(|file| ["--catalogue".to_owned(), typed(file)]);
    let words = ["baton".to_owned(), "check".to_owned()].into_iter();
    let words = words.chain(catalogue).chain(files.map(|file| typed(file)));
    words.collect::<Vec<String>>().join(" ")
}

fn typed(file: &Path) -> String {
    quoted(&file.display().to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn the_check_that_tells_why_knows_the_same_files() {
        let typed = [
            "baton",
            "plan",
            "top level.yaml",
            "--beside",
            "low.yaml",
            "--catalogue",
            "types.json",
        ];
        let Command::Plan(which) = Cli::parse_from(typed).command else {
            panic!("no plan")
        };
        assert_eq!(
            check_of(&which),
            "baton check --catalogue types.json low.yaml 'top level.yaml'"
        );
    }
}
