//! One PostgreSQL server on loopback: its folder, its port, its processes. The system's servers and configuration are not touched.
//!
//! Neither `initdb` nor the server runs as root: then they run as `postgres`, the user that comes with Debian's package, and the data lie where
//! that user can reach them.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::Options;
use crate::{Place, ports, watchdog};

/// Where Debian's packages have the programs, one folder for each version.
const PACKAGES: &str = "/usr/lib/postgresql";
/// The user a root process runs a server as.
const RUNS_AS: &str = "postgres";
/// The superuser of every private server; it needs no password, from loopback only.
pub(super) const SUPERUSER: &str = "tester";
/// A start takes a second on an idle machine; this one may be building something on both cores.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long an orderly stop may take before it is a failure.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Who and where a server is; what is written to `postgres.json` in its folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) dir: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) port: u16,
    #[serde(default)]
    pub(crate) place: Place,
    pub(crate) pid: Option<u32>,
}

/// A server this process has started: killed when this is dropped, or left running on purpose.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    detached: bool,
}

impl Server {
    /// Makes the data of a new server on a port that is free now. Nothing is started.
    pub(crate) fn lay_out(dir: &Path, options: &Options) -> Result<Self> {
        let [port] = ports::free();
        let data = data_dir(dir)?;
        let server = Self {
            dir: dir.to_owned(),
            data,
            port,
            place: options.place.clone(),
            pid: None,
        };
        let output = server
            .command("initdb")?
            .args(["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"])
            .args(["--no-sync", "--username", SUPERUSER, "--pgdata"])
            .arg(&server.data)
            .output()
            .context("cannot run initdb")?;
        if !output.status.success() {
            bail!(
                "initdb failed ({}):\n{}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        server.configure(options)?;
        Ok(server)
    }

    fn configure(&self, options: &Options) -> Result<()> {
        let mut lines = vec![
            format!("listen_addresses = '{}'", self.place.address()),
            format!("port = {}", self.port),
            "unix_socket_directories = ''".to_owned(),
            "max_connections = 300".to_owned(),
            "shared_buffers = 64MB".to_owned(),
            "log_line_prefix = '%m [%p] %d '".to_owned(),
        ];
        for (name, content) in &options.files {
            let path = self.data.join(name);
            fs::write(&path, content)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            self.own(&path)?;
        }
        lines.extend(options.config.iter().cloned());
        let conf = self.data.join("postgresql.auto.conf");
        fs::write(&conf, lines.join("\n") + "\n")
            .with_context(|| format!("cannot write {}", conf.display()))?;
        if !options.hba.is_empty() {
            let hba = self.data.join("pg_hba.conf");
            fs::write(&hba, options.hba.join("\n") + "\n")
                .with_context(|| format!("cannot write {}", hba.display()))?;
        }
        Ok(())
    }

    /// Gives a file to whoever runs the server.
    fn own(&self, path: &Path) -> Result<()> {
        let owner = fs::metadata(&self.data)?;
        std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()))
            .with_context(|| format!("cannot give {} to the server", path.display()))
    }

    /// A program of the server's, as the user it runs as.
    fn command(&self, program: &str) -> Result<Command> {
        let path = programs()?.join(program);
        let mut command = if is_root() {
            let mut command = self.place.command("setpriv");
            command
                .args(["--reuid", RUNS_AS, "--regid", RUNS_AS, "--clear-groups"])
                .arg(path);
            command
        } else {
            self.place.command(path)
        };
        command
            .current_dir("/")
            .env_remove("PGDATA")
            .env_remove("PGPORT")
            .env_remove("PGHOST")
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Starts it and writes down its process id. Does not wait until it is ready.
    pub(crate) fn spawn(&mut self) -> Result<Running> {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("postgres.log"))?;
        let child = self
            .command("postgres")?
            .arg("-D")
            .arg(&self.data)
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("cannot start postgres: install Debian's package postgresql")?;
        // its own processes notice the end of the first one, in whatever way that comes
        watchdog::watch(child.id());
        self.pid = Some(child.id());
        fs::write(
            self.dir.join("postgres.json"),
            serde_json::to_vec_pretty(self)?,
        )?;
        Ok(Running {
            child,
            detached: false,
        })
    }

