//! `baton check`: what is wrong with definitions, where, and how to mend it. Here, by the engine itself, against the task types of this
//! version or of a file; or by a running orchestrator, against those it knows.

use std::path::{Path, PathBuf};

use baton_engine::definition::{Together, Unannounced};
use baton_engine::{Catalogue, Definition, definition};
use baton_messages::Manifest;
use reqwest::Method;
use serde_json::{Value, json};

use super::{apply, items, typed};
use crate::args::Check;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::input;
use crate::out::{Line, Out, Tone};
use crate::screens::diagnostics::{self, Diagnostic};
use crate::screens::types;

/// The task types this version comes with.
const SHIPPED: &str = include_str!("../../../../schemas/json/catalogue.json");

/// Checks files here.
pub(crate) fn offline(check: &Check, out: &mut Out) -> Result<Exit, CliError> {
    let catalogue = known(check.catalogue.as_deref())?;
    if check.types {
        return typed_expressions(check, &catalogue, out);
    }
    let mut results = Vec::new();
    let (files, unread) = read(&check.files);
    let sagas = Together::beside(files.iter().map(|(_, text)| text.as_str()));
    for (name, text) in files {
        let how = Unannounced::RefusedWhenNear;
        let checked = definition::check_among(&text, &catalogue, &sagas, how);
        let found = diagnosed(&checked);
        results.push((name, text, found));
    }
    Ok(told(&results, &unread, check.deny_warnings, out))
}

/// Files by name: what they say, and why others say nothing.
pub(crate) type FilesRead = (Vec<(String, String)>, Vec<(String, CliError)>);

/// The files that can be read, and why others cannot: one of many keeps nobody from hearing of the rest.
pub(crate) fn read(paths: &[PathBuf]) -> FilesRead {
    let (mut files, mut unread) = (Vec::new(), Vec::new());
    for path in paths {
        let name = path.display().to_string();
        match input::file(path) {
            Ok(text) => files.push((name, text)),
            Err(error) => unread.push((name, error)),
        }
    }
    (files, unread)
}

/// The task types of a file, or those this version comes with.
pub(crate) fn known(path: Option<&Path>) -> Result<Catalogue, CliError> {
    path.map_or_else(shipped, catalogue)
}

/// Every expression of every file with its type, and what is wrong with them: of what cannot be read no type is known.
fn typed_expressions(
    check: &Check,
    catalogue: &Catalogue,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let mut all: Vec<(String, Vec<definition::TypedExpression>)> = Vec::new();
    let mut wrong = Vec::new();
    let (files, unread) = read(&check.files);
    let sagas = Together::beside(files.iter().map(|(_, text)| text.as_str()));
    for (name, text) in files {
        let how = Unannounced::RefusedWhenNear;
        let mut checked = definition::check_among(&text, catalogue, &sagas, how);
        checked.warnings.clear();
        if !checked.errors.is_empty() {
            wrong.push((name.clone(), text, diagnosed(&checked)));
        }
        all.push((name, checked.expressions));
    }
    if out.wants_json() {
        out.value(&types::json(&all));
    } else {
        for line in types::lines(&all, out.screen.width()) {
            out.say(&line);
        }
        for (file, text, found) in &wrong {
            draw(found, file, text, out);
        }
    }
    let read = told_unread(&unread, out);
    Ok(if wrong.is_empty() { read } else { Exit::Error })
}

/// What could not be read.
fn told_unread(unread: &[(String, CliError)], out: &mut Out) -> Exit {
    for (_, error) in unread {
        out.error(error);
    }
    if unread.is_empty() {
        Exit::Ok
    } else {
        Exit::Error
    }
}

/// Has an orchestrator check them.
pub(crate) async fn online(
    client: &Client,
    check: &Check,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let mut results = Vec::new();
    let mut lacking = Vec::new();
    let (files, unread) = read(&check.files);
    for (name, text) in files {
        let answer = client
            .send(
                Method::POST,
                "/v1/definitions/check",
                "application/yaml",
                text.clone(),
            )
            .await?;
        let found: Vec<Diagnostic> = typed(answer["diagnostics"].clone())?;
        results.push((name, text, found));
        lacking.push(answer);
    }
    let exit = told(&results, &unread, check.deny_warnings, out);
    if !out.wants_json() {
        for answer in &lacking {
            apply::lacks(answer, out);
        }
    }
    Ok(exit)
}

/// The task types this version comes with, as JSON.
pub(crate) fn shipped_json() -> Result<Value, CliError> {
    serde_json::from_str(SHIPPED).map_err(|error| CliError::Shape {
        what: format!("the catalogue of this version: {error}"),
    })
}

fn shipped() -> Result<Catalogue, CliError> {
    Ok(announced(typed(shipped_json()?)?)?.with_planned())
}

