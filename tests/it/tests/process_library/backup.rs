//! `nightly-backup`: the archive holds what the folder holds, old ones go only after it is in place; one that cannot be put in place, or that
//! holds something else, leaves neither an archive nor a gap.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::world::World;

async fn folders() -> World {
    folders_with(None).await
}

/// With this shell script in place of tar.
async fn folders_with(tar: Option<&str>) -> World {
    let mut world = World::new().await;
    for folder in ["documents/deep", "backup"] {
        std::fs::create_dir_all(world.path(folder)).expect("what the test needs can be made");
    }
    std::fs::write(world.path("documents/deep/one"), "1").expect("what the test needs can be made");
    std::fs::write(world.path("backup/backup-old.tar.gz"), "of last year")
        .expect("what the test needs can be made");
    let aged = Command::new("touch")
        .args(["--date=40 days ago"])
        .arg(world.path("backup/backup-old.tar.gz"))
        .status();
    assert!(aged.expect("what the test needs can be made").success());
    let mut replaced = vec![
        ("/srv/data", world.text("documents")),
        ("/srv/backup", world.text("backup")),
    ];
    if let Some(text) = tar {
        let text = format!("#!/bin/sh\n{text}");
        std::fs::write(world.path("tar"), text).expect("what the test needs can be made");
        let may_run = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(world.path("tar"), may_run)
            .expect("what the test needs can be made");
        replaced.push(("/usr/bin/tar", world.text("tar")));
    }
    let types = [
        "command.run@1",
        "command.run-irreversible@1",
        "file.symlink@1",
    ];
    world.ship("nightly-backup", &replaced, &types).await;
    world
}

fn input(world: &World) -> Value {
    json!({ "folder": world.text("documents"), "archives": world.text("backup"), "name": "2026-01-02", "keep_days": 14 })
}

#[tokio::test]
async fn a_backup_holds_the_folder_and_old_ones_go() {
    let world = folders().await;
    world
        .run("nightly-backup", &input(&world), "completed")
        .await;
    let latest = world.path("backup/latest.tar.gz");
    let link = std::fs::read_link(&latest).expect("what the test needs can be made");
    assert_eq!(link.to_str(), Some("backup-2026-01-02.tar.gz"));
    let restored = world.path("restored");
    std::fs::create_dir(&restored).expect("what the test needs can be made");
    let untar = Command::new("tar")
        .args(["--extract", "--gzip", "--file"])
        .arg(&latest)
        .arg("--directory")
        .arg(&restored)
        .status();
    assert!(untar.expect("what the test needs can be made").success());
    assert_eq!(
        std::fs::read_to_string(restored.join("deep/one"))
            .expect("what the test needs can be made"),
        "1"
    );
    assert!(!world.path("backup/backup-old.tar.gz").exists());
}

#[tokio::test]
async fn a_backup_that_cannot_be_put_in_place_is_taken_away_and_old_ones_stay() {
    let world = folders().await;
    // a file of somebody else's, where the link should be
    std::fs::write(world.path("backup/latest.tar.gz"), "mine")
        .expect("what the test needs can be made");
    world
        .run("nightly-backup", &input(&world), "compensated")
        .await;
    assert!(!world.path("backup/backup-2026-01-02.tar.gz").exists());
    assert!(world.path("backup/backup-old.tar.gz").exists());
    let kept = std::fs::read_to_string(world.path("backup/latest.tar.gz"));
    assert_eq!(kept.expect("what the test needs can be made"), "mine");
}

/// One byte of a file within the archive is another, with its name, its size and the archive's own sums as they should be: no list of names
/// shows that.
const CORRUPTS_CONTENT: &str = r#"/usr/bin/tar "$@" || exit
[ "$1" = --create ] || exit 0
for word; do case $word in --file=*) file=${word#--file=} ;; esac; done
gzip -dc "$file" | sed 's/treasure/treasurE/' | gzip > "$file.part" && mv "$file.part" "$file"
"#;

/// The archive itself is damaged: one byte of the checksum of its content. (Not every other byte of so small a one changes what it says.)
const CORRUPTS_ARCHIVE: &str = r#"/usr/bin/tar "$@" || exit
[ "$1" = --create ] || exit 0
for word; do case $word in --file=*) file=${word#--file=} ;; esac; done
place=$(($(stat -c %s "$file") - 8))
old=$(od -An -tu1 -j "$place" -N 1 "$file")
printf %b "\\0$(printf %o $(((old + 1) % 256)))" | dd of="$file" bs=1 seek="$place" conv=notrunc status=none
"#;

/// A file is not in the archive: comparing what the archive has does not show that.
const LEAVES_OUT: &str = r#"[ "$1" = --create ] || exec /usr/bin/tar "$@"
exec /usr/bin/tar --exclude=one "$@"
"#;

#[tokio::test]
async fn a_backup_with_one_byte_changed_or_a_file_missing_fails_says_so_and_lets_nothing_go() {
    for (corrupts, said) in [
        (CORRUPTS_CONTENT, "one: Contents differ"),
        (CORRUPTS_ARCHIVE, "gzip"),
        (LEAVES_OUT, "./deep/one"),
    ] {
        let world = folders_with(Some(corrupts)).await;
        std::fs::write(world.path("documents/deep/one"), "the treasure is here")
            .expect("what the test needs can be made");
        let saga = world
            .run("nightly-backup", &input(&world), "compensated")
            .await
            .to_string();
        assert!(saga.contains(said), "{said}: {saga}");
        assert!(!world.path("backup/backup-2026-01-02.tar.gz").exists());
        assert!(!world.path("backup/latest.tar.gz").exists());
        assert!(world.path("backup/backup-old.tar.gz").exists());
    }
}

/// Stopped while it writes, as when its machine goes.
const BREAKS_OFF: &str = r#"[ "$1" = --create ] || exec /usr/bin/tar "$@"
/usr/bin/tar "$@"
kill -KILL $PPID
"#;

#[tokio::test]
async fn a_backup_that_broke_off_is_known_not_to_be_there_and_is_made_anew() {
    let once =
        format!("[ -e \"$0.was\" ] && exec /usr/bin/tar \"$@\"\n: > \"$0.was\"\n{BREAKS_OFF}");
    let world = folders_with(Some(once.as_str())).await;
    world
        .run("nightly-backup", &input(&world), "completed")
        .await;
    assert!(world.path("tar.was").exists());
    assert!(world.path("backup/backup-2026-01-02.tar.gz").exists());
    assert!(!world.path("backup/.backup-2026-01-02.tar.gz.part").exists());
}

#[tokio::test]
async fn an_archive_of_that_name_is_left_alone() {
    let world = folders().await;
    let archive = world.path("backup/backup-2026-01-02.tar.gz");
    std::fs::write(&archive, "mine").expect("what the test needs can be made");
    let saga = world
        .run("nightly-backup", &input(&world), "compensated")
        .await;
    assert!(saga.to_string().contains("is there already"), "{saga}");
    let kept = std::fs::read_to_string(&archive);
    assert_eq!(kept.expect("what the test needs can be made"), "mine");
}
