//! Sagas as callers see them while they wait: one reader for each watched saga, however many callers watch it. It reads when a commit
//! has changed the saga, or somebody begins to watch, and then only the records that are new. Nobody is shown what was read before he began: he may
//! have acted a moment ago.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_driver::{Panicked, StoreError, guarded};
use baton_engine::{Entry, FoldError, SagaState, Status, replay};
use baton_messages::SagaId;
use baton_store::{AnyReader, Reader as _};
use tokio::sync::{Notify, watch};

use super::view;
use super::view::Abandoned;
use crate::changes::Changes;

/// A watched saga is looked at no more often: many records of a busy moment are one look.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// A saga at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Folded {
    /// Where it stands.
    pub(crate) state: SagaState,
    /// Its steps as the document has them.
    pub(crate) order: Arc<[String]>,
    /// Who gave it up, if anybody did: the state a decision needs does not keep it.
    pub(crate) abandoned: Option<Abandoned>,
}

/// What a watcher sees.
#[derive(Debug, Clone)]
pub(crate) enum Look {
    /// There is no such saga.
    NoSaga,
    /// It, at its last change.
    Saga(Arc<Folded>),
    /// The store could not be read; it is tried again at the next change.
    Failed(Arc<StoreError>),
}

/// A saga from the store; none when there is no such saga.
///
/// # Errors
/// When the store cannot be read, or the saga cannot ([`is_unreadable`]).
pub(crate) async fn folded(reader: &AnyReader, saga: SagaId) -> Result<Option<Folded>, StoreError> {
    let Some((first, loaded)) = reader.folding(saga).await? else {
        return Ok(None);
    };
    let mut state = *loaded.base;
    fold(&mut state, &loaded.entries)?;
    let order = view::step_order(&first).into();
    let mut abandoned = loaded.entries.iter().find_map(Abandoned::of);
    if state.status == Status::Abandoned && abandoned.is_none() {
        // it was given up before the snapshot
        let all = reader.entries(saga, 0, usize::MAX).await?;
        abandoned = all.iter().find_map(|(_, entry)| Abandoned::of(entry));
    }
    Ok(Some(Folded {
        state,
        order,
        abandoned,
    }))
}

fn fold(state: &mut SagaState, entries: &[Entry]) -> Result<(), StoreError> {
    by_itself(state.id, || replay(state, entries))
}

/// Folds a saga, so that a panic in it is an error of this one: whoever looks at many, and whoever leads, goes on with the others.
fn by_itself(saga: SagaId, fold: impl FnOnce() -> Result<(), FoldError>) -> Result<(), StoreError> {
    let folded = guarded(fold).map_err(NotFolded::from);
    let folded = folded.and_then(|folded| folded.map_err(NotFolded::from));
    folded.map_err(|source| StoreError {
        what: format!("saga {saga}, to fold its records"),
        source: Box::new(source),
    })
}

