//! What a test could not try on this host, said where somebody reads it: the runners hide the output of tests that pass.
//!
//! Guarantee: the line is on the standard error of the test and, where `deploy/test` names a file for such lines, in that file, whole
//! also when many tests write at once. `deploy/test` prints them after the runner's own closing lines.

use std::fs::File;
use std::io::{Write as _, stderr};
use std::path::{Path, PathBuf};

/// The file that gathers what was not tested; set by `deploy/test`.
pub const NOT_TESTED_ENV: &str = "BATON_NOT_TESTED_LINES";

/// Says that `what` was not tested, and by which test. For a test that then passes without having tried it.
///
/// # Panics
/// When the file that [`NOT_TESTED_ENV`] names cannot be written: a line that is lost would pass for a test.
pub fn not_tested(what: &str) {
    let file = std::env::var_os(NOT_TESTED_ENV).map(PathBuf::from);
    say(what, test_name().as_deref(), file.as_deref());
}

/// Runners name a test's thread after the test; nextest's may be the main one.
fn test_name() -> Option<String> {
    let thread = std::thread::current();
    let named = thread.name().filter(|name| *name != "main");
    named
        .map(str::to_owned)
        .or_else(|| std::env::var("NEXTEST_TEST_NAME").ok())
}

fn say(what: &str, test: Option<&str>, file: Option<&Path>) {
    let by = test.map(|test| format!(" ({test})")).unwrap_or_default();
    let line = format!("NOT TESTED: {what}{by}\n");
    let _ = stderr().write_all(line.as_bytes());
    let Some(path) = file else { return };
    let opened = File::options().create(true).append(true).open(path);
    // one write: lines of tests that run side by side do not mix
    let written = opened.and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        panic!(
            "cannot write what was not tested to {}: {error}",
            path.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_gathered_with_the_test_that_said_it() {
        let name = format!("not-tested-{}", uuid::Uuid::new_v4());
        let path = std::env::temp_dir().join(name);
        say("one thing", Some("a::test"), Some(&path));
        say("another", None, Some(&path));
        let found = std::fs::read_to_string(&path);
        let removed = std::fs::remove_file(&path);
        let lines = "NOT TESTED: one thing (a::test)\nNOT TESTED: another\n";
        assert_eq!(found.ok().as_deref(), Some(lines));
        assert!(removed.is_ok(), "{removed:?}");
    }

    #[test]
    fn a_test_knows_its_name() {
        let name = test_name().unwrap_or_default();
        assert!(name.ends_with("a_test_knows_its_name"), "{name}");
    }
}
