//! One of our programs as its own process, to be watched from outside: started, stopped, frozen, killed, started again.
//!
//! What it prints goes to a file below the target directory; when the test fails, the end of it is printed.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Place, await_some, await_until, binaries, watchdog};

/// Lines of a failed test's processes that are printed.
const TAIL_LINES: usize = 60;
/// One readiness probe over HTTP; many are made.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// How a process is started; kept, so that it can be started again.
#[derive(Clone, Debug)]
pub struct Launch {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
}

impl Launch {
    /// Our binary of that name (`baton-orchestrator`, `baton-worker`, …), built first if need be.
    pub fn binary(name: &str) -> Self {
        Self::program(name, binaries::path_of(name))
    }

    /// Any program; `name` is what its log is called.
    pub fn program(name: &str, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            dir: None,
        }
    }

    /// The same with another program: another version of it.
    #[must_use]
    pub fn instead(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// Runs it on a host of its own.
    #[must_use]
    pub fn on(mut self, place: &Place) -> Self {
        let (program, mut args) = place.wrapped(&self.program);
        args.append(&mut self.args);
        self.program = program;
        self.args = args;
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Sets the working directory; by default the test's own.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Starts it. Panics when it cannot be.
    pub fn start(self) -> Process {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let log = binaries::scratch_dir().join(format!("{}-{}.log", self.name, &id[..12]));
        let child = self.spawn(&log);
        Process {
            launch: self,
            log,
            child: Some(child),
        }
    }

    fn spawn(&self, log: &Path) -> Child {
        let open = fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .and_then(|file| Ok((file.try_clone()?, file)));
        let (out, err) =
            open.unwrap_or_else(|error| panic!("cannot write {}: {error}", log.display()));
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(key, value)| (key, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        // a group of its own: Ctrl-C and the test runner's signals reach it through us only
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn();
        let child = child
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display()));
        watchdog::watch(child.id());
        child
    }
}

/// A started process. Killed, with its children, when dropped.
#[derive(Debug)]
pub struct Process {
    launch: Launch,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Its process id. Panics when it has been ended.
    pub fn pid(&self) -> u32 {
        self.child
            .as_ref()
            .map_or_else(|| panic!("{} has been ended", self.launch.name), Child::id)
    }

    /// Whether it still runs. A frozen one does.
    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Kills it as a power cut would, with its children, and waits until it is gone.
    pub fn kill9(&mut self) {
        self.end();
    }

    /// Freezes it.
    pub fn sigstop(&self) {
        self.signal(Signal::STOP);
    }

    /// Thaws it.
    pub fn sigcont(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to end and waits; panics when it has not ended within `limit`.
    pub async fn sigterm_and_wait(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(limit).await
    }

    /// Waits until it ends by itself; panics when it has not within `limit`.
    pub async fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("process {} ({}) to end", self.pid(), self.launch.name);
        let status = await_some(&what, limit, async || {
            self.child.as_mut()?.try_wait().ok().flatten()
        })
        .await;
        // it may have left children behind; they go with it
        self.end();
        status
    }

    /// Starts it again, with the same arguments and log, after it has ended or been killed.
    pub fn start_again(&mut self) {
        assert!(!self.is_running(), "{} runs already", self.launch.name);
        self.end();
        self.child = Some(self.launch.spawn(&self.log));
    }

    /// Everything it has printed so far, over all its starts.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until it has printed a line that contains `text`, and returns the line. Panics at once when it ends before.
    pub async fn wait_for_line(&mut self, text: &str, limit: Duration) -> String {
        let what = format!("{} to print {text:?}", self.launch.name);
        await_some(&what, limit, async || {
            let ended = !self.is_running();
            let found = self
                .log()
                .lines()
                .find(|line| line.contains(text))
                .map(str::to_owned);
            assert!(
                found.is_some() || !ended,
                "{} ended without printing {text:?}",
                self.launch.name
            );
            found
        })
        .await
    }

    /// Waits until `GET url` is answered with success. Panics at once when it ends before.
    pub async fn wait_for_http(&mut self, url: &str, limit: Duration) {
        let what = format!("{} to answer {url}", self.launch.name);
        let client = reqwest::Client::builder()
            .timeout(PROBE_LIMIT)
            .no_proxy()
            .build();
        let client = client.unwrap_or_else(|error| panic!("cannot build an HTTP client: {error}"));
        await_until(&what, limit, async || {
            assert!(
                self.is_running(),
                "{} ended before it answered {url}",
                self.launch.name
            );
            client
                .get(url)
                .send()
                .await
                .is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    fn signal(&self, which: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let sent = pid.map(|pid| kill_process(pid, which));
        assert!(
            matches!(sent, Some(Ok(()))),
            "cannot signal {}: {sent:?}",
            self.launch.name
        );
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            kill_group(child.id());
            let _ = child.wait();
            watchdog::leave(child.id());
        }
    }
}

impl Drop for Process {
    #[expect(
        clippy::print_stderr,
        reason = "the log of a failed test belongs in its output"
    )]
    fn drop(&mut self) {
        let last = self
            .child
            .as_mut()
            .and_then(|child| child.try_wait().ok().flatten());
        self.end();
        if !std::thread::panicking() {
            let _ = fs::remove_file(&self.log);
            return;
        }
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let how = match last {
            Some(status) => status.signal().map_or(status.to_string(), |signal| {
                format!("killed by signal {signal}")
            }),
            None => "running or ended by the test".to_owned(),
        };
        eprintln!(
            "--- {} ({how}), the end of {}:",
            self.launch.name,
            self.log.display()
        );
        for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
            eprintln!("{line}");
        }
    }
}

fn kill_group(group: u32) {
    if let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        // fails when the group has ended already
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
}
