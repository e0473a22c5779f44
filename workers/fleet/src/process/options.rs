//! `[processes]` of the configuration: what holds for everything a worker starts.

use std::path::PathBuf;

use serde::Deserialize;

use super::umask::Umask;

/// What holds for everything a worker starts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessesConfig {
    /// How they are held together.
    pub containment: ContainmentWish,
    /// Where the runs' own folders are made; a folder of the worker's user below the system's temporary folder when absent.
    #[serde(default)]
    pub work_folder: Option<PathBuf>,
    /// How long the folder of a failed run is kept, in hours.
    pub kept_hours: u64,
    /// How long a tree may take to end after SIGTERM before it is killed, in milliseconds.
    pub term_grace_ms: u64,
    /// The `PATH` of everything that is started.
    pub path: String,
    /// What new files are born without, where an entry of the allow-list does not say.
    pub umask: Umask,
    /// How much of each of the two outputs is kept, in bytes: half from its head, half from its tail.
    pub output_bytes_max: usize,
}

/// The way of holding processes together that is wished for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainmentWish {
    /// The best there is.
    Auto,
    /// A cgroup, or the worker does not start.
    Cgroup,
    /// A PID namespace, or the worker does not start.
    PidNamespace,
    /// The launcher as subreaper.
    Subreaper,
    /// The process group: best effort.
    ProcessGroup,
}

impl Default for ProcessesConfig {
    /// As the documented defaults say.
    fn default() -> Self {
        Self {
            containment: ContainmentWish::Auto,
            work_folder: None,
            kept_hours: 24,
            term_grace_ms: 1_000,
            path: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            umask: Umask::USUAL,
            output_bytes_max: 64 * 1024,
        }
    }
}
