//! `file.ensure-line@1`: sees to it that a line is in a text file, or is not, and leaves everything else as it is: the other lines, their
//! ends, mode and owner.
//!
//! The whole file is stored before it is touched. What the file has to be afterwards follows from that before-image and the input alone, so
//! that a second attempt and an undo know it too; anything else that stands there was put there by somebody else and is left alone.

use std::path::PathBuf;
use std::sync::Arc;

use baton_worker::{Asked, Automation, Context, Done, Effect, Probe, TaskError};
use regex::bytes::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file_whole::{before_of, before_value, look, put};
use super::rooted::{FILE_BYTES_MAX, Found, RootError, Roots, somebody_else};

/// Mode of a file that is made.
const MODE_DEFAULT: u32 = 0o644;
/// What a pattern may grow to when it is compiled, in bytes.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// Edits files under the roots it is given.
#[derive(Debug, Clone)]
pub struct FileEnsureLine {
    roots: Arc<Roots>,
}

/// A line, and the file it is to be in or not.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileEnsureLineInput {
    /// Absolute, without `..` and links, under a root of the worker; at most 128 KiB.
    #[schemars(length(min = 2, max = 1024), extend("x-target" = true))]
    pub path: String,
    /// The line, without its end.
    #[schemars(length(max = 8192), regex(pattern = r"^[^\r\n\x00]*$"))]
    pub line: String,
    /// Whether it has to be there. Where it is there already, or is not there, nothing is changed.
    #[serde(default)]
    pub state: LineState,
    /// Instead of a line of its own: every line this pattern matches is replaced by `line` (present: only the last one that matches; the
    /// file is left as it is when `line` is there) or taken away (absent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub matching: Option<String>,
    /// Where a new line goes: after the last line this pattern matches. Nothing is changed, and the step fails, when none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub after: Option<String>,
    /// Where a new line goes: before the first line this pattern matches. Nothing is changed, and the step fails, when none does. Without
    /// `after` and `before` it goes to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub before: Option<String>,
    /// Makes the file (mode 0644) when it is not there.
    #[serde(default)]
    pub create: bool,
}

/// Whether a line has to be there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LineState {
    /// It has to.
    #[default]
    Present,
    /// It must not; every such line is taken away.
    Absent,
}

/// What was done to the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileEnsureLineOutput {
    /// Where.
    pub path: String,
    /// Whether the file was changed.
    pub changed: bool,
    /// How many lines were put in.
    pub added: u32,
    /// How many lines were taken out.
    pub removed: u32,
}

/// An edited text, and how much was edited.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edited {
    content: Vec<u8>,
    added: u32,
    removed: u32,
}

impl FileEnsureLine {
    /// Edits under these roots only.
    ///
    /// # Errors
    /// [`RootError`] when one of them is no folder.
    pub fn under(roots: &[PathBuf]) -> Result<Self, RootError> {
        Ok(Self {
            roots: Arc::new(Roots::new(roots)?),
        })
    }
}

