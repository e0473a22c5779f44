//! The automations that start processes and touch services, through a real worker and a real broker: they complete, they are taken back, and
//! whatever is killed with `kill -9`, nothing they had started goes on.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use baton_harness::{Launch, Process, await_until, not_tested};
use baton_it::sagas::Saga;
use baton_it::{AFTER_A_LEASE, SOON, Setup, System};
use serde_json::Value;

/// What every worker here may run. `DIR` stands for the system's own folder, `MARK` for what the sleepers of this test are told by.
const CONFIG: &str = r#"
[processes]
work_folder = "DIR/runs"
term_grace_ms = 200

[automations.script_run]
folder = "DIR/scripts"

[services.web]
driver = "runit"
dir = "DIR/services"

[automations.net]
allow = ["127.0.0.1"]

[commands.put]
program = "/bin/sh"
args = ["-c", "echo \"$1\" > DIR/put; echo '{\"put\": true}' > \"$BATON_RESULT\"", "put", "{what}"]
effect = "reversible"
undo = "take-away"
params.what.pattern = "[a-z]+"

[commands.take-away]
program = "/bin/rm"
args = ["-f", "DIR/put"]
effect = "irreversible"

[commands.is-put]
program = "/usr/bin/test"
args = ["-e", "DIR/put"]
effect = "none"

[commands.suite]
program = "/bin/sh"
args = ["-c", "echo '<testsuite><testcase name=\"a\"/></testsuite>' > junit.xml"]
dirs = ["DIR"]
effect = "none"

[commands.tree]
program = "/bin/sh"
args = ["-c", "sleep MARK & setsid sleep MARK & (setsid sleep MARK > /dev/null 2>&1 &) ; trap '' TERM; sleep MARK; sleep MARK"]
effect = "reversible"
undo = "take-away"
"#;

const STEPS: &str = r#"  - id: test
    task: test.run@1
    with: { command: suite, dir: "${ input.dir }", junit: junit.xml }
  - id: put
    task: command.run@1
    with: { command: put, args: { what: "${ input.name }" } }
  - id: check
    task: check.command@1
    with: { command: is-put }
  - id: script
    task: script.run@1
    with: { script: mark, args: { put: "${ put.?result.put.orValue('') }" } }
  - id: start
    task: service.start@1
    with: { service: web }
  - id: restart
    task: service.restart@1
    with: { service: web }
"#;

struct Stage {
    system: System,
    runsvdir: Process,
    /// What this test's processes can be told by: the argument of their `sleep`.
    mark: String,
}

