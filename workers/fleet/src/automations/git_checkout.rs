//! `git.checkout@1`: puts one exact commit of a repository into a folder, and can put back what was there.
//!
//! A name (branch, tag) is turned into a commit once, and that commit is stored with what was found: every further attempt brings the same
//! one, whatever the branch has become. A new folder is filled beside its place and renamed into it, whole; a folder that is there has to be
//! a checkout of the same repository without changes of its own, and is switched.
//!
//! What is checked out is readable as its modes in the repository and `processes.umask` say, for a server that serves it; the `.git` of a folder
//! that is made is its owner's alone, for what it holds was never meant to be served.
//!
//! Undo removes the folder it made, or switches back to the commit it found: only when what stands there is still what was put there, as far
//! as git keeps it. Files git does not keep (what a build leaves) are no reason to stop: they go with the folder that was made.

use std::path::{Path, PathBuf};

use baton_worker::{Asked, Automation, Context, Done, Effect, Probe, SecretText, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::git_program::{Git, Remote, is_commit, is_plain_ref};
use super::rooted::{PlaceError, somebody_else};

/// Checks out.
#[derive(Debug, Clone)]
pub struct GitCheckout {
    git: Git,
}

/// A commit of a repository, and where it goes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GitCheckoutInput {
    /// The repository: `https://…`, `ssh://…`, `user@host:path`, or an absolute path; named in the worker's `automations.git.repositories`.
    #[schemars(length(min = 1, max = 1024), extend("x-target" = true))]
    pub repository: String,
    /// A branch, a tag, or the whole name of a commit.
    #[serde(rename = "ref")]
    #[schemars(length(min = 1, max = 255))]
    pub reference: String,
    /// The folder of the checkout: absolute, without links, below one of the worker's `automations.git.roots`; the folder it lies in is
    /// there already. It is made, or it is a checkout of the same repository.
    #[schemars(length(min = 2, max = 1024))]
    pub path: String,
    /// For `https://`: a token, best given as a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretText>,
}

/// What is checked out now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GitCheckoutOutput {
    /// The folder.
    pub path: String,
    /// The whole name of the commit.
    pub commit: String,
    /// The commit that was checked out before; null when the folder was made.
    pub previous: Option<String>,
    /// Whether another commit, or none, was checked out before.
    pub changed: bool,
}

/// What is stored before anything is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    /// What is to be checked out.
    commit: String,
    /// What was found.
    found: Found,
}

/// What stands at the path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Found {
    /// Nothing.
    Absent,
    /// A checkout of the repository.
    At {
        /// The commit.
        commit: String,
        /// The branch, `refs/heads/…`, if it is on one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch: Option<String>,
    },
}

/// What stands at the path, looked at more closely.
struct Seen {
    found: Found,
    /// Whether files git keeps have been changed.
    dirty: bool,
}

/// The folder of a checkout, below a root.
struct Spot {
    /// The path, as the system sees it: without a link.
    path: PathBuf,
    /// Where it is made.
    beside: PathBuf,
}

impl GitCheckout {
    /// By this git.
    #[must_use]
    pub const fn by(git: Git) -> Self {
        Self { git }
    }

    async fn spot(&self, context: &Context, path: &str) -> Result<Spot, TaskError> {
        let (roots, path) = (self.git.roots.clone(), PathBuf::from(path));
        let mark = context.effect_key().to_string();
        let found = context.blocking(move || {
            let place = roots.place(&path)?;
            let path = place.real_path()?;
            let beside = path.with_file_name(format!(".baton-{mark}.part"));
            Ok::<_, PlaceError>(Spot { path, beside })
        });
        found.await?.map_err(PlaceError::untouched)
    }

