//! The layers of the configuration, merged, before they are given types.

use std::path::Path;

use config::{Environment, File, FileFormat, Value, ValueKind};

use super::{Config, ConfigError, show};
use crate::nearest::distance;

/// The documented defaults.
pub const DEFAULTS: &str = include_str!("../../baton-orchestrator.default.toml");

/// What variables of the environment begin with.
const PREFIX: &str = "BATON";
/// Between the words of such a variable.
const SEPARATOR: &str = "__";
/// The one key that is a list.
const LIST_KEY: &str = "bus.addresses";

/// The keys of each `[hooks.<name>]`.
const HOOK_KEYS: [&str; 4] = ["secret_file", "secret_env", "scheme", "tolerance_s"];

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
        Self::merge(file, environment(), overrides)
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

/// `BATON__SECTION__KEY`.
pub(super) fn environment() -> Environment {
    Environment::with_prefix(PREFIX)
        .prefix_separator(SEPARATOR)
        .separator(SEPARATOR)
        .try_parsing(true)
        .list_separator(",")
        .with_list_parse_key(LIST_KEY)
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
    let mut unknown: Vec<&String> = given
        .iter()
        .filter(|key| !known.contains(key) && !is_of_a_hook(key))
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

/// Whether it is a key of a section whose name people choose: `hooks.<name>.secret_file`.
fn is_of_a_hook(key: &str) -> bool {
    let leaf = key
        .strip_prefix("hooks.")
        .and_then(|rest| rest.rsplit_once('.'));
    leaf.is_some_and(|(name, leaf)| !name.is_empty() && HOOK_KEYS.contains(&leaf))
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

/// Takes out what is "": not set.
fn drop_unset(value: &mut Value) {
    if let ValueKind::Table(table) = &mut value.kind {
        table.retain(|_, inner| !matches!(&inner.kind, ValueKind::String(text) if text.is_empty()));
        for inner in table.values_mut() {
            drop_unset(inner);
        }
    }
}
