//! The configuration: documented defaults, a file, the environment, flags, in that order. The defaults file holds every key
//! there is, so it is the manual and the list of what is known at once; any other key is refused with the nearest known one.

mod commands;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use baton_bus::BusConfig;
use baton_messages::fleet::{KILL_GRACE_MS, LEASE_MS_DEFAULT};
use baton_messages::{PoolName, TaskType, WorkerId};
use baton_worker::{CONCURRENCY_MAX, WorkerOptions};
use serde::Deserialize;

use crate::process::ProcessesConfig;
use crate::secrets::SecretConfig;
pub use baton_settings::{ConfigError, Layers};
use baton_settings::{Named, Program, Value, environment, instance};
pub use commands::{
    CommandConfig, CommandEffect, ParamConfig, ScriptConfig, ScriptRunConfig, SecretWay,
    ServiceConfig, ServiceDriver,
};

/// The most threads: each automation shares them with all others, and more than this no host of ours has.
const THREADS_MAX: usize = 256;
/// The shortest interval of what is sent again and again: below it a worker only keeps its broker busy.
const INTERVAL_MS_MIN: u64 = 100;
/// The longest time between two heartbeats: two of them fit into a lease before the worker has to end what it runs.
const HEARTBEAT_MS_MAX: u64 = (LEASE_MS_DEFAULT - KILL_GRACE_MS) / 2;

/// How much of an output may be kept: two of them have to fit into a message.
const OUTPUT_BYTES: std::ops::RangeInclusive<usize> = 1_024..=131_072;

/// The documented defaults.
pub const DEFAULTS: &str = include_str!("../../baton-worker.default.toml");

/// What can be configured here.
const PROGRAM: Program = Program {
    name: "baton-worker",
    defaults: DEFAULTS,
    named: &[
        anything_in("commands"),
        anything_in("scripts"),
        anything_in("services"),
        anything_in("secrets"),
    ],
    secrets: &["password"],
};

/// What stands in an entry of such a section is known to its type.
const fn anything_in(section: &'static str) -> Named {
    Named {
        section,
        keys: None,
    }
}

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The worker itself.
    pub worker: WorkerConfig,
    /// The broker.
    pub bus: BusConfig,
    /// Health and metrics.
    pub http: HttpConfig,
    /// Logs.
    pub log: LogConfig,
    /// What holds for everything it starts.
    pub processes: ProcessesConfig,
    /// What tasks may have run, by name.
    #[serde(default)]
    pub commands: BTreeMap<String, CommandConfig>,
    /// What is said of single scripts of the catalogue, by name.
    #[serde(default)]
    pub scripts: BTreeMap<String, ScriptConfig>,
    /// Which services tasks may touch, by name.
    #[serde(default)]
    pub services: BTreeMap<String, ServiceConfig>,
    /// Where the secrets are that tasks refer to, by name.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretConfig>,
    /// What single automations may do.
    pub automations: AutomationsConfig,
}

/// The worker itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    /// Its name; made when absent.
    #[serde(default)]
    pub name: Option<String>,
    /// Its pools.
    pub pools: Vec<PoolName>,
    /// The types it serves; all when empty.
    pub types: Vec<TaskType>,
    /// Tasks at once.
    pub concurrency: u32,
    /// Threads that run automations.
    pub threads: usize,
    /// How long a drain lets running tasks finish.
    pub drain_grace_ms: u64,
    /// How long a run that was asked to stop may still answer; at most [`KILL_GRACE_MS`].
    pub kill_grace_ms: u64,
    /// After how long a claim is asked again.
    pub grant_ask_ms: u64,
    /// After how long a claim is given up.
    pub grant_wait_ms_max: u64,
    /// How often it says that it lives.
    pub heartbeat_ms: u64,
    /// How often it says what it can do.
    pub announce_ms: u64,
}

/// Health and metrics.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where they listen, or `off`.
    pub listen: Listen,
}

/// An address, or nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    /// Nowhere.
    Off,
    /// There.
    At(SocketAddr),
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|_| {
            format!("`{text}` is neither an address with a port, such as 127.0.0.1:8471, nor `off`")
        })
    }
}

/// Logs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// For people or for machines.
    pub format: LogFormat,
    /// Which.
    pub filter: String,
}

/// How a line of log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Human,
    /// For machines.
    Json,
}

/// What single automations may do.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutomationsConfig {
    /// For `test.effect` and `test.effect-late`.
    #[serde(default)]
    pub test_effect: TestEffectConfig,
    /// For `file.*`.
    #[serde(default)]
    pub files: FilesConfig,
    /// For what speaks to other hosts: `http.*`, `check.http`, `check.tcp`, `check.ping`.
    #[serde(default)]
    pub net: NetConfig,
    /// For `git.*`.
    #[serde(default)]
    pub git: GitConfig,
    /// For `script.run`.
    #[serde(default)]
    pub script_run: ScriptRunConfig,
}

/// For `test.effect` and `test.effect-late`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestEffectConfig {
    /// The address of the ledger; not served when absent.
    #[serde(default)]
    pub ledger_url: Option<String>,
}

/// For `file.*`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesConfig {
    /// The folders under which they may change files; not served when empty.
    #[serde(default)]
    pub roots: Vec<PathBuf>,
}

