//! Where things are: the target directory this test was built in, and our binaries beside it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Set (to anything) by whoever has just built every binary, as `deploy/test` does: spares a look by cargo in each test
/// process.
pub const BUILT_ENV: &str = "BATON_BINARIES_BUILT";

/// `target/<profile>`, where this process's executable lies.
pub fn profile_dir() -> PathBuf {
    let exe =
        std::env::current_exe().unwrap_or_else(|error| panic!("cannot tell my own path: {error}"));
    let folder = exe.parent().unwrap_or(Path::new("."));
    let inner = folder.ends_with("deps") || folder.ends_with("examples");
    let profile = if inner { folder.parent() } else { Some(folder) };
    profile.unwrap_or(folder).to_owned()
}

/// A folder for what tests leave behind while they run: logs, data of brokers. Below the target directory.
pub fn scratch_dir() -> PathBuf {
    let profile = profile_dir();
    let target = profile.parent().unwrap_or(&profile);
    let scratch = target.join("test-scratch");
    std::fs::create_dir_all(&scratch)
        .unwrap_or_else(|error| panic!("cannot make {}: {error}", scratch.display()));
    scratch
}

/// A new empty folder below [`scratch_dir`], its name starting with `label`.
pub fn fresh_dir(label: &str) -> PathBuf {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let folder = scratch_dir().join(format!("{label}-{}", &id[..12]));
    std::fs::create_dir(&folder)
        .unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
    folder
}

/// The path of our binary `name`, built first unless [`BUILT_ENV`] is set: a test must not run against yesterday's
/// binary. Built once for each test process, in the profile of the test.
pub fn path_of(name: &str) -> PathBuf {
    let profile = profile_dir();
    let path = profile.join(name);
    if std::env::var_os(BUILT_ENV).is_none() {
        build_once(name, &profile);
    }
    assert!(
        path.exists(),
        "no binary at {}: run `cargo build --workspace --bins`",
        path.display()
    );
    path
}

fn build_once(name: &str, profile: &Path) {
    static BUILT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if built.contains(name) {
        return;
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--bin", name])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "--target-dir".as_ref(),
            profile.parent().unwrap_or(profile).as_os_str(),
        ]);
    // in the folder of one member only that member would be looked at
    cargo
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let output = cargo
        .output()
        .unwrap_or_else(|error| panic!("cannot run cargo to build {name}: {error}"));
    assert!(
        output.status.success(),
        "cannot build {name}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    built.insert(name.to_owned());
}