/// A file of task types: a list, or what `baton tasks --json` gives.
fn catalogue(path: &Path) -> Result<Catalogue, CliError> {
    let text = input::file(path)?;
    let wrong = |what: String| {
        CliError::usage_then(
            format!("{} is no catalogue ({what})", path.display()),
            "baton tasks --json > types.json makes one; then --catalogue types.json",
        )
    };
    let value: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let list = match &value {
        Value::Array(_) => value.clone(),
        _ => Value::Array(items(&value, "task_types").to_vec()),
    };
    let all: Vec<Manifest> =
        serde_json::from_value(list).map_err(|error| wrong(error.to_string()))?;
    announced(all)
}

fn announced(all: Vec<Manifest>) -> Result<Catalogue, CliError> {
    let mut catalogue = Catalogue::default();
    for manifest in all {
        catalogue
            .announce(manifest)
            .map_err(|error| CliError::usage(error.to_string()))?;
    }
    Ok(catalogue)
}

/// What is wrong, and what is likely a mistake. The catalogue is all there is here: a type that is nearly one of it is a mistake.
fn diagnosed(checked: &definition::Checked) -> Vec<Diagnostic> {
    let drawn = |found: &[definition::Diagnostic], severity: &str| -> Vec<Diagnostic> {
        found
            .iter()
            .map(|one| Diagnostic::of(one, severity))
            .collect()
    };
    let mut all = drawn(&checked.errors, "error");
    all.extend(drawn(&checked.warnings, "warning"));
    all.sort_by_key(|one| (one.line, one.column));
    all
}

fn told(
    results: &[(String, String, Vec<Diagnostic>)],
    unread: &[(String, CliError)],
    deny_warnings: bool,
    out: &mut Out,
) -> Exit {
    let refused = |one: &Diagnostic| deny_warnings || one.is_error();
    let wrong = |found: &[Diagnostic]| found.iter().any(refused);
    if out.wants_json() {
        let all = results.iter().map(|(file, text, found)| {
            let found_json: Vec<Value> = found.iter().map(|one| one.to_json(text)).collect();
            json!({ "file": file, "ok": !wrong(found), "diagnostics": found_json })
        });
        let none = unread.iter().map(|(file, error)| {
            json!({ "file": file, "ok": false, "diagnostics": [], "error": error.whole() })
        });
        out.value(&Value::Array(all.chain(none).collect()));
    } else {
        for (file, text, found) in results {
            draw(found, file, text, out);
            if !wrong(found) {
                let what = Definition::parse(text)
                    .map_or_else(|_| String::new(), |definition| summary(&definition));
                out.say(&Line::of("ok", Tone::Good).plain(format!("  {file}{what}")));
            }
        }
    }
    let unread = told_unread(unread, out);
    if results.iter().any(|(_, _, found)| wrong(found)) {
        Exit::Error
    } else {
        unread
    }
}

fn summary(definition: &Definition) -> String {
    let steps = definition.all_steps().len();
    let plural = if steps == 1 { "" } else { "s" };
    format!(
        "  {}@{}, {steps} step{plural}",
        definition.saga, definition.version
    )
}

/// Draws what is wrong with one file, and how much it is.
pub(crate) fn draw(found: &[Diagnostic], file: &str, text: &str, out: &mut Out) {
    out.screen.flush();
    let width = out.side.width();
    for one in found {
        for line in diagnostics::lines(one, file, text, width) {
            out.side.line(&line);
        }
        out.side.line(&Line::new());
    }
    let count = |is_error: bool| {
        found
            .iter()
            .filter(|one| one.is_error() == is_error)
            .count()
    };
    let (errors, warnings) = (count(true), count(false));
    if errors + warnings > 0 {
        let some = |n: usize, word: &str| match n {
            0 => None,
            1 => Some(format!("1 {word}")),
            n => Some(format!("{n} {word}s")),
        };
        let all: Vec<String> = [some(errors, "error"), some(warnings, "warning")]
            .into_iter()
            .flatten()
            .collect();
        let tone = if errors > 0 { Tone::Bad } else { Tone::Waits };
        out.side
            .line(&Line::of(all.join(", "), tone).plain(format!(" in {file}")));
    }
    out.side.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_type_stands_in_the_readme() {
        let readme = include_str!("../../../../README.md");
        let all = shipped_json().unwrap();
        for one in all.as_array().unwrap() {
            let name = one["task_type"].as_str().unwrap();
            let row = readme
                .lines()
                .find(|line| line.starts_with('|') && line.contains(&format!("`{name}`")));
            let row = row.unwrap_or_else(|| panic!("{name} stands in no row of the README"));
            let (undo, test) = (one["undo"] == true, name.starts_with("test."));
            let said = row.rsplit('|').nth(1).unwrap_or_default().trim();
            let none = said.is_empty() || said.starts_with("none");
            assert!(test || undo != none, "{name}: `{said}`");
        }
    }
}
