//! `baton sweep`: what becomes of a definition whatever befalls its steps, in simulated time. Needs no server.

use std::error::Error as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_engine::definition::{Together, Unannounced, check_among, duration_ms};
use baton_engine::{Catalogue, Definition, Status};
use baton_sim::sweep::{Beside, CasesError, Cell, Given, StepPath, Sweep, Unready, by_step};
use serde_json::{Value, json};

use super::check::{draw, known, read};
use super::dead::quoted;
use crate::args::{Ends, FailOn, Sweep as Asked};
use crate::error::CliError;
use crate::exit::Exit;
use crate::input;
use crate::out::{Out, Tone};
use crate::screens::diagnostics::Diagnostic;
use crate::screens::sweep::{self as screen, Swept};
use crate::suggest::nearest;

/// How long before somebody who waits is told how far it is.
const PATIENCE: Duration = Duration::from_millis(700);

/// How a file that holds a definition is called, in a folder.
const EXTENSIONS: [&str; 2] = ["yaml", "yml"];

/// What the files of a sweep are looked at with.
struct Known {
    catalogue: Catalogue,
    /// The definitions of all files, for the checker.
    sagas: Together,
    /// The same with what their cases say, for whoever plays them.
    beside: Beside,
    /// The file of each, by its name and version.
    files: Vec<(String, String)>,
    typed: Given,
}

/// A file on its way: its definition with all it is played with, or why it is not played.
struct OneFile {
    name: String,
    text: String,
    /// Its steps, and those of the sagas within it; none where they are not known.
    steps: Option<Vec<String>>,
    /// How many are its own.
    count: usize,
    ready: Result<Ready, Unswept>,
}

struct Ready {
    sweep: Sweep,
    saga: String,
    version: u32,
    /// Where its input is from.
    from: String,
    /// How it ends on purpose when nothing befalls it.
    ends: Status,
}

/// Why a file is not swept.
enum Unswept {
    Wrong(Vec<Diagnostic>),
    Unready(CliError),
}

pub(crate) fn sweep(which: &Asked, out: &mut Out) -> Result<Exit, CliError> {
    let until = which.within.as_deref().map(end_of).transpose()?;
    let paths = within_folders(&which.files)?;
    if which.seed.is_some() && paths.len() != 1 {
        return Err(CliError::usage(
            "a seed is of one definition: name one file, and with --beside those of the sagas within it",
        ));
    }
    let (files, mut unread) = read(&paths);
    let (beside, unread_beside) = read(&within_folders(&which.beside)?);
    unread.extend(unread_beside);
    let known = known_of(which, &files, &beside)?;
    let files = files.into_iter();
    let files: Vec<OneFile> = files
        .map(|(name, text)| looked_at(which, name, text, &known))
        .collect();
    known_steps(which, &files, unread.is_empty())?;
    let mut exit = checked_beside(&beside, &known, out);
    let mut all = Vec::new();
    for file in files {
        let name = file.name;
        let ready = match file.ready {
            Ok(ready) => ready,
            Err(Unswept::Wrong(wrong)) => {
                exit = exit.worse(Exit::Error);
                draw(&wrong, &name, &file.text, out);
                let why = "the definition is wrong: baton check tells how";
                all.push(json!({ "file": name, "ok": false, "error": why }));
                continue;
            }
            Err(Unswept::Unready(error)) => {
                exit = exit.worse(error.exit());
                out.error(&error);
                all.push(json!({ "file": name, "ok": false, "error": error.whole() }));
                continue;
            }
        };
        if let Some(seed) = which.seed {
            let command = command(which, &name, &beside_of(&known, &ready.sweep));
            return again(which, &command, &ready.sweep, seed, out);
        }
        let swept = played(which, (name, &known), file.count, &ready, until);
        exit = exit.worse(judged(which, &ready.sweep, &swept));
        if out.wants_json() {
            all.push(screen::json(&swept, &ready.sweep));
        } else {
            for line in screen::lines(&swept, &ready.sweep, out.screen.width()) {
                out.say(&line);
            }
        }
    }
    for (name, error) in &unread {
        all.push(json!({ "file": name, "ok": false, "error": error.whole() }));
        exit = exit.worse(Exit::Error);
    }
    if out.wants_json() && which.seed.is_none() {
        out.value(&Value::Array(all));
    }
    for (_, error) in &unread {
        out.error(error);
    }
    Ok(exit)
}

