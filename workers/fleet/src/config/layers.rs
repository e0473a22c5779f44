//! The layers of the configuration, merged, before they are given types.

use std::path::Path;

use config::{Environment, File, FileFormat, Value, ValueKind};

use super::{Config, ConfigError, show};

/// The documented defaults.
pub const DEFAULTS: &str = include_str!("../../baton-worker.default.toml");

/// What variables of the environment begin with.
const PREFIX: &str = "BATON";
/// Between the words of such a variable.
const SEPARATOR: &str = "__";
/// The keys that are lists.
const LIST_KEYS: [&str; 7] = [
    "bus.addresses",
    "worker.pools",
    "worker.types",
    "automations.files.roots",
    "automations.net.allow",
    "automations.git.repositories",
    "automations.git.roots",
];

/// The sections there are.
const SECTIONS: [&str; 9] = [
    "worker",
    "bus",
    "http",
    "log",
    "processes",
    "commands",
    "services",
    "secrets",
    "automations",
];

/// Sections whose entries are named by whoever writes them; what stands in an entry is known to its type.
const NAMED: [&str; 3] = ["commands.", "services.", "secrets."];

/// All layers, merged.
#[derive(Debug, Clone)]
pub struct Layers {
    merged: config::Config,
}

impl Layers {
    /// Reads the defaults, the file, the environment and the overrides of flags.
    ///
    /// # Errors
    /// [`ConfigError`] when one cannot be read or has a key nobody knows.
    pub fn read(file: Option<&Path>, overrides: &[(&str, Value)]) -> Result<Self, ConfigError> {
        Self::merge(file, environment(std::env::vars()), overrides)
    }

    pub(super) fn merge(
        file: Option<&Path>,
        environment: Environment,
        overrides: &[(&str, Value)],
    ) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { source };
        let defaults = File::from_str(DEFAULTS, FileFormat::Toml);
        let mut builder = config::Config::builder().add_source(defaults.clone());
        if let Some(path) = file {
            builder = builder.add_source(File::from(path).format(FileFormat::Toml));
        }
        builder = builder.add_source(environment);
        for (key, value) in overrides {
            builder = builder.set_override(*key, value.clone()).map_err(read)?;
        }
        let merged = builder.build().map_err(read)?;
        let known = config::Config::builder()
            .add_source(defaults)
            .build()
            .map_err(read)?;
        refuse_unknown(&keys(&known), &keys(&merged))?;
        Ok(Self { merged })
    }

    /// The typed configuration.
    ///
    /// # Errors
    /// [`ConfigError`] when a value is of the wrong kind or out of range.
    pub fn config(self) -> Result<Config, ConfigError> {
        let value = |source| ConfigError::Value { source };
        let mut set = self.merged.cache;
        drop_unset(&mut set);
        let set: Config = set.try_deserialize().map_err(value)?;
        set.checked()
    }

    /// What is in force, as TOML with secrets hidden.
    #[must_use]
    pub fn shown(&self) -> String {
        show::shown(&self.merged.cache)
    }
}

/// `BATON__SECTION__KEY`. One environment may serve several programs of ours: what names a section this one does not have, nor one
/// that reads nearly like it, is meant for another.
pub(super) fn environment(vars: impl Iterator<Item = (String, String)>) -> Environment {
    let ours = vars.filter(|(name, _)| is_ours(name)).collect();
    let environment = Environment::with_prefix(PREFIX)
        .prefix_separator(SEPARATOR)
        .separator(SEPARATOR)
        .try_parsing(true)
        .list_separator(",")
        .source(Some(ours));
    LIST_KEYS.iter().fold(environment, |environment, key| {
        environment.with_list_parse_key(key)
    })
}

fn is_ours(variable: &str) -> bool {
    /// As many letters may be wrong in a section's name.
    const NEARLY: usize = 2;
    let mut words = variable.split(SEPARATOR);
    if words.next() != Some(PREFIX) {
        return false;
    }
    let section = words.next().unwrap_or_default().to_lowercase();
    SECTIONS
        .iter()
        .any(|known| distance(known, &section) <= NEARLY)
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

fn refuse_unknown(known: &[String], given: &[String]) -> Result<(), ConfigError> {
    let is_named = |key: &str| NAMED.iter().any(|section| key.starts_with(section));
    let mut unknown: Vec<&String> = given
        .iter()
        .filter(|key| !known.contains(key) && !is_named(key))
        .collect();
    unknown.sort();
    let Some(key) = unknown.first() else {
        return Ok(());
    };
    let hint = nearest(key, known).map_or_else(String::new, |n| format!(", did you mean `{n}`?"));
    Err(ConfigError::UnknownKey {
        key: (*key).clone(),
        hint,
    })
}

/// The known key that differs least, unless all differ in more than a third.
fn nearest<'a>(key: &str, known: &'a [String]) -> Option<&'a str> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    known
        .iter()
        .map(|candidate| {
            let whole = distance(key, candidate);
            let tail = distance(&last(key), &last(candidate)) + 1;
            (whole.min(tail), candidate)
        })
        .filter(|(far, candidate)| *far <= last(candidate).len().max(6) / 3)
        .min()
        .map(|(_, candidate)| candidate.as_str())
}

/// How many letters have to be changed, put in or taken out (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut before = i;
        let mut left = i + 1;
        for (j, to) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or_default();
            let change = before + usize::from(from != *to);
            let best = change.min(above + 1).min(left + 1);
            before = above;
            if let Some(cell) = row.get_mut(j) {
                *cell = left;
            }
            left = best;
        }
        if let Some(cell) = row.last_mut() {
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
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
