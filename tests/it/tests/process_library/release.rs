//! `release` of several versions at a time: one after another. Its cases stand beside it.

use baton_harness::await_some;
use baton_it::SOON;
use serde_json::{Value, json};

use crate::world::{LONG, World, git};

const TYPES: [&str; 7] = [
    "git.checkout@1",
    "command.run@1",
    "test.run@1",
    "service.start@1",
    "service.restart@1",
    "file.symlink@1",
    "check.http@1",
];

/// A repository with one version for each page. None is built before the file `go` is there.
fn repository(world: &World, pages: &[(&str, &str)]) {
    let source = world.path("source");
    std::fs::create_dir_all(&source).expect("what the test needs can be made");
    git(&source, &["init", "--quiet", "--initial-branch=main"]);
    let build = format!(
        "until [ -e {} ]; do sleep 0.1; done\nmkdir -p public && cp index.html public/ && touch public/BUILT\n",
        world.text("go")
    );
    let test = "echo '<testsuite name=\"site\"><testcase name=\"page\"/></testsuite>' > tests.xml\ntest -s public/index.html\n";
    for (file, content) in [("build.sh", build.as_str()), ("test.sh", test)] {
        std::fs::write(source.join(file), content).expect("what the test needs can be made");
    }
    for (tag, page) in pages {
        std::fs::write(source.join("index.html"), page).expect("what the test needs can be made");
        git(&source, &["add", "--all"]);
        git(&source, &["commit", "--quiet", "--message", tag]);
        git(&source, &["tag", tag]);
    }
    std::fs::create_dir_all(world.path("srv/git")).expect("what the test needs can be made");
    let bare = world.text("srv/git/site.git");
    git(
        world.system.dir(),
        &["clone", "--quiet", "--bare", "source", &bare],
    );
}

async fn site(pages: &[(&str, &str)]) -> World {
    let mut world = World::new().await;
    for folder in ["srv/build", "srv/artifacts", "srv/sites/canary/releases"] {
        std::fs::create_dir_all(world.path(folder)).expect("what the test needs can be made");
    }
    repository(&world, pages);
    world.web_server("srv/sites/canary/live").await;
    world.ship_placed("release", &[], &TYPES).await;
    world
}

/// A release to the canary, which is the only host.
fn input(world: &World, tag: &str) -> Value {
    json!({
        "site": "shop", "repository": world.text("srv/git/site.git"), "ref": tag,
        "build": world.text("srv/build"), "artifacts": world.text("srv/artifacts"),
        "canary": { "pool": "default", "folder": world.text("srv/sites/canary"), "service": "web", "url": world.url() },
        "hosts": [],
    })
}

/// Publishes a request for a release.
async fn ask_for(world: &World, id: &str, tag: &str) {
    let event = json!({
        "specversion": "1.0", "id": id, "source": "/test", "type": "com.example.release.requested",
        "data": input(world, tag),
    });
    world.system.api.publish(&event).await;
}

#[tokio::test]
async fn two_versions_asked_for_at_once_are_released_one_after_another() {
    let world = site(&[("v1", "this is v1"), ("v2", "this is v2")]).await;
    ask_for(&world, "e1", "v1").await;
    ask_for(&world, "e2", "v2").await;
    ask_for(&world, "e3", "v1").await;
    let api = &world.system.api;
    await_some("one to wait for the other", SOON, async || {
        let line = api.get("/v1/reservations?name=site%2Fshop&limit=100").await;
        let rows = line["items"].as_array()?;
        let held = rows.iter().filter(|row| row["state"] == "held").count();
        (rows.len() == 2 && held == 1).then_some(())
    })
    .await;
    let joined = await_some("the third request to be taken", SOON, async || {
        let path = "/v1/events/one?source=/test&id=e3";
        let answer = api.ask("GET", path, "", None).await?;
        let what = answer.body["effects"][0]["what"].as_str();
        what.map(str::to_owned)
    })
    .await;
    assert_eq!(joined, "joined");
    let there = |tag: &str| {
        world
            .path(&format!("srv/sites/canary/releases/{tag}"))
            .exists()
    };
    assert!(!there("v1") && !there("v2"), "nothing is built yet");

    std::fs::write(world.path("go"), "").expect("what the test needs can be made");
    let mut spans = Vec::new();
    for saga in api.sagas().await {
        let id = saga["id"].as_str().expect("a saga has an id");
        let ended = api.await_status(id, "completed", LONG).await;
        let span = ended["steps"][0]["began_at"].as_u64();
        spans.push(span.zip(ended["ended_at"].as_u64()).expect("it has ended"));
    }
    spans.sort_unstable();
    let [(_, first_ended), (second_began, _)] = spans[..] else {
        panic!("two sagas, and not {spans:?}");
    };
    assert!(first_ended <= second_began, "one after another: {spans:?}");
    let link = std::fs::read_link(world.path("srv/sites/canary/live")).expect("it was released");
    let last = if link.ends_with("v1/public") {
        "this is v1"
    } else {
        "this is v2"
    };
    assert_eq!(world.page().await.as_deref(), Some(last));
    assert!(there("v1") && there("v2"));
}
