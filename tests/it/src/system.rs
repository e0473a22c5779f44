//! The system under test: one orchestrator, on SQLite or on a database of its own, some workers, one ledger, on a virtual host of a broker.

use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_harness::{
    Broker, Database, Launch, Ledger, Options, Postgres, Process, Proxy, Vhost, await_some,
    binaries, postgres,
};

use serde_json::{Value, json};

use crate::sagas::Saga;
use crate::{Api, Cli, SOON, Terminal};

/// The token of the API in every test.
pub(crate) const TOKEN: &str = "a-token-for-tests-only";

/// What a system is to be like.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    own_broker: bool,
    orchestrator_env: Vec<(String, String)>,
    worker_env: Vec<(String, String)>,
    workers: usize,
    small_disk: bool,
    store: Store,
    database_relay: bool,
}

/// Where the orchestrator keeps what is durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Store {
    #[default]
    Sqlite,
    /// In a file until [`System::use_database`], with an empty database beside it.
    SqliteFirst,
    /// On the server all tests share.
    Postgres,
    /// On a server of its own, which can be hurt.
    OwnPostgres,
}

/// How long a partition is owned without a word: short, since the orchestrator that follows a killed one waits for it.
const LEASE_MS: &str = "3000";

/// Starts what follows with a file system of its own for its data, so small that a test can fill it. The process keeps its id.
const SMALL_DISK: &str = r#"mkdir -p "$0" && mount -t tmpfs -o size=16m tmpfs "$0" && exec "$1""#;

impl Setup {
    /// One orchestrator and so many workers, on the broker all tests share.
    #[must_use]
    pub fn workers(workers: usize) -> Self {
        Self {
            workers,
            ..Self::default()
        }
    }

    /// On a broker of its own, which can be hurt.
    #[must_use]
    pub const fn own_broker(mut self) -> Self {
        self.own_broker = true;
        self
    }

    /// The orchestrator keeps everything in a PostgreSQL database.
    #[must_use]
    pub const fn postgres(mut self) -> Self {
        self.store = Store::Postgres;
        self
    }

    /// As [`Self::postgres`], on a server of its own, which can be hurt ([`System::postgres`]).
    #[must_use]
    pub const fn own_postgres(mut self) -> Self {
        self.store = Store::OwnPostgres;
        self
    }

    /// As [`Self::postgres`], through a relay that can do to the connections what a network does ([`System::database_relay`]).
    #[must_use]
    pub const fn postgres_through_a_relay(mut self) -> Self {
        self.store = Store::Postgres;
        self.database_relay = true;
        self
    }

    /// The orchestrator begins in a file, as usual; there is an empty database it can be moved to ([`System::use_database`]).
    #[must_use]
    pub const fn with_an_empty_database(mut self) -> Self {
        self.store = Store::SqliteFirst;
        self
    }

    /// The orchestrator's data lie on a file system of its own that only it sees ([`System::orchestrator_sees`]), gone with its process.
    #[must_use]
    pub const fn small_disk(mut self) -> Self {
        self.small_disk = true;
        self
    }

    /// Sets a key of the orchestrator's configuration, `sagas.idle_ms`.
    #[must_use]
    pub fn orchestrator(mut self, key: &str, value: &str) -> Self {
        self.orchestrator_env
            .push((variable(key), value.to_owned()));
        self
    }

    /// Sets a key of every worker's configuration, `worker.concurrency`.
    #[must_use]
    pub fn worker(mut self, key: &str, value: &str) -> Self {
        self.worker_env.push((variable(key), value.to_owned()));
        self
    }

