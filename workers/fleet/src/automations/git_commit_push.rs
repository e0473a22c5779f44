//! `git.commit-push@1`: commits listed paths of a checkout and pushes the commit to one branch, atomically, and can take it back by a commit
//! that reverts it.
//!
//! The commit is made aside, without a change to the checkout, and carries the key of the step as a `Saga-Id` trailer: whoever looks at the
//! remote can find out whether it happened, and a second attempt pushes nothing twice. The push names the head it replaces (a lease): when
//! somebody else has pushed meanwhile, nothing happens, and the step fails. Undo pushes a revert, only while the commit is still the head.

use std::path::{Path, PathBuf};

use baton_worker::{Asked, Automation, Context, Done, Effect, Probe, SecretText, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::git_program::{Git, Remote, complaint, is_plain_ref};
use super::rooted::PlaceError;
use crate::process::Changes;

/// The trailer of a commit.
const DONE: &str = "Saga-Id";
/// The trailer of the commit that reverts it.
const UNDONE: &str = "Saga-Undo-Id";

/// Commits and pushes.
#[derive(Debug, Clone)]
pub struct GitCommitPush {
    git: Git,
}

/// What is committed, and where it goes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GitCommitPushInput {
    /// The checkout: absolute, below one of the worker's `automations.git.roots`. What is checked out must be the head of the branch.
    #[schemars(length(min = 2, max = 1024))]
    pub path: String,
    /// The repository, as `git.checkout@1` was given it.
    #[schemars(length(min = 1, max = 1024), extend("x-target" = true))]
    pub repository: String,
    /// The branch, without `refs/heads/`. Where there is none of that name, it is made.
    #[schemars(length(min = 1, max = 200))]
    pub branch: String,
    /// Which files and folders of the checkout, relative to it. Nothing else is committed; what is gone is committed as gone.
    #[schemars(length(min = 1, max = 256))]
    pub paths: Vec<String>,
    /// What the commit says.
    #[schemars(length(min = 1, max = 4096))]
    pub message: String,
    /// For `https://`: a token, best given as a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretText>,
}

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GitCommitPushOutput {
    /// The head of the branch now.
    pub commit: String,
    /// The head of the branch before; null when there was no such branch.
    pub previous: Option<String>,
    /// Whether there was anything to commit.
    pub changed: bool,
}

/// What is stored before anything is pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Before {
    /// The head of the branch at the remote, if there is such a branch.
    head: Option<String>,
}

/// Everything one attempt works with.
struct Work<'a> {
    git: &'a Git,
    context: &'a Context,
    remote: Remote,
    dir: PathBuf,
    branch: String,
}

impl GitCommitPush {
    /// By this git.
    #[must_use]
    pub const fn by(git: Git) -> Self {
        Self { git }
    }

    async fn work<'a>(
        &'a self,
        context: &'a Context,
        input: &GitCommitPushInput,
    ) -> Result<Work<'a>, TaskError> {
        let remote = self.git.remote(&input.repository, input.token.as_ref())?;
        if !is_plain_ref(&input.branch) || input.branch.starts_with("refs/") {
            let message = format!("{:?} is no name of a branch", input.branch);
            return Err(TaskError::failed("input-misfit", message));
        }
        let plain = |path: &String| {
            let inner = Path::new(path);
            let mut parts = inner.components();
            !path.is_empty()
                && parts.all(
                    |part| matches!(part, std::path::Component::Normal(name) if name != ".git"),
                )
        };
        if let Some(odd) = input.paths.iter().find(|path| !plain(path)) {
            let message = format!("{odd:?} is no plain path below the checkout");
            return Err(TaskError::failed("input-misfit", message));
        }
        let (roots, path) = (self.git.roots.clone(), PathBuf::from(&input.path));
        let dir = context.blocking(move || {
            let dir = roots.place(&path)?.real_path()?;
            if std::fs::symlink_metadata(dir.join(".git")).is_ok_and(|git| git.is_dir()) {
                Ok(dir)
            } else {
                Err(PlaceError::Missing(dir.join(".git")))
            }
        });
        Ok(Work {
            git: &self.git,
            context,
            remote,
            dir: dir.await?.map_err(PlaceError::untouched)?,
            branch: format!("refs/heads/{}", input.branch),
        })
    }
}

