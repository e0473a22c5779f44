//! The last worker of a type dies: its tasks lie in a queue that stays, and somebody is told.

use std::time::Duration;

use baton_it::sagas::Saga;

use super::kinds::is_heard;
use super::*;

/// A worker has to be silent for three minutes, and the fleet to be heard meanwhile, before it counts as gone; a busy machine on which our own canary is not heard
/// for a while begins to hear anew, and then has to see it.
const GONE: Duration = Duration::from_secs(420);

async fn the_last_worker_dies(setup: Setup) {
    let mut system = looking(setup).start().await;
    system.await_served("test.effect@1").await;
    system.api.apply(&hears(SLEEPS)).await;
    let keys = "queue_timeout: 1h\n    timeout: 30s\n    ";
    let waits = Saga::named("waits").task("a", "test.effect@1", "", keys);
    system.apply(&[&waits]).await;
    system.workers[0].kill9();
    let saga = system.run("waits", "w").await;
    system.api.await_phase(&saga, "a", "trying").await;
    let unserved = await_some("the type to be unserved", GONE, async || {
        let open = alerts(&system, "open").await;
        open.into_iter().find(|one| one["kind"] == "unserved")
    })
    .await;
    assert_eq!(unserved["key"], "unserved/test.effect@1", "{unserved}");
    let title = "nobody serves test.effect@1; 1 saga waits for it";
    assert_eq!(unserved["title"], title, "{unserved}");
    assert_eq!(unserved["command"], "baton top", "{unserved}");
    assert_eq!(unserved["data"]["sent"], saga.as_str(), "{unserved}");
    let key = unserved["key"].as_str().unwrap();
    is_heard(&system, key, &["opened"]).await;
    // who leads next has not heard the fleet for long enough: what he cannot know stays
    system.orchestrator().kill9_and_start();
    system.await_ready().await;
    looked(&system, "leader").await;
    assert_eq!(heard_of(&system, key).await, ["opened"]);
    system.workers[0].start_again();
    system.api.await_status(&saga, "completed", SOON).await;
    // and a worker that is heard is there, however short the fleet is heard
    is_heard(&system, key, &["opened", "resolved"]).await;
}

#[tokio::test]
async fn a_type_whose_last_worker_dies_is_an_alert_until_one_serves_it() {
    the_last_worker_dies(Setup::workers(1)).await;
}

#[tokio::test]
async fn on_postgres_a_type_whose_last_worker_dies_is_an_alert_until_one_serves_it() {
    the_last_worker_dies(Setup::workers(1).postgres()).await;
}
