//! How the process ends and begins again: asked to, killed, and where it cannot begin.

use std::time::Duration;

use baton_harness::{Launch, binaries};
use serde_json::json;

use crate::stage::{LIMIT, Stage, THREE};

const SAGAS: usize = 100;

async fn started(stage: &mut Stage) -> Vec<String> {
    stage.await_type("test.echo@1").await;
    let api = stage.api().await;
    api.register(THREE).await;
    let mut ids = Vec::with_capacity(SAGAS);
    for n in 0..SAGAS {
        let body = json!({ "definition": "three", "input": { "word": n } });
        ids.push(api.start(&body).await);
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_end_it_ends_in_order_and_goes_on_at_the_next_start() {
    let mut stage = Stage::new().await;
    let _worker = stage.worker();
    let ids = started(&mut stage).await;
    let status = stage
        .orchestrator
        .sigterm_and_wait(Duration::from_secs(30))
        .await;
    assert!(status.success(), "{status}\n{}", stage.orchestrator.log());
    assert!(
        stage
            .orchestrator
            .log()
            .contains("the orchestrator has ended")
    );
    again(&mut stage, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_it_goes_on_at_the_next_start() {
    let mut stage = Stage::new().await;
    let _worker = stage.worker();
    let ids = started(&mut stage).await;
    stage.orchestrator.kill9();
    again(&mut stage, &ids).await;
}

/// Starts it again and sees every saga completed.
async fn again(stage: &mut Stage, ids: &[String]) {
    let runs = |log: &str| log.matches("the orchestrator runs").count();
    let before = runs(&stage.orchestrator.log());
    stage.orchestrator.start_again();
    let orchestrator = &stage.orchestrator;
    baton_harness::await_until("it to run again", LIMIT, async || {
        runs(&orchestrator.log()) > before
    })
    .await;
    let api = stage.api().await;
    for id in ids {
        let saga = api.await_status(id, "completed").await;
        for step in saga["steps"].as_array().unwrap() {
            assert_eq!(step["tries"], 1, "{saga}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_or_a_store_that_is_taken_is_said_with_what_to_do() {
    let mut stage = Stage::new().await;
    let url = stage.url().await;
    let address = url.trim_start_matches("http://").to_owned();
    let data = binaries::fresh_dir("orchestrator-second");
    let mut second = Launch::binary("baton-orchestrator")
        .args(["--http", &address, "--amqp", &stage.vhost.url()])
        .arg("--data-dir")
        .arg(&data)
        .start();
    let status = second.wait(LIMIT).await;
    assert!(!status.success());
    assert!(
        second.log().contains("set http.listen to another"),
        "{}",
        second.log()
    );
    std::fs::remove_dir_all(data).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_settings_in_force_are_shown_without_secrets() {
    let mut process = Launch::binary("baton-orchestrator")
        .args(["--amqp", "amqp://anna:hunter2@host/%2f", "config"])
        .start();
    let status = process.wait(LIMIT).await;
    assert!(status.success());
    let log = process.log();
    assert!(
        log.contains("amqp://anna:***@host/%2f") && !log.contains("hunter2"),
        "{log}"
    );
}
