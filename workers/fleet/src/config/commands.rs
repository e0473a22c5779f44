//! `[commands.NAME]` and `[services.NAME]` of the configuration: what tasks may have run and which services they may touch. A message only
//! ever names an entry and fills its parameters.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::process::{Limits, Sandbox, Umask};

/// One command of the allow-list.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandConfig {
    /// The program, by its absolute path.
    pub program: PathBuf,
    /// Its arguments; `{name}` stands for a parameter and never makes two arguments out of one.
    #[serde(default)]
    pub args: Vec<String>,
    /// The parameters a task fills.
    #[serde(default)]
    pub params: BTreeMap<String, ParamConfig>,
    /// Where it runs; in a folder of its own when neither this nor `dirs` is there.
    #[serde(default)]
    pub dir: Option<PathBuf>,
    /// Folders under which a task may choose where it runs.
    #[serde(default)]
    pub dirs: Vec<PathBuf>,
    /// Further variables of its environment, as `NAME=value`.
    #[serde(default)]
    pub env: Vec<String>,
    /// As whom it runs: a name, or `uid:gid`. Only root can run as somebody else.
    #[serde(default)]
    pub user: Option<String>,
    /// Its own time limit, in milliseconds, beside that of the step.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// What it does to the world: `none` (it only looks), `reversible` or `irreversible`.
    pub effect: CommandEffect,
    /// The entry that takes it back; its parameters are filled as this one's were.
    #[serde(default)]
    pub undo: Option<String>,
    /// The entry that finds out whether it happened: code 0 says it did, 1 that it did not, anything else that it cannot be told.
    #[serde(default)]
    pub probe: Option<String>,
    /// Codes by which it says that it has changed nothing and that trying again is useless.
    #[serde(default)]
    pub codes_failed: Vec<i32>,
    /// Codes by which it says that it has changed nothing and that another attempt may succeed.
    #[serde(default)]
    pub codes_retryable: Vec<i32>,
    /// The secrets a task has to hand it, by the names the task uses, and how it gets each.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretWay>,
    /// A file with the JSON Schema of what it leaves in `BATON_RESULT`.
    #[serde(default)]
    pub result_schema: Option<PathBuf>,
    /// Whether set-user-id programs such as sudo work below it.
    #[serde(default)]
    pub may_gain_privileges: bool,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// The capabilities it keeps of those the worker has, by their names; `all` for every one.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// How far it reaches.
    #[serde(default)]
    pub sandbox: Sandbox,
    /// What its new files are born without; as `processes.umask` says when absent.
    #[serde(default)]
    pub umask: Option<Umask>,
    /// The SHA-256 its program has to have.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Further files, such as the script its program reads, and the SHA-256 each has to have.
    #[serde(default)]
    pub files_sha256: BTreeMap<PathBuf, String>,
}

/// What a command does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommandEffect {
    /// It only looks.
    None,
    /// It changes something that `undo` puts back.
    Reversible,
    /// It changes something for good.
    Irreversible,
}

/// `[scripts.NAME]`: what is said of one script of the catalogue. Without an entry a script has the rights a command has that says nothing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScriptConfig {
    /// What it does to the world; when absent `reversible` where `NAME.undo.*` lies beside it, else `irreversible`.
    pub effect: Option<CommandEffect>,
    /// The SHA-256 it has to have.
    pub sha256: Option<String>,
    /// That of the script which takes it back.
    pub undo_sha256: Option<String>,
    /// That of the script which finds out whether it happened.
    pub probe_sha256: Option<String>,
    /// The secrets a task has to hand it, and how it gets each; when empty, what a task hands it comes as files of those names.
    pub secrets: BTreeMap<String, SecretWay>,
    /// Further variables of its environment, as `NAME=value`.
    pub env: Vec<String>,
    /// As whom it runs.
    pub user: Option<String>,
    /// Whether set-user-id programs such as sudo work below it.
    pub may_gain_privileges: bool,
    /// The capabilities it keeps of those the worker has.
    pub capabilities: Vec<String>,
    /// How far it reaches.
    pub sandbox: Sandbox,
    /// What its new files are born without.
    pub umask: Option<Umask>,
    /// Its own time limit, in milliseconds, beside that of the step.
    pub timeout_ms: Option<u64>,
    /// What it may use.
    pub limits: Limits,
}

/// How a command gets a secret: one of the two, and never as an argument.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretWay {
    /// As this variable of its environment.
    #[serde(default)]
    pub env: Option<String>,
    /// As this file below `HOME`, its own folder: mode 0600, gone with the run.
    #[serde(default)]
    pub file: Option<String>,
}

/// One parameter of a command: a pattern or a list of values, one of them has to be there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamConfig {
    /// A regular expression the whole value has to fit.
    #[serde(default)]
    pub pattern: Option<String>,
    /// The values it may have.
    #[serde(default)]
    pub values: Vec<String>,
    /// Whether it may be left out; the arguments it stands in are left out then.
    #[serde(default)]
    pub optional: bool,
    /// Whether a value that begins an argument may begin with `-`, and so be taken for an option.
    #[serde(default)]
    pub may_begin_with_dash: bool,
}

/// One service tasks may start, stop and restart.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// Who looks after it.
    pub driver: ServiceDriver,
    /// What it is called there; as here when absent. For runit its folder below `dir`, for systemd a unit.
    #[serde(default)]
    pub name: Option<String>,
    /// runit: the folder of the services, `/etc/service` when absent.
    #[serde(default)]
    pub dir: Option<PathBuf>,
    /// supervisor: where its XML-RPC is, `http://127.0.0.1:9001` or `unix:///run/supervisor.sock`. systemd: the bus, `system` or `user`, a runtime folder or an address.
    #[serde(default)]
    pub at: Option<String>,
    /// supervisor: the name to log in with.
    #[serde(default)]
    pub user: Option<String>,
    /// supervisor: a file that holds the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// How long it may take to start or to stop, in milliseconds.
    #[serde(default = "wait_ms")]
    pub wait_ms: u64,
}

/// For `script.run`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScriptRunConfig {
    /// The catalogue; without it and without `inline` the type is not served.
    pub folder: Option<PathBuf>,
    /// Whether messages may bring scripts of their own.
    pub inline: bool,
    /// The shell.
    pub sh: PathBuf,
    /// Python.
    pub python: PathBuf,
    /// Tcl.
    pub tcl: PathBuf,
}

impl Default for ScriptRunConfig {
    /// As the documented defaults say.
    fn default() -> Self {
        Self {
            folder: None,
            inline: false,
            sh: PathBuf::from("/bin/sh"),
            python: PathBuf::from("python3"),
            tcl: PathBuf::from("tclsh"),
        }
    }
}

/// Who looks after a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceDriver {
    /// runit, by `sv`.
    Runit,
    /// supervisor, by its XML-RPC.
    Supervisor,
    /// systemd, over D-Bus.
    Systemd,
}

const fn wait_ms() -> u64 {
    20_000
}
