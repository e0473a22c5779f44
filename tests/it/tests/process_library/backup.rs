//! `nightly-backup` started by its clock, as it is meant to be: when its time has come, and by hand. Its cases stand beside it.

use baton_harness::await_some;
use baton_it::SOON;
use serde_json::Value;

use crate::world::{LONG, World, shipped};

const TYPES: [&str; 5] = [
    "command.run@1",
    "command.run-irreversible@1",
    "file.symlink@1",
    "service.start@1",
    "service.stop@1",
];
/// When it is shipped to run.
const NIGHTLY: &str = "\"0 2 * * *\"";
/// How far ahead the time lies that is to come: enough to register the definition before, on a busy machine.
const AHEAD_S: i64 = 5;

/// A folder a service runs in, and a worker that may back it up.
async fn folders() -> World {
    let mut world = World::new().await;
    for (file, content) in [
        ("srv/data/deep/one", "the treasure is here"),
        ("srv/backup/.keep", ""),
        ("srv/elsewhere/.keep", ""),
    ] {
        let path = world.path(file);
        let folder = path.parent().expect("it lies in one");
        std::fs::create_dir_all(folder).expect("what the test needs can be made");
        std::fs::write(&path, content).expect("what the test needs can be made");
    }
    world.web_server("srv/data").await;
    let started = world.sv("start");
    assert!(started.starts_with("ok: run:"), "{started}");
    world.ship_placed("nightly-backup", &[], &TYPES).await;
    world
}

/// The archive holds what the folder holds, was restored to prove it, and is the latest; the service runs again.
async fn verified(world: &World, saga: &str) {
    let ended = world.system.api.await_status(saga, "completed", LONG).await;
    let of = |step: &str| {
        let steps = ended["steps"].as_array().into_iter().flatten();
        let mut found = steps.filter(|one| one["id"] == step);
        found.next().cloned().unwrap_or(Value::Null)
    };
    assert_eq!(of("verify")["phase"], "succeeded", "{ended}");
    assert_eq!(ended["output"]["stopped"], true, "{ended}");
    let status = world.sv("status");
    assert!(status.starts_with("run:"), "{status}");
    let archive = ended["output"]["archive"].as_str().expect("it is named");
    let link = std::fs::read_link(world.path("srv/backup/latest.tar.gz")).expect("a link");
    assert_eq!(link.to_str(), Some(archive));
    let said = std::process::Command::new("tar")
        .args(["--extract", "--to-stdout", "--force-local", "--file"])
        .arg(world.path("srv/backup").join(archive))
        .arg("./deep/one")
        .output()
        .expect("tar can be run");
    assert_eq!(
        String::from_utf8_lossy(&said.stdout),
        "the treasure is here"
    );
}

/// The shipped schedule but for the hour: at a time that comes while the test waits.
#[tokio::test]
async fn when_its_time_has_come_the_folder_is_backed_up_and_verified() {
    let world = folders().await;
    let due = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(AHEAD_S);
    let due = due.to_zoned(jiff::tz::TimeZone::UTC);
    let soon = format!("\"{} {} {} * * *\"", due.second(), due.minute(), due.hour());
    let definition = world.placed(&shipped("nightly-backup.yaml"));
    assert!(definition.contains(NIGHTLY) && definition.contains("version: 2\n"));
    let definition = definition
        .replace(NIGHTLY, &soon)
        .replace("version: 2\n", "version: 3\n");
    world.system.api.apply(&definition).await;
    let saga = await_some("the schedule to fire", SOON, async || {
        let listed = world.system.api.get("/v1/schedules").await;
        listed["items"][0]["last_saga"].as_str().map(str::to_owned)
    })
    .await;
    verified(&world, &saga).await;
    let at = due.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let saga = world.system.api.saga(&saga).await;
    assert_eq!(saga["by"], format!("schedule {at}"));
    assert_eq!(saga["output"]["archive"], format!("backup-{at}.tar.gz"));
}

/// As it is shipped, to the letter but for its folders.
#[tokio::test]
async fn fired_by_hand_it_does_the_same() {
    let world = folders().await;
    let definition = world.placed(&shipped("nightly-backup.yaml"));
    let definition = definition.replace("version: 2\n", "version: 3\n");
    world.system.api.apply(&definition).await;
    let baton = world.system.cli();
    let fired = baton.run(&["schedules", "fire", "nightly-backup", "0", "--json"]);
    let fired = fired.await.exits(0).json();
    verified(&world, fired["saga"].as_str().expect("a saga")).await;
}
