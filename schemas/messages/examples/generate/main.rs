//! Writes `schemas/json`: everything that can be said about the contract without running it, drawn from the types themselves.
//! Guarantees that what stands there is what this code says: with `--check` it writes nothing and names each file that differs.
//!
//! `deploy/generate` runs this with the manifests of the shipped fleet.

mod asyncapi;
mod catalogue;
mod documents;
mod schemas;
mod vectors;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What was asked for on the command line.
#[derive(Default)]
struct Asked {
    check: bool,
    catalogue: Option<PathBuf>,
    openapi: Option<PathBuf>,
    language: Option<PathBuf>,
}

fn asked(mut words: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut asked = Asked::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--check" => asked.check = true,
            "--catalogue" => {
                let file = words
                    .next()
                    .ok_or("--catalogue wants a file: the output of `baton-worker types --json`")?;
                asked.catalogue = Some(file.into());
            }
            "--openapi" => {
                let file = words
                    .next()
                    .ok_or("--openapi wants a file: the output of `baton-orchestrator openapi`")?;
                asked.openapi = Some(file.into());
            }
            "--language" => {
                let file = words
                    .next()
                    .ok_or("--language wants a file: the output of the engine's language-schema")?;
                asked.language = Some(file.into());
            }
            _ => {
                return Err(format!(
                    "`{word}` is not known; use: generate [--check] [--catalogue FILE] [--openapi FILE] [--language FILE]"
                ));
            }
        }
    }
    Ok(asked)
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../json")
}

fn run() -> Result<String, String> {
    let asked = asked(std::env::args().skip(1))?;
    let mut files = documents::all()?;
    if let Some(file) = &asked.catalogue {
        let text = std::fs::read_to_string(file)
            .map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        files.insert("catalogue.json".into(), catalogue::rendered(&text)?);
    }
    for (file, name) in [
        (&asked.openapi, "openapi.json"),
        (&asked.language, "language.json"),
    ] {
        let Some(file) = file else { continue };
        let text = std::fs::read_to_string(file)
            .map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        let document =
            serde_json::from_str(&text).map_err(|e| format!("{name} would be no JSON: {e}"))?;
        files.insert(name.into(), documents::json(document)?);
    }
    if asked.check {
        checked(&files)
    } else {
        written(&files)
    }
}

fn checked(files: &BTreeMap<String, String>) -> Result<String, String> {
    let wrong = documents::differing(&directory(), files);
    if wrong.is_empty() {
        return Ok(format!("schemas/json: {} files are current", files.len()));
    }
    Err(format!(
        "schemas/json is not what the code says:\n  {}\nrun deploy/generate and commit what it writes",
        wrong.join("\n  ")
    ))
}

fn written(files: &BTreeMap<String, String>) -> Result<String, String> {
    for (name, text) in files {
        let path = directory().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .map_err(|e| format!("cannot make {}: {e}", parent.display()))?;
        }
        std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    let stray = documents::stray(&directory(), files);
    for name in &stray {
        std::fs::remove_file(directory().join(name))
            .map_err(|e| format!("cannot remove {name}, which no message has any more: {e}"))?;
    }
    Ok(format!("schemas/json: {} files written", files.len()))
}

fn main() -> ExitCode {
    let (word, code) = match run() {
        Ok(word) => (word, ExitCode::SUCCESS),
        Err(word) => (word, ExitCode::FAILURE),
    };
    // A closed pipe behind us is no failure of ours.
    let _ = writeln!(std::io::stderr(), "{word}");
    code
}
