//! What only this store has to show, beside the suite: the file, the lock, the disk, the plans of its queries, the death of its process.

mod faults;
mod killed;
mod migrations;
mod opening;
mod plans;
mod reading;
mod undecodable;

use std::path::PathBuf;

use tempfile::TempDir;

use super::{
    SqliteAlerts, SqliteAudit, SqliteLetters, SqliteOptions, SqliteReader, SqliteReservations,
    SqliteStore, SqliteSuspects, SqliteTokens, SqliteTriggers,
};
use crate::read::Counts;
use crate::suite::Subject;
use crate::{Partition, Reader as _};

crate::store_suite!(TempStore::new());

/// A store in a directory of its own, gone with it.
pub(super) struct TempStore {
    directory: TempDir,
    reader: Option<SqliteReader>,
}

impl TempStore {
    pub(super) fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
            reader: None,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("baton.db")
    }
}

impl Subject for TempStore {
    type Store = SqliteStore;
    type Tokens = SqliteTokens;
    type Triggers = SqliteTriggers;
    type Suspects = SqliteSuspects;
    type Letters = SqliteLetters;
    type Audit = SqliteAudit;
    type Alerts = SqliteAlerts;
    type Reservations = SqliteReservations;
    type Reader = SqliteReader;

    async fn open(&mut self) -> (SqliteStore, Partition) {
        let store = SqliteStore::open(self.path(), SqliteOptions::default()).unwrap();
        let partition = store.partition();
        self.reader = Some(store.reader());
        (store, partition)
    }

    async fn close(&mut self, mut store: SqliteStore) {
        assert_eq!(store.integrity().await.unwrap(), Vec::<String>::new());
        store.close().await.unwrap();
    }

    fn tokens(&self, store: &SqliteStore) -> SqliteTokens {
        store.tokens()
    }

    fn letters(&self, store: &SqliteStore) -> SqliteLetters {
        store.letters()
    }

    fn reservations(&self, store: &SqliteStore) -> SqliteReservations {
        store.reservations()
    }

    fn alerts(&self, store: &SqliteStore) -> SqliteAlerts {
        store.alerts()
    }

    fn audit(&self, store: &SqliteStore) -> SqliteAudit {
        store.audit()
    }

    fn suspects(&self, store: &SqliteStore) -> SqliteSuspects {
        store.suspects()
    }

    fn reader(&self, store: &SqliteStore) -> SqliteReader {
        store.reader()
    }

    fn triggers(&self, store: &SqliteStore) -> SqliteTriggers {
        store.triggers()
    }

    async fn counts(&self) -> Counts {
        self.reader.as_ref().unwrap().counts().await.unwrap()
    }
}
