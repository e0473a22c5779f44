//! `command.run` with real programs: every way a command can end and what is said of it; undo and probe by other entries.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use baton_fleet::automations::{CommandRun, CommandRunInput, CommandRunIrreversible};
use baton_fleet::process::{Processes, ProcessesConfig};
use baton_worker::testing::{TestStep, UnderTest};
use baton_worker::{Probe, SecretText};
use serde_json::{Value, json};

struct Stage {
    dir: tempfile::TempDir,
    automation: CommandRun,
    irreversible: CommandRunIrreversible,
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
            irreversible: CommandRunIrreversible::allowing(&commands, &processes).unwrap(),
            dir,
            step: TestStep::new(),
        }
    }

    fn of(&self, command: &str, args: Value) -> UnderTest<CommandRun> {
        UnderTest::new(self.automation.clone(), input(command, args)).on(&self.step)
    }

    fn for_good(&self, command: &str, args: Value) -> UnderTest<CommandRunIrreversible> {
        UnderTest::new(self.irreversible.clone(), input(command, args)).on(&self.step)
    }
}

fn input(command: &str, args: Value) -> CommandRunInput {
    CommandRunInput {
        command: command.to_owned(),
        args: serde_json::from_value(args).unwrap(),
        secrets: BTreeMap::new(),
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
effect = "irreversible"

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

[told]
program = "/bin/sh"
args = ["-c", "printf '%s %s' \"$TOKEN\" \"$(cat \"$HOME/key\")\" | tee DIR/got; stat -c ' %a' \"$HOME/key\"; tr '\\0' ' ' < /proc/$$/cmdline > DIR/line; exit {code}"]
effect = "reversible"
undo = "told-undo"
codes_failed = [2]
params.code.pattern = "[0-9]+"
secrets.token.env = "TOKEN"
secrets.key.file = "key"

[told-undo]
program = "/bin/sh"
args = ["-c", "cat > DIR/told; printf '%s' \"$TOKEN\" > DIR/got"]
effect = "irreversible"
secrets.token.env = "TOKEN"

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
    assert_eq!(
        stage.of("deploy", args()).probe().await.unwrap(),
        Probe::DidNot
    );
    let done = stage.of("deploy", args()).run().await.unwrap();
    assert_eq!(done.result, Some(json!({ "n": 7 })));
    assert_eq!(done.stdout, "deployed r7\n");
    assert_eq!(std::fs::read_to_string(&site).unwrap(), "r7\n");
    let found = stage.of("deploy", args()).probe().await.unwrap();
    assert!(matches!(found, Probe::Happened(output) if output.result == done.result));
    for _ in 0..2 {
        stage.of("deploy", args()).undo().await.unwrap();
        assert!(!site.exists());
    }
    let told = std::fs::read_to_string(stage.dir.path().join("told")).unwrap();
    assert!(told.contains(r#""release":"r7""#), "{told}");
    assert_eq!(
        stage.of("deploy", args()).probe().await.unwrap(),
        Probe::DidNot
    );
}

#[tokio::test]
async fn its_code_says_whether_anything_was_changed() {
    let stage = Stage::new(ENTRIES);
    // code, nothing changed, may be tried again
    for (code, nothing, again) in [(1, false, true), (2, true, false), (75, true, true)] {
        let error = stage
            .for_good("ends", json!({ "code": code }))
            .run()
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
    let error = stage
        .of("looks", json!({ "code": 1 }))
        .run()
        .await
        .unwrap_err();
    assert!(error.nothing_changed(), "what only looks changes nothing");
    let error = stage.for_good("hangs", json!({})).run().await.unwrap_err();
    assert!(
        !error.nothing_changed() && error.to_string().contains("time limit"),
        "{error}"
    );
    let error = stage
        .for_good("missing", json!({}))
        .run()
        .await
        .unwrap_err();
    assert!(
        error.nothing_changed() && error.code() == "not-started",
        "{error}"
    );
    let error = stage
        .for_good("wrong-result", json!({}))
        .run()
        .await
        .unwrap_err();
    assert!(
        !error.nothing_changed() && error.code() == "result-misfit",
        "{error}"
    );
    let error = stage.of("large-result", json!({})).run().await.unwrap_err();
    assert!(
        error.nothing_changed() && error.code() == "output-too-large",
        "{error}"
    );
}

#[tokio::test]
async fn what_the_list_does_not_name_is_not_run_and_what_has_no_undo_says_so() {
    let stage = Stage::new(ENTRIES);
    let error = stage.of("/bin/sh", json!({})).run().await.unwrap_err();
    assert!(
        error.nothing_changed() && error.code() == "not-allowed",
        "{error}"
    );
    let error = stage
        .of("deploy", json!({ "release": "r7; reboot" }))
        .run()
        .await
        .unwrap_err();
    assert_eq!(error.code(), "argument-refused");
    assert!(!stage.dir.path().join("site").exists());
    // What nothing takes back is not run by the type that promises to take back, nor undone by it when it was taken from its list meanwhile.
    let error = stage
        .of("ends", json!({ "code": 0 }))
        .run()
        .await
        .unwrap_err();
    assert_eq!(error.code(), "not-reversible");
    let said = error.to_string();
    assert!(
        error.nothing_changed() && said.contains("command.run-irreversible@1"),
        "{said}"
    );
    let error = stage
        .of("ends", json!({ "code": 1 }))
        .undo()
        .await
        .unwrap_err();
    assert_eq!(error.code(), "no-undo");
    let ran = stage.for_good("ends", json!({ "code": 0 })).run().await;
    assert_eq!(ran.unwrap().stdout, "about to\n");
    let error = stage
        .for_good("ends", json!({ "code": 1 }))
        .undo()
        .await
        .unwrap_err();
    assert_eq!(error.code(), "no-undo");
    stage
        .of("looks", json!({ "code": 1 }))
        .undo()
        .await
        .unwrap();
    let cannot = stage
        .for_good("ends", json!({ "code": 1 }))
        .probe()
        .await
        .unwrap();
    assert!(matches!(cannot, Probe::CannotTell(_)));
}

#[tokio::test]
async fn secrets_are_handed_as_variables_and_files_and_stay_in_neither_output_nor_folder() {
    let stage = Stage::new(ENTRIES);
    let read = |name: &str| std::fs::read_to_string(stage.dir.path().join(name)).unwrap();
    let with = |code: i32| {
        let mut case = stage.of("told", json!({ "code": code }));
        let secret = |name: &str, text: &str| (name.to_owned(), SecretText::text(text));
        case.input.secrets = [
            secret("token", "hunter2hunter2"),
            secret("key", "correct horse"),
        ]
        .into();
        case
    };
    let case = with(0);
    let output = case.run().await.unwrap();
    assert_eq!(read("got"), "hunter2hunter2 correct horse");
    assert_eq!(output.stdout, "*** *** 600\n");
    assert!(!read("line").contains("hunter2"), "{}", read("line"));
    case.undo_of(Some(output)).await.unwrap();
    assert_eq!(read("got"), "hunter2hunter2");
    assert!(read("told").contains("\"command\":\"told\""));
    assert!(!read("told").contains("hunter2") && !read("told").contains("horse"));

    let error = with(2).run().await.unwrap_err();
    assert!(
        error.to_string().ends_with("*** *** 600"),
        "no folder is kept: {error}"
    );
    let left = std::fs::read_dir(stage.dir.path().join("runs")).unwrap();
    assert_eq!(left.count(), 0);
    let error = stage
        .of("told", json!({ "code": 0 }))
        .run()
        .await
        .unwrap_err();
    assert_eq!(error.code(), "argument-refused");
}

/// The manifests say what each type does, so that a definition is checked by it: no word of an entry is needed for that.
#[test]
fn what_cannot_be_taken_back_has_a_type_of_its_own_that_says_so() {
    use baton_fleet::automations::catalogue;
    use baton_worker::Effect;
    let manifests = catalogue().unwrap().manifests();
    let of = |name: &str| {
        let mut all = manifests.iter();
        let found = all.find(|manifest| manifest.task_type.as_str() == name);
        found
            .map(|manifest| (manifest.effect, manifest.undo))
            .unwrap()
    };
    for area in ["command", "script"] {
        let name = |of: &str| format!("{area}.{of}@1");
        assert_eq!(of(&name("run")), (Effect::Reversible, true));
        assert_eq!(of(&name("run-irreversible")), (Effect::Irreversible, false));
    }
}
