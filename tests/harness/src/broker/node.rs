//! One RabbitMQ node on loopback: its folder, its ports, its two processes (the Erlang machine and its own epmd).
//!
//! Everything it has lies in one folder: data, log, configuration, cookie. Its node name, its ports and its epmd are its
//! own, so that it neither meets nor disturbs another broker on the machine. The system's configuration is not read.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::{Management, Options};
use crate::{PASSWORD, Place, USER, ports, watchdog};

/// Where nodes that are no neighbours on one host find each other.
const EPMD_PORT: u16 = 4369;
/// Where Debian's package has the scripts; the ones on PATH change the user first.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";
/// A start takes 5-10 s on an idle machine; this one may be building something on both cores, and start the other nodes of a cluster beside it.
const START_LIMIT: Duration = Duration::from_secs(240);
/// How long an orderly stop may take before it is a failure.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Nothing to wait for but the kernel.
const KILL_LIMIT: Duration = Duration::from_secs(20);

/// Who and where a node is; what is written to `broker.json` in its folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node {
    pub(crate) dir: PathBuf,
    pub(crate) name: String,
    pub(crate) amqp_port: u16,
    pub(crate) tls_port: u16,
    pub(crate) management_port: u16,
    dist_port: u16,
    epmd_port: u16,
    pub(crate) beam_pid: Option<u32>,
    epmd_pid: Option<u32>,
    /// Whether the epmd is not its own.
    #[serde(default)]
    shares_epmd: bool,
    #[serde(default)]
    pub(crate) place: Place,
}

/// The processes of a node that this process has started: killed when this is dropped, or left running on purpose.
#[derive(Debug)]
pub(crate) struct Running {
    epmd: Option<Child>,
    beam: Child,
    detached: bool,
}

/// By what several nodes on this machine find each other.
#[derive(Debug)]
pub(crate) struct Epmd {
    child: Child,
    port: u16,
}

impl Epmd {
    /// Starts one on a port that is free now.
    pub(crate) fn start() -> Result<Self> {
        let [port] = ports::free();
        let child = start_epmd(&Place::default(), port, Stdio::null())?;
        watchdog::watch(child.id());
        Ok(Self { child, port })
    }

    /// What a node is called by the others; no other broker of this machine has it.
    pub(crate) fn named(&self, number: usize) -> String {
        format!("baton{}n{number}@localhost", self.port)
    }
}

impl Drop for Epmd {
    fn drop(&mut self) {
        end_child(&mut self.child);
        watchdog::leave(self.child.id());
    }
}

