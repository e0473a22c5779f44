//! What kills an orchestrator whenever it touches it: a trigger in its database that never comes to an end, so that whoever commits a certain
//! row is held there until it is killed. In a file it reckons without end, and holds the file; in a PostgreSQL database it waits for a lock that the test
//! has, and the database is told that whoever was killed is gone, as it finds out by itself only later.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use baton_harness::await_until;
use tokio_postgres::NoTls;

use crate::{SOON, System};

/// A commit that takes longer is the poison at work, even on a busy machine.
const STUCK: Duration = Duration::from_secs(2);
/// More deaths than it may take until the poison is put aside.
const DEATHS_MAX: u32 = 20;
/// The advisory lock for which who is poisoned waits in a database: a number nobody else has.
const LOCK: i32 = 77_077_077;

/// How many rows the log of a system's file has now.
pub fn log_rows(system: &System) -> i64 {
    let database = system.data_dir().join("baton.db");
    let counted = open(&database).query_row("SELECT count(*) FROM records", [], |row| row.get(0));
    counted.unwrap_or_else(|error| panic!("the log cannot be counted: {error}"))
}

/// Where the orchestrator keeps everything.
#[derive(Debug, Clone)]
enum Store {
    File(PathBuf),
    /// With a connection of the test's own, which has the lock.
    Database(Arc<tokio_postgres::Client>),
}

/// How a store refuses a row.
#[derive(Debug, Clone, Copy)]
pub enum Refusing {
    /// As a full disk does: no fault of the row.
    Full,
    /// As a constraint does: the row's own fault.
    Constraint,
}

/// The database of a system, to be poisoned.
#[derive(Debug, Clone)]
pub struct Poison {
    store: Store,
}

impl Poison {
    /// For the file of this system, whose orchestrator does not run.
    pub fn of(system: &System) -> Self {
        let database = system.data_dir().join("baton.db");
        let poison = Self {
            store: Store::File(database),
        };
        poison.sql(
            "CREATE VIEW endless AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
        );
        poison
    }

    /// For whatever this system keeps everything in; its orchestrator does not run.
    pub async fn of_store(system: &System) -> Self {
        if !system.is_on_database() {
            return Self::of(system);
        }
        let url = system.database().url();
        let (client, connection) = tokio_postgres::connect(&url, NoTls)
            .await
            .unwrap_or_else(|error| panic!("{url} cannot be reached: {error}"));
        // it ends with the client
        drop(tokio::spawn(connection));
        let poison = Self {
            store: Store::Database(Arc::new(client)),
        };
        poison
            .run(&format!("SELECT pg_advisory_lock({LOCK})"))
            .await;
        poison
    }

    /// The id of something, as it is written in the store's own SQL.
    pub fn id(&self, id: &str) -> String {
        match &self.store {
            Store::File(_) => format!("x'{}'", id.replace('-', "")),
            Store::Database(_) => format!("'{id}'::uuid"),
        }
    }

    /// From now on whoever inserts such a row into this table never comes to the end of it.
    pub async fn on_insert(&self, table: &str, when: &str) {
        let sql = match &self.store {
            Store::File(_) => format!(
                "CREATE TRIGGER poison_of_{table} AFTER INSERT ON {table} WHEN {when} BEGIN SELECT count(*) FROM endless; END"
            ),
            Store::Database(_) => trigger(
                &format!("poison_of_{table}"),
                ("AFTER", table),
                when,
                &format!("PERFORM pg_advisory_xact_lock({LOCK})"),
            ),
        };
        self.run(&sql).await;
    }

    /// From now on such a row of the log is refused, until [`Self::takes_records`].
    pub async fn refuses_records(&self, when: &str, how: Refusing) {
        let sql = match (&self.store, how) {
            // an error of the store: a number that is too large for it
            (Store::File(_), Refusing::Full) => format!(
                "CREATE TRIGGER refused BEFORE INSERT ON records WHEN {when} BEGIN SELECT abs(-9223372036854775807 - (NEW.saga > 0)); END"
            ),
            (Store::File(_), Refusing::Constraint) => format!(
                "CREATE TRIGGER refused BEFORE INSERT ON records WHEN {when} BEGIN SELECT RAISE(ABORT, 'refused'); END"
            ),
            (Store::Database(_), how) => {
                let state = match how {
                    Refusing::Full => "disk_full",
                    Refusing::Constraint => "check_violation",
                };
                let raise = format!("RAISE EXCEPTION 'refused' USING ERRCODE = '{state}'");
                trigger("refused", ("BEFORE", "records"), when, &raise)
            }
        };
        self.run(&sql).await;
    }

    /// From now on every row of the log is taken again.
    pub async fn takes_records(&self) {
        let sql = match &self.store {
            Store::File(_) => "DROP TRIGGER refused",
            Store::Database(_) => "DROP TRIGGER refused ON records",
        };
        self.run(sql).await;
    }

    /// Does something to the file behind the orchestrator's back.
    pub fn sql(&self, sql: &str) {
        let Store::File(database) = &self.store else {
            panic!("a database is asked by `run`: {sql}");
        };
        let done = open(database).execute_batch(sql);
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Does something to the store behind the orchestrator's back, whichever it is.
    pub async fn run(&self, sql: &str) {
        match &self.store {
            Store::File(_) => self.sql(sql),
            Store::Database(client) => {
                let done = client.batch_execute(sql).await;
                done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            }
        }
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
            system.orchestrator().process.kill9();
            self.lets_go().await;
            system.orchestrator().process.start_again();
        }
        panic!("it died {DEATHS_MAX} times and still works on the poison");
    }

    /// Waits until somebody is stuck over the poison, and kills the orchestrator.
    pub async fn kills(&self, system: &mut System) {
        await_until("somebody to work on the poison", SOON, async || {
            self.is_stuck().await
        })
        .await;
        system.orchestrator().process.kill9();
        self.lets_go().await;
    }

    /// Whether somebody works on the poison.
    async fn is_stuck(&self) -> bool {
        match &self.store {
            Store::File(database) => {
                let database = database.clone();
                let looked = tokio::task::spawn_blocking(move || {
                    let it = open(&database);
                    it.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err()
                });
                looked.await.expect("the database can be asked")
            }
            Store::Database(client) => {
                let found = client.query(waiting("pid").as_str(), &[]).await;
                !found.expect("the database can be asked").is_empty()
            }
        }
    }

    /// A database goes on with what was killed until it hears that it is gone. A file is free with its process.
    async fn lets_go(&self) {
        let Store::Database(client) = &self.store else {
            return;
        };
        let ended = client
            .query(waiting("pg_terminate_backend(pid)").as_str(), &[])
            .await;
        ended.expect("the database can be told");
        await_until("what was killed to be gone", SOON, async || {
            !self.is_stuck().await
        })
        .await;
    }
}

/// Asks something of each session that waits for the lock.
fn waiting(what: &str) -> String {
    format!(
        "SELECT {what} FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND classid = 0 AND objid = {LOCK}
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
}

/// What is done in a PostgreSQL database before or after such a row is inserted into a table.
fn trigger(name: &str, (moment, table): (&str, &str), when: &str, does: &str) -> String {
    format!(
        "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF {when} THEN {does}; END IF; RETURN NEW; END $$;
         CREATE TRIGGER {name} {moment} INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()"
    )
}

fn open(database: &Path) -> rusqlite::Connection {
    let it = rusqlite::Connection::open(database).expect("the database can be opened");
    it.busy_timeout(STUCK).expect("it can wait");
    it
}
