//! Several tasks in one message, over a real broker: each is held, run and reported as if it had come alone, and the message is acknowledged when each of them is answered.

use std::collections::BTreeSet;

use baton_harness::{Message, Proxy, await_until};
use baton_messages::{
    Finished, GrantAnswer, Hold, RefusedWhy, SagaId, Started, Task, TaskMessage, TaskType,
    TasksMessage, topology,
};
use baton_worker::WorkerOptions;
use serde_json::json;

use crate::scripts::{Act, CLAIM, LATE, Log, both, script};
use crate::stage::{SOON, Stage, task};

fn late(act: Act) -> Task {
    task(LATE, Hold::Late, script(act))
}

fn queue() -> String {
    format!("baton.task.default.{LATE}")
}

fn granted() -> GrantAnswer {
    GrantAnswer::Granted {
        before: None,
        progress: None,
    }
}

fn refused() -> GrantAnswer {
    let why = RefusedWhy::NoLongerWanted;
    GrantAnswer::Refused { why }
}

fn sagas<'a>(of: impl IntoIterator<Item = &'a Task>) -> BTreeSet<SagaId> {
    of.into_iter().map(|task| task.of.saga).collect()
}

/// The next ends of runs, of so many sagas.
async fn finished(stage: &mut Stage, count: usize) -> Vec<Finished> {
    let mut all = Vec::new();
    while all.len() < count {
        all.push(stage.finished().await);
    }
    all
}

fn of_finished(finished: &[Finished]) -> BTreeSet<SagaId> {
    finished.iter().map(|one| one.of.saga).collect()
}

/// Answers what asks, until each of these has asked; nothing else may.
async fn answered(stage: &mut Stage, asking: &[(&Task, GrantAnswer)]) {
    let mut left = sagas(asking.iter().map(|(task, _)| *task));
    while !left.is_empty() {
        let started = stage.started().await;
        let found = asking.iter().find(|(task, _)| task.of == started.of);
        let (_, answer) = found.unwrap_or_else(|| panic!("nobody should ask for {started:?}"));
        // who has lost his connection may not listen yet, and asks again
        if stage.answer_heard(&started, answer.clone()).await {
            left.remove(&started.of.saga);
        }
    }
}

/// Everything in the queue of dead letters, once there are so many.
async fn dead(stage: &Stage, count: u64) -> Vec<Message> {
    let vhost = &stage.vhost;
    vhost.await_messages(topology::DEAD, count, 0, SOON).await;
    vhost.take(topology::DEAD, 10).await
}

#[tokio::test]
async fn each_of_several_is_reported_and_their_message_is_acknowledged_after_the_last() {
    let mut stage = Stage::set(&[LATE]).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));
    let sent = [late(Act::Echo), late(Act::Wait), late(Act::Echo)];
    stage.dispatch_together(LATE, &sent).await;
    let first = finished(&mut stage, 2).await;
    assert_eq!(of_finished(&first), sagas([&sent[0], &sent[2]]));
    // two of three are answered: the message is not
    stage.vhost.await_messages(&queue(), 0, 1, SOON).await;
    stage.no_report().await;
    stage.vhost.await_messages(&queue(), 0, 1, SOON).await;
    log.gate.add_permits(1);
    let last = finished(&mut stage, 1).await;
    assert_eq!(last[0].of, sent[1].of);
    for one in first.iter().chain(&last) {
        assert!(one.started && one.sole, "{one:?}");
    }
    stage.emptied(LATE).await;
    stage.no_report().await;
    assert_eq!(log.count("entered"), 3);
    worker.end().await;
}

#[tokio::test]
async fn of_several_that_come_again_those_that_were_done_ask_first_and_none_runs_twice() {
    let mut stage = Stage::set(&[LATE]).await;
    let proxy = Proxy::to_port(stage.vhost.broker().amqp_port()).await;
    let log = Log::new();
    let url = stage.vhost.url_through(proxy.port());
    let worker = stage.work_at(url, both(&log), Stage::options("w1"));
    let sent = [late(Act::Echo), late(Act::Wait), late(Act::Echo)];
    stage.dispatch_together(LATE, &sent).await;
    let done = finished(&mut stage, 2).await;
    assert_eq!(of_finished(&done), sagas([&sent[0], &sent[2]]));
    await_until("both to be confirmed", SOON, async || {
        worker.handle.in_hand() == 1
    })
    .await;
    proxy.cut();
    // the whole is delivered again, to the same worker: it has the second one in hand, and of the others it knows nothing
    answered(&mut stage, &[(&sent[0], refused()), (&sent[2], refused())]).await;
    log.gate.add_permits(5);
    let last = finished(&mut stage, 1).await;
    assert_eq!(last[0].of, sent[1].of);
    assert!(!last[0].sole, "its channel was lost");
    stage.emptied(LATE).await;
    assert_eq!(log.count("entered"), 3, "one ran twice");
    worker.end().await;
}

