//! Two commits in a bare repository, a place for checkouts, and what every way to reach the one has to bring about in the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use baton_fleet::automations::{
    Git, GitCheckout, GitCheckoutInput, GitCommitPush, GitCommitPushInput,
};
use baton_fleet::config::GitConfig;
use baton_fleet::process::{Processes, ProcessesConfig};
use baton_worker::testing::UnderTest;
use baton_worker::{Probe, SecretText};

/// A repository with two commits on main, and a place for checkouts.
pub(crate) struct Stage {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) first: String,
    pub(crate) second: String,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        fs::create_dir_all(dir.path().join("checkouts")).unwrap();
        run_git(dir.path(), "init --quiet --bare -b main origin.git");
        run_git(dir.path(), "init --quiet -b main work");
        run_git(&work, "remote add origin ../origin.git");
        let mut stage = Self {
            dir,
            first: String::new(),
            second: String::new(),
        };
        stage.first = stage.commit("index.html", "one");
        run_git(&work, "tag -a -m first v1");
        stage.second = stage.commit("index.html", "two");
        run_git(&work, "push --quiet origin main v1");
        stage
    }

    /// One whose repository may be pushed to over http.
    pub(crate) fn served() -> Self {
        let stage = Self::new();
        run_git(&stage.path("origin.git"), "config http.receivepack true");
        stage
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Commits in the repository somebody works in; the commit.
    pub(crate) fn commit(&self, name: &str, text: &str) -> String {
        let work = self.path("work");
        fs::write(work.join(name), text).unwrap();
        run_git(&work, "add -A");
        run_git(&work, "commit --quiet -m x");
        run_git(&work, "rev-parse HEAD")
    }

    pub(crate) fn origin(&self) -> String {
        self.path("origin.git").to_str().unwrap().to_owned()
    }

    /// The git of a worker that may speak to repositories of this stage.
    pub(crate) fn git(&self) -> Git {
        self.git_of(GitConfig::default(), "")
    }

    /// The same with further settings.
    pub(crate) fn git_of(&self, of: GitConfig, ca_pem: &str) -> Git {
        let processes = ProcessesConfig {
            work_folder: Some(self.path("runs")),
            ..ProcessesConfig::default()
        };
        let launcher = PathBuf::from(env!("CARGO_BIN_EXE_baton-worker"));
        let mut repositories = of.repositories.clone();
        repositories.push(format!("{}/", self.dir.path().display()));
        let config = GitConfig {
            repositories,
            roots: vec![self.path("checkouts")],
            ..of
        };
        let processes = Processes::launched_by(&processes, launcher);
        Git::new(processes, &config, ca_pem).unwrap()
    }

    /// Checks out, pushes, finds out and takes back both, over this way; what is pushed is seen in the repository itself.
    pub(crate) async fn both_go_over(&self, git: &Git, address: &str, token: Option<&str>) {
        let dir = self.path("checkouts/site");
        let path = dir.to_str().unwrap().to_owned();
        let token = token.map(SecretText::text);
        let input = GitCheckoutInput {
            repository: address.to_owned(),
            reference: "main".to_owned(),
            path: path.clone(),
            token: token.clone(),
        };
        let checkout = UnderTest::new(GitCheckout::by(git.clone()), input);
        let brought = checkout.run().await.unwrap();
        assert_eq!(brought.commit, self.second);
        assert_eq!(fs::read_to_string(dir.join("index.html")).unwrap(), "two");

        fs::write(dir.join("index.html"), "three").unwrap();
        let input = GitCommitPushInput {
            path,
            repository: address.to_owned(),
            branch: "main".to_owned(),
            paths: vec!["index.html".to_owned()],
            message: "Over the wire".to_owned(),
            token,
        };
        let push = UnderTest::new(GitCommitPush::by(git.clone()), input);
        assert_eq!(push.probe().await.unwrap(), Probe::DidNot);
        let pushed = push.run().await.unwrap();
        let origin = self.path("origin.git");
        assert_eq!(run_git(&origin, "rev-parse main"), pushed.commit);
        assert_eq!(run_git(&origin, "show main:index.html"), "three");
        assert_eq!(push.run().await.unwrap(), pushed);
        assert_eq!(push.probe().await.unwrap(), Probe::Happened(pushed));
        push.undo().await.unwrap();
        assert_eq!(run_git(&origin, "show main:index.html"), "two");
        // The step that changed the file takes that back itself; a checkout with changes is left alone.
        let changed = checkout.undo_of(Some(brought.clone())).await.unwrap_err();
        assert_eq!(changed.code(), "changed-by-somebody-else");
        fs::write(dir.join("index.html"), "two").unwrap();
        checkout.undo_of(Some(brought)).await.unwrap();
        assert!(!dir.exists());
    }

    /// A checkout over this way fails, before anything is made; what is said of it.
    pub(crate) async fn refused(&self, git: &Git, address: &str, token: Option<&str>) -> String {
        let dir = self.path("checkouts/site");
        let input = GitCheckoutInput {
            repository: address.to_owned(),
            reference: "main".to_owned(),
            path: dir.to_str().unwrap().to_owned(),
            token: token.map(SecretText::text),
        };
        let checkout = UnderTest::new(GitCheckout::by(git.clone()), input);
        let error = checkout.run().await.unwrap_err();
        assert!(error.nothing_changed() && !dir.exists(), "{error}");
        assert_eq!(checkout.step.stored(), 0);
        error.to_string()
    }
}

/// The real program, as somebody at a terminal calls it.
pub(crate) fn run_git(dir: &Path, args: &str) -> String {
    let ran = Command::new("git")
        .args(["-c", "user.name=Anna", "-c", "user.email=anna@example.org"])
        .args(args.split(' '))
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "git {args}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    String::from_utf8(ran.stdout).unwrap().trim().to_owned()
}
