//! `git.checkout` of a repository on this host.

use std::fs;
use std::path::{Path, PathBuf};

use baton_fleet::automations::{GitCheckout, GitCheckoutInput};
use baton_worker::testing::{TestStep, UnderTest};
use baton_worker::{Direction, Probe};
use serde_json::Value;

use crate::stage::{Stage, run_git};

/// A place for one checkout.
struct Checkout {
    dir: PathBuf,
}

impl Checkout {
    fn of(stage: &Stage, reference: &str) -> UnderTest<GitCheckout, Self> {
        let dir = stage.path("checkouts/site");
        let input = GitCheckoutInput {
            repository: stage.origin(),
            reference: reference.to_owned(),
            path: dir.to_str().unwrap().to_owned(),
            token: None,
        };
        UnderTest::new(GitCheckout::by(stage.git()), input).at(Self { dir })
    }

    fn dir(&self) -> &Path {
        &self.dir
    }

    fn page(&self) -> Option<String> {
        fs::read_to_string(self.dir().join("index.html")).ok()
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
    assert_eq!(case.probe().await.unwrap(), Probe::DidNot);
    let first = case.run().await.unwrap();
    assert_eq!(
        (&first.commit, &first.previous, first.changed),
        (&stage.second, &None, true)
    );
    assert_eq!(case.page().as_deref(), Some("two"));
    // The branch moves on; another attempt brings the same commit all the same.
    stage.commit("index.html", "three");
    run_git(&stage.path("work"), "push --quiet origin main");
    assert_eq!(case.run().await.unwrap(), first);
    assert_eq!(case.probe().await.unwrap(), Probe::Happened(first.clone()));
    case.tidy();
    // What a build leaves is no reason to stop, and goes with the folder.
    fs::write(case.dir().join("built.o"), "x").unwrap();
    for _ in 0..2 {
        case.undo_of(Some(first.clone())).await.unwrap();
        assert!(!case.dir().exists());
    }
    assert_eq!(case.probe().await.unwrap(), Probe::DidNot);
    case.tidy();
}

/// For a server of another user that serves it; what git keeps for itself is nobody else's.
#[tokio::test]
async fn what_is_checked_out_is_readable_as_its_modes_say() {
    use std::os::unix::fs::PermissionsExt as _;
    let stage = Stage::new();
    let work = stage.path("work");
    fs::create_dir(work.join("bin")).unwrap();
    fs::write(work.join("bin/run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(work.join("bin/run"), fs::Permissions::from_mode(0o755)).unwrap();
    let commit = stage.commit("bin/more", "x");
    run_git(&work, "push --quiet origin main");
    let case = Checkout::of(&stage, &commit);
    case.run().await.unwrap();
    for (name, mode) in [
        ("", 0o755),
        ("index.html", 0o644),
        ("bin", 0o755),
        ("bin/run", 0o755),
        ("bin/more", 0o644),
        (".git", 0o700),
    ] {
        let about = fs::metadata(case.dir().join(name)).unwrap();
        assert_eq!(about.permissions().mode() & 0o777, mode, "{name:?}");
    }
    case.undo().await.unwrap();
    assert!(!case.dir().exists());
}

#[tokio::test]
async fn a_checkout_that_is_there_is_switched_and_switched_back_to_its_branch() {
    let stage = Stage::new();
    let case = Checkout::of(&stage, "v1");
    run_git(
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
        case.undo_of(Some(output.clone())).await.unwrap();
        assert_eq!(case.page().as_deref(), Some("two"));
        assert_eq!(run_git(case.dir(), "symbolic-ref HEAD"), "refs/heads/main");
        assert!(case.dir().join("built.o").exists());
    }
    assert_eq!(
        run_git(case.dir(), "status --porcelain --untracked-files=no"),
        ""
    );
}

#[tokio::test]
async fn a_commit_is_brought_by_its_whole_name_and_from_a_folder_that_knows_nothing_of_it_yet() {
    let stage = Stage::new();
    let case = Checkout::of(&stage, &stage.first.clone());
    assert_eq!(case.run().await.unwrap().commit, stage.first);
    let third = stage.commit("index.html", "three");
    run_git(&stage.path("work"), "push --quiet origin main");
    let mut next = Checkout::of(&stage, &third);
    assert_eq!(
        next.run().await.unwrap().previous,
        Some(stage.first.clone())
    );
    assert_eq!(next.page().as_deref(), Some("three"));
    next.step = TestStep::new();
    assert!(!next.run().await.unwrap().changed);
    next.undo().await.unwrap();
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
        case.undo_of(Some(output.clone())).await.unwrap_err().code(),
        "changed-by-somebody-else"
    );
    assert!(matches!(case.probe().await.unwrap(), Probe::CannotTell(_)));
    assert_eq!(case.page().as_deref(), Some("theirs"));
    // Another step does not build on changes nobody has committed.
    let next = Checkout::of(&stage, "v1");
    let error = next.run().await.unwrap_err();
    assert_eq!(
        (error.code(), next.step.stored()),
        ("changed-by-somebody-else", 0)
    );
    // Another commit, chosen by somebody else.
    run_git(case.dir(), "checkout --quiet --force v1");
    assert_eq!(
        case.undo_of(Some(output)).await.unwrap_err().code(),
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
    run_git(
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
    run_git(
        next.dir(),
        &format!("checkout --quiet --detach {}", output.commit),
    );
    fs::write(next.dir().join("index.html"), "half").unwrap();
    fs::write(next.dir().join(".git/index.lock"), "").unwrap();
    let half: Value = next.step.progress().unwrap();
    assert_eq!(half["switching"], true);
    assert_eq!(next.run().await.unwrap().commit, stage.first);
    assert_eq!(next.page().as_deref(), Some("one"));
    next.undo().await.unwrap();
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
