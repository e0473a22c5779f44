//! The sagas that are shipped pass the checker without a word, and nearly every expression of theirs has a type. So do the examples of
//! the page about the language, as far as they are whole.

mod catalogue;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use baton_engine::Definition;
use baton_engine::definition::{Unannounced, check_among};
use baton_messages::Manifest;

#[test]
fn every_shipped_saga_passes_and_is_typed() {
    let mut catalogue = catalogue::shipped_and_made_up();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sagas");
    // what no worker does yet is checked as if one did
    let planned = std::fs::read_to_string(folder.join("planned.json")).unwrap();
    for manifest in serde_json::from_str::<Vec<Manifest>>(&planned).unwrap() {
        catalogue.announce(manifest).unwrap();
    }
    let canonical = std::fs::read_dir(folder.join("canonical")).unwrap();
    let files = std::fs::read_dir(&folder).unwrap().chain(canonical);
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    // those that others name among them
    let mut together = catalogue::sagas();
    for path in &files {
        let text = std::fs::read_to_string(path).unwrap();
        together.add(Arc::new(Definition::parse(&text).unwrap()));
    }
    let (mut all, mut any) = (0_usize, Vec::new());
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let how = Unannounced::RefusedWhenNear;
        let found = check_among(&text, &catalogue, &together, how);
        let said: Vec<String> = found
            .errors
            .iter()
            .chain(&found.warnings)
            .map(ToString::to_string)
            .collect();
        assert_eq!(said, Vec::<String>::new(), "{}", path.display());
        all += found.expressions.len();
        let unknown = found.expressions.into_iter().filter(|one| one.any);
        any.extend(unknown.map(|one| format!("{}:{} {}", path.display(), one.line, one.text)));
    }
    assert!(all > 300, "{all} expressions");
    assert!(
        any.len() * 20 <= all,
        "{} of {all} are any: {any:#?}",
        any.len()
    );
}
