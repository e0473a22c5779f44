//! `command.run` with real programs: every way a command can end and what is said of it; undo and probe by other entries.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use baton_fleet::automations::{CommandRun, CommandRunInput, CommandRunOutput};
use baton_fleet::process::{Processes, ProcessesConfig};
use baton_worker::testing::TestStep;
use baton_worker::{Asked, Automation as _, Direction, Done, Probe, TaskError};
use serde_json::{Value, json};

struct Stage {
    dir: tempfile::TempDir,
    automation: CommandRun,
    step: TestStep,
}

impl Stage {
    /// `DIR` in the entries stands for the stage's own folder.
    fn new(entries: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = ProcessesConfig {
            work_folder: Some(dir.path().join("runs")),
            ..ProcessesConfig::default()
        };
        let launcher = PathBuf::from(env!("CARGO_BIN_EXE_baton-worker"));
        let processes = Processes::launched_by(&config, launcher);
        let entries = entries.replace("DIR", dir.path().to_str().unwrap());
        std::fs::write(
            dir.path().join("schema.json"),
            r#"{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}"#,
        )
        .unwrap();
        let commands = toml::from_str(&entries).unwrap();
        Self {
            automation: CommandRun::allowing(&commands, &processes).unwrap(),
            dir,
            step: TestStep::new(),
        }
    }

    async fn run(&self, command: &str, args: Value) -> Result<CommandRunOutput, TaskError> {
        let context = self.step.attempt(Direction::Do).unwrap();
        self.automation.run(&context, input(command, args)).await
    }

    async fn undo(&self, command: &str, args: Value) -> Result<(), TaskError> {
        let context = self.step.attempt(Direction::Undo).unwrap();
        let done = Done {
            input: input(command, args),
            output: None,
            before: None,
            progress: None,
        };
        self.automation.undo(&context, done).await
    }

    async fn probe(&self, command: &str, args: Value) -> Probe<CommandRunOutput> {
        let context = self.step.attempt(Direction::Probe).unwrap();
        let asked = Asked {
            input: input(command, args),
            before: None,
            progress: None,
        };
        self.automation.probe(&context, asked).await.unwrap()
    }
}

fn input(command: &str, args: Value) -> CommandRunInput {
    let args: BTreeMap<String, Value> = serde_json::from_value(args).unwrap();
    CommandRunInput {
        command: command.to_owned(),
        args,
        dir: None,
    }
}

const ENTRIES: &str = r#"
[deploy]
program = "/bin/sh"
args = ["-c", "echo \"$1\" > DIR/site; echo \"{\\\"n\\\": 7}\" > \"$BATON_RESULT\"; echo deployed $1", "deploy", "{release}"]
effect = "reversible"
undo = "undeploy"
probe = "is-deployed"
result_schema = "DIR/schema.json"
params.release.pattern = "r[0-9]+"

[undeploy]
program = "/bin/sh"
args = ["-c", "cat > DIR/told; rm -f DIR/site"]
effect = "reversible"

[is-deployed]
program = "/bin/sh"
args = ["-c", "echo '{\"n\": 7}' > \"$BATON_RESULT\"; test \"$(cat DIR/site)\" = \"$1\"", "x", "{release}"]
effect = "none"
params.release.pattern = "r[0-9]+"

[ends]
program = "/bin/sh"
args = ["-c", "echo about to; echo no >&2; exit {code}"]
effect = "irreversible"
codes_failed = [2]
codes_retryable = [75]
params.code.pattern = "[0-9]+"

[looks]
program = "/bin/sh"
args = ["-c", "exit {code}"]
effect = "none"
params.code.pattern = "[0-9]+"

[hangs]
program = "/bin/sleep"
args = ["1000"]
effect = "irreversible"
timeout_ms = 300

[missing]
program = "/no/such/program"
effect = "irreversible"

[wrong-result]
program = "/bin/sh"
args = ["-c", "echo '{}' > \"$BATON_RESULT\""]
effect = "irreversible"
result_schema = "DIR/schema.json"

[large-result]
program = "/bin/sh"
args = ["-c", "(printf '\"'; head -c 100000 /dev/zero | tr '\\0' x; printf '\"') > \"$BATON_RESULT\""]
effect = "none"
"#;

#[tokio::test]
async fn it_is_done_found_out_and_taken_back() {
    let stage = Stage::new(ENTRIES);
    let args = || json!({ "release": "r7" });
    let site = stage.dir.path().join("site");
    assert_eq!(stage.probe("deploy", args()).await, Probe::DidNot);
    let done = stage.run("deploy", args()).await.unwrap();
    assert_eq!(done.result, Some(json!({ "n": 7 })));
    assert_eq!(done.stdout, "deployed r7\n");
    assert_eq!(std::fs::read_to_string(&site).unwrap(), "r7\n");
    let found = stage.probe("deploy", args()).await;
    assert!(matches!(found, Probe::Happened(output) if output.result == done.result));
    for _ in 0..2 {
        stage.undo("deploy", args()).await.unwrap();
        assert!(!site.exists());
    }
    let told = std::fs::read_to_string(stage.dir.path().join("told")).unwrap();
    assert!(told.contains(r#""release":"r7""#), "{told}");
    assert_eq!(stage.probe("deploy", args()).await, Probe::DidNot);
}

#[tokio::test]
async fn its_code_says_whether_anything_was_changed() {
    let stage = Stage::new(ENTRIES);
    // code, nothing changed, may be tried again
    for (code, nothing, again) in [(1, false, true), (2, true, false), (75, true, true)] {
        let error = stage
            .run("ends", json!({ "code": code }))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "command-failed");
        assert_eq!(
            (error.nothing_changed(), error.may_retry()),
            (nothing, again),
            "{code}"
        );
        let message = error.to_string();
        assert!(message.contains(&format!("code {code}: no")), "{message}");
    }
    let error = stage.run("looks", json!({ "code": 1 })).await.unwrap_err();
    assert!(error.nothing_changed(), "what only looks changes nothing");
    let error = stage.run("hangs", json!({})).await.unwrap_err();
    assert!(
        !error.nothing_changed() && error.to_string().contains("time limit"),
        "{error}"
    );
    let error = stage.run("missing", json!({})).await.unwrap_err();
    assert!(
        error.nothing_changed() && error.code() == "not-started",
        "{error}"
    );
    let error = stage.run("wrong-result", json!({})).await.unwrap_err();
    assert!(
        !error.nothing_changed() && error.code() == "result-misfit",
        "{error}"
    );
    let error = stage.run("large-result", json!({})).await.unwrap_err();
    assert!(
        error.nothing_changed() && error.code() == "output-too-large",
        "{error}"
    );
}

#[tokio::test]
async fn what_the_list_does_not_name_is_not_run_and_what_has_no_undo_says_so() {
    let stage = Stage::new(ENTRIES);
    let error = stage.run("/bin/sh", json!({})).await.unwrap_err();
    assert!(
        error.nothing_changed() && error.code() == "not-allowed",
        "{error}"
    );
    let error = stage
        .run("deploy", json!({ "release": "r7; reboot" }))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "argument-refused");
    assert!(!stage.dir.path().join("site").exists());
    let error = stage.undo("ends", json!({ "code": 1 })).await.unwrap_err();
    assert_eq!(error.code(), "no-undo");
    stage.undo("looks", json!({ "code": 1 })).await.unwrap();
    let cannot = stage.probe("ends", json!({ "code": 1 })).await;
    assert!(matches!(cannot, Probe::CannotTell(_)));
}
