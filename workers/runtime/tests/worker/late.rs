//! Holding late, over a real broker: one report for each task, acknowledged only after it, whatever ends the run.

use std::time::Duration;

use crate::scripts::{Act, LATE, Log, both, script};
use crate::stage::{SOON, Stage, not_run_reason, now_ms, task, unknown_code};
use baton_bus::Outgoing;
use baton_messages::control::RollCall;
use baton_messages::{
    ControlMessage, GrantAnswer, Hold, MessageId, RefusedWhy, TaskResult, Timestamp, topology,
};
use baton_worker::WorkerOptions;
use serde_json::{Value, json};

fn late(act: Act) -> baton_messages::Task {
    task(LATE, Hold::Late, script(act))
}

#[tokio::test]
async fn an_echo_is_reported_once_and_acknowledged() {
    let mut stage = Stage::set(&[LATE]).await;
    let worker = stage.work(both(&Log::new()), Stage::options("w1"));
    let sent = late(Act::Echo);
    stage.dispatch(&sent).await;
    let report = stage.report().await;
    let baton_messages::InboxMessage::Finished(finished) = report.message else {
        panic!("not finished");
    };
    assert_eq!(finished.of, sent.of);
    assert_eq!(finished.result, TaskResult::Succeeded { output: json!(7) });
    assert!(finished.started && finished.sole);
    assert_eq!(
        report.id,
        MessageId::of_report("finished", finished.run, 1).to_string()
    );
    stage.no_report().await;
    stage.emptied(LATE).await;
    worker.end().await;
}

#[tokio::test]
async fn an_automation_is_told_the_numbers_of_the_locks_it_acts_under() {
    let mut stage = Stage::set(&[LATE]).await;
    let worker = stage.work(both(&Log::new()), Stage::options("w1"));
    let mut sent = late(Act::Fences);
    sent.fences = [("host/7".to_owned(), 12)].into();
    stage.dispatch(&sent).await;
    let output = json!({ "host/7": 12 });
    let finished = stage.finished().await;
    assert_eq!(finished.result, TaskResult::Succeeded { output });
    worker.end().await;
}

#[tokio::test]
async fn what_is_ready_together_goes_in_few_messages_and_is_acknowledged_one_and_all() {
    let mut stage = Stage::set(&[LATE]).await;
    let log = Log::new();
    let options = WorkerOptions {
        concurrency: 40,
        ..Stage::options("w1")
    };
    let worker = stage.work(both(&log), options);
    for _ in 0..40 {
        stage.dispatch(&late(Act::Wait)).await;
    }
    baton_harness::await_until("all to be entered", SOON, async || {
        log.count("entered") == 40
    })
    .await;
    log.gate.add_permits(40);
    let mut sagas = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let finished = stage.finished().await;
        assert!(finished.started && finished.sole);
        sagas.insert(finished.of.saga);
    }
    assert_eq!(sagas.len(), 40, "each is told once");
    assert!(stage.messages < 20, "{} messages", stage.messages);
    stage.no_report().await;
    stage.emptied(LATE).await;
    worker.end().await;
}

#[tokio::test]
async fn many_tasks_are_each_reported_once_and_never_more_at_once_than_permits() {
    let mut stage = Stage::set(&[LATE]).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));
    for _ in 0..40 {
        stage.dispatch(&late(Act::Wait)).await;
    }
    baton_harness::await_until("all permits to be taken", SOON, async || {
        log.count("entered") == 4
    })
    .await;
    stage.no_report().await;
    assert_eq!(log.count("entered"), 4, "more runs than permits");
    log.gate.add_permits(40);
    let mut sagas = std::collections::BTreeSet::new();
    for _ in 0..40 {
        sagas.insert(stage.finished().await.of.saga);
    }
    assert_eq!(sagas.len(), 40);
    stage.no_report().await;
    stage.emptied(LATE).await;
    worker.end().await;
}

#[tokio::test]
async fn a_task_that_had_been_delivered_before_asks_first_and_is_not_sole() {
    let mut stage = Stage::set(&[LATE]).await;
    stage.dispatch(&late(Act::Echo)).await;
    let queue = topology::task_queue(
        &baton_messages::PoolName::default_pool(),
        &baton_messages::TaskType::new(LATE).unwrap(),
    );
    stage.vhost.await_messages(&queue, 1, 0, SOON).await;
    // Read and put back by somebody else.
    stage.vhost.peek_one(&queue).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));
    let started = stage.started().await;
    assert_eq!(log.count("entered"), 0, "it acted before it was granted");
    let answer = GrantAnswer::Granted {
        before: None,
        progress: None,
    };
    stage.answer(&started, answer).await;
    assert!(!stage.finished().await.sole);
    worker.end().await;
}

