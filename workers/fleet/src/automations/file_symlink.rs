//! `file.symlink@1`: switches a symbolic link in one step, and can switch it back.
//!
//! Whoever follows the link meets the old target or the new one, never nothing: the new link is made beside the old one and renamed over it.
//! Where it led before (or that it was not there) is stored first; a link that somebody else has switched meanwhile is left alone, by `do`
//! as little as by `undo`.

use std::path::PathBuf;
use std::sync::Arc;

use baton_worker::{Asked, Automation, Context, Done, Effect, Probe, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rooted::{Link, Place, PlaceError, RootError, Roots, somebody_else};

/// Switches links under the roots it is given.
#[derive(Debug, Clone)]
pub struct FileSymlink {
    roots: Arc<Roots>,
}

/// A link, and where it is to lead.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSymlinkInput {
    /// The link: absolute, without `..` and links on the way, under a root of the worker; its folder is there already. What is there must
    /// be a symbolic link, or nothing.
    #[schemars(length(min = 2, max = 1024), extend("x-target" = true))]
    pub path: String,
    /// Where it leads: something under a root of the worker that is there and is no link itself. Absolute, or relative to the folder of
    /// the link; written into the link as it is given here.
    #[schemars(length(min = 1, max = 1024))]
    pub target: String,
}

/// How the link stands now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileSymlinkOutput {
    /// The link.
    pub path: String,
    /// Where it leads.
    pub target: String,
    /// Where it led before; null when it was not there.
    pub previous: Option<String>,
    /// Whether it led elsewhere before, or was not there.
    pub changed: bool,
}

/// What stood there before, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Before {
    /// Nothing.
    Absent,
    /// A link.
    To {
        /// Where it led.
        target: String,
    },
}

impl FileSymlink {
    /// Switches links under these roots only.
    ///
    /// # Errors
    /// [`RootError`] when one of them is no folder.
    pub fn under(roots: &[PathBuf]) -> Result<Self, RootError> {
        Ok(Self {
            roots: Arc::new(Roots::new(roots)?),
        })
    }

    async fn look(&self, context: &Context, path: &str) -> Result<(Place, Link), TaskError> {
        let (roots, path) = (self.roots.clone(), PathBuf::from(path));
        let looked = context.blocking(move || {
            let place = roots.place(&path)?;
            let found = place.look_link()?;
            Ok::<_, PlaceError>((place, found))
        });
        looked.await?.map_err(PlaceError::untouched)
    }

    async fn leads_inside(
        &self,
        context: &Context,
        input: &FileSymlinkInput,
    ) -> Result<(), TaskError> {
        let (roots, link, target) = (
            self.roots.clone(),
            PathBuf::from(&input.path),
            PathBuf::from(&input.target),
        );
        let looked = context.blocking(move || roots.leads_inside(&link, &target));
        looked.await?.map_err(|error| {
            let failed = error.untouched();
            let message = format!("the target cannot be used: {failed}");
            let told = TaskError::failed(failed.code(), message);
            if failed.may_retry() {
                told.retryable()
            } else {
                told
            }
        })
    }
}

impl Automation for FileSymlink {
    const TYPE: &'static str = "file.symlink@1";
    const SUMMARY: &'static str = "Switches a symbolic link in one step";
    const EFFECT: Effect = Effect::Reversible;
    const IDEMPOTENT: bool = true;
    const BEFORE_IMAGE: bool = true;
    const HAS_UNDO: bool = true;
    const HAS_PROBE: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = 30_000;
    const NEEDS: &'static [&'static str] =
        &["folders it may change files under, set as automations.files.roots"];
    type Input = FileSymlinkInput;
    type Output = FileSymlinkOutput;

    fn examples() -> Vec<FileSymlinkInput> {
        vec![FileSymlinkInput {
            path: "/srv/www/current".to_owned(),
            target: "releases/2".to_owned(),
        }]
    }

    async fn run(
        &self,
        context: &Context,
        input: FileSymlinkInput,
    ) -> Result<FileSymlinkOutput, TaskError> {
        let (place, found) = self.look(context, &input.path).await?;
        self.leads_inside(context, &input).await?;
        let stored = context.checkpoint_before(before_value(&found)?).await?;
        let before = before_of(&stored)?;
        let after = Link::To(PathBuf::from(&input.target));
        if found != after {
            if found != before {
                return Err(somebody_else(&input.path));
            }
            switch(context, place, after, before == Link::Absent).await?;
        }
        Ok(output_of(&input, &before))
    }

    async fn undo(&self, context: &Context, done: Done<Self>) -> Result<(), TaskError> {
        // Nothing is ever switched before this is stored.
        let Some(stored) = done.before else {
            return Ok(());
        };
        let before = before_of(&stored)?;
        let (place, found) = self.look(context, &done.input.path).await?;
        if found == before {
            return Ok(());
        }
        if found != Link::To(PathBuf::from(&done.input.target)) {
            return Err(somebody_else(&done.input.path));
        }
        switch(context, place, before, false).await
    }

    async fn probe(
        &self,
        context: &Context,
        asked: Asked<Self>,
    ) -> Result<Probe<FileSymlinkOutput>, TaskError> {
        let Some(stored) = asked.before else {
            return Ok(Probe::DidNot);
        };
        let before = before_of(&stored)?;
        let (_, found) = self.look(context, &asked.input.path).await?;
        let input = &asked.input;
        Ok(if found == Link::To(PathBuf::from(&input.target)) {
            Probe::Happened(output_of(input, &before))
        } else if found == before {
            Probe::DidNot
        } else {
            Probe::CannotTell(format!("{} was switched by somebody else", input.path))
        })
    }
}

async fn switch(
    context: &Context,
    place: Place,
    state: Link,
    fresh: bool,
) -> Result<(), TaskError> {
    let mark = context.effect_key().to_string();
    let switched = context.blocking(move || match state {
        Link::Absent => place.remove(),
        Link::To(target) => place.put_link(&target, fresh, &mark),
    });
    switched.await?.map_err(PlaceError::half_done)
}

fn output_of(input: &FileSymlinkInput, before: &Link) -> FileSymlinkOutput {
    let previous = match before {
        Link::Absent => None,
        Link::To(target) => Some(target.to_string_lossy().into_owned()),
    };
    FileSymlinkOutput {
        path: input.path.clone(),
        target: input.target.clone(),
        changed: previous.as_deref() != Some(&input.target),
        previous,
    }
}

fn misfit(why: &str) -> TaskError {
    TaskError::failed(
        "before-misfit",
        format!("where the link led before {why}; switch it by hand, or away"),
    )
}

fn before_value(found: &Link) -> Result<Value, TaskError> {
    let before = match found {
        Link::Absent => Before::Absent,
        Link::To(target) => Before::To {
            // What is not UTF-8 could not be put back as it was.
            target: target
                .to_str()
                .ok_or_else(|| misfit("is no UTF-8 and cannot be stored"))?
                .to_owned(),
        },
    };
    serde_json::to_value(before).map_err(|_| misfit("cannot be stored"))
}

fn before_of(stored: &Value) -> Result<Link, TaskError> {
    let before = serde_json::from_value(stored.clone())
        .map_err(|_| misfit("was stored in a way that cannot be read"))?;
    Ok(match before {
        Before::Absent => Link::Absent,
        Before::To { target } => Link::To(PathBuf::from(target)),
    })
}

#[cfg(test)]
mod tests;
