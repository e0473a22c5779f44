//! A private RabbitMQ: [`Broker::shared`] for tests that only use a broker, [`Broker::own`] for tests that hurt one.
//!
//! A shared broker is found through [`SHARED_ENV`], or started by the first test process that needs it
//! ([`shared`]); each test takes a [`Vhost`] of its own on it. An own broker belongs to one test: it can be killed,
//! stopped, frozen, started again on the same ports and data, and ends with the test.

mod management;
mod node;
pub mod shared;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;
use tokio::sync::OnceCell;

pub use management::Management;
pub(crate) use management::segment;
use node::{Epmd, Node, Running};
pub use shared::SHARED_ENV;

use crate::{Host, PASSWORD, Place, USER, Vhost, binaries};

/// How often a start is tried on other ports when somebody took one of them in between.
const START_TRIES: usize = 3;

/// What an own broker is to have beyond the defaults.
#[derive(Clone, Debug, Default)]
pub struct Options {
    config: Vec<String>,
    plugins: Vec<String>,
    files: Vec<(String, String)>,
    place: Place,
    cluster: Option<Cluster>,
}

/// The nodes of one broker, and what they know each other by.
#[derive(Clone, Debug)]
struct Cluster {
    cookie: String,
    nodes: Vec<String>,
    minority: Minority,
    /// What one of several on this machine itself is called, and by what they find each other.
    here: Option<(String, Arc<Epmd>)>,
}

/// What a node does that sees no majority of the nodes of its broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Minority {
    /// It takes no connections until it sees the others again.
    Pauses,
    /// It goes on taking connections, and can confirm nothing.
    GoesOn,
}

impl Minority {
    /// As `cluster_partition_handling` says it.
    const fn word(self) -> &'static str {
        match self {
            Self::Pauses => "pause_minority",
            Self::GoesOn => "ignore",
        }
    }
}

impl Options {
    /// Adds a line of `rabbitmq.conf`. In it `{dir}` stands for the broker's folder and `{tls_port}` for a free port.
    #[must_use]
    pub fn config(mut self, line: impl Into<String>) -> Self {
        self.config.push(line.into());
        self
    }

    /// Enables a plugin beside `rabbitmq_management`.
    #[must_use]
    pub fn plugin(mut self, name: impl Into<String>) -> Self {
        self.plugins.push(name.into());
        self
    }

    /// Writes a file into the broker's folder, for lines of [`Self::config`] to name: certificates, definitions.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, content: impl Into<String>) -> Self {
        self.files.push((name.into(), content.into()));
        self
    }
}

/// A private RabbitMQ node. Clones are the same broker; an own one ends with its last clone.
#[derive(Clone, Debug)]
pub struct Broker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node: Mutex<Node>,
    /// What this process may end; none for a shared broker, nor for an own one that is down.
    running: Mutex<Option<Running>>,
    owned: bool,
    /// Keeps the reaper off a shared broker.
    _claim: Option<std::fs::File>,
    /// What it has in common with the other nodes on this machine; it ends with the last of them.
    _epmd: Option<Arc<Epmd>>,
}

impl Broker {
    /// The broker all tests share. Panics when none can be had, saying why.
    pub async fn shared() -> Self {
        static SHARED: OnceCell<Broker> = OnceCell::const_new();
        let broker = SHARED.get_or_try_init(|| async {
            let claim = crate::shared::claim::<Node>().await?;
            let node = Mutex::new(claim.server);
            let inner = Inner {
                node,
                running: Mutex::new(None),
                owned: false,
                _claim: Some(claim.users),
                _epmd: None,
            };
            anyhow::Ok(Self(Arc::new(inner)))
        });
        broker
            .await
            .unwrap_or_else(|error| panic!("no broker to share: {error:#}"))
            .clone()
    }

    /// A broker of the test's own, ready to be used. Panics when it cannot be started, with its last words.
    pub async fn own(options: Options) -> Self {
        sweep();
        let dir = binaries::fresh_dir("broker");
        let started = start_somewhere(&dir, &options).await;
        let (node, running) =
            started.unwrap_or_else(|error| panic!("no broker of my own: {error:#}"));
        let inner = Inner {
            node: Mutex::new(node),
            running: Mutex::new(Some(running)),
            owned: true,
            _claim: None,
            _epmd: options
                .cluster
                .and_then(|cluster| cluster.here)
                .map(|(_, epmd)| epmd),
        };
        Self(Arc::new(inner))
    }

