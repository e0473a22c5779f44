//! Holding by claim, over a real broker: nobody acts before the grant, and a run is dead before its lease is over.

use std::time::Duration;

use crate::scripts::{Act, CLAIM, Log, both, script};
use crate::stage::{SOON, Stage, not_run_reason, now_ms, task, unknown_code};
use baton_harness::Proxy;
use baton_messages::{
    CheckpointKind, Direction, FleetMessage, GrantAnswer, Hold, ProbeAnswer, RefusedWhy, Task,
    TaskResult, Timestamp,
};
use serde_json::json;

fn claimed(act: Act) -> Task {
    task(CLAIM, Hold::Claim, script(act))
}

fn granted() -> GrantAnswer {
    GrantAnswer::Granted {
        before: None,
        progress: None,
    }
}

#[tokio::test]
async fn a_claim_is_acknowledged_when_asked_and_acts_when_granted() {
    let mut stage = Stage::set(&[CLAIM]).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));
    let sent = claimed(Act::Echo);
    stage.dispatch(&sent).await;
    let started = stage.started().await;
    assert_eq!((&started.of, &started.worker), (&sent.of, &worker.id));
    stage.emptied(CLAIM).await;
    assert_eq!(log.count("entered"), 0, "it acted before it was granted");
    stage.answer(&started, granted()).await;
    let finished = stage.finished().await;
    assert_eq!(finished.run, started.run);
    assert_eq!(finished.result, TaskResult::Succeeded { output: json!(7) });
    assert!(finished.started && finished.sole);
    worker.end().await;
}

#[tokio::test]
async fn a_refused_claim_does_nothing_and_says_nothing() {
    let mut stage = Stage::set(&[CLAIM]).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));
    stage.dispatch(&claimed(Act::Echo)).await;
    let started = stage.started().await;
    let why = RefusedWhy::AnotherRun;
    stage.answer(&started, GrantAnswer::Refused { why }).await;
    baton_harness::await_until("the permit to be free", SOON, async || {
        worker.handle.in_hand() == 0
    })
    .await;
    stage.no_report().await;
    assert_eq!(log.count("entered"), 0);
    stage.emptied(CLAIM).await;
    worker.end().await;
}

#[tokio::test]
async fn an_unanswered_claim_is_asked_again_and_given_up() {
    let mut stage = Stage::set(&[CLAIM]).await;
    let log = Log::new();
    let options = baton_worker::WorkerOptions {
        grant_wait_ms_max: 1_000,
        ..Stage::options("w1")
    };
    let worker = stage.work(both(&log), options);
    stage.dispatch(&claimed(Act::Echo)).await;
    let (first, second) = (stage.started().await, stage.started().await);
    assert_eq!(first.run, second.run);
    let finished = stage.finished().await;
    assert!(not_run_reason(&finished).contains("not answered"));
    assert!(!finished.started && finished.sole);
    // A grant that comes after all is not acted on.
    stage.answer(&first, granted()).await;
    stage.no_report().await;
    assert_eq!(log.count("entered"), 0);
    worker.end().await;
}

#[tokio::test]
async fn a_grant_after_not_after_is_not_acted_on() {
    let mut stage = Stage::set(&[CLAIM]).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));
    let mut sent = claimed(Act::Echo);
    sent.not_after = Timestamp(now_ms() + 800);
    stage.dispatch(&sent).await;
    let finished = stage.finished().await;
    assert!(matches!(finished.result, TaskResult::NotRun { .. }));
    assert!(now_ms() >= sent.not_after.0);
    assert_eq!(log.count("entered"), 0);
    worker.end().await;
}

#[tokio::test]
async fn a_checkpoint_is_confirmed_before_the_act_and_known_ones_are_not_stored_again() {
    let mut stage = Stage::set(&[CLAIM]).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));

    // The inbox of this saga is missing: the checkpoint cannot be confirmed, so nothing may be done.
    let mut lost = claimed(Act::Keep);
    lost.hold = Hold::Late;
    lost.inbox = baton_messages::InboxKey::of(7);
    lost.timeout_ms = 700;
    stage.dispatch(&lost).await;
    log.has("entered").await;
    log.has("dropped").await;
    assert_eq!(
        log.count("acted"),
        0,
        "it acted on an unconfirmed checkpoint"
    );

    stage.dispatch(&claimed(Act::Keep)).await;
    let started = stage.started().await;
    stage.answer(&started, granted()).await;
    let before = stage.checkpoint().await;
    assert_eq!((before.kind, before.number), (CheckpointKind::Before, 1));
    assert_eq!(before.value, json!({ "was": "there" }));
    let progress = stage.checkpoint().await;
    assert_eq!(
        (progress.kind, progress.number),
        (CheckpointKind::Progress, 2)
    );
    let finished = stage.finished().await;
    assert_eq!(finished.before, Some(json!({ "was": "there" })));
    assert_eq!(finished.progress, Some(json!(1)));

    // The grant brings the before-image of an earlier attempt: that one stands.
    stage.dispatch(&claimed(Act::Keep)).await;
    let started = stage.started().await;
    let known = Some(json!("the original"));
    let answer = GrantAnswer::Granted {
        before: known.clone(),
        progress: None,
    };
    stage.answer(&started, answer).await;
    assert_eq!(stage.checkpoint().await.kind, CheckpointKind::Progress);
    let finished = stage.finished().await;
    assert_eq!(
        finished.result,
        TaskResult::Succeeded {
            output: json!("the original")
        }
    );
    assert_eq!(
        finished.before, None,
        "only what this run stored is repeated"
    );
    worker.cancel.cancel();
}