    /// What stands there; an error when that is nothing of ours to touch.
    async fn look(
        &self,
        context: &Context,
        spot: &Spot,
        repository: &str,
    ) -> Result<Seen, TaskError> {
        let path = spot.path.clone();
        let there = context.blocking(move || std::fs::symlink_metadata(path));
        match there.await? {
            Ok(about) if about.is_dir() => {}
            Ok(_) => return Err(not_ours(spot, "is no folder")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Seen {
                    found: Found::Absent,
                    dirty: false,
                });
            }
            Err(error) => {
                let message = format!("{} cannot be looked at: {error}", spot.path.display());
                return Err(TaskError::failed("file-system", message).retryable());
            }
        }
        if !spot.path.join(".git").is_dir() {
            return Err(not_ours(spot, "is no checkout of its own"));
        }
        let look = |args: &'static [&'static str]| {
            let call = self.git.looking(context, &spot.path);
            async move { call.ended(args).await }
        };
        let origin = look(&["config", "--local", "--get", "remote.origin.url"]).await?;
        if origin.stdout.text.trim_end() != repository {
            return Err(not_ours(spot, "is a checkout of another repository"));
        }
        let head = look(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).await?;
        if !head.success() {
            return Err(not_ours(spot, "has nothing checked out"));
        }
        let branch = look(&["symbolic-ref", "--quiet", "HEAD"]).await?;
        let changes = look(&["status", "--porcelain", "--untracked-files=no"]).await?;
        let named = |text: &str| Some(text.trim().to_owned()).filter(|name| !name.is_empty());
        Ok(Seen {
            found: Found::At {
                commit: head.stdout.text.trim().to_owned(),
                branch: named(&branch.stdout.text),
            },
            dirty: !changes.success() || !changes.stdout.text.trim().is_empty(),
        })
    }

    /// The commit a name stands for, at the repository, now.
    async fn commit(
        &self,
        context: &Context,
        remote: &Remote,
        reference: &str,
    ) -> Result<String, TaskError> {
        if is_commit(reference) {
            return Ok(reference.to_lowercase());
        }
        if !is_plain_ref(reference) {
            let message = format!("{reference:?} is no name of a branch, a tag or a commit");
            return Err(TaskError::failed("input-misfit", message));
        }
        let call = self.git.looking(context, Path::new("/")).with(remote);
        let peeled = format!("{reference}^{{}}");
        let args = ["ls-remote", "--", &remote.address, reference, &peeled];
        let listed = call.text(&args).await?;
        pick(&listed, reference).ok_or_else(|| {
            let message = format!("{} has no {reference}", remote.address);
            TaskError::failed("no-such-ref", message)
        })
    }

    /// Makes the checkout beside its place, and renames it into it.
    async fn make(
        &self,
        context: &Context,
        remote: &Remote,
        spot: &Spot,
        commit: &str,
    ) -> Result<(), TaskError> {
        let beside = spot.beside.clone();
        let mode = self.git.folder_mode();
        context
            .blocking(move || {
                remove_tree(&beside)?;
                make_tree(&beside, mode)
            })
            .await?
            .map_err(|error| {
                let message = format!("no folder can be made beside the checkout: {error}");
                TaskError::failed("file-system", message).retryable()
            })?;
        // What lies beside its place is nobody's: as long as it is not renamed, nothing has changed.
        let call = || self.git.looking(context, &spot.beside);
        call().text(&["init", "--quiet"]).await?;
        call()
            .text(&["remote", "add", "origin", &remote.address])
            .await?;
        self.fetch(context, remote, &spot.beside, commit).await?;
        call()
            .text(&["checkout", "--quiet", "--detach", commit])
            .await?;
        let (from, to) = (spot.beside.clone(), spot.path.clone());
        context
            .blocking(move || rename_fresh(&from, &to))
            .await?
            .map_err(|error| match error {
                rustix::io::Errno::EXIST | rustix::io::Errno::NOTEMPTY => {
                    somebody_else(&spot.path.display().to_string())
                }
                error => {
                    let message = format!("the checkout cannot be renamed into place: {error}");
                    TaskError::unknown("file-system", message)
                }
            })
    }

    /// Brings the commit, unless it is there.
    async fn fetch(
        &self,
        context: &Context,
        remote: &Remote,
        dir: &Path,
        commit: &str,
    ) -> Result<(), TaskError> {
        let object = format!("{commit}^{{commit}}");
        let has = ["cat-file", "-e", &object];
        if self.git.looking(context, dir).ended(&has).await?.success() {
            return Ok(());
        }
        let call = || self.git.looking(context, dir).with(remote);
        let all = [
            "fetch",
            "--quiet",
            "--no-write-fetch-head",
            "--tags",
            "origin",
            "+refs/heads/*:refs/remotes/origin/*",
        ];
        call().text(&all).await?;
        if self.git.looking(context, dir).ended(&has).await?.success() {
            return Ok(());
        }
        // Of no branch or tag; some servers hand it out all the same.
        let one = [
            "fetch",
            "--quiet",
            "--no-write-fetch-head",
            "origin",
            commit,
        ];
        let fetched = call().ended(&one).await?;
        if fetched.success() {
            return Ok(());
        }
        let message = format!(
            "{} does not hand out {commit}: {}",
            remote.address,
            fetched.complaint("git fetch")
        );
        Err(TaskError::failed("no-such-ref", message))
    }

    /// Switches the checkout there is. `force`: what an attempt that was ended has left half switched is no reason to stop.
    async fn switch(
        &self,
        context: &Context,
        spot: &Spot,
        commit: &str,
        force: bool,
    ) -> Result<(), TaskError> {
        context
            .checkpoint_progress(json!({ "switching": true }))
            .await?;
        if force {
            let lock = spot.path.join(".git/index.lock");
            // A leftover of the attempt that was ended: every process of it is gone.
            let _ = context.blocking(move || std::fs::remove_file(lock)).await?;
        }
        let mut args = vec!["checkout", "--quiet", "--detach"];
        args.extend(force.then_some("--force"));
        args.push(commit);
        let call = self.git.changing(context, &spot.path);
        call.text(&args).await.map(|_| ())
    }
}

