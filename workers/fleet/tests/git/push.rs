//! `git.commit-push` to a repository on this host.

use std::fs;
use std::path::{Path, PathBuf};

use baton_fleet::automations::{GitCommitPush, GitCommitPushInput};
use baton_worker::Probe;
use baton_worker::testing::UnderTest;

use crate::stage::{Stage, run_git};

/// A checkout of main with a line more in one file and another file changed, of which only the first is to be pushed.
fn push_of(stage: &Stage, branch: &str) -> UnderTest<GitCommitPush> {
    let path = stage.path("checkouts/site");
    run_git(
        &stage.path("checkouts"),
        &format!("clone --quiet {} site", stage.origin()),
    );
    fs::write(path.join("index.html"), "two and more").unwrap();
    fs::write(path.join("not-this.txt"), "x").unwrap();
    let input = GitCommitPushInput {
        path: path.to_str().unwrap().to_owned(),
        repository: stage.origin(),
        branch: branch.to_owned(),
        paths: vec!["index.html".to_owned()],
        message: "Add more".to_owned(),
        token: None,
    };
    UnderTest::new(GitCommitPush::by(stage.git()), input)
}

#[tokio::test]
async fn a_commit_is_pushed_once_and_taken_back_by_a_revert() {
    let stage = Stage::new();
    let push = push_of(&stage, "main");
    let (origin, here) = (stage.path("origin.git"), PathBuf::from(&push.input.path));
    assert_eq!(push.probe().await.unwrap(), Probe::DidNot);
    let first = push.run().await.unwrap();
    assert_eq!(
        (first.previous.as_ref(), first.changed),
        (Some(&stage.second), true)
    );
    assert_eq!(run_git(&origin, "show main:index.html"), "two and more");
    assert_eq!(run_git(&origin, "log -1 --format=%an main"), "Baton");
    assert!(run_git(&origin, "log -1 --format=%B main").contains("Saga-Id: "));
    assert_eq!(
        run_git(&origin, "diff --name-only main~1 main"),
        "index.html"
    );
    assert_eq!(run_git(&here, "rev-parse HEAD"), first.commit);
    assert_eq!(run_git(&here, "status --porcelain"), "?? not-this.txt");
    assert_eq!(
        push.run().await.unwrap(),
        first,
        "a second attempt pushes nothing"
    );
    assert_eq!(push.probe().await.unwrap(), Probe::Happened(first.clone()));
    for _ in 0..2 {
        push.undo().await.unwrap();
        assert_eq!(run_git(&origin, "show main:index.html"), "two");
        assert_eq!(
            run_git(&origin, "rev-parse main~1"),
            first.commit,
            "history is not rewritten"
        );
        assert_eq!(run_git(&origin, "rev-list --count main"), "4");
        assert_eq!(run_git(&here, "rev-parse HEAD"), stage.second);
    }
}

#[tokio::test]
async fn a_branch_that_was_not_there_is_made_and_deleted() {
    let stage = Stage::new();
    let push = push_of(&stage, "saga/7");
    let made = push.run().await.unwrap();
    assert_eq!(made.previous, None);
    let origin = stage.path("origin.git");
    assert_eq!(run_git(&origin, "rev-parse saga/7"), made.commit);
    assert_eq!(run_git(&origin, "rev-parse main"), stage.second);
    for _ in 0..2 {
        push.undo().await.unwrap();
        assert_eq!(run_git(&origin, "branch --list saga/7"), "");
    }
}

#[tokio::test]
async fn what_somebody_else_has_pushed_is_neither_overwritten_nor_built_upon() {
    let stage = Stage::new();
    let push = push_of(&stage, "main");
    let origin = stage.path("origin.git");
    let theirs = stage.commit("other.html", "theirs");
    run_git(&stage.path("work"), "push --quiet origin main");
    let error = push.run().await.unwrap_err();
    assert_eq!(error.code(), "behind");
    assert!(error.nothing_changed());
    assert_eq!(run_git(&origin, "rev-parse main"), theirs);
    push.undo().await.unwrap();
    assert_eq!(
        run_git(&origin, "rev-parse main"),
        theirs,
        "what never was is not taken back"
    );

    let stage = Stage::new();
    let push = push_of(&stage, "main");
    let origin = stage.path("origin.git");
    push.run().await.unwrap();
    run_git(&stage.path("work"), "pull --quiet --rebase origin main");
    let theirs = stage.commit("other.html", "on top");
    run_git(&stage.path("work"), "push --quiet origin main");
    assert!(matches!(push.probe().await.unwrap(), Probe::Happened(_)));
    assert_eq!(
        push.undo().await.unwrap_err().code(),
        "changed-by-somebody-else"
    );
    assert_eq!(run_git(&origin, "rev-parse main"), theirs);
}

#[tokio::test]
async fn nothing_to_commit_is_said_and_odd_paths_are_refused() {
    let stage = Stage::new();
    let mut push = push_of(&stage, "main");
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
    let push = push_of(&stage, "main");
    let hook = stage.path("origin.git/hooks/pre-receive");
    fs::write(&hook, "#!/bin/sh\necho no >&2\nexit 1\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let error = push.run().await.unwrap_err();
    assert_eq!(error.code(), "refused", "{error}");
    assert!(error.nothing_changed());
    let here = Path::new(&push.input.path);
    assert_eq!(run_git(here, "rev-parse HEAD"), stage.second);
}
