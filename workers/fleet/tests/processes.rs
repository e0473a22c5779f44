//! The promises of the process kit, with real processes: whole trees are gone under every way of holding them together this host offers,
//! pipes never hang, limits hold, the environment is closed, results come by file, and nothing is said to be gone that is not.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use baton_fleet::process::{
    Changes, Containment, ContainmentWish, Exit, Limits, Masks, Processes, ProcessesConfig, Run,
    RunError,
};
use baton_harness::{await_until, binaries, not_tested};
use baton_worker::testing::TestStep;
use baton_worker::{Context, Direction};
use serde_json::json;

const SOON: Duration = Duration::from_secs(90);

/// Ten that do not end by themselves: plain, deaf to SIGTERM, in sessions of their own, forked twice, with an empty environment, holding
/// the pipes or not.
const TREE: &str = r#"
sleep "$1" &
setsid sleep "$1" &
(setsid sleep "$1" &)
(setsid sh -c 'sleep "$0" & exec sleep "$0"' "$1" > /dev/null 2>&1 < /dev/null &)
env -i /bin/sleep "$1" &
(env -i /usr/bin/setsid /bin/sleep "$1" > /dev/null 2>&1 &)
sh -c 'trap "" TERM HUP INT; setsid sleep "$0"' "$1" &
(setsid setsid sh -c 'trap "" TERM; (setsid sleep "$0" &) ; sleep "$0"' "$1" &)
echo grown
trap "" TERM
sleep "$1"
"#;

struct Stage {
    dir: tempfile::TempDir,
    processes: Processes,
    step: TestStep,
    /// What the tree's processes can be told by: the argument of their `sleep`.
    mark: String,
}

impl Stage {
    fn new(wish: ContainmentWish) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = ProcessesConfig {
            containment: wish,
            work_folder: Some(dir.path().join("runs")),
            term_grace_ms: 300,
            output_bytes_max: 4096,
            ..ProcessesConfig::default()
        };
        let launcher = PathBuf::from(env!("CARGO_BIN_EXE_baton-worker"));
        let mark = format!("1{:09}", uuid::Uuid::new_v4().as_u128() % 1_000_000_000);
        Self {
            dir,
            processes: Processes::launched_by(&config, launcher),
            step: TestStep::new(),
            mark,
        }
    }

    fn auto() -> Self {
        Self::new(ContainmentWish::Auto)
    }

    fn context(&self) -> Context {
        self.step.attempt(Direction::Do).unwrap()
    }

    async fn run(&self, run: Run) -> Result<baton_fleet::process::Ended, RunError> {
        self.processes.run(&self.context(), run).await
    }

    async fn sh(&self, script: &str) -> baton_fleet::process::Ended {
        self.run(Run::new("sh").args(["-c", script])).await.unwrap()
    }

    fn tree(&self) -> Run {
        Run::new("sh").args(["-c", TREE, "tree", &self.mark])
    }

    /// The tree's sleepers that are alive.
    fn sleepers(&self) -> Vec<i32> {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_ours = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            let first = words.next().unwrap_or_default();
            first.ends_with(b"sleep") && words.next() == Some(self.mark.as_bytes())
        };
        numbers.filter(is_ours).collect()
    }

    async fn grown(&self) {
        await_until("the tree to grow", SOON, async || {
            self.sleepers().len() >= 11
        })
        .await;
    }

    fn runs_left(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("runs")).map_or(0, Iterator::count)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for pid in self.sleepers() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

