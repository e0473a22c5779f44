//! A private PostgreSQL: [`Postgres::shared`] for tests that only use a database, [`Postgres::own`] for tests that hurt the server. Each test
//! takes a [`Database`] of its own on it.

mod server;
pub mod shared;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

use crate::{Place, binaries};
use server::{Running, Server};
pub use shared::POSTGRES_ENV;

/// How often a start is tried again: somebody took the port, or the processes of a killed server were still ending.
const START_TRIES: usize = 20;
/// How long dropping a database may take before its test stops caring.
const DROP_LIMIT: Duration = Duration::from_secs(20);

/// What an own server is to have beyond the defaults.
#[derive(Clone, Debug, Default)]
pub struct Options {
    config: Vec<String>,
    hba: Vec<String>,
    files: Vec<(String, String)>,
    place: Place,
}

impl Options {
    /// Runs it on a host of its own, whose neighbours it lets in.
    #[must_use]
    pub fn on(mut self, place: Place) -> Self {
        self.hba = vec!["host all all 0.0.0.0/0 trust".to_owned()];
        self.place = place;
        self
    }

    /// Adds a line of its configuration.
    #[must_use]
    pub fn config(mut self, line: impl Into<String>) -> Self {
        self.config.push(line.into());
        self
    }

    /// Adds a line of `pg_hba.conf`; the first replaces all that let anybody in from loopback.
    #[must_use]
    pub fn hba(mut self, line: impl Into<String>) -> Self {
        self.hba.push(line.into());
        self
    }

    /// Writes a file into its data, for lines of [`Self::config`] to name: certificates.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, content: impl Into<String>) -> Self {
        self.files.push((name.into(), content.into()));
        self
    }
}

/// A private PostgreSQL server. Clones are the same; an own one ends with its last clone.
#[derive(Clone, Debug)]
pub struct Postgres(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    server: Mutex<Server>,
    /// What this process may end; none for a shared server, nor for an own one that is down.
    running: Mutex<Option<Running>>,
    owned: bool,
    /// Keeps the reaper off a shared server.
    _claim: Option<std::fs::File>,
}

impl Postgres {
    /// The server all tests share. Panics when none can be had, saying why.
    pub async fn shared() -> Self {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        let server = SHARED.get_or_try_init(|| async {
            let claim = crate::shared::claim::<Server>().await?;
            anyhow::Ok(Self(Arc::new(Inner {
                server: Mutex::new(claim.server),
                running: Mutex::new(None),
                owned: false,
                _claim: Some(claim.users),
            })))
        });
        server
            .await
            .unwrap_or_else(|error| panic!("no PostgreSQL to share: {error:#}"))
            .clone()
    }

    /// A server of the test's own, ready to be used. Panics when it cannot be started, with its last words.
    pub async fn own(options: Options) -> Self {
        let dir = binaries::fresh_dir("postgres");
        let started = start_somewhere(&dir, &options).await;
        let (server, running) =
            started.unwrap_or_else(|error| panic!("no PostgreSQL of my own: {error:#}"));
        Self(Arc::new(Inner {
            server: Mutex::new(server),
            running: Mutex::new(Some(running)),
            owned: true,
            _claim: None,
        }))
    }

    /// A fresh database on it, gone when the handle is dropped.
    pub async fn database(&self) -> Database {
        let name = format!("t{}", uuid::Uuid::new_v4().simple());
        let database = Database {
            server: self.clone(),
            name,
        };
        let sql = format!("CREATE DATABASE {}", database.name);
        if let Err(error) = execute(&self.url("postgres"), &sql).await {
            panic!("cannot make a database: {error:#}");
        }
        database
    }

    /// `postgres://user@127.0.0.1:port/database`.
    pub fn url(&self, database: &str) -> String {
        self.server().url(database)
    }

    /// The port it takes connections on, the same for all its life.
    pub fn port(&self) -> u16 {
        self.server().port
    }

    /// The process all its others are children of.
    pub fn pid(&self) -> u32 {
        let pid = self.server().pid;
        pid.unwrap_or_else(|| panic!("this PostgreSQL is down: it has no process"))
    }

    /// Its folder: `postgres.log`.
    pub fn dir(&self) -> PathBuf {
        self.server().dir.clone()
    }

    /// Ends every process of it as a power cut would. Its data stay for [`Self::start`].
    pub fn kill9(&self) {
        drop(self.take_running("kill"));
    }