/// Why the records of a saga do not make a state.
#[derive(Debug, thiserror::Error)]
enum NotFolded {
    /// One of them does not fit.
    #[error(transparent)]
    Misfit(#[from] FoldError),
    /// A defect of ours.
    #[error(transparent)]
    Panicked(#[from] Panicked),
}

/// Whether a saga could not be had from the store because of what is in its records: trying again is in vain, and no other is concerned.
pub(crate) fn is_unreadable(error: &StoreError) -> bool {
    error.source.is::<NotFolded>() || baton_store::is_unreadable(error)
}

/// Every saga somebody watches.
#[derive(Debug)]
pub(crate) struct Watched {
    changes: Arc<Changes>,
    reader: AnyReader,
    sagas: Mutex<HashMap<SagaId, Kept>>,
}

/// A saga somebody watches.
#[derive(Debug)]
struct Kept {
    /// The newest look, and its number, from 1.
    looks: watch::Sender<(u64, Look)>,
    /// The number of the look that was begun last.
    begun: u64,
    /// Wakes its reader: somebody began to watch.
    wanted: Arc<Notify>,
}

impl Kept {
    fn watch(&self) -> Watching {
        Watching {
            looks: self.looks.subscribe(),
            after: self.begun,
        }
    }
}

/// Somebody watches a saga.
#[derive(Debug)]
pub(crate) struct Watching {
    looks: watch::Receiver<(u64, Look)>,
    /// The look that was under way when it began, or was over: too old.
    after: u64,
}

impl Watching {
    /// The newest state, once it is another than the one that was seen last; states in between may be passed over. None when nobody looks any more.
    pub(crate) async fn next(&mut self) -> Option<Look> {
        loop {
            self.looks.changed().await.ok()?;
            let (number, look) = self.looks.borrow_and_update().clone();
            if number > self.after {
                return Some(look);
            }
        }
    }

    /// What was seen last is seen again.
    pub(crate) fn again(&mut self) {
        self.looks.mark_changed();
    }
}

impl Watched {
    pub(crate) fn new(changes: Arc<Changes>, reader: AnyReader) -> Self {
        Self {
            changes,
            reader,
            sagas: Mutex::default(),
        }
    }

    /// Watches a saga.
    pub(crate) fn saga(self: &Arc<Self>, saga: SagaId) -> Watching {
        let mut sagas = self.sagas();
        if let Some(known) = sagas.get(&saga) {
            known.wanted.notify_one();
            return known.watch();
        }
        let kept = Kept {
            // of number 0, which nobody sees
            looks: watch::Sender::new((0, Look::NoSaga)),
            begun: 0,
            wanted: Arc::new(Notify::new()),
        };
        let watching = kept.watch();
        let wanted = kept.wanted.clone();
        sagas.insert(saga, kept);
        tokio::spawn(self.clone().keep(saga, wanted));
        watching
    }

    /// Reads a saga at every change, and for whoever begins to watch it, for as long as somebody does.
    async fn keep(self: Arc<Self>, saga: SagaId, wanted: Arc<Notify>) {
        let mut changed = self.changes.saga(saga);
        let mut last: Option<Arc<Folded>> = None;
        while let Some(number) = self.begin(saga) {
            changed.mark_unchanged();
            let look = self.look(saga, &mut last).await;
            let Some(looks) = self.show(saga, number, look) else {
                break;
            };
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = wanted.notified() => continue,
            }
            tokio::select! {
                told = changed.changed() => if told.is_err() { break },
                () = wanted.notified() => {}
                () = looks.closed() => {}
            }
        }
        drop(changed);
        self.changes.forget(saga);
    }

    /// The number of the look that begins now.
    fn begin(&self, saga: SagaId) -> Option<u64> {
        let mut sagas = self.sagas();
        let kept = sagas.get_mut(&saga)?;
        kept.begun += 1;
        Some(kept.begun)
    }

    async fn look(&self, saga: SagaId, last: &mut Option<Arc<Folded>>) -> Look {
        let read = match last.take() {
            Some(known) => self.newer(saga, known).await.map(Some),
            None => folded(&self.reader, saga)
                .await
                .map(|found| found.map(Arc::new)),
        };
        match read {
            Ok(Some(now)) => {
                *last = Some(now.clone());
                Look::Saga(now)
            }
            Ok(None) => Look::NoSaga,
            Err(error) => Look::Failed(Arc::new(error)),
        }
    }

    async fn newer(&self, saga: SagaId, known: Arc<Folded>) -> Result<Arc<Folded>, StoreError> {
        let found = self
            .reader
            .entries(saga, known.state.seq, usize::MAX)
            .await?;
        if found.is_empty() {
            return Ok(known);
        }
        let entries: Vec<_> = found.into_iter().map(|(_, entry)| entry).collect();
        let mut now = Arc::unwrap_or_clone(known);
        fold(&mut now.state, &entries)?;
        now.abandoned = now
            .abandoned
            .or_else(|| entries.iter().find_map(Abandoned::of));
        Ok(Arc::new(now))
    }

    /// Shows it to who watches; none, and forgotten, when nobody does any more.
    fn show(&self, saga: SagaId, number: u64, look: Look) -> Option<watch::Sender<(u64, Look)>> {
        let mut sagas = self.sagas();
        let looks = &sagas.get(&saga)?.looks;
        if looks.receiver_count() == 0 {
            sagas.remove(&saga);
            return None;
        }
        looks.send_replace((number, look));
        Some(looks.clone())
    }

    fn sagas(&self) -> MutexGuard<'_, HashMap<SagaId, Kept>> {
        self.sagas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use baton_driver::store::BoxError;
    use uuid::Uuid;

    use super::*;
    use crate::chain::chain;

    #[test]
    fn a_panic_while_a_saga_is_folded_is_an_error_that_names_it() {
        let saga = SagaId(Uuid::from_u128(7));
        let error = by_itself(saga, || panic!("a defect")).unwrap_err();
        assert!(is_unreadable(&error), "{error:?}");
        let said = chain(&error);
        assert!(said.contains(&saga.to_string()), "{said}");
        assert!(said.contains("panicked: a defect"), "{said}");
    }

    #[test]
    fn a_store_that_is_away_says_nothing_about_a_saga() {
        let away = StoreError {
            what: "a saga".to_owned(),
            source: BoxError::from("no connection"),
        };
        assert!(!is_unreadable(&away));
    }
}
