//! The configuration: documented defaults, a file, the environment, flags, in that order. The defaults file holds every key
//! there is, so it is the manual and the list of what is known at once; any other key is refused with the nearest known one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use baton_bus::BusConfig;
use baton_engine::definition::duration_ms;
use baton_messages::WorkerId;
use baton_messages::batch::TASKS_MAX;
use baton_store::cluster::PARTITIONS_MAX;
use serde::Deserialize;

pub use baton_settings::{ConfigError, Layers};
use baton_settings::{Named, Program, Value, environment, instance};

use crate::alerts::Rules;
use crate::dead_letters::Adopted;
use crate::retention::{AGE_MS_MIN, Policy};

/// The widest a batch may be: what is decided in one transaction is held in memory, and decided again when it fails.
const BATCH_LIMIT: usize = 4096;

/// As many as there can be partitions.
const TURNS_LIMIT: usize = 64;

/// The longest a turn may wait for more: everybody who asks waits with it.
const LINGER_MS_MAX: u64 = 1_000;

/// The longest events may be kept, in hours: ten years.
const KEEP_EVENTS_H_MAX: u64 = 87_600;

/// What switches something off that is otherwise a value.
const OFF: &str = "off";

/// The documented defaults.
pub const DEFAULTS: &str = include_str!("../../baton-orchestrator.default.toml");

/// What can be configured here.
const PROGRAM: Program = Program {
    name: "baton-orchestrator",
    defaults: DEFAULTS,
    named: &[Named {
        section: "hooks",
        keys: Some(&["secret_file", "secret_env", "scheme", "tolerance_s"]),
    }],
    secrets: &["token"],
};

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The process itself.
    pub service: ServiceConfig,
    /// Where things are kept.
    pub store: StoreConfig,
    /// The broker.
    pub bus: BusConfig,
    /// Taking in reports.
    pub inbox: InboxConfig,
    /// Sending tasks.
    pub tasks: TasksConfig,
    /// The API.
    pub http: HttpConfig,
    /// Sagas in memory.
    pub sagas: SagasConfig,
    /// Sagas that have ended.
    pub retention: RetentionConfig,
    /// Dead letters.
    pub dead_letters: DeadLettersConfig,
    /// Events, schedules and hooks.
    pub triggers: TriggersConfig,
    /// The secrets of hooks, by name.
    #[serde(default)]
    pub hooks: BTreeMap<String, HookConfig>,
    /// What operators did.
    pub audit: AuditConfig,
    /// What needs a person.
    pub alerts: AlertsConfig,
    /// Logs.
    pub log: LogConfig,
}

/// The process itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// Its name among orchestrators; made when absent.
    #[serde(default)]
    pub instance: Option<String>,
    /// How long the end may take.
    pub grace_ms: u64,
}

/// Where things are kept.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// In a file, or in a database.
    pub kind: StoreKind,
    /// The folder of the file, if it is one, and of the token.
    pub data_dir: PathBuf,
    /// The database's address.
    #[serde(default)]
    pub url: Option<String>,
    /// A file with its password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// How many partitions a database is made with.
    #[serde(default)]
    pub partitions: Option<u8>,
    /// Connections that read.
    pub readers: usize,
    /// How long connecting may take.
    pub connect_timeout_ms: u64,
    /// How long one statement may take.
    pub statement_timeout_ms: u64,
    /// How long a partition is owned without a word of its owner.
    pub lease_ms: u64,
    /// TLS to the database.
    pub tls: StoreTls,
}

/// TLS to the database.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreTls {
    /// The authorities to trust.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The certificate of this process.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// Its key.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

impl std::fmt::Debug for StoreConfig {
    /// Without the address, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreConfig")
            .field("kind", &self.kind)
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}

/// What kind of store it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// One file, one orchestrator.
    Sqlite,
    /// A database.
    Postgres,
}

