//! One server for many test processes: started by the first that needs one, found by the others, ended when nobody has used it for a
//! while.
//!
//! Two lock files in the folder carry it. `lock` is held for the moment of looking, starting or ending; `users` is held
//! shared by every process that uses the server, for as long as it lives. A detached shell, the reaper, tries now and
//! then to have `users` for itself; when it has had it several times running, it ends the server.

use std::fs::{self, File};
use std::future::Future;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::binaries;

/// Ends the server when three looks, twenty seconds apart, found no user and no file `keep`. `$1` is its process id, `$2` what stands in
/// its command line: the folder may be gone or hold another server by then. `{end}` is how it is ended and what is removed.
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
    {end}
    exit 0
  fi
  flock -u 8
  idle=0
done
"#;

/// Whether a server ends by itself when nobody uses it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Ended by the reaper, about a minute after its last user.
    WhileUsed,
    /// Runs until it is stopped.
    UntilStopped,
}

/// What can be shared so.
pub(crate) trait Shared: Sized {
    /// Its name, for people.
    const NAME: &'static str;
    /// The environment variable that names the folder of a running one; set by `deploy/test`.
    const ENV: &'static str;
    /// Its folder, where none is named.
    const FOLDER: &'static str;
    /// Shell that ends it and removes what it left; `$1` onwards are [`Self::marks`].
    const END: &'static str;

    /// The one that was laid out in the folder, if any.
    fn of_dir(dir: &Path) -> Result<Option<Self>>;
    /// Its folder.
    fn dir(&self) -> &Path;
    /// Whether it runs.
    fn is_alive(&self) -> bool;
    /// Its process id, what stands in its command line, and what [`Self::END`] needs beside them.
    fn marks(&self) -> Result<Vec<String>>;
    /// Ends it, and removes all that it left.
    fn forget(&self) -> Result<()>;
    /// Starts one in the folder that outlives this process.
    fn start(dir: &Path) -> impl Future<Output = Result<Self>> + Send;
}

/// A claim on a shared server: while it is held, the reaper leaves the server alone.
#[derive(Debug)]
pub(crate) struct Claim<S> {
    pub(crate) server: S,
    pub(crate) users: File,
}

/// Where tests look for a server when no environment variable names one.
pub(crate) fn default_dir<S: Shared>() -> PathBuf {
    binaries::scratch_dir().join(S::FOLDER)
}

/// Finds or starts the server all tests share.
pub(crate) async fn claim<S: Shared>() -> Result<Claim<S>> {
    let Some(dir) = std::env::var_os(S::ENV).map(PathBuf::from) else {
        return claim_in(&default_dir::<S>(), Keep::WhileUsed).await;
    };
    let users = open(&dir.join("users"))?;
    users.lock_shared()?;
    match S::of_dir(&dir)? {
        Some(server) if server.is_alive() => Ok(Claim { server, users }),
        _ => bail!(
            "{} names {}, where no {} runs: start one there, or unset it",
            S::ENV,
            dir.display(),
            S::NAME
        ),
    }
}

/// Finds or starts the one in `dir`.
pub(crate) async fn claim_in<S: Shared>(dir: &Path, keep: Keep) -> Result<Claim<S>> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let path = dir.join("lock");
    // waiting may take as long as another process needs to start the server: off the runtime's threads
    let lock = tokio::task::spawn_blocking(move || -> Result<File> {
        let lock = open(&path)?;
        lock.lock()?;
        Ok(lock)
    });
    let _lock = lock.await??;
    let users = open(&dir.join("users"))?;
    users.lock_shared()?;
    let server = match S::of_dir(dir)? {
        Some(server) if server.is_alive() => server,
        left => {
            if let Some(server) = left {
                server.forget()?;
            }
            let server = S::start(dir).await?;
            start_reaper(&server)?;
            server
        }
    };
    if keep == Keep::UntilStopped {
        fs::write(dir.join("keep"), "")?;
    }
    Ok(Claim { server, users })
}

/// Ends the server in `dir`. False when none runs there; an error when somebody uses it, unless `force`d.
pub(crate) fn stop<S: Shared>(dir: &Path, force: bool) -> Result<bool> {
    if !dir.join("lock").exists() {
        return Ok(false);
    }
    let lock = open(&dir.join("lock"))?;
    lock.lock()?;
    let Some(server) = S::of_dir(dir)? else {
        return Ok(false);
    };
    if !force && open(&dir.join("users"))?.try_lock().is_err() {
        bail!(
            "tests are using the {}: wait for them, or stop it with --force",
            S::NAME
        );
    }
    let ran = server.is_alive();
    server.forget()?;
    Ok(ran)
}

/// The server that runs in `dir`, if one does.
pub(crate) fn running<S: Shared>(dir: &Path) -> Result<Option<S>> {
    Ok(S::of_dir(dir)?.filter(S::is_alive))
}

fn start_reaper<S: Shared>(server: &S) -> Result<()> {
    Command::new("sh")
        .args(["-c", &REAPER.replace("{end}", S::END), "reaper"])
        .args(server.marks()?)
        .current_dir(server.dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start the reaper shell")?;
    Ok(())
}

fn open(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}
