//! `git`, as the automations call it: without anybody's configuration, hooks, prompts or helpers, speaking only the protocol of an allowed
//! address, its credentials handed over where no other process can read them.

use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use baton_worker::{Context, Masks, SecretText, TaskError};

use super::rooted::{RootError, Roots};
use crate::config::GitConfig;
use crate::process::{Changes, Ended, Processes, Run};

/// How long one call may take beside the time limit of the attempt.
const CALL_WAIT: Duration = Duration::from_secs(3600);
/// Who commits where the configuration names nobody.
const AUTHOR: (&str, &str) = ("Baton", "baton@localhost");

/// The file of a call's own folder with the authorities to trust.
const AUTHORITIES: &str = "authorities.pem";

/// Settings of every call: nothing of a repository or a host may run a program, and nothing is asked of a person.
const SETTINGS: [&str; 13] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.pager=cat",
    "core.askPass=true",
    "credential.helper=",
    "protocol.allow=never",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
    "commit.gpgSign=false",
    "http.followRedirects=false",
];

/// What every `git.*` automation works with.
#[derive(Debug, Clone)]
pub struct Git {
    processes: Processes,
    pub(crate) roots: Arc<Roots>,
    repositories: Arc<[String]>,
    author: (String, String),
    ssh: OsString,
    ca_pem: Arc<str>,
    authorities: Arc<OnceLock<String>>,
}

/// A repository that may be spoken to.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    pub(crate) address: String,
    protocol: &'static str,
    authorization: Option<String>,
    /// Whatever the other end says of the token is not seen.
    masks: Masks,
}

impl Git {
    /// With what the configuration allows. `ca_pem` are authorities to trust beside those of the system.
    ///
    /// # Errors
    /// [`RootError`] when a root is no folder.
    pub fn new(processes: Processes, config: &GitConfig, ca_pem: &str) -> Result<Self, RootError> {
        Ok(Self {
            processes,
            roots: Arc::new(Roots::new(&config.roots)?),
            repositories: config.repositories.clone().into(),
            author: author(config.author.as_deref()),
            ssh: ssh(config),
            ca_pem: ca_pem.into(),
            authorities: Arc::default(),
        })
    }

    /// The authorities git is told to trust, those of the system included, as PEM; none when it may go by its own.
    #[must_use]
    pub fn authorities(&self) -> Option<&str> {
        if self.ca_pem.is_empty() {
            return None;
        }
        // One setting names them all: a file with ours alone would shut out every public host.
        Some(self.authorities.get_or_init(|| {
            let system = rustls_native_certs::load_native_certs().certs;
            let all: String = system.iter().map(|one| pem(one)).collect();
            all + &self.ca_pem
        }))
    }

    /// The mode of a folder that is made for a checkout.
    pub(crate) fn folder_mode(&self) -> u32 {
        self.processes.umask().of_folder()
    }

    /// The repository at `address`, if it may be spoken to.
    ///
    /// # Errors
    /// A failed attempt when it may not.
    pub(crate) fn remote(
        &self,
        address: &str,
        token: Option<&SecretText>,
    ) -> Result<Remote, TaskError> {
        let denied = |why: &str| {
            TaskError::failed(
                "repository-denied",
                format!("the repository {address} {why}"),
            )
        };
        let plain = !address.starts_with('-')
            && !address.contains("::")
            && !address.chars().any(char::is_control)
            && !address.split('/').any(|part| part == "..");
        if !plain {
            return Err(denied("is no plain address"));
        }
        let allowed = self.repositories.iter().any(|known| {
            address == known || (known.ends_with('/') && address.starts_with(known.as_str()))
        });
        if !allowed {
            return Err(denied(
                "may not be spoken to by this worker; its configuration would have to name it in `automations.git.repositories`",
            ));
        }
        let protocol = protocol(address)
            .ok_or_else(|| denied("is spoken to by none of file, https, http, ssh"))?;
        if address
            .split_once("://")
            .is_some_and(|(scheme, rest)| scheme.starts_with("http") && user_part(rest))
        {
            return Err(denied("holds a user or a password; give it as `token`"));
        }
        let authorization = match token {
            Some(token) if protocol == "https" || protocol == "http" => {
                Some(basic(token.reveal()?))
            }
            Some(_) => {
                return Err(denied(
                    "is not spoken to over https, where a `token` counts",
                ));
            }
            None => None,
        };
        let shown_nowhere = token.map(SecretText::reveal).transpose()?;
        Ok(Remote {
            address: address.to_owned(),
            protocol,
            authorization,
            masks: Masks::of(shown_nowhere),
        })
    }

