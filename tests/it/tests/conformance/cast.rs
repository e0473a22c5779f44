//! Who is played to: how each worker is started, and by which types it plays the roles of the cases.

use std::path::PathBuf;

use baton_harness::{Broker, Launch, Ledger};
use serde_json::{Value, json};

use crate::root;
use crate::stage::variable;

/// What nobody but the worker may ever say.
pub(crate) const SECRET: &str = "open\"sesame-47-11";

/// One worker, and what all of its cases share.
#[derive(Debug)]
pub(crate) struct Cast {
    language: Language,
    pub(crate) broker: Broker,
    pub(crate) ledger: Ledger,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Rust,
    Python,
    Ruby,
}

/// Debian's: a Python that comes first in the path need not have Debian's libraries.
const PYTHON: &str = "/usr/bin/python3";
const RUBY: &str = "/usr/bin/ruby";

impl Cast {
    /// Our own.
    pub(crate) async fn rust() -> Self {
        Self::of(Language::Rust).await
    }

    /// The client in Python; or why it cannot be tried.
    pub(crate) async fn python() -> Result<Self, String> {
        runs(PYTHON, &["-c", "import pika, jsonschema"])
            .then_some(())
            .ok_or("the Python client: python3-pika or python3-jsonschema is not installed")?;
        Ok(Self::of(Language::Python).await)
    }

    /// The client in Ruby; or why it cannot be tried.
    pub(crate) async fn ruby() -> Result<Self, String> {
        runs(RUBY, &["-e", "require 'bunny'; require 'json-schema'"])
            .then_some(())
            .ok_or("the Ruby client: ruby-bunny or ruby-json-schema is not installed")?;
        Ok(Self::of(Language::Ruby).await)
    }

    async fn of(language: Language) -> Self {
        Self {
            language,
            broker: Broker::shared().await,
            ledger: Ledger::start().await,
        }
    }

    /// How it is started; everything it is told is in its environment.
    pub(crate) fn launch(&self) -> Launch {
        let launch = match self.language {
            Language::Rust => own_commands(Launch::binary("baton-worker"))
                .env(variable("worker.types"), self.types().join(",")),
            Language::Python => {
                Launch::program("python-worker", PYTHON).arg(client("python/example_worker.py"))
            }
            Language::Ruby => {
                Launch::program("ruby-worker", RUBY).arg(client("ruby/example_worker.rb"))
            }
        };
        launch
            .env("DOOR_SECRET", SECRET)
            .env("PYTHONDONTWRITEBYTECODE", "1")
    }

    /// Every type that is played.
    fn types(&self) -> Vec<&'static str> {
        let roles = ["echo", "effect", "late-effect", "put", "tell"];
        roles.map(|role| self.task_type(role)).to_vec()
    }

    /// The type that plays a role.
    pub(crate) fn task_type(&self, role: &str) -> &'static str {
        match (role, self.language) {
            ("echo", _) => "test.echo@1",
            ("effect", _) => "test.effect@1",
            ("late-effect", _) => "test.effect-late@1",
            ("put", Language::Rust) => "file.write@1",
            ("put", _) => "example.put@1",
            ("tell" | "deaf", Language::Rust) => "command.run-irreversible@1",
            ("tell", _) => "example.tell@1",
            ("deaf", _) => "example.deaf@1",
            _ => panic!("nobody plays {role:?}"),
        }
    }

    /// The input as the type that plays the role takes it.
    pub(crate) fn input(&self, role: &str, input: Value) -> Value {
        match (role, self.language) {
            ("tell", Language::Rust) => {
                json!({ "command": format!("tell-{}", input["how"].as_str().unwrap_or("output")), "secrets": { "door": input["door"] } })
            }
            ("deaf", Language::Rust) => {
                json!({ "command": "deaf", "args": { "file": input["path"] } })
            }
            _ => input,
        }
    }
}

/// The commands by which our own worker plays what it has no type for.
fn own_commands(launch: Launch) -> Launch {
    let settings = tempfile::Builder::new()
        .suffix(".toml")
        .tempfile_in(baton_harness::binaries::scratch_dir())
        .expect("a file for the settings can be made");
    let (_, path) = settings.keep().expect("it is kept as long as its worker");
    std::fs::write(&path, OWN_SETTINGS).expect("the settings can be written");
    launch.arg("run").arg("--config").arg(path)
}

const OWN_SETTINGS: &str = r#"
[secrets.door]
env = "DOOR_SECRET"
[commands.tell-output]
program = "/bin/sh"
args = ["-c", "echo the door: $DOOR"]
effect = "irreversible"
secrets.door.env = "DOOR"
[commands.tell-failed]
program = "/bin/sh"
args = ["-c", "echo the door: $DOOR >&2; exit 2"]
effect = "irreversible"
codes_failed = [2]
secrets.door.env = "DOOR"
[commands.tell-raise]
program = "/bin/sh"
args = ["-c", "echo the door: $DOOR >&2; exit 77"]
effect = "irreversible"
secrets.door.env = "DOOR"
[commands.deaf]
program = "/bin/sh"
args = ["-c", "trap '' TERM; while :; do echo on >> \"$0\"; sleep 0.05; done", "{file}"]
params.file.pattern = "/[-_/A-Za-z0-9.]+"
effect = "irreversible"
"#;

fn client(file: &str) -> PathBuf {
    root().join("workers/clients").join(file)
}

fn runs(program: &str, args: &[&str]) -> bool {
    let ran = std::process::Command::new(program).args(args).output();
    ran.is_ok_and(|ran| ran.status.success())
}

/// What every case tells its worker, so that nothing of it takes long.
pub(crate) const SETTINGS: [(&str, &str); 9] = [
    ("worker.heartbeat_ms", "200"),
    // only when it has a reason to, so that a case can tell why
    ("worker.announce_ms", "60000"),
    ("worker.grant_ask_ms", "300"),
    ("worker.grant_wait_ms_max", "20000"),
    ("worker.kill_grace_ms", "400"),
    ("worker.drain_grace_ms", "4000"),
    ("bus.reconnect_ms_max", "300"),
    ("http.listen", "off"),
    ("processes.term_grace_ms", "200"),
];

/// Sets them, and those of a case.
pub(crate) fn settle<'a>(
    launch: Launch,
    of_case: impl Iterator<Item = (&'a String, &'a String)>,
) -> Launch {
    let launch = SETTINGS.iter().fold(launch, |launch, (key, value)| {
        launch.env(variable(key), value)
    });
    of_case.fold(launch, |launch, (key, value)| {
        launch.env(variable(&format!("worker.{key}")), value)
    })
}
