//! Services under a real systemd: a user's manager in namespaces of its own, where none runs on the host. Needs root, to make them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use baton_harness::{Launch, Process, await_until};

use crate::laws;
use crate::stage::Stage;

const SOON: Duration = Duration::from_secs(30);
const MANAGER: &str = "/lib/systemd/systemd";

/// A manager that sees a /run of its own and believes that the system was booted by systemd. Its sockets are put into a folder that both
/// sides see. It is not the first process of its namespace: as that it would take itself for the manager of a whole system.
const START: &str = r#"
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
export XDG_RUNTIME_DIR="$1/run" HOME=/root SYSTEMD_UNIT_PATH="$1/units:/usr/lib/systemd/user"
export DBUS_SESSION_BUS_ADDRESS="unix:path=$1/run/bus"
/lib/systemd/systemd --user --unit=basic.target &
wait
"#;

struct Systemd {
    dir: tempfile::TempDir,
    _manager: Process,
}

impl Systemd {
    /// None where it cannot be had, which is said loudly.
    async fn start() -> Option<Self> {
        let root = rustix::process::geteuid().is_root();
        if !root || !PathBuf::from(MANAGER).exists() {
            let loud = "NOT TESTED: services under systemd need root and systemd's package\n";
            std::io::Write::write_all(&mut std::io::stderr(), loud.as_bytes()).unwrap();
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let units = dir.path().join("units");
        fs::create_dir(&units).unwrap();
        let folder = dir.path().join("run");
        fs::create_dir(&folder).unwrap();
        for (name, command) in [("web", "/bin/sleep 1000"), ("broken", "/bin/false")] {
            let unit = format!("[Unit]\nDescription={name}\n[Service]\nExecStart={command}\n");
            fs::write(units.join(format!("{name}.service")), unit).unwrap();
        }
        let manager = Launch::program("systemd", "unshare")
            .args([
                "-m",
                "-p",
                "-f",
                "--kill-child=KILL",
                "--mount-proc",
                "sh",
                "-c",
                START,
                "start",
            ])
            .arg(dir.path())
            .start();
        let socket = folder.join("bus");
        await_until("systemd to listen", SOON, async || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        })
        .await;
        Some(Self {
            dir,
            _manager: manager,
        })
    }

    fn stage(&self, service: &str) -> Stage {
        let at = self.dir.path().join("run");
        let entry =
            |name: &str| format!("[{name}]\ndriver = \"systemd\"\nat = {at:?}\nwait_ms = 8000\n");
        let entries = ["web", "broken", "nobody"].map(entry).join("");
        Stage::new(self.dir.path(), &entries, service)
    }
}

#[tokio::test]
async fn the_laws_hold_under_systemd() {
    let Some(systemd) = Systemd::start().await else {
        return;
    };
    laws::hold_for(&systemd.stage("web")).await;
}

#[tokio::test]
async fn what_fails_or_is_not_there_is_said_so_under_systemd() {
    let Some(systemd) = Systemd::start().await else {
        return;
    };
    laws::a_failing_one_is_not_started(&systemd.stage("broken")).await;
    laws::an_unknown_one_is_refused(&systemd.stage("nobody")).await;
}