/// Taking in reports.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboxConfig {
    /// Most deliveries not yet acknowledged.
    pub prefetch: u16,
    /// Most inputs of one turn.
    pub batch_max: usize,
    /// How long a turn waits for more under load.
    pub linger_ms: u64,
    /// How many partitions of this process are decided and committed at the same time.
    pub turns_max: usize,
}

/// Sending tasks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TasksConfig {
    /// Most tasks in one message; 1: each in its own.
    pub together_max: usize,
}

/// The API.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The token, when it is set by configuration.
    #[serde(default)]
    pub token: Option<String>,
}

impl std::fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpConfig")
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

/// Sagas in memory.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SagasConfig {
    /// How long one may be idle there.
    pub idle_ms: u64,
}

/// Sagas that have ended.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    /// How long one stays after its end; `off`: for ever.
    pub ended_sagas: String,
    /// Where they are archived; `off`: nowhere.
    #[serde(default)]
    pub archive_dir: Option<PathBuf>,
}

/// Dead letters.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLettersConfig {
    /// Queues of other systems that are taken in.
    pub adopt: Vec<String>,
    /// How long letters stay that are over: a duration, or "off".
    pub retention: String,
}

/// Events, schedules and hooks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggersConfig {
    /// Most events taken from the broker and not yet acknowledged.
    pub prefetch: u16,
    /// Most events kept in one transaction.
    pub batch_max: usize,
    /// How long events are kept.
    pub keep_events_h: u64,
    /// Largest body of a hook.
    pub hook_body_bytes_max: usize,
    /// Most requests of one hook in a minute.
    pub hook_rate_per_minute: u32,
}

/// One secret of hooks. It is never shown or logged: only where it lies is configured.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookConfig {
    /// A file with the secret.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// A variable of the environment with the secret.
    #[serde(default)]
    pub secret_env: Option<String>,
    /// How requests are signed.
    pub scheme: Scheme,
    /// How old a request may be, where its scheme says when it was made.
    #[serde(default = "tolerance_s")]
    pub tolerance_s: u64,
}

/// Five minutes, as Standard Webhooks has it.
const fn tolerance_s() -> u64 {
    300
}

/// How a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// As GitHub does: over the body.
    Github,
    /// Standard Webhooks: over id, time and body.
    Standard,
}

/// What needs a person.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertsConfig {
    /// Whether it is looked for.
    pub enabled: bool,
    /// How often it is looked.
    pub every_s: u64,
    /// After how long what stays is said again.
    pub repeat_min: u64,
    /// How often what comes and goes is said at most.
    pub again_min: u64,
    /// By how many a group of dead letters grows within ten minutes to be one of its own.
    pub group_grows: u64,
    /// For how long nobody serves a task type before it is said.
    pub unserved_s: u64,
    /// For how long a saga stands still before it is said.
    pub no_progress_min: u64,
    /// What links begin with; the address of the API when absent.
    #[serde(default)]
    pub link: Option<String>,
}

/// What operators did.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditConfig {
    /// The file into which it is said how far the log is.
    #[serde(default)]
    pub heads_file: Option<PathBuf>,
    /// How often that is said, there and on the bus.
    pub heads_every_s: u64,
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

