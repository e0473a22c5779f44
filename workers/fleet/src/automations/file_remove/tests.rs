//! The laws of `file.remove`: do, undo and probe, each twice; what was removed comes back whole; nothing of somebody else's is moved.

use std::fs;
use std::os::unix::fs::symlink;

use baton_worker::testing::UnderTest;

use super::*;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn case() -> UnderTest<FileRemove, Self> {
        let dir = tempfile::tempdir().unwrap();
        let automation = FileRemove::under(&[dir.path().to_owned()]).unwrap();
        let input = FileRemoveInput {
            path: dir.path().join("thing").to_str().unwrap().to_owned(),
        };
        UnderTest::new(automation, input).at(Self { dir })
    }

    fn is_there(&self) -> bool {
        fs::symlink_metadata(self.dir.path().join("thing")).is_ok()
    }
}

#[tokio::test]
async fn files_folders_and_links_go_and_come_back_whole() {
    for kind in ["file", "folder", "link"] {
        let case = Place::case();
        match kind {
            "file" => fs::write(&case.input.path, "text").unwrap(),
            "folder" => {
                fs::create_dir_all(format!("{}/a/b", case.input.path)).unwrap();
                fs::write(format!("{}/a/b/c", case.input.path), "text").unwrap();
                symlink("/etc", format!("{}/a/etc", case.input.path)).unwrap();
            }
            _ => symlink("nowhere", &case.input.path).unwrap(),
        }
        assert_eq!(case.probe().await.unwrap(), Probe::DidNot);
        let first = case.run().await.unwrap();
        assert_eq!((first.kind.as_deref(), first.changed), (Some(kind), true));
        assert!(!case.is_there());
        assert_eq!(case.run().await.unwrap(), first);
        assert_eq!(case.probe().await.unwrap(), Probe::Happened(first));
        for _ in 0..2 {
            case.undo().await.unwrap();
            assert!(case.is_there());
        }
        if kind == "folder" {
            let inner = format!("{}/a/b/c", case.input.path);
            assert_eq!(fs::read_to_string(inner).unwrap(), "text");
        }
        assert_eq!(case.probe().await.unwrap(), Probe::DidNot);
    }
}

#[tokio::test]
async fn nothing_there_is_nothing_done() {
    let case = Place::case();
    let output = case.run().await.unwrap();
    assert_eq!((output.kind, output.changed), (None, false));
    case.undo().await.unwrap();
    assert!(!case.is_there());
}

#[tokio::test]
async fn what_somebody_else_has_put_there_is_neither_moved_nor_overwritten() {
    let case = Place::case();
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
    let mut case = Place::case();
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