impl Work<'_> {
    fn looking(&self) -> super::git_program::Call<'_> {
        self.git.looking(self.context, &self.dir)
    }

    /// The head of the branch at the remote, now.
    async fn head(&self) -> Result<Option<String>, TaskError> {
        let call = self.looking().with(&self.remote);
        let listed = call
            .text(&["ls-remote", "--", &self.remote.address, &self.branch])
            .await?;
        Ok(listed.lines().find_map(|line| {
            let (commit, name) = line.split_once('\t')?;
            (name == self.branch).then(|| commit.to_owned())
        }))
    }

    /// The commit between `before` and `head` that carries this trailer, if there is one.
    async fn find(
        &self,
        trailer: &str,
        before: Option<&str>,
        head: &str,
    ) -> Result<Option<String>, TaskError> {
        let fetch = [
            "fetch",
            "--quiet",
            "--no-write-fetch-head",
            "--no-tags",
            "--",
            &self.remote.address,
            &self.branch,
        ];
        self.looking().with(&self.remote).text(&fetch).await?;
        let line = format!("^{trailer}: {}$", self.context.effect_key());
        let grep = format!("--grep={line}");
        let mut args = vec!["log", "--format=%H", "--max-count=1", &grep, head];
        let not = before.map(|before| format!("^{before}"));
        args.extend(not.as_deref());
        let found = self.looking().text(&args).await?;
        Ok(Some(found.trim().to_owned()).filter(|commit| !commit.is_empty()))
    }

    /// A commit of the paths on top of `parent`, made aside; none when nothing differs.
    async fn commit(
        &self,
        parent: &str,
        paths: &[String],
        message: &str,
    ) -> Result<Option<String>, TaskError> {
        let index = self
            .dir
            .join(format!(".git/baton-{}.index", self.context.run()));
        let index_path = index.display().to_string();
        let made = self.tree(&index_path, parent, paths).await;
        let _ = self
            .context
            .blocking(move || std::fs::remove_file(index))
            .await?;
        let tree = made?;
        let old = self
            .looking()
            .text(&["rev-parse", &format!("{parent}^{{tree}}")])
            .await?;
        if tree == old {
            return Ok(None);
        }
        self.commit_tree(&tree, parent, message, DONE)
            .await
            .map(Some)
    }

    async fn tree(&self, index: &str, parent: &str, paths: &[String]) -> Result<String, TaskError> {
        let call = || self.looking().env("GIT_INDEX_FILE", index);
        call().text(&["read-tree", parent]).await?;
        let mut args = vec!["add", "--all", "--"];
        args.extend(paths.iter().map(String::as_str));
        let added = call().ended(&args).await?;
        if !added.success() {
            let message = added.complaint("git add");
            return Err(TaskError::failed("no-such-path", message));
        }
        call().text(&["write-tree"]).await
    }

    async fn commit_tree(
        &self,
        tree: &str,
        parent: &str,
        message: &str,
        trailer: &str,
    ) -> Result<String, TaskError> {
        let key = self.context.effect_key();
        let message = format!("{}\n\n{trailer}: {key}\n", message.trim_end());
        let args = ["commit-tree", tree, "-p", parent, "-m", &message];
        self.looking().text(&args).await
    }

    /// Pushes, where the branch still is as it was seen. A refusal changes nothing.
    async fn push(&self, what: &str, expected: Option<&str>) -> Result<(), TaskError> {
        if !self.context.still_allowed() {
            let failed = TaskError::failed("stopped", "stopped before anything was pushed");
            return Err(failed.retryable());
        }
        let lease = format!(
            "--force-with-lease={}:{}",
            self.branch,
            expected.unwrap_or_default()
        );
        let spec = format!("{what}:{}", self.branch);
        let call = self
            .git
            .changing(self.context, &self.dir)
            .with(&self.remote);
        let args = [
            "push",
            "--quiet",
            "--porcelain",
            "--atomic",
            "--no-verify",
            &lease,
            "--",
            &self.remote.address,
            &spec,
        ];
        let pushed = call.ended(&args).await?;
        if pushed.success() {
            return Ok(());
        }
        let said = format!("{}{}", pushed.stdout.text, pushed.stderr.text);
        if said.contains("stale info") || said.contains("[rejected]") {
            return Err(moved(&self.branch));
        }
        if said.contains("[remote rejected]") {
            let message = pushed.complaint("git push");
            return Err(TaskError::failed("refused", message));
        }
        Err(complaint(&pushed, "git push", Changes::Something))
    }

    /// The checkout is where it was before the commit, if it is still at it; the files stay as they are.
    async fn step_back(&self, ours: &str, paths: &[String]) -> Result<(), TaskError> {
        let here = self.looking().text(&["rev-parse", "HEAD"]).await?;
        if here != ours {
            return Ok(());
        }
        let parent = self
            .looking()
            .text(&["rev-parse", &format!("{ours}^")])
            .await?;
        self.catch_up(&parent, paths).await
    }

    /// Lets the checkout know that it is at the pushed commit; what else is changed in it stays as it is.
    async fn catch_up(&self, commit: &str, paths: &[String]) -> Result<(), TaskError> {
        let call = || self.git.changing(self.context, &self.dir);
        call().text(&["update-ref", "HEAD", commit]).await?;
        let mut args = vec!["reset", "--quiet", "HEAD", "--"];
        args.extend(paths.iter().map(String::as_str));
        call().text(&args).await.map(|_| ())
    }
}

fn moved(branch: &str) -> TaskError {
    let message = format!("{branch} was moved by somebody else meanwhile; nothing was pushed");
    TaskError::failed("changed-by-somebody-else", message)
}

