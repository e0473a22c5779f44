//! `file.write@1`: puts a small file in place, and can put back what was there.
//!
//! What was there (content and mode, or nothing) is stored before anything is written. From then on only three states are ours: what was
//! there, and what we write; whatever else stands there was put there by somebody else and is never overwritten, by `do` as little as by
//! `undo`. Between looking and renaming somebody else may still come in; that moment is as short as the system lets it be.
//!
//! With `existing: refuse` a file that stands there is left alone, and of several writers that come at once one is first, without any such
//! moment: a file so written can stand for a turn that others wait for by trying again.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use baton_worker::{Asked, Automation, Context, Done, Effect, Probe, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::file_whole::{before_of, before_value, look, put, put_where};
use super::rooted::{FILE_BYTES_MAX, Found, RootError, Roots, Standing, somebody_else};

/// Mode of a new file when its input names none.
const MODE_DEFAULT: u32 = 0o644;

/// Writes files under the roots it is given.
#[derive(Debug, Clone)]
pub struct FileWrite {
    roots: Arc<Roots>,
}

/// A whole file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileWriteInput {
    /// Absolute, without `..` and links, under a root of the worker; its folder is there already.
    #[schemars(length(min = 2, max = 1024), extend("x-target" = true))]
    pub path: String,
    /// The whole content, at most 128 KiB.
    pub content: String,
    /// How `content` is written.
    #[serde(default)]
    pub encoding: Encoding,
    /// Octal, such as "0640"; that of the file before, or 0644, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^0?[0-7]{3}$"))]
    pub mode: Option<String>,
    /// What is done about a file that stands there already.
    #[serde(default, skip_serializing_if = "Existing::is_default")]
    // a default that is not written out is not known from the type
    #[schemars(extend("default" = "replace"))]
    pub existing: Existing,
}

/// What is done about a file that stands there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Existing {
    /// It is replaced, and comes back with undo.
    #[default]
    Replace,
    /// It stays: the attempt fails, and another may succeed once it is gone.
    Refuse,
}

impl Existing {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How bytes are written in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As UTF-8 text.
    #[default]
    Text,
    /// As base 64.
    Base64,
}

/// What stands there now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileWriteOutput {
    /// Where.
    pub path: String,
    /// SHA-256 of the content, hexadecimal.
    pub sha256: String,
    /// Length of the content.
    pub bytes: u64,
    /// Whether something else stood there before.
    pub changed: bool,
}

/// What is wanted, decoded.
#[derive(Clone)]
struct Wanted {
    path: PathBuf,
    content: Vec<u8>,
    mode: Option<u32>,
}

impl FileWrite {
    /// Writes under these roots only.
    ///
    /// # Errors
    /// [`RootError`] when one of them is no folder.
    pub fn under(roots: &[PathBuf]) -> Result<Self, RootError> {
        Ok(Self {
            roots: Arc::new(Roots::new(roots)?),
        })
    }
}

