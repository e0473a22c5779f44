//! What commits have changed, for those who watch: noted only while somebody does, so that nobody pays for it otherwise.

use baton_messages::SagaId;

use crate::batch::{Batch, SagaRow};
use crate::driver::Driver;

/// What was committed since it was last asked for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changed {
    /// Sagas with new records; one may stand here more than once.
    pub sagas: Vec<SagaId>,
    /// The rows of those that started, or whose status changed, in the order of their commits.
    pub rows: Vec<SagaRow>,
}

/// Notes changes while it is asked to.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    on: bool,
    changed: Changed,
}

impl Noted {
    /// What a batch will have changed once it is committed; none while nobody asks.
    pub(crate) fn of(&self, batch: &Batch) -> Option<Changed> {
        self.on.then(|| Changed {
            sagas: batch.rows.iter().map(|row| row.saga).collect(),
            rows: batch.sagas.clone(),
        })
    }

    /// It is committed.
    pub(crate) fn add(&mut self, changed: Option<Changed>) {
        if let Some(changed) = changed {
            self.changed.sagas.extend(changed.sagas);
            self.changed.rows.extend(changed.rows);
        }
    }
}

impl<S, O> Driver<S, O> {
    /// Notes what the next turns change, or no longer does.
    pub fn note_changes(&mut self, on: bool) {
        self.noted.on = on;
    }

    /// What was committed while it was noted. After a turn whose fate was unknown something may be missing.
    pub fn take_changed(&mut self) -> Changed {
        std::mem::take(&mut self.noted.changed)
    }
}
