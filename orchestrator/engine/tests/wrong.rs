//! Wrong definitions, each with what is said of it: every file of `wrong/` has its diagnostics beside it, drawn under the lines they are
//! about. After a change of words: `INSTA_UPDATE=always`, and read the difference.

mod catalogue;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use baton_engine::definition::{Diagnostic, Unannounced, check_among, explanations};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wrong")
}

fn drawn(found: &[Diagnostic], severity: &str, source: &str) -> String {
    let mut text = String::new();
    for one in found {
        let line = source.lines().nth(one.line - 1).unwrap_or_default();
        let lead = " ".repeat(one.column - 1);
        let carets = "^".repeat(one.width.max(1));
        let _ = writeln!(
            text,
            "{severity}[{}] {}:{}: {}\n  | {line}\n  | {lead}{carets}",
            one.code, one.line, one.column, one.message
        );
        if !one.help.is_empty() {
            let _ = writeln!(text, "  = {}", one.help);
        }
    }
    text
}

#[test]
fn every_wrong_definition_is_refused_in_these_words() {
    let (catalogue, sagas) = (catalogue::shipped_and_made_up(), catalogue::sagas());
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    names.sort();
    assert!(names.len() >= 80, "{} wrong definitions", names.len());
    let mut codes = BTreeSet::new();
    for path in names {
        let source = std::fs::read_to_string(&path).unwrap();
        let found = check_among(&source, &catalogue, &sagas, Unannounced::RefusedWhenNear);
        codes.extend(
            found
                .errors
                .iter()
                .chain(&found.warnings)
                .map(|one| one.code),
        );
        let text =
            drawn(&found.errors, "error", &source) + &drawn(&found.warnings, "warning", &source);
        assert!(!text.is_empty(), "nothing is said of {}", path.display());
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        insta::with_settings!({
            snapshot_path => folder(),
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!(name, text);
        });
    }
    for code in explanations().map(|page| page.code) {
        assert!(codes.contains(code), "no wrong definition shows {code}");
    }
}
