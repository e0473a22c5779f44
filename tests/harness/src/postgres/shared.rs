//! The PostgreSQL all tests share, as [`crate::shared`] has it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::server::Server;
use super::{Options, start_somewhere};
use crate::shared::{self, Keep, Shared};

/// The folder of a running server that all tests share; set by `deploy/test`.
pub const POSTGRES_ENV: &str = "BATON_TEST_POSTGRES";

impl Shared for Server {
    const NAME: &'static str = "PostgreSQL";
    const ENV: &'static str = POSTGRES_ENV;
    const FOLDER: &'static str = "shared-postgres";
    /// `$1` its process id, `$2` its data.
    const END: &'static str = r#"grep -qs -- "$2" "/proc/$1/cmdline" && kill -QUIT "$1"
    sleep 2
    rm -rf postgres.json "$2" postgres.log"#;

    fn of_dir(dir: &Path) -> Result<Option<Self>> {
        Self::of_dir(dir)
    }

    fn dir(&self) -> &Path {
        &self.dir
    }

    fn is_alive(&self) -> bool {
        self.is_alive()
    }

    fn marks(&self) -> Result<Vec<String>> {
        let pid = self.pid.context("the server has no process id")?;
        Ok(vec![pid.to_string(), self.data.display().to_string()])
    }

    fn forget(&self) -> Result<()> {
        self.kill_by_pid();
        self.remove_data();
        for part in ["keep", "postgres.json", "postgres.log"] {
            // may never have been written
            let _ = fs::remove_file(self.dir.join(part));
        }
        Ok(())
    }

    async fn start(dir: &Path) -> Result<Self> {
        let (server, running) = start_somewhere(dir, &Options::default()).await?;
        running.detach();
        Ok(server)
    }
}

/// Where tests look for a server when [`POSTGRES_ENV`] does not name one.
pub fn default_dir() -> PathBuf {
    shared::default_dir::<Server>()
}

/// Starts a server in `dir`, unless one runs there, and leaves it running. Returns its address.
pub async fn start(dir: &Path, keep: Keep) -> Result<String> {
    let claim = shared::claim_in::<Server>(dir, keep).await?;
    Ok(claim.server.url("postgres"))
}

/// Ends the server in `dir`. False when none runs there; an error when somebody uses it, unless `force`d.
pub fn stop(dir: &Path, force: bool) -> Result<bool> {
    shared::stop::<Server>(dir, force)
}

/// The address of the server that runs in `dir`, if one does.
pub fn status(dir: &Path) -> Result<Option<String>> {
    Ok(shared::running::<Server>(dir)?.map(|server| server.url("postgres")))
}