#[tokio::test]
async fn of_several_one_that_is_no_task_of_the_queue_is_parked_alone_and_the_others_run() {
    let mut stage = Stage::set(&[LATE]).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));
    let mut other = late(Act::Echo);
    other.task_type = TaskType::new("test.other@1").unwrap();
    let sent = [late(Act::Echo), other, late(Act::Echo)];
    stage.dispatch_together(LATE, &sent).await;
    let done = finished(&mut stage, 2).await;
    assert_eq!(of_finished(&done), sagas([&sent[0], &sent[2]]));
    let parked = dead(&stage, 1).await;
    assert_eq!(parked.len(), 1, "{parked:?}");
    let alone = serde_json::to_string(&TaskMessage::Task(sent[1].clone())).unwrap();
    assert_eq!(parked[0].payload, alone, "as it would have been alone");
    let properties = &parked[0].properties;
    assert_eq!(properties["type"], "task@1");
    let id = sent[1].of.message_id().to_string();
    assert_eq!(properties["message_id"], id.as_str());
    let saga = sent[1].of.saga.to_string();
    assert_eq!(properties["correlation_id"], saga.as_str());
    let headers = &properties["headers"];
    assert_eq!(headers["baton-dead-reason"], "unknown-type");
    stage.emptied(LATE).await;

    // one that is no task at all has no name of its own
    let task = |of: &Task| serde_json::to_value(TaskMessage::Task(of.clone())).unwrap();
    let sent = [late(Act::Echo), late(Act::Echo)];
    let body = json!({ "tasks@1": { "tasks": [task(&sent[0]), { "odd": 1 }, task(&sent[1])] } });
    let body = body.to_string().into_bytes();
    let whole = stage.send_together(LATE, body).await;
    let done = finished(&mut stage, 2).await;
    assert_eq!(of_finished(&done), sagas(&sent));
    let parked = dead(&stage, 1).await;
    assert_eq!(parked.len(), 1, "{parked:?}");
    assert_eq!(parked[0].payload, r#"{"odd":1}"#);
    let properties = &parked[0].properties;
    assert_eq!(properties["message_id"], format!("{whole}.2"));
    let headers = &properties["headers"];
    assert_eq!(headers["baton-dead-reason"], "undecodable");
    stage.emptied(LATE).await;
    assert_eq!(log.count("entered"), 4);
    worker.end().await;
}

#[tokio::test]
async fn what_says_that_it_is_several_and_is_not_is_parked_whole() {
    let mut stage = Stage::set(&[LATE]).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));
    let bodies = [
        "no json \u{2603}",
        r#"{"tasks@1":{"tasks":[]}}"#,
        r#"{"tasks@1":{"tasks":[1,2],"more":3}}"#,
    ];
    let mut ids = BTreeSet::new();
    for body in bodies {
        let id = stage.send_together(LATE, body.as_bytes().to_vec()).await;
        ids.insert(id.to_string());
    }
    let parked = dead(&stage, 3).await;
    for body in bodies {
        let found = parked.iter().find(|one| one.payload == body);
        let found = found.unwrap_or_else(|| panic!("{body} was not parked whole: {parked:?}"));
        let properties = &found.properties;
        assert_eq!(properties["type"], TasksMessage::KIND);
        let headers = &properties["headers"];
        assert_eq!(headers["baton-dead-reason"], "undecodable");
        let id = properties["message_id"].as_str().unwrap();
        assert!(ids.remove(id), "{id}");
    }
    // and the queue goes on
    stage.dispatch_together(LATE, &[late(Act::Echo)]).await;
    finished(&mut stage, 1).await;
    stage.emptied(LATE).await;
    worker.end().await;
}

#[tokio::test]
async fn of_several_those_that_wait_for_a_permit_go_back_when_the_worker_drains() {
    let mut stage = Stage::set(&[LATE]).await;
    let log = Log::new();
    let options = |id: &str| WorkerOptions {
        concurrency: 1,
        drain_grace_ms: 60_000,
        ..Stage::options(id)
    };
    let first = stage.work(both(&log), options("w1"));
    let sent = [late(Act::Wait), late(Act::Echo), late(Act::Echo)];
    stage.dispatch_together(LATE, &sent).await;
    log.has("entered").await;
    first.cancel.cancel();
    // those that wait are given up, and the message stays until the one that runs is answered
    stage.no_report().await;
    stage.vhost.await_messages(&queue(), 0, 1, SOON).await;
    log.gate.add_permits(1);
    let done = finished(&mut stage, 1).await;
    assert_eq!(done[0].of, sent[0].of);
    first.end().await;
    stage.vhost.await_messages(&queue(), 1, 0, SOON).await;
    assert_eq!(log.count("entered"), 1, "what was given back had begun");

    let second = stage.work(both(&log), Stage::options("w2"));
    answered(
        &mut stage,
        &[
            (&sent[0], refused()),
            (&sent[1], granted()),
            (&sent[2], granted()),
        ],
    )
    .await;
    let done = finished(&mut stage, 2).await;
    assert_eq!(of_finished(&done), sagas(&sent[1..]));
    assert!(done.iter().all(|one| !one.sole), "{done:?}");
    stage.emptied(LATE).await;
    assert_eq!(log.count("entered"), 3);
    second.end().await;
}

#[tokio::test]
async fn several_that_are_claimed_are_acknowledged_when_all_have_asked_and_each_acts_when_granted()
{
    let mut stage = Stage::set(&[CLAIM]).await;
    let log = Log::new();
    let worker = stage.work(both(&log), Stage::options("w1"));
    let sent = [Act::Echo, Act::Echo, Act::Echo].map(|act| task(CLAIM, Hold::Claim, script(act)));
    stage.dispatch_together(CLAIM, &sent).await;
    let mut asked = Vec::new();
    while asked.len() < sent.len() {
        let started = stage.started().await;
        let known = |one: &Started| one.of == started.of;
        if !asked.iter().any(known) {
            asked.push(started);
        }
    }
    stage.emptied(CLAIM).await;
    assert_eq!(log.count("entered"), 0, "one acted before it was granted");
    for started in &asked {
        let refuse = started.of == sent[1].of;
        let answer = if refuse { refused() } else { granted() };
        stage.answer(started, answer).await;
    }
    let done = finished(&mut stage, 2).await;
    assert_eq!(of_finished(&done), sagas([&sent[0], &sent[2]]));
    assert!(done.iter().all(|one| one.started && one.sole), "{done:?}");
    assert_eq!(log.count("entered"), 2);
    worker.end().await;
}
