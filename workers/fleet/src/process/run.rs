//! What is to be run: a program, its arguments, and what it is given.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use super::capabilities::Capabilities;
use super::limits::Limits;
use super::pins::Pin;
use super::place::RESULT;
use super::run_error::RunError;
use super::sandbox::Sandbox;
use super::umask::Umask;
use super::user::User;
use baton_worker::Masks;

/// Never taken, from whomever: they change what a program loads or runs before it reads its first argument.
const NEVER: [&str; 12] = [
    "BASH_ENV",
    "ENV",
    "IFS",
    "SHELLOPTS",
    "BASHOPTS",
    "PS4",
    "GCONV_PATH",
    "PERL5OPT",
    "RUBYOPT",
    "NODE_OPTIONS",
    "JAVA_TOOL_OPTIONS",
    "PATH",
];
/// Likewise, by how they begin.
const NEVER_PREFIXES: [&str; 4] = ["LD_", "DYLD_", "BASH_FUNC_", "BATON_"];
/// Taken from the automation, which knows what it does, and never from a task.
const NOT_FROM_TASKS: [&str; 6] = ["GIT_", "ANSIBLE_", "PYTHON", "PERL", "RUBY", "TCL"];
/// Made by the kit.
const OURS: [&str; 4] = ["HOME", "TMPDIR", "LANG", "LC_ALL"];

/// What is to be run. Made by an automation, which answers for it; what comes from a task goes through [`Run::env_of_task`] and is otherwise
/// only ever one element of `args`.
#[derive(Debug, Clone)]
pub struct Run {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: BTreeMap<String, OsString>,
    pub(crate) refused: Option<String>,
    pub(crate) stdin: Option<Vec<u8>>,
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) limits: Limits,
    pub(crate) masks: Masks,
    pub(crate) user: Option<User>,
    pub(crate) may_gain_privileges: bool,
    pub(crate) capabilities: Capabilities,
    pub(crate) sandbox: Sandbox,
    pub(crate) umask: Option<Umask>,
    pub(crate) pin: Option<Pin>,
    pub(crate) files_pinned: Vec<Pin>,
    pub(crate) keep_failed: bool,
    pub(crate) prints_secret: bool,
}