impl Automation for GitCheckout {
    const TYPE: &'static str = "git.checkout@1";
    const SUMMARY: &'static str = "Puts one exact commit of a git repository into a folder";
    const EFFECT: Effect = Effect::Reversible;
    const IDEMPOTENT: bool = true;
    const BEFORE_IMAGE: bool = true;
    const HAS_UNDO: bool = true;
    const HAS_PROBE: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = 300_000;
    const TIMEOUT_MS_MAX: u64 = 3_600_000;
    const NEEDS: &'static [&'static str] =
        &["git", "repositories and folders named in automations.git"];
    type Input = GitCheckoutInput;
    type Output = GitCheckoutOutput;

    fn examples() -> Vec<GitCheckoutInput> {
        vec![GitCheckoutInput {
            repository: "https://git.example/team/site.git".to_owned(),
            reference: "v1.4.2".to_owned(),
            path: "/srv/releases/1.4.2".to_owned(),
            token: None,
        }]
    }

    async fn run(
        &self,
        context: &Context,
        input: GitCheckoutInput,
    ) -> Result<GitCheckoutOutput, TaskError> {
        let remote = self.git.remote(&input.repository, input.token.as_ref())?;
        let spot = self.spot(context, &input.path).await?;
        let seen = self.look(context, &spot, &input.repository).await?;
        let begun = context.progress().is_some();
        let before = match context.before() {
            Some(stored) => before_of(&stored)?,
            None => {
                if seen.dirty {
                    return Err(not_ours(&spot, "has changes that are not committed"));
                }
                let commit = self.commit(context, &remote, &input.reference).await?;
                let found = seen.found.clone();
                let value = json!(Before { commit, found });
                before_of(&context.checkpoint_before(value).await?)?
            }
        };
        let output = output_of(&input, &before);
        let half = seen.dirty && begun;
        if seen.found.is_at(&before.commit) && !seen.dirty {
            return Ok(output);
        }
        if !half && (seen.dirty || !seen.found.same_commit(&before.found)) {
            return Err(somebody_else(&input.path));
        }
        if seen.found == Found::Absent {
            self.make(context, &remote, &spot, &before.commit).await?;
        } else {
            self.fetch(context, &remote, &spot.path, &before.commit)
                .await?;
            self.switch(context, &spot, &before.commit, half).await?;
        }
        Ok(output)
    }

    async fn undo(&self, context: &Context, done: Done<Self>) -> Result<(), TaskError> {
        // Nothing is ever changed before this is stored.
        let Some(stored) = done.before else {
            return Ok(());
        };
        let before = before_of(&stored)?;
        let path = &done.input.path;
        let spot = self.spot(context, path).await?;
        let beside = spot.beside.clone();
        context
            .blocking(move || remove_tree(&beside))
            .await?
            .map_err(removing)?;
        let seen = self.look(context, &spot, &done.input.repository).await?;
        let half = seen.dirty && done.progress.is_some() && done.output.is_none();
        if seen.found == before.found && !seen.dirty {
            return Ok(());
        }
        let ours = seen.found.is_at(&before.commit) && !seen.dirty;
        let begun =
            half && (seen.found.same_commit(&before.found) || seen.found.is_at(&before.commit));
        if !ours && !begun {
            return Err(somebody_else(path));
        }
        match &before.found {
            Found::Absent => {
                let (from, to) = (spot.path.clone(), spot.beside.clone());
                context
                    .blocking(move || {
                        std::fs::rename(&from, &to)?;
                        remove_tree(&to)
                    })
                    .await?
                    .map_err(removing)
            }
            Found::At { commit, branch } => {
                self.switch(context, &spot, commit, half).await?;
                self.back_on(context, &spot, commit, branch.as_deref())
                    .await
            }
        }
    }

    async fn probe(
        &self,
        context: &Context,
        asked: Asked<Self>,
    ) -> Result<Probe<GitCheckoutOutput>, TaskError> {
        let Some(stored) = asked.before else {
            return Ok(Probe::DidNot);
        };
        let before = before_of(&stored)?;
        let spot = self.spot(context, &asked.input.path).await?;
        let seen = self.look(context, &spot, &asked.input.repository).await?;
        let path = &asked.input.path;
        Ok(match seen {
            Seen { dirty: true, .. } => {
                Probe::CannotTell(format!("{path} has changes that are not committed"))
            }
            Seen { found, .. } if found.is_at(&before.commit) => {
                Probe::Happened(output_of(&asked.input, &before))
            }
            Seen { found, .. } if found.same_commit(&before.found) => Probe::DidNot,
            Seen { .. } => Probe::CannotTell(format!("{path} is at a commit somebody else chose")),
        })
    }
}