    /// Ends it in order, sessions included. Its data stay for [`Self::start`].
    pub async fn stop(&self) {
        let running = self.take_running("stop");
        match tokio::task::spawn_blocking(move || running.stop()).await {
            Ok(Ok(())) => {}
            other => panic!("cannot stop PostgreSQL: {other:?}"),
        }
    }

    /// Starts it again after [`Self::kill9`] or [`Self::stop`], on the same port and data, and waits until it has recovered.
    pub async fn start(&self) {
        assert!(
            self.0.owned && self.running().is_none(),
            "only a server of the test's own that is down can be started again"
        );
        let mut server = self.server().clone();
        let running = start_again(&mut server).await;
        *self.server() = server;
        *self.running() = Some(
            running.unwrap_or_else(|error| panic!("cannot start PostgreSQL again: {error:#}")),
        );
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Thaws it (SIGCONT).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, which: Signal) {
        match &*self.running() {
            Some(running) => running.signal_all(which),
            None => panic!("only a running server of the test's own can be signalled"),
        }
    }

    fn take_running(&self, verb: &str) -> Running {
        assert!(
            self.0.owned,
            "cannot {verb} the PostgreSQL all tests share: use Postgres::own"
        );
        let running = self.running().take();
        running.unwrap_or_else(|| panic!("cannot {verb} PostgreSQL: it is down already"))
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.0.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(
            self.running
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        if self.owned {
            let server = self
                .server
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner);
            server.remove_data();
            // after a failure the log is worth having
            if !std::thread::panicking() {
                let _ = std::fs::remove_dir_all(&server.dir);
            }
        }
    }
}

/// A fresh database on a [`Postgres`], dropped with everything in it.
#[derive(Debug)]
pub struct Database {
    server: Postgres,
    name: String,
}

impl Database {
    /// `postgres://user@127.0.0.1:port/database`.
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// The same through another port of this machine: a [`crate::Proxy`] before the server.
    pub fn url_through(&self, port: u16) -> String {
        server::url(Ipv4Addr::LOCALHOST, port, &self.name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its server.
    pub const fn server(&self) -> &Postgres {
        &self.server
    }

    /// Somebody else's session on it, to look and to meddle. Panics when there is none.
    pub async fn client(&self) -> Client {
        client(&self.url())
            .await
            .unwrap_or_else(|error| panic!("no session on {}: {error:#}", self.name))
    }

    /// Ends every session on it whose name contains `named`, as an administrator would; how many there were.
    pub async fn end_sessions(&self, named: &str) -> u64 {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND position($1 IN application_name) > 0";
        let ended = self.client().await.query_one(sql, &[&named]).await;
        let ended = ended.unwrap_or_else(|error| panic!("cannot end sessions: {error}"));
        u64::try_from(ended.get::<_, i64>(0)).unwrap_or_default()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.server.0.owned {
            return; // ends with the test anyway, and may be down or frozen now
        }
        // a test's runtime may be ending: the call gets a thread and a runtime of its own
        let url = self.server.url("postgres");
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let Ok(runtime) = runtime else { return };
            let dropping = async { tokio::time::timeout(DROP_LIMIT, execute(&url, &sql)).await };
            let _ = runtime.block_on(dropping);
        });
        let _ = dropping.join();
    }
}

async fn execute(url: &str, sql: &str) -> Result<()> {
    let client = client(url).await?;
    client
        .batch_execute(sql)
        .await
        .with_context(|| sql.to_owned())
}

/// A session that ends with the client.
async fn client(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .with_context(|| format!("cannot connect to {url}"))?;
    tokio::spawn(connection);
    Ok(client)
}

/// Lays out and starts a server in `dir`, on another port when the first was taken meanwhile.
async fn start_somewhere(dir: &Path, options: &Options) -> Result<(Server, Running)> {
    let (dir, options) = (dir.to_owned(), options.clone());
    let laid_out = tokio::task::spawn_blocking(move || Server::lay_out(&dir, &options));
    let mut server = laid_out.await??;
    let running = start_again(&mut server).await?;
    Ok((server, running))
}

async fn start_again(server: &mut Server) -> Result<Running> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut running = server.spawn()?;
        match server.wait_ready(&mut running).await {
            Ok(()) => return Ok(running),
            Err(_) if tries < START_TRIES && server.may_start_again() => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => return Err(error),
        }
    }
}
