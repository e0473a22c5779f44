//! One PostgreSQL for many test processes, as the broker is: started by the first that needs one, found by the others, ended when nobody
//! has used it for a while. `lock` is held for the moment of looking, starting or ending, `users` by every process that uses it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::server::Server;
use super::{Options, start_somewhere};
use crate::binaries;
use crate::broker::shared::{Keep, open};

/// The folder of a running server that all tests share; set by `deploy/test`.
pub const POSTGRES_ENV: &str = "BATON_TEST_POSTGRES";

/// Ends the server when three looks, twenty seconds apart, found no user and no file `keep`. `$1` its process id, `$2` its data.
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
    grep -qs -- "$2" "/proc/$1/cmdline" && kill -QUIT "$1"
    sleep 2
    rm -rf postgres.json "$2" postgres.log
    exit 0
  fi
  flock -u 8
  idle=0
done
"#;

/// A claim on a shared server: while it is held, the reaper leaves the server alone.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) server: Server,
    pub(super) users: File,
}

/// Where tests look for a server when [`POSTGRES_ENV`] does not name one.
pub fn default_dir() -> PathBuf {
    binaries::scratch_dir().join("shared-postgres")
}

/// Finds or starts the server all tests share.
pub(super) async fn claim() -> Result<Claim> {
    let Some(dir) = std::env::var_os(POSTGRES_ENV).map(PathBuf::from) else {
        return claim_in(&default_dir(), Keep::WhileUsed).await;
    };
    let users = open(&dir.join("users"))?;
    users.lock_shared()?;
    match Server::of_dir(&dir)? {
        Some(server) if server.is_alive() => Ok(Claim { server, users }),
        _ => bail!(
            "{POSTGRES_ENV} names {}, where no PostgreSQL runs: start one there, or unset it",
            dir.display()
        ),
    }
}

async fn claim_in(dir: &Path, keep: Keep) -> Result<Claim> {
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
    let server = match Server::of_dir(dir)? {
        Some(server) if server.is_alive() => server,
        left => {
            if let Some(server) = left {
                forget(&server);
            }
            let (server, running) = start_somewhere(dir, &Options::default()).await?;
            running.detach();
            start_reaper(&server)?;
            server
        }
    };
    if keep == Keep::UntilStopped {
        fs::write(dir.join("keep"), "")?;
    }
    Ok(Claim { server, users })
}

/// Starts a server in `dir`, unless one runs there, and leaves it running. Returns its address.
pub async fn start(dir: &Path, keep: Keep) -> Result<String> {
    Ok(claim_in(dir, keep).await?.server.url("postgres"))
}

/// Ends the server in `dir`. False when none runs there; an error when somebody uses it, unless `force`d.
pub fn stop(dir: &Path, force: bool) -> Result<bool> {
    if !dir.join("lock").exists() {
        return Ok(false);
    }
    let lock = open(&dir.join("lock"))?;
    lock.lock()?;
    let Some(server) = Server::of_dir(dir)? else {
        return Ok(false);
    };
    if !force && open(&dir.join("users"))?.try_lock().is_err() {
        bail!("tests are using the server: wait for them, or stop it with --force");
    }
    let ran = server.is_alive();
    forget(&server);
    Ok(ran)
}

/// The address of the server that runs in `dir`, if one does.
pub fn status(dir: &Path) -> Result<Option<String>> {
    let server = Server::of_dir(dir)?.filter(Server::is_alive);
    Ok(server.map(|server| server.url("postgres")))
}

fn forget(server: &Server) {
    server.kill_by_pid();
    server.remove_data();
    for part in ["keep", "postgres.json", "postgres.log"] {
        // may never have been written
        let _ = fs::remove_file(server.dir.join(part));
    }
}

fn start_reaper(server: &Server) -> Result<()> {
    let pid = server.pid.context("the server has no process id")?;
    Command::new("sh")
        .args(["-c", REAPER, "reaper", &pid.to_string()])
        .arg(&server.data)
        .current_dir(&server.dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start the reaper shell")?;
    Ok(())
}
