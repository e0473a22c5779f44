//! What automations that replace a whole file share: looking at it, storing what was there as a before-image, and putting a state in
//! place. What is stored can be put back whole: content, mode and owner.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use baton_worker::{Context, TaskError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rooted::{Found, Owner, Place, PlaceError, Roots, Standing};

/// What stood there before, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Before {
    /// Nothing.
    Absent,
    /// A file.
    Present {
        /// Its content.
        content_base64: String,
        /// Its permission bits.
        mode: u32,
        /// Its user and group, where they were looked at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<(u32, u32)>,
    },
}

/// What stands at `path`, and its place, looked at on a thread that may block.
pub(crate) async fn look(
    roots: &Arc<Roots>,
    context: &Context,
    path: PathBuf,
) -> Result<(Place, Found), TaskError> {
    let roots = roots.clone();
    let looked = context.blocking(move || {
        let place = roots.place(&path)?;
        let found = place.look()?;
        Ok::<_, PlaceError>((place, found))
    });
    looked.await?.map_err(PlaceError::untouched)
}

/// Puts `state` at `place`, in place of what stands there.
pub(crate) async fn put(context: &Context, place: Place, state: Found) -> Result<(), TaskError> {
    put_where(context, place, state, Standing::Replaced).await
}

/// Puts `state` at `place`, where nothing may stand unless it is to be replaced.
pub(crate) async fn put_where(
    context: &Context,
    place: Place,
    state: Found,
    standing: Standing,
) -> Result<(), TaskError> {
    let mark = context.effect_key().to_string();
    let put = context.blocking(move || match state {
        Found::Absent => place.remove(),
        Found::Present {
            content,
            mode,
            owner,
        } => place.put(&content, mode, owner, &mark, standing),
    });
    put.await?.map_err(PlaceError::half_done)
}

/// What was found, to be stored.
pub(crate) fn before_value(found: &Found) -> Result<Value, TaskError> {
    let before = match found {
        Found::Absent => Before::Absent,
        Found::Present {
            content,
            mode,
            owner,
        } => Before::Present {
            content_base64: BASE64.encode(content),
            mode: *mode,
            owner: owner.map(|owner| (owner.user, owner.group)),
        },
    };
    serde_json::to_value(before).map_err(|error| {
        TaskError::failed(
            "before-misfit",
            format!("what was there cannot be stored: {error}"),
        )
    })
}

/// What was stored as having been found.
pub(crate) fn before_of(stored: &Value) -> Result<Found, TaskError> {
    let misfit = |why: String| {
        TaskError::failed(
            "before-misfit",
            format!("what was stored as being there before cannot be read: {why}"),
        )
    };
    let before: Before =
        serde_json::from_value(stored.clone()).map_err(|error| misfit(error.to_string()))?;
    Ok(match before {
        Before::Absent => Found::Absent,
        Before::Present {
            content_base64,
            mode,
            owner,
        } => Found::Present {
            content: BASE64
                .decode(content_base64)
                .map_err(|error| misfit(error.to_string()))?,
            mode,
            owner: owner.map(|(user, group)| Owner { user, group }),
        },
    })
}
