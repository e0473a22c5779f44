//! What a run may use.

use serde::{Deserialize, Serialize};

/// Limits of one run. Where there are cgroup controllers, memory and processes are those of the whole tree; else memory is the
/// address space of each process, and processes counts everything of the user it runs as (and does not bind root).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Memory, in bytes: of the tree by cgroup, else address space of each process.
    pub memory_bytes: Option<u64>,
    /// Processes and threads: of the tree by cgroup, else of the user beyond those there are.
    pub processes: Option<u64>,
    /// Open files of each process.
    pub open_files: Option<u64>,
    /// The largest file it may write, in bytes.
    pub file_bytes: Option<u64>,
    /// Processor time of each process, in seconds.
    pub cpu_s: Option<u64>,
}

impl Default for Limits {
    /// Enough for ordinary tools; not enough to take a host down.
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        Self {
            memory_bytes: Some(4 * GIB),
            processes: Some(1024),
            open_files: Some(1024),
            file_bytes: Some(8 * GIB),
            cpu_s: None,
        }
    }
}
