//! What an entry of the allow-list says a program may use holds against a program that wants more: memory, processes, output, time, and the
//! user it runs as. Each limit is met by a real program, and by the same program within it.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use baton_fleet::automations::{CommandRun, CommandRunInput, CommandRunOutput};
use baton_fleet::process::{Processes, ProcessesConfig};
use baton_harness::not_tested;
use baton_worker::TaskError;
use baton_worker::testing::UnderTest;
use serde_json::json;

/// `DIR` stands for the stage's own folder, `USER` for whom it may run things as, `MARK` for what its sleepers are told by.
const ENTRIES: &str = r#"
[small-memory]
program = "/usr/bin/python3"
args = ["-c", "print(len(b'x' * ({mib} << 20)))"]
effect = "none"
params.mib.pattern = "[0-9]+"
limits = { memory_bytes = 268435456 }

[small-memories]
program = "/usr/bin/python3"
args = ["-c", """
import subprocess, sys
held = b'x' * (150 << 20)
more = subprocess.run([sys.executable, '-c', "b'x' * (150 << 20)"])
sys.exit(9 if more.returncode else 0)
"""]
effect = "none"
limits = { memory_bytes = 268435456 }

[few-of-the-worker]
program = "/bin/sh"
args = ["-c", "i=0; while [ $i -lt {count} ]; do sleep 5 & i=$((i+1)); done; echo started $i"]
effect = "none"
params.count.pattern = "[0-9]+"
limits = { processes = 12 }

[few-processes]
program = "/bin/sh"
args = ["-c", "i=0; while [ $i -lt {count} ]; do sleep 5 & i=$((i+1)); done; echo started $i"]
effect = "none"
user = "USER"
params.count.pattern = "[0-9]+"
limits = { processes = 12 }

[who]
program = "/bin/sh"
args = ["-c", "id -u; id -G; touch \"$HOME/mine\" && echo wrote; cat DIR/closed; touch DIR/theirs"]
effect = "none"
user = "USER"

[loud]
program = "/bin/sh"
args = ["-c", "echo first; yes | head -c 5000000; echo last"]
effect = "none"

[hangs]
program = "/bin/sh"
args = ["-c", "for i in 1 2 3 4 5 6 7 8 9 10; do setsid sleep MARK & done; touch DIR/grown; wait"]
effect = "none"
timeout_ms = 4000
"#;

struct Stage {
    dir: tempfile::TempDir,
    processes: Processes,
    automation: CommandRun,
    mark: String,
}

