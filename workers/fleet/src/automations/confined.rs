//! What an entry of the configuration says of the rights of what it runs, made ready once, at the start: a worker that cannot keep its word
//! does not start.

use baton_worker::TaskError;

use crate::process::{Capabilities, Limits, Run, Sandbox, Umask, User};

/// As whom something runs, with which rights, and how far it reaches. A task has no say in it.
#[derive(Debug, Clone)]
pub(crate) struct Confined {
    user: Option<User>,
    may_gain_privileges: bool,
    capabilities: Capabilities,
    sandbox: Sandbox,
    umask: Option<Umask>,
    limits: Limits,
    env: Vec<(String, String)>,
}

/// The same, as it stands in the configuration.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    pub(crate) user: Option<&'a str>,
    pub(crate) may_gain_privileges: bool,
    pub(crate) capabilities: &'a [String],
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) umask: Option<Umask>,
    pub(crate) limits: Limits,
    pub(crate) env: &'a [String],
}

impl Confined {
    /// What these words say; what is wrong with them, as a part of a sentence.
    pub(crate) fn new(words: &Words<'_>) -> Result<Self, String> {
        let user = words.user.map(User::named).transpose();
        let user = user.map_err(|error| error.to_string())?;
        let capabilities = Capabilities::named(words.capabilities);
        let capabilities = capabilities.map_err(|why| format!("capabilities: {why}"))?;
        let sandbox = words.sandbox.clone();
        sandbox
            .offered()
            .map_err(|error| format!("sandbox: {error}"))?;
        if sandbox != Sandbox::None && words.may_gain_privileges {
            return Err(
                "sandbox: what may gain privileges cannot be shut in; take away one of sandbox and may_gain_privileges"
                    .to_owned(),
            );
        }
        let env = words.env.iter().map(|text| variable(text));
        Ok(Self {
            user,
            may_gain_privileges: words.may_gain_privileges,
            capabilities,
            sandbox,
            umask: words.umask,
            limits: words.limits,
            env: env.collect::<Result<_, _>>()?,
        })
    }

    /// A run with these rights.
    pub(crate) fn confine(&self, run: Run) -> Run {
        let run = run
            .limits(self.limits)
            .user(self.user)
            .may_gain_privileges(self.may_gain_privileges)
            .capabilities(self.capabilities)
            .sandbox(self.sandbox.clone())
            .umask(self.umask);
        let env = self.env.iter();
        env.fold(run, |run, (name, value)| run.env(name, value.as_str()))
    }
}

/// One `NAME=value`.
fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| format!("env: `{text}` is not NAME=value"))?;
    Run::new("")
        .env(name, value)
        .allowed()
        .map_err(|error| format!("env: {error}"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The entry says that what it runs can be taken back, or that it only looks; else it is refused before anything is started.
pub(crate) fn not_reversible(what: &str, other: &str) -> TaskError {
    TaskError::failed(
        "not-reversible",
        format!(
            "{what} cannot be taken back, which this type promises: use {other} for it, as the saga's pivot, after it, or with `undo: none`"
        ),
    )
}
