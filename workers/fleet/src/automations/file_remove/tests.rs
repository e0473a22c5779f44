//! The laws of `file.remove`: do, undo and probe, each twice; what was removed comes back whole; nothing of somebody else's is moved.

use std::fs;
use std::os::unix::fs::symlink;

use baton_worker::Direction;
use baton_worker::testing::TestStep;

use super::*;

struct Case {
    dir: tempfile::TempDir,
    automation: FileRemove,
    step: TestStep,
    input: FileRemoveInput,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            automation: FileRemove::under(&[dir.path().to_owned()]).unwrap(),
            step: TestStep::new(),
            input: FileRemoveInput {
                path: dir.path().join("thing").to_str().unwrap().to_owned(),
            },
            dir,
        }
    }

    fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.input.path).is_ok()
    }

    async fn run(&self) -> Result<FileRemoveOutput, TaskError> {
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

    async fn probe(&self) -> Probe<FileRemoveOutput> {
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
async fn files_folders_and_links_go_and_come_back_whole() {
    for kind in ["file", "folder", "link"] {
        let case = Case::new();
        match kind {
            "file" => fs::write(&case.input.path, "text").unwrap(),
            "folder" => {
                fs::create_dir_all(format!("{}/a/b", case.input.path)).unwrap();
                fs::write(format!("{}/a/b/c", case.input.path), "text").unwrap();
                symlink("/etc", format!("{}/a/etc", case.input.path)).unwrap();
            }
            _ => symlink("nowhere", &case.input.path).unwrap(),
        }
        assert_eq!(case.probe().await, Probe::DidNot);
        let first = case.run().await.unwrap();
        assert_eq!((first.kind.as_deref(), first.changed), (Some(kind), true));
        assert!(!case.is_there());
        assert_eq!(case.run().await.unwrap(), first);
        assert_eq!(case.probe().await, Probe::Happened(first));
        for _ in 0..2 {
            case.undo().await.unwrap();
            assert!(case.is_there());
        }
        if kind == "folder" {
            let inner = format!("{}/a/b/c", case.input.path);
            assert_eq!(fs::read_to_string(inner).unwrap(), "text");
        }
        assert_eq!(case.probe().await, Probe::DidNot);
    }
}

#[tokio::test]
async fn nothing_there_is_nothing_done() {
    let case = Case::new();
    let output = case.run().await.unwrap();
    assert_eq!((output.kind, output.changed), (None, false));
    case.undo().await.unwrap();
    assert!(!case.is_there());
}

#[tokio::test]
async fn what_somebody_else_has_put_there_is_neither_moved_nor_overwritten() {
    let case = Case::new();
    fs::write(&case.input.path, "old").unwrap();
    case.run().await.unwrap();
    fs::write(&case.input.path, "theirs").unwrap();
    for error in [
        case.run().await.unwrap_err(),
        case.undo().await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "changed-by-somebody-else");
    }
    assert_eq!(fs::read_to_string(&case.input.path).unwrap(), "theirs");
    fs::remove_file(&case.input.path).unwrap();
    fs::remove_dir_all(case.dir.path().join(".baton-trash")).unwrap();
    assert_eq!(case.undo().await.unwrap_err().code(), "not-there");
}

#[tokio::test]
async fn no_way_leads_out_of_a_root() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), "x").unwrap();
    let mut case = Case::new();
    symlink(outside.path(), case.dir.path().join("way-out")).unwrap();
    for (path, code) in [
        (outside.path().join("precious"), "outside-roots"),
        (case.dir.path().join("way-out/precious"), "not-plain"),
        (case.dir.path().to_owned(), "not-plain"),
    ] {
        case.input.path = path.to_str().unwrap().to_owned();
        assert_eq!(case.run().await.unwrap_err().code(), code);
    }
    assert!(outside.path().join("precious").exists());
}
