//! How a worker ends, and how it outlives its connection, over a real broker.

use std::time::Duration;

use crate::scripts::{Act, CLAIM, LATE, Log, both, script};
use crate::stage::{SOON, Stage, not_run_reason, task, unknown_code};
use baton_harness::Proxy;
use baton_messages::{ControlMessage, FleetMessage, GrantAnswer, Hold, TaskResult, control};

fn late(act: Act) -> baton_messages::Task {
    task(LATE, Hold::Late, script(act))
}

fn queue() -> String {
    format!("baton.task.default.{LATE}")
}

#[tokio::test]
async fn a_drain_finishes_what_runs_gives_back_the_rest_and_says_goodbye() {
    let mut stage = Stage::set(&[LATE, CLAIM]).await;
    let log = Log::new();
    let options = baton_worker::WorkerOptions {
        concurrency: 2,
        drain_grace_ms: 60_000,
        ..Stage::options("w1")
    };
    let worker = stage.work(both(&log), options);
    stage.dispatch(&late(Act::Wait)).await;
    log.has("entered").await;
    stage
        .dispatch(&task(CLAIM, Hold::Claim, script(Act::Echo)))
        .await;
    let claimed = stage.started().await;
    let waiting = [late(Act::Echo), late(Act::Echo)];
    for task in &waiting {
        stage.dispatch(task).await;
    }
    worker.cancel.cancel();
    // The claim that waits for its grant is given back at once.
    let given_back = stage.finished().await;
    assert_eq!(given_back.run, claimed.run);
    assert!(not_run_reason(&given_back).contains("given back"));
    stage.vhost.await_messages(&queue(), 2, 1, SOON).await;
    log.gate.add_permits(1);
    assert!(matches!(
        stage.finished().await.result,
        TaskResult::Succeeded { .. }
    ));
    let leaving = stage
        .heard(|message| match message {
            FleetMessage::Leaving(leaving) => Some(leaving.worker),
            _ => None,
        })
        .await;
    assert_eq!(leaving, worker.id);
    worker.end().await;
    stage.vhost.await_messages(&queue(), 2, 0, SOON).await;
    assert_eq!(log.count("entered"), 1);
}

#[tokio::test]
async fn a_drain_by_message_ends_what_outlasts_its_grace() {
    let mut stage = Stage::set(&[LATE]).await;
    let log = Log::new();
    let options = baton_worker::WorkerOptions {
        drain_grace_ms: 300,
        ..Stage::options("w1")
    };
    let worker = stage.work(both(&log), options);
    stage.dispatch(&late(Act::Hang)).await;
    log.has("entered").await;
    let drain = control::Drain {
        worker: worker.id.clone(),
        by: "operator:test".into(),
    };
    stage.tell(&worker.id, &ControlMessage::Drain(drain)).await;
    assert_eq!(unknown_code(&stage.finished().await), "drained");
    worker.end().await;
    stage.emptied(LATE).await;
}

#[tokio::test]
async fn a_cut_connection_costs_no_report_and_no_second_run_here() {
    let mut stage = Stage::set(&[LATE]).await;
    let proxy = Proxy::to_port(stage.vhost.broker().amqp_port()).await;
    let log = Log::new();
    let url = stage.vhost.url_through(proxy.port());
    let worker = stage.work_at(url, both(&log), Stage::options("w1"));
    stage.dispatch(&late(Act::Wait)).await;
    log.has("entered").await;
    proxy.cut();
    // Delivered again to the same worker, which has it in hand already.
    stage.vhost.await_messages(&queue(), 0, 1, SOON).await;
    log.gate.add_permits(5);
    let finished = stage.finished().await;
    assert!(matches!(finished.result, TaskResult::Succeeded { .. }));
    assert!(!finished.sole, "its channel was lost");
    stage.emptied(LATE).await;
    stage.no_report().await;
    assert_eq!(log.count("entered"), 1, "it ran twice");
    worker.end().await;
}

#[tokio::test]
async fn a_report_made_while_the_broker_is_away_arrives_when_it_is_back() {
    let mut stage = Stage::set(&[CLAIM]).await;
    let proxy = Proxy::to_port(stage.vhost.broker().amqp_port()).await;
    let log = Log::new();
    let url = stage.vhost.url_through(proxy.port());
    let worker = stage.work_at(url, both(&log), Stage::options("w1"));
    stage
        .dispatch(&task(CLAIM, Hold::Claim, script(Act::Wait)))
        .await;
    let started = stage.started().await;
    let granted = GrantAnswer::Granted {
        before: None,
        progress: None,
    };
    stage.answer(&started, granted).await;
    log.has("entered").await;
    proxy.refuse();
    log.gate.add_permits(1);
    log.has("done").await;
    stage.no_report().await;
    proxy.accept();
    let finished = stage.finished().await;
    assert_eq!(finished.run, started.run);
    assert!(finished.sole);
    stage.no_report().await;
    worker.end().await;
}

#[tokio::test]
async fn a_worker_begins_while_the_broker_is_away() {
    let mut stage = Stage::set(&[LATE]).await;
    let proxy = Proxy::to_port(stage.vhost.broker().amqp_port()).await;
    proxy.refuse();
    let url = stage.vhost.url_through(proxy.port());
    let worker = stage.work_at(url, both(&Log::new()), Stage::options("w1"));
    stage.dispatch(&late(Act::Echo)).await;
    tokio::time::timeout(Duration::from_millis(500), stage.no_report())
        .await
        .unwrap_err();
    proxy.accept();
    assert!(matches!(
        stage.finished().await.result,
        TaskResult::Succeeded { .. }
    ));
    worker.end().await;
}