/// The files that are named, and of a folder those that are in it.
fn within_folders(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut all = Vec::new();
    for path in paths {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let unreadable = |error: std::io::Error| {
            CliError::usage(format!(
                "the folder {} cannot be read: {error}",
                path.display()
            ))
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            let extension = file.extension().and_then(|extension| extension.to_str());
            if file.is_file() && extension.is_some_and(|one| EXTENSIONS.contains(&one)) {
                found.push(file);
            }
        }
        if found.is_empty() {
            let text = format!("in the folder {} is no *.yaml", path.display());
            return Err(CliError::usage(text));
        }
        found.sort();
        all.extend(found);
    }
    Ok(all)
}

/// What the definitions of all files know of each other, and of the values that were given. What cannot be read is told of its own file.
fn known_of(
    which: &Asked,
    swept: &[(String, String)],
    beside: &[(String, String)],
) -> Result<Known, CliError> {
    let mut known = Known {
        catalogue: known(which.catalogue.as_deref())?,
        sagas: Together::default(),
        beside: Beside::default(),
        files: Vec::new(),
        typed: typed_values(which)?,
    };
    let is_swept = swept.iter().map(|file| (file, true));
    for ((name, text), is_swept) in is_swept.chain(beside.iter().map(|file| (file, false))) {
        let Ok(definition) = Definition::parse(text) else {
            continue;
        };
        let definition = Arc::new(definition);
        let given = match given(name, &Given::default()) {
            Ok((given, _)) => given,
            // said when it is its turn
            Err(_) if is_swept => Given::default(),
            Err(wrong) => return Err(wrong),
        };
        let saga = format!("{}@{}", definition.saga, definition.version);
        known.files.push((saga, name.clone()));
        known.sagas.add(definition.clone());
        known.beside.add(definition, given);
    }
    Ok(known)
}

/// Says what is wrong with definitions that are only played within others.
fn checked_beside(beside: &[(String, String)], known: &Known, out: &mut Out) -> Exit {
    let mut exit = Exit::Ok;
    for (name, text) in beside {
        let how = Unannounced::RefusedWhenNear;
        let found = check_among(text, &known.catalogue, &known.sagas, how);
        let wrong = found.errors.iter();
        let wrong: Vec<Diagnostic> = wrong.map(|one| Diagnostic::of(one, "error")).collect();
        if !wrong.is_empty() {
            exit = exit.worse(Exit::Error);
            draw(&wrong, name, text, out);
        }
    }
    exit
}

/// A definition the checker accepts, with its values.
fn looked_at(which: &Asked, name: String, text: String, known: &Known) -> OneFile {
    let how = Unannounced::RefusedWhenNear;
    let mut found = check_among(&text, &known.catalogue, &known.sagas, how);
    let definition = found.definition.take_if(|_| found.errors.is_empty());
    let Some(definition) = definition else {
        let wrong = found.errors.iter();
        let wrong = wrong.map(|one| Diagnostic::of(one, "error")).collect();
        return OneFile {
            name,
            text,
            steps: None,
            count: 0,
            ready: Err(Unswept::Wrong(wrong)),
        };
    };
    let own = definition.steps.iter().map(|step| step.id.to_string());
    let own: Vec<String> = own.collect();
    let has_sagas = definition.steps.iter().any(|step| step.child().is_some());
    let (saga, version) = (definition.saga.clone(), definition.version);
    let definition = Arc::new(definition);
    let ready = given(&name, &known.typed).and_then(|(given, from)| {
        let command = base(which, &name, &named_by(known, &definition));
        let ends = given.ends.unwrap_or(Status::Completed);
        let sweep = Sweep::among(definition, &known.beside, &known.catalogue, &given);
        let sweep = sweep.map_err(|wrong| unready(wrong, &command))?;
        Ok(Ready {
            sweep,
            saga,
            version,
            from,
            ends,
        })
    });
    let count = own.len();
    let steps = match &ready {
        Ok(ready) => Some(ready.sweep.steps().map(|at| at.to_string()).collect()),
        // what lies within it may be what is not known
        Err(_) => (!has_sagas).then_some(own),
    };
    OneFile {
        name,
        text,
        steps,
        count,
        ready: ready.map_err(Unswept::Unready),
    }
}

/// The files of the sagas that lie within one, as far as they are known.
fn named_by(known: &Known, definition: &Definition) -> Vec<String> {
    let mut files = Vec::new();
    let mut next: Vec<(String, u32)> = definition.names();
    while let Some((name, version)) = next.pop() {
        let saga = format!("{name}@{version}");
        let file = known.files.iter().find(|(one, _)| *one == saga);
        let Some((_, file)) = file.filter(|(_, file)| !files.contains(file)) else {
            continue;
        };
        files.push(file.clone());
        let within = baton_engine::definition::Sagas::saga(&known.sagas, &name, version);
        next.extend(within.map(Definition::names).unwrap_or_default());
    }
    files.sort();
    files
}

