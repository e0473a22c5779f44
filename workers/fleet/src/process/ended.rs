//! A run that came to its own end, and what it left: its output, its result, its folder.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::output::Captured;
use baton_worker::Masks;

/// The largest result a program may leave in `BATON_RESULT`, in bytes: it becomes part of a message.
const RESULT_BYTES_MAX: u64 = 256 * 1024;
/// Characters of what a program printed that go into a sentence.
const SAID_CHARS_MAX: usize = 400;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// A run that came to its own end; everything it had started is gone.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub exit: Exit,
    /// What it printed.
    pub stdout: Captured,
    /// What it complained of.
    pub stderr: Captured,
    /// What it left in `BATON_RESULT`: nothing, JSON with secrets masked, or why that cannot be read.
    pub result: Result<Option<Value>, String>,
    /// Processes it had left behind, which were ended.
    pub left_behind: u32,
    /// How long it took.
    pub took: Duration,
    /// Its folder, where that is kept.
    pub kept: Option<PathBuf>,
}

impl Ended {
    /// Whether it ended with code 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.exit == Exit::Code(0)
    }

    /// A sentence for people about how `what` ended, with the end of what it said.
    #[must_use]
    pub fn complaint(&self, what: &str) -> String {
        let how = match self.exit {
            Exit::Code(code) => format!("{what} ended with code {code}"),
            Exit::Signal(signal) => format!("{what} was ended by signal {signal}"),
        };
        let said = if self.stderr.text.trim().is_empty() {
            &self.stdout.text
        } else {
            &self.stderr.text
        };
        let kept = self.kept.as_ref().map_or_else(String::new, |path| {
            format!(" (its folder is kept at {})", path.display())
        });
        format!("{how}{}{kept}", last_words(said))
    }
}

/// The end of what was said, as a part of a sentence; nothing when nothing was.
pub(super) fn last_words(said: &str) -> String {
    let said = said.trim();
    if said.is_empty() {
        return String::new();
    }
    let from = said.chars().count().saturating_sub(SAID_CHARS_MAX);
    let last: String = said.chars().skip(from).collect();
    format!(": {}{last}", if from > 0 { "…" } else { "" })
}

/// What a program left as its result. The file was written by whoever was run: nothing is followed, and not more is read than may be.
pub(super) fn result_of(path: &Path, masks: &Masks) -> Result<Option<Value>, String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(format!("the result cannot be opened: {errno}")),
    };
    if !file.metadata().is_ok_and(|about| about.is_file()) {
        return Err("the result is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(RESULT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("the result cannot be read: {error}"))?;
    if bytes.len() as u64 > RESULT_BYTES_MAX {
        return Err(format!(
            "the result is larger than {RESULT_BYTES_MAX} bytes"
        ));
    }
    let value = serde_json::from_slice(&bytes)
        .map_err(|error| format!("the result is no JSON: {error}"))?;
    Ok(Some(masks.hide_in(value)))
}