fn start_epmd(place: &Place, port: u16, log: Stdio) -> Result<Child> {
    place
        .command("epmd")
        .args([
            "-port",
            &port.to_string(),
            "-address",
            &place.address().to_string(),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("cannot start epmd: install Debian's package rabbitmq-server")
}

impl Node {
    /// Lays out the folder of a new node on ports that are free now. Nothing is started.
    pub(crate) fn lay_out(dir: &Path, options: &Options) -> Result<Self> {
        let [amqp_port, tls_port, management_port, dist_port, epmd_port] = ports::free();
        let here = options.cluster.as_ref().map(|cluster| &cluster.here);
        let node = Self {
            dir: dir.to_owned(),
            name: match here {
                None => format!("baton{amqp_port}@localhost"),
                Some(None) => named(&options.place),
                Some(Some((name, _))) => name.clone(),
            },
            amqp_port,
            tls_port,
            management_port,
            dist_port,
            epmd_port: match here {
                None => epmd_port,
                // the nodes of one broker look for each other at the same port, each on a host of its own
                Some(None) => EPMD_PORT,
                Some(Some((_, epmd))) => epmd.port,
            },
            beam_pid: None,
            epmd_pid: None,
            shares_epmd: matches!(here, Some(Some(_))),
            place: options.place.clone(),
        };
        node.write_files(options)
            .with_context(|| format!("cannot lay out a broker in {}", dir.display()))?;
        Ok(node)
    }

    fn write_files(&self, options: &Options) -> Result<()> {
        let home = self.dir.join("home");
        fs::create_dir_all(&home)?;
        let cookie = home.join(".erlang.cookie");
        if !cookie.exists() {
            let shared = options
                .cluster
                .as_ref()
                .map(|cluster| cluster.cookie.clone());
            let secret = shared.unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
            fs::write(&cookie, secret)?;
            fs::set_permissions(&cookie, fs::Permissions::from_mode(0o400))?;
        }
        for (name, content) in &options.files {
            fs::write(self.dir.join(name), content)?;
        }
        let mut plugins = vec!["rabbitmq_management"];
        plugins.extend(options.plugins.iter().map(String::as_str));
        fs::write(
            self.dir.join("enabled_plugins"),
            format!("[{}].\n", plugins.join(",")),
        )?;
        // fresh counts: tests wait on them, and the defaults are five seconds each
        fs::write(
            self.dir.join("advanced.config"),
            // and a neighbour that is gone is noticed within seconds
            "[{rabbit, [{quorum_tick_interval, 500}]}, {kernel, [{net_ticktime, 8}]}].\n",
        )?;
        fs::write(self.dir.join("rabbitmq.conf"), self.configuration(options))?;
        Ok(())
    }

    fn configuration(&self, options: &Options) -> String {
        let mut lines = vec![
            format!(
                "listeners.tcp.1 = {}:{}",
                self.place.address(),
                self.amqp_port
            ),
            format!("management.tcp.ip = {}", self.place.address()),
            format!("management.tcp.port = {}", self.management_port),
            "collect_statistics_interval = 500".to_owned(),
            "management.rates_mode = none".to_owned(),
            "disk_free_limit.absolute = 50MB".to_owned(),
            // the default preallocates half a gigabyte for each node
            "raft.wal_max_size_bytes = 33554432".to_owned(),
        ];
        if let Some(cluster) = &options.cluster {
            lines.push("loopback_users = none".to_owned());
            let minority = cluster.minority.word();
            lines.push(format!("cluster_partition_handling = {minority}"));
            lines.push("cluster_formation.peer_discovery_backend = classic_config".to_owned());
            let nodes = cluster.nodes.iter().zip(1..);
            lines.extend(
                nodes.map(|(node, n)| {
                    format!("cluster_formation.classic_config.nodes.{n} = {node}")
                }),
            );
        }
        lines.extend(options.config.iter().map(|line| self.filled_in(line)));
        lines.join("\n") + "\n"
    }

    fn filled_in(&self, line: &str) -> String {
        line.replace("{dir}", &self.dir.to_string_lossy())
            .replace("{tls_port}", &self.tls_port.to_string())
    }

    fn command(&self, script: &str) -> Command {
        let mut command = self.place.command(format!("{SCRIPTS}/{script}"));
        let in_dir = |name: &str| self.dir.join(name);
        command
            .env("HOME", in_dir("home"))
            .env("RABBITMQ_NODENAME", &self.name)
            .env("RABBITMQ_NODE_PORT", self.amqp_port.to_string())
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", self.place.address().to_string())
            .env("RABBITMQ_USE_LONGNAME", (!self.place.is_here()).to_string())
            .env("RABBITMQ_MNESIA_BASE", in_dir("data"))
            .env("RABBITMQ_LOG_BASE", in_dir("log"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", in_dir("enabled_plugins"))
            .env("RABBITMQ_CONFIG_FILE", in_dir("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", in_dir("advanced.config"))
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env_remove("NOTIFY_SOCKET")
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        command
    }

    /// Starts epmd and the node, and writes down their process ids. Does not wait until it is ready.
    pub(crate) fn spawn(&mut self) -> Result<Running> {
        let log = |name: &str| fs::File::create(self.dir.join(name));
        let address = self.place.address();
        let mut epmd = if self.shares_epmd {
            None
        } else {
            let log = log("epmd.log")?.into();
            Some(start_epmd(&self.place, self.epmd_port, log)?)
        };
        let beam = self
            .command("rabbitmq-server")
            // no shell in between: the child is the Erlang machine itself
            .env("RABBITMQ_ALLOW_INPUT", "1")
            // the flag nobody reads marks the command line: a process id alone is no proof of who it is
            .env("RABBITMQ_SERVER_START_ARGS", format!("-noinput -baton_node {}", self.name))
            // idle schedulers must not spin: several nodes share few cores
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                format!(
                    "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {{{}}}",
                    address.to_string().replace('.', ",")
                ),
            )
            .stdout(log("start.log")?)
            .stderr(log("start.err")?)
            .process_group(0)
            .spawn();
        let beam = match beam {
            Ok(beam) => beam,
            Err(error) => {
                epmd.iter_mut().for_each(end_child);
                bail!(
                    "cannot start {SCRIPTS}/rabbitmq-server: {error}; install Debian's package rabbitmq-server"
                );
            }
        };
        self.epmd_pid = epmd.as_ref().map(Child::id);
        self.beam_pid = Some(beam.id());
        let running = Running {
            epmd,
            beam,
            detached: false,
        };
        // at the latest with this process, however that ends
        running
            .children()
            .for_each(|child| watchdog::watch(child.id()));
        fs::write(
            self.dir.join("broker.json"),
            serde_json::to_vec_pretty(self)?,
        )?;
        Ok(running)
    }

    /// Waits until the node takes AMQP connections, answers over HTTP and has its virtual hosts up.
    pub(crate) async fn wait_ready(&self, running: &mut Running) -> Result<()> {
        let started = Instant::now();
        loop {
            if let Some(status) = running.beam.try_wait()? {
                bail!(
                    "the broker ended while starting ({status}):\n{}",
                    self.last_words()
                );
            }
            if self.is_ready().await {
                return Ok(());
            }
            if started.elapsed() > START_LIMIT {
                bail!(
                    "the broker was not ready within {START_LIMIT:?}:\n{}",
                    self.last_words()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether the node takes AMQP connections, answers over HTTP and has its virtual hosts up.
    pub(crate) async fn is_ready(&self) -> bool {
        let listens = TcpStream::connect((self.place.address(), self.amqp_port)).is_ok();
        let checked = "/api/health/checks/virtual-hosts";
        listens && self.management().try_get(checked).await.is_ok()
    }

    /// Whether a start failed because somebody has taken one of the ports since they were looked at.
    pub(crate) fn port_was_taken(&self) -> bool {
        let words = self.last_words();
        [
            "eaddrinuse",
            "address already in use",
            "Address already in use",
            "port is already",
            "already_started",
        ]
        .iter()
        .any(|sign| words.contains(sign))
    }

    /// What the reaper knows the processes by: id and mark of the Erlang machine, id and mark of epmd.
    pub(crate) fn marks(&self) -> Option<[String; 4]> {
        Some([
            self.beam_pid?.to_string(),
            self.name.clone(),
            self.epmd_pid?.to_string(),
            self.epmd_port.to_string(),
        ])
    }

    /// The ends of what the node has written while starting.
    fn last_words(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.dir.join(name)).unwrap_or_default();
        let all = format!(
            "{}{}{}",
            read("epmd.log"),
            read("start.err"),
            read("start.log")
        );
        let lines: Vec<_> = all.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    pub(crate) fn management(&self) -> Management {
        Management::new(
            format!("http://{}:{}", self.place.address(), self.management_port),
            USER,
            PASSWORD,
        )
    }

    /// Runs `rabbitmqctl` against this node.
    pub(crate) fn ctl(&self, script: &str, args: &[&str]) -> std::io::Result<Output> {
        self.command(script).args(args).output()
    }

    /// Reads the node a folder holds, if one was ever started there.
    pub(crate) fn of_dir(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join("broker.json");
        match fs::read(&path) {
            Ok(bytes) => {
                Ok(Some(serde_json::from_slice(&bytes).with_context(|| {
                    format!("{} is not ours", path.display())
                })?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Whether the process started for this node still runs: by its id *and* its command line, for ids are given again.
    pub(crate) fn is_alive(&self) -> bool {
        is_process(self.beam_pid, &self.name)
    }

    /// Kills what `broker.json` names, no child of this process, and waits until it is gone.
    pub(crate) fn kill_by_pid(&self) {
        let epmd_port = self.epmd_port.to_string();
        for (pid, mark) in [(self.beam_pid, &self.name), (self.epmd_pid, &epmd_port)] {
            let started = Instant::now();
            while is_process(pid, mark) && started.elapsed() < KILL_LIMIT {
                signal(pid, Signal::KILL);
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// What a node on a host of its own is called by the others.
pub(super) fn named(place: &Place) -> String {
    format!("baton@{}", place.address())
}

impl Running {
    pub(crate) fn signal_beam(&self, which: Signal) {
        signal(Some(self.beam.id()), which);
    }

    /// Whether the node has ended, in whatever way.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.beam.try_wait(), Ok(None))
    }

    /// Ends the node in order, as a service manager would.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.signal_beam(Signal::TERM);
        let started = Instant::now();
        while self.beam.try_wait()?.is_none() {
            if started.elapsed() > STOP_LIMIT {
                bail!("the broker did not stop within {STOP_LIMIT:?} and was killed");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Leaves the node running beyond this process: somebody else ends it, by the ids in `broker.json`.
    pub(crate) fn detach(mut self) {
        self.detached = true;
        self.children()
            .for_each(|child| watchdog::leave(child.id()));
    }

    fn children(&self) -> impl Iterator<Item = &Child> {
        self.epmd.iter().chain([&self.beam])
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.detached {
            return;
        }
        for child in [&mut self.beam].into_iter().chain(&mut self.epmd) {
            end_child(child);
            watchdog::leave(child.id());
        }
    }
}

fn end_child(child: &mut Child) {
    // both fail only for a child that has already been waited for
    let _ = child.kill();
    let _ = child.wait();
}

fn signal(pid: Option<u32>, which: Signal) {
    let pid = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(pid) = pid {
        // fails when the process has just ended, which the callers look at themselves
        let _ = kill_process(pid, which);
    }
}

/// Whether `pid` is a running process (no zombie) whose command line contains `mark`.
fn is_process(pid: Option<u32>, mark: &str) -> bool {
    let Some(pid) = pid else { return false };
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| String::from_utf8_lossy(&line).contains(mark))
}
