//! The allow-list of commands: what the configuration names, made ready once, at the start; whatever cannot be used is refused then, and not
//! in the middle of a saga.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_worker::{SecretText, TaskError};
use regex::Regex;
use serde_json::Value;

use super::confined::{Confined, Words};
use crate::config::{CommandConfig, CommandEffect};
use crate::process::{Changes, Ended, Exit, Pin, Run};

pub(crate) mod secrets;

/// The longest value of a parameter, in bytes: names, versions and paths are shorter.
const VALUE_BYTES_MAX: usize = 4096;

/// What is wrong with an entry.
#[derive(Debug, thiserror::Error)]
#[error("[commands.{name}]: {why}")]
pub struct AllowError {
    name: String,
    why: String,
}

/// The allow-list.
#[derive(Debug, Default)]
pub(crate) struct Allowed(BTreeMap<String, Command>);

/// One entry.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) config: CommandConfig,
    args: Vec<Vec<Piece>>,
    params: BTreeMap<String, Param>,
    dirs: Vec<PathBuf>,
    confined: Confined,
    pin: Option<Pin>,
    files_pinned: Vec<Pin>,
    result: Option<jsonschema::Validator>,
}

/// What a task fills an entry with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filling<'a> {
    pub(crate) args: &'a BTreeMap<String, Value>,
    pub(crate) secrets: &'a BTreeMap<String, SecretText>,
    pub(crate) dir: Option<&'a str>,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Hole(String),
}

#[derive(Debug)]
struct Param {
    pattern: Option<Regex>,
    values: Vec<String>,
    optional: bool,
    may_begin_with_dash: bool,
}

impl Allowed {
    /// Makes the list ready.
    pub(crate) fn new(config: &BTreeMap<String, CommandConfig>) -> Result<Self, AllowError> {
        let mut all = BTreeMap::new();
        for (name, entry) in config {
            let refused = |why| AllowError {
                name: name.clone(),
                why,
            };
            for (key, other) in [("undo", &entry.undo), ("probe", &entry.probe)] {
                if let Some(other) = other.as_ref().filter(|o| !config.contains_key(*o)) {
                    return Err(refused(format!(
                        "{key} names `{other}`, which is no command"
                    )));
                }
            }
            all.insert(name.clone(), Command::new(entry).map_err(refused)?);
        }
        Ok(Self(all))
    }

    /// The entry of that name.
    pub(crate) fn get(&self, name: &str) -> Result<&Command, TaskError> {
        self.0.get(name).ok_or_else(|| {
            let known = self.0.keys().map(String::as_str).collect::<Vec<_>>();
            TaskError::failed(
                "not-allowed",
                format!(
                    "this worker allows no command `{name}`; allowed are {}",
                    known.join(", ")
                ),
            )
        })
    }
}

impl Allowed {
    /// The entry of that name, which has to be one that only looks.
    pub(crate) fn looking(&self, name: &str) -> Result<&Command, TaskError> {
        let command = self.get(name)?;
        match command.changes() {
            Changes::Nothing => Ok(command),
            Changes::Something => Err(TaskError::failed(
                "not-allowed",
                format!(
                    "command {name} may change something (its effect is not \"none\"): use command.run for it"
                ),
            )),
        }
    }
}