    /// Nodes of one broker, each on a host of its own; with the majority of them it goes on. Panics when they cannot be started.
    pub async fn cluster(hosts: &[Host], minority: Minority) -> Vec<Self> {
        let cluster = Cluster {
            cookie: uuid::Uuid::new_v4().simple().to_string(),
            nodes: hosts
                .iter()
                .map(|host| node::named(&host.place()))
                .collect(),
            minority,
            here: None,
        };
        let starting = hosts.iter().map(|host| {
            Self::own(Options {
                place: host.place(),
                cluster: Some(cluster.clone()),
                ..Options::default()
            })
        });
        // side by side: each looks for the others
        futures::future::join_all(starting).await
    }

    /// So many nodes of one broker on this machine itself, for where there are no hosts of their own. Panics when they cannot be started.
    pub async fn cluster_here(nodes: usize, minority: Minority) -> Vec<Self> {
        let epmd = Epmd::start();
        let epmd = Arc::new(epmd.unwrap_or_else(|error| panic!("no broker here: {error:#}")));
        let cookie = uuid::Uuid::new_v4().simple().to_string();
        let names: Vec<String> = (1..=nodes).map(|number| epmd.named(number)).collect();
        let starting = names.iter().map(|name| {
            Self::own(Options {
                cluster: Some(Cluster {
                    cookie: cookie.clone(),
                    nodes: names.clone(),
                    minority,
                    here: Some((name.clone(), epmd.clone())),
                }),
                ..Options::default()
            })
        });
        futures::future::join_all(starting).await
    }

    /// Where it is reached.
    pub fn address(&self) -> Ipv4Addr {
        self.node().place.address()
    }

    /// A fresh virtual host on this broker, deleted when the handle is dropped.
    pub async fn vhost(&self) -> Vhost {
        Vhost::on(self.clone()).await
    }

    /// `amqp://user:password@127.0.0.1:port`, without a virtual host; see [`Vhost::url`].
    pub fn amqp_url(&self) -> String {
        format!(
            "amqp://{USER}:{PASSWORD}@{}:{}",
            self.address(),
            self.amqp_port()
        )
    }

    /// The port it takes AMQP connections on, the same for all its life.
    pub fn amqp_port(&self) -> u16 {
        self.node().amqp_port
    }

    /// The port that `{tls_port}` stands for in [`Options::config`].
    pub fn tls_port(&self) -> u16 {
        self.node().tls_port
    }

    /// `http://127.0.0.1:port` of the management API.
    pub fn management_url(&self) -> String {
        self.management().url().to_owned()
    }

    /// A client of the management API.
    pub fn management(&self) -> Management {
        self.node().management()
    }

    /// The broker's folder: `log/`, `start.log`, what [`Options::file`] wrote.
    pub fn dir(&self) -> PathBuf {
        self.node().dir.clone()
    }

    /// The process id of the running broker.
    pub fn pid(&self) -> Option<u32> {
        self.node().beam_pid
    }

    /// Runs `rabbitmqctl` with `args` against this node and returns what it printed. Panics when it fails.
    pub async fn ctl(&self, args: &[&str]) -> String {
        self.tool("rabbitmqctl", args).await
    }