/// The command as it was typed for one file, as far as it says what task types there are.
fn base(which: &Asked, name: &str, beside: &[String]) -> String {
    let mut typed = format!("baton sweep {}", quoted(name));
    for file in beside {
        typed.push_str(&format!(" --beside {}", quoted(file)));
    }
    if let Some(catalogue) = &which.catalogue {
        let catalogue = catalogue.display().to_string();
        typed.push_str(&format!(" --catalogue {}", quoted(&catalogue)));
    }
    typed
}

/// The same with all its values: what plays a seed of it again.
fn command(which: &Asked, name: &str, beside: &[String]) -> String {
    let values = [
        ("--input", &which.input),
        ("--returns", &which.returns),
        ("--events", &which.events),
    ];
    let mut typed = base(which, name, beside);
    for (option, value) in values {
        if let Some(value) = value {
            typed.push_str(&format!(" {option} {}", quoted(value)));
        }
    }
    typed
}

/// Steps that are named have to be there, in one of the files; where one of them cannot be read nobody knows.
fn known_steps(which: &Asked, files: &[OneFile], all_are_read: bool) -> Result<(), CliError> {
    let steps = files.iter().map(|file| file.steps.as_deref());
    let Some(steps) = steps.collect::<Option<Vec<&[String]>>>() else {
        return Ok(());
    };
    let steps = steps.concat();
    let mut named = which.step.iter().chain(&which.may_park);
    match named.find(|name| all_are_read && !steps.contains(name)) {
        None => Ok(()),
        Some(name) => Err(CliError::not_there(
            format!("there is no step `{name}`"),
            nearest(name, steps.iter().map(String::as_str)),
            match files {
                [file] => format!("baton plan {}", quoted(&file.name)),
                _ => "baton plan FILE shows the steps there are".to_owned(),
            },
        )),
    }
}

fn end_of(text: &str) -> Result<Instant, CliError> {
    let ms = duration_ms(text)
        .map_err(|wrong| CliError::usage(format!("--within: `{text}` {wrong}")))?;
    Ok(Instant::now() + Duration::from_millis(ms))
}

/// With what to type next, after what was typed.
fn unready(wrong: Unready, base: &str) -> CliError {
    let next = match &wrong {
        Unready::Unknown { .. } => {
            format!("baton tasks --json > types.json && {base} --catalogue types.json")
        }
        Unready::Input { .. } | Unready::Misfit { .. } => format!("{base} --input @input.json"),
        Unready::Return { step, .. } | Unready::NotReturned { step, .. } => {
            format!("{base} --returns '{{\"{step}\": {{}}}}'")
        }
        Unready::NotGiven { saga, .. } => {
            let name = saga.split('@').next().unwrap_or(saga);
            format!("{base} --beside {}", quoted(&format!("{name}.yaml")))
        }
        Unready::NoSuchStep { .. } | Unready::TooMany => base.replacen("sweep", "plan", 1),
        Unready::Seed { .. } => format!("{base} --json"),
    };
    CliError::usage_then(wrong.to_string(), next)
}

/// What was typed of values.
fn typed_values(which: &Asked) -> Result<Given, CliError> {
    let one = |text: &Option<String>, what: &str| {
        let text = text.as_deref();
        text.map(|text| input::json(text, what)).transpose()
    };
    let of_steps = |text: &Option<String>, what: &str| {
        let value = one(text, what)?.unwrap_or_default();
        by_step(value).map_err(|wrong| CliError::usage(format!("{what} {wrong}")))
    };
    Ok(Given {
        input: one(&which.input, "--input")?,
        returns: of_steps(&which.returns, "--returns")?,
        events: of_steps(&which.events, "--events")?,
        ends: which.ends.map(|ends| match ends {
            Ends::Completed => Status::Completed,
            Ends::Compensated => Status::Compensated,
            Ends::Parked => Status::Parked,
        }),
    })
}

/// The values for one file, and where its input is from: what was typed goes before what its cases say.
fn given(name: &str, typed: &Given) -> Result<(Given, String), CliError> {
    let beside = match name {
        "-" => None,
        _ => Given::beside(Path::new(name)).map_err(|error| unreadable(&error))?,
    };
    let (cases, said) = beside.unwrap_or_default();
    let from = match (&typed.input, &said.input) {
        (Some(_), _) => "--input".to_owned(),
        (None, Some(_)) => shown(&cases),
        (None, None) => "made from its schema".to_owned(),
    };
    Ok((typed.clone().or(said), from))
}

