//! The secrets an entry of the allow-list is handed: as a variable of the program's environment or as a file of its own, and never as an
//! argument, which everybody on the host can read.

use std::collections::BTreeMap;

use baton_worker::{Masks, SecretText, TaskError};

use crate::config::SecretWay;
use crate::process::Run;

/// What is wrong with the way one is handed over; nothing when it can be used.
pub(crate) fn checked(name: &str, way: &SecretWay) -> Result<(), String> {
    let run = match (&way.env, &way.file) {
        (Some(variable), None) => Run::new("").env(variable, ""),
        (None, Some(file)) => Run::new("").file(file, ""),
        (None, None) | (Some(_), Some(_)) => {
            return Err(format!("secrets.{name} needs env or file, one of them"));
        }
    };
    run.allowed()
        .map_err(|error| format!("secrets.{name}: {error}"))
}

/// Hands over what the entry takes. Nothing of the run's folder is kept then, and nothing of them shows in what is printed.
pub(crate) fn handed(
    mut run: Run,
    ways: &BTreeMap<String, SecretWay>,
    given: &BTreeMap<String, SecretText>,
) -> Result<Run, TaskError> {
    let refused = |why: String| TaskError::failed("argument-refused", why);
    if let Some(name) = given.keys().find(|name| !ways.contains_key(*name)) {
        let known = ways.keys().map(String::as_str).collect::<Vec<_>>();
        return Err(refused(format!(
            "the command takes no secret `{name}`; it takes {}",
            known.join(", ")
        )));
    }
    let mut shown_nowhere = Vec::new();
    for (name, way) in ways {
        let secret = given
            .get(name)
            .ok_or_else(|| refused(format!("the secret `{name}` is missing")))?
            .reveal()?;
        if let Some(variable) = &way.env {
            run = run.env(variable, secret);
        }
        if let Some(file) = &way.file {
            run = run.file(file, secret);
        }
        shown_nowhere.push(secret);
    }
    if shown_nowhere.is_empty() {
        return Ok(run);
    }
    Ok(run.masks(Masks::of(shown_nowhere)).keep_nothing())
}
