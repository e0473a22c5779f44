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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(folder);
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        all.push((name, std::fs::read(path).unwrap()));
    }
    all.sort();
    all
}

/// Reads every file of a folder; some of them are read to the end, and some refused.
fn replayed(folder: &str, target: impl Fn(&[u8]) -> Outcome) {
    let mut seen = BTreeSet::new();
    for (name, bytes) in files(folder) {
        assert!(bytes.len() <= BYTES_MAX, "{name} has {} bytes", bytes.len());
        // what a test prints is shown when it fails: the last name is the file that does harm
        eprintln!("{folder}/{name}");
        seen.insert(target(&bytes));
    }
    assert_eq!(seen, BTreeSet::from([Outcome::Read, Outcome::Refused]));
}

#[test]
fn definitions_of_the_corpus_do_no_harm() {
    replayed("definition", definition);
}

#[test]
fn expressions_of_the_corpus_do_no_harm() {
    replayed("expression", expression);
}

#[test]
fn messages_of_the_corpus_do_no_harm() {
    replayed("messages", messages);
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
    let count: usize = folders.iter().map(|folder| files(folder).len()).sum();
    assert!(count <= FILES_MAX, "{count} files");
}
