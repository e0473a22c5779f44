//! Tidy: the rules of the tree that no compiler checks. Which crate may use which, what a file must have and must not
//! have. Each rule is also tried on a tree with one planted fault, so that it is known to fail.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;

/// Our crates and their levels: a crate may use only crates of a lower one.
const LEVELS: [(&str, u8); 15] = [
    ("baton-messages", 0),
    ("baton-settings", 0),
    ("baton-bus", 1),
    ("baton-engine", 1),
    ("baton-driver", 2),
    ("baton-worker", 2),
    ("baton-store", 3),
    ("baton-sim", 3),
    ("baton-fleet", 3),
    ("baton-orchestrator", 4),
    ("baton-cli", 4),
    ("baton-harness", 5),
    ("baton-fuzz", 5),
    ("baton-it", 6),
    ("baton-benches", 6),
];

/// Test equipment: uses none of ours, so that every crate's tests may use it.
const HARNESS: &str = "baton-harness";

/// Who may speak AMQP.
const LAPIN_USERS: [&str; 2] = ["baton-bus", "baton-benches"];

/// Everything the engine may use: no runtime, clock, chance or I/O. A word here needs a reason in ARCHITECTURE.md.
const ENGINE_USES: [&str; 14] = [
    "baton-messages",
    "schemars",
    "serde",
    "serde_json",
    "serde-saphyr",
    "cel",
    "jsonschema",
    "thiserror",
    "uuid",
    "jiff",
    "croner",
    "strsim",
    "regex",
    "regex-syntax",
];

/// Breaks rules of the engine on purpose: the simulator's own feature of that name asks for the engine's, and nobody else for either.
const PLANTED: &str = "planted";

/// The crates that have that feature.
const PLANTED_IN: [&str; 2] = ["baton-engine", "baton-sim"];

/// What may lie at the top.
const TOP_LEVEL: [&str; 29] = [
    "schemas",
    "orchestrator",
    "workers",
    "deploy",
    "tests",
    "docs",
    ".cargo",
    ".ci",
    ".config",
    ".git",
    ".github",
    ".gitattributes",
    ".gitignore",
    ".dockerignore",
    ".editorconfig",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "NOTICE",
    "README.md",
    "SECURITY.md",
    "clippy.toml",
    "deny.toml",
    "rust-toolchain.toml",
    "rustfmt.toml",
    // built or made while running, and ignored by git
    "target",
];

const LINES_MAX: usize = 800;

#[test]
fn the_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the root is there");
    let found = faults(&root);
    assert!(
        found.is_empty(),
        "{} faults:\n{}",
        found.len(),
        found.join("\n")
    );
}

/// Every fault of the tree at `root`, as `file:line: what, how to mend`.
fn faults(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    top_level(root, &mut found);
    for file in files(root, root) {
        let Ok(text) = fs::read_to_string(root.join(&file)) else {
            continue;
        };
        match file.file_name().and_then(|name| name.to_str()) {
            Some("Cargo.toml") if file.parent() != Some(Path::new("")) => {
                manifest(&file, &text, &mut found)
            }
            Some(name) if name.ends_with(".rs") => source(&file, &text, &mut found),
            _ => {}
        }
    }
    found
}

fn top_level(root: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(root).expect("the root can be read").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !TOP_LEVEL.contains(&name.as_str()) && !ignored(&name) {
            found.push(format!(
                "{name}:1: does not belong at the top level, move it to where it is used"
            ));
        }
    }
}

/// What `.gitignore` ignores beside `target`.
fn ignored(name: &str) -> bool {
    name == ".data" || name.ends_with(".log")
}

/// Every file below `dir`, by its path from `root`, in order.
fn files(root: &Path, dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder can be read").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if !path.is_dir() {
            all.push(
                path.strip_prefix(root)
                    .expect("it lies below the root")
                    .to_owned(),
            );
        } else if name != "target" && name != ".git" && name != ".data" {
            all.extend(files(root, &path));
        }
    }
    all.sort();
    all
}

/// The kinds of tables of dependencies, with whether they are for tests only.
const TABLES: [(&str, bool); 3] = [
    ("dependencies", false),
    ("build-dependencies", false),
    ("dev-dependencies", true),
];