#[tokio::test]
async fn a_task_that_was_offered_long_ago_asks_first_and_one_offered_just_now_does_not() {
    let mut stage = Stage::set(&[LATE]).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));
    let mut fresh = late(Act::Echo);
    fresh.ask_after = Some(Timestamp(now_ms() + 30_000));
    stage.dispatch(&fresh).await;
    assert!(stage.finished().await.started);
    assert_eq!(log.count("entered"), 1);
    let mut old = late(Act::Echo);
    old.ask_after = Some(Timestamp(now_ms() - 1));
    stage.dispatch(&old).await;
    let started = stage.started().await;
    assert_eq!(started.of, old.of);
    assert_eq!(log.count("entered"), 1, "it acted before it was granted");
    let answer = GrantAnswer::Granted {
        before: None,
        progress: None,
    };
    stage.answer(&started, answer).await;
    assert!(stage.finished().await.started);
    worker.end().await;
}

#[tokio::test]
async fn what_ends_otherwise_than_by_an_answer_is_unknown() {
    let mut stage = Stage::set(&[LATE]).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));

    stage.dispatch(&late(Act::Panic)).await;
    assert_eq!(unknown_code(&stage.finished().await), "panicked");

    let mut short = late(Act::Hang);
    short.timeout_ms = 200;
    stage.dispatch(&short).await;
    let finished = stage.finished().await;
    assert_eq!(unknown_code(&finished), "timeout");
    assert!(finished.started);
    assert!(log.count("dropped") >= 1, "the run is still alive");

    stage.dispatch(&late(Act::Large)).await;
    assert_eq!(unknown_code(&stage.finished().await), "output-too-large");
    stage.emptied(LATE).await;
    worker.end().await;
}

/// What an automation holds may panic when its run is dropped: that ends this run alone. Its task goes back, and asks before it is begun once more; whatever else there is is done.
#[tokio::test]
async fn a_run_that_panics_while_it_is_dropped_gives_its_task_back_and_harms_no_other() {
    let mut stage = Stage::set(&[LATE]).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));
    let mut breaks = late(Act::Break);
    breaks.timeout_ms = 200;
    stage.dispatch(&breaks).await;
    log.has("broke").await;
    let started = stage.started().await;
    assert_eq!(started.of, breaks.of, "it is handed out again, and asks");
    assert_eq!(log.count("entered"), 1, "it acted before it was granted");
    let why = RefusedWhy::NoLongerWanted;
    stage.answer(&started, GrantAnswer::Refused { why }).await;
    stage.dispatch(&late(Act::Echo)).await;
    assert!(stage.finished().await.started);
    baton_harness::await_until("nothing to be in hand", SOON, async || {
        worker.handle.in_hand() == 0
    })
    .await;
    stage.emptied(LATE).await;
    worker.end().await;
}

#[tokio::test]
async fn an_automation_that_heeds_its_time_limit_is_believed() {
    let mut stage = Stage::set(&[LATE]).await;
    let worker = stage.work(both(&Log::new()), Stage::options("w1"));
    let mut short = late(Act::Heed);
    short.timeout_ms = 200;
    stage.dispatch(&short).await;
    let TaskResult::Failed(failure) = stage.finished().await.result else {
        panic!("not failed");
    };
    assert_eq!(
        (failure.code.as_str(), failure.retryable),
        ("stopped", true)
    );
    worker.end().await;
}

#[tokio::test]
async fn a_cancel_ends_what_runs_and_keeps_out_what_has_not_begun() {
    let mut stage = Stage::set(&[LATE]).await;
    let log = Log::new();
    let options = WorkerOptions {
        concurrency: 1,
        ..Stage::options("w1")
    };
    let worker = stage.work(both(&log), options);
    let (running, waiting) = (late(Act::Hang), late(Act::Echo));
    stage.dispatch(&running).await;
    log.has("entered").await;
    stage.dispatch(&waiting).await;
    stage.cancel(&worker.id, &waiting.of).await;
    stage.cancel(&worker.id, &running.of).await;
    let first = stage.finished().await;
    assert_eq!(
        (unknown_code(&first), &first.of),
        ("cancelled", &running.of)
    );
    let second = stage.finished().await;
    assert_eq!(second.of, waiting.of);
    assert!(not_run_reason(&second).contains("cancelled"));
    assert!(!second.started);
    worker.end().await;
}

