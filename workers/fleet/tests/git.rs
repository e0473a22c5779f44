//! The git automations with real repositories and the real program: one exact commit, whole or not at all; do, undo and probe, each twice;
//! nothing of somebody else's is touched; no address and no folder that is not allowed.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should end where it stands"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use baton_fleet::automations::{
    Git, GitCheckout, GitCheckoutInput, GitCheckoutOutput, GitCommitPush, GitCommitPushInput,
    GitCommitPushOutput,
};
use baton_fleet::config::GitConfig;
use baton_fleet::process::{Processes, ProcessesConfig};
use baton_worker::testing::TestStep;
use baton_worker::{Asked, Automation, Direction, Done, Probe, TaskError};
use serde_json::Value;

/// A repository with two commits on main, and a place for checkouts.
struct Stage {
    dir: tempfile::TempDir,
    first: String,
    second: String,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        fs::create_dir_all(dir.path().join("checkouts")).unwrap();
        git(dir.path(), "init --quiet --bare -b main origin.git");
        git(dir.path(), "init --quiet -b main work");
        git(&work, "remote add origin ../origin.git");
        let mut stage = Self {
            dir,
            first: String::new(),
            second: String::new(),
        };
        stage.first = stage.commit("index.html", "one");
        git(&work, "tag -a -m first v1");
        stage.second = stage.commit("index.html", "two");
        git(&work, "push --quiet origin main v1");
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Commits in the repository somebody works in; the commit.
    fn commit(&self, name: &str, text: &str) -> String {
        let work = self.path("work");
        fs::write(work.join(name), text).unwrap();
        git(&work, "add -A");
        git(&work, "commit --quiet -m x");
        git(&work, "rev-parse HEAD")
    }

    fn origin(&self) -> String {
        self.path("origin.git").to_str().unwrap().to_owned()
    }

    fn git(&self) -> Git {
        let config = ProcessesConfig {
            work_folder: Some(self.path("runs")),
            ..ProcessesConfig::default()
        };
        let launcher = PathBuf::from(env!("CARGO_BIN_EXE_baton-worker"));
        let config = (
            Processes::launched_by(&config, launcher),
            GitConfig {
                repositories: vec![format!("{}/", self.dir.path().display())],
                roots: vec![self.path("checkouts")],
                ..GitConfig::default()
            },
        );
        Git::new(config.0, &config.1, None).unwrap()
    }
}