impl Config {
    /// The database's file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.store.data_dir.join("baton.db")
    }

    /// What becomes of ended sagas; none: they stay.
    pub(crate) fn retention(&self) -> Option<Policy> {
        let keep_ms = age_ms(&self.retention.ended_sagas).ok()??;
        let archive = match &self.retention.archive_dir {
            None => Some(self.store.data_dir.join("archive")),
            Some(folder) if folder.as_os_str() == OFF => None,
            Some(folder) => Some(folder.clone()),
        };
        Some(Policy { keep_ms, archive })
    }

    /// How long letters stay that are over; none: for ever.
    pub(crate) fn letters_stay_ms(&self) -> Option<u64> {
        age_ms(&self.dead_letters.retention).ok().flatten()
    }

    /// When what is an alert; none: it is not looked for.
    pub(crate) fn alert_rules(&self) -> Option<Rules> {
        let of = &self.alerts;
        let minutes = |n: u64| n.saturating_mul(60_000);
        of.enabled.then(|| Rules {
            every: Duration::from_secs(of.every_s),
            repeat_ms: minutes(of.repeat_min),
            again_ms: minutes(of.again_min),
            group_grows: of.group_grows,
            unserved_ms: of.unserved_s.saturating_mul(1_000),
            no_progress_ms: minutes(of.no_progress_min),
            link: self.link(),
        })
    }

    /// What links to this API begin with.
    pub(crate) fn link(&self) -> Arc<str> {
        let link = self.alerts.link.as_deref();
        match link.map(|link| link.trim_end_matches('/')) {
            Some(link) if !link.is_empty() => link.into(),
            _ => own_link(self.http.listen).into(),
        }
    }

    /// How often it is said how far the audit log is.
    pub(crate) const fn heads_every(&self) -> Duration {
        Duration::from_secs(self.audit.heads_every_s)
    }

    /// Queues of other systems that are taken in.
    pub(crate) fn adopted(&self) -> Vec<Adopted> {
        // checked when it was read
        Adopted::all(&self.dead_letters.adopt).unwrap_or_default()
    }

    /// The token's file.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.store.data_dir.join("token")
    }

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
        let range = |key, rule: &str| {
            Err(ConfigError::Range {
                key,
                rule: rule.to_owned(),
            })
        };
        if self.inbox.prefetch == 0 {
            return range("inbox.prefetch", "is 0; give at least 1, 2000 is usual");
        }
        if !(1..=BATCH_LIMIT).contains(&self.inbox.batch_max) {
            return range("inbox.batch_max", "has to be from 1 to 4096; 512 is usual");
        }
        if !(1..=TURNS_LIMIT).contains(&self.inbox.turns_max) {
            return range("inbox.turns_max", "has to be from 1 to 64; 2 is usual");
        }
        if self.inbox.linger_ms > LINGER_MS_MAX {
            return range(
                "inbox.linger_ms",
                "has to be at most 1000: so long everybody waits for an answer; 2 is usual",
            );
        }
        if !(1..=TASKS_MAX).contains(&self.tasks.together_max) {
            return range(
                "tasks.together_max",
                "has to be from 1 (each in its own message) to 64",
            );
        }
        if self.bus.lanes < 2 {
            return range("bus.lanes", "has to be from 2 to 16; 3 is usual");
        }
        match (self.store.kind, &self.store.url) {
            (StoreKind::Postgres, None) => {
                return range(
                    "store.url",
                    "is not set; give the database's address, such as postgres://baton@db.example.com/baton",
                );
            }
            (StoreKind::Sqlite, Some(_)) => {
                return range(
                    "store.url",
                    "is set, and store.kind is sqlite, which keeps everything in store.data_dir; set store.kind to postgres, or leave the address out",
                );
            }
            (StoreKind::Postgres, Some(_)) | (StoreKind::Sqlite, None) => {}
        }
        if (self.store.partitions).is_some_and(|n| !(1..=PARTITIONS_MAX).contains(&n)) {
            return range("store.partitions", "has to be from 1 to 64; 8 is usual");
        }
        if !(1..=64).contains(&self.store.readers) {
            return range("store.readers", "has to be from 1 to 64; 4 is usual");
        }
        if !(100..=60_000).contains(&self.store.connect_timeout_ms) {
            return range(
                "store.connect_timeout_ms",
                "has to be from 100 to 60000; 5000 is usual",
            );
        }
        if !(100..=600_000).contains(&self.store.statement_timeout_ms) {
            return range(
                "store.statement_timeout_ms",
                "has to be from 100 to 600000; 10000 is usual",
            );
        }
        if !(3_000..=300_000).contains(&self.store.lease_ms) {
            return range(
                "store.lease_ms",
                "has to be from 3000 to 300000; 10000 is usual",
            );
        }
        if self.sagas.idle_ms < 1_000 {
            return range(
                "sagas.idle_ms",
                "has to be at least 1000, one second; 60000 is usual",
            );
        }
        if let Err(rule) = age_ms(&self.dead_letters.retention) {
            return range("dead_letters.retention", &rule);
        }
        if let Err(rule) = age_ms(&self.retention.ended_sagas) {
            return range("retention.ended_sagas", &rule);
        }
        if let Err(rule) = Adopted::all(&self.dead_letters.adopt) {
            return range("dead_letters.adopt", &rule);
        }
        if self.triggers.prefetch == 0 {
            return range("triggers.prefetch", "is 0; give at least 1, 1000 is usual");
        }
        if !(1..=BATCH_LIMIT).contains(&self.triggers.batch_max) {
            return range(
                "triggers.batch_max",
                "has to be from 1 to 4096; 256 is usual",
            );
        }
        if !(1..=KEEP_EVENTS_H_MAX).contains(&self.triggers.keep_events_h) {
            return range(
                "triggers.keep_events_h",
                "has to be from 1 to 87600; 72 is usual",
            );
        }
        if !(1..=baton_messages::BODY_BYTES_MAX / 2).contains(&self.triggers.hook_body_bytes_max) {
            return range(
                "triggers.hook_body_bytes_max",
                "has to be from 1 to 262144: what is no JSON grows when it is written into an event",
            );
        }
        if self.triggers.hook_rate_per_minute == 0 {
            return range("triggers.hook_rate_per_minute", "is 0; 600 is usual");
        }
        if !(1..=3_600).contains(&self.alerts.every_s) {
            return range("alerts.every_s", "has to be from 1 to 3600; 10 is usual");
        }
        if self.alerts.no_progress_min == 0 {
            return range("alerts.no_progress_min", "is 0; 60 is usual");
        }
        if self.alerts.repeat_min == 0 {
            return range("alerts.repeat_min", "is 0; 240 is usual");
        }
        if self.alerts.group_grows == 0 {
            return range("alerts.group_grows", "is 0; 100 is usual");
        }
        if !(1..=86_400).contains(&self.audit.heads_every_s) {
            return range(
                "audit.heads_every_s",
                "has to be from 1 to 86400; 60 is usual",
            );
        }
        if self.http.token.as_deref().is_some_and(|t| t.len() < 16) {
            return range(
                "http.token",
                "is shorter than 16 characters; leave it empty to have one made",
            );
        }
        let instance = self.service.instance.take().unwrap_or_else(instance::made);
        if WorkerId::new(&instance).is_err() {
            return range(
                "service.instance",
                "has to be letters, digits, - and _, at most 96",
            );
        }
        self.bus.role = "orchestrator".to_owned();
        self.bus.instance.clone_from(&instance);
        self.service.instance = Some(instance);
        Ok(self)
    }

    /// The name of this process.
    #[must_use]
    pub fn instance(&self) -> &str {
        self.service.instance.as_deref().unwrap_or("orchestrator")
    }
}

/// A link to where we listen; whoever listens everywhere is found by the name of the host.
fn own_link(listen: SocketAddr) -> String {
    match instance::host().filter(|_| listen.ip().is_unspecified()) {
        Some(host) => format!("http://{host}:{}", listen.port()),
        None => format!("http://{listen}"),
    }
}

/// What to write instead of an age that is none.
const AGE_HELP: &str = "give a duration such as \"90d\", or \"off\" to keep all of them";

/// How long ended sagas stay; none: for ever. What is wrong with it, otherwise.
fn age_ms(text: &str) -> Result<Option<u64>, String> {
    let text = text.trim();
    if text == OFF {
        return Ok(None);
    }
    match duration_ms(text) {
        Err(why) => Err(format!("`{text}` {why}; {AGE_HELP}")),
        Ok(ms) if ms < AGE_MS_MIN => Err(format!(
            "has to be at least 1h: what is still on its way about a saga comes to it; {AGE_HELP}"
        )),
        Ok(ms) => Ok(Some(ms)),
    }
}

#[cfg(test)]
mod tests;