    /// Sets a variable of the orchestrator's environment that is no key of its configuration.
    #[must_use]
    pub fn orchestrator_variable(mut self, name: &str, value: &str) -> Self {
        self.orchestrator_env
            .push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets a variable of every worker's environment that is no key of its configuration.
    #[must_use]
    pub fn worker_variable(mut self, name: &str, value: &str) -> Self {
        self.worker_env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it all and waits until it is ready.
    pub async fn start(self) -> System {
        let mut system = self.start_without_orchestrator().await;
        system.orchestrator().wait_alive_in(SOON).await;
        system.await_ready().await;
        system
    }

    /// As [`Self::start`], without the orchestrator: [`System::orchestrator`] starts it. Workers are started, and wait.
    pub async fn start_without_orchestrator(self) -> System {
        let broker = if self.own_broker {
            Broker::own(Options::default()).await
        } else {
            Broker::shared().await
        };
        let vhost = broker.vhost().await;
        let proxy = Proxy::to_port(broker.amqp_port()).await;
        let ledger = Ledger::start().await;
        let postgres = match self.store {
            Store::Sqlite => None,
            Store::SqliteFirst | Store::Postgres => Some(Postgres::shared().await),
            Store::OwnPostgres => Some(Postgres::own(postgres::Options::default()).await),
        };
        let database = match &postgres {
            Some(server) => Some(server.database().await),
            None => None,
        };
        let database_relay = match &database {
            Some(database) if self.database_relay => {
                Some(Proxy::to_port(database.server().port()).await)
            }
            _ => None,
        };
        let dir = binaries::fresh_dir("system");
        let files = dir.join("files");
        std::fs::create_dir(&files).expect("a folder for file.write can be made");
        let port = free_port();
        let mut system = System {
            orchestrator: None,
            workers: Vec::new(),
            api: Api::at(&format!("http://127.0.0.1:{port}"), TOKEN),
            ledger,
            proxy,
            files,
            dir,
            port,
            on_database: !matches!(self.store, Store::Sqlite | Store::SqliteFirst),
            setup: self,
            vhost,
            broker,
            database_relay,
            database,
        };
        for _ in 0..system.setup.workers {
            system.add_worker(&[]);
        }
        system
    }
}

/// A running system. Fields end in this order: processes before what they use.
#[derive(Debug)]
pub struct System {
    orchestrator: Option<Process>,
    /// The workers, to be killed, frozen, started again.
    pub workers: Vec<Process>,
    /// The API of its orchestrator.
    pub api: Api,
    /// What was done to the world.
    pub ledger: Ledger,
    /// Between the orchestrator and the broker. Workers are connected directly, unless they are told otherwise.
    pub proxy: Proxy,
    /// The folder under which `file.write` may write.
    pub files: PathBuf,
    dir: PathBuf,
    port: u16,
    setup: Setup,
    /// Its virtual host.
    pub vhost: Vhost,
    /// Its broker.
    pub broker: Broker,
    database_relay: Option<Proxy>,
    database: Option<Database>,
    on_database: bool,
}

impl System {
    /// The orchestrator; the first call starts it.
    pub fn orchestrator(&mut self) -> Orchestrator<'_> {
        if self.orchestrator.is_none() {
            self.orchestrator = Some(self.launch_orchestrator(self.port).start());
        }
        Orchestrator {
            url: format!("http://127.0.0.1:{}", self.port),
            process: self
                .orchestrator
                .as_mut()
                .expect("it has just been started"),
        }
    }

    /// The orchestrator, which has been started, and the workers, to be killed side by side.
    pub fn processes(&mut self) -> (&mut Process, &mut [Process]) {
        let orchestrator = self.orchestrator.as_mut();
        let orchestrator = orchestrator.expect("the orchestrator has been started");
        (orchestrator, &mut self.workers)
    }

    /// The database, of a system that has one.
    pub fn database(&self) -> &Database {
        let database = self.database.as_ref();
        database.expect("the system was set up with a database")
    }

    /// Whether the orchestrator keeps everything in the database.
    pub const fn is_on_database(&self) -> bool {
        self.on_database
    }

    /// The server of the database, to be killed and started again.
    pub fn postgres(&self) -> Postgres {
        self.database().server().clone()
    }

    /// Between the orchestrator and its database, of a system that was set up so.
    pub fn database_relay(&self) -> &Proxy {
        let relay = self.database_relay.as_ref();
        relay.expect("the system was set up with a relay before its database")
    }

    /// Kills the orchestrator; from now on it is started on this database.
    pub fn use_database(&mut self, database: Option<Database>) {
        drop(self.orchestrator.take());
        self.database = database.or_else(|| self.database.take());
        self.on_database = true;
    }

    /// Kills the orchestrator, as a power cut would; [`Self::orchestrator`] starts it again.
    pub fn end_orchestrator(&mut self) {
        drop(self.orchestrator.take());
    }

    /// Runs `baton-orchestrator store …` with the settings of the orchestrator, told to use the database it has or may get where `database`.
    /// Whether it succeeded, and what it printed.
    pub async fn at_store(&self, args: &[&str], database: bool) -> (bool, String) {
        let launch = self.launch_orchestrator_on(self.port, database);
        let mut process = launch.arg("store").args(args.iter().copied()).start();
        let ended = process.wait(SOON).await;
        (ended.success(), process.log())
    }

    /// Runs lines of a shell in which `baton-orchestrator` is the program of that name with the settings of the orchestrator, and further
    /// variables are set. What they printed; panics when one of them fails.
    pub async fn shell(&self, lines: &str, env: &[(&str, String)]) -> String {
        let programs = binaries::path_of("baton-orchestrator");
        let folder = programs.parent().expect("it lies in a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        let launch = self
            .orchestrator_settings(Launch::program("shell", "sh"), self.port, self.on_database)
            .env("PATH", format!("{}:{path}", folder.display()));
        let launch = env.iter().fold(launch, |launch, (name, value)| {
            launch.env(name.to_owned(), value)
        });
        let mut process = launch.args(["-euxc", lines]).start();
        let ended = process.wait(SOON).await;
        let said = process.log();
        assert!(ended.success(), "{ended}:\n{said}");
        said
    }

    /// How another orchestrator on the same data would be started, its API on another port.
    pub fn second_orchestrator(&self) -> Launch {
        self.launch_orchestrator(free_port())
    }

    /// As [`Self::second_orchestrator`], with its API.
    pub fn another_orchestrator(&self) -> (Launch, Api) {
        let port = free_port();
        let api = Api::at(&format!("http://127.0.0.1:{port}"), TOKEN);
        (self.launch_orchestrator(port), api)
    }

    /// How an orchestrator on data of its own would be started, its API on the port of the one that runs.
    pub fn orchestrator_on_the_same_port(&self) -> Launch {
        let data = self.dir.join("other-data");
        self.launch_orchestrator(self.port)
            .env(variable("store.data_dir"), &data)
    }

    /// An orchestrator on data of its own and with no token set, its standard output a terminal, as when a person starts it; its log goes to
    /// `log`.
    pub fn orchestrator_in_a_terminal(&self, data: &Path, log: &Path) -> Terminal {
        let command = pty_process::Command::new("sh")
            .args(["-c", "exec \"$0\" 2>> \"$1\""])
            .arg(binaries::path_of("baton-orchestrator"))
            .arg(log)
            .env("NO_COLOR", "1")
            .env(variable("store.data_dir"), data)
            .env(variable("bus.addresses"), self.vhost.url())
            .env(variable("http.listen"), "127.0.0.1:0")
            .kill_on_drop(true);
        Terminal::start(command, 80, 24)
    }

    /// The command-line tool, told where this orchestrator is.
    pub fn cli(&self) -> Cli {
        Cli::new(&format!("http://127.0.0.1:{}", self.port), TOKEN, &self.dir)
    }

    /// Starts one more worker, with further keys of its configuration. Its index in [`Self::workers`].
    pub fn add_worker(&mut self, config: &[(&str, &str)]) -> usize {
        let launch = self.launch_worker(&self.vhost.url());
        let launch = config.iter().fold(launch, |launch, (key, value)| {
            launch.env(variable(key), value)
        });
        self.workers.push(launch.start());
        self.workers.len() - 1
    }

    /// Starts one more worker with a file of settings, which says all that its automations may do. Its index in [`Self::workers`].
    pub fn add_worker_with_file(&mut self, file: &Path) -> usize {
        let launch = self.launch_bare_worker(&self.vhost.url());
        let launch = launch.arg("run").arg("--config").arg(file);
        self.workers
            .push(with_all(launch, &self.setup.worker_env).start());
        self.workers.len() - 1
    }

    /// How one more worker would be started.
    pub fn another_worker(&self) -> Launch {
        self.launch_worker(&self.vhost.url())
    }

    /// Starts one more worker that reaches the broker through a relay.
    pub fn add_worker_through(&mut self, proxy: &Proxy, config: &[(&str, &str)]) -> usize {
        let launch = self.launch_worker(&self.vhost.url_through(proxy.port()));
        let launch = config.iter().fold(launch, |launch, (key, value)| {
            launch.env(variable(key), value)
        });
        self.workers.push(launch.start());
        self.workers.len() - 1
    }

    /// Registers definitions.
    pub async fn apply(&self, sagas: &[&Saga]) {
        for saga in sagas {
            self.api.apply(saga.yaml()).await;
        }
    }

    /// Starts a saga whose effects bear this name; the same name is the same saga. Its id.
    pub async fn run(&self, definition: &str, name: &str) -> String {
        self.api.start(definition, &self.input(name), name).await
    }

    /// The input of a saga of that name.
    pub fn input(&self, name: &str) -> Value {
        json!({ "name": name, "dir": self.files })
    }

    /// Waits until the catalogue has a task type and somebody takes its tasks in the pool `default`.
    pub async fn await_served(&self, task_type: &str) {
        let queue = format!("baton.task.default.{task_type}");
        let what = format!("{task_type} to be served");
        await_some(&what, SOON, async || {
            let taken = self
                .vhost
                .queue(&queue)
                .await
                .is_some_and(|queue| queue.consumers > 0);
            (taken && self.api.is_known(task_type).await).then_some(())
        })
        .await;
    }

    /// Waits until the queue of a task type is there and so many workers take from it.
    pub async fn await_takers(&self, task_type: &str, workers: u64) {
        let queue = format!("baton.task.default.{task_type}");
        self.vhost.await_consumers(&queue, workers, SOON).await;
    }

    /// Waits until nothing is wrong.
    pub async fn await_ready(&self) {
        self.await_ready_being("ok", |text| text.trim() == "ok")
            .await;
    }

    /// Waits until `/readyz` speaks of that.
    pub async fn await_ready_saying(&self, word: &str) {
        self.await_ready_being(word, |text| text.contains(word))
            .await;
    }

    async fn await_ready_being(&self, what: &str, is: impl Fn(&str) -> bool) {
        let what = format!("/readyz to say {what:?}");
        await_some(&what, SOON, async || {
            let answer = self.api.ask("GET", "/readyz", "", None).await?;
            is(answer.body.as_str()?).then_some(())
        })
        .await;
    }

    /// A file below the root of `file.write`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }

    /// What a file below the root of `file.write` holds; none when it is not there.
    pub fn file_text(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.file(name)).ok()
    }

    /// The folder of its database.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Its own folder, for what a test wants to write.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path as the running orchestrator sees it.
    pub fn orchestrator_sees(&self, path: &Path) -> PathBuf {
        let process = self.orchestrator.as_ref();
        let pid = process.expect("the orchestrator has been started").pid();
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn orchestrator_program(&self) -> Launch {
        let name = "baton-orchestrator";
        if !self.setup.small_disk {
            return Launch::binary(name);
        }
        // who is not root may mount in a user namespace of his own
        let namespaces: &[&str] = if rustix::process::geteuid().is_root() {
            &["--mount"]
        } else {
            &["--mount", "--user", "--map-root-user"]
        };
        Launch::program(name, "unshare")
            .args(namespaces)
            .args(["sh", "-c", SMALL_DISK])
            .arg(self.data_dir())
            .arg(binaries::path_of(name))
    }

    fn launch_orchestrator(&self, port: u16) -> Launch {
        self.launch_orchestrator_on(port, self.on_database)
    }

    fn launch_orchestrator_on(&self, port: u16, database: bool) -> Launch {
        self.orchestrator_settings(self.orchestrator_program(), port, database)
    }

    fn orchestrator_settings(&self, program: Launch, port: u16, database: bool) -> Launch {
        let launch = program
            .env("NO_COLOR", "1")
            .env(variable("store.data_dir"), self.data_dir())
            .env(
                variable("bus.addresses"),
                self.vhost.url_through(self.proxy.port()),
            )
            .env(variable("bus.reconnect_ms_max"), "1000")
            .env(variable("http.listen"), format!("127.0.0.1:{port}"))
            .env(variable("http.token"), TOKEN);
        let launch = match &self.database {
            Some(of) if database => launch
                .env(variable("store.kind"), "postgres")
                .env(variable("store.url"), self.url_of(of))
                .env(variable("store.lease_ms"), LEASE_MS)
                .env(variable("store.connect_timeout_ms"), "1000"),
            _ => launch,
        };
        with_all(launch, &self.setup.orchestrator_env)
    }

    fn url_of(&self, database: &Database) -> String {
        match &self.database_relay {
            Some(relay) => database.url_through(relay.port()),
            None => database.url(),
        }
    }

    fn launch_worker(&self, broker_url: &str) -> Launch {
        let launch = self
            .launch_bare_worker(broker_url)
            .env(variable("automations.files.roots"), &self.files);
        with_all(launch, &self.setup.worker_env)
    }

    fn launch_bare_worker(&self, broker_url: &str) -> Launch {
        Launch::binary("baton-worker")
            .env("NO_COLOR", "1")
            .env(variable("bus.addresses"), broker_url)
            .env(variable("bus.reconnect_ms_max"), "1000")
            .env(variable("http.listen"), "off")
            // short, since a killed worker's tasks wait for their leases
            .env(variable("worker.heartbeat_ms"), "300")
            .env(variable("worker.announce_ms"), "1000")
            .env(variable("worker.grant_ask_ms"), "500")
            .env(variable("worker.kill_grace_ms"), "500")
            .env(variable("processes.term_grace_ms"), "200")
            .env(variable("worker.drain_grace_ms"), "5000")
            .env(
                variable("automations.test_effect.ledger_url"),
                self.ledger.url(),
            )
    }
}

impl Drop for System {
    fn drop(&mut self) {
        drop(self.orchestrator.take());
        self.workers.clear();
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// The orchestrator of a [`System`].
#[derive(Debug)]
pub struct Orchestrator<'a> {
    /// The process.
    pub process: &'a mut Process,
    url: String,
}

impl Orchestrator<'_> {
    /// Waits until it lives and answers, whether or not it can work.
    pub async fn wait_alive_in(&mut self, limit: Duration) {
        self.process
            .wait_for_http(&format!("{}/healthz", self.url), limit)
            .await;
    }

    /// Kills it and starts it again, without waiting for it.
    pub fn kill9_and_start(&mut self) {
        self.process.kill9();
        self.process.start_again();
    }
}

/// The environment variable of a key.
pub(crate) fn variable(key: &str) -> String {
    format!("BATON__{}", key.replace('.', "__").to_uppercase())
}

fn with_all(launch: Launch, env: &[(String, String)]) -> Launch {
    env.iter()
        .fold(launch, |launch, (key, value)| launch.env(key, value))
}

/// A port that is free now and that the kernel gives to no outgoing connection: an orchestrator that is killed must find it again.
pub(crate) fn free_port() -> u16 {
    loop {
        let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
        let port = 12_000 + u16::try_from((high ^ low) % 8_000).unwrap_or_default();
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
