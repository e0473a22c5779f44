//! Who is told of a commit: those who watch one saga, and those who watch the list. The loop tells, and never waits for anybody: a
//! watcher of one saga only hears that there is something new, a watcher of the list who is too slow hears that he missed something.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use baton_driver::{Changed, SagaRow};
use baton_messages::{SagaId, Timestamp};
use tokio::sync::{broadcast, watch};

/// Turns a watcher of the list may lie behind: some seconds of a busy loop. Beyond it he is told that he missed some.
const TURNS_BEHIND_MAX: usize = 256;

/// Sagas of other processes that are remembered as told of; once there are more, one may be told of twice.
const ELSEWHERE_MAX: usize = 10_000;

/// What watchers of the list are told.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    /// Sagas that started, or whose status changed.
    Rows(Arc<[SagaRow]>),
    /// Some may be missing: look at the list again.
    Missed,
}

/// The loop's end and the watchers' end.
#[derive(Debug)]
pub(crate) struct Changes {
    /// Watched sagas: the number grows with every change.
    sagas: Mutex<HashMap<SagaId, watch::Sender<u64>>>,
    rows: broadcast::Sender<Told>,
    /// When sagas that other processes drive were told of last: of those that had a record and no new status nobody is told.
    elsewhere: Mutex<HashMap<SagaId, Timestamp>>,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            sagas: Mutex::default(),
            rows: broadcast::Sender::new(TURNS_BEHIND_MAX),
            elsewhere: Mutex::default(),
        }
    }
}

impl Changes {
    /// Whether anybody wants to know.
    pub(crate) fn wanted(&self) -> bool {
        self.rows.receiver_count() > 0 || !self.sagas().is_empty()
    }

    /// What a turn has committed.
    pub(crate) fn committed(&self, changed: Changed) {
        let sagas = self.sagas();
        if !sagas.is_empty() {
            for saga in &changed.sagas {
                if let Some(watched) = sagas.get(saga) {
                    watched.send_modify(|n| *n = n.wrapping_add(1));
                }
            }
        }
        drop(sagas);
        if !changed.rows.is_empty() {
            // nobody may be watching
            let _ = self.rows.send(Told::Rows(changed.rows.into()));
        }
    }

    /// It is not known what was committed: everybody looks again.
    pub(crate) fn anything(&self) {
        for watched in self.sagas().values() {
            watched.send_modify(|n| *n = n.wrapping_add(1));
        }
        // nobody may be watching
        let _ = self.rows.send(Told::Missed);
    }

    /// Whether anybody watches the list.
    pub(crate) fn list_wanted(&self) -> bool {
        self.rows.receiver_count() > 0
    }

    /// What other processes have committed; none when it is too much to be told.
    pub(crate) fn elsewhere(&self, rows: Option<Vec<SagaRow>>) {
        let Some(mut rows) = rows else {
            let _ = self.rows.send(Told::Missed);
            return;
        };
        let mut known = self
            .elsewhere
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known.len() > ELSEWHERE_MAX {
            known.clear();
        }
        rows.retain(|row| known.insert(row.saga, row.changed_at) != Some(row.changed_at));
        drop(known);
        if !rows.is_empty() {
            // nobody may be watching
            let _ = self.rows.send(Told::Rows(rows.into()));
        }
    }

    /// What is committed by another process is not told here: whoever watches such a saga looks again.
    pub(crate) fn look_again(&self, elsewhere: impl Fn(SagaId) -> bool) {
        for (saga, watched) in self.sagas().iter() {
            if elsewhere(*saga) {
                watched.send_modify(|n| *n = n.wrapping_add(1));
            }
        }
    }

    /// Watches the list. Subscribe first, then read: what is committed in between is told.
    pub(crate) fn rows(&self) -> broadcast::Receiver<Told> {
        self.rows.subscribe()
    }

    /// Watches a saga, likewise.
    pub(crate) fn saga(&self, saga: SagaId) -> watch::Receiver<u64> {
        self.sagas()
            .entry(saga)
            .or_insert_with(|| watch::Sender::new(0))
            .subscribe()
    }

    /// Forgets a saga that nobody watches any more.
    pub(crate) fn forget(&self, saga: SagaId) {
        let mut sagas = self.sagas();
        if sagas
            .get(&saga)
            .is_some_and(|watched| watched.receiver_count() == 0)
        {
            sagas.remove(&saga);
        }
    }

    fn sagas(&self) -> MutexGuard<'_, HashMap<SagaId, watch::Sender<u64>>> {
        self.sagas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn changed(saga: u128) -> Changed {
        Changed {
            sagas: vec![SagaId(Uuid::from_u128(saga))],
            rows: Vec::new(),
        }
    }

    #[test]
    fn only_who_watches_it_is_told_and_nobody_is_remembered() {
        let changes = Changes::default();
        assert!(!changes.wanted());
        let one = SagaId(Uuid::from_u128(1));
        let mut watched = changes.saga(one);
        assert!(changes.wanted());
        changes.committed(changed(2));
        assert!(!watched.has_changed().unwrap());
        changes.committed(changed(1));
        assert!(watched.has_changed().unwrap());
        watched.mark_unchanged();
        changes.anything();
        assert!(watched.has_changed().unwrap());
        changes.forget(one);
        assert!(changes.wanted(), "somebody still watches");
        drop(watched);
        changes.forget(one);
        assert!(!changes.wanted());
    }
}
