//! Services under a real runit.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use baton_harness::{Launch, Process, await_until, is_supervised};

use crate::laws;
use crate::stage::Stage;

const SOON: Duration = Duration::from_secs(90);

/// A `runsvdir` of our own, with three services: one that runs, one that dies at once, one nobody has.
struct Runit {
    dir: tempfile::TempDir,
    runsvdir: Process,
}

impl Runit {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, script) in [("web", "exec sleep 1000"), ("broken", "sleep 0.3; exit 1")] {
            let folder = dir.path().join("services").join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("down"), "").unwrap();
            let run = folder.join("run");
            fs::write(&run, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let services = dir.path().join("services");
        let runsvdir = Launch::program("runsvdir", "runsvdir")
            .args(["-P".as_ref(), services.as_os_str()])
            .start();
        let up = |name: &str| is_supervised(&services.join(name));
        await_until("runit to look after its services", SOON, async || {
            up("web") && up("broken")
        })
        .await;
        Self { dir, runsvdir }
    }

    fn stage(&self, service: &str) -> Stage {
        let services = self.dir.path().join("services");
        let entry = |name: &str| {
            format!("[{name}]\ndriver = \"runit\"\ndir = {services:?}\nwait_ms = 5000\n")
        };
        let entries = ["web", "broken", "nobody"].map(entry).join("");
        Stage::new(self.dir.path(), &entries, service)
    }
}

impl Drop for Runit {
    fn drop(&mut self) {
        // On SIGHUP it takes its services down with it; killed it would leave them.
        let pid = i32::try_from(self.runsvdir.pid()).unwrap_or_default();
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::HUP);
        }
        let begun = std::time::Instant::now();
        while self.runsvdir.is_running() && begun.elapsed() < SOON {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[tokio::test]
async fn the_laws_hold_under_runit() {
    let runit = Runit::start().await;
    laws::hold_for(&runit.stage("web")).await;
}

#[tokio::test]
async fn what_fails_or_is_not_there_is_said_so_under_runit() {
    let runit = Runit::start().await;
    laws::a_failing_one_is_not_started(&runit.stage("broken")).await;
    laws::an_unknown_one_is_refused(&runit.stage("nobody")).await;
}