impl Run {
    /// A program, by its absolute path or by a name that is looked up in the fixed `PATH`.
    #[must_use]
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            refused: None,
            stdin: None,
            files: Vec::new(),
            dir: None,
            timeout: None,
            limits: Limits::default(),
            masks: Masks::default(),
            user: None,
            may_gain_privileges: false,
            capabilities: Capabilities::NONE,
            sandbox: Sandbox::None,
            umask: None,
            pin: None,
            files_pinned: Vec::new(),
            keep_failed: true,
            prints_secret: false,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        self.args.extend(args);
        self
    }

    /// A variable the automation itself sets. What no run may have ([module](super)) is refused when it is run.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<OsString>) -> Self {
        let (name, value) = (name.into(), value.into());
        match never(&name) {
            Some(why) => self.refused = Some(why),
            None => {
                self.env.insert(name, value);
            }
        }
        self
    }

    /// A variable a task asks for: refused as well when it would steer a tool (`GIT_*`, `PYTHON*` …).
    #[must_use]
    pub fn env_of_task(mut self, name: &str, value: &str) -> Self {
        if NOT_FROM_TASKS.iter().any(|prefix| name.starts_with(prefix)) {
            self.refused = Some(format!("a task may not set the variable {name}"));
            return self;
        }
        self.env(name, value)
    }

    /// What it reads on its standard input; nothing otherwise.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// A file put into its own folder (mode 0600) beforehand, by a plain name: the way for secrets and large input. Its path is that name
    /// relative to `HOME`, which is that folder.
    #[must_use]
    pub fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.to_owned(), content.into()));
        self
    }

    /// Where it runs; its own folder otherwise.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Its own time limit, beside that of the attempt.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Its other limits.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What must not be seen in what it prints and returns, beside every secret the worker knows.
    #[must_use]
    pub fn masks(mut self, masks: Masks) -> Self {
        self.masks = masks;
        self
    }

    /// As whom it runs.
    #[must_use]
    pub const fn user(mut self, user: Option<User>) -> Self {
        self.user = user;
        self
    }

    /// Lets set-user-id programs (sudo) work below it. They stay within the tree and are killed with it, as far as the worker may kill them.
    #[must_use]
    pub const fn may_gain_privileges(mut self, may: bool) -> Self {
        self.may_gain_privileges = may;
        self
    }

    /// The capabilities it keeps of those the worker has; none otherwise.
    #[must_use]
    pub const fn capabilities(mut self, kept: Capabilities) -> Self {
        self.capabilities = kept;
        self
    }

    /// How far it reaches.
    #[must_use]
    pub fn sandbox(mut self, sandbox: Sandbox) -> Self {
        self.sandbox = sandbox;
        self
    }

    /// What its new files are born without; as the worker's configuration says otherwise.
    #[must_use]
    pub const fn umask(mut self, umask: Option<Umask>) -> Self {
        self.umask = umask;
        self
    }

    /// What its program has to be, and what else has to be what it was: looked at before it is started.
    #[must_use]
    pub fn pinned(mut self, program: Option<Pin>, files: &[Pin]) -> Self {
        self.pin = program;
        self.files_pinned = files.to_vec();
        self
    }

    /// Does not keep its folder after a failure either: for what is run again and again, and for what writes secrets there.
    #[must_use]
    pub const fn keep_nothing(mut self) -> Self {
        self.keep_failed = false;
        self
    }

    /// What it prints is a secret, and wanted as it is: nothing of it is masked or kept, and nobody but the caller may see it.
    #[must_use]
    pub const fn prints_secret(mut self) -> Self {
        self.prints_secret = true;
        self.keep_nothing()
    }

    /// Whether everything asked for so far is allowed.
    ///
    /// # Errors
    /// [`RunError::Refused`], with the name of what is not.
    pub fn allowed(&self) -> Result<(), RunError> {
        self.checked()
    }

    /// The arguments, for people and tests.
    #[cfg(test)]
    pub(crate) fn shown_args(&self) -> String {
        format!("{:?}", self.args)
    }

    /// The program's name, for people.
    pub(crate) fn name(&self) -> String {
        let path = std::path::Path::new(&self.program);
        path.file_name()
            .unwrap_or(&self.program)
            .display()
            .to_string()
    }

    /// What types cannot say.
    pub(crate) fn checked(&self) -> Result<(), RunError> {
        if let Some(why) = &self.refused {
            return Err(RunError::Refused(why.clone()));
        }
        let zero = |text: &OsString| text.as_encoded_bytes().contains(&0);
        if zero(&self.program) || self.args.iter().any(zero) || self.env.values().any(zero) {
            return Err(RunError::Refused(
                "an argument or variable holds a zero byte".to_owned(),
            ));
        }
        let plain = |name: &str| {
            !name.is_empty() && !name.contains('/') && ![".", "..", RESULT].contains(&name)
        };
        if let Some((name, _)) = self.files.iter().find(|(name, _)| !plain(name)) {
            return Err(RunError::Refused(format!("`{name}` is no plain file name")));
        }
        Ok(())
    }
}

/// Why nobody may set this variable, if so.
fn never(name: &str) -> Option<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(word) || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Some(format!("`{name}` is no name of a variable"));
    }
    if OURS.contains(&name) {
        return Some(format!("the variable {name} is set by the worker"));
    }
    let refused = NEVER.contains(&name) || NEVER_PREFIXES.iter().any(|p| name.starts_with(p));
    refused
        .then(|| format!("the variable {name} is refused: it changes what a program loads or runs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_steer_programs_are_refused() {
        let refused = |run: Run| matches!(run.checked(), Err(RunError::Refused(_)));
        for name in [
            "LD_PRELOAD",
            "BASH_ENV",
            "BASH_FUNC_ls%%",
            "PATH",
            "IFS",
            "HOME",
            "",
            "1A",
            "A B",
            "BATON_RUN",
        ] {
            assert!(refused(Run::new("true").env(name, "x")), "{name}");
        }
        for name in [
            "GIT_SSH_COMMAND",
            "PYTHONPATH",
            "ANSIBLE_CONFIG",
            "LD_LIBRARY_PATH",
        ] {
            assert!(refused(Run::new("true").env_of_task(name, "x")), "{name}");
        }
        assert!(!refused(Run::new("true").env("GIT_TERMINAL_PROMPT", "0")));
        assert!(!refused(Run::new("true").env_of_task("RELEASE", "r2")));
        assert!(refused(Run::new("true").arg("a\0b")));
        for name in ["../up", "..", "", "result.json"] {
            assert!(refused(Run::new("true").file(name, "x")), "{name}");
        }
    }
}