impl Automation for GitCommitPush {
    const TYPE: &'static str = "git.commit-push@1";
    const SUMMARY: &'static str = "Commits paths of a checkout and pushes the commit to a branch";
    const EFFECT: Effect = Effect::Reversible;
    const IDEMPOTENT: bool = true;
    const BEFORE_IMAGE: bool = true;
    const HAS_UNDO: bool = true;
    const HAS_PROBE: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = 120_000;
    const TIMEOUT_MS_MAX: u64 = 3_600_000;
    const NEEDS: &'static [&'static str] =
        &["git", "repositories and folders named in automations.git"];
    type Input = GitCommitPushInput;
    type Output = GitCommitPushOutput;

    fn examples() -> Vec<GitCommitPushInput> {
        vec![GitCommitPushInput {
            path: "/srv/checkouts/app".to_owned(),
            repository: "https://git.example/team/app.git".to_owned(),
            branch: "main".to_owned(),
            paths: vec!["src/main.rs".to_owned()],
            message: "Add the metrics module".to_owned(),
            token: Some(SecretText::reference("git")),
        }]
    }

    async fn run(
        &self,
        context: &Context,
        input: GitCommitPushInput,
    ) -> Result<GitCommitPushOutput, TaskError> {
        let work = self.work(context, &input).await?;
        let head = work.head().await?;
        let found = json!(Before { head: head.clone() });
        let before = before_of(&context.checkpoint_before(found).await?)?;
        let output = |commit: String, changed| GitCommitPushOutput {
            commit,
            previous: before.head.clone(),
            changed,
        };
        if head != before.head {
            // Ours, pushed by an earlier attempt, or somebody else's.
            let Some(head) = &head else {
                return Err(moved(&work.branch));
            };
            let ours = work.find(DONE, before.head.as_deref(), head).await?;
            let ours = ours.ok_or_else(|| moved(&work.branch))?;
            work.catch_up(&ours, &input.paths).await?;
            return Ok(output(ours, true));
        }
        let here = work.looking().text(&["rev-parse", "HEAD^{commit}"]).await?;
        if head.as_ref().is_some_and(|head| *head != here) {
            let message = format!(
                "{} is at {here}, and {} is not: check out its head first",
                input.path, work.branch
            );
            return Err(TaskError::failed("behind", message));
        }
        let Some(commit) = work.commit(&here, &input.paths, &input.message).await? else {
            return Ok(output(here, false));
        };
        work.push(&commit, before.head.as_deref()).await?;
        work.catch_up(&commit, &input.paths).await?;
        Ok(output(commit, true))
    }

    async fn undo(&self, context: &Context, done: Done<Self>) -> Result<(), TaskError> {
        // Nothing is ever pushed before this is stored.
        let Some(stored) = done.before else {
            return Ok(());
        };
        let before = before_of(&stored)?;
        let work = self.work(context, &done.input).await?;
        let head = work.head().await?;
        if head == before.head {
            return Ok(());
        }
        let Some(head) = head else {
            return Err(moved(&work.branch));
        };
        let from = before.head.as_deref();
        let Some(ours) = work.find(DONE, from, &head).await? else {
            // Never pushed: what moved the branch is not ours.
            return Ok(());
        };
        if work.find(UNDONE, from, &head).await?.is_some() {
            return work.step_back(&ours, &done.input.paths).await;
        }
        if ours != head {
            let message = format!(
                "somebody has pushed on top of {ours} in {}; it is not taken back under them: revert it by hand",
                work.branch
            );
            return Err(TaskError::failed("changed-by-somebody-else", message));
        }
        if from.is_none() {
            work.push("", Some(&ours)).await?;
            return work.step_back(&ours, &done.input.paths).await;
        }
        let parent = format!("{ours}^");
        let tree = work
            .looking()
            .text(&["rev-parse", &format!("{parent}^{{tree}}")])
            .await?;
        let message = format!(
            "Revert \"{}\"",
            done.input.message.lines().next().unwrap_or_default()
        );
        let revert = work.commit_tree(&tree, &ours, &message, UNDONE).await?;
        work.push(&revert, Some(&ours)).await?;
        work.step_back(&ours, &done.input.paths).await
    }

    async fn probe(
        &self,
        context: &Context,
        asked: Asked<Self>,
    ) -> Result<Probe<GitCommitPushOutput>, TaskError> {
        let Some(stored) = asked.before else {
            return Ok(Probe::DidNot);
        };
        let before = before_of(&stored)?;
        let work = self.work(context, &asked.input).await?;
        let head = work.head().await?;
        let Some(head) = head.filter(|head| Some(head) != before.head.as_ref()) else {
            return Ok(Probe::DidNot);
        };
        let found = work.find(DONE, before.head.as_deref(), &head).await?;
        Ok(found.map_or(Probe::DidNot, |commit| {
            Probe::Happened(GitCommitPushOutput {
                commit,
                previous: before.head,
                changed: true,
            })
        }))
    }
}

fn before_of(stored: &Value) -> Result<Before, TaskError> {
    serde_json::from_value(stored.clone()).map_err(|error| {
        let message = format!("what was stored as being there before cannot be read: {error}");
        TaskError::failed("before-misfit", message)
    })
}