impl GitCheckout {
    /// On the branch it was on, if that is still where it was.
    async fn back_on(
        &self,
        context: &Context,
        spot: &Spot,
        commit: &str,
        branch: Option<&str>,
    ) -> Result<(), TaskError> {
        let Some(branch) = branch else { return Ok(()) };
        let call = self.git.looking(context, &spot.path);
        let there = call
            .ended(&["rev-parse", "--verify", "--quiet", branch])
            .await?;
        if there.stdout.text.trim() != commit {
            return Ok(());
        }
        let call = self.git.changing(context, &spot.path);
        call.text(&["symbolic-ref", "HEAD", branch])
            .await
            .map(|_| ())
    }
}

impl Found {
    fn is_at(&self, wanted: &str) -> bool {
        matches!(self, Self::At { commit, .. } if commit == wanted)
    }

    fn same_commit(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Absent, Self::Absent) => true,
            (Self::At { commit, .. }, other) => other.is_at(commit),
            (Self::Absent, Self::At { .. }) => false,
        }
    }
}

/// The commit of the branch or tag of that name, in what `git ls-remote` lists. A tag with a message stands for its commit; a branch goes
/// before a tag of the same name.
fn pick(listed: &str, reference: &str) -> Option<String> {
    let of = |name: &str| {
        listed.lines().find_map(|line| {
            let (commit, found) = line.split_once('\t')?;
            (found == name).then(|| commit.to_owned())
        })
    };
    [
        format!("refs/heads/{reference}"),
        format!("refs/tags/{reference}^{{}}"),
        format!("refs/tags/{reference}"),
        format!("{reference}^{{}}"),
        reference.to_owned(),
    ]
    .iter()
    .find_map(|name| of(name))
}

fn output_of(input: &GitCheckoutInput, before: &Before) -> GitCheckoutOutput {
    let previous = match &before.found {
        Found::Absent => None,
        Found::At { commit, .. } => Some(commit.clone()),
    };
    GitCheckoutOutput {
        path: input.path.clone(),
        commit: before.commit.clone(),
        changed: previous.as_deref() != Some(&before.commit),
        previous,
    }
}

fn before_of(stored: &Value) -> Result<Before, TaskError> {
    serde_json::from_value(stored.clone()).map_err(|error| {
        let message = format!("what was stored as being there before cannot be read: {error}");
        TaskError::failed("before-misfit", message)
    })
}

fn not_ours(spot: &Spot, why: &str) -> TaskError {
    let message = format!("{} {why}; it is left alone", spot.path.display());
    TaskError::failed("changed-by-somebody-else", message)
}

fn removing(error: std::io::Error) -> TaskError {
    let message = format!("the checkout cannot be removed: {error}");
    TaskError::unknown("file-system", message)
}

/// Removes a folder and all below it, without following links; content when it is not there.
fn remove_tree(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Makes the folder of a checkout, whatever the umask of the worker itself is.
fn make_tree(path: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let closed = || {
        let mut made = std::fs::DirBuilder::new();
        made.mode(0o700);
        made
    };
    closed().create(path)?;
    closed().create(path.join(".git"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

fn rename_fresh(from: &Path, to: &Path) -> Result<(), rustix::io::Errno> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
}
