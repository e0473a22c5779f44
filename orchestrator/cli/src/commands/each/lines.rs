//! A file of inputs, one JSON value on each line. All of it is read and understood before anything starts, or nothing starts.

use std::path::Path;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::args::Run;
use crate::error::CliError;
use crate::input::{self, Wanted};

/// Lines of one file at most: more than anybody looks at under one label.
const LINES_MAX: usize = 100_000;
/// Lines that are told of one by one.
const TOLD_MAX: usize = 10;
/// Hexadecimal digits of a label's value: no two files of a lifetime share so many.
const ID_CHARS: usize = 12;

/// The input of one line.
pub(super) struct OneLine {
    /// From 1, as an editor counts.
    pub(super) number: usize,
    pub(super) input: Value,
}

/// All lines of a file, and what they are derived from.
pub(super) struct Batch {
    pub(super) lines: Vec<OneLine>,
    name: String,
    of: Uuid,
}

impl Batch {
    /// What is common to its sagas: the same for the same file, run the same way.
    pub(super) fn id(&self) -> String {
        let mut text = self.of.simple().to_string();
        text.truncate(ID_CHARS);
        text
    }

    /// The request of a line: the same again is the same saga.
    pub(super) fn request(&self, line: usize) -> Uuid {
        Uuid::new_v5(&self.of, line.to_string().as_bytes())
    }

    /// Every `-f` as the schema wants it, where that is known now.
    pub(super) fn convert(&mut self, fields: &[String], wanted: &Wanted) {
        let pairs = fields.iter().filter_map(|field| field.split_once('='));
        for (key, text) in pairs {
            for line in &mut self.lines {
                line.input[key] = wanted.value(key, text);
            }
        }
    }

    /// Holds every input against what it has to be.
    pub(super) fn check(
        &self,
        fits: impl Fn(&Value) -> Result<(), String>,
        next: &str,
    ) -> Result<(), CliError> {
        let wrong: Vec<(usize, String)> = self
            .lines
            .iter()
            .filter_map(|line| Some((line.number, fits(&line.input).err()?)))
            .collect();
        refused(&self.name, self.lines.len(), &wrong, next)
    }
}

/// Reads it.
pub(super) fn read(path: &Path, run: &Run) -> Result<Batch, CliError> {
    let name = match path.to_str() {
        Some("-") => "the standard input".to_owned(),
        _ => path.display().to_string(),
    };
    of_text(&name, &input::file(path)?, run)
}

fn of_text(name: &str, text: &str, run: &Run) -> Result<Batch, CliError> {
    let written: Vec<(usize, &str)> = (1..)
        .zip(text.lines())
        .filter(|(_, line)| !line.trim().is_empty())
        .collect();
    if written.is_empty() {
        return Err(CliError::usage(format!(
            "{name} has no line: each is the JSON input of one saga"
        )));
    }
    if written.len() > LINES_MAX {
        return Err(CliError::usage(format!(
            "{name} has {} lines; {LINES_MAX} may be started at once, so split it",
            written.len()
        )));
    }
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    for (number, text) in written {
        match of_line(text, &run.fields) {
            Ok(input) => lines.push(OneLine { number, input }),
            Err(why) => wrong.push((number, why)),
        }
    }
    let all = lines.len() + wrong.len();
    refused(
        name,
        all,
        &wrong,
        "baton run --help: each line is one JSON value",
    )?;
    // whatever makes another request makes another id
    let request = json!([run.what, run.fields, run.labels, run.key, text]);
    Ok(Batch {
        lines,
        name: name.to_owned(),
        of: Uuid::new_v5(&Uuid::NAMESPACE_URL, request.to_string().as_bytes()),
    })
}

fn of_line(text: &str, fields: &[String]) -> Result<Value, String> {
    // a line of a file is not a file's name, whatever it begins with
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let text = error.to_string();
        let why = text.split(" at line").next().unwrap_or_default();
        format!("no JSON ({why}, column {})", error.column())
    })?;
    let value = value.to_string();
    input::fields_into(Some(&value), "the line", fields, &Wanted::default())
        .map_err(|error| error.to_string())
}

fn refused(name: &str, all: usize, wrong: &[(usize, String)], next: &str) -> Result<(), CliError> {
    if wrong.is_empty() {
        return Ok(());
    }
    let mut what = format!(
        "{} of {all} lines of {name} cannot be used; nothing was started",
        wrong.len()
    );
    for (number, why) in wrong.iter().take(TOLD_MAX) {
        what.push_str(&format!("\n  line {number}: {why}"));
    }
    if wrong.len() > TOLD_MAX {
        what.push_str(&format!("\n  and {} more", wrong.len() - TOLD_MAX));
    }
    Err(CliError::Lines {
        what,
        next: next.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn run(words: &[&str]) -> Run {
        let all = ["baton", "run", "s", "--each", "f"];
        match Cli::parse_from(all.iter().chain(words)).command {
            Command::Run(run) => run,
            other => panic!("{other:?} is no run"),
        }
    }

    fn told(text: &str, words: &[&str]) -> String {
        let read = of_text("f", text, &run(words));
        read.err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn a_line_that_cannot_be_used_is_named_and_nothing_starts() {
        let text = told("{\"a\":1}\n\n{\"a\":\n[1]\n", &["-f", "b=2"]);
        assert!(text.starts_with("2 of 3 lines of f cannot be used; nothing was started"));
        assert!(text.contains("\n  line 3: no JSON"), "{text}");
        assert!(
            text.contains("\n  line 4: --field needs an object"),
            "{text}"
        );
        assert!(told("\n \n", &[]).contains("no line"));
        let many = "x\n".repeat(12);
        assert!(told(&many, &[]).ends_with("and 2 more"));
        let batch = of_text("f", "\n{\"a\":1}\n{}\n", &run(&[])).unwrap();
        let wanted = |input: &Value| input.get("a").map(|_| ()).ok_or("no a".to_owned());
        let text = batch.check(wanted, "look").unwrap_err().to_string();
        assert!(
            text.contains("1 of 2 lines") && text.contains("line 3: no a"),
            "{text}"
        );
    }

    #[test]
    fn the_same_file_run_the_same_way_has_the_same_ids() {
        let of = |text: &str, words: &[&str]| of_text("f", text, &run(words)).unwrap();
        let one = of("1\n1\n", &[]);
        assert_eq!(one.id(), of("1\n1\n", &[]).id());
        assert_eq!(one.request(2), of("1\n1\n", &[]).request(2));
        assert_ne!(
            one.request(1),
            one.request(2),
            "two lines that say the same are two"
        );
        for other in [of("1\n2\n", &[]), of("1\n1\n", &["--key", "again"])] {
            assert_ne!(one.id(), other.id());
            assert_ne!(one.request(1), other.request(1));
        }
        let mut with = of("{\"a\":1}\n", &["-f", "a=2"]);
        assert_eq!(with.lines[0].input, json!({"a": 2}));
        let text = json!({ "properties": { "a": { "type": "string" } } });
        with.convert(&["a=2".to_owned()], &Wanted::by(Some(text)));
        assert_eq!(with.lines[0].input, json!({"a": "2"}));
        assert_ne!(with.id(), of("{\"a\":1}\n", &[]).id());
    }
}
