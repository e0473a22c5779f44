//! `restart-service`: another run of the service answers afterwards; one that does not come up is left as it was found.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::world::World;

async fn service(serves: bool) -> World {
    let mut world = World::new().await;
    std::fs::create_dir_all(world.path("site")).expect("what the test needs can be made");
    std::fs::write(world.path("site/index.html"), "here").expect("what the test needs can be made");
    world
        .web_server(if serves { "site" } else { "nowhere" })
        .await;
    let replaced = [
        ("/etc/service", world.text("service")),
        ("127.0.0.1:8080", format!("127.0.0.1:{}", world.port)),
    ];
    let types = ["service.restart@1", "check.http@1"];
    world.ship("restart-service", &replaced, &types).await;
    world
}

fn sv(world: &World, verb: &str) -> String {
    let ran = Command::new("sv")
        .args(["-w", "20", verb])
        .arg(world.path("service/web"))
        .output()
        .expect("what the test needs can be made");
    String::from_utf8(ran.stdout).expect("what the test needs can be made")
}

fn input(world: &World) -> Value {
    json!({ "service": "web", "url": world.url() })
}

fn pid(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("service/web/supervise/pid"))
        .expect("what the test needs can be made")
}

#[tokio::test]
async fn a_service_is_restarted_and_answers() {
    let world = service(true).await;
    assert!(sv(&world, "start").starts_with("ok: run:"));
    let before = pid(world.system.dir());
    world
        .run("restart-service", &input(&world), "completed")
        .await;
    assert_ne!(pid(world.system.dir()), before);
    assert_eq!(world.page().await.as_deref(), Some("here"));
}

#[tokio::test]
async fn a_service_that_did_not_run_and_does_not_come_up_is_stopped_again() {
    let world = service(false).await;
    world
        .run("restart-service", &input(&world), "compensated")
        .await;
    assert!(sv(&world, "status").starts_with("down:"));
}
