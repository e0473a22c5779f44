//! One broker for many test processes: started by the first that needs one, found by the others, ended when nobody has
//! used it for a while.
//!
//! Two lock files in the folder carry it. `lock` is held for the moment of looking, starting or ending; `users` is held
//! shared by every process that uses the broker, for as long as it lives. A detached shell, the reaper, tries now and
//! then to have `users` for itself; when it has had it several times running, it ends the broker.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use super::node::Node;
use super::{Options, start_somewhere};
use crate::binaries;

/// The folder of a running broker that all tests share; set by `deploy/test`.
pub const SHARED_ENV: &str = "BATON_TEST_BROKER";

/// Ends the broker when three looks, twenty seconds apart, found no user and no file `keep`. `$1` beam, `$2` node name, `$3` epmd,
/// `$4` epmd's port. The folder may be gone or hold another broker by then: pids are only killed with the right command line.
const REAPER: &str = r#"
trap '' INT TERM HUP
idle=0
while grep -qs -- "$2" "/proc/$1/cmdline"; do
  sleep 20
  if [ ! -e keep ] && flock -n -x users true; then idle=$((idle + 1)); else idle=0; fi
  [ "$idle" -ge 3 ] || continue
  exec 8>lock
  flock -x 8
  if flock -n -x users true; then
    grep -qs -- "$2" "/proc/$1/cmdline" && kill -KILL "$1"
    grep -qs -- "$4" "/proc/$3/cmdline" && kill -KILL "$3"
    rm -rf broker.json data log
    exit 0
  fi
  flock -u 8
  idle=0
done
"#;

/// Whether a broker ends by itself when nobody uses it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Ended by the reaper, about a minute after its last user.
    WhileUsed,
    /// Runs until it is stopped.
    UntilStopped,
}

/// A claim on a shared broker: while it is held, the reaper leaves the broker alone.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) node: Node,
    pub(super) users: File,
}

/// Where tests look for a broker when [`SHARED_ENV`] does not name one.
pub fn default_dir() -> PathBuf {
    binaries::scratch_dir().join("shared-broker")
}

/// Finds or starts the broker all tests share.
pub(super) async fn claim() -> Result<Claim> {
    let Some(dir) = std::env::var_os(SHARED_ENV).map(PathBuf::from) else {
        return claim_in(&default_dir(), Keep::WhileUsed).await;
    };
    let users = open(&dir.join("users"))?;
    users.lock_shared()?;
    match Node::of_dir(&dir)? {
        Some(node) if node.is_alive() => Ok(Claim { node, users }),
        _ => bail!(
            "{SHARED_ENV} names {}, where no broker runs: start one there, or unset it",
            dir.display()
        ),
    }
}

async fn claim_in(dir: &Path, keep: Keep) -> Result<Claim> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let path = dir.join("lock");
    // waiting may take as long as another process needs to start the broker: off the runtime's threads
    let lock = tokio::task::spawn_blocking(move || -> Result<File> {
        let lock = open(&path)?;
        lock.lock()?;
        Ok(lock)
    });
    let _lock = lock.await??;
    let users = open(&dir.join("users"))?;
    users.lock_shared()?;
    let node = match Node::of_dir(dir)? {
        Some(node) if node.is_alive() => node,
        left => {
            if let Some(node) = left {
                forget(&node)?;
            }
            let (node, running) = start_somewhere(dir, &Options::default()).await?;
            running.detach();
            start_reaper(&node)?;
            node
        }
    };
    if keep == Keep::UntilStopped {
        fs::write(dir.join("keep"), "")?;
    }
    Ok(Claim { node, users })
}

/// Starts a broker in `dir`, unless one runs there, and leaves it running. Returns its AMQP and management addresses.
pub async fn start(dir: &Path, keep: Keep) -> Result<(String, String)> {
    let claim = claim_in(dir, keep).await?;
    Ok(addresses(&claim.node))
}

/// Ends the broker in `dir`. False when none runs there; an error when somebody uses it, unless `force`d.
pub fn stop(dir: &Path, force: bool) -> Result<bool> {
    if !dir.join("lock").exists() {
        return Ok(false);
    }
    let lock = open(&dir.join("lock"))?;
    lock.lock()?;
    let Some(node) = Node::of_dir(dir)? else {
        return Ok(false);
    };
    if !force && open(&dir.join("users"))?.try_lock().is_err() {
        bail!("tests are using the broker: wait for them, or stop it with --force");
    }
    let ran = node.is_alive();
    forget(&node)?;
    Ok(ran)
}

/// The AMQP and management addresses of the broker that runs in `dir`, if one does.
pub fn status(dir: &Path) -> Result<Option<(String, String)>> {
    let node = Node::of_dir(dir)?.filter(Node::is_alive);
    Ok(node.map(|node| addresses(&node)))
}

fn addresses(node: &Node) -> (String, String) {
    (
        format!("amqp://guest:guest@127.0.0.1:{}", node.amqp_port),
        node.management().url().to_owned(),
    )
}

fn forget(node: &Node) -> Result<()> {
    node.kill_by_pid();
    for part in ["data", "log"] {
        let path = node.dir.join(part);
        if path.exists() {
            fs::remove_dir_all(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    for part in ["keep", "broker.json"] {
        let path = node.dir.join(part);
        if path.exists() {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn start_reaper(node: &Node) -> Result<()> {
    let [beam, name, epmd, port] = node
        .marks()
        .ok_or_else(|| anyhow!("the broker has no process ids"))?;
    Command::new("sh")
        .args(["-c", REAPER, "reaper", &beam, &name, &epmd, &port])
        .current_dir(&node.dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start the reaper shell")?;
    Ok(())
}

/// Opens a lock file.
pub(crate) fn open(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}
