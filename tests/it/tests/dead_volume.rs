//! Many dead letters: taken in, grouped, filtered and replayed at a rate behind a canary, with orchestrator and broker killed in between. Whoever keeps the book of effects knows nothing of
//! letters, and finds each once. How many a second that is stands beside what the broker does by itself in the same run. `BATON_LONG=1` makes it two hundred thousand,
//! `BATON_LETTERS=100000` as many as it says.

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
    let asked = std::env::var("BATON_LETTERS").ok();
    match asked.and_then(|asked| asked.parse().ok()) {
        Some(asked) => asked,
        None if baton_it::long() => 200_000,
        None => 600,
    }
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

/// How many there are, counted and not looked at one by one: whoever measures must not be the load.
async fn found(system: &System) -> u64 {
    let body = json!({ "dry_run": true, "filter": { "definition": DEFINITION } });
    let counted = post(system, "discards", body).await;
    counted.body["found"].as_u64().unwrap_or_default()
}

async fn operation(system: &System, id: &str) -> Value {
    let path = format!("/v1/dead-letters/operations/{id}");
    system.api.get(&path).await
}

/// One that asks for a saga; without a name it fits the definition no more than before.
fn letter(n: usize, named: bool) -> Vec<u8> {
    let input = if named {
        json!({ "name": format!("v{n}") })
    } else {
        json!({ "nobody": n })
    };
    let start = json!({ "start@1": {
        "id": Uuid::new_v4(), "saga": Uuid::new_v4(), "definition": DEFINITION, "input": input, "by": "elsewhere",
    } });
    start.to_string().into_bytes()
}

/// Publishes parts of them until some are taken in and some are not; says how many were published by then.
async fn in_the_middle(
    system: &System,
    bus: &Bus,
    rest: &mut Vec<Vec<u8>>,
    published: &mut usize,
) -> u64 {
    let part = (count() / 10).max(1);
    let taken_before = found(system).await;
    loop {
        let some: Vec<_> = rest.drain(..part.min(rest.len())).collect();
        assert!(
            !some.is_empty(),
            "all of them were taken in before anything was killed"
        );
        *published += some.len();
        publish(bus, "baton.inbox", "00", some).await;
        let now = await_some("some to be taken in", LIMIT, async || {
            let now = found(system).await;
            (now > taken_before).then_some(now)
        })
        .await;
        if now < *published as u64 {
            return now;
        }
    }
}

/// All that were sent back by these operations, and whether one of them has more to do.
async fn stands(system: &System, ids: &[String]) -> (u64, bool) {
    let (mut known, mut runs) = (0, false);
    for id in ids {
        let now = operation(system, id).await;
        let of = |what: &str| now[what].as_u64().unwrap_or_default();
        known += of("resolved") + of("failed");
        runs |= now["state"] == "running";
    }
    (known, runs)
}

async fn many_are_taken_in_and_replayed(setup: Setup) {
    let count = count();
    // in the middle, so that no stage of a canary has many of them
    let fails = |n: usize| n % 100 == 50 && n > count / 4 && n < count * 3 / 4;
    let failing = (0..count).filter(|n| fails(*n)).count() as u64;
    assert!(failing > 0);
    let mut system = setup.start().await;
    system.await_served("test.effect@1").await;
    let bus = bus_of(&system).await;
    let (published, consumed) = raw(&system, &bus).await;

    let mut rest: Vec<Vec<u8>> = (0..count).map(|n| letter(n, !fails(n))).collect();
    let (began, mut sent) = (Instant::now(), 0);
    let taken = in_the_middle(&system, &bus, &mut rest, &mut sent).await;
    assert!(taken < sent as u64, "{taken} of {sent}");
    system.orchestrator().kill9_and_start();
    system.orchestrator().wait_alive_in(LIMIT).await;
    let taken = in_the_middle(&system, &bus, &mut rest, &mut sent).await;
    assert!(taken < sent as u64, "{taken} of {sent}");
    let publishing = publish(&bus, "baton.inbox", "00", rest);
    let killing = async {
        system.broker.kill9();
        system.broker.start().await;
    };
    tokio::join!(publishing, killing);
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
    let page = "/v1/dead-letters?definition=volume&limit=1&state=dead";
    let one = system.api.get(page).await;
    let one = one["dead_letters"].as_array().map(Vec::len);
    assert_eq!(one, Some(1));

    system
        .apply(&[&Saga::named(DEFINITION).effect("a", "")])
        .await;
    let began = Instant::now();
    // two operators at the same moment, one of them by the largest group: each letter is sent by one of them
    let rate = (count / 10).clamp(1, 1_000);
    let ask = |by: &str, filter: Value| json!({ "reason": "registered now", "rate": rate, "by": by, "stop_at": 50, "filter": filter });
    let ann = ask("ann", json!({ "definition": DEFINITION }));
    let ben = ask("ben", json!({ "group": groups[0]["group"] }));
    let (a, b) = tokio::join!(post(&system, "replays", ann), post(&system, "replays", ben));
    let id = |answer: &Answer| answer.body["operation"]["id"].as_str().map(str::to_owned);
    let ids: Vec<String> = [a, b].iter().filter_map(id).collect();
    assert_eq!(ids.len(), 2);
    for (share, kills_broker) in [(8, false), (4, true)] {
        let (known, runs) = await_some("some to be done", LIMIT, async || {
            let (known, runs) = stands(&system, &ids).await;
            (known > count as u64 / share).then_some((known, runs))
        })
        .await;
        assert!(runs && known < count as u64, "{known} of {count}: too late");
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
        assert_eq!(done["refused"], 0, "{done}");
    }
    let replayed = per_second(count, began.elapsed());
    let mut sums = (0, 0);
    for id in &ids {
        let now = operation(&system, id).await;
        let of = |what: &str| now[what].as_u64().unwrap_or_default();
        assert!(of("resolved") > 0, "the other has sent all of them: {now}");
        sums.0 += of("resolved");
        sums.1 += of("failed");
    }
    assert_eq!(
        sums,
        (count as u64 - failing, failing),
        "each by one of them"
    );
    let page = "/v1/dead-letters?definition=volume&limit=100&state=dead";
    let dead = system.api.get(page).await;
    let dead = dead["dead_letters"].as_array().expect("letters").len() as u64;
    assert_eq!(dead, failing.min(100), "what fails again is dead again");

    let names: Vec<String> = (0..count)
        .filter(|n| !fails(*n))
        .map(|n| format!("v{n}-a"))
        .collect();
    await_until("every saga to do its work", LIMIT, async || {
        let book = Book::of(&system.ledger).await;
        names.iter().all(|name| book.effect(name).done > 0)
    })
    .await;
    let book = Book::of(&system.ledger).await;
    for name in &names {
        assert_eq!(book.not_done_once(name), None, "{name}");
    }
    #[expect(clippy::print_stdout, reason = "figures for who measures")]
    {
        println!(
            "{count} letters, killed four times: taken in {taken_in}/s, replayed {replayed}/s of at most {}/s by two operators; the broker alone: published {published}/s, consumed {consumed}/s",
            2 * rate
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
