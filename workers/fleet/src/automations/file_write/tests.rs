//! The laws of `file.write`: do, undo and probe, each twice; the original comes back; nothing of somebody else's is overwritten; no way
//! leads out of a root.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use baton_worker::Direction;
use baton_worker::testing::UnderTest;

use super::*;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn case(mode: Option<&str>) -> UnderTest<FileWrite, Self> {
        let dir = tempfile::tempdir().unwrap();
        let automation = FileWrite::under(&[dir.path().to_owned()]).unwrap();
        let input = FileWriteInput {
            path: dir.path().join("file").to_str().unwrap().to_owned(),
            content: "new".to_owned(),
            encoding: Encoding::Text,
            mode: mode.map(str::to_owned),
            existing: Existing::Replace,
        };
        UnderTest::new(automation, input).at(Self { dir })
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("file")
    }

    fn stands(&self) -> Option<(String, u32)> {
        let content = fs::read_to_string(self.path()).ok()?;
        let mode = fs::metadata(self.path()).unwrap().permissions().mode() & 0o7777;
        Some((content, mode))
    }

    fn there(&self, content: &str, mode: u32) {
        fs::write(self.path(), content).unwrap();
        fs::set_permissions(self.path(), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Only the file itself is left in the folder.
    fn tidy(&self) {
        let left: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name != "file")
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn a_file_that_was_not_there_is_written_and_taken_away_again() {
    let case = Place::case(None);
    assert_eq!(case.probe().await.unwrap(), Probe::DidNot);
    let first = case.run().await.unwrap();
    assert_eq!(case.stands(), Some(("new".to_owned(), 0o644)));
    assert_eq!(
        case.run().await.unwrap(),
        first,
        "the second run tells another story"
    );
    assert!(first.changed);
    assert_eq!(case.probe().await.unwrap(), Probe::Happened(first));
    for _ in 0..2 {
        case.undo().await.unwrap();
        assert_eq!(case.stands(), None);
    }
    assert_eq!(case.probe().await.unwrap(), Probe::DidNot);
    case.tidy();
}

#[tokio::test]
async fn the_original_comes_back_whole_whatever_runs_twice() {
    let case = Place::case(Some("0600"));
    case.there("old", 0o755);
    case.run().await.unwrap();
    assert_eq!(case.stands(), Some(("new".to_owned(), 0o600)));
    case.run().await.unwrap();
    assert_eq!(
        case.step.stored(),
        1,
        "the second attempt stored what the first had written"
    );
    for _ in 0..2 {
        case.undo().await.unwrap();
        assert_eq!(case.stands(), Some(("old".to_owned(), 0o755)));
    }
    case.tidy();
}

#[tokio::test]
async fn an_undo_of_what_never_happened_is_content() {
    let case = Place::case(None);
    case.there("old", 0o644);
    case.undo().await.unwrap();
    assert_eq!(case.stands(), Some(("old".to_owned(), 0o644)));
}

#[tokio::test]
async fn what_somebody_else_has_put_there_is_never_overwritten() {
    let case = Place::case(None);
    case.there("old", 0o644);
    case.run().await.unwrap();
    case.there("theirs", 0o644);
    for error in [
        case.undo().await.unwrap_err(),
        case.run().await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "changed-by-somebody-else");
        assert!(error.nothing_changed() && !error.may_retry());
    }
    assert!(matches!(case.probe().await.unwrap(), Probe::CannotTell(_)));
    assert_eq!(case.stands(), Some(("theirs".to_owned(), 0o644)));
    // A mode is part of what stands there.
    case.there("new", 0o777);
    assert_eq!(
        case.undo().await.unwrap_err().code(),
        "changed-by-somebody-else"
    );
}

#[tokio::test]
async fn a_file_that_is_there_is_left_alone_where_it_is_not_to_be_replaced() {
    let mut case = Place::case(None);
    case.input.existing = Existing::Refuse;
    case.there("theirs", 0o644);
    for _ in 0..2 {
        let error = case.run().await.unwrap_err();
        assert_eq!(error.code(), "file-exists");
        assert!(error.nothing_changed() && error.may_retry(), "{error}");
    }
    assert_eq!(
        case.step.stored(),
        0,
        "what it never touches it need not put back"
    );
    assert_eq!(case.stands(), Some(("theirs".to_owned(), 0o644)));
    // gone: the same step gets its turn, once however often it is tried
    fs::remove_file(case.path()).unwrap();
    let first = case.run().await.unwrap();
    assert!(first.changed);
    assert_eq!(case.run().await.unwrap(), first);
    assert_eq!(case.probe().await.unwrap(), Probe::Happened(first));
    case.there("theirs", 0o644);
    assert_eq!(case.run().await.unwrap_err().code(), "file-exists");
    assert_eq!(
        case.undo().await.unwrap_err().code(),
        "changed-by-somebody-else"
    );
    case.there("new", 0o644);
    case.undo().await.unwrap();
    assert_eq!(case.stands(), None);
    case.tidy();
}

/// Whoever looks at the same moment: one is first, the others are told.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_several_that_write_at_once_one_is_first() {
    for _ in 0..20 {
        let case = Place::case(None);
        let writers = (0..8).map(|number| {
            let input = FileWriteInput {
                content: number.to_string(),
                existing: Existing::Refuse,
                ..case.input.clone()
            };
            let one = UnderTest::new(case.automation.clone(), input);
            tokio::spawn(async move { one.run().await.map_err(|error| error.code().to_owned()) })
        });
        let mut first = 0;
        for writer in writers.collect::<Vec<_>>() {
            match writer.await.unwrap() {
                Ok(_) => first += 1,
                Err(code) => assert_eq!(code, "file-exists"),
            }
        }
        assert_eq!(first, 1);
        case.tidy();
    }
}