    /// A call that only looks, in `dir`.
    pub(crate) fn looking<'a>(&'a self, context: &'a Context, dir: &'a Path) -> Call<'a> {
        Call {
            git: self,
            context,
            dir,
            remote: None,
            changes: Changes::Nothing,
            env: None,
        }
    }

    /// A call that may change something, in `dir`.
    pub(crate) fn changing<'a>(&'a self, context: &'a Context, dir: &'a Path) -> Call<'a> {
        Call {
            changes: Changes::Something,
            ..self.looking(context, dir)
        }
    }
}

/// One call of git.
pub(crate) struct Call<'a> {
    git: &'a Git,
    context: &'a Context,
    dir: &'a Path,
    remote: Option<&'a Remote>,
    changes: Changes,
    env: Option<(&'static str, &'a str)>,
}

impl<'a> Call<'a> {
    /// May speak to this repository.
    pub(crate) const fn with(mut self, remote: &'a Remote) -> Self {
        self.remote = Some(remote);
        self
    }

    /// With one more variable.
    pub(crate) const fn env(mut self, name: &'static str, value: &'a str) -> Self {
        self.env = Some((name, value));
        self
    }

    /// Calls; returns what it printed, without the last line end.
    ///
    /// # Errors
    /// A failed attempt when it only looks, or else an unknown one, when git says no or was ended.
    pub(crate) async fn text(self, args: &[&str]) -> Result<String, TaskError> {
        let changes = self.changes;
        let what = format!("git {}", args.first().unwrap_or(&""));
        let ended = self.ended(args).await?;
        if ended.success() {
            return Ok(ended.stdout.text.trim_end_matches('\n').to_owned());
        }
        Err(complaint(&ended, &what, changes))
    }

    /// Calls; returns how it ended, well or not.
    ///
    /// # Errors
    /// When it did not come to its own end.
    pub(crate) async fn ended(self, args: &[&str]) -> Result<Ended, TaskError> {
        let changes = self.changes;
        let context = self.context;
        let git = self.git;
        let run = self.run(args);
        let ended = git.processes.run(context, run).await;
        ended.map_err(|error| error.into_task_error(changes))
    }

    fn run(self, args: &[&str]) -> Run {
        let (name, email) = &self.git.author;
        let mut settings: Vec<String> = SETTINGS.iter().map(|s| (*s).to_owned()).collect();
        let mut authorities = None;
        if let Some(remote) = self.remote {
            settings.push(format!("protocol.{}.allow=always", remote.protocol));
            if remote.protocol == "https" {
                authorities = self.git.authorities();
            }
        }
        let mut run = Run::new("git")
            .keep_nothing()
            .timeout(CALL_WAIT)
            .dir(self.dir)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .env("GIT_SSH_COMMAND", self.git.ssh.clone())
            .env("GIT_SSH_VARIANT", "ssh")
            .env("GIT_AUTHOR_NAME", name)
            .env("GIT_AUTHOR_EMAIL", email)
            .env("GIT_COMMITTER_NAME", name)
            .env("GIT_COMMITTER_EMAIL", email);
        // Not as an argument, which everybody on the host can read.
        if let Some(authorization) = self.remote.and_then(|remote| remote.authorization.as_ref()) {
            run = run
                .env("GIT_CONFIG_COUNT", "1")
                .env("GIT_CONFIG_KEY_0", "http.extraHeader")
                .env("GIT_CONFIG_VALUE_0", authorization);
        }
        if let Some(remote) = self.remote {
            run = run.masks(remote.masks.clone());
        }
        if let Some(authorities) = authorities {
            settings.push(format!("http.sslCAInfo=~/{AUTHORITIES}"));
            run = run.file(AUTHORITIES, authorities);
        }
        if let Some((name, value)) = self.env {
            run = run.env(name, value);
        }
        for setting in settings {
            run = run.arg("-c").arg(setting);
        }
        run.args(args)
    }
}

/// What git complained of, as the end of an attempt.
pub(crate) fn complaint(ended: &Ended, what: &str, changes: Changes) -> TaskError {
    let said = ended.complaint(what);
    match changes {
        Changes::Nothing => TaskError::failed("git", said).retryable(),
        Changes::Something => TaskError::unknown("git", said),
    }
}

