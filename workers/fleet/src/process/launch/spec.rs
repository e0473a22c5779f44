//! What a worker tells its launcher. Handed over as one argument, so it holds nothing secret.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::process::{Capabilities, Containment, Limits, Pin, Sandbox, Umask, User};

/// The word after the program's name.
pub(crate) const SUBCOMMAND: &str = "launch";
/// The stage outside the tree.
pub(crate) const STAGE_NANNY: &str = "nanny";
/// The stage that becomes the program.
pub(crate) const STAGE_INNER: &str = "inner";
/// The stage that becomes the program inside a PID namespace.
pub(crate) const STAGE_PROGRAM: &str = "program";
/// The first process of a PID namespace.
pub(crate) const STAGE_INIT: &str = "init";

/// One launch.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LaunchSpec {
    /// The process that waits for it: a stage whose parent is another one was too late, and ends.
    pub(crate) parent: i32,
    /// Folder for what the launcher and the worker tell each other.
    pub(crate) control: PathBuf,
    /// How the tree is held together.
    pub(crate) containment: Containment,
    /// The cgroup of this run, where there is one.
    pub(crate) cgroup: Option<PathBuf>,
    /// Its groups of version 1, which limit it and hold nothing together.
    pub(crate) older_groups: Vec<PathBuf>,
    /// Where the standard input is read from; nothing when absent.
    pub(crate) stdin: Option<PathBuf>,
    /// Where the program runs.
    pub(crate) dir: PathBuf,
    /// Its limits.
    pub(crate) limits: Limits,
    /// The memory limit where no cgroup keeps it.
    pub(crate) address_space_bytes: Option<u64>,
    /// The limit of processes where no cgroup keeps it.
    pub(crate) processes_of_user: Option<u64>,
    /// As whom it runs; as the worker when absent.
    pub(crate) user: Option<User>,
    /// The folder of the run, which a sandbox leaves open.
    pub(crate) own: PathBuf,
    /// What its new files are born without.
    pub(crate) umask: Umask,
    /// The capabilities it keeps.
    pub(crate) capabilities: Capabilities,
    /// How far it reaches.
    pub(crate) sandbox: Sandbox,
    /// What its program has to be.
    pub(crate) pin: Option<Pin>,
    /// Whether set-user-id programs (sudo) still work below it.
    pub(crate) may_gain_privileges: bool,
    /// How long the tree may take to end after SIGTERM.
    pub(crate) term_grace_ms: u64,
    /// How long it may take to be gone after SIGKILL, before that counts as not confirmed.
    pub(crate) confirm_ms: u64,
}
