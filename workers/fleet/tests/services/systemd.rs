//! Services under a real systemd on a real bus: a user's manager in namespaces of its own, where none runs on the host. Needs root, to make them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use baton_fleet::process::Containment;
use baton_harness::{Launch, Process, await_until, binaries, not_tested};

use crate::laws;
use crate::stage::Stage;

const SOON: Duration = Duration::from_secs(90);
const MANAGER: &str = "/lib/systemd/systemd";

/// Control groups of its own, which are taken out again by [`Systemd::drop`].
const OUTSIDE: &str = r#"
group=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)/baton-test-$$
mkdir "$group" && echo $$ > "$group/cgroup.procs" && echo "$group" > "$1/group" || exit 1
exec unshare -m -p -f -C --kill-child=KILL --mount-proc sh -c "$2" start "$1"
"#;

/// A manager that sees a /run of its own and believes that the system was booted by systemd. Its sockets are put into a folder that both
/// sides see, and it has no unit but ours: nothing of the host's is started. It is not the first process of its namespace: as that it would
/// take itself for the manager of a whole system.
const INSIDE: &str = r#"
mount --make-rprivate /
umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system
export XDG_RUNTIME_DIR="$1/run" HOME="$1" SYSTEMD_UNIT_PATH="$1/units"
export DBUS_SESSION_BUS_ADDRESS="unix:path=$1/run/bus"
/lib/systemd/systemd --user --unit=all.target &
wait
"#;

/// One service each: what is in its file below `[Service]`.
const SERVICES: [(&str, &str); 5] = [
    ("web", "ExecStart=/bin/sleep 1000"),
    ("broken", "ExecStart=/bin/false"),
    // both ends of it take longer than it takes to hand a job over
    (
        "slow",
        "ExecStartPre=/bin/sleep 1.5\nExecStart=/bin/sleep 1000\nExecStop=/bin/sleep 1.5",
    ),
    (
        "never",
        "ExecStartPre=/bin/false\nExecStart=/bin/sleep 1000",
    ),
    (
        "endless",
        "ExecStartPre=/bin/sleep 1000\nExecStart=/bin/sleep 1000",
    ),
];

/// What the bus refuses in one of the tests, whoever asks.
const REFUSED: &str = r#"<policy context="mandatory">
  <deny send_interface="org.freedesktop.systemd1.Manager" send_member="StartUnit"/>
</policy>"#;

struct Systemd {
    dir: tempfile::TempDir,
    manager: Process,
}

impl Systemd {
    /// None where it cannot be had, which is said loudly.
    async fn start() -> Option<Self> {
        Self::start_with("").await
    }

    async fn start_with(policy: &str) -> Option<Self> {
        let root = rustix::process::geteuid().is_root();
        if !root || !PathBuf::from(MANAGER).exists() {
            not_tested("services under systemd, which need root and systemd's package");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("run");
        fs::create_dir(&folder).unwrap();
        write_units(dir.path(), policy);
        let manager = Launch::program("systemd", "sh")
            .args(["-c", OUTSIDE, "start"])
            .arg(dir.path())
            .arg(INSIDE)
            .start();
        let socket = folder.join("bus");
        await_until("systemd to listen", SOON, async || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        })
        .await;
        Some(Self { dir, manager })
    }

    fn stage(&self, service: &str) -> Stage {
        let at = self.dir.path().join("run");
        let entry =
            |name: &str| format!("[{name}]\ndriver = \"systemd\"\nat = {at:?}\nwait_ms = 8000\n");
        let names = SERVICES.map(|(name, _)| name).into_iter();
        let others = ["nobody", "masked", "delegated"];
        let mut entries: String = names.chain(others).map(entry).collect();
        entries.push_str(&format!(
            "[by-address]\ndriver = \"systemd\"\nname = \"web\"\nat = \"unix:path={}/bus\"\n",
            at.display()
        ));
        entries.push_str("[nowhere]\ndriver = \"systemd\"\nat = \"/nowhere/at/all\"\n");
        entries.push_str(&format!(
            "[in-haste]\ndriver = \"systemd\"\nname = \"endless\"\nat = {at:?}\nwait_ms = 300\n"
        ));
        Stage::new(self.dir.path(), &entries, service)
    }