/// The real program, as somebody at a terminal calls it.
fn git(dir: &Path, args: &str) -> String {
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

struct Checkout {
    automation: GitCheckout,
    step: TestStep,
    input: GitCheckoutInput,
}

impl Checkout {
    fn of(stage: &Stage, reference: &str) -> Self {
        Self {
            automation: GitCheckout::by(stage.git()),
            step: TestStep::new(),
            input: GitCheckoutInput {
                repository: stage.origin(),
                reference: reference.to_owned(),
                path: stage.path("checkouts/site").to_str().unwrap().to_owned(),
                token: None,
            },
        }
    }

    fn dir(&self) -> &Path {
        Path::new(&self.input.path)
    }

    fn page(&self) -> Option<String> {
        fs::read_to_string(self.dir().join("index.html")).ok()
    }

    async fn run(&self) -> Result<GitCheckoutOutput, TaskError> {
        let context = self.step.attempt(Direction::Do).unwrap();
        self.automation.run(&context, self.input.clone()).await
    }

    async fn undo(&self, output: Option<GitCheckoutOutput>) -> Result<(), TaskError> {
        let context = self.step.attempt(Direction::Undo).unwrap();
        let done = Done {
            input: self.input.clone(),
            output,
            before: self.step.before(),
            progress: self.step.progress(),
        };
        self.automation.undo(&context, done).await
    }

    async fn probe(&self) -> Probe<GitCheckoutOutput> {
        let context = self.step.attempt(Direction::Probe).unwrap();
        let asked = Asked {
            input: self.input.clone(),
            before: self.step.before(),
            progress: self.step.progress(),
        };
        self.automation.probe(&context, asked).await.unwrap()
    }

    /// Nothing is left beside the checkout.
    fn tidy(&self) {
        let all = fs::read_dir(self.dir().parent().unwrap()).unwrap();
        let left: Vec<_> = all
            .map(|e| e.unwrap().file_name())
            .filter(|n| n != "site")
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn a_new_checkout_is_made_whole_and_removed_again() {
    let stage = Stage::new();
    let case = Checkout::of(&stage, "main");
    assert_eq!(case.probe().await, Probe::DidNot);
    let first = case.run().await.unwrap();
    assert_eq!(
        (&first.commit, &first.previous, first.changed),
        (&stage.second, &None, true)
    );
    assert_eq!(case.page().as_deref(), Some("two"));
    // The branch moves on; another attempt brings the same commit all the same.
    stage.commit("index.html", "three");
    git(&stage.path("work"), "push --quiet origin main");
    assert_eq!(case.run().await.unwrap(), first);
    assert_eq!(case.probe().await, Probe::Happened(first.clone()));
    case.tidy();
    // What a build leaves is no reason to stop, and goes with the folder.
    fs::write(case.dir().join("built.o"), "x").unwrap();
    for _ in 0..2 {
        case.undo(Some(first.clone())).await.unwrap();
        assert!(!case.dir().exists());
    }
    assert_eq!(case.probe().await, Probe::DidNot);
    case.tidy();
}

#[tokio::test]
async fn a_checkout_that_is_there_is_switched_and_switched_back_to_its_branch() {
    let stage = Stage::new();
    let case = Checkout::of(&stage, "v1");
    git(
        &stage.path("checkouts"),
        &format!("clone --quiet {} site", stage.origin()),
    );
    fs::write(case.dir().join("built.o"), "x").unwrap();
    let output = case.run().await.unwrap();
    assert_eq!(
        output.commit, stage.first,
        "a tag with a message is its commit"
    );
    assert_eq!(output.previous, Some(stage.second.clone()));
    assert_eq!(case.page().as_deref(), Some("one"));
    assert_eq!(case.run().await.unwrap(), output);
    for _ in 0..2 {
        case.undo(Some(output.clone())).await.unwrap();
        assert_eq!(case.page().as_deref(), Some("two"));
        assert_eq!(git(case.dir(), "symbolic-ref HEAD"), "refs/heads/main");
        assert!(case.dir().join("built.o").exists());
    }
    assert_eq!(
        git(case.dir(), "status --porcelain --untracked-files=no"),
        ""
    );
}

#[tokio::test]
async fn a_commit_is_brought_by_its_whole_name_and_from_a_folder_that_knows_nothing_of_it_yet() {
    let stage = Stage::new();
    let case = Checkout::of(&stage, &stage.first.clone());
    assert_eq!(case.run().await.unwrap().commit, stage.first);
    let third = stage.commit("index.html", "three");
    git(&stage.path("work"), "push --quiet origin main");
    let mut next = Checkout::of(&stage, &third);
    assert_eq!(
        next.run().await.unwrap().previous,
        Some(stage.first.clone())
    );
    assert_eq!(next.page().as_deref(), Some("three"));
    next.step = TestStep::new();
    assert!(!next.run().await.unwrap().changed);
    next.undo(None).await.unwrap();
    assert_eq!(
        next.page().as_deref(),
        Some("three"),
        "the undo of nothing changes nothing"
    );
}

#[tokio::test]
async fn what_somebody_else_has_changed_is_left_alone() {
    let stage = Stage::new();
    let case = Checkout::of(&stage, "main");
    let output = case.run().await.unwrap();
    fs::write(case.dir().join("index.html"), "theirs").unwrap();
    assert_eq!(
        case.undo(Some(output.clone())).await.unwrap_err().code(),
        "changed-by-somebody-else"
    );
    assert!(matches!(case.probe().await, Probe::CannotTell(_)));
    assert_eq!(case.page().as_deref(), Some("theirs"));
    // Another step does not build on changes nobody has committed.
    let next = Checkout::of(&stage, "v1");
    let error = next.run().await.unwrap_err();
    assert_eq!(
        (error.code(), next.step.stored()),
        ("changed-by-somebody-else", 0)
    );
    // Another commit, chosen by somebody else.
    git(case.dir(), "checkout --quiet --force v1");
    assert_eq!(
        case.undo(Some(output)).await.unwrap_err().code(),
        "changed-by-somebody-else"
    );
    assert_eq!(case.page().as_deref(), Some("one"));
}

#[tokio::test]
async fn a_folder_that_is_no_checkout_of_it_is_never_touched() {
    let stage = Stage::new();
    let case = Checkout::of(&stage, "main");
    fs::create_dir(case.dir()).unwrap();
    fs::write(case.dir().join("precious"), "x").unwrap();
    assert_eq!(
        case.run().await.unwrap_err().code(),
        "changed-by-somebody-else"
    );
    fs::remove_dir_all(case.dir()).unwrap();
    git(
        &stage.path("checkouts"),
        &format!("clone --quiet {} site", stage.path("work").display()),
    );
    assert_eq!(
        case.run().await.unwrap_err().code(),
        "changed-by-somebody-else"
    );
    assert_eq!(case.step.stored(), 0);
}

#[tokio::test]
async fn an_attempt_that_was_killed_is_no_hindrance() {
    let stage = Stage::new();
    let case = Checkout::of(&stage, "main");
    // Beside its place: a half-filled folder of the same effect.
    let mark = case.step.attempt(Direction::Do).unwrap().effect_key();
    let beside = case.dir().with_file_name(format!(".baton-{mark}.part"));
    fs::create_dir_all(beside.join(".git/objects")).unwrap();
    let output = case.run().await.unwrap();
    case.tidy();

    // In its place: half switched, the lock left behind.
    let next = Checkout::of(&stage, "v1");
    next.run().await.unwrap();
    git(
        next.dir(),
        &format!("checkout --quiet --detach {}", output.commit),
    );
    fs::write(next.dir().join("index.html"), "half").unwrap();
    fs::write(next.dir().join(".git/index.lock"), "").unwrap();
    let half: Value = next.step.progress().unwrap();
    assert_eq!(half["switching"], true);
    assert_eq!(next.run().await.unwrap().commit, stage.first);
    assert_eq!(next.page().as_deref(), Some("one"));
    next.undo(None).await.unwrap();
    assert_eq!(next.page().as_deref(), Some("two"));
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_before_anything_is_run() {
    let stage = Stage::new();
    let denied = async |change: &dyn Fn(&mut GitCheckoutInput)| {
        let mut case = Checkout::of(&stage, "main");
        change(&mut case.input);
        let error = case.run().await.unwrap_err();
        assert!(
            error.nothing_changed() && case.step.stored() == 0,
            "{error}"
        );
        error.code().to_owned()
    };
    let inside = stage.dir.path().display().to_string();
    for address in [
        "/etc".to_owned(),
        format!("{inside}/../elsewhere"),
        "ext::sh -c touch% /tmp/x".to_owned(),
        format!("-{inside}"),
        "--upload-pack=/bin/sh".to_owned(),
        "https://git.example/x".to_owned(),
    ] {
        let code = denied(&|input| input.repository.clone_from(&address)).await;
        assert_eq!(code, "repository-denied", "{address}");
    }
    for (path, code) in [
        ("/tmp/elsewhere".to_owned(), "outside-roots"),
        (format!("{inside}/checkouts/../x"), "not-plain"),
        (format!("{inside}/checkouts/missing/x"), "no-folder"),
    ] {
        assert_eq!(denied(&|input| input.path.clone_from(&path)).await, code);
    }
    for (reference, code) in [
        ("--output=/tmp/x", "input-misfit"),
        ("HEAD~1", "input-misfit"),
        ("nowhere", "no-such-ref"),
        (&"0".repeat(40), "no-such-ref"),
    ] {
        let mut case = Checkout::of(&stage, reference);
        reference.clone_into(&mut case.input.reference);
        let error = case.run().await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.nothing_changed() && !case.dir().exists());
    }
}

#[tokio::test]
async fn a_repository_that_is_away_is_worth_another_attempt() {
    let stage = Stage::new();
    let case = Checkout::of(&stage, "main");
    fs::rename(stage.path("origin.git"), stage.path("away")).unwrap();
    let error = case.run().await.unwrap_err();
    assert!(error.nothing_changed() && error.may_retry(), "{error}");
    fs::rename(stage.path("away"), stage.path("origin.git")).unwrap();
    case.run().await.unwrap();
}

struct Push {
    automation: GitCommitPush,
    step: TestStep,
    input: GitCommitPushInput,
}

impl Push {
    /// A checkout of main with a line more in one file and another file changed, of which only the first is to be pushed.
    fn of(stage: &Stage, branch: &str) -> Self {
        let path = stage.path("checkouts/site");
        git(
            &stage.path("checkouts"),
            &format!("clone --quiet {} site", stage.origin()),
        );
        fs::write(path.join("index.html"), "two and more").unwrap();
        fs::write(path.join("not-this.txt"), "x").unwrap();
        Self {
            automation: GitCommitPush::by(stage.git()),
            step: TestStep::new(),
            input: GitCommitPushInput {
                path: path.to_str().unwrap().to_owned(),
                repository: stage.origin(),
                branch: branch.to_owned(),
                paths: vec!["index.html".to_owned()],
                message: "Add more".to_owned(),
                token: None,
            },
        }
    }

    async fn run(&self) -> Result<GitCommitPushOutput, TaskError> {
        let context = self.step.attempt(Direction::Do).unwrap();
        self.automation.run(&context, self.input.clone()).await
    }

    async fn undo(&self) -> Result<(), TaskError> {
        let context = self.step.attempt(Direction::Undo).unwrap();
        let done = Done {
            input: self.input.clone(),
            output: None,
            before: self.step.before(),
            progress: None,
        };
        self.automation.undo(&context, done).await
    }

    async fn probe(&self) -> Probe<GitCommitPushOutput> {
        let context = self.step.attempt(Direction::Probe).unwrap();
        let asked = Asked {
            input: self.input.clone(),
            before: self.step.before(),
            progress: None,
        };
        self.automation.probe(&context, asked).await.unwrap()
    }
}

#[tokio::test]
async fn a_commit_is_pushed_once_and_taken_back_by_a_revert() {
    let stage = Stage::new();
    let push = Push::of(&stage, "main");
    let (origin, here) = (stage.path("origin.git"), PathBuf::from(&push.input.path));
    assert_eq!(push.probe().await, Probe::DidNot);
    let first = push.run().await.unwrap();
    assert_eq!(
        (first.previous.as_ref(), first.changed),
        (Some(&stage.second), true)
    );
    assert_eq!(git(&origin, "show main:index.html"), "two and more");
    assert_eq!(git(&origin, "log -1 --format=%an main"), "Baton");
    assert!(git(&origin, "log -1 --format=%B main").contains("Saga-Id: "));
    assert_eq!(git(&origin, "diff --name-only main~1 main"), "index.html");
    assert_eq!(git(&here, "rev-parse HEAD"), first.commit);
    assert_eq!(git(&here, "status --porcelain"), "?? not-this.txt");
    assert_eq!(
        push.run().await.unwrap(),
        first,
        "a second attempt pushes nothing"
    );
    assert_eq!(push.probe().await, Probe::Happened(first.clone()));
    for _ in 0..2 {
        push.undo().await.unwrap();
        assert_eq!(git(&origin, "show main:index.html"), "two");
        assert_eq!(
            git(&origin, "rev-parse main~1"),
            first.commit,
            "history is not rewritten"
        );
        assert_eq!(git(&origin, "rev-list --count main"), "4");
        assert_eq!(git(&here, "rev-parse HEAD"), stage.second);
    }
}

#[tokio::test]
async fn a_branch_that_was_not_there_is_made_and_deleted() {
    let stage = Stage::new();
    let push = Push::of(&stage, "saga/7");
    let made = push.run().await.unwrap();
    assert_eq!(made.previous, None);
    let origin = stage.path("origin.git");
    assert_eq!(git(&origin, "rev-parse saga/7"), made.commit);
    assert_eq!(git(&origin, "rev-parse main"), stage.second);
    for _ in 0..2 {
        push.undo().await.unwrap();
        assert_eq!(git(&origin, "branch --list saga/7"), "");
    }
}

#[tokio::test]
async fn what_somebody_else_has_pushed_is_neither_overwritten_nor_built_upon() {
    let stage = Stage::new();
    let push = Push::of(&stage, "main");
    let origin = stage.path("origin.git");
    let theirs = stage.commit("other.html", "theirs");
    git(&stage.path("work"), "push --quiet origin main");
    let error = push.run().await.unwrap_err();
    assert_eq!(error.code(), "behind");
    assert!(error.nothing_changed());
    assert_eq!(git(&origin, "rev-parse main"), theirs);
    push.undo().await.unwrap();
    assert_eq!(
        git(&origin, "rev-parse main"),
        theirs,
        "what never was is not taken back"
    );

    let stage = Stage::new();
    let push = Push::of(&stage, "main");
    let origin = stage.path("origin.git");
    push.run().await.unwrap();
    git(&stage.path("work"), "pull --quiet --rebase origin main");
    let theirs = stage.commit("other.html", "on top");
    git(&stage.path("work"), "push --quiet origin main");
    assert!(matches!(push.probe().await, Probe::Happened(_)));
    assert_eq!(
        push.undo().await.unwrap_err().code(),
        "changed-by-somebody-else"
    );
    assert_eq!(git(&origin, "rev-parse main"), theirs);
}

#[tokio::test]
async fn nothing_to_commit_is_said_and_odd_paths_are_refused() {
    let stage = Stage::new();
    let mut push = Push::of(&stage, "main");
    fs::write(Path::new(&push.input.path).join("index.html"), "two").unwrap();
    let output = push.run().await.unwrap();
    assert_eq!((output.changed, &output.commit), (false, &stage.second));
    push.undo().await.unwrap();
    for (path, code) in [
        ("../x", "input-misfit"),
        (".git/config", "input-misfit"),
        ("/etc/passwd", "input-misfit"),
        ("--force", "no-such-path"),
        ("missing", "no-such-path"),
    ] {
        push.input.paths = vec![path.to_owned()];
        assert_eq!(push.run().await.unwrap_err().code(), code, "{path}");
    }
}

#[tokio::test]
async fn a_hook_that_refuses_changes_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let stage = Stage::new();
    let push = Push::of(&stage, "main");
    let hook = stage.path("origin.git/hooks/pre-receive");
    fs::write(&hook, "#!/bin/sh\necho no >&2\nexit 1\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let error = push.run().await.unwrap_err();
    assert_eq!(error.code(), "refused", "{error}");
    assert!(error.nothing_changed());
    let here = Path::new(&push.input.path);
    assert_eq!(git(here, "rev-parse HEAD"), stage.second);
}