impl Automation for FileEnsureLine {
    const TYPE: &'static str = "file.ensure-line@1";
    const SUMMARY: &'static str = "Sees to it that a line is in a text file, or is not";
    const EFFECT: Effect = Effect::Reversible;
    const IDEMPOTENT: bool = true;
    const BEFORE_IMAGE: bool = true;
    const HAS_UNDO: bool = true;
    const HAS_PROBE: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = 30_000;
    const NEEDS: &'static [&'static str] =
        &["folders it may change files under, set as automations.files.roots"];
    type Input = FileEnsureLineInput;
    type Output = FileEnsureLineOutput;

    fn examples() -> Vec<FileEnsureLineInput> {
        vec![
            FileEnsureLineInput {
                path: "/srv/app/src/main.rs".to_owned(),
                line: "mod metrics;".to_owned(),
                after: Some("^mod ".to_owned()),
                ..FileEnsureLineInput::default()
            },
            FileEnsureLineInput {
                path: "/etc/app/app.conf".to_owned(),
                line: "workers = 8".to_owned(),
                matching: Some(r"^workers\s*=".to_owned()),
                ..FileEnsureLineInput::default()
            },
        ]
    }

    async fn run(
        &self,
        context: &Context,
        input: FileEnsureLineInput,
    ) -> Result<FileEnsureLineOutput, TaskError> {
        let wanted = Wanted::of(&input)?;
        let (place, found) = look(&self.roots, context, PathBuf::from(&input.path)).await?;
        if context.before().is_none() {
            // What cannot be done is said before anything is stored.
            wanted.after(&found)?;
        }
        let stored = context.checkpoint_before(before_value(&found)?).await?;
        let before = before_of(&stored)?;
        let (after, output) = wanted.after(&before)?;
        if found == after {
            return Ok(output);
        }
        if found != before {
            return Err(somebody_else(&input.path));
        }
        put(context, place, after).await?;
        Ok(output)
    }

    async fn undo(&self, context: &Context, done: Done<Self>) -> Result<(), TaskError> {
        // Nothing is ever written before this is stored.
        let Some(stored) = done.before else {
            return Ok(());
        };
        let before = before_of(&stored)?;
        let path = &done.input.path;
        let (place, found) = look(&self.roots, context, PathBuf::from(path)).await?;
        if found == before {
            return Ok(());
        }
        let (after, _) = Wanted::of(&done.input)?.after(&before)?;
        if found != after {
            return Err(somebody_else(path));
        }
        put(context, place, before).await
    }

    async fn probe(
        &self,
        context: &Context,
        asked: Asked<Self>,
    ) -> Result<Probe<FileEnsureLineOutput>, TaskError> {
        let Some(stored) = asked.before else {
            return Ok(Probe::DidNot);
        };
        let before = before_of(&stored)?;
        let path = &asked.input.path;
        let (_, found) = look(&self.roots, context, PathBuf::from(path)).await?;
        let (after, output) = Wanted::of(&asked.input)?.after(&before)?;
        Ok(if found == after {
            Probe::Happened(output)
        } else if found == before {
            Probe::DidNot
        } else {
            Probe::CannotTell(format!("{path} was changed by somebody else"))
        })
    }
}

/// What is wanted, its patterns compiled.
struct Wanted<'a> {
    input: &'a FileEnsureLineInput,
    matching: Option<Regex>,
    after: Option<Regex>,
    before: Option<Regex>,
}

impl<'a> Wanted<'a> {
    fn of(input: &'a FileEnsureLineInput) -> Result<Self, TaskError> {
        if input.after.is_some() && input.before.is_some() {
            return Err(misfit("`after` and `before` cannot both be given"));
        }
        if input.line.contains(['\n', '\r', '\0']) {
            return Err(misfit("`line` is more than one line"));
        }
        Ok(Self {
            input,
            matching: pattern("matching", input.matching.as_deref())?,
            after: pattern("after", input.after.as_deref())?,
            before: pattern("before", input.before.as_deref())?,
        })
    }

    /// What has to stand there, when this stood there before.
    fn after(&self, before: &Found) -> Result<(Found, FileEnsureLineOutput), TaskError> {
        let path = &self.input.path;
        let (text, mode, owner) = match before {
            Found::Present {
                content,
                mode,
                owner,
            } => (content.as_slice(), *mode, *owner),
            Found::Absent if self.input.state == LineState::Absent => {
                return Ok((Found::Absent, self.output(false, 0, 0)));
            }
            Found::Absent if self.input.create => (&[][..], MODE_DEFAULT, None),
            Found::Absent => {
                let message = format!("{path} is not there; `create: true` makes it");
                return Err(TaskError::failed("not-there", message));
            }
        };
        let edited = self.edited(text)?;
        if edited.content.len() as u64 > FILE_BYTES_MAX {
            let message = format!("{path} would be larger than {FILE_BYTES_MAX} bytes");
            return Err(TaskError::failed("too-large", message));
        }
        let changed = *before == Found::Absent || edited.content != text;
        let output = self.output(changed, edited.added, edited.removed);
        let after = Found::Present {
            content: edited.content,
            mode,
            owner,
        };
        Ok((after, output))
    }

