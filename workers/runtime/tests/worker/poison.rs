//! A message whose worker dies while it reads it takes nothing with it that lies in its queue: it alone is put aside.
//!
//! The worker that dies is a process of its own. Nothing is known that kills a reader, so the death is put where reading begins: the child aborts at the
//! line in which it says that it reads this message, the last one it would say.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use baton_messages::{GrantAnswer, Hold, InboxMessage, SagaId, Task, topology};
use baton_worker::Worker;
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::scripts::{Act, LATE, Log, both, script};
use crate::stage::{SOON, Stage, bus_at, task};

/// Where the broker of the child is.
const URL: &str = "BATON_TEST_DYING_WORKER_URL";
/// Of which message it dies.
const KILLER: &str = "BATON_TEST_DYING_WORKER_KILLER";
/// How the child is called among the tests.
const CHILD: &str = "poison::the_worker_that_dies_of_a_message";
/// What it says of a message it reads alone.
const READS: &str = "it is read alone";
/// As often as a message is read as it comes.
const TRUSTED: u32 = 5;
/// As often as a message may be delivered at all.
const GIVEN_UP: u32 = 15;
/// More deaths than a message may cause.
const DEATHS_MAX: u32 = 10;

#[tokio::test]
async fn what_kills_its_worker_while_it_is_read_is_parked_alone_and_what_lies_around_it_is_done() {
    let mut stage = Stage::set(&[LATE]).await;
    let sent: Vec<Task> = (0..3)
        .map(|_| task(LATE, Hold::Late, script(Act::Echo)))
        .collect();
    for task in &sent {
        stage.dispatch(task).await;
    }
    delivered_in_vain(&stage, &sent, TRUSTED).await;
    let killer = sent[1].of.message_id().to_string();
    let mut child = dying(&stage, &killer);
    let mut deaths = 0;
    while waiting(&stage, topology::DEAD).await == 0 {
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(!ended.success(), "it ended by itself");
            deaths += 1;
            assert!(deaths < DEATHS_MAX, "it is never put aside");
            child = dying(&stage, &killer);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(deaths > 0, "nobody died of it");

    let claims = claims_until_done(&mut stage, &sent[2], 2).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let dead = stage.vhost.take(topology::DEAD, 10).await;
    assert_eq!(dead.len(), 1, "it alone is put aside");
    assert_eq!(dead[0].properties["message_id"], killer);
    assert_eq!(
        dead[0].properties["headers"]["baton-dead-reason"],
        "delivered-too-often"
    );
    let innocent = [sent[0].of.saga, sent[2].of.saga];
    assert_eq!(
        claims,
        BTreeMap::from(innocent.map(|saga| (saga, 1))),
        "each is begun once"
    );
}

#[tokio::test]
async fn of_what_was_delivered_far_too_often_one_is_parked_unread_and_its_neighbour_is_done() {
    let mut stage = Stage::set(&[LATE]).await;
    let sent: Vec<Task> = (0..2)
        .map(|_| task(LATE, Hold::Late, script(Act::Echo)))
        .collect();
    for task in &sent {
        stage.dispatch(task).await;
    }
    delivered_in_vain(&stage, &sent, GIVEN_UP).await;
    let worker = stage.work(both(&Log::new()), Stage::options("far-too-often"));
    let claims = claims_until_done(&mut stage, &sent[1], 1).await;
    worker.end().await;
    assert_eq!(claims, BTreeMap::from([(sent[1].of.saga, 1)]));
    let dead = stage.vhost.take(topology::DEAD, 10).await;
    assert_eq!(dead.len(), 1, "the first one alone is put aside");
    assert_eq!(
        dead[0].properties["message_id"],
        sent[0].of.message_id().to_string()
    );
}

/// By how many runs each was claimed, when the last one is done, so many were claimed, and nothing is left in the queue; each claim is granted.
async fn claims_until_done(
    stage: &mut Stage,
    last: &Task,
    sagas: usize,
) -> BTreeMap<SagaId, usize> {
    let mut runs: BTreeMap<SagaId, Vec<_>> = BTreeMap::new();
    let mut last_is_done = false;
    while !last_is_done || runs.len() < sagas {
        match stage.report().await.message {
            InboxMessage::Started(started) => {
                let of_saga = runs.entry(started.of.saga).or_default();
                if !of_saga.contains(&started.run) {
                    of_saga.push(started.run);
                }
                let granted = GrantAnswer::Granted {
                    before: None,
                    progress: None,
                };
                stage.answer(&started, granted).await;
            }
            InboxMessage::Finished(finished) => {
                last_is_done |= finished.of.saga == last.of.saga;
            }
            other => panic!("{other:?}"),
        }
    }
    stage.emptied(LATE).await;
    runs.into_iter()
        .map(|(saga, runs)| (saga, runs.len()))
        .collect()
}

/// How many messages wait there.
async fn waiting(stage: &Stage, queue: &str) -> u32 {
    let depth = stage.bus.queue_depth(queue).await.unwrap();
    depth.expect("it is declared").ready
}

/// Takes all of them, and gives them back as a consumer that failed, so often. They lie there in their order then: the killer before the last one, so that whoever
/// dies of it has not begun that one, of whose end nobody would ever hear.
async fn delivered_in_vain(stage: &Stage, sent: &[Task], times: u32) {
    let bus = bus_at(stage.vhost.url(), "in-vain");
    let spec = baton_bus::ConsumeSpec {
        queue: format!("baton.task.default.{LATE}"),
        prefetch: 10,
        exclusive_queue: None,
        consumer_tag: "in-vain".into(),
    };
    let mut taking = bus.consume(spec).await;
    let mut in_hand = Vec::new();
    for time in 1..=times {
        while in_hand.len() < sent.len() {
            in_hand.push(taking.next().await.unwrap());
        }
        if time < times {
            for delivery in in_hand.drain(..) {
                delivery.reject_requeue().await.unwrap();
            }
        }
    }
    let ids = in_hand.iter().map(|delivery| delivery.message_id.clone());
    let all = sent
        .iter()
        .map(|task| Some(task.of.message_id().to_string()));
    assert_eq!(ids.collect::<Vec<_>>(), all.collect::<Vec<_>>());
    // What is given back one by one goes behind what lies there, and after the last time some of it would have been delivered once more by then: in whatever order
    // that comes about. Of a connection that ends while all of it is in hand the broker puts it back as it was.
    drop(taking);
    bus.shutdown(SOON).await;
}

fn dying(stage: &Stage, killer: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD, "--nocapture"])
        .env(URL, stage.vhost.url())
        .env(KILLER, killer)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Does nothing unless it is the child of the test above.
#[tokio::test]
async fn the_worker_that_dies_of_a_message() {
    let (Ok(url), Ok(killer)) = (std::env::var(URL), std::env::var(KILLER)) else {
        return;
    };
    tracing::subscriber::set_global_default(DiesOf(killer)).unwrap();
    let bus = bus_at(url, "dying");
    let worker = Worker::new(bus, both(&Log::new()), Stage::options("dying")).unwrap();
    // whoever started it ends it; a parent that is gone does not
    let _ = tokio::time::timeout(SOON * 3, worker.run(CancellationToken::new())).await;
}

/// Hears what a worker says, and aborts it where it says that it reads this message alone.
struct DiesOf(String);

impl Subscriber for DiesOf {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut said = Said::default();
        event.record(&mut said);
        if said.message.contains(READS) && said.id == self.0 {
            std::process::abort();
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Said {
    message: String,
    id: String,
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message_id" {
            self.id = value.to_owned();
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}