impl Command {
    fn new(config: &CommandConfig) -> Result<Self, String> {
        if !config.program.is_absolute() {
            return Err("program has to be an absolute path".to_owned());
        }
        let args: Vec<Vec<Piece>> = config.args.iter().map(|arg| pieces(arg)).collect();
        for piece in args.iter().flatten() {
            if let Piece::Hole(name) = piece
                && !config.params.contains_key(name)
            {
                return Err(format!("args has {{{name}}}, which is no parameter"));
            }
        }
        let mut params = BTreeMap::new();
        for (name, param) in &config.params {
            if param.pattern.is_none() && param.values.is_empty() {
                return Err(format!("params.{name} needs a pattern or values"));
            }
            let anchored = param
                .pattern
                .as_ref()
                .map(|p| Regex::new(&format!("^(?:{p})$")));
            let pattern = anchored
                .transpose()
                .map_err(|error| format!("params.{name}.pattern: {error}"))?;
            params.insert(
                name.clone(),
                Param {
                    pattern,
                    values: param.values.clone(),
                    optional: param.optional,
                    may_begin_with_dash: param.may_begin_with_dash,
                },
            );
        }
        for (name, way) in &config.secrets {
            secrets::checked(name, way)?;
        }
        let dirs = config.dirs.iter().map(|dir| {
            dir.canonicalize()
                .map_err(|error| format!("dirs: {}: {error}", dir.display()))
        });
        let dirs = dirs.collect::<Result<Vec<_>, _>>()?;
        if config.effect == CommandEffect::Reversible && config.undo.is_none() {
            return Err(
                "effect is \"reversible\", and undo names no entry that takes it back; where none can, it is \"irreversible\""
                    .to_owned(),
            );
        }
        if config.effect == CommandEffect::Irreversible && config.undo.is_some() {
            return Err("effect is \"irreversible\", and undo names what takes it back: it is one or the other".to_owned());
        }
        for place in config.dir.iter().chain(&dirs) {
            if !config.sandbox.reaches(place) {
                return Err(format!(
                    "sandbox: it runs in {}, which is neither in read nor in write",
                    place.display()
                ));
            }
        }
        let pin = |path: &Path, sha256: &String| {
            Pin::new(path, sha256).ok_or_else(|| {
                format!(
                    "{}: `{sha256}` is no SHA-256 of 64 hexadecimal digits",
                    path.display()
                )
            })
        };
        let files_pinned = config
            .files_sha256
            .iter()
            .map(|(path, sha256)| pin(path, sha256));
        Ok(Self {
            args,
            params,
            dirs,
            confined: Confined::new(&Words {
                user: config.user.as_deref(),
                may_gain_privileges: config.may_gain_privileges,
                capabilities: &config.capabilities,
                sandbox: &config.sandbox,
                umask: config.umask,
                limits: config.limits,
                env: &config.env,
            })?,
            pin: config
                .sha256
                .as_ref()
                .map(|sha256| pin(&config.program, sha256))
                .transpose()?,
            files_pinned: files_pinned.collect::<Result<_, _>>()?,
            result: config.result_schema.as_deref().map(schema).transpose()?,
            config: config.clone(),
        })
    }

    /// What is to be run for this filling.
    pub(crate) fn run(&self, filling: Filling<'_>) -> Result<Run, TaskError> {
        let values = self.values(filling.args)?;
        let run = Run::new(self.config.program.as_os_str());
        let mut run = self
            .confined
            .confine(run)
            .pinned(self.pin.clone(), &self.files_pinned);
        for arg in &self.args {
            if let Some(arg) = filled(arg, &values) {
                run = run.arg(arg);
            }
        }
        if let Some(limit) = self.config.timeout_ms {
            run = run.timeout(Duration::from_millis(limit));
        }
        if let Some(place) = self.place(filling.dir)? {
            run = run.dir(place);
        }
        secrets::handed(run, &self.config.secrets, filling.secrets)
    }

    /// As [`Self::run`], of another entry's filling: what it has no parameter and no way for is left out.
    pub(crate) fn run_after(&self, filling: Filling<'_>) -> Result<Run, TaskError> {
        let args = known(filling.args, &self.params);
        let secrets = known(filling.secrets, &self.config.secrets);
        self.run(Filling {
            args: &args,
            secrets: &secrets,
            dir: filling.dir.filter(|_| !self.dirs.is_empty()),
        })
    }

    /// Whether a run of it may have changed something.
    pub(crate) const fn changes(&self) -> Changes {
        match self.config.effect {
            CommandEffect::None => Changes::Nothing,
            CommandEffect::Reversible | CommandEffect::Irreversible => Changes::Something,
        }
    }

    /// What its end means: done, provably nothing changed, or nobody knows.
    pub(crate) fn judged(&self, name: &str, ended: &Ended) -> Result<(), TaskError> {
        if ended.success() {
            return Ok(());
        }
        let message = ended.complaint(&format!("command {name}"));
        let has = |codes: &[i32]| matches!(ended.exit, Exit::Code(code) if codes.contains(&code));
        if has(&self.config.codes_retryable) {
            return Err(TaskError::failed("command-failed", message).retryable());
        }
        if has(&self.config.codes_failed) || self.changes() == Changes::Nothing {
            return Err(TaskError::failed("command-failed", message));
        }
        Err(TaskError::unknown("command-failed", message))
    }

    /// What it left as its result, held against its schema.
    pub(crate) fn result(&self, name: &str, ended: &Ended) -> Result<Option<Value>, TaskError> {
        let misfit = |why: String| {
            let message = format!("the result of command {name} cannot be used: {why}");
            match self.changes() {
                Changes::Nothing => TaskError::failed("result-misfit", message),
                Changes::Something => TaskError::unknown("result-misfit", message).is_final(),
            }
        };
        let result = ended.result.clone().map_err(misfit)?;
        if let Some(schema) = &self.result {
            let value = result.as_ref().unwrap_or(&Value::Null);
            if let Err(error) = schema.validate(value) {
                return Err(misfit(format!(
                    "at `{}`: {}",
                    error.instance_path(),
                    error.masked()
                )));
            }
        }
        Ok(result)
    }

