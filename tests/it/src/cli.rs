//! The command-line tool, as its own process, as an operator's shell runs it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use baton_harness::binaries;
use serde_json::Value;

use crate::{SOON, Terminal};

/// `baton`, told where its orchestrator is.
#[derive(Debug, Clone)]
pub struct Cli {
    program: PathBuf,
    url: String,
    token: String,
    dir: PathBuf,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

impl Cli {
    pub(crate) fn new(url: &str, token: &str, dir: &Path) -> Self {
        Self {
            program: binaries::path_of("baton"),
            url: url.to_owned(),
            token: token.to_owned(),
            dir: dir.to_owned(),
        }
    }

    /// One that has no orchestrator: what needs none is run with it.
    pub fn nowhere(dir: &Path) -> Self {
        Self::new("http://127.0.0.1:9", "", dir)
    }

    /// The same tool with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    /// Where files named without a folder lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The same tool in a terminal of so many columns and lines, with these arguments.
    pub fn terminal(&self, columns: u16, rows: u16, args: &[&str]) -> Terminal {
        self.terminal_with(columns, rows, args, &[])
    }

    /// The same, with these variables.
    pub fn terminal_with(
        &self,
        columns: u16,
        rows: u16,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Terminal {
        let command = pty_process::Command::new(&self.program)
            .args(args)
            .current_dir(&self.dir)
            .envs(self.env())
            .envs(env.iter().copied())
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .env_remove("COLUMNS")
            .kill_on_drop(true);
        Terminal::start(command, columns, rows)
    }

    /// How it would be run, its output for the test to take.
    pub fn command(&self, args: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(args)
            .current_dir(&self.dir)
            .envs(self.env())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    fn env(&self) -> [(&str, &str); 2] {
        [("BATON_URL", &self.url), ("BATON_TOKEN", &self.token)]
    }

    /// Runs it with these arguments and waits until it ends.
    pub async fn run(&self, args: &[&str]) -> Ran {
        let running = self.command(args).output();
        let output = tokio::time::timeout(SOON, running).await;
        let output = output
            .unwrap_or_else(|_| panic!("baton {args:?} has not ended after {SOON:?}"))
            .expect("baton can be run");
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// The exit code was this.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    /// Its output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}\n{}", self.out, self.err))
    }
}