    /// Waits until it takes connections and has recovered what it had.
    pub(crate) async fn wait_ready(&self, running: &mut Running) -> Result<()> {
        let started = Instant::now();
        loop {
            if let Some(status) = running.child.try_wait()? {
                bail!(
                    "the server ended while starting ({status}):\n{}",
                    self.last_words()
                );
            }
            if super::client(&self.url("postgres")).await.is_ok() {
                return Ok(());
            }
            if started.elapsed() > START_LIMIT {
                bail!(
                    "the server was not ready within {START_LIMIT:?}:\n{}",
                    self.last_words()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether a start failed because somebody has taken the port, or processes of a killed server still end.
    pub(crate) fn may_start_again(&self) -> bool {
        let words = self.last_words();
        ["Address already in use", "is still in use"]
            .iter()
            .any(|sign| words.contains(sign))
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.dir.join("postgres.log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// `postgres://tester@address:port/database`.
    pub(crate) fn url(&self, database: &str) -> String {
        url(self.place.address(), self.port, database)
    }

    /// Reads the server a folder holds, if one was ever started there.
    pub(crate) fn of_dir(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join("postgres.json");
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

    /// Whether the process started for this server still runs: by its id *and* its command line, for ids are given again.
    pub(crate) fn is_alive(&self) -> bool {
        let Some(pid) = self.pid else { return false };
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
            String::from_utf8_lossy(&line).contains(&*self.data.to_string_lossy())
        })
    }

    /// Kills what `postgres.json` names, no child of this process, and waits until it is gone.
    pub(crate) fn kill_by_pid(&self) {
        let started = Instant::now();
        while self.is_alive() && started.elapsed() < STOP_LIMIT {
            if let Some(pid) = self.pid {
                signal(pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Removes its data, which may lie elsewhere.
    pub(crate) fn remove_data(&self) {
        let _ = fs::remove_dir_all(&self.data);
    }
}

pub(super) fn url(address: Ipv4Addr, port: u16, database: &str) -> String {
    format!("postgres://{SUPERUSER}@{address}:{port}/{database}")
}

impl Running {
    /// Ends it in order: sessions are ended, what was committed is written down.
    pub(crate) fn stop(mut self) -> Result<()> {
        signal(self.child.id(), Signal::INT);
        let started = Instant::now();
        while self.child.try_wait()?.is_none() {
            if started.elapsed() > STOP_LIMIT {
                bail!("the server did not stop within {STOP_LIMIT:?} and was killed");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Stops or wakes every process of it.
    pub(crate) fn signal_all(&self, which: Signal) {
        for pid in all_of(self.child.id()) {
            signal(pid, which);
        }
    }

    /// Leaves it running beyond this process: somebody else ends it, by the id in `postgres.json`.
    pub(crate) fn detach(mut self) {
        self.detached = true;
        watchdog::leave(self.child.id());
    }
}

impl Drop for Running {
    /// As a power cut would: every process of it at once, the first one first.
    fn drop(&mut self) {
        if self.detached {
            return;
        }
        self.signal_all(Signal::KILL);
        // both fail only for a child that has already been waited for
        let _ = self.child.kill();
        let _ = self.child.wait();
        watchdog::leave(self.child.id());
    }
}

/// A server's first process and its children.
fn all_of(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    all.extend(
        children
            .split_whitespace()
            .filter_map(|child| child.parse::<u32>().ok()),
    );
    all
}

fn signal(pid: u32, which: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // fails when the process has just ended, which the callers look at themselves
        let _ = kill_process(pid, which);
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The programs of the newest version there is.
fn programs() -> Result<PathBuf> {
    let versions = fs::read_dir(PACKAGES).into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let programs = entry.path().join("bin");
            programs
                .join("initdb")
                .exists()
                .then_some((version, programs))
        })
        .max();
    match newest {
        Some((_, programs)) => Ok(programs),
        None => bail!("no initdb below {PACKAGES}: install Debian's package postgresql"),
    }
}

/// Where the data lie: in `dir`; for root, whose folders others may not enter, in the system's folder for temporary files when need be.
fn data_dir(dir: &Path) -> Result<PathBuf> {
    if !is_root() {
        return Ok(dir.join("data"));
    }
    let open = |folder: &Path| {
        fs::metadata(folder).is_ok_and(|data| data.permissions().mode() & 0o001 != 0)
    };
    let id = uuid::Uuid::new_v4().simple().to_string();
    let data = if dir.ancestors().all(open) {
        dir.join("data")
    } else {
        std::env::temp_dir().join(format!("baton-postgres-{}", &id[..12]))
    };
    fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
    let mut chown = Command::new("chown");
    let chowned = chown
        .arg(format!("{RUNS_AS}:{RUNS_AS}"))
        .arg(&data)
        .status();
    if !chowned.is_ok_and(|status| status.success()) {
        bail!(
            "cannot give {} to the user {RUNS_AS}: install Debian's package postgresql",
            data.display()
        );
    }
    Ok(data)
}