#[tokio::test]
async fn undo_and_probe_come_with_what_is_known() {
    let mut stage = Stage::set(&[CLAIM]).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));
    let mut undo = claimed(Act::Echo);
    undo.of.direction = Direction::Undo;
    undo.idempotency_key = undo.of.idempotency_key();
    undo.output = Some(json!(7));
    undo.before = Some(json!("old"));
    stage.dispatch(&undo).await;
    let started = stage.started().await;
    stage.answer(&started, granted()).await;
    let finished = stage.finished().await;
    assert_eq!(
        finished.result,
        TaskResult::Succeeded {
            output: json!(null)
        }
    );
    log.has("undone Some(Number(7)) Some(String(\"old\"))")
        .await;

    let answers = [
        (Act::Echo, ProbeAnswer::Happened { output: json!(7) }),
        (Act::Fail, ProbeAnswer::DidNot),
        (
            Act::Hang,
            ProbeAnswer::CannotTell {
                reason: "not told".into(),
            },
        ),
    ];
    for (act, answer) in answers {
        let mut probe = task(CLAIM, Hold::Late, script(act));
        probe.of.direction = Direction::Probe;
        stage.dispatch(&probe).await;
        assert_eq!(stage.finished().await.result, TaskResult::Probed(answer));
    }
    worker.end().await;
}

#[tokio::test]
async fn a_cancel_before_the_grant_is_not_run() {
    let mut stage = Stage::set(&[CLAIM]).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));
    stage.dispatch(&claimed(Act::Echo)).await;
    let started = stage.started().await;
    stage.cancel(&worker.id, &started.of).await;
    let finished = stage.finished().await;
    assert!(not_run_reason(&finished).contains("cancelled"));
    assert_eq!(log.count("entered"), 0);
    worker.end().await;
}

#[tokio::test]
async fn heartbeats_name_what_is_claimed_and_keep_its_lease() {
    let mut stage = Stage::set(&[CLAIM]).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));
    let mut sent = claimed(Act::Wait);
    sent.lease_ms = 2_000;
    stage.dispatch(&sent).await;
    let started = stage.started().await;
    stage.answer(&started, granted()).await;
    let run = started.run;
    let began = std::time::Instant::now();
    // Three leases long, it is named again and again, and lives.
    while began.elapsed() < Duration::from_secs(6) {
        stage
            .heard(|message| match message {
                FleetMessage::Heartbeat(h) => h.running.iter().find(|r| r.run == run).cloned(),
                _ => None,
            })
            .await;
    }
    assert_eq!(log.count("dropped"), 0);
    log.gate.add_permits(1);
    assert!(matches!(
        stage.finished().await.result,
        TaskResult::Succeeded { .. }
    ));
    worker.end().await;
}

#[tokio::test]
async fn a_run_is_ended_before_its_lease_is_over_when_nothing_is_confirmed() {
    let mut stage = Stage::set(&[CLAIM]).await;
    let proxy = Proxy::to_port(stage.vhost.broker().amqp_port()).await;
    let log = Log::new();
    let url = stage.vhost.url_through(proxy.port());
    let worker = stage.work_at(url, both(&log), Stage::options("w1"));
    let mut sent = claimed(Act::Hang);
    sent.lease_ms = 3_000;
    stage.dispatch(&sent).await;
    let started = stage.started().await;
    stage.answer(&started, granted()).await;
    log.has("entered").await;
    let held = std::time::Instant::now();
    proxy.hold(baton_harness::Direction::Both);
    log.has("dropped").await;
    assert!(
        held.elapsed() < Duration::from_secs(3),
        "the lease was over before the run"
    );
    proxy.resume();
    let finished = stage.finished().await;
    assert_eq!(unknown_code(&finished), "lease-lost");
    stage.no_report().await;
    worker.end().await;
}
