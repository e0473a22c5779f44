//! Binds `baton.triggers` to exactly what live triggers and steps that wait need. What may be bound is written down before it is bound
//! and taken out after it is unbound, since the broker cannot be asked: so nothing stays bound for ever that nobody needs. Somebody may
//! unbind it under us, and nobody tells: it is bound again at every connection, and every so often.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use baton_bus::Link;
use baton_messages::topology::{self, Binding, Topology};
use baton_store::{Reader as _, Triggers as _};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Live, Shared};
use crate::chain::chain;

/// How often everything is bound again.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How often the definitions are read while another process leads.
const FOLLOW_EVERY: Duration = Duration::from_secs(5);
/// Pause before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Keeps the live triggers and the bindings until the process stops.
pub(super) async fn keep(
    shared: Shared,
    live: Arc<watch::Sender<Arc<Live>>>,
    mut looks: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let mut state = shared.bus.state();
    let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
    let mut again = Duration::ZERO;
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            look = looks.recv() => match look {
                Some(look) => waiting.push(look),
                None => return,
            },
            changed = state.changed() => {
                let up = matches!(state.borrow_and_update().consuming, Link::Up { .. });
                if changed.is_err() {
                    return;
                }
                if !up {
                    continue;
                }
            }
            () = tokio::time::sleep(again) => {}
        }
        while let Ok(more) = looks.try_recv() {
            waiting.push(more);
        }
        again = match look(&shared, &live).await {
            Ok(()) => {
                for told in waiting.drain(..) {
                    // whoever asked may have gone
                    let _ = told.send(());
                }
                LOOK_AGAIN
            }
            Err(error) => {
                tracing::warn!(%error, "events may not reach the triggers yet: what they need is not bound whole; it is tried again");
                AGAIN
            }
        };
    }
}

/// Keeps the live triggers while another process leads and binds what they need: for the API here, which names them.
pub(crate) async fn follow(
    shared: Shared,
    live: Arc<watch::Sender<Arc<Live>>>,
    mut looks: mpsc::Receiver<oneshot::Sender<()>>,
) {
    loop {
        let look = tokio::select! {
            () = shared.stop.cancelled() => return,
            look = looks.recv() => match look {
                Some(look) => Some(look),
                None => return,
            },
            () = tokio::time::sleep(FOLLOW_EVERY) => None,
        };
        if !shared.router.leads() {
            match shared.reader.definitions().await {
                Ok(rows) if !shared.router.leads() => {
                    let now = Arc::new(live.borrow().with(rows));
                    live.send_replace(now);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(error = %chain(&error), "the definitions could not be read anew");
                }
            }
        }
        if let Some(told) = look {
            // whoever asked may have gone
            let _ = told.send(());
        }
    }
}

/// Reads the definitions and makes the bindings what they should be.
async fn look(shared: &Shared, live: &watch::Sender<Arc<Live>>) -> Result<(), String> {
    let said = |error: baton_driver::StoreError| chain(&error);
    let rows = shared.reader.definitions().await.map_err(said)?;
    let now = Arc::new(live.borrow().with(rows));
    live.send_replace(now.clone());
    let wanted = now.binding_keys();
    let noted: BTreeSet<String> = shared
        .tables
        .bindings()
        .await
        .map_err(said)?
        .into_iter()
        .collect();
    for key in wanted.difference(&noted) {
        let noting = shared.tables.note_binding(key.clone(), true);
        noting.await.map_err(said)?;
    }
    let bindings: Vec<Binding> = wanted.iter().map(|key| binding(key)).collect();
    if !bindings.is_empty() {
        let only = Topology {
            bindings,
            ..Topology::default()
        };
        let report = shared.bus.declare(&only).await;
        let report = report.map_err(|error| chain(&error))?;
        if !report.is_complete() {
            return Err(report.to_string());
        }
    }
    for key in noted.difference(&wanted) {
        let unbound = shared.bus.unbind(&binding(key)).await;
        unbound.map_err(|error| chain(&error))?;
        let noting = shared.tables.note_binding(key.clone(), false);
        noting.await.map_err(said)?;
    }
    Ok(())
}

fn binding(key: &str) -> Binding {
    Binding {
        exchange: topology::EVENTS.to_owned(),
        queue: topology::TRIGGERS.to_owned(),
        key: key.to_owned(),
    }
}