#[tokio::test]
async fn what_does_not_fit_or_comes_too_late_is_not_entered() {
    let mut stage = Stage::set(&[LATE]).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));
    stage
        .dispatch(&task(LATE, Hold::Late, json!({ "act": 1 })))
        .await;
    let finished = stage.finished().await;
    let TaskResult::Failed(failure) = &finished.result else {
        panic!("not failed but {finished:?}");
    };
    assert_eq!(
        (failure.code.as_str(), failure.retryable),
        ("input-misfit", false)
    );
    assert!(failure.message.contains("/act"), "{}", failure.message);

    let mut old = late(Act::Echo);
    old.not_after = Timestamp(now_ms() - 1);
    stage.dispatch(&old).await;
    let finished = stage.finished().await;
    assert!(not_run_reason(&finished).contains("too late") && !finished.started);
    assert_eq!(log.count("entered"), 0);
    stage.emptied(LATE).await;
    worker.end().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_parked_byte_for_byte() {
    let stage = Stage::set(&[LATE]).await;
    let worker = stage.work(both(&Log::new()), Stage::options("w1"));
    let wrong_type = {
        let mut other = late(Act::Echo);
        other.task_type = baton_messages::TaskType::new("test.other@1").unwrap();
        serde_json::to_string(&baton_messages::TaskMessage::Task(other)).unwrap()
    };
    let bad = [
        ("task@1", "no json \u{2603}", "undecodable"),
        ("task@1", r#"{"task@1":{"of":1}}"#, "undecodable"),
        ("task@9", r#"{"task@9":{}}"#, "unknown-kind"),
        ("task@1", wrong_type.as_str(), "unknown-type"),
    ];
    for (kind, body, _) in bad {
        let id = MessageId(uuid::Uuid::new_v4());
        let kind: &'static str = kind;
        let out = Outgoing::json(
            topology::TASKS,
            format!("default.{LATE}"),
            kind,
            id,
            body.as_bytes().to_vec(),
            0,
        );
        stage.send(out).await;
    }
    stage.vhost.await_messages(topology::DEAD, 4, 0, SOON).await;
    let dead = stage.vhost.take(topology::DEAD, 10).await;
    for (_, body, reason) in bad {
        let found = dead.iter().find(|m| m.payload == body);
        let found = found.unwrap_or_else(|| panic!("{body} was not parked whole"));
        assert_eq!(found.properties["headers"]["baton-dead-reason"], reason);
        assert_ne!(found.properties["headers"]["baton-dead-error"], Value::Null);
    }
    stage.emptied(LATE).await;
    worker.end().await;
}

/// What a worker that dies whenever it takes the first task does to all it had in hand.
/// While what nobody can use cannot be put aside it is acknowledged by nobody; what else there is is done meanwhile.
#[tokio::test]
async fn what_cannot_be_parked_stays_unacknowledged_until_it_can() {
    let mut stage = Stage::set(&[LATE]).await;
    stage.vhost.delete_queue(topology::DEAD).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));
    let queue = format!("baton.task.default.{LATE}");
    let body = "{ no task \u{df}";
    let properties = json!({ "message_id": "odd", "type": "task@1" });
    assert!(
        stage
            .vhost
            .publish("amq.default", &queue, properties, body)
            .await
    );
    stage.vhost.await_messages(&queue, 0, 1, SOON).await;
    stage.dispatch(&late(Act::Echo)).await;
    assert!(stage.finished().await.started);
    // tried again and again, and in nobody's way
    stage.no_report().await;
    stage.vhost.await_messages(&queue, 0, 1, SOON).await;
    stage.vhost.declare(topology::DEAD, "quorum").await;
    let vhost = stage.vhost.name();
    let binding = format!("/api/bindings/{vhost}/e/{0}/q/{0}", topology::DEAD);
    stage.vhost.management().post(&binding, &json!({})).await;
    stage.vhost.await_messages(topology::DEAD, 1, 0, SOON).await;
    let dead = stage.vhost.take(topology::DEAD, 10).await;
    assert_eq!((dead.len(), dead[0].payload.as_str()), (1, body));
    stage.emptied(LATE).await;
    worker.end().await;
}