fn manifest(file: &Path, text: &str, found: &mut Vec<String>) {
    let place = |word: &str| format!("{}:{}", file.display(), line_of(text, word));
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            return found.push(format!(
                "{}:1: is no TOML ({error}), mend it",
                file.display()
            ));
        }
    };
    let name = table
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(|name| name.as_str());
    let name = name.unwrap_or_default();
    if level(name).is_none() {
        found.push(format!(
            "{}: crate {name:?} has no level, give it one in LEVELS",
            place("name")
        ));
    }
    if table
        .get("lints")
        .and_then(|lints| lints.get("workspace"))
        .and_then(toml::Value::as_bool)
        != Some(true)
    {
        found.push(format!(
            "{}:1: does not take the workspace's lints, add `[lints] workspace = true`",
            file.display()
        ));
    }
    let features = table.get("features").and_then(toml::Value::as_table);
    for (feature, asks) in features.into_iter().flatten() {
        let own = feature == PLANTED && PLANTED_IN.contains(&name);
        if !own && (feature == PLANTED || names_planted(asks)) {
            found.push(format!("{}: {PLANTED_MEND}", place(feature)));
        }
    }
    for (kind, for_tests) in TABLES {
        for (used, how) in dependencies(&table, kind) {
            if names_planted(&how) {
                found.push(format!("{}: {PLANTED_MEND}", place(&used)));
            }
            if how.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                let mend = format!(
                    "write `{used}.workspace = true` and the version in the root Cargo.toml"
                );
                found.push(format!(
                    "{}: {used} has a version of its own, {mend}",
                    place(&used)
                ));
            }
            if let Some(fault) = edge(name, &used, for_tests) {
                found.push(format!("{}: {fault}", place(&used)));
            }
        }
    }
}

/// What is wrong with whoever asks for the feature, and how to mend it.
const PLANTED_MEND: &str = "asks for the feature `planted`, which breaks the engine's rules on purpose and would be unified into every program: leave it out";

/// Whether a feature, or how a dependency is used, asks for the feature that breaks rules.
fn names_planted(how: &toml::Value) -> bool {
    let lists = how.get("features").unwrap_or(how).as_array();
    let mut words = lists.into_iter().flatten().filter_map(toml::Value::as_str);
    words.any(|word| word == PLANTED || word.ends_with("/planted"))
}

/// The dependencies of one kind, those for some targets only included.
fn dependencies(manifest: &Table, kind: &str) -> BTreeMap<String, toml::Value> {
    let plain = manifest.get(kind).and_then(toml::Value::as_table);
    let targets = manifest
        .get("target")
        .and_then(toml::Value::as_table)
        .into_iter()
        .flatten();
    let of_targets = targets.filter_map(|(_, target)| target.get(kind)?.as_table());
    plain
        .into_iter()
        .chain(of_targets)
        .flatten()
        .map(|(name, how)| (name.clone(), how.clone()))
        .collect()
}

/// What is wrong with `user` depending on `used`, if anything.
fn edge(user: &str, used: &str, for_tests: bool) -> Option<String> {
    if used == "lapin" && !LAPIN_USERS.contains(&user) {
        return Some("lapin is for baton-bus and the benches alone, use baton-bus".into());
    }
    if user == "baton-engine" && !for_tests && !ENGINE_USES.contains(&used) {
        return Some(format!(
            "the engine may not use {used}: hand in what it needs as an argument, or extend ENGINE_USES"
        ));
    }
    let ours = used.starts_with("baton-");
    if user == HARNESS && ours {
        return Some(format!(
            "the harness uses none of our crates, so that all may use it: do without {used}"
        ));
    }
    if !ours || (used == HARNESS && for_tests) {
        return None;
    }
    match (level(user), level(used)) {
        (Some(above), Some(below)) if above > below => None,
        (Some(above), Some(below)) => Some(format!(
            "{user} (level {above}) may not use {used} (level {below}): move the shared part to a lower crate"
        )),
        _ => Some(format!("{used} has no level, give it one in LEVELS")),
    }
}

fn level(name: &str) -> Option<u8> {
    LEVELS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, level)| *level)
}

/// The line that begins with a word, for the reader; 1 when there is none.
fn line_of(text: &str, word: &str) -> usize {
    text.lines()
        .position(|line| line.trim_start().starts_with(word))
        .map_or(1, |at| at + 1)
}

/// Words that may not be left in sources, and how to mend them. Written in two halves, for this file is read too.
const WORDS: [(&str, &str, &str); 4] = [
    ("todo", "!(", "do it, or leave it out"),
    ("unimplemented", "!(", "do it, or return an error"),
    ("dbg", "!(", "use tracing, or remove it"),
    (
        "#[ign",
        "ore",
        "mend the test, or read BATON_LONG to make it small",
    ),
];

/// Where decisions are made.
const ENGINE_SOURCES: &str = "orchestrator/engine/src/";

/// What a decision may not ask for, and a dependency of the engine could be asked for: the present, chance, and the world.
const IMPURE: [&str; 12] = [
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "new_v4",
    "now_v7",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::io::std",
];