    fn output(&self, changed: bool, added: u32, removed: u32) -> FileEnsureLineOutput {
        FileEnsureLineOutput {
            path: self.input.path.clone(),
            changed,
            added,
            removed,
        }
    }

    fn edited(&self, text: &[u8]) -> Result<Edited, TaskError> {
        let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        match self.input.state {
            LineState::Absent => Ok(self.without(&lines)),
            LineState::Present => self.with(&lines),
        }
    }

    fn without(&self, lines: &[&[u8]]) -> Edited {
        let goes = |line: &[u8]| match &self.matching {
            Some(pattern) => pattern.is_match(bare(line)),
            None => bare(line) == self.input.line.as_bytes(),
        };
        let kept: Vec<&[u8]> = lines.iter().copied().filter(|line| !goes(line)).collect();
        Edited {
            removed: u32::try_from(lines.len() - kept.len()).unwrap_or(u32::MAX),
            content: kept.concat(),
            added: 0,
        }
    }

    fn with(&self, lines: &[&[u8]]) -> Result<Edited, TaskError> {
        let line = self.input.line.as_bytes();
        if lines.iter().any(|there| bare(there) == line) {
            return Ok(Edited {
                content: lines.concat(),
                added: 0,
                removed: 0,
            });
        }
        let last = |pattern: &Regex| {
            lines
                .iter()
                .rposition(|there| pattern.is_match(bare(there)))
        };
        if let Some(at) = self.matching.as_ref().and_then(last) {
            let (head, tail) = lines.split_at(at);
            let (old, tail) = tail.split_first().unwrap_or((&line, tail));
            return Ok(Edited {
                content: [&head.concat(), line, ending(old), &tail.concat()].concat(),
                added: 1,
                removed: 1,
            });
        }
        let at = match (&self.after, &self.before) {
            (Some(pattern), _) => last(pattern).map(|at| at + 1),
            (None, Some(pattern)) => lines.iter().position(|l| pattern.is_match(bare(l))),
            (None, None) => Some(lines.len()),
        };
        let Some(at) = at else {
            let message = format!("no line of {} matches the pattern", self.input.path);
            return Err(TaskError::failed("no-such-line", message));
        };
        let end = end_of(lines);
        let (head, tail) = lines.split_at(at);
        // A file whose last line has no end keeps it so; the line before the new one needs one then.
        let open = tail.is_empty() && head.last().is_some_and(|l| ending(l).is_empty());
        let content = if open {
            [&head.concat(), end, line].concat()
        } else {
            [&head.concat(), line, end, &tail.concat()].concat()
        };
        Ok(Edited {
            content,
            added: 1,
            removed: 0,
        })
    }
}

/// A line without its end.
fn bare(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The end of a line.
fn ending(line: &[u8]) -> &[u8] {
    line.get(bare(line).len()..).unwrap_or_default()
}

/// How lines end here: as the first one does.
fn end_of<'a>(lines: &[&'a [u8]]) -> &'a [u8] {
    match lines.first().map(|line| ending(line)) {
        Some(end) if !end.is_empty() => end,
        _ => b"\n",
    }
}

fn misfit(message: impl Into<String>) -> TaskError {
    TaskError::failed("input-misfit", message)
}

fn pattern(field: &str, text: Option<&str>) -> Result<Option<Regex>, TaskError> {
    let compiled = text.map(|text| {
        RegexBuilder::new(text)
            .size_limit(PATTERN_BYTES_MAX)
            .build()
    });
    compiled
        .transpose()
        .map_err(|error| misfit(format!("`{field}` is no pattern: {error}")))
}

#[cfg(test)]
mod tests;