impl Automation for FileWrite {
    const TYPE: &'static str = "file.write@1";
    const SUMMARY: &'static str = "Puts a small file in place, whole";
    const EFFECT: Effect = Effect::Reversible;
    const IDEMPOTENT: bool = true;
    const BEFORE_IMAGE: bool = true;
    const HAS_UNDO: bool = true;
    const HAS_PROBE: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = 30_000;
    const NEEDS: &'static [&'static str] =
        &["folders it may write under, set as automations.files.roots"];
    type Input = FileWriteInput;
    type Output = FileWriteOutput;

    fn examples() -> Vec<FileWriteInput> {
        vec![FileWriteInput {
            path: "/srv/www/index.html".to_owned(),
            content: "<h1>It works</h1>\n".to_owned(),
            encoding: Encoding::Text,
            mode: Some("0644".to_owned()),
            existing: Existing::Replace,
        }]
    }

    async fn run(
        &self,
        context: &Context,
        input: FileWriteInput,
    ) -> Result<FileWriteOutput, TaskError> {
        let wanted = wanted(&input)?;
        let (place, found) = look(&self.roots, context, wanted.path.clone()).await?;
        let refuse = input.existing == Existing::Refuse;
        if refuse && context.before().is_none() && found != Found::Absent {
            return Err(there_already(&input.path));
        }
        let stored = context.checkpoint_before(before_value(&found)?).await?;
        let before = before_of(&stored)?;
        let after = wanted.after(&before);
        let output = output_of(&input, &wanted, before != after);
        if found == after {
            return Ok(output);
        }
        if refuse && found != before {
            return Err(there_already(&input.path));
        }
        if found != before {
            return Err(somebody_else(&input.path));
        }
        let standing = if refuse {
            Standing::Left
        } else {
            Standing::Replaced
        };
        let put = put_where(context, place, after, standing).await;
        // a put that has changed nothing was late by a moment
        put.map_err(|error| {
            if refuse && error.nothing_changed() {
                there_already(&input.path)
            } else {
                error
            }
        })?;
        Ok(output)
    }

    async fn undo(&self, context: &Context, done: Done<Self>) -> Result<(), TaskError> {
        // Nothing is ever written before this is stored.
        let Some(stored) = done.before else {
            return Ok(());
        };
        let before = before_of(&stored)?;
        let wanted = wanted(&done.input)?;
        let (place, found) = look(&self.roots, context, wanted.path.clone()).await?;
        if found == before {
            return Ok(());
        }
        if found != wanted.after(&before) {
            return Err(somebody_else(&done.input.path));
        }
        put(context, place, before).await
    }

    async fn probe(
        &self,
        context: &Context,
        asked: Asked<Self>,
    ) -> Result<Probe<FileWriteOutput>, TaskError> {
        let Some(stored) = asked.before else {
            return Ok(Probe::DidNot);
        };
        let before = before_of(&stored)?;
        let wanted = wanted(&asked.input)?;
        let (_, found) = look(&self.roots, context, wanted.path.clone()).await?;
        let after = wanted.after(&before);
        Ok(if found == after {
            Probe::Happened(output_of(&asked.input, &wanted, before != after))
        } else if found == before {
            Probe::DidNot
        } else {
            Probe::CannotTell(format!("{} was changed by somebody else", asked.input.path))
        })
    }
}

impl Wanted {
    /// What stands there after `do`.
    fn after(&self, before: &Found) -> Found {
        let (mode, owner) = match before {
            Found::Absent => (MODE_DEFAULT, None),
            Found::Present { mode, owner, .. } => (*mode, *owner),
        };
        Found::Present {
            content: self.content.clone(),
            mode: self.mode.unwrap_or(mode),
            owner,
        }
    }
}

fn there_already(path: &str) -> TaskError {
    let why = format!("{path} is there already, and `existing: refuse` leaves it alone");
    TaskError::failed("file-exists", why).retryable()
}

fn wanted(input: &FileWriteInput) -> Result<Wanted, TaskError> {
    let misfit = |message: String| TaskError::failed("input-misfit", message);
    let content = match input.encoding {
        Encoding::Text => input.content.clone().into_bytes(),
        Encoding::Base64 => BASE64
            .decode(&input.content)
            .map_err(|error| misfit(format!("the content is no base 64: {error}")))?,
    };
    if content.len() as u64 > FILE_BYTES_MAX {
        let bytes = content.len();
        return Err(misfit(format!(
            "the content has {bytes} bytes, more than {FILE_BYTES_MAX}"
        )));
    }
    let mode = input
        .mode
        .as_deref()
        .map(|mode| u32::from_str_radix(mode, 8))
        .transpose()
        .map_err(|error| misfit(format!("the mode is not octal: {error}")))?;
    Ok(Wanted {
        path: PathBuf::from(&input.path),
        content,
        mode,
    })
}

fn output_of(input: &FileWriteInput, wanted: &Wanted, changed: bool) -> FileWriteOutput {
    use std::fmt::Write as _;
    let digest = Sha256::digest(&wanted.content);
    let sha256 = digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    FileWriteOutput {
        path: input.path.clone(),
        sha256,
        bytes: wanted.content.len() as u64,
        changed,
    }
}

#[cfg(test)]
mod tests;
