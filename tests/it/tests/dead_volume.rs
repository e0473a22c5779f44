//! Many dead letters: taken in, grouped, filtered and replayed at a rate behind a canary, with orchestrator and broker killed in between. Whoever keeps the book of effects knows nothing of
//! letters, and finds each once. How many a second that is stands beside what the broker does by itself in the same run. `BATON_LONG=1` makes it two hundred thousand.

use std::time::{Duration, Instant};

use baton_bus::{Bus, BusConfig, ConsumeSpec, Outgoing, Sent};
use baton_harness::{await_some, await_until};
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{Answer, Setup, System};
use baton_messages::MessageId;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What any of this may take with all that is killed meanwhile.
const LIMIT: Duration = Duration::from_secs(1_800);
/// Messages that are published at once.
const BATCH: usize = 256;
const DEFINITION: &str = "volume";

fn count() -> usize {
    if baton_it::long() { 200_000 } else { 500 }
}

async fn post(system: &System, path: &str, body: Value) -> Answer {
    let path = format!("/v1/dead-letters/{path}");
    system
        .api
        .ask_patiently("POST", &path, "", Some(body.to_string()))
        .await
}

async fn bus_of(system: &System) -> Bus {
    let config = BusConfig {
        addresses: vec![system.vhost.url()],
        role: "test".to_owned(),
        ..BusConfig::default()
    };
    let bus = Bus::start(config, CancellationToken::new()).expect("the address can be read");
    bus.ready().await;
    bus
}

/// Publishes so many, again where nobody knows: the same id is the same message.
async fn publish(bus: &Bus, exchange: &'static str, key: &str, bodies: Vec<Vec<u8>>) {
    let of = |body: Vec<u8>| {
        let id = MessageId(Uuid::now_v7());
        Outgoing::json(exchange, key, "start@1", id, body, 0)
    };
    let mut rest: Vec<Outgoing> = bodies.into_iter().map(of).collect();
    while !rest.is_empty() {
        let after = rest.split_off(rest.len().min(BATCH));
        let mut some = rest;
        while !some.is_empty() {
            let sent = bus.publisher().publish(some.clone()).await;
            let open = some.into_iter().zip(sent);
            some = open
                .filter(|(_, sent)| *sent != Sent::Confirmed)
                .map(|(one, _)| one)
                .collect();
        }
        rest = after;
    }
}

fn per_second(n: usize, took: Duration) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a figure for people"
    )]
    let rate = (n as f64 / took.as_secs_f64()) as u64;
    rate
}

/// What the broker does by itself: so many published and confirmed, then consumed and acknowledged.
async fn raw(system: &System, bus: &Bus) -> (u64, u64) {
    let n = count().min(20_000);
    system.vhost.declare("raw", "quorum").await;
    let name = system.vhost.name();
    let path = format!("/api/bindings/{name}/e/amq.direct/q/raw");
    let management = system.vhost.management();
    management
        .post(&path, &json!({ "routing_key": "raw" }))
        .await;
    let began = Instant::now();
    publish(bus, "amq.direct", "raw", vec![b"{}".to_vec(); n]).await;
    let published = per_second(n, began.elapsed());
    let began = Instant::now();
    let mut consumer = bus
        .consume(ConsumeSpec {
            queue: "raw".to_owned(),
            prefetch: 32,
            exclusive_queue: None,
            consumer_tag: "raw".to_owned(),
        })
        .await;
    let mut taken = 0;
    while taken < n {
        let batch = consumer.next_batch(32, Duration::ZERO).await.expect("more");
        taken += batch.len();
        let tag = batch.last().expect("one at least").tag;
        consumer.ack_until(&tag).await.expect("it is there");
    }
    consumer.give_back().await;
    (published, per_second(n, began.elapsed()))
}

async fn found(system: &System) -> u64 {
    let body = json!({ "dry_run": true, "filter": { "definition": DEFINITION } });
    let plan = post(system, "replays", body).await;
    plan.body["plan"]["found"].as_u64().unwrap_or_default()
}

async fn operation(system: &System, id: &str) -> Value {
    let path = format!("/v1/dead-letters/operations/{id}");
    system.api.get(&path).await
}

