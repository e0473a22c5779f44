//! What the corpus holds is read in every run: it does no harm, and it is worth searching from. A case that a search has found is put there as a file, and stays.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may fail so, and says at what"
)]

use std::collections::BTreeSet;
use std::path::Path;

use baton_fuzz::{Outcome, definition, expression, messages};

/// Files of the whole corpus: a search begins with all of them.
const FILES_MAX: usize = 200;
/// Bytes of one of them: what is larger is slow to change and shows no more.
const BYTES_MAX: usize = 8 * 1024;

fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    files_of(&corpus.join(folder))
}

fn files_of(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_file() {
            all.push((name, std::fs::read(path).unwrap()));
        }
    }
    all.sort();
    all
}

/// The definitions that are shipped, as they are now: a search begins with them too, and no copy of them stands in the corpus.
fn shipped() -> Vec<(String, Vec<u8>)> {
    let sagas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../orchestrator/sagas");
    let mut all = files_of(&sagas);
    all.extend(files_of(&sagas.join("canonical")));
    all.retain(|(name, _)| name.ends_with(".yaml"));
    all
}

/// Reads every file; some of them are read to the end, and some refused.
fn replayed(files: &[(String, Vec<u8>)], target: impl Fn(&[u8]) -> Outcome) {
    let mut seen = BTreeSet::new();
    for (name, bytes) in files {
        // what a test prints is shown when it fails: the last name is the file that does harm
        eprintln!("{name}");
        seen.insert(target(bytes));
    }
    assert_eq!(seen, BTreeSet::from([Outcome::Read, Outcome::Refused]));
}

/// What a shipped one is, is for the tests of the engine to say: some name sagas and task types that are not known here.
#[test]
fn definitions_of_the_corpus_and_those_that_are_shipped_do_no_harm() {
    let (mut all, shipped) = (files("definition"), shipped());
    assert!(shipped.len() > 20, "{} are shipped", shipped.len());
    all.extend(shipped);
    replayed(&all, definition);
}

#[test]
fn no_definition_of_the_corpus_is_called_as_one_that_is_shipped() {
    let shipped: BTreeSet<String> = shipped().into_iter().map(|(name, _)| name).collect();
    let copies = files("definition").into_iter().map(|(name, _)| name);
    let copies: Vec<String> = copies.filter(|name| shipped.contains(name)).collect();
    assert!(
        copies.is_empty(),
        "as they are shipped, they are read anyway: {copies:?}"
    );
}

#[test]
fn expressions_of_the_corpus_do_no_harm() {
    replayed(&files("expression"), expression);
}

#[test]
fn messages_of_the_corpus_do_no_harm() {
    replayed(&files("messages"), messages);
}

#[test]
fn what_is_good_is_read_and_what_is_wrong_refused() {
    for (name, bytes) in files("definition") {
        if name.starts_with("wrong-") {
            assert_eq!(definition(&bytes), Outcome::Refused, "{name}");
        }
    }
    for (name, bytes) in files("messages") {
        let meant = match name.split_once('-') {
            Some(("valid", _)) => Outcome::Read,
            Some(("invalid", _)) => Outcome::Refused,
            _ => continue,
        };
        assert_eq!(messages(&bytes), meant, "{name}");
    }
}

#[test]
fn the_corpus_is_small() {
    let folders = ["definition", "expression", "messages"];
    let all: Vec<(String, Vec<u8>)> = folders.into_iter().flat_map(files).collect();
    assert!(all.len() <= FILES_MAX, "{} files", all.len());
    for (name, bytes) in all {
        assert!(bytes.len() <= BYTES_MAX, "{name} has {} bytes", bytes.len());
    }
}
