//! The layers, merged, before they are given types.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use config::{Environment, File, FileFormat, Value, ValueKind};
use serde::de::DeserializeOwned;
use strsim::levenshtein;

use crate::error::ConfigError;
use crate::misfit;
use crate::show;

/// What variables of the environment begin with.
const PREFIX: &str = "BATON";
/// Between the words of such a variable.
const SEPARATOR: &str = "__";
/// As many letters may be wrong in a section's name that is still taken for one of ours.
const NEARLY: usize = 2;

/// What a program says of its configuration.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Its name, as it is started.
    pub name: &'static str,
    /// The documented defaults, as TOML: every key there is, beside those of named entries, and of what kind each is.
    pub defaults: &'static str,
    /// Sections whose entries are named by whoever writes them.
    pub named: &'static [Named],
    /// Keys whose whole value is a secret, by their last word.
    pub secrets: &'static [&'static str],
}

/// A section whose entries are named by whoever writes them: `[hooks.github]`.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    /// The section.
    pub section: &'static str,
    /// The keys of an entry; none: they are known to its type alone.
    pub keys: Option<&'static [&'static str]>,
}

impl Named {
    fn knows(&self, key: &str) -> bool {
        let entry = key
            .strip_prefix(self.section)
            .and_then(|rest| rest.strip_prefix('.'));
        match (entry, self.keys) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(entry), Some(keys)) => entry
                .rsplit_once('.')
                .is_some_and(|(name, leaf)| !name.is_empty() && keys.contains(&leaf)),
        }
    }
}

type Builder = config::ConfigBuilder<config::builder::DefaultState>;

/// All layers, merged.
#[derive(Debug, Clone)]
pub struct Layers {
    merged: config::Config,
    whence: Whence,
    secrets: &'static [&'static str],
}

/// Where each value comes from.
#[derive(Debug, Clone, Default)]
struct Whence {
    /// Keys that flags of the command line say.
    flags: BTreeSet<String>,
    /// Variables of the environment, by the key they say.
    variables: BTreeMap<String, String>,
    /// The file, as it was named.
    file: Option<String>,
}

impl Whence {
    /// What says this key, as people name it.
    fn of(&self, key: &str, merged: &Value) -> String {
        let key = key.split('[').next().unwrap_or(key);
        if self.flags.contains(key) {
            return "a flag of the command line".to_owned();
        }
        let below = |(said, _): &(&String, &String)| {
            let rest = said.strip_prefix(key);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if let Some((_, variable)) = self.variables.iter().find(below) {
            return format!("the variable {variable}");
        }
        match &self.file {
            Some(file) if found(merged, key).is_some_and(is_of_a_file) => file.clone(),
            _ => "the configuration".to_owned(),
        }
    }
}

/// Whether a file says a value, or one below it: the defaults have no name.
fn is_of_a_file(value: &Value) -> bool {
    match &value.kind {
        ValueKind::Table(table) => table.values().any(is_of_a_file),
        _ => value.origin().is_some(),
    }
}

impl Layers {
    /// Reads the defaults, the file, the environment and the overrides of flags. One environment may serve several programs of ours:
    /// what names a section this one does not have, nor one that reads nearly like it, is meant for another.
    ///
    /// # Errors
    /// [`ConfigError`] when one cannot be read or has a key nobody knows.
    pub fn read(
        program: &Program,
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        overrides: &[(&str, Value)],
    ) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { source };
        let defaults = File::from_str(program.defaults, FileFormat::Toml);
        let known = config::Config::builder()
            .add_source(defaults.clone())
            .build()
            .map_err(read)?;
        let mut builder = config::Config::builder().add_source(defaults);
        if let Some(path) = file {
            builder = builder.add_source(File::from(path).format(FileFormat::Toml));
        }
        let sections = sections(&known, program);
        let ours = environment
            .into_iter()
            .filter(|(name, _)| is_ours(name, &sections))
            .collect::<Vec<_>>();
        let names = ours.iter().map(|(name, _)| (key_of(name), name.clone()));
        let whence = Whence {
            flags: overrides.iter().map(|(key, _)| (*key).to_owned()).collect(),
            variables: names.collect(),
            file: file.map(|path| path.display().to_string()),
        };
        builder = with_variables(builder, &known, ours).map_err(read)?;
        for (key, value) in overrides {
            builder = builder.set_override(*key, value.clone()).map_err(read)?;
        }
        let merged = builder.build().map_err(|error| unreadable(file, error))?;
        refuse_unknown(program, &keys(&known), &merged, &whence)?;
        Ok(Self {
            merged,
            whence,
            secrets: program.secrets,
        })
    }

    /// The values, typed. An empty text is not set.
    ///
    /// # Errors
    /// [`ConfigError::Value`] when one is of the wrong kind.
    pub fn typed<T: DeserializeOwned>(self) -> Result<T, ConfigError> {
        let mut set = self.merged.cache;
        drop_unset(&mut set);
        set.clone().try_deserialize().map_err(|error| {
            let (key, what) = misfit::said::<T>(&error, &set);
            ConfigError::Value {
                whence: key.map(|key| self.whence.of(&key, &set)),
                what: show::without_password(&what),
            }
        })
    }

    /// The same error, with what says the value that is out of range.
    #[must_use]
    pub fn place(&self, error: ConfigError) -> ConfigError {
        match error {
            ConfigError::Range { key, rule } => {
                let whence = self.whence.of(key, &self.merged.cache);
                let rule = format!("{rule} (it stands in {whence})");
                ConfigError::Range { key, rule }
            }
            other => other,
        }
    }

