//! What other members may have changed, read anew every two seconds: definitions, task types, tokens. Whoever kept them has told everybody; this is for who did not
//! hear it, or could not read them then. Guarantee: whatever the database takes for it, no beat of this member waits, and no partition is given up or taken later for it.

use std::sync::Arc;
use std::time::Duration;

use baton_store::{AnyReader, PostgresCluster, Reader as _};
use tokio_util::sync::CancellationToken;

use super::learning::Learning;
use super::members::Uses;
use super::router::Router;
use crate::access::Access;
use crate::chain::chain;
use crate::types::Types;

/// How long a member that did not hear of a change may not know of it.
const EVERY: Duration = Duration::from_secs(2);

/// Reads it.
pub(super) struct Refresh {
    cluster: PostgresCluster,
    router: Arc<Router>,
    access: Arc<Access>,
    types: Arc<Types>,
    reader: AnyReader,
    /// Whether the loops here know the definitions and task types that are kept.
    learning: Learning,
}

impl Refresh {
    pub(super) fn of(uses: &Uses, cluster: &PostgresCluster) -> Self {
        Self {
            cluster: cluster.clone(),
            router: uses.router.clone(),
            access: uses.access.clone(),
            types: uses.types.clone(),
            reader: uses.reader.clone(),
            learning: Learning::default(),
        }
    }

    /// Goes on until the process stops.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.once() => {}
            }
        }
    }

    /// Reads all of it, as far as the database answers; the next time comes soon.
    pub(super) async fn once(&mut self) {
        match self.cluster.rules().await {
            Ok(rules) => {
                let router = self.router.clone();
                let begun = *router.seated().borrow();
                let learn = async move { router.learn().await };
                self.learning.follow((rules, begun), learn).await;
            }
            Err(error) => {
                tracing::debug!(error = %chain(&error), "whether definitions are new could not be read");
            }
        }
        if let Err(error) = self.access.refresh().await {
            tracing::debug!(error = %chain(&error), "the tokens could not be read anew");
        }
        match self.reader.manifests().await {
            Ok(manifests) => self.types.put_all(manifests),
            Err(error) => {
                tracing::debug!(error = %chain(&error), "the catalogue could not be read anew");
            }
        }
    }
}
