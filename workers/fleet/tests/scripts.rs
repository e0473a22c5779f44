//! `script.run`, `test.run` and `check.command` with real interpreters and real reports.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

use std::fs;
use std::path::PathBuf;

use baton_fleet::automations::{
    CheckCommand, ScriptRun, ScriptRunIrreversible, TestRun, TestRunOutput,
};
use baton_fleet::config::{ScriptConfig, ScriptRunConfig};
use baton_fleet::process::{Processes, ProcessesConfig};
use baton_worker::testing::{TestStep, UnderTest};
use baton_worker::{Automation, Probe, TaskError};
use serde_json::{Value, json};

struct Stage {
    dir: tempfile::TempDir,
    processes: Processes,
    step: TestStep,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("scripts")).unwrap();
        let config = ProcessesConfig {
            work_folder: Some(dir.path().join("runs")),
            ..ProcessesConfig::default()
        };
        let launcher = PathBuf::from(env!("CARGO_BIN_EXE_baton-worker"));
        Self {
            processes: Processes::launched_by(&config, launcher),
            dir,
            step: TestStep::new(),
        }
    }

    fn script(&self, name: &str, text: &str) {
        let text = text.replace("DIR", self.dir.path().to_str().unwrap());
        fs::write(self.dir.path().join("scripts").join(name), text).unwrap();
    }

    fn scripts(&self, inline: bool) -> ScriptRun {
        ScriptRun::from(&self.config(inline), &said(""), &self.processes).unwrap()
    }

    fn for_good(&self, inline: bool) -> ScriptRunIrreversible {
        ScriptRunIrreversible::from(&self.config(inline), &said(""), &self.processes).unwrap()
    }

    /// With what is said of single ones.
    fn scripts_of(&self, toml: &str) -> ScriptRun {
        ScriptRun::from(&self.config(false), &said(toml), &self.processes).unwrap()
    }

    fn config(&self, inline: bool) -> ScriptRunConfig {
        ScriptRunConfig {
            folder: Some(self.dir.path().join("scripts")),
            inline,
            // One that a version manager stands in for finds no home in an empty environment.
            python: PathBuf::from("/usr/bin/python3"),
            ..ScriptRunConfig::default()
        }
    }

    fn of<A: Automation + Clone>(&self, of: &A, input: Value) -> UnderTest<A> {
        let input = serde_json::from_value(input).unwrap();
        UnderTest::new(of.clone(), input).on(&self.step)
    }
}

fn said(toml: &str) -> std::collections::BTreeMap<String, ScriptConfig> {
    toml::from_str(toml).unwrap()
}

#[tokio::test]
async fn each_language_takes_json_and_gives_json() {
    let stage = Stage::new();
    stage.script(
        "a.sh",
        "printf '{\"got\": %s}' \"$(cat)\" > \"$BATON_RESULT\"; echo sh\n",
    );
    stage.script(
        "b.py",
        "import json, os, sys\na = json.load(sys.stdin)\nassert a == json.load(open('args.json'))\njson.dump({'got': a}, open(os.environ['BATON_RESULT'], 'w'))\n",
    );
    stage.script(
        "c.tcl",
        "set a [read stdin]\nset f [open $env(BATON_RESULT) w]\nputs $f \"{\\\"got\\\": $a}\"\nclose $f\n",
    );
    let scripts = stage.for_good(false);
    let args = json!({ "host": "a \"b\" 'c' $(d)" });
    for name in ["a", "b", "c"] {
        let ran = stage
            .of(&scripts, json!({ "script": name, "args": args }))
            .run()
            .await
            .unwrap();
        assert_eq!(
            ran.result,
            Some(json!({ "got": args })),
            "{name}: {}",
            ran.stderr
        );
        let pinned = json!({ "script": name, "args": args, "sha256": ran.sha256 });
        stage.of(&scripts, pinned).run().await.unwrap();
    }
    let other = json!({ "script": "a", "sha256": "0".repeat(64) });
    let error = stage.of(&scripts, other).run().await.unwrap_err();
    assert!(
        error.nothing_changed() && error.code() == "script-changed",
        "{error}"
    );
}