/// For what speaks to other hosts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetConfig {
    /// Private targets that may be reached.
    #[serde(default)]
    pub allow: Vec<String>,
    /// PEM bundle of further authorities to trust.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// For `git.*`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitConfig {
    /// The repositories that may be spoken to; not served when empty.
    #[serde(default)]
    pub repositories: Vec<String>,
    /// The folders below which checkouts may lie; not served when empty.
    #[serde(default)]
    pub roots: Vec<PathBuf>,
    /// The author of commits.
    #[serde(default)]
    pub author: Option<String>,
    /// The key ssh shows.
    #[serde(default)]
    pub ssh_key_file: Option<PathBuf>,
    /// The host keys ssh believes.
    #[serde(default)]
    pub ssh_known_hosts_file: Option<PathBuf>,
}

impl Config {
    /// All layers; `overrides` are those of flags, by key.
    ///
    /// # Errors
    /// [`ConfigError`] when one cannot be read or has a key nobody knows.
    pub fn layers(file: Option<&Path>, overrides: &[(&str, Value)]) -> Result<Layers, ConfigError> {
        Layers::read(&PROGRAM, file, environment(), overrides)
    }

    /// The configuration of these layers.
    ///
    /// # Errors
    /// [`ConfigError`] with the key at fault and what it should be.
    pub fn of(layers: Layers) -> Result<Self, ConfigError> {
        let given = layers.clone();
        let typed = layers.typed::<Self>()?;
        typed.checked().map_err(|error| given.place(error))
    }

    /// What types cannot say.
    fn checked(mut self) -> Result<Self, ConfigError> {
        let range = |key, rule: String| Err(ConfigError::Range { key, rule });
        let worker = &self.worker;
        if !(1..=CONCURRENCY_MAX).contains(&worker.concurrency) {
            return range(
                "worker.concurrency",
                format!("has to be from 1 to {CONCURRENCY_MAX}; 16 is usual"),
            );
        }
        if !(1..=THREADS_MAX).contains(&worker.threads) {
            return range(
                "worker.threads",
                format!("has to be from 1 to {THREADS_MAX}; 1 is usual"),
            );
        }
        if worker.pools.is_empty() {
            return range(
                "worker.pools",
                "is empty; [\"default\"] is usual".to_owned(),
            );
        }
        let intervals = [
            ("worker.heartbeat_ms", worker.heartbeat_ms),
            ("worker.announce_ms", worker.announce_ms),
            ("worker.grant_ask_ms", worker.grant_ask_ms),
        ];
        for (key, value) in intervals {
            if value < INTERVAL_MS_MIN {
                return range(key, format!("has to be at least {INTERVAL_MS_MIN}"));
            }
        }
        if worker.heartbeat_ms > HEARTBEAT_MS_MAX {
            return range(
                "worker.heartbeat_ms",
                format!(
                    "has to be at most {HEARTBEAT_MS_MAX}: a run is ended when its lease cannot be confirmed in time, and one lost heartbeat must not do that"
                ),
            );
        }
        if worker.kill_grace_ms > KILL_GRACE_MS {
            return range(
                "worker.kill_grace_ms",
                format!(
                    "has to be at most {KILL_GRACE_MS}: the orchestrator waits that long before it takes a run for dead"
                ),
            );
        }
        let processes = &self.processes;
        if processes.term_grace_ms >= worker.kill_grace_ms {
            return range(
                "processes.term_grace_ms",
                format!(
                    "has to be less than worker.kill_grace_ms, which is {}: after it a tree is killed, and its end confirmed",
                    worker.kill_grace_ms
                ),
            );
        }
        if !OUTPUT_BYTES.contains(&processes.output_bytes_max) {
            return range(
                "processes.output_bytes_max",
                format!(
                    "has to be from {} to {}",
                    OUTPUT_BYTES.start(),
                    OUTPUT_BYTES.end()
                ),
            );
        }
        for (name, secret) in &self.secrets {
            if let Err(rule) = secret.checked() {
                return range("secrets", format!(": [secrets.{name}] {rule}"));
            }
        }
        let name = self.worker.name.take().unwrap_or_else(instance::made);
        if let Err(error) = WorkerId::new(&name) {
            return range("worker.name", format!("cannot be used: {error}"));
        }
        self.bus.role = "worker".to_owned();
        self.bus.instance.clone_from(&name);
        self.worker.name = Some(name);
        Ok(self)
    }

    /// What the worker is told.
    ///
    /// # Errors
    /// [`ConfigError::Range`] when the name is none; it has been checked.
    pub fn options(&self) -> Result<WorkerOptions, ConfigError> {
        let worker = &self.worker;
        let name = worker.name.as_deref().unwrap_or_default();
        let base = WorkerOptions::new(name).map_err(|error| ConfigError::Range {
            key: "worker.name",
            rule: error.to_string(),
        })?;
        Ok(WorkerOptions {
            pools: worker.pools.clone(),
            concurrency: worker.concurrency,
            drain_grace_ms: worker.drain_grace_ms,
            kill_grace_ms: worker.kill_grace_ms,
            grant_ask_ms: worker.grant_ask_ms,
            grant_wait_ms_max: worker.grant_wait_ms_max,
            heartbeat_ms: worker.heartbeat_ms,
            announce_ms: worker.announce_ms,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..base
        })
    }
}

#[cfg(test)]
mod tests;
