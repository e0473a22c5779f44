//! `release` of several versions at a time: one after another. Its cases stand beside it.

use baton_harness::await_some;
use baton_it::SOON;
use serde_json::{Value, json};

use crate::world::{LONG, World, git};

const TYPES: [&str; 8] = [
    "file.write@1",
    "file.remove@1",
    "git.checkout@1",
    "command.run@1",
    "service.start@1",
    "service.restart@1",
    "file.symlink@1",
    "check.http@1",
];

/// A repository with one version for each page.
fn repository(world: &World, pages: &[(&str, &str)]) {
    let source = world.path("source");
    std::fs::create_dir_all(&source).expect("what the test needs can be made");
    git(&source, &["init", "--quiet", "--initial-branch=main"]);
    let build = "mkdir -p public && cp index.html public/ && touch public/BUILT\n";
    std::fs::write(source.join("build.sh"), build).expect("what the test needs can be made");
    std::fs::write(source.join("test.sh"), "test -s public/index.html\n")
        .expect("what the test needs can be made");
    for (tag, page) in pages {
        std::fs::write(source.join("index.html"), page).expect("what the test needs can be made");
        git(&source, &["add", "--all"]);
        git(&source, &["commit", "--quiet", "--message", tag]);
        git(&source, &["tag", tag]);
    }
    let bare = world.text("git/site.git");
    git(
        world.system.dir(),
        &["clone", "--quiet", "--bare", "source", &bare],
    );
}

async fn site(pages: &[(&str, &str)]) -> World {
    let mut world = World::new().await;
    std::fs::create_dir_all(world.path("site/releases")).expect("what the test needs can be made");
    repository(&world, pages);
    world.web_server("site/live").await;
    let replaced = [
        ("/srv/sites", world.text("site")),
        ("/srv/git/", world.text("git/")),
        ("/etc/service", world.text("service")),
        ("127.0.0.1:8080", format!("127.0.0.1:{}", world.port)),
    ];
    world.ship("release", &replaced, &TYPES).await;
    world
}

fn input(world: &World, tag: &str) -> Value {
    json!({
        "site": "shop", "repository": world.text("git/site.git"), "ref": tag,
        "folder": world.text("site"), "service": "web", "url": world.url(),
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
    // somebody is at it already
    std::fs::write(world.path("site/RELEASING"), "by hand")
        .expect("what the test needs can be made");
    ask_for(&world, "e1", "v1").await;
    ask_for(&world, "e2", "v2").await;
    ask_for(&world, "e3", "v1").await;
    let api = &world.system.api;
    let sagas = await_some("both to wait for their turn", SOON, async || {
        let mut ids = Vec::new();
        for saga in api.sagas().await {
            let id = saga["id"].as_str().unwrap_or_default().to_owned();
            if api.records(&id).await.contains("file-exists") {
                ids.push(id);
            }
        }
        (ids.len() == 2).then_some(ids)
    })
    .await;
    assert!(!world.path("site/releases/v1").exists() && !world.path("site/releases/v2").exists());
    let joined = api.get("/v1/events/one?source=/test&id=e3").await;
    assert_eq!(joined["effects"][0]["what"], "joined", "{joined}");

    std::fs::remove_file(world.path("site/RELEASING")).expect("it was there");
    for id in &sagas {
        api.await_status(id, "completed", LONG).await;
    }
    assert_eq!(api.sagas().await.len(), 2);
    let link = std::fs::read_link(world.path("site/live")).expect("it was released");
    let last = if link.ends_with("v1/public") {
        "this is v1"
    } else {
        "this is v2"
    };
    assert_eq!(world.page().await.as_deref(), Some(last));
    for tag in ["v1", "v2"] {
        assert!(world.path(&format!("site/releases/{tag}")).exists());
    }
    assert!(!world.path("site/RELEASING").exists());
}