#[tokio::test]
async fn no_way_leads_out_of_a_root() {
    let outside = tempfile::tempdir().unwrap();
    let mut case = Place::case(None);
    let inside = case.dir.path().to_owned();
    fs::write(outside.path().join("precious"), "precious").unwrap();
    symlink(outside.path(), inside.join("folder")).unwrap();
    symlink(outside.path().join("precious"), inside.join("link")).unwrap();
    fs::create_dir(inside.join("real")).unwrap();
    let cases = [
        (outside.path().join("precious"), "outside-roots"),
        (inside.join("folder/precious"), "not-plain"),
        (inside.join("link"), "not-plain"),
        (inside.join("../precious"), "not-plain"),
        (inside.clone(), "not-plain"),
        (inside.join("real"), "no-regular-file"),
        (inside.join("missing/file"), "no-folder"),
        ("relative".into(), "outside-roots"),
    ];
    for (path, code) in cases {
        case.input.path = path.to_str().unwrap().to_owned();
        let error = case.run().await.unwrap_err();
        assert_eq!(error.code(), code, "{}", path.display());
        assert!(error.nothing_changed());
    }
    assert_eq!(
        fs::read_to_string(outside.path().join("precious")).unwrap(),
        "precious"
    );
}

#[tokio::test]
async fn sizes_are_bounded_both_ways_and_base_64_is_read() {
    let mut case = Place::case(None);
    let most = usize::try_from(FILE_BYTES_MAX).unwrap();
    case.input.content = "x".repeat(most + 1);
    assert_eq!(case.run().await.unwrap_err().code(), "input-misfit");
    fs::write(case.path(), "x".repeat(most + 1)).unwrap();
    case.input.content = "small".to_owned();
    assert_eq!(case.run().await.unwrap_err().code(), "too-large");
    // The largest one allowed can be replaced and put back.
    fs::write(case.path(), "x".repeat(most)).unwrap();
    case.input.content = BASE64.encode([0, 159, 255]);
    case.input.encoding = Encoding::Base64;
    case.run().await.unwrap();
    assert_eq!(fs::read(case.path()).unwrap(), [0, 159, 255]);
    case.undo().await.unwrap();
    assert_eq!(fs::read(case.path()).unwrap().len(), most);
}

#[tokio::test]
async fn what_a_killed_run_left_beside_the_file_is_no_hindrance() {
    let case = Place::case(None);
    let mark = case.step.attempt(Direction::Do).unwrap().effect_key();
    let beside = case.dir.path().join(format!(".baton-{mark}.part"));
    fs::write(&beside, "half").unwrap();
    case.run().await.unwrap();
    assert_eq!(case.stands().unwrap().0, "new");
    case.tidy();
}