    /// Runs another of the broker's tools (`rabbitmq-queues`, `rabbitmq-diagnostics`) against this node.
    pub async fn tool(&self, tool: &str, args: &[&str]) -> String {
        let node = self.node().clone();
        let line = format!("{tool} {}", args.join(" "));
        let (tool, args) = (
            tool.to_owned(),
            args.iter().map(ToString::to_string).collect::<Vec<_>>(),
        );
        let run = tokio::task::spawn_blocking(move || {
            let args: Vec<_> = args.iter().map(String::as_str).collect();
            node.ctl(&tool, &args)
        });
        match run.await {
            Ok(Ok(output)) if output.status.success() => {
                String::from_utf8_lossy(&output.stdout).into_owned()
            }
            Ok(Ok(output)) => panic!(
                "{line}: {}\n{}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
            other => panic!("{line}: {other:?}"),
        }
    }

    /// Ends the broker as a power cut would: no flush, no goodbye. Its data stays for [`Self::start`].
    pub fn kill9(&self) {
        drop(self.take_running("kill"));
    }

    /// Ends the broker in order. Its data stays for [`Self::start`].
    pub async fn stop(&self) {
        let running = self.take_running("stop");
        match tokio::task::spawn_blocking(move || running.stop()).await {
            Ok(Ok(())) => {}
            other => panic!("cannot stop the broker: {other:?}"),
        }
    }

    /// Starts it again after [`Self::kill9`] or [`Self::stop`], on the same ports and data, and waits until it is ready.
    pub async fn start(&self) {
        let (node, mut running) = self.spawned_again();
        let ready = node.wait_ready(&mut running).await;
        *self.running() = Some(running);
        ready.unwrap_or_else(|error| panic!("cannot start the broker again: {error:#}"));
    }

    /// As [`Self::start`], without waiting for anything: a node of a cluster may be ready only when another one is.
    pub fn begin(&self) {
        let (_, running) = self.spawned_again();
        *self.running() = Some(running);
    }

    /// Whether it takes connections, answers over HTTP and has its virtual hosts up.
    pub async fn is_ready(&self) -> bool {
        let node = self.node().clone();
        node.is_ready().await
    }

    /// Whether it has been ended, or has ended by itself, as one does that cannot start.
    pub fn has_ended(&self) -> bool {
        self.running().as_mut().is_none_or(Running::has_ended)
    }

    fn spawned_again(&self) -> (Node, Running) {
        assert!(
            self.0.owned,
            "only a broker of the test's own can be started again: use Broker::own"
        );
        assert!(self.running().is_none(), "the broker runs already");
        let mut node = self.node().clone();
        let running = node
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start the broker again: {error:#}"));
        *self.node() = node.clone();
        (node, running)
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Thaws it (SIGCONT).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Whether it belongs to this test alone.
    pub fn is_own(&self) -> bool {
        self.0.owned
    }

    fn signal(&self, which: Signal) {
        match &*self.running() {
            Some(running) => running.signal_beam(which),
            None => {
                panic!("only a running broker of the test's own can be signalled: use Broker::own")
            }
        }
    }

    fn take_running(&self, verb: &str) -> Running {
        assert!(
            self.0.owned,
            "cannot {verb} the broker all tests share: use Broker::own"
        );
        let running = self.running().take();
        running.unwrap_or_else(|| panic!("cannot {verb} the broker: it is down already"))
    }

    fn node(&self) -> MutexGuard<'_, Node> {
        self.0.node.lock().unwrap_or_else(PoisonError::into_inner)
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
        // after a failure the logs are worth having
        if self.owned && !std::thread::panicking() {
            let dir = &self
                .node
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .dir;
            // Erlang's port helpers die with their pipe, a moment after the machine itself
            for _ in 0..10 {
                if std::fs::remove_dir_all(dir).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

/// Removes the folders of brokers of earlier tests that failed or were killed, once nobody will look at them any more.
fn sweep() {
    const OLD: Duration = Duration::from_secs(24 * 60 * 60);
    let entries = std::fs::read_dir(binaries::scratch_dir())
        .into_iter()
        .flatten()
        .flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("broker-"))
    {
        let age = entry
            .metadata()
            .and_then(|data| data.modified())
            .ok()
            .and_then(|time| time.elapsed().ok());
        let alive = matches!(Node::of_dir(&entry.path()), Ok(Some(node)) if node.is_alive());
        if age.is_some_and(|age| age > OLD) && !alive {
            // somebody else may be sweeping too
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Lays out and starts a node in `dir`, on other ports when the first were taken meanwhile.
async fn start_somewhere(dir: &Path, options: &Options) -> Result<(Node, Running)> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut node = Node::lay_out(dir, options)?;
        let mut running = node.spawn()?;
        match node.wait_ready(&mut running).await {
            Ok(()) => return Ok((node, running)),
            Err(_) if tries < START_TRIES && node.port_was_taken() => {}
            Err(error) => return Err(error),
        }
    }
}
