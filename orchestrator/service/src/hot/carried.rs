//! What was on its way to the orchestrator of a file when that file was imported lies in the inbox of the first partition, in whichever partition its saga lies now.
//! The markers of the others go through their own inboxes and say nothing of it (`catch_up.rs`).
//!
//! Guarantee: after an import no other partition takes a verdict from time before whoever drives the first one has read its inbox up to its own marker and has passed
//! on, confirmed, what was theirs; only then do they send a marker of their own. That it was read stands in the store, so that whoever comes later waits for nothing.

use baton_bus::AckTag;
use baton_driver::StoreError;
use baton_store::PostgresCarried;
use tokio::task::JoinSet;

use super::frontier::Frontier;
use crate::chain::chain;

/// Whether that was read, as one loop knows it.
pub(crate) struct Carried {
    /// None: there is nothing to wait for, or no more.
    store: Option<PostgresCarried>,
    /// Whether this loop is the one that reads it.
    is_first: bool,
    /// The marker of this loop that came back last: what lay in its inbox lay before it.
    to: Option<AckTag>,
    /// At most one; each answers whether it is still unread.
    asking: JoinSet<Result<bool, StoreError>>,
}

impl Carried {
    /// `store`: where it is noted, when it was not read yet.
    pub(crate) fn new(store: Option<PostgresCarried>, is_first: bool) -> Self {
        Self {
            store,
            is_first,
            to: None,
            asking: JoinSet::new(),
        }
    }

    /// Whether this loop waits until another has read it.
    pub(crate) const fn waits(&self) -> bool {
        self.store.is_some() && !self.is_first
    }

    /// A marker of this loop came back: its inbox is read up to here.
    pub(crate) const fn read_to(&mut self, tag: AckTag) {
        self.to = Some(tag);
    }

    /// Notes in the store that it was read, or looks there; true when this loop waits no more from now on.
    pub(crate) fn tick(&mut self, frontier: &Frontier) -> bool {
        let waited = self.waits();
        while let Some(asked) = self.asking.try_join_next() {
            match asked {
                Ok(Ok(false)) => self.store = None,
                Ok(Ok(true)) => {}
                Ok(Err(error)) => {
                    tracing::debug!(error = %chain(&error), "whether what an import left on its way was read could not be asked or noted; it is tried again");
                }
                Err(error) => {
                    tracing::error!(%error, "asking whether what an import left on its way was read failed; it is tried again");
                }
            }
        }
        let Some(store) = &self.store else {
            return waited;
        };
        // what is passed on is acknowledged when the broker has it
        let is_read = self.to.is_some_and(|tag| frontier.has_acknowledged(tag));
        if self.asking.is_empty() && (is_read || !self.is_first) {
            let (store, is_first) = (store.clone(), self.is_first);
            self.asking.spawn(async move {
                if is_first {
                    store.was_read().await.map(|()| false)
                } else {
                    store.is_unread().await
                }
            });
        }
        false
    }
}