async fn many_are_taken_in_and_replayed(setup: Setup) {
    let count = count();
    let mut system = setup.start().await;
    system.await_served("test.effect@1").await;
    let bus = bus_of(&system).await;
    let (published, consumed) = raw(&system, &bus).await;

    let bodies = (0..count).map(|n| {
        let start = json!({ "start@1": {
            "id": Uuid::new_v4(), "saga": Uuid::new_v4(), "definition": DEFINITION, "input": { "name": format!("v{n}") }, "by": "elsewhere",
        } });
        start.to_string().into_bytes()
    });
    let began = Instant::now();
    let bodies: Vec<Vec<u8>> = bodies.collect();
    let publishing = publish(&bus, "baton.inbox", "00", bodies);
    let killing = async {
        let enough = async || found(&system).await > count as u64 / 4;
        await_until("some to be taken in", LIMIT, enough).await;
    };
    tokio::join!(publishing, killing);
    system.orchestrator().kill9_and_start();
    system.broker.kill9();
    system.broker.start().await;
    await_until("all of them to be dead letters", LIMIT, async || {
        found(&system).await == count as u64
    })
    .await;
    let taken_in = per_second(count, began.elapsed());

    // a start alone, or several that were sent on together: few groups, whatever they are
    let groups = system.api.get("/v1/dead-letters/groups").await;
    let groups = groups["groups"].as_array().expect("groups").clone();
    let dead: u64 = groups.iter().filter_map(|one| one["dead"].as_u64()).sum();
    assert!(groups.len() <= 2 && dead == count as u64, "{groups:?}");
    let one = system
        .api
        .get("/v1/dead-letters?definition=volume&limit=1&state=dead")
        .await;
    assert_eq!(
        one["dead_letters"].as_array().map(Vec::len),
        Some(1),
        "{one}"
    );

    system
        .apply(&[&Saga::named(DEFINITION).effect("a", "")])
        .await;
    let began = Instant::now();
    // two operators at the same moment: each letter is sent by one of them
    let ask = |by: &str| json!({ "reason": "registered now", "rate": 1_000, "by": by, "filter": { "definition": DEFINITION } });
    let (a, b) = tokio::join!(
        post(&system, "replays", ask("ann")),
        post(&system, "replays", ask("ben"))
    );
    let ids: Vec<String> = [a, b]
        .iter()
        .map(|answer| {
            answer.body["operation"]["id"]
                .as_str()
                .expect("an id")
                .to_owned()
        })
        .collect();
    let resolved = async |system: &System| {
        let mut sum = 0;
        for id in &ids {
            sum += operation(system, id).await["resolved"]
                .as_u64()
                .unwrap_or_default();
        }
        sum
    };
    for (share, kills_broker) in [(4, false), (2, true)] {
        let enough = async || resolved(&system).await > count as u64 / share / 2;
        await_until("some to be done", LIMIT, enough).await;
        if kills_broker {
            system.broker.kill9();
            system.broker.start().await;
        } else {
            system.orchestrator().kill9_and_start();
        }
    }
    for id in &ids {
        let done = await_some("an operation to be done", LIMIT, async || {
            let now = operation(&system, id).await;
            assert_ne!(now["state"], "stopped", "{now}");
            (now["state"] == "done").then_some(now)
        })
        .await;
        assert_eq!(
            (&done["failed"], &done["refused"]),
            (&json!(0), &json!(0)),
            "{done}"
        );
    }
    let replayed = per_second(count, began.elapsed());
    assert_eq!(resolved(&system).await, count as u64, "each by one of them");

    let names: Vec<String> = (0..count).map(|n| format!("v{n}-a")).collect();
    await_until("every saga to do its work", LIMIT, async || {
        let book = Book::of(&system.ledger).await;
        names.iter().all(|name| book.ever_done(name).is_some())
    })
    .await;
    let book = Book::of(&system.ledger).await;
    for name in &names {
        assert_eq!(book.not_done_once(name), None, "{name}");
    }
    #[expect(clippy::print_stdout, reason = "figures for who measures")]
    {
        println!(
            "{count} letters, killed four times: taken in {taken_in}/s, replayed {replayed}/s of at most 2000/s by two operators; the broker alone: published {published}/s, consumed {consumed}/s"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_own_broker_and_orchestrator_and_each_of_many_letters_is_once_in_effect() {
    many_are_taken_in_and_replayed(Setup::workers(2).own_broker()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_kill_own_broker_and_orchestrator_and_each_of_many_letters_is_once_in_effect() {
    many_are_taken_in_and_replayed(Setup::workers(2).own_broker().postgres()).await;
}
