//! What kills an orchestrator whenever it touches it: a trigger in its database that never comes to an end, so that whoever commits a certain
//! row holds the database until it is killed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::System;

/// A commit that takes longer is the poison at work, even on a busy machine.
const STUCK: Duration = Duration::from_secs(2);
/// More deaths than it may take until the poison is put aside.
const DEATHS_MAX: u32 = 20;

/// How many rows the log of a system's file has now.
pub fn log_rows(system: &System) -> i64 {
    let database = system.data_dir().join("baton.db");
    let counted = open(&database).query_row("SELECT count(*) FROM records", [], |row| row.get(0));
    counted.unwrap_or_else(|error| panic!("the log cannot be counted: {error}"))
}

/// The database of a system, to be poisoned.
#[derive(Debug, Clone)]
pub struct Poison {
    database: PathBuf,
}

impl Poison {
    /// For the database of this system, whose orchestrator does not run.
    pub fn of(system: &System) -> Self {
        let poison = Self {
            database: system.data_dir().join("baton.db"),
        };
        poison.sql(
            "CREATE VIEW endless AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
        );
        poison
    }

    /// From now on whoever inserts such a row into this table never comes to the end of it.
    pub fn on_insert(&self, table: &str, when: &str) {
        self.sql(&format!(
            "CREATE TRIGGER poison_of_{table} AFTER INSERT ON {table} WHEN {when} BEGIN SELECT count(*) FROM endless; END"
        ));
    }

    /// Does something to the database behind the orchestrator's back.
    pub fn sql(&self, sql: &str) {
        let done = open(&self.database).execute_batch(sql);
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Starts the orchestrator, and kills it whenever it is stuck over the poison; how often that was until `is_over`.
    pub async fn deaths_until(
        &self,
        system: &mut System,
        is_over: impl AsyncFn(&System) -> bool,
    ) -> u32 {
        system.orchestrator().process.start_again();
        for deaths in 0..DEATHS_MAX {
            while !self.is_stuck().await {
                if is_over(system).await {
                    return deaths;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            system.orchestrator().kill9_and_start();
        }
        panic!("it died {DEATHS_MAX} times and still works on the poison");
    }

    /// Whether somebody holds the database for longer than any commit takes.
    async fn is_stuck(&self) -> bool {
        let database = self.database.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let it = open(&database);
            it.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err()
        });
        looked.await.expect("the database can be asked")
    }
}

fn open(database: &Path) -> rusqlite::Connection {
    let it = rusqlite::Connection::open(database).expect("the database can be opened");
    it.busy_timeout(STUCK).expect("it can wait");
    it
}
