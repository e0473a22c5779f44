//! The laws of `file.symlink`: do, undo and probe, each twice; no moment without a link; nothing of somebody else's is switched; no link
//! leads out of a root.

use std::fs;
use std::os::unix::fs::symlink;

use baton_worker::testing::UnderTest;

use super::*;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn case(target: &str) -> UnderTest<FileSymlink, Self> {
        let dir = tempfile::tempdir().unwrap();
        for release in ["releases/1", "releases/2"] {
            fs::create_dir_all(dir.path().join(release)).unwrap();
        }
        let automation = FileSymlink::under(&[dir.path().to_owned()]).unwrap();
        let input = FileSymlinkInput {
            path: dir.path().join("current").to_str().unwrap().to_owned(),
            target: target.to_owned(),
        };
        UnderTest::new(automation, input).at(Self { dir })
    }

    fn leads(&self) -> Option<String> {
        let target = fs::read_link(self.dir.path().join("current")).ok()?;
        Some(target.to_string_lossy().into_owned())
    }

    /// Only what belongs there is left in the folder.
    fn tidy(&self) {
        let left: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name != "current" && name != "releases")
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn a_link_is_switched_and_switched_back_whatever_runs_twice() {
    let case = Place::case("releases/2");
    symlink("releases/1", &case.input.path).unwrap();
    assert_eq!(case.probe().await.unwrap(), Probe::DidNot);
    let first = case.run().await.unwrap();
    assert_eq!(first.previous.as_deref(), Some("releases/1"));
    assert!(first.changed);
    assert_eq!(case.leads().as_deref(), Some("releases/2"));
    assert_eq!(case.run().await.unwrap(), first);
    assert_eq!(case.step.stored(), 1);
    assert_eq!(case.probe().await.unwrap(), Probe::Happened(first));
    for _ in 0..2 {
        case.undo().await.unwrap();
        assert_eq!(case.leads().as_deref(), Some("releases/1"));
    }
    assert_eq!(case.probe().await.unwrap(), Probe::DidNot);
    case.tidy();
}

#[tokio::test]
async fn a_link_that_was_not_there_is_made_and_taken_away() {
    let mut case = Place::case("");
    case.input.target = case.dir.path().join("releases/1").display().to_string();
    let made = case.run().await.unwrap();
    assert_eq!((made.previous, made.changed), (None, true));
    assert_eq!(case.leads(), Some(case.input.target.clone()));
    for _ in 0..2 {
        case.undo().await.unwrap();
        assert_eq!(case.leads(), None);
    }
    case.tidy();
}

#[tokio::test]
async fn a_link_that_leads_there_already_is_left_as_it_is() {
    let case = Place::case("releases/1");
    symlink("releases/1", &case.input.path).unwrap();
    let output = case.run().await.unwrap();
    assert!(!output.changed);
    case.undo().await.unwrap();
    assert_eq!(case.leads().as_deref(), Some("releases/1"));
}

#[tokio::test]
async fn what_somebody_else_has_switched_is_left_alone() {
    let case = Place::case("releases/2");
    symlink("releases/1", &case.input.path).unwrap();
    case.run().await.unwrap();
    fs::remove_file(&case.input.path).unwrap();
    symlink("elsewhere", &case.input.path).unwrap();
    for error in [
        case.undo().await.unwrap_err(),
        case.run().await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "changed-by-somebody-else");
        assert!(error.nothing_changed() && !error.may_retry());
    }
    assert!(matches!(case.probe().await.unwrap(), Probe::CannotTell(_)));
    assert_eq!(case.leads().as_deref(), Some("elsewhere"));
}

#[tokio::test]
async fn a_file_or_folder_is_never_replaced_by_a_link() {
    let case = Place::case("releases/2");
    fs::write(&case.input.path, "a file").unwrap();
    assert_eq!(case.run().await.unwrap_err().code(), "no-link");
    fs::remove_file(&case.input.path).unwrap();
    fs::create_dir(&case.input.path).unwrap();
    assert_eq!(case.run().await.unwrap_err().code(), "no-link");
    // One that comes in the last moment is met by the rename itself.
    let roots = Roots::new(&[case.dir.path().to_owned()]).unwrap();
    let place = roots
        .place(PathBuf::from(&case.input.path).as_path())
        .unwrap();
    let occupied = place.put_link(&PathBuf::from("releases/2"), true, "mark");
    assert!(matches!(occupied, Err(PlaceError::Occupied(_))));
    fs::remove_dir(&case.input.path).unwrap();
    case.tidy();
}

#[tokio::test]
async fn no_link_leads_out_of_a_root_or_into_nothing() {
    let outside = tempfile::tempdir().unwrap();
    let mut case = Place::case("");
    symlink(outside.path(), case.dir.path().join("way-out")).unwrap();
    let absolute = outside.path().to_str().unwrap().to_owned();
    for (target, code) in [
        ("releases/3", "not-there"),
        ("../../etc/passwd", "outside-roots"),
        ("/etc/passwd", "outside-roots"),
        (absolute.as_str(), "outside-roots"),
        ("way-out", "not-plain"),
        ("way-out/below", "not-plain"),
    ] {
        case.input.target = target.to_owned();
        let error = case.run().await.unwrap_err();
        assert_eq!(error.code(), code, "{target}");
        assert!(error.nothing_changed());
        assert_eq!(case.leads(), None);
    }
    case.input.target = "releases/1".to_owned();
    case.input.path = outside.path().join("link").to_str().unwrap().to_owned();
    assert_eq!(case.run().await.unwrap_err().code(), "outside-roots");
}

#[tokio::test]
async fn somebody_who_looks_all_the_time_always_finds_a_target() {
    let case = Place::case("releases/2");
    let path = PathBuf::from(&case.input.path);
    symlink("releases/1", &path).unwrap();
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let looker = std::thread::spawn({
        let over = over.clone();
        move || {
            let mut looks = 0_u64;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(path.is_dir(), "a moment without a link");
                looks += 1;
            }
            looks
        }
    });
    for _ in 0..50 {
        case.run().await.unwrap();
        case.undo().await.unwrap();
    }
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(looker.join().unwrap() > 0);
}
