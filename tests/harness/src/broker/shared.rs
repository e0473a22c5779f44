//! The broker all tests share, as [`crate::shared`] has it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use super::node::Node;
use super::{Options, start_somewhere};
use crate::shared::{self, Keep, Shared};

/// The folder of a running broker that all tests share; set by `deploy/test`.
pub const SHARED_ENV: &str = "BATON_TEST_BROKER";

impl Shared for Node {
    const NAME: &'static str = "broker";
    const ENV: &'static str = SHARED_ENV;
    const FOLDER: &'static str = "shared-broker";
    /// `$1` beam, `$2` node name, `$3` epmd, `$4` epmd's port.
    const END: &'static str = r#"grep -qs -- "$2" "/proc/$1/cmdline" && kill -KILL "$1"
    grep -qs -- "$4" "/proc/$3/cmdline" && kill -KILL "$3"
    rm -rf broker.json data log"#;

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
        let marks = self
            .marks()
            .ok_or_else(|| anyhow!("the broker has no process ids"))?;
        Ok(marks.to_vec())
    }

    fn forget(&self) -> Result<()> {
        self.kill_by_pid();
        for part in ["data", "log"] {
            let path = self.dir.join(part);
            if path.exists() {
                fs::remove_dir_all(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        for part in ["keep", "broker.json"] {
            let path = self.dir.join(part);
            if path.exists() {
                fs::remove_file(&path)
                    .with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        Ok(())
    }

    async fn start(dir: &Path) -> Result<Self> {
        let (node, running) = start_somewhere(dir, &Options::default()).await?;
        running.detach();
        Ok(node)
    }
}

/// Where tests look for a broker when [`SHARED_ENV`] does not name one.
pub fn default_dir() -> PathBuf {
    shared::default_dir::<Node>()
}

/// Starts a broker in `dir`, unless one runs there, and leaves it running. Returns its AMQP and management addresses.
pub async fn start(dir: &Path, keep: Keep) -> Result<(String, String)> {
    let claim = shared::claim_in::<Node>(dir, keep).await?;
    Ok(addresses(&claim.server))
}

/// Ends the broker in `dir`. False when none runs there; an error when somebody uses it, unless `force`d.
pub fn stop(dir: &Path, force: bool) -> Result<bool> {
    shared::stop::<Node>(dir, force)
}

/// The AMQP and management addresses of the broker that runs in `dir`, if one does.
pub fn status(dir: &Path) -> Result<Option<(String, String)>> {
    Ok(shared::running::<Node>(dir)?.map(|node| addresses(&node)))
}

fn addresses(node: &Node) -> (String, String) {
    (
        format!("amqp://guest:guest@127.0.0.1:{}", node.amqp_port),
        node.management().url().to_owned(),
    )
}