#[tokio::test]
async fn a_script_is_found_out_and_taken_back_by_those_beside_it() {
    let stage = Stage::new();
    stage.script("mark.sh", "touch DIR/mark\n");
    stage.script("mark.undo.sh", "cat > DIR/told; rm -f DIR/mark\n");
    stage.script("mark.probe.sh", "test -e DIR/mark\n");
    stage.script("ends.sh", "exit $(grep -o '[0-9]*')\n");
    let scripts = stage.scripts(false);
    let input = || json!({ "script": "mark", "args": { "n": 1 } });
    let mark = stage.dir.path().join("mark");
    assert_eq!(
        stage.of(&scripts, input()).probe().await.unwrap(),
        Probe::DidNot
    );
    stage.of(&scripts, input()).run().await.unwrap();
    assert!(mark.exists());
    assert!(matches!(
        stage.of(&scripts, input()).probe().await.unwrap(),
        Probe::Happened(_)
    ));
    for _ in 0..2 {
        stage.of(&scripts, input()).undo().await.unwrap();
        assert!(!mark.exists());
    }
    let told = fs::read_to_string(stage.dir.path().join("told")).unwrap();
    assert!(told.contains(r#""n":1"#), "{told}");

    let for_good = stage.for_good(false);
    for (code, nothing, again) in [(1, false, true), (64, true, false), (75, true, true)] {
        let input = json!({ "script": "ends", "args": code });
        let error = stage.of(&for_good, input.clone()).run().await.unwrap_err();
        assert_eq!(
            (error.nothing_changed(), error.may_retry()),
            (nothing, again),
            "{code}"
        );
        // The type that promises to take back does not begin what it cannot take back.
        let error = stage.of(&scripts, input.clone()).run().await.unwrap_err();
        assert_eq!(error.code(), "not-reversible");
        assert!(error.nothing_changed());
        assert_eq!(
            stage.of(&scripts, input).undo().await.unwrap_err().code(),
            "no-undo"
        );
    }
}

#[tokio::test]
async fn only_the_catalogue_is_run_and_nothing_others_can_change() {
    use std::os::unix::fs::PermissionsExt as _;
    let stage = Stage::new();
    stage.script("open.sh", "true\n");
    let path = stage.dir.path().join("scripts/open.sh");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let scripts = stage.for_good(false);
    for name in ["../evil", "nothing", "open", "a/b", ""] {
        let error = stage
            .of(&scripts, json!({ "script": name }))
            .run()
            .await
            .unwrap_err();
        assert!(
            error.nothing_changed() && error.code() == "not-allowed",
            "{name}: {error}"
        );
    }
    let inline = || json!({ "inline": { "language": "sh", "text": "echo mine" } });
    let error = stage.of(&scripts, inline()).run().await.unwrap_err();
    assert!(error.to_string().contains("inline is off"), "{error}");
    let ran = stage
        .of(&stage.for_good(true), inline())
        .run()
        .await
        .unwrap();
    assert_eq!(ran.stdout, "mine\n");
    assert_eq!(
        stage
            .of(&scripts, json!({}))
            .run()
            .await
            .unwrap_err()
            .code(),
        "input-misfit"
    );
}

/// A variable or a file as its entry says, files of their names where there is none; never an argument, and never in what is seen.
#[tokio::test]
async fn a_script_is_handed_its_secrets_and_shows_them_nowhere() {
    let stage = Stage::new();
    let text = "tr '\\0' ' ' < /proc/$$/cmdline > DIR/line; printf '%s|%s' \"$TOKEN\" \"$(cat \"$HOME/key\")\" | tee DIR/got; stat -c ' %a' \"$HOME/key\"\n";
    stage.script("told.sh", text);
    stage.script("told.undo.sh", "cat \"$HOME/key\" > DIR/undone\n");
    let read = |name: &str| fs::read_to_string(stage.dir.path().join(name)).unwrap();
    let input = |secrets: Value| json!({ "script": "told", "secrets": secrets });
    let both = json!({ "token": "hunter2hunter2", "key": "correct horse" });
    let scripts =
        stage.scripts_of("[told]\nsecrets.token.env = \"TOKEN\"\nsecrets.key.file = \"key\"\n");
    let ran = stage.of(&scripts, input(both)).run().await.unwrap();
    assert_eq!(read("got"), "hunter2hunter2|correct horse");
    assert_eq!(ran.stdout, "***|*** 600\n");
    assert!(!read("line").contains("hunter2") && !read("line").contains("horse"));
    let error = stage.of(&scripts, input(json!({ "key": "x" }))).run().await;
    assert_eq!(error.unwrap_err().code(), "argument-refused");

    // Nothing is said of it: a file for each.
    let scripts = stage.scripts(false);
    let case = || stage.of(&scripts, input(json!({ "key": "correct horse" })));
    let ran = case().run().await.unwrap();
    assert_eq!(
        (read("got").as_str(), ran.stdout.as_str()),
        ("|correct horse", "|*** 600\n")
    );
    case().undo().await.unwrap();
    assert_eq!(read("undone"), "correct horse");
    for name in ["script", "args.json", "result.json", "../up", ""] {
        let error = stage.of(&scripts, input(json!({ name: "x" }))).run().await;
        assert_eq!(error.unwrap_err().code(), "argument-refused", "{name}");
    }
    let left = fs::read_dir(stage.dir.path().join("runs")).unwrap();
    assert_eq!(left.count(), 0);
}

#[tokio::test]
async fn what_is_said_of_a_script_holds_for_it() {
    use sha2::Digest as _;
    let stage = Stage::new();
    stage.script("looks.sh", "test -e DIR/there\n");
    let hash = sha2::Sha256::digest(fs::read(stage.dir.path().join("scripts/looks.sh")).unwrap());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    // What only looks changes nothing, whatever it says.
    let scripts = stage.scripts_of(&format!(
        "[looks]\neffect = \"none\"\nsha256 = \"{hash}\"\n"
    ));
    let case = || stage.of(&scripts, json!({ "script": "looks" }));
    let error = case().run().await.unwrap_err();
    assert!(
        error.nothing_changed() && error.code() == "script-failed",
        "{error}"
    );
    case().undo().await.unwrap();
    fs::write(stage.dir.path().join("there"), "").unwrap();
    case().run().await.unwrap();
    stage.script("looks.sh", "touch DIR/changed\n");
    let error = case().run().await.unwrap_err();
    assert_eq!(error.code(), "script-changed");
    assert!(!stage.dir.path().join("changed").exists());

    for (toml, why) in [
        ("[nothing]\n", "no script `nothing`"),
        ("[looks]\nsha256 = \"abc\"\n", "no SHA-256"),
        (
            "[looks]\nsecrets.x.file = \"script\"\n",
            "files of the run itself",
        ),
        ("[looks]\ncapabilities = [\"god\"]\n", "no capability"),
    ] {
        let made = ScriptRun::from(&stage.config(false), &said(toml), &stage.processes);
        let error = made.unwrap_err().to_string();
        assert!(error.contains(why), "{toml}: {error}");
    }
}

const TESTS: &str = r#"
[suite]
program = "/bin/sh"
args = ["-c", "mkdir -p out; cat > out/junit.xml; echo ran; exit {code}", "x"]
dirs = ["DIR"]
effect = "none"
params.code.pattern = "[0-9]+"

[reports]
program = "/bin/sh"
args = ["-c", "mkdir -p out; printf '%s' \"$1\" > out/junit.xml; exit \"$2\"", "x", "{report}", "{code}"]
dirs = ["DIR"]
effect = "none"
params.code.pattern = "[0-9]+"
params.report.pattern = ".*"

[disk]
program = "/bin/sh"
args = ["-c", "echo free 42; exit {code}"]
effect = "none"
params.code.pattern = "[0-9]+"

[changes]
program = "/bin/true"
effect = "irreversible"
"#;

fn commands(
    stage: &Stage,
) -> std::collections::BTreeMap<String, baton_fleet::config::CommandConfig> {
    toml::from_str(&TESTS.replace("DIR", stage.dir.path().to_str().unwrap())).unwrap()
}

#[tokio::test]
async fn tests_are_counted_and_their_failures_named() {
    let stage = Stage::new();
    let tests = TestRun::allowing(&commands(&stage), &stage.processes).unwrap();
    let go = async |report: &str, code: i32, expect: Value| -> Result<TestRunOutput, TaskError> {
        let input = json!({
            "command": "reports", "args": { "report": report, "code": code },
            "dir": stage.dir.path(), "junit": "out/junit.xml", "expect": expect
        });
        stage.of(&tests, input).run().await
    };
    let good =
        "<testsuite><testcase name='a'/><testcase name='b'><skipped/></testcase></testsuite>";
    let bad = "<testsuite><testcase name='a'/><testcase name='b' classname='m'><failure/></testcase></testsuite>";
    let ran = go(good, 0, json!({})).await.unwrap();
    assert_eq!((ran.tests, ran.failed, ran.skipped), (2, 0, 1));
    let error = go(bad, 1, json!({})).await.unwrap_err();
    assert_eq!(error.code(), "tests-failed");
    assert!(
        error.nothing_changed() && error.to_string().contains("1 of 2 tests failed: m::b"),
        "{error}"
    );
    let ran = go(bad, 1, json!({ "failed_max": 1 })).await.unwrap();
    assert_eq!(ran.failed_names, ["m::b"]);
    let codes = [
        (good, 1, json!({}), "test-command-failed"),
        ("<testsuite/>", 0, json!({}), "too-few-tests"),
        ("no report", 0, json!({}), "no-report"),
    ];
    for (report, code, expect, word) in codes {
        assert_eq!(go(report, code, expect).await.unwrap_err().code(), word);
    }
    let input = json!({ "command": "changes", "dir": stage.dir.path() });
    assert_eq!(
        stage.of(&tests, input).run().await.unwrap_err().code(),
        "not-allowed"
    );
    let input = json!({ "command": "suite", "args": { "code": 3 }, "dir": stage.dir.path() });
    assert_eq!(
        stage.of(&tests, input).run().await.unwrap_err().code(),
        "tests-failed"
    );
}

#[tokio::test]
async fn a_check_expects_a_code_and_a_text() {
    let stage = Stage::new();
    let check = CheckCommand::allowing(&commands(&stage), &stage.processes).unwrap();
    let go = async |code: i32, expect: Value| {
        let input = json!({ "command": "disk", "args": { "code": code }, "expect": expect });
        stage.of(&check, input).run().await
    };
    assert_eq!(go(0, json!({})).await.unwrap().stdout, "free 42\n");
    assert_eq!(
        go(3, json!({ "code": 3, "stdout": "^free [0-9]+$" }))
            .await
            .unwrap()
            .code,
        3
    );
    for (code, expect) in [(1, json!({})), (0, json!({ "stdout": "^full" }))] {
        let error = go(code, expect).await.unwrap_err();
        assert!(error.nothing_changed() && error.may_retry(), "{error}");
        assert_eq!(error.code(), "not-as-expected");
    }
    assert_eq!(
        go(0, json!({ "stdout": "(" })).await.unwrap_err().code(),
        "input-misfit"
    );
    let error = stage
        .of(&check, json!({ "command": "changes" }))
        .run()
        .await
        .unwrap_err();
    assert_eq!(error.code(), "not-allowed");
}