impl Stage {
    async fn set() -> Self {
        let system = Setup::workers(0).start().await;
        let dir = system.dir().to_owned();
        let service = dir.join("services/web");
        fs::create_dir_all(&service).unwrap();
        fs::write(service.join("down"), "").unwrap();
        fs::write(service.join("run"), "#!/bin/sh\nexec sleep 1000\n").unwrap();
        fs::set_permissions(service.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
        let runsvdir = Launch::program("runsvdir", "runsvdir")
            .args(["-P".as_ref(), dir.join("services").as_os_str()])
            .start();
        await_until("runit to look after its service", SOON, async || {
            baton_harness::is_supervised(&service)
        })
        .await;
        fs::create_dir(dir.join("scripts")).unwrap();
        let script = |name: &str, text: &str| {
            fs::write(
                dir.join("scripts").join(name),
                text.replace("DIR", &dir.to_string_lossy()),
            )
            .unwrap();
        };
        script("mark.sh", "cat > DIR/mark\n");
        script("mark.undo.sh", "rm -f DIR/mark\n");
        // nothing lies beside it that takes it back
        script("letter.sh", "cat > DIR/letter\n");
        let mark = format!("1{:09}", uuid::Uuid::new_v4().as_u128() % 1_000_000_000);
        let mut stage = Self {
            system,
            runsvdir,
            mark,
        };
        stage.add_worker("first");
        for task_type in [
            "test.run@1",
            "command.run@1",
            "check.command@1",
            "script.run@1",
            "service.start@1",
            "service.restart@1",
            "service.stop@1",
            "script.run-irreversible@1",
            "check.tcp@1",
            "check.ping@1",
            "test.effect@1",
        ] {
            stage.system.await_served(task_type).await;
        }
        stage
    }

    fn add_worker(&mut self, name: &str) -> usize {
        let text = CONFIG
            .replace("DIR", &self.dir().to_string_lossy())
            .replace("MARK", &self.mark);
        let path: PathBuf = self.dir().join(format!("{name}.toml"));
        fs::write(&path, text).unwrap();
        self.system.add_worker_with_file(&path)
    }

    fn dir(&self) -> &Path {
        self.system.dir()
    }

    async fn start(&self, definition: &str, name: &str) -> String {
        let input = serde_json::json!({ "name": name, "dir": self.dir() });
        self.system.api.start(definition, &input, name).await
    }

    fn service(&self) -> String {
        fs::read_to_string(self.dir().join("services/web/supervise/stat")).unwrap_or_default()
    }

    /// The sleepers of the tree that are alive.
    fn sleepers(&self) -> Vec<i32> {
        with_words(|words| words.len() > 1 && words[0].ends_with("sleep") && words[1] == self.mark)
    }

    /// The launchers of this test's runs.
    fn launchers(&self) -> Vec<i32> {
        with_words(|words| {
            words.get(2).is_some_and(|w| w == "nanny")
                && words.iter().any(|w| w.contains(&self.mark))
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // On SIGHUP it takes its services down with it; killed it would leave them.
        hang_up(self.runsvdir.pid());
        let begun = std::time::Instant::now();
        while self.runsvdir.is_running() && begun.elapsed() < SOON {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        for pid in self.sleepers() {
            kill(pid);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_of_all_of_them_completes_and_another_is_taken_back() {
    let stage = Stage::set().await;
    let bad = Saga::named("bad")
        .step(STEPS)
        .effect("never", ", fail: final");
    let good = Saga::named("good").step(STEPS);
    stage.system.apply(&[&bad, &good]).await;

    let id = stage.start("bad", "abc").await;
    stage
        .system
        .api
        .await_status(&id, "compensated", AFTER_A_LEASE)
        .await;
    assert!(!stage.dir().join("put").exists() && !stage.dir().join("mark").exists());
    assert!(stage.service().starts_with("down"), "{}", stage.service());

    let id = stage.start("good", "xyz").await;
    let saga = stage
        .system
        .api
        .await_status(&id, "completed", AFTER_A_LEASE)
        .await;
    assert_eq!(
        fs::read_to_string(stage.dir().join("put")).unwrap(),
        "xyz\n"
    );
    let mark: Value =
        serde_json::from_str(&fs::read_to_string(stage.dir().join("mark")).unwrap()).unwrap();
    assert_eq!(mark, serde_json::json!({ "put": true }), "{saga}");
    assert!(stage.service().starts_with("run"), "{}", stage.service());
}

/// What looks over the network, what stops a service, and a script that nothing takes back.
const DOWN: &str = r#"  - id: there
    task: check.tcp@1
    with: { host: 127.0.0.1, port: "${ int(input.name) }" }
    retry: { attempts: 1 }
  - id: echo
    task: check.ping@1
    with: { host: 127.0.0.1 }
    retry: { attempts: 1 }
  - id: stop
    task: service.stop@1
    with: { service: web }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_stopped_and_runs_again_and_what_nothing_takes_back_is_the_pivot() {
    let stage = Stage::set().await;
    let api = &stage.system.api;
    let start = "  - id: start\n    task: service.start@1\n    with: { service: web }\n";
    let letter = "  - id: letter\n    task: script.run-irreversible@1\n    with: { script: letter, args: { to: anna } }\n    pivot: true\n";
    let wrong = "  - id: letter\n    task: script.run@1\n    with: { script: letter }\n";
    stage
        .system
        .apply(&[
            &Saga::named("up").step(start),
            &Saga::named("wrong").step(DOWN).step(wrong),
            &Saga::named("down").step(DOWN).step(letter),
        ])
        .await;
    let up = stage.start("up", "x").await;
    api.await_status(&up, "completed", AFTER_A_LEASE).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();

    // the type that promises an undo refuses what has none, before anything is started; and the service runs again
    let id = stage.start("wrong", &port).await;
    let ended = api.await_status(&id, "compensated", AFTER_A_LEASE).await;
    let step = |ended: &Value, id: &str| {
        let mut steps = ended["steps"].as_array().unwrap().iter();
        steps.find(|step| step["id"] == id).unwrap().clone()
    };
    let echo = step(&ended, "echo");
    if echo["last_failure"]["code"] == "no-socket" {
        return not_tested(
            "check.ping, service.stop and script.run-irreversible in one saga: this host lets its worker open no socket for echo requests",
        );
    }
    assert_eq!(step(&ended, "there")["output"]["reachable"], true);
    assert_eq!(echo["output"]["reachable"], true, "{ended}");
    assert_eq!(step(&ended, "stop")["phase"], "undone", "{ended}");
    let refused = step(&ended, "letter")["last_failure"]["message"].to_string();
    assert!(refused.contains("script.run-irreversible"), "{refused}");
    assert!(stage.service().starts_with("run"), "{}", stage.service());
    assert!(!stage.dir().join("letter").exists());

    let id = stage.start("down", &format!("0{port}")).await;
    api.await_status(&id, "completed", AFTER_A_LEASE).await;
    assert!(stage.service().starts_with("down"), "{}", stage.service());
    let letter = fs::read_to_string(stage.dir().join("letter")).unwrap();
    let letter: Value = serde_json::from_str(&letter).unwrap();
    assert_eq!(letter, serde_json::json!({ "to": "anna" }));

    // nobody listens any more: what only looks has nothing to take back, and the service was never touched
    drop(listener);
    let id = stage.start("wrong", &format!("00{port}")).await;
    let ended = api.await_status(&id, "compensated", AFTER_A_LEASE).await;
    assert_eq!(step(&ended, "there")["phase"], "failed", "{ended}");
    assert_eq!(step(&ended, "stop")["phase"], "waiting", "{ended}");
}

/// A worker dies; then one dies together with its launchers, as when the kernel runs out of memory: the first tree ends by itself, the second
/// before the next worker takes a task.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_a_worker_and_nothing_it_had_started_goes_on() {
    let mut stage = Stage::set().await;
    let step =
        "  - id: tree\n    task: command.run@1\n    with: { command: tree }\n    heartbeat: 4s\n";
    stage.system.apply(&[&Saga::named("grow").step(step)]).await;
    stage.start("grow", "one").await;
    await_until("the tree to grow", SOON, async || {
        stage.sleepers().len() == 4
    })
    .await;
    stage.system.workers[0].kill9();
    await_until("the tree to be gone with its worker", SOON, async || {
        stage.sleepers().is_empty()
    })
    .await;

    stage.add_worker("second");
    stage.start("grow", "two").await;
    await_until("the second tree to grow", SOON, async || {
        stage.sleepers().len() == 4
    })
    .await;
    let launchers = stage.launchers();
    assert!(!launchers.is_empty());
    // The launcher first, or it would do its work; the worker before it sees that.
    stage.system.workers[1].sigstop();
    launchers.into_iter().for_each(kill);
    stage.system.workers[1].kill9();
    // Where each run has a PID namespace, even this ends it, a moment later; elsewhere the next worker does before it works.
    let third = stage.add_worker("third");
    let line = "working worker=";
    stage.system.workers[third].wait_for_line(line, SOON).await;
    assert!(
        stage.sleepers().is_empty(),
        "it works, and the tree is still there"
    );
}

fn with_words(wanted: impl Fn(&[String]) -> bool) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers
        .filter(|pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<String> = String::from_utf8_lossy(&line)
                .split('\0')
                .map(str::to_owned)
                .collect();
            wanted(&words)
        })
        .collect()
}

fn kill(pid: i32) {
    signal(pid, rustix::process::Signal::KILL);
}

fn hang_up(pid: u32) {
    signal(
        i32::try_from(pid).unwrap_or_default(),
        rustix::process::Signal::HUP,
    );
}

fn signal(pid: i32, which: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // fails when it has ended already
        let _ = rustix::process::kill_process(pid, which);
    }
}
