//! `baton plan`: what a definition is going to do. Needs no server.

use baton_engine::definition::{Unannounced, check};
use baton_engine::plan::plan as planned;

use super::check::{draw, known};
use crate::args::Plan;
use crate::error::CliError;
use crate::exit::Exit;
use crate::input;
use crate::out::Out;
use crate::screens::diagnostics::Diagnostic;
use crate::screens::plan::{lines, mermaid};

pub(crate) fn plan(which: &Plan, out: &mut Out) -> Result<Exit, CliError> {
    let catalogue = known(which.catalogue.as_deref())?;
    let text = input::file(&which.file)?;
    let found = check(&text, &catalogue, Unannounced::RefusedWhenNear);
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
    let made = planned(definition, &catalogue, given.as_ref());
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
                "the checker refuses it as it is ({count}): baton check tells why"
            ));
        }
    }
    Ok(Exit::Ok)
}
