//! `insert-line-of-code`: what a person has let through is pushed; what was refused, or breaks the tests, never leaves the checkout.

use baton_harness::await_some;
use serde_json::{Value, json};

use crate::world::{LONG, World, git};

const TYPES: [&str; 4] = [
    "git.checkout@1",
    "file.ensure-line@1",
    "command.run@1",
    "git.commit-push@1",
];

async fn repository() -> World {
    let mut world = World::new().await;
    std::fs::create_dir(world.path("checkouts")).expect("what the test needs can be made");
    let source = world.path("source");
    std::fs::create_dir(&source).expect("what the test needs can be made");
    git(&source, &["init", "--quiet", "--initial-branch=main"]);
    std::fs::write(source.join("settings.txt"), "colour = blue\n")
        .expect("what the test needs can be made");
    std::fs::write(source.join("test.sh"), "! grep -q broken settings.txt\n")
        .expect("what the test needs can be made");
    git(&source, &["add", "--all"]);
    git(&source, &["commit", "--quiet", "--message", "first"]);
    let bare = world.text("git/code.git");
    let clone = ["clone", "--quiet", "--bare", "source", &bare];
    git(world.system.dir(), &clone);
    let replaced = [
        ("/srv/checkouts", world.text("checkouts")),
        ("/srv/git/", world.text("git/")),
    ];
    world.ship("insert-line-of-code", &replaced, &TYPES).await;
    world
}

async fn begin(world: &World, line: &str) -> String {
    let input = json!({
        "repository": world.text("git/code.git"), "branch": "main", "folder": world.text("checkouts/code"),
        "file": "settings.txt", "line": line, "message": "one more line",
    });
    let key = uuid::Uuid::new_v4().to_string();
    let api = &world.system.api;
    api.start("insert-line-of-code", &input, &key).await
}

/// Waits until a person is asked.
async fn asked(world: &World, saga: &str) {
    await_some("somebody to be asked", LONG, async || {
        let saga = world.system.api.saga(saga).await;
        saga["work_items"].as_array()?.first().map(|_| ())
    })
    .await;
}

/// What the branch holds.
fn pushed(world: &World) -> String {
    git(&world.path("git/code.git"), &["show", "main:settings.txt"])
}

#[tokio::test]
async fn a_line_that_was_let_through_is_pushed() {
    let world = repository().await;
    let saga = begin(&world, "size = large").await;
    asked(&world, &saga).await;
    assert_eq!(pushed(&world), "colour = blue");
    let baton = world.system.cli();
    let said = baton.run(&["approve", &saga, "-m", "as agreed"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let api = &world.system.api;
    let ended = api.await_status(&saga, "completed", LONG).await;
    assert_eq!(pushed(&world), "colour = blue\nsize = large");
    let head = git(&world.path("git/code.git"), &["rev-parse", "main"]);
    assert_eq!(ended["output"]["commit"], head.as_str());
}

#[tokio::test]
async fn a_line_that_was_refused_never_leaves_the_checkout() {
    let world = repository().await;
    let saga = begin(&world, "size = large").await;
    asked(&world, &saga).await;
    let baton = world.system.cli();
    let said = baton.run(&["reject", &saga, "-m", "not this year"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    untouched(&world, &saga).await;
}

#[tokio::test]
async fn a_line_that_breaks_the_tests_is_taken_out_again() {
    let world = repository().await;
    let saga = begin(&world, "broken = yes").await;
    untouched(&world, &saga).await;
}

async fn untouched(world: &World, saga: &str) {
    let ended = world.system.api.await_status(saga, "compensated", LONG);
    assert_ne!(ended.await["unwinding"], Value::Null);
    assert_eq!(pushed(world), "colour = blue");
    assert!(!world.path("checkouts/code").exists());
}