    /// What is in force, as TOML with secrets hidden.
    #[must_use]
    pub fn shown(&self) -> String {
        show::shown(&self.merged.cache, self.secrets)
    }
}

/// The environment of this process. What is no text is not for us.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// `BATON__SECTION__KEY`. The defaults say of what kind a value is: a list is split at its commas, a text stays as it is written (`007` is no 7),
/// and only what is neither is read as a number or a yes or no.
fn with_variables(
    mut builder: Builder,
    known: &config::Config,
    ours: Vec<(String, String)>,
) -> Result<Builder, config::ConfigError> {
    let (mut texts, mut others) = (HashMap::new(), HashMap::new());
    for (name, value) in ours {
        let key = key_of(&name);
        match kind(known, &key) {
            Some(ValueKind::Array(_)) if value.is_empty() => {}
            Some(ValueKind::Array(_)) => {
                builder = builder.set_override(key, value.split(',').collect::<Vec<_>>())?;
            }
            Some(ValueKind::String(_)) => {
                texts.insert(name, value);
            }
            _ => {
                others.insert(name, value);
            }
        }
    }
    Ok(builder
        .add_source(variables(texts))
        .add_source(variables(others).try_parsing(true)))
}

fn variables(ours: HashMap<String, String>) -> Environment {
    Environment::with_prefix(PREFIX)
        .prefix_separator(SEPARATOR)
        .separator(SEPARATOR)
        .source(Some(ours))
}

fn key_of(variable: &str) -> String {
    let words = variable.split(SEPARATOR).skip(1);
    words.collect::<Vec<_>>().join(".").to_lowercase()
}

fn kind<'a>(known: &'a config::Config, key: &str) -> Option<&'a ValueKind> {
    found(&known.cache, key).map(|value| &value.kind)
}

/// The value of a key.
fn found<'a>(all: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.')
        .try_fold(all, |value, word| match &value.kind {
            ValueKind::Table(table) => table.get(word),
            _ => None,
        })
}

fn sections(known: &config::Config, program: &Program) -> Vec<String> {
    let mut all: Vec<String> = match &known.cache.kind {
        ValueKind::Table(table) => table.keys().cloned().collect(),
        _ => Vec::new(),
    };
    all.extend(program.named.iter().map(|named| named.section.to_owned()));
    all
}

fn is_ours(variable: &str, sections: &[String]) -> bool {
    let mut words = variable.split(SEPARATOR);
    if words.next() != Some(PREFIX) {
        return false;
    }
    let section = words.next().unwrap_or_default().to_lowercase();
    sections
        .iter()
        .any(|known| levenshtein(known, &section) <= NEARLY)
}

/// Why the layers cannot be merged. An error of the parser quotes the line it stopped at, so it is never passed on.
fn unreadable(file: Option<&Path>, error: config::ConfigError) -> ConfigError {
    match (file, error) {
        (Some(path), config::ConfigError::FileParse { .. }) => misspelt(path),
        (_, source) => ConfigError::Read { source },
    }
}

/// Where a file is no TOML, and why.
fn misspelt(path: &Path) -> ConfigError {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let Err(error) = text.parse::<toml::Table>() else {
        // TOML, but more than a setting can be
        return ConfigError::Value {
            whence: Some(path.display().to_string()),
            what: "a number is too large, or it is a date".to_owned(),
        };
    };
    let at = error.span().map_or(0, |at| at.start);
    let before = text.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    ConfigError::Syntax {
        path: path.to_path_buf(),
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
        what: error.message().to_owned(),
    }
}

/// Every key with its sections.
fn keys(of: &config::Config) -> Vec<String> {
    let mut all = Vec::new();
    collect(&of.cache, "", &mut all);
    all
}

fn collect(value: &Value, path: &str, all: &mut Vec<String>) {
    match &value.kind {
        ValueKind::Table(table) => {
            for (key, inner) in table {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                collect(inner, &path, all);
            }
        }
        _ => all.push(path.to_owned()),
    }
}

fn refuse_unknown(
    program: &Program,
    known: &[String],
    merged: &config::Config,
    whence: &Whence,
) -> Result<(), ConfigError> {
    let is_named = |key: &str| program.named.iter().any(|named| named.knows(key));
    let given = keys(merged);
    let unknown = given
        .iter()
        .filter(|key| !known.contains(key) && !is_named(key))
        .min();
    let Some(key) = unknown else {
        return Ok(());
    };
    let hint = nearest(key, known).map_or_else(String::new, |n| format!(", did you mean `{n}`?"));
    Err(ConfigError::UnknownKey {
        program: program.name,
        key: key.clone(),
        whence: whence.of(key, &merged.cache),
        hint,
    })
}

/// The known key that differs least, unless all differ in more than a third. A key in the wrong section is found by its last word.
fn nearest<'a>(key: &str, known: &'a [String]) -> Option<&'a str> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    known
        .iter()
        .map(|candidate| {
            let whole = levenshtein(key, candidate);
            let tail = levenshtein(&last(key), &last(candidate)) + 1;
            (whole.min(tail), candidate)
        })
        .filter(|(far, candidate)| *far <= last(candidate).len().max(6) / 3)
        .min()
        .map(|(_, candidate)| candidate.as_str())
}

/// Takes out what is "": not set.
fn drop_unset(value: &mut Value) {
    if let ValueKind::Table(table) = &mut value.kind {
        table.retain(|_, inner| !matches!(&inner.kind, ValueKind::String(text) if text.is_empty()));
        for inner in table.values_mut() {
            drop_unset(inner);
        }
    }
}