impl Stage {
    fn set() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Whoever else a program runs as has to come through to its own folder.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let config = ProcessesConfig {
            work_folder: Some(dir.path().join("runs")),
            term_grace_ms: 200,
            output_bytes_max: 4096,
            ..ProcessesConfig::default()
        };
        let launcher = PathBuf::from(env!("CARGO_BIN_EXE_baton-worker"));
        let processes = Processes::launched_by(&config, launcher);
        let mark = format!("1{:09}", uuid::Uuid::new_v4().as_u128() % 1_000_000_000);
        let entries = ENTRIES
            .replace("DIR", dir.path().to_str().unwrap())
            .replace("USER", &other_user())
            .replace("MARK", &mark);
        let automation = CommandRun::allowing(&toml::from_str(&entries).unwrap(), &processes);
        Self {
            automation: automation.unwrap(),
            dir,
            processes,
            mark,
        }
    }

    async fn run(
        &self,
        command: &str,
        args: serde_json::Value,
    ) -> Result<CommandRunOutput, TaskError> {
        let input = json!({ "command": command, "args": args });
        let input: CommandRunInput = serde_json::from_value(input).unwrap();
        UnderTest::new(self.automation.clone(), input).run().await
    }

    fn sleepers(&self) -> usize {
        let lines = fs::read_dir("/proc").unwrap().flatten();
        let lines = lines.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        let ours = format!("sleep\0{}\0", self.mark);
        lines.filter(|line| line == ours.as_bytes()).count()
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Somebody with no rights and no other processes, where we may become somebody else; else ourselves.
fn other_user() -> String {
    if is_root() {
        let uid = 61_000 + uuid::Uuid::new_v4().as_u128() % 4_000;
        return format!("{uid}:{uid}");
    }
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    format!("{}:{}", uid.as_raw(), gid.as_raw())
}

#[tokio::test]
async fn memory_beyond_the_limit_is_not_had() {
    let stage = Stage::set();
    let within = stage
        .run("small-memory", json!({ "mib": 64 }))
        .await
        .unwrap();
    assert_eq!(within.stdout, "67108864\n");
    let error = stage
        .run("small-memory", json!({ "mib": 400 }))
        .await
        .unwrap_err();
    // By address space it is refused, by group it is killed: what is said at the start of a worker is what holds.
    let said = error.to_string();
    let as_a_whole = whole(&stage, "memory is limited for a run as a whole");
    let how = if as_a_whole {
        "signal 9"
    } else {
        "MemoryError"
    };
    assert!(said.contains(how), "{said}");
    // Two processes, each of them within the limit and together beyond it: the kernel takes one of them.
    let together = stage.run("small-memories", json!({})).await;
    if as_a_whole {
        let error = together.unwrap_err().to_string();
        assert!(
            error.contains("code 9") || error.contains("signal 9"),
            "{error}"
        );
    } else {
        together.unwrap();
        not_tested("memory of a run as a whole, for which this host has no controller");
    }
}

#[tokio::test]
async fn processes_beyond_the_limit_are_not_started() {
    let stage = Stage::set();
    let within = stage
        .run("few-processes", json!({ "count": 5 }))
        .await
        .unwrap();
    assert_eq!(
        (within.stdout.as_str(), within.left_behind),
        ("started 5\n", 5)
    );
    let error = stage
        .run("few-processes", json!({ "count": 40 }))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("fork"), "{error}");
    // What is said of it at the start of a worker is what holds: root is bound by a group, and by nothing else.
    let as_root = stage.run("few-of-the-worker", json!({ "count": 40 })).await;
    if whole(&stage, "the number of processes for a run as a whole") {
        let error = as_root.unwrap_err().to_string();
        assert!(error.contains("fork"), "{error}");
    } else {
        if is_root() {
            assert_eq!(as_root.unwrap().stdout, "started 40\n");
        }
        not_tested("processes of a run as a whole, for which this host has no controller");
    }
}

/// Whether the sentence of a worker's start says so.
fn whole(stage: &Stage, what: &str) -> bool {
    stage.processes.limits().contains(what)
}

#[tokio::test]
async fn a_program_runs_as_the_user_of_its_entry_with_no_other_rights() {
    let stage = Stage::set();
    if !is_root() {
        return not_tested("programs that run as somebody else, which only root can start");
    }
    fs::write(stage.dir.path().join("closed"), "precious").unwrap();
    fs::set_permissions(
        stage.dir.path().join("closed"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    let error = stage.run("who", json!({})).await.unwrap_err();
    assert_eq!(
        error.to_string().matches("Permission denied").count(),
        2,
        "{error}"
    );
    assert!(!stage.dir.path().join("theirs").exists());
    let runs = fs::read_dir(stage.dir.path().join("runs")).unwrap();
    let kept = runs.flatten().next().unwrap().path().join("work/mine");
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(kept).unwrap());
    assert!((61_000..65_000).contains(&owner), "{owner}");
}

#[tokio::test]
async fn output_beyond_the_limit_is_dropped_and_counted_and_holds_nobody_up() {
    let stage = Stage::set();
    let ran = stage.run("loud", json!({})).await.unwrap();
    assert!(ran.stdout.starts_with("first\ny\n") && ran.stdout.ends_with("y\nlast\n"));
    assert!(ran.stdout.len() < 4_200, "{}", ran.stdout.len());
    assert_eq!(ran.dropped_bytes, 5_000_000 + 6 + 5 - 4_096);
}

#[tokio::test]
async fn ten_children_in_sessions_of_their_own_are_gone_after_the_time_limit() {
    let stage = Stage::set();
    let begun = Instant::now();
    let watching = async {
        let mut most = 0;
        while most < 10 && begun.elapsed() < Duration::from_secs(4) {
            most = most.max(stage.sleepers());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        most
    };
    let (ended, most) = tokio::join!(stage.run("hangs", json!({})), watching);
    assert_eq!(stage.sleepers(), 0);
    assert!(stage.dir.path().join("grown").exists());
    assert_eq!(most, 10, "they were not all seen alive");
    let error = ended.unwrap_err();
    assert!(error.to_string().contains("time limit"), "{error}");
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
}