    /// What another client of the bus sees.
    fn property(&self, unit: &str, interface: &str, name: &str) -> String {
        let address = format!("--address=unix:path={}/run/bus", self.dir.path().display());
        let object = format!("/org/freedesktop/systemd1/unit/{unit}_2eservice");
        let interface = format!("org.freedesktop.systemd1.{interface}");
        let of = [
            &address,
            "get-property",
            "org.freedesktop.systemd1",
            &object,
            &interface,
            name,
        ];
        let said = Command::new("busctl").args(of).output().unwrap();
        assert!(said.status.success(), "{said:?}");
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        self.manager.kill9();
        let Ok(group) = fs::read_to_string(self.dir.path().join("group")) else {
            return;
        };
        // Its processes are gone with their namespace, in a moment.
        let begun = std::time::Instant::now();
        while remove_groups(Path::new(group.trim())).is_err() && begun.elapsed() < SOON {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The innermost first.
fn remove_groups(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_groups(&path)?;
        }
    }
    fs::remove_dir(group)
}

/// Our services, a bus, and nothing else.
fn write_units(dir: &Path, policy: &str) {
    let units = dir.join("units");
    fs::create_dir(&units).unwrap();
    let write = |name: &str, text: &str| fs::write(units.join(name), text).unwrap();
    for (name, service) in SERVICES {
        let text =
            format!("[Unit]\nDefaultDependencies=no\n[Service]\nTimeoutStartSec=60\n{service}\n");
        write(&format!("{name}.service"), &text);
    }
    let worker = binaries::path_of("baton-worker");
    let delegated = format!(
        "[Unit]\nDefaultDependencies=no\n[Service]\nDelegate=yes\nKillMode=mixed\n\
         ExecStart=/bin/sh -c 'cat /proc/self/cgroup > {dir}/config-group; {worker} config > {dir}/config-said; exec sleep 1000'\n",
        dir = dir.display(),
        worker = worker.display(),
    );
    write("delegated.service", &delegated);
    std::os::unix::fs::symlink("/dev/null", units.join("masked.service")).unwrap();
    write(
        "all.target",
        "[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\nAfter=dbus.socket\n",
    );
    write(
        "dbus.socket",
        "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=%t/bus\n",
    );
    let config = dir.join("bus.conf");
    let daemon = format!(
        "[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\n[Service]\nType=notify\nNotifyAccess=main\n\
         ExecStart=/usr/bin/dbus-daemon --config-file={} --address=systemd: --nofork --nopidfile --systemd-activation\n",
        config.display()
    );
    write("dbus.service", &daemon);
    let text = format!(
        "<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen><auth>EXTERNAL</auth><policy context=\"default\">\
         <allow send_destination=\"*\"/><allow receive_sender=\"*\"/><allow own=\"*\"/></policy>{policy}</busconfig>"
    );
    fs::write(config, text).unwrap();
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
    for (service, code, word) in [
        ("nobody", "service-unknown", "no unit nobody.service"),
        ("masked", "service-masked", "masked"),
        ("nowhere", "systemd-unreachable", "/nowhere/at/all/bus"),
    ] {
        let error = systemd.stage(service).start.step().run().await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(
            error.nothing_changed() && error.to_string().contains(word),
            "{error}"
        );
    }
    // a job that fails says what the process ended with
    let error = systemd.stage("never").start.step().run().await.unwrap_err();
    assert_eq!(error.code(), "service-did-not");
    let said = error.to_string();
    assert!(
        said.contains("ended as `failed`") && said.contains("exit-code"),
        "{said}"
    );
    // one that does not end is not waited for without end
    let error = systemd
        .stage("in-haste")
        .start
        .step()
        .run()
        .await
        .unwrap_err();
    assert!(
        !error.nothing_changed() && error.code() == "service-did-not",
        "{error}"
    );
}

/// A worker that systemd starts with `Delegate=yes`, as its manual says: it may make a group for each run below its own.
#[tokio::test]
async fn a_worker_with_a_delegated_group_makes_one_for_each_run() {
    let Some(systemd) = Systemd::start().await else {
        return;
    };
    let said = systemd.dir.path().join("config-said");
    let run = systemd.stage("delegated").start.step().run().await;
    assert!(run.unwrap().changed);
    await_until("the worker to have said it", SOON, async || {
        fs::read_to_string(&said).is_ok_and(|text| text.contains("the number of processes"))
    })
    .await;
    let text = fs::read_to_string(&said).unwrap();
    let group = fs::read_to_string(systemd.dir.path().join("config-group")).unwrap();
    assert!(group.contains("/delegated.service"), "{group}");
    assert!(text.contains(Containment::Cgroup.sentence()), "{text}");
    let of_version_1 = group.lines().any(|line| line.contains(":memory:"));
    if of_version_1 {
        return not_tested(
            "limits of memory and processes under systemd's Delegate=, where control groups of version 2 have those controllers: here version 1 has them",
        );
    }
    // the rule of the kernel: a group that holds the worker itself gives no controller on
    assert!(
        text.contains("memory is limited for each process"),
        "{text}"
    );
}

#[tokio::test]
async fn a_job_of_systemd_is_waited_for_until_it_is_over() {
    let Some(systemd) = Systemd::start().await else {
        return;
    };
    let stage = systemd.stage("slow");
    let up = stage.start.step().run().await.unwrap();
    assert!(up.running && up.changed, "{up:?}");
    assert_eq!(
        systemd.property("slow", "Unit", "ActiveState"),
        "s \"active\""
    );
    let first = systemd.property("slow", "Service", "MainPID");
    let other = stage.restart.step().run().await.unwrap();
    assert_ne!(other.instance, up.instance);
    assert_ne!(systemd.property("slow", "Service", "MainPID"), first);
    assert!(!stage.stop.step().run().await.unwrap().running);
    assert_eq!(
        systemd.property("slow", "Unit", "ActiveState"),
        "s \"inactive\""
    );
    // the same by the address of the bus
    assert!(
        systemd
            .stage("by-address")
            .start
            .step()
            .run()
            .await
            .unwrap()
            .changed
    );
    assert_eq!(
        systemd.property("web", "Unit", "ActiveState"),
        "s \"active\""
    );
}

#[tokio::test]
async fn what_the_bus_refuses_has_changed_nothing_and_says_so() {
    let Some(systemd) = Systemd::start_with(REFUSED).await else {
        return;
    };
    let error = systemd.stage("web").start.step().run().await.unwrap_err();
    assert_eq!(error.code(), "access-denied");
    assert!(error.nothing_changed() && !error.may_retry(), "{error}");
    assert!(error.to_string().contains("polkit"), "{error}");
}
