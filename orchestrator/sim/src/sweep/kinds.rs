//! From the manifest of a task type to what the simulated workers know of it: what its automation would do to the world.

use std::sync::{Mutex, PoisonError};

use baton_messages::{Effect, Manifest};

use crate::plan::{Kind, Matter};

/// Kinds made so far. A world names its kinds by reference, for as long as the program runs; each is made once.
static MADE: Mutex<Vec<&'static Kind>> = Mutex::new(Vec::new());

/// What a step says of its task type's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said {
    /// Whether another task takes it back, who knows no before-image.
    pub(crate) undone_by_another: bool,
    /// Where another task is to find out whether it happened: whether that can.
    pub(crate) probed_by_another: Option<bool>,
}

/// The kind of a task type, as a step uses it.
pub(crate) fn kind(manifest: &Manifest, said: Said) -> &'static Kind {
    let matter = match manifest.effect {
        Effect::None => Matter::Nothing,
        _ if manifest.before_image && !said.undone_by_another => Matter::File,
        _ if manifest.idempotent => Matter::Keyed,
        _ => Matter::Counter,
    };
    let probe = said.probed_by_another.unwrap_or(manifest.probe);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let known = made.iter().find(|kind| {
        kind.matter == matter && kind.probe == probe && kind.announced == Some(manifest)
    });
    if let Some(known) = known {
        return known;
    }
    let announced: &'static Manifest = Box::leak(Box::new(manifest.clone()));
    let kind: &'static Kind = Box::leak(Box::new(Kind {
        name: announced.task_type.as_str(),
        matter,
        effect: manifest.effect,
        idempotent: manifest.idempotent,
        undo: manifest.undo,
        probe,
        settle_ms: manifest.settle_ms,
        far: false,
        announced: Some(announced),
    }));
    made.push(kind);
    kind
}