fn unreadable(error: &CasesError) -> CliError {
    let cause = error.source();
    let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
    CliError::usage(format!("{error}{cause}"))
}

/// A path as somebody here would type it.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let path = path.strip_prefix(here).unwrap_or(path);
    path.display().to_string()
}

/// The files of the sagas that are played within one.
fn beside_of(known: &Known, ready: &Sweep) -> Vec<String> {
    named_by(known, ready.definition())
}

/// Plays all cells that were asked for.
fn played(
    which: &Asked,
    (name, known): (String, &Known),
    steps: usize,
    ready: &Ready,
    until: Option<Instant>,
) -> Swept {
    let began = Instant::now();
    let told = std::io::stderr().is_terminal();
    let wanted = |step: Option<&StepPath>| {
        which.step.is_empty()
            || step.is_some_and(|step| which.step.iter().any(|one| step.is_in(one)))
    };
    let ran = ready.sweep.run(which.plays, wanted, |done, of| {
        if told && began.elapsed() > PATIENCE {
            // nobody may be there to read it
            let _ = write!(std::io::stderr(), "\r  {done} of {of} cells ");
        }
        until.is_none_or(|until| Instant::now() < until)
    });
    if told && began.elapsed() > PATIENCE {
        let _ = write!(std::io::stderr(), "\r{:30}\r", "");
    }
    Swept {
        command: command(which, &name, &beside_of(known, &ready.sweep)),
        file: name,
        saga: ready.saga.clone(),
        version: ready.version,
        steps,
        input_from: ready.from.clone(),
        ends: ready.ends,
        seconds: began.elapsed().as_secs_f64(),
        whole: ran.whole,
        left_out: ran.left_out,
        cells: ran.cells,
    }
}

fn judged(which: &Asked, ready: &Sweep, swept: &Swept) -> Exit {
    let broken = swept.cells.iter().any(|cell| cell.broken.is_some());
    if broken || ready.undisturbed().broken.is_some() {
        return Exit::Broken;
    }
    if screen::unfinished(swept, ready) {
        return Exit::Unfinished;
    }
    let may = |cell: &Cell| {
        cell.asked.iter().all(|(_, asked)| {
            let step = asked.step.as_deref().unwrap_or_default();
            let step = step.split('[').next().unwrap_or_default();
            let within = |name: &String| {
                let rest = step.strip_prefix(name.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            which.may_park.iter().any(within)
        })
    };
    let parked = |cell: &&Cell| cell.parked() && !may(cell);
    if which.fail_on == Some(FailOn::Parked) && swept.cells.iter().any(|cell| parked(&cell)) {
        return Exit::Parked;
    }
    let all_is_played = swept.whole && swept.left_out.is_empty();
    if all_is_played {
        Exit::Ok
    } else {
        Exit::Waiting
    }
}

/// One play again, with all that happened in it where that was asked for.
fn again(
    which: &Asked,
    command: &str,
    ready: &Sweep,
    seed: u64,
    out: &mut Out,
) -> Result<Exit, CliError> {
    let again = ready.again(seed);
    let (row, trouble, played) = again.map_err(|wrong| unready(wrong, command))?;
    if out.wants_json() {
        out.value(&screen::again_json(
            ready,
            row,
            trouble,
            &played,
            which.trace,
        ));
    } else {
        if which.trace {
            for line in &played.trace {
                out.line(line);
            }
            out.line("");
        }
        for line in screen::again(ready, row, trouble, &played, out.screen.width()) {
            out.say(&line);
        }
        if !which.trace {
            out.words(0, "--trace shows all that happens", Tone::Faint);
        }
    }
    Ok(if played.broken.is_some() {
        Exit::Broken
    } else {
        Exit::Ok
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn what_plays_a_seed_again_has_all_that_was_typed() {
        let typed = [
            "baton",
            "sweep",
            "a b.yaml",
            "other.yaml",
            "--catalogue",
            "types.json",
            "--input",
            "@in.json",
            "--returns",
            "{\"a\": 1}",
            "--events",
            "{\"b\": {}}",
            "--step",
            "a",
        ];
        let Command::Sweep(which) = Cli::parse_from(typed).command else {
            panic!("no sweep")
        };
        assert_eq!(
            command(&which, "a b.yaml", &["c d.yaml".to_owned()]),
            r#"baton sweep 'a b.yaml' --beside 'c d.yaml' --catalogue types.json --input @in.json --returns '{"a": 1}' --events '{"b": {}}'"#
        );
    }
}
