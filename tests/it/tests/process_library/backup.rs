//! `nightly-backup`: the archive holds what the folder holds, old ones go only after it is in place; one that cannot be put in place
//! leaves neither an archive nor a gap.

use std::process::Command;

use serde_json::{Value, json};

use crate::world::World;

async fn folders() -> World {
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
    let replaced = [
        ("/srv/data", world.text("documents")),
        ("/srv/backup", world.text("backup")),
    ];
    let types = ["command.run@1", "file.symlink@1"];
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
