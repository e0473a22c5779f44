//! JUnit reports: what ran, what failed. Written by whatever ran the tests, so nothing of them is trusted: bounded, and never outside the folder.

use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use baton_worker::Masks;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// The largest report, in bytes.
const REPORT_BYTES_MAX: u64 = 32 << 20;
/// The most files of a folder of reports.
const FILES_MAX: usize = 1_000;
/// Names of failed tests that are kept.
const NAMES_MAX: usize = 50;
/// The longest name that is kept, in characters.
const NAME_CHARS_MAX: usize = 200;
/// What a file's time may be coarser than the clock.
const COARSE: Duration = Duration::from_secs(2);

/// What a report says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) tests: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    pub(crate) failed_names: Vec<String>,
}

/// Reads the report below `folder`, which has to be newer than `began`: an old one tells of another run.
pub(crate) fn read(
    folder: &Path,
    report: &str,
    began: SystemTime,
    masks: &Masks,
) -> Result<Counts, String> {
    let plain = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
    if !Path::new(report).components().all(plain) {
        return Err(format!("the report {report} does not lie in the folder"));
    }
    let gone = |error| format!("the report {report} cannot be read: {error}");
    let root = folder.canonicalize().map_err(gone)?;
    let path = root.join(report).canonicalize().map_err(gone)?;
    if !path.starts_with(&root) {
        return Err(format!("the report {report} does not lie in the folder"));
    }
    let mut counts = Counts::default();
    let mut fresh = 0;
    for file in files(&path).map_err(gone)? {
        let file = File::open(file).map_err(gone)?;
        let about = file.metadata().map_err(gone)?;
        let old = about.modified().is_ok_and(|at| at + COARSE < began);
        if !about.is_file() || old {
            continue;
        }
        fresh += 1;
        let mut text = String::new();
        file.take(REPORT_BYTES_MAX + 1)
            .read_to_string(&mut text)
            .map_err(gone)?;
        if text.len() as u64 > REPORT_BYTES_MAX {
            return Err(format!(
                "the report {report} is larger than {REPORT_BYTES_MAX} bytes"
            ));
        }
        count(&text, masks, &mut counts)
            .map_err(|why| format!("the report {report} is no JUnit: {why}"))?;
    }
    if fresh == 0 {
        return Err(format!("the report {report} is not of this run"));
    }
    Ok(counts)
}

fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let is_report =
        |path: &PathBuf| path.extension().is_some_and(|ext| ext == "xml") && !path.is_symlink();
    let mut all = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if !is_report(&file) {
            continue;
        }
        // what is left out might be what failed
        if all.len() == FILES_MAX {
            let why = format!("it is a folder of more than {FILES_MAX} reports");
            return Err(std::io::Error::other(why));
        }
        all.push(file);
    }
    all.sort();
    Ok(all)
}

/// One test case while it is read.
#[derive(Default)]
struct Case {
    name: String,
    failed: bool,
    skipped: bool,
}

fn count(text: &str, masks: &Masks, counts: &mut Counts) -> Result<(), String> {
    let mut reader = Reader::from_str(text);
    let mut open: Option<Case> = None;
    let mut is_junit = false;
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Eof => break,
            Event::Start(tag) => {
                is_junit |= tag.name().as_ref().starts_with(b"testsuite");
                enter(&tag, masks, &mut open);
            }
            Event::Empty(tag) => {
                is_junit |= tag.name().as_ref().starts_with(b"testsuite");
                enter(&tag, masks, &mut open);
                if tag.name().as_ref() == b"testcase" {
                    leave(open.take(), counts);
                }
            }
            Event::End(tag) if tag.name().as_ref() == b"testcase" => leave(open.take(), counts),
            _ => {}
        }
    }
    if open.is_some() || !is_junit {
        return Err("it has no test suite, or ends in the middle".to_owned());
    }
    Ok(())
}

