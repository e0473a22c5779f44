//! `file.remove@1`: takes a file, a folder with all below it, or a link out of its place, and can put it back whole.
//!
//! Nothing is deleted: it is moved, by one rename, into a trash below the root, where it lies for seven days. What it was (its very inode) is
//! stored first, so that a second attempt knows what it has moved, and undo puts back exactly that, and only where nothing stands meanwhile.

use std::path::PathBuf;
use std::sync::Arc;

use baton_worker::{Asked, Automation, Context, Done, Effect, Probe, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rooted::{
    Kind, Place, PlaceError, RootError, Roots, TRASH_KEPT_DAYS, Thing, somebody_else,
};

/// Removes under the roots it is given.
#[derive(Debug, Clone)]
pub struct FileRemove {
    roots: Arc<Roots>,
}

/// What is to go.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileRemoveInput {
    /// Absolute, without `..` and links on the way, under a root of the worker. A file, a folder with all below it (at most 100,000 entries
    /// and 4 GiB), or a symbolic link, which is removed itself. When nothing is there, nothing is done.
    #[schemars(length(min = 2, max = 1024), extend("x-target" = true))]
    pub path: String,
}

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileRemoveOutput {
    /// Where it was.
    pub path: String,
    /// `file`, `folder` or `link`; null when nothing was there.
    pub kind: Option<String>,
    /// Whether something was there.
    pub changed: bool,
}

/// What is stored before anything is moved: what stood there, if anything did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    thing: Option<Thing>,
}

/// What stands at the path, and what lies in the trash.
struct Seen {
    place: Place,
    here: Option<Thing>,
    aside: Option<Thing>,
}

impl FileRemove {
    /// Removes under these roots only.
    ///
    /// # Errors
    /// [`RootError`] when one of them is no folder.
    pub fn under(roots: &[PathBuf]) -> Result<Self, RootError> {
        Ok(Self {
            roots: Arc::new(Roots::new(roots)?),
        })
    }

    async fn look(&self, context: &Context, path: &str) -> Result<Seen, TaskError> {
        let (roots, path) = (self.roots.clone(), PathBuf::from(path));
        let mark = context.effect_key().to_string();
        let looked = context.blocking(move || {
            let place = roots.place(&path)?;
            let (here, aside) = (place.thing()?, place.aside(&mark)?);
            Ok::<_, PlaceError>(Seen { place, here, aside })
        });
        looked.await?.map_err(PlaceError::untouched)
    }
}

impl Automation for FileRemove {
    const TYPE: &'static str = "file.remove@1";
    const SUMMARY: &'static str = "Takes a file or folder out of its place, to be put back whole";
    const EFFECT: Effect = Effect::Reversible;
    const IDEMPOTENT: bool = true;
    const BEFORE_IMAGE: bool = true;
    const HAS_UNDO: bool = true;
    const HAS_PROBE: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = 60_000;
    const NEEDS: &'static [&'static str] =
        &["folders it may change files under, set as automations.files.roots"];
    type Input = FileRemoveInput;
    type Output = FileRemoveOutput;

    fn examples() -> Vec<FileRemoveInput> {
        vec![FileRemoveInput {
            path: "/srv/www/releases/1".to_owned(),
        }]
    }

    async fn run(
        &self,
        context: &Context,
        input: FileRemoveInput,
    ) -> Result<FileRemoveOutput, TaskError> {
        let seen = self.look(context, &input.path).await?;
        let stored = context
            .checkpoint_before(json!(Before { thing: seen.here }))
            .await?;
        let before = before_of(&stored)?;
        let output = output_of(&input, before);
        let Some(thing) = before.thing else {
            return match seen.here {
                None => Ok(output),
                Some(_) => Err(somebody_else(&input.path)),
            };
        };
        match (seen.here, seen.aside) {
            (None, Some(aside)) if aside == thing => return Ok(output),
            (Some(here), None) if here == thing => {}
            _ => return Err(somebody_else(&input.path)),
        }
        let mark = context.effect_key().to_string();
        let place = seen.place;
        // What is too much is left where it is; nothing has been moved until then.
        let (measured, place) = context.blocking(move || (place.measured(), place)).await?;
        measured.map_err(PlaceError::untouched)?;
        context
            .blocking(move || {
                place.sweep();
                place.put_aside(&mark)
            })
            .await?
            .map_err(PlaceError::half_done)?;
        Ok(output)
    }

    async fn undo(&self, context: &Context, done: Done<Self>) -> Result<(), TaskError> {
        // Nothing is ever moved before this is stored.
        let Some(stored) = done.before else {
            return Ok(());
        };
        let Some(thing) = before_of(&stored)?.thing else {
            return Ok(());
        };
        let path = &done.input.path;
        let seen = self.look(context, path).await?;
        match (seen.here, seen.aside) {
            (Some(here), None) if here == thing => return Ok(()),
            (None, Some(aside)) if aside == thing => {}
            (_, None) => {
                let message = format!(
                    "what stood at {path} is no longer in the trash of its root, where it is kept for {TRASH_KEPT_DAYS} days"
                );
                return Err(TaskError::failed("not-there", message));
            }
            (_, Some(_)) => return Err(somebody_else(path)),
        }
        let mark = context.effect_key().to_string();
        let back = context.blocking(move || seen.place.put_back(&mark));
        back.await?.map_err(PlaceError::half_done)
    }

    async fn probe(
        &self,
        context: &Context,
        asked: Asked<Self>,
    ) -> Result<Probe<FileRemoveOutput>, TaskError> {
        let Some(stored) = asked.before else {
            return Ok(Probe::DidNot);
        };
        let before = before_of(&stored)?;
        let seen = self.look(context, &asked.input.path).await?;
        Ok(match (before.thing, seen.here, seen.aside) {
            (None, None, _) => Probe::Happened(output_of(&asked.input, before)),
            (Some(thing), None, Some(aside)) if aside == thing => {
                Probe::Happened(output_of(&asked.input, before))
            }
            (Some(thing), Some(here), None) if here == thing => Probe::DidNot,
            _ => Probe::CannotTell(format!("{} was changed by somebody else", asked.input.path)),
        })
    }
}

fn output_of(input: &FileRemoveInput, before: Before) -> FileRemoveOutput {
    let kind = before.thing.map(|thing| match thing.kind {
        Kind::File => "file",
        Kind::Folder => "folder",
        Kind::Link => "link",
    });
    FileRemoveOutput {
        path: input.path.clone(),
        kind: kind.map(str::to_owned),
        changed: kind.is_some(),
    }
}

fn before_of(stored: &Value) -> Result<Before, TaskError> {
    serde_json::from_value(stored.clone()).map_err(|error| {
        let message = format!("what was stored as being there before cannot be read: {error}");
        TaskError::failed("before-misfit", message)
    })
}

#[cfg(test)]
mod tests;
