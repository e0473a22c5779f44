//! How a launch went, as the launcher writes it down for its worker: by files, since its standard output belongs to the program.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::process::Exit;

/// The file in the control folder the nanny writes last.
pub(crate) const STATUS: &str = "status.json";
/// The file in the control folder that says why the program was not started at all.
pub(crate) const LAUNCH_ERROR: &str = "not-started";
/// The file in the control folder in which the first process of a PID namespace says how the program ended.
pub(super) const ENDED: &str = "ended.json";

/// How a launch went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Status {
    /// How the program itself ended; none when that is not known.
    pub(crate) exit: Option<Exit>,
    /// Whether it was asked to stop.
    pub(crate) stopped: bool,
    /// How many processes it had left behind, which were killed.
    pub(crate) left_behind: u32,
    /// Processes that could not be killed in time; empty means that the whole tree is gone.
    pub(crate) alive: Vec<i32>,
}

pub(super) fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec(value)?;
    let beside = path.with_extension("part");
    fs::write(&beside, bytes)?;
    fs::rename(&beside, path)
}

pub(super) fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// What the nanny wrote down, if it came to that.
pub(crate) fn read_status(control: &Path) -> Option<Status> {
    read(&control.join(STATUS))
}

/// Why the program was not started, if it was not.
pub(crate) fn read_launch_error(control: &Path) -> Option<String> {
    let said = fs::read_to_string(control.join(LAUNCH_ERROR)).ok()?;
    (!said.is_empty()).then_some(said)
}