    fn values(
        &self,
        given: &BTreeMap<String, Value>,
    ) -> Result<BTreeMap<String, String>, TaskError> {
        let refused = |why: String| TaskError::failed("argument-refused", why);
        if let Some(name) = given.keys().find(|name| !self.params.contains_key(*name)) {
            let known = self.params.keys().map(String::as_str).collect::<Vec<_>>();
            return Err(refused(format!(
                "there is no parameter `{name}`; there are {}",
                known.join(", ")
            )));
        }
        let mut values = BTreeMap::new();
        for (name, param) in &self.params {
            match given.get(name) {
                None | Some(Value::Null) if param.optional => {}
                None | Some(Value::Null) => return Err(refused(format!("`{name}` is missing"))),
                Some(value) => {
                    let text = text_of(value).ok_or_else(|| {
                        refused(format!("`{name}` is neither text, number nor truth"))
                    })?;
                    param
                        .check(&text)
                        .map_err(|why| refused(format!("`{name}` {why}")))?;
                    if self.begins_an_argument(name)
                        && text.starts_with('-')
                        && !param.may_begin_with_dash
                    {
                        return Err(refused(format!(
                            "`{name}` begins with `-`, and would be taken for an option"
                        )));
                    }
                    values.insert(name.clone(), text);
                }
            }
        }
        Ok(values)
    }

    fn begins_an_argument(&self, name: &str) -> bool {
        let first =
            |arg: &Vec<Piece>| matches!(arg.first(), Some(Piece::Hole(hole)) if hole == name);
        self.args.iter().any(first)
    }

    /// Where it runs, when that is not a folder of its own.
    pub(crate) fn place(&self, dir: Option<&str>) -> Result<Option<PathBuf>, TaskError> {
        let Some(dir) = dir else {
            return Ok(self.config.dir.clone());
        };
        let refused = |why: &str| TaskError::failed("folder-refused", format!("{dir} {why}"));
        let real = Path::new(dir)
            .canonicalize()
            .map_err(|error| refused(&format!("cannot be used: {error}")))?;
        if self.dirs.iter().any(|root| real.starts_with(root)) {
            Ok(Some(real))
        } else {
            Err(refused(
                "lies under none of the folders this command may run in",
            ))
        }
    }
}

impl Param {
    fn check(&self, text: &str) -> Result<(), String> {
        if text.len() > VALUE_BYTES_MAX {
            return Err(format!("is longer than {VALUE_BYTES_MAX} bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err("holds control characters".to_owned());
        }
        if !self.values.is_empty() && !self.values.iter().any(|value| value == text) {
            return Err(format!("is none of {}", self.values.join(", ")));
        }
        match &self.pattern {
            Some(pattern) if !pattern.is_match(text) => {
                Err(format!("does not fit {}", pattern.as_str()))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Those that are known there.
fn known<V: Clone, K>(
    given: &BTreeMap<String, V>,
    there: &BTreeMap<String, K>,
) -> BTreeMap<String, V> {
    let known = given.iter().filter(|(name, _)| there.contains_key(*name));
    known
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The argument, or none when a value it needs was left out.
fn filled(arg: &[Piece], values: &BTreeMap<String, String>) -> Option<String> {
    arg.iter()
        .map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Hole(name) => values.get(name).map(String::as_str),
        })
        .collect()
}

/// `release={name}.tar` in its pieces. Braces around anything that is no name stand for themselves.
fn pieces(arg: &str) -> Vec<Piece> {
    let mut all = Vec::new();
    let mut text = String::new();
    let mut rest = arg;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let name = from
            .get(1..)
            .and_then(|inner| inner.split_once('}'))
            .map(|(name, _)| name);
        match name.filter(|name| is_name(name)) {
            Some(name) => {
                if !text.is_empty() {
                    all.push(Piece::Text(std::mem::take(&mut text)));
                }
                all.push(Piece::Hole(name.to_owned()));
                rest = from.get(name.len() + 2..).unwrap_or_default();
            }
            None => {
                text.push('{');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    text.push_str(rest);
    if !text.is_empty() || all.is_empty() {
        all.push(Piece::Text(text));
    }
    all
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
}

fn schema(path: &Path) -> Result<jsonschema::Validator, String> {
    let at = |why: String| format!("result_schema: {}: {why}", path.display());
    let bytes = std::fs::read(path).map_err(|error| at(error.to_string()))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| at(error.to_string()))?;
    jsonschema::validator_for(&value).map_err(|error| at(error.to_string()))
}

#[cfg(test)]
mod tests;