fn source(file: &Path, text: &str, found: &mut Vec<String>) {
    let of_engine = file.starts_with(ENGINE_SOURCES);
    let file = file.display();
    if !text.starts_with("//!") {
        found.push(format!(
            "{file}:1: does not open with `//!`, say what the file guarantees and where it stands"
        ));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        found.push(format!(
            "{file}:{lines}: is longer than {LINES_MAX} lines, split it by kind of thing"
        ));
    }
    for (number, line) in text.lines().enumerate() {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        for word in IMPURE
            .iter()
            .filter(|word| of_engine && code.contains(**word))
        {
            found.push(format!(
                "{file}:{}: has `{word}`, the engine decides from what it is given: hand it in",
                number + 1
            ));
        }
        for (head, tail, mend) in WORDS {
            let word = format!("{head}{tail}");
            if code.contains(&word) {
                found.push(format!("{file}:{}: has `{word}`, {mend}", number + 1));
            }
        }
    }
}

/// A small tidy tree, as files and their text, to plant faults in.
fn small_tree() -> BTreeMap<&'static str, String> {
    let manifest = |name: &str, uses: &str| {
        format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n[dependencies]\n{uses}\n")
    };
    BTreeMap::from([
        (
            "Cargo.toml",
            "[workspace.dependencies]\nserde = \"1\"\n".to_owned(),
        ),
        (
            "schemas/messages/Cargo.toml",
            manifest("baton-messages", "serde.workspace = true"),
        ),
        (
            "schemas/messages/src/lib.rs",
            "//! Types.\npub struct Id;\n".to_owned(),
        ),
        (
            "schemas/bus/Cargo.toml",
            manifest(
                "baton-bus",
                "baton-messages.workspace = true\nlapin.workspace = true",
            ) + "[dev-dependencies]\nbaton-harness.workspace = true\n",
        ),
        (
            "orchestrator/engine/Cargo.toml",
            manifest(
                "baton-engine",
                "baton-messages.workspace = true\ncel.workspace = true",
            ),
        ),
        (
            "tests/harness/Cargo.toml",
            manifest(
                "baton-harness",
                "tokio = { workspace = true, features = [\"rt\"] }",
            ),
        ),
        ("target/junk/src/lib.rs", "no doc, but not ours".to_owned()),
    ])
}

/// Writes the small tree with one more or changed file and returns its faults.
fn planted(path: &str, text: &str) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a folder for the planted tree");
    let mut tree: BTreeMap<String, String> = small_tree()
        .into_iter()
        .map(|(path, text)| (path.to_owned(), text))
        .collect();
    tree.insert(path.to_owned(), text.to_owned());
    for (path, text) in tree {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("it has a folder"))
            .expect("the folder can be made");
        fs::write(path, text).expect("the file can be written");
    }
    faults(dir.path())
}

/// Plants a fault and expects exactly one complaint that says where and what.
#[track_caller]
fn is_found(path: &str, text: &str, complaint: &str) {
    let found = planted(path, text);
    let mut all = String::new();
    for one in &found {
        writeln!(all, "{one}").expect("strings take everything");
    }
    assert!(
        found.len() == 1 && found[0].starts_with(path) && found[0].contains(complaint),
        "wanted {complaint:?}, got:\n{all}"
    );
}

fn with_dependency(name: &str, table: &str, dependency: &str) -> String {
    format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n[{table}]\n{dependency}\n")
}

#[test]
fn a_tidy_tree_has_no_faults() {
    assert_eq!(
        planted("schemas/messages/src/id.rs", "//! Ids.\n"),
        Vec::<String>::new()
    );
}

#[test]
fn an_edge_upwards_or_sideways_is_found() {
    let up = with_dependency(
        "baton-messages",
        "dependencies",
        "baton-bus.workspace = true",
    );
    is_found(
        "schemas/messages/Cargo.toml",
        &up,
        "Cargo.toml:6: baton-messages (level 0) may not use baton-bus (level 1)",
    );
    let sideways = with_dependency(
        "baton-bus",
        "build-dependencies",
        "baton-engine.workspace = true",
    );
    is_found(
        "schemas/bus/Cargo.toml",
        &sideways,
        "baton-bus (level 1) may not use baton-engine (level 1)",
    );
    let for_one_target = with_dependency(
        "baton-bus",
        "target.'cfg(unix)'.dependencies",
        "baton-store.workspace = true",
    );
    is_found(
        "schemas/bus/Cargo.toml",
        &for_one_target,
        "may not use baton-store",
    );
    let for_tests = with_dependency(
        "baton-messages",
        "dev-dependencies",
        "baton-bus.workspace = true",
    );
    is_found(
        "schemas/messages/Cargo.toml",
        &for_tests,
        "may not use baton-bus",
    );
    let harness_at_work = with_dependency(
        "baton-bus",
        "dependencies",
        "baton-harness.workspace = true",
    );
    is_found(
        "schemas/bus/Cargo.toml",
        &harness_at_work,
        "may not use baton-harness (level 5)",
    );
    let harness = with_dependency(
        "baton-harness",
        "dependencies",
        "baton-messages.workspace = true",
    );
    is_found(
        "tests/harness/Cargo.toml",
        &harness,
        "the harness uses none of our crates",
    );
}