#[tokio::test]
async fn of_what_was_delivered_ten_times_in_vain_the_first_is_parked_and_what_lay_behind_it_is_done()
 {
    let mut stage = Stage::set(&[LATE]).await;
    let sent: Vec<_> = (0..4).map(|_| late(Act::Echo)).collect();
    for task in &sent {
        stage.dispatch(task).await;
    }
    let spec = baton_bus::ConsumeSpec {
        queue: format!("baton.task.default.{LATE}"),
        prefetch: 4,
        exclusive_queue: None,
        consumer_tag: "dying".into(),
    };
    let mut dying = stage.bus.consume(spec).await;
    for _ in 0..10 {
        let mut in_hand = Vec::new();
        while in_hand.len() < 4 {
            in_hand.push(dying.next().await.unwrap());
        }
        for delivery in in_hand {
            delivery.reject_requeue().await.unwrap();
        }
    }
    dying.give_back().await;
    drop(dying);
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));
    let granted = || GrantAnswer::Granted {
        before: None,
        progress: None,
    };
    let mut done = std::collections::BTreeSet::new();
    while done.len() < 3 {
        match stage.report().await.message {
            baton_messages::InboxMessage::Started(started) => {
                stage.answer(&started, granted()).await;
            }
            baton_messages::InboxMessage::Finished(finished) => {
                done.insert(finished.of.saga);
            }
            other => panic!("{other:?}"),
        }
    }
    stage.vhost.await_messages(topology::DEAD, 1, 0, SOON).await;
    let dead = stage.vhost.take(topology::DEAD, 10).await;
    assert_eq!(dead.len(), 1, "only one");
    assert_eq!(
        dead[0].properties["headers"]["baton-dead-reason"],
        "delivered-too-often"
    );
    let left: Vec<_> = sent
        .iter()
        .filter(|task| !done.contains(&task.of.saga))
        .collect();
    assert_eq!(
        dead[0].properties["message_id"],
        left[0].of.message_id().to_string()
    );
    assert_eq!(log.count("entered"), 3, "it was not tried");
    stage.emptied(LATE).await;
    worker.end().await;
}

#[tokio::test]
async fn a_report_for_a_missing_inbox_is_kept_until_the_inbox_is_there() {
    let mut stage = Stage::set(&[LATE]).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));
    let mut elsewhere = late(Act::Echo);
    elsewhere.inbox = baton_messages::InboxKey::of(7);
    stage.dispatch(&elsewhere).await;
    log.has("done").await;
    stage.no_report().await;
    assert_eq!(
        worker.handle.in_hand(),
        1,
        "the permit went before the report did"
    );
    stage
        .bus
        .declare(&topology::Topology::base(8))
        .await
        .unwrap();
    let queue = topology::inbox_queue(&baton_messages::InboxKey::of(7));
    stage.vhost.await_messages(&queue, 1, 0, SOON).await;
    stage.emptied(LATE).await;
    baton_harness::await_until(
        "the permit to be free",
        Duration::from_secs(5),
        async || worker.handle.in_hand() == 0,
    )
    .await;
    worker.end().await;
}

#[tokio::test]
async fn a_worker_begins_before_its_queue_is_declared() {
    let mut stage = Stage::set(&[]).await;
    let worker = stage.work(both(&Log::new()), Stage::options("w1"));
    let announced = stage
        .heard(|message| match message {
            baton_messages::FleetMessage::Announcement(a) => Some(a),
            _ => None,
        })
        .await;
    assert_eq!(announced.types.len(), 2);
    let manifest = announced
        .types
        .iter()
        .find(|m| m.task_type.as_str() == LATE);
    assert_eq!(manifest.unwrap().hold(), Hold::Late);
    stage.declare(LATE).await;
    stage.dispatch(&late(Act::Echo)).await;
    assert!(matches!(
        stage.finished().await.result,
        TaskResult::Succeeded { .. }
    ));
    worker.end().await;
}

#[tokio::test]
async fn a_roll_call_is_answered_by_an_announcement() {
    let mut stage = Stage::set(&[LATE]).await;
    let options = WorkerOptions {
        announce_ms: 3_600_000,
        ..Stage::options("w1")
    };
    let worker = stage.work(both(&Log::new()), options);
    let announcement = |message| match message {
        baton_messages::FleetMessage::Announcement(a) => Some(a),
        _ => None,
    };
    stage.heard(announcement).await;
    // what it hears by is declared before it takes tasks
    stage.dispatch(&late(Act::Echo)).await;
    stage.finished().await;
    let call = RollCall {
        orchestrator: "o1".into(),
    };
    stage
        .tell(&worker.id, &ControlMessage::RollCall(call))
        .await;
    assert_eq!(stage.heard(announcement).await.worker, worker.id);
    worker.end().await;
}

#[tokio::test]
async fn what_is_done_behind_a_task_that_still_runs_is_acknowledged_and_the_running_one_is_not() {
    let mut stage = Stage::set(&[LATE]).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));
    stage.dispatch(&late(Act::Wait)).await;
    log.has("entered").await;
    for _ in 0..30 {
        stage.dispatch(&late(Act::Echo)).await;
    }
    for _ in 0..30 {
        stage.finished().await;
    }
    let queue = format!("baton.task.default.{LATE}");
    stage.vhost.await_messages(&queue, 0, 1, SOON).await;
    log.gate.add_permits(1);
    stage.finished().await;
    stage.emptied(LATE).await;
    worker.end().await;
}
