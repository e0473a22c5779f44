//! The laws of `file.ensure-line`: what is edited and what is not; do, undo and probe, each twice; the original comes back whole.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use baton_worker::testing::UnderTest;
use serde_json::{Value, json};

use super::*;

fn input(from: Value) -> FileEnsureLineInput {
    let mut whole = json!({ "path": "/x" });
    whole
        .as_object_mut()
        .unwrap()
        .extend(from.as_object().unwrap().clone());
    serde_json::from_value(whole).unwrap()
}

fn edit(text: &str, from: Value) -> Result<(String, u32, u32), TaskError> {
    let input = input(from);
    let edited = Wanted::of(&input)?.edited(text.as_bytes())?;
    let text = String::from_utf8_lossy(&edited.content).into_owned();
    Ok((text, edited.added, edited.removed))
}

#[test]
fn a_line_goes_where_it_belongs_and_nothing_else_moves() {
    for (text, input, expected) in [
        ("a\nb\n", json!({ "line": "c" }), "a\nb\nc\n"),
        ("a\nb\n", json!({ "line": "b" }), "a\nb\n"),
        ("", json!({ "line": "a" }), "a\n"),
        // the last line has no end, and keeps it so
        ("a\nb", json!({ "line": "c" }), "a\nb\nc"),
        ("a\nb", json!({ "line": "c", "after": "^a" }), "a\nc\nb"),
        // the ends of lines are what they were
        ("a\r\nb\r\n", json!({ "line": "c" }), "a\r\nb\r\nc\r\n"),
        ("a\r\nb\r\n", json!({ "line": "b" }), "a\r\nb\r\n"),
        (
            "mod a;\nmod b;\n\nfn x() {}\n",
            json!({ "line": "mod c;", "after": "^mod " }),
            "mod a;\nmod b;\nmod c;\n\nfn x() {}\n",
        ),
        (
            "x\nexit 0\nexit 0\n",
            json!({ "line": "y", "before": "^exit" }),
            "x\ny\nexit 0\nexit 0\n",
        ),
        (
            "n = 1\nn = 2\nm = 3\n",
            json!({ "line": "n = 8", "matching": r"^n\s*=" }),
            "n = 1\nn = 8\nm = 3\n",
        ),
        (
            "m = 3\n",
            json!({ "line": "n = 8", "matching": "^n" }),
            "m = 3\nn = 8\n",
        ),
        (
            "a\nb\na\n",
            json!({ "line": "a", "state": "absent" }),
            "b\n",
        ),
        (
            "ax\nb\nay",
            json!({ "line": "", "matching": "^a", "state": "absent" }),
            "b\n",
        ),
        ("b\n", json!({ "line": "a", "state": "absent" }), "b\n"),
    ] {
        let (edited, ..) = edit(text, input.clone()).unwrap();
        assert_eq!(edited, expected, "{text:?} {input}");
        let (again, added, removed) = edit(&edited, input.clone()).unwrap();
        assert_eq!((again, added, removed), (edited, 0, 0), "twice: {input}");
    }
    assert_eq!(
        edit("a\na\n", json!({ "line": "a", "state": "absent" }))
            .unwrap()
            .2,
        2
    );
}

#[test]
fn what_cannot_be_done_is_said() {
    for (input, code) in [
        (json!({ "line": "x", "after": "nowhere" }), "no-such-line"),
        (json!({ "line": "x", "before": "nowhere" }), "no-such-line"),
        (json!({ "line": "x", "after": "(" }), "input-misfit"),
        (
            json!({ "line": "x", "after": r"(\w{900}){900}" }),
            "input-misfit",
        ),
        (
            json!({ "line": "x", "after": "a", "before": "b" }),
            "input-misfit",
        ),
        (json!({ "line": "x\ny" }), "input-misfit"),
    ] {
        assert_eq!(
            edit("a\n", input.clone()).unwrap_err().code(),
            code,
            "{input}"
        );
    }
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn case() -> UnderTest<FileEnsureLine, Self> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file").to_str().unwrap().to_owned();
        let automation = FileEnsureLine::under(&[dir.path().to_owned()]).unwrap();
        let input = FileEnsureLineInput {
            path,
            line: "new".to_owned(),
            ..FileEnsureLineInput::default()
        };
        UnderTest::new(automation, input).at(Self { dir })
    }

    fn stands(&self) -> Option<(String, u32, u32)> {
        let path = self.dir.path().join("file");
        let text = fs::read_to_string(&path).ok()?;
        let about = fs::metadata(&path).unwrap();
        Some((text, about.permissions().mode() & 0o7777, about.uid()))
    }
}

#[tokio::test]
async fn mode_and_owner_stay_and_the_original_comes_back() {
    let case = Place::case();
    fs::write(&case.input.path, "old\n").unwrap();
    fs::set_permissions(&case.input.path, fs::Permissions::from_mode(0o640)).unwrap();
    // As root the file can be somebody else's; as anybody else it is one's own.
    let _ = std::os::unix::fs::chown(&case.input.path, Some(12_345), None);
    let owner = fs::metadata(&case.input.path).unwrap().uid();
    let old = Some(("old\n".to_owned(), 0o640, owner));
    let first = case.run().await.unwrap();
    assert_eq!((first.changed, first.added, first.removed), (true, 1, 0));
    assert_eq!(case.stands(), Some(("old\nnew\n".to_owned(), 0o640, owner)));
    assert_eq!(case.run().await.unwrap(), first);
    assert_eq!(case.probe().await.unwrap(), Probe::Happened(first));
    for _ in 0..2 {
        case.undo().await.unwrap();
        assert_eq!(case.stands(), old);
    }
    assert_eq!(case.probe().await.unwrap(), Probe::DidNot);
}

#[tokio::test]
async fn a_file_that_is_not_there_is_made_only_on_demand() {
    let mut case = Place::case();
    let error = case.run().await.unwrap_err();
    assert_eq!((error.code(), case.step.stored()), ("not-there", 0));
    case.input.create = true;
    assert!(case.run().await.unwrap().changed);
    assert_eq!(case.stands().unwrap().0, "new\n");
    case.undo().await.unwrap();
    assert_eq!(case.stands(), None);
}

#[tokio::test]
async fn what_somebody_else_has_written_meanwhile_is_left_alone() {
    let case = Place::case();
    fs::write(&case.input.path, "old\n").unwrap();
    case.run().await.unwrap();
    fs::write(&case.input.path, "old\nnew\ntheirs\n").unwrap();
    assert_eq!(
        case.undo().await.unwrap_err().code(),
        "changed-by-somebody-else"
    );
    assert_eq!(
        case.run().await.unwrap_err().code(),
        "changed-by-somebody-else"
    );
    assert!(matches!(case.probe().await.unwrap(), Probe::CannotTell(_)));
    assert_eq!(case.stands().unwrap().0, "old\nnew\ntheirs\n");
}
