//! Sagas that stand still. All that run are come round to, a page at each look; of those that cannot stand still yet nothing but the row is read.

use std::collections::{BTreeMap, BTreeSet};

use baton_driver::StoreError;
use baton_engine::definition::{registered_as, rfc3339};
use baton_engine::{SagaState, Status};
use baton_messages::{SagaId, StepKey, Timestamp};
use baton_store::{Reader as _, SagaCursor, SagaFilter};
use serde_json::json;

use super::progress::{Progress, progress};
use super::{Cause, Found, Look};
use crate::alerts::{Kind, OPEN_MAX};
use crate::api::folded;
use crate::chain::chain;

/// Rows of sagas of one status that one look passes over.
const ROWS_MAX: usize = 500;
/// Sagas of one status whose records one look reads: some tens of milliseconds of the store's time.
const FOLDS_MAX: usize = 50;
/// Sagas of which it is kept from when on they are to be looked at, some megabytes; others are read each time they are come to.
const LATER_MAX: usize = 100_000;

/// Where the search has come to.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    at: BTreeMap<Status, Option<SagaCursor>>,
    /// Those that stood still when they were last looked at.
    still: BTreeSet<SagaId>,
    /// Those that cannot stand still before then.
    later: BTreeMap<SagaId, Timestamp>,
    /// Those whose records could not be read: that is said once.
    unread: BTreeSet<SagaId>,
}

fn key(saga: SagaId) -> String {
    format!("no-progress/{saga}")
}

impl Rounds {
    pub(super) async fn find(
        &mut self,
        look: &Look<'_>,
        for_ms: u64,
        found: &mut Found,
    ) -> Result<(), StoreError> {
        let sagas = self.next_sagas(look, for_ms).await?;
        self.still.clear();
        let mut causes = Vec::new();
        for saga in sagas {
            match folded(look.reader, saga).await {
                Ok(seen) => {
                    self.unread.remove(&saga);
                    let Some(seen) = seen else { continue };
                    match progress(&seen.state, look.now, for_ms) {
                        Progress::NotBefore(at) => self.not_before(saga, at),
                        Progress::StandsStill(step) => {
                            causes.push((key(saga), cause(look, &seen.state, &step)));
                            if self.still.len() <= OPEN_MAX {
                                self.still.insert(saga);
                            }
                        }
                    }
                }
                Err(error) => {
                    found.unsure.insert(key(saga));
                    self.unreadable(saga, &error);
                }
            }
        }
        let (kept, beyond) = look.kept(causes);
        let causes = kept.into_iter().map(|(_, cause)| cause).collect();
        found.take(Kind::NoProgress, causes, beyond);
        Ok(())
    }

    fn not_before(&mut self, saga: SagaId, at: Timestamp) {
        if self.later.len() < LATER_MAX {
            self.later.insert(saga, at);
        }
    }

    fn unreadable(&mut self, saga: SagaId, error: &StoreError) {
        if self.unread.len() < OPEN_MAX && self.unread.insert(saga) {
            tracing::error!(
                saga.id = %saga, error = %chain(error),
                "nobody can tell whether a saga goes on: its records cannot be read; see `baton show {saga}`"
            );
        }
    }

    /// Those that stand still as far as is known, and as many others as one look may read, from where the last look stopped.
    async fn next_sagas(
        &mut self,
        look: &Look<'_>,
        for_ms: u64,
    ) -> Result<BTreeSet<SagaId>, StoreError> {
        self.later.retain(|_, at| *at > look.now);
        let alerts = look.known.values();
        let alerts = alerts.filter(|row| row.kind == Kind::NoProgress.as_str());
        // what an earlier process found, or this one, is looked at each time
        let open = alerts.filter_map(|row| row.object.strip_prefix("sagas/")?.parse().ok());
        let mut sagas: BTreeSet<SagaId> = self.still.iter().copied().chain(open).collect();
        let until = Timestamp(look.now.0.saturating_sub(for_ms));
        for status in [Status::Running, Status::Compensating] {
            let filter = SagaFilter {
                status: Some(status),
                started_until: Some(until),
                ..SagaFilter::default()
            };
            let mut after = self.at.get(&status).copied().flatten();
            let page = look.reader.sagas(filter, after, ROWS_MAX).await?;
            let mut next = page.next;
            let mut folds = 0;
            for row in page.rows {
                if folds == FOLDS_MAX {
                    next = after;
                    break;
                }
                after = Some(SagaCursor {
                    started_at: row.started_at,
                    saga: row.saga,
                });
                let settled = row.paused || self.later.contains_key(&row.saga);
                if !settled && sagas.insert(row.saga) {
                    folds += 1;
                }
            }
            self.at.insert(status, next);
        }
        Ok(sagas)
    }
}

fn cause(look: &Look<'_>, state: &SagaState, step: &StepKey) -> Cause {
    let saga = state.id;
    let since = rfc3339(state.last_at);
    Cause {
        key: key(saga),
        kind: Kind::NoProgress,
        title: format!(
            "{}@{} has stood still at its step {step} since {since}",
            state.definition, state.version
        ),
        object: format!("sagas/{saga}"),
        command: format!("baton show {saga}"),
        data: json!({ "saga": saga, "definition": state.definition, "version": state.version, "step": step, "since": state.last_at }),
        silent: look.own.contains(registered_as(&state.definition)),
    }
}