async fn a_tree_is_gone_after_its_time(wish: ContainmentWish, expected: Containment) {
    let stage = Stage::new(wish);
    let found = stage.processes.containment();
    if found.is_none() {
        // On a host that cannot, that is all there is to say; ours can, and the log shows it.
        return not_tested(&format!(
            "{}, which this host does not offer",
            expected.word()
        ));
    }
    assert_eq!(found, Some(expected));
    let run = stage.tree().timeout(Duration::from_millis(2_500));
    let (context, begun) = (stage.context(), Instant::now());
    let (ended, ()) = tokio::join!(stage.processes.run(&context, run), stage.grown());
    assert_eq!(stage.sleepers(), [0; 0], "after {:?}", begun.elapsed());
    let Err(RunError::Stopped { why, .. }) = ended else {
        panic!("{ended:?}");
    };
    assert!(why.contains("time limit"), "{why}");
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_tree_of_ten_is_gone_by_cgroup() {
    a_tree_is_gone_after_its_time(ContainmentWish::Cgroup, Containment::Cgroup).await;
}

#[tokio::test]
async fn a_tree_of_ten_is_gone_by_pid_namespace() {
    a_tree_is_gone_after_its_time(ContainmentWish::PidNamespace, Containment::PidNamespace).await;
}

#[tokio::test]
async fn a_tree_of_ten_is_gone_by_subreaper() {
    a_tree_is_gone_after_its_time(ContainmentWish::Subreaper, Containment::Subreaper).await;
}

/// The last resort does not reach everything, and says so: never "gone" when it is not.
#[tokio::test]
async fn a_process_group_is_best_effort_and_what_survives_makes_the_outcome_unknown() {
    let stage = Stage::new(ContainmentWish::ProcessGroup);
    let run = stage.tree().timeout(Duration::from_millis(2_500));
    let context = stage.context();
    let (ended, ()) = tokio::join!(stage.processes.run(&context, run), stage.grown());
    assert!(!stage.sleepers().is_empty());
    let error = ended.unwrap_err();
    assert!(matches!(error, RunError::Alive { .. }), "{error}");
    let told = error.into_task_error(Changes::Nothing);
    assert!(!told.nothing_changed(), "{told}");
}

#[tokio::test]
async fn a_cancel_ends_the_tree_and_so_does_dropping_the_run() {
    let stage = Stage::auto();
    let context = stage.context();
    let cancel = context.cancelled().clone();
    let running = stage.processes.run(&context, stage.tree());
    let cancelling = async {
        stage.grown().await;
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(running, cancelling);
    assert!(matches!(ended, Err(RunError::Stopped { .. })), "{ended:?}");
    assert_eq!(stage.sleepers(), [0; 0]);

    let context = stage.context();
    tokio::select! {
        ended = stage.processes.run(&context, stage.tree()) => panic!("{ended:?}"),
        () = stage.grown() => {}
    }
    await_until("a dropped run's tree to be gone", SOON, async || {
        stage.sleepers().is_empty()
    })
    .await;
}

#[tokio::test]
async fn what_is_left_behind_is_ended_and_pipes_held_open_do_not_hang() {
    let stage = Stage::auto();
    let begun = Instant::now();
    let script = format!("(setsid sleep {} &) ; echo done", stage.mark);
    let ended = stage.sh(&script).await;
    assert!(ended.success());
    assert_eq!((ended.stdout.text.trim(), ended.left_behind), ("done", 1));
    assert_eq!(stage.sleepers(), [0; 0]);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let ended = stage.sh("true | true | true").await;
    assert_eq!(ended.left_behind, 0);
}

#[tokio::test]
async fn it_ends_with_its_code_or_signal_and_a_missing_program_never_ran() {
    for wish in [
        ContainmentWish::Auto,
        ContainmentWish::PidNamespace,
        ContainmentWish::Subreaper,
    ] {
        let stage = Stage::new(wish);
        if stage.processes.containment().is_none() {
            continue;
        }
        assert_eq!(stage.sh("exit 7").await.exit, Exit::Code(7));
        assert_eq!(stage.sh("kill -9 $$").await.exit, Exit::Signal(9));
        let missing = stage.run(Run::new("/no/such/program")).await.unwrap_err();
        assert!(missing.nothing_ran(), "{missing}");
        assert!(
            missing.to_string().contains("/no/such/program"),
            "{missing}"
        );
        let nowhere = stage.run(Run::new("true").dir("/no/such/folder")).await;
        assert!(nowhere.unwrap_err().nothing_ran());
    }
}

#[tokio::test]
async fn the_environment_is_closed_and_the_folder_its_own() {
    let stage = Stage::auto();
    let run = Run::new("sh")
        .args([
            "-c",
            "env; pwd; umask; cat; cat given; ps -o sid= -p $$; echo $$; stat -c %a . given",
        ])
        .env("RELEASE", "r2")
        .stdin("typed\n")
        .file("given", "put\n");
    let ended = stage.run(run).await.unwrap();
    let text = &ended.stdout.text;
    assert!(ended.success(), "{text} {}", ended.stderr.text);
    let mut names: Vec<&str> = text
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    names.sort_unstable();
    let expected = [
        "BATON_RESULT",
        "BATON_RUN",
        "HOME",
        "LANG",
        "PATH",
        "PWD",
        "RELEASE",
        "TMPDIR",
    ];
    assert_eq!(names, expected, "{text}");
    let tail: Vec<&str> = text.lines().rev().take(8).collect();
    assert_eq!(tail[0], "600");
    assert_eq!(tail[1], "700");
    assert_eq!(tail[2], tail[3].trim(), "it leads a session of its own");
    assert_eq!(tail[4..7], ["put", "typed", "0022"]);
    assert!(tail[7].contains("/runs/run-"), "{text}");
    assert_eq!(stage.runs_left(), 0, "a folder is left after success");

    let ended = stage.sh("cat; echo x > evidence; exit 3").await;
    assert_eq!(ended.stdout.text, "", "it reads from /dev/null");
    let kept = ended.kept.clone().unwrap();
    assert!(kept.join("work/evidence").exists());
    assert!(ended.complaint("it").contains("its folder is kept at"));
    let run = Run::new("sh").args(["-c", "exit 3"]).keep_nothing();
    assert_eq!(stage.run(run).await.unwrap().kept, None);
    assert_eq!(stage.runs_left(), 1);
}

#[tokio::test]
async fn what_the_worker_inherited_reaches_no_program() {
    let stage = Stage::auto();
    // as whoever starts a worker may leave it open
    let left_open = std::fs::File::open("/dev/zero").unwrap();
    rustix::io::fcntl_setfd(&left_open, rustix::io::FdFlags::empty()).unwrap();
    let ended = stage.sh("readlink /proc/$$/fd/*; true").await;
    let text = &ended.stdout.text;
    assert!(ended.success(), "{text} {}", ended.stderr.text);
    let held = text.lines().filter(|line| !line.trim().is_empty());
    assert_eq!(held.count(), 3, "{text}");
    assert!(!text.contains("/dev/zero"), "{text}");
}

#[tokio::test]
async fn results_come_by_file_and_secrets_do_not_leave() {
    let stage = Stage::auto();
    let masks = Masks::of(["hunter2hunter2"]);
    let script = r#"echo '{"n": 1, "s": "hunter2hunter2"}' > "$BATON_RESULT"; echo "$S"; printf '%s' "u:$S" | base64 >&2"#;
    let run = Run::new("sh")
        .args(["-c", script])
        .env("S", "hunter2hunter2")
        .masks(masks);
    let ended = stage.run(run).await.unwrap();
    assert_eq!(ended.result, Ok(Some(json!({ "n": 1, "s": "***" }))));
    assert_eq!(ended.stdout.text, "***\n");
    assert!(ended.stderr.text.contains("***"), "{}", ended.stderr.text);

    assert_eq!(stage.sh("true").await.result, Ok(None));
    let bad = [
        ("echo no > $BATON_RESULT", "no JSON"),
        ("ln -s /etc/passwd $BATON_RESULT", "cannot be opened"),
        ("mkfifo $BATON_RESULT", "no regular file"),
        ("head -c 300000 /dev/zero > $BATON_RESULT", "larger"),
    ];
    for (script, why) in bad {
        let result = stage.sh(script).await.result;
        assert!(
            result.as_ref().is_err_and(|e| e.contains(why)),
            "{script}: {result:?}"
        );
    }
}

#[tokio::test]
async fn limits_hold() {
    let stage = Stage::auto();
    let limits = Limits {
        memory_bytes: Some(256 << 20),
        open_files: Some(20),
        file_bytes: Some(1000),
        cpu_s: Some(1),
        ..Limits::default()
    };
    let sh = |script: &str| Run::new("sh").args(["-c", script]).limits(limits);
    let flood = stage.run(sh("yes | head -c 10000000")).await.unwrap();
    assert!(flood.stdout.text.len() < 5_000 && flood.stdout.dropped_bytes > 9_000_000);
    let large = stage.run(sh("head -c 5000 /dev/zero > f")).await.unwrap();
    assert!(!large.success());
    let busy = stage.run(sh("while :; do :; done")).await.unwrap();
    assert!(matches!(busy.exit, Exit::Signal(9 | 24)), "{:?}", busy.exit);
    let hungry = stage
        .run(sh("head -c 400000000 /dev/zero | tail -n 1 | wc -c"))
        .await
        .unwrap();
    assert!(!hungry.stdout.text.contains("400000000"), "{hungry:?}");
    let files = stage
        .run(sh(
            "for i in 3 4 5 6 7 8 9; do eval \"exec $i</dev/null\"; done; ulimit -n; ulimit -c",
        ))
        .await
        .unwrap();
    assert_eq!(files.stdout.text, "20\n0\n");
}

/// Somebody kills the launcher: nothing goes on, and nobody claims to know how it ended.
#[tokio::test]
async fn a_killed_launcher_leaves_nothing_alive_and_the_end_unknown() {
    for wish in [
        ContainmentWish::Cgroup,
        ContainmentWish::PidNamespace,
        ContainmentWish::Subreaper,
    ] {
        let stage = Stage::new(wish);
        if stage.processes.containment().is_none() {
            continue;
        }
        // All of it carries the mark of the run: a launcher that is gone cannot find what does not.
        let script = format!("(setsid sleep {0} &) ; sleep {0}", stage.mark);
        let context = stage.context();
        let run = Run::new("sh").args(["-c", &script]);
        let killing = async {
            await_until("the tree to grow", SOON, async || {
                stage.sleepers().len() == 2
            })
            .await;
            kill_launcher_of(stage.sleepers()[0]);
        };
        let (ended, ()) = tokio::join!(stage.processes.run(&context, run), killing);
        let error = ended.unwrap_err();
        assert!(matches!(error, RunError::Lost { .. }), "{wish:?}: {error}");
        assert_eq!(stage.sleepers(), [0; 0], "{wish:?}");
        assert!(!error.into_task_error(Changes::Something).nothing_changed());
    }
}

/// Finds the launcher by the mark it shares with what it started.
fn kill_launcher_of(pid: i32) {
    let mark = |pid: i32| {
        let all = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let all = String::from_utf8_lossy(&all).into_owned();
        all.split('\0')
            .find(|v| v.starts_with("BATON_RUN="))
            .map(str::to_owned)
    };
    let wanted = mark(pid).unwrap();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(found) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let line = std::fs::read(format!("/proc/{found}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.contains("\0launch\0nanny\0") && mark(found).as_ref() == Some(&wanted) {
            let pid = rustix::process::Pid::from_raw(found).unwrap();
            return rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }
    panic!(
        "no launcher of {wanted} below {}",
        binaries::profile_dir().display()
    );
}
