//! The page about the language, as tests read it: its examples, and the definition that each stands for.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::path::PathBuf;

/// All of it.
pub(crate) fn page() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../sagas/LANGUAGE.md");
    std::fs::read_to_string(path).unwrap()
}

/// Each example, with the line it begins at.
pub(crate) fn examples(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (line, text) in (1..).zip(page.lines()) {
        match (&mut open, text) {
            (None, "```yaml") => open = Some((line + 1, String::new())),
            (Some(_), "```") => found.extend(open.take()),
            (Some((_, block)), text) => {
                block.push_str(text);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "a block of the page has no end");
    found
}

/// The definition an example stands for.
pub(crate) fn whole(example: &str) -> String {
    if example.starts_with("saga:") {
        return example.to_owned();
    }
    let trigger = ["- event:", "- schedule:", "- hook:"];
    if trigger.iter().any(|start| example.starts_with(start)) {
        return format!(
            "saga: example\nversion: 1\nsteps: [{{ id: only, sleep: 1s }}]\non:\n{example}"
        );
    }
    format!("saga: example\nversion: 1\nsteps:\n{example}")
}