/// Whether git would take `text` for the name of a branch, a tag or a commit, and not for an option or an expression.
pub(crate) fn is_plain_ref(text: &str) -> bool {
    let odd = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
    !text.is_empty()
        && !text.starts_with(['-', '/', '.'])
        && !text.ends_with(['/', '.'])
        && !text.contains("..")
        && !text.contains("@{")
        && !text.contains("//")
        && !text.chars().any(odd)
}

/// Whether `text` is the whole name of a commit.
pub(crate) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.chars().all(|c| c.is_ascii_hexdigit())
}

fn protocol(address: &str) -> Option<&'static str> {
    match address.split_once("://") {
        Some(("https", _)) => Some("https"),
        Some(("http", _)) => Some("http"),
        Some(("ssh", _)) => Some("ssh"),
        Some(("file", _)) => Some("file"),
        Some(_) => None,
        None if address.starts_with('/') => Some("file"),
        // host:path, as scp has it
        None => address.contains(':').then_some("ssh"),
    }
}

fn user_part(rest: &str) -> bool {
    rest.split('/')
        .next()
        .is_some_and(|host| host.contains('@'))
}

fn basic(token: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    // A name is wanted, and none of the hosts that take tokens looks at it.
    let pair = format!("token:{token}");
    format!("Authorization: Basic {}", BASE64.encode(pair))
}

/// A certificate as PEM.
fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    const LINE: usize = 64;
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for (number, letter) in BASE64.encode(der).chars().enumerate() {
        if number > 0 && number.is_multiple_of(LINE) {
            text.push('\n');
        }
        text.push(letter);
    }
    text + "\n-----END CERTIFICATE-----\n"
}

fn author(text: Option<&str>) -> (String, String) {
    let named = text.and_then(|text| {
        let (name, email) = text.trim().strip_suffix('>')?.split_once('<')?;
        Some((name.trim().to_owned(), email.trim().to_owned()))
    });
    named.unwrap_or_else(|| (AUTHOR.0.to_owned(), AUTHOR.1.to_owned()))
}

/// The command by which git calls ssh: asks nobody, believes no host key it does not know.
fn ssh(config: &GitConfig) -> OsString {
    let mut command = OsString::from(
        "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=10 \
         -o ServerAliveInterval=15 -o ServerAliveCountMax=3 -o ForwardAgent=no -o ForwardX11=no \
         -o ClearAllForwardings=yes -o PermitLocalCommand=no",
    );
    // For the shell; and for ssh, which would take a percent sign for something to fill in.
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let plain = |path: &Path| path.display().to_string().replace('%', "%%");
    if let Some(path) = &config.ssh_key_file {
        let key = quoted(&plain(path));
        command.push(format!(" -o IdentitiesOnly=yes -i {key}"));
    }
    if let Some(path) = &config.ssh_known_hosts_file {
        // It takes several, divided by spaces: one with a space in it needs quotes of its own.
        let hosts = quoted(&format!("UserKnownHostsFile=\"{}\"", plain(path)));
        command.push(format!(" -o GlobalKnownHostsFile=/dev/null -o {hosts}"));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ref_is_a_name_and_neither_an_option_nor_an_expression() {
        for plain in [
            "main",
            "v1.2.3",
            "feature/x-1",
            "refs/heads/main",
            "0123abc",
        ] {
            assert!(is_plain_ref(plain), "{plain}");
        }
        for odd in [
            "",
            "-x",
            "--upload-pack=x",
            "a b",
            "main~1",
            "HEAD^",
            "a..b",
            "@{u}",
            "a:b",
            "/a",
            "a/",
            "a//b",
            ".a",
        ] {
            assert!(!is_plain_ref(odd), "{odd}");
        }
        assert!(is_commit(&"a".repeat(40)) && !is_commit("abc") && !is_commit(&"g".repeat(40)));
    }

    #[test]
    fn an_author_has_a_name_and_an_address() {
        let named = author(Some("Anna Ek <anna@example.org>"));
        assert_eq!(named, ("Anna Ek".to_owned(), "anna@example.org".to_owned()));
        assert_eq!(author(Some("nobody")).0, "Baton");
    }

    #[test]
    fn protocols_are_told_apart() {
        for (address, is) in [
            ("/srv/git/site.git", Some("file")),
            ("file:///srv/git/site.git", Some("file")),
            ("https://git.example/a", Some("https")),
            ("git@git.example:a", Some("ssh")),
            ("ssh://git@git.example/a", Some("ssh")),
            ("ext::sh -c true", Some("ssh")),
            ("git://git.example/a", None),
            ("relative", None),
        ] {
            assert_eq!(protocol(address), is, "{address}");
        }
    }
}