fn enter(tag: &BytesStart<'_>, masks: &Masks, open: &mut Option<Case>) {
    match tag.name().as_ref() {
        b"testcase" => {
            let attribute = |name: &str| {
                let found = tag.try_get_attribute(name).ok().flatten();
                found.and_then(|a| Some(a.unescape_value().ok()?.into_owned()))
            };
            let of = attribute("classname").map_or_else(String::new, |of| format!("{of}::"));
            let name = format!("{of}{}", attribute("name").unwrap_or_default());
            *open = Some(Case {
                // Before it is cut: a part of a secret is not known for one.
                name: masks
                    .hide(&name)
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(NAME_CHARS_MAX)
                    .collect(),
                ..Case::default()
            });
        }
        b"failure" | b"error" => {
            if let Some(case) = open {
                case.failed = true;
            }
        }
        b"skipped" => {
            if let Some(case) = open {
                case.skipped = true;
            }
        }
        _ => {}
    }
}

fn leave(case: Option<Case>, counts: &mut Counts) {
    let Some(case) = case else { return };
    counts.tests += 1;
    counts.skipped += u64::from(case.skipped);
    if case.failed {
        counts.failed += 1;
        if counts.failed_names.len() < NAMES_MAX {
            counts.failed_names.push(case.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_counted_whatever_their_suites_say() {
        let text = r#"<?xml version="1.0"?><testsuites><testsuite name="a" tests="99">
            <testcase name="good" classname="m"/>
            <testcase name="bad &lt;1&gt;" classname="m"><failure message="no">trace</failure></testcase>
            <testcase name="broken"><error/></testcase>
            <testcase name="later"><skipped/></testcase>
            <testcase name="flaky"><flakyFailure/></testcase></testsuite></testsuites>"#;
        let mut counts = Counts::default();
        count(text, &Masks::default(), &mut counts).unwrap();
        assert_eq!((counts.tests, counts.failed, counts.skipped), (5, 2, 1));
        assert_eq!(counts.failed_names, ["m::bad <1>", "broken"]);
    }

    #[test]
    fn a_secret_in_a_name_is_masked_before_the_name_is_cut() {
        let masks = Masks::of(["hunter2hunter2"]);
        let name = format!("{}hunter2hunter2", "x".repeat(NAME_CHARS_MAX - 5));
        let text = format!("<testsuite><testcase name='{name}'><error/></testcase></testsuite>");
        let mut counts = Counts::default();
        count(&text, &masks, &mut counts).unwrap();
        assert!(counts.failed_names[0].ends_with("xx***"), "{counts:?}");
    }

    #[test]
    fn a_folder_of_too_many_reports_is_refused_and_not_read_in_part() {
        let dir = tempfile::tempdir().unwrap();
        let one = |number: usize| {
            let path = dir.path().join(format!("{number}.xml"));
            std::fs::write(path, "<testsuite><testcase name='a'/></testsuite>").unwrap();
        };
        (0..FILES_MAX).for_each(one);
        std::fs::write(dir.path().join("notes.txt"), "no report").unwrap();
        let now = SystemTime::now();
        let all = || read(dir.path(), ".", now, &Masks::default());
        assert_eq!(all().unwrap().tests, FILES_MAX as u64);
        one(FILES_MAX);
        let why = all().unwrap_err();
        assert!(why.contains("more than 1000 reports"), "{why}");
    }

    #[test]
    fn what_is_no_report_or_not_of_this_run_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let at = |name: &str| read(dir.path(), name, now, &Masks::default()).unwrap_err();
        assert!(at("missing.xml").contains("cannot be read"));
        assert!(at("../up.xml").contains("does not lie"));
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("link.xml")).unwrap();
        assert!(at("link.xml").contains("does not lie"));
        for (text, why) in [
            ("<html></html>", "no JUnit"),
            ("<testsuite><testcase name='a'>", "no JUnit"),
            ("<testsuite></other>", "no JUnit"),
        ] {
            std::fs::write(dir.path().join("r.xml"), text).unwrap();
            assert!(at("r.xml").contains(why), "{text}: {}", at("r.xml"));
        }
        std::fs::write(dir.path().join("r.xml"), "<testsuite/>").unwrap();
        assert_eq!(
            read(dir.path(), "r.xml", now, &Masks::default()),
            Ok(Counts::default())
        );
        assert_eq!(
            read(dir.path(), ".", now, &Masks::default()),
            Ok(Counts::default())
        );
        let later = now + Duration::from_secs(60);
        assert!(
            read(dir.path(), "r.xml", later, &Masks::default())
                .unwrap_err()
                .contains("not of this run")
        );
    }
}