#[test]
fn whoever_asks_for_broken_rules_is_found() {
    let asks = "baton-engine = { workspace = true, features = [\"planted\"] }";
    for table in ["dependencies", "dev-dependencies"] {
        is_found(
            "orchestrator/driver/Cargo.toml",
            &with_dependency("baton-driver", table, asks),
            "Cargo.toml:6: asks for the feature `planted`",
        );
    }
    for feature in [
        "default = [\"planted\"]",
        "other = [\"baton-engine/planted\"]",
    ] {
        let text = with_dependency("baton-sim", "features", feature);
        is_found(
            "orchestrator/sim/Cargo.toml",
            &text,
            "Cargo.toml:6: asks for the feature `planted`",
        );
    }
    let own = with_dependency(
        "baton-sim",
        "features",
        "planted = [\"baton-engine/planted\"]",
    );
    assert_eq!(
        planted("orchestrator/sim/Cargo.toml", &own),
        Vec::<String>::new()
    );
}

#[test]
fn an_unknown_crate_is_found() {
    is_found(
        "tests/new/Cargo.toml",
        &with_dependency("baton-new", "dependencies", ""),
        "has no level",
    );
    let unknown = with_dependency(
        "baton-bus",
        "dependencies",
        "baton-nothing.workspace = true",
    );
    is_found(
        "schemas/bus/Cargo.toml",
        &unknown,
        "baton-nothing has no level",
    );
}

#[test]
fn io_in_the_engine_is_found() {
    for used in ["tokio", "rand", "rusqlite", "reqwest", "anything-else"] {
        let text = with_dependency(
            "baton-engine",
            "dependencies",
            &format!("{used}.workspace = true"),
        );
        is_found(
            "orchestrator/engine/Cargo.toml",
            &text,
            &format!("the engine may not use {used}"),
        );
    }
}

#[test]
fn the_present_and_chance_in_the_engine_are_found() {
    for word in IMPURE {
        let text = format!("//! Ids.\n// {word} in a comment is fine\nfn f() {{ {word}() }}\n");
        is_found(
            "orchestrator/engine/src/id.rs",
            &text,
            &format!("id.rs:3: has `{word}`"),
        );
    }
}

#[test]
fn lapin_outside_the_bus_is_found() {
    let store = with_dependency("baton-store", "dependencies", "lapin.workspace = true");
    is_found(
        "orchestrator/store/Cargo.toml",
        &store,
        "lapin is for baton-bus",
    );
    let tests = with_dependency("baton-driver", "dev-dependencies", "lapin.workspace = true");
    is_found(
        "orchestrator/driver/Cargo.toml",
        &tests,
        "lapin is for baton-bus",
    );
}

#[test]
fn a_version_or_lints_of_its_own_are_found() {
    for how in [
        "serde = \"1\"",
        "serde = { version = \"1\" }",
        "serde = { path = \"../x\" }",
    ] {
        let text = with_dependency("baton-messages", "dependencies", how);
        is_found(
            "schemas/messages/Cargo.toml",
            &text,
            "serde has a version of its own",
        );
    }
    is_found(
        "schemas/messages/Cargo.toml",
        "[package]\nname = \"baton-messages\"\n",
        "lints",
    );
}

#[test]
fn a_file_without_a_head_or_too_long_is_found() {
    is_found(
        "schemas/messages/src/id.rs",
        "pub struct Id;\n",
        "id.rs:1: does not open with `//!`",
    );
    let long = "//! Long.\n".to_owned() + &"\n".repeat(LINES_MAX);
    is_found(
        "schemas/messages/src/id.rs",
        &long,
        "id.rs:801: is longer than 800 lines",
    );
}

#[test]
fn what_was_left_behind_is_found() {
    for (head, tail, _) in WORDS {
        let text =
            format!("//! Ids.\n// {head}{tail} in a comment is fine\nfn f() {{ {head}{tail} }}\n");
        is_found(
            "schemas/messages/src/id.rs",
            &text,
            &format!("id.rs:3: has `{head}{tail}`"),
        );
    }
}

#[test]
fn a_stranger_at_the_top_is_found() {
    is_found(
        "notes.txt",
        "remember the milk",
        "does not belong at the top level",
    );
    assert_eq!(planted("debug.log", "ignored by git").len(), 0);
}
