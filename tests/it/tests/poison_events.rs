//! An event over which the orchestrator dies each time takes no other event with it, and is put aside after a bounded number of deaths: whether
//! it dies of taking it in, or of what it causes after it was kept.

use baton_harness::await_until;
use baton_it::poison::Poison;
use baton_it::{SOON, Setup, System};
use serde_json::{Value, json};

fn definition(name: &str) -> String {
    format!(
        "saga: {name}
version: 1
on:
  - event: com.example.{name}
    input: {{}}
input: {{ type: object }}
steps:
  - id: rest
    sleep: 1ms
"
    )
}

/// On a database a commit that is stuck is not given up before its orchestrator is killed.
fn on_postgres() -> Setup {
    let setup = Setup::workers(0).postgres();
    setup.orchestrator("store.statement_timeout_ms", "600000")
}

async fn begun(setup: Setup) -> System {
    let system = setup.start().await;
    for name in ["good", "deadly"] {
        system.api.apply(&definition(name)).await;
    }
    // bound: an event reaches the queue
    await_until("events to be routed", SOON, async || {
        publish(&system, "first", "good").await
    })
    .await;
    await_until("the first to be answered", SOON, async || {
        done(&system, "first").await
    })
    .await;
    system
}

async fn publish(system: &System, id: &str, kind: &str) -> bool {
    let kind = format!("com.example.{kind}");
    let body =
        json!({ "specversion": "1.0", "id": id, "source": "/test", "type": kind, "data": {} });
    let properties = json!({ "message_id": id, "delivery_mode": 2, "content_type": "application/cloudevents+json" });
    system
        .vhost
        .publish("baton.events", &kind, properties, &body.to_string())
        .await
}

async fn done(system: &System, id: &str) -> bool {
    let path = format!("/v1/events/one?source=/test&id={id}");
    let answer = system.api.ask("GET", &path, "", None).await;
    answer.is_some_and(|answer| answer.status == 200 && answer.body["done"] == true)
}

async fn letters(system: &System) -> Vec<Value> {
    let answer = system.api.ask("GET", "/v1/dead-letters", "", None).await;
    let letters = answer.and_then(|answer| answer.body["dead_letters"].as_array().cloned());
    letters.unwrap_or_default()
}

/// All around the deadly one, in the queue at once.
async fn publish_all(system: &System) {
    for (id, kind) in [
        ("before", "good"),
        ("deadly", "deadly"),
        ("after", "good"),
        ("last", "good"),
    ] {
        assert!(publish(system, id, kind).await, "{id} is routed");
    }
}

async fn only_the_deadly_one_is_put_aside(system: &System) {
    for id in ["before", "after", "last"] {
        await_until("the others to be done", SOON, async || {
            done(system, id).await
        })
        .await;
    }
    let letters = letters(system).await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["reason"], "delivered-too-often", "{letters:?}");
    assert_eq!(letters[0]["message_id"], "deadly", "{letters:?}");
    let body: Value =
        serde_json::from_str(letters[0]["body"].as_str().expect("it is text")).expect("it is JSON");
    assert_eq!(body["id"], "deadly");
    system
        .vhost
        .await_messages("baton.triggers", 0, 0, SOON)
        .await;
}

async fn taking_an_event_in(setup: Setup) {
    let mut system = begun(setup).await;
    system.orchestrator().process.kill9();
    let poison = Poison::of_store(&system).await;
    poison
        .on_insert("events", "NEW.type = 'com.example.deadly'")
        .await;
    publish_all(&system).await;
    let is_over = async |system: &System| !letters(system).await.is_empty();
    let deaths = poison.deaths_until(&mut system, is_over).await;
    // on a database it is delivered again without a death too: when its connection ends
    let least = if system.is_on_database() { 3 } else { 6 };
    assert!(
        deaths >= least,
        "it was killed by the poison: {deaths} deaths"
    );
    only_the_deadly_one_is_put_aside(&system).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_by_taking_an_event_in_and_only_that_event_is_put_aside() {
    taking_an_event_in(Setup::workers(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_kill_by_taking_an_event_in_and_only_that_event_is_put_aside() {
    taking_an_event_in(on_postgres()).await;
}

async fn what_a_kept_event_causes(setup: Setup) {
    let mut system = begun(setup).await;
    system.orchestrator().process.kill9();
    let poison = Poison::of_store(&system).await;
    poison.on_insert("sagas", "NEW.definition = 'deadly'").await;
    publish_all(&system).await;
    let is_over = async |system: &System| !letters(system).await.is_empty();
    let deaths = poison.deaths_until(&mut system, is_over).await;
    assert!(deaths > 3, "it was killed by the poison: {deaths} deaths");
    only_the_deadly_one_is_put_aside(&system).await;
    await_until("it to be done with", SOON, async || {
        done(&system, "deadly").await
    })
    .await;
    let sagas = system.api.sagas().await;
    let of = |name: &str| {
        sagas
            .iter()
            .filter(|saga| saga["definition"] == name)
            .count()
    };
    assert_eq!((of("good"), of("deadly")), (4, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_by_what_a_kept_event_causes_and_only_that_event_is_given_up() {
    what_a_kept_event_causes(Setup::workers(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_kill_by_what_a_kept_event_causes_and_only_that_event_is_given_up() {
    what_a_kept_event_causes(on_postgres()).await;
}

/// A connection that is lost is no death: what is delivered again and again in the life of one process is under no suspicion.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_of_connections_alone_puts_no_event_aside() {
    let mut system = begun(Setup::workers(0)).await;
    let lock = rusqlite::Connection::open(system.data_dir().join("baton.db"));
    let lock = lock.expect("the database can be opened");
    // nothing is answered while nothing can be committed
    lock.execute_batch("BEGIN IMMEDIATE")
        .expect("it can be locked");
    assert!(publish(&system, "innocent", "good").await);
    for _ in 0..12 {
        let queue = "baton.triggers";
        system.vhost.await_messages(queue, 0, 1, SOON).await;
        let line = format!("consuming queue=\"{queue}\"");
        let before = system.orchestrator().process.log().matches(&line).count();
        system.proxy.cut();
        await_until("it to be consumed again", SOON, async || {
            system.orchestrator().process.log().matches(&line).count() > before
        })
        .await;
    }
    lock.execute_batch("ROLLBACK").expect("it can be unlocked");
    await_until("it to be done", SOON, async || {
        done(&system, "innocent").await
    })
    .await;
    assert_eq!(letters(&system).await, Vec::<Value>::new());
    let log = system.orchestrator().process.log();
    assert!(!log.contains("is tried alone"), "{log}");
    system
        .vhost
        .await_messages("baton.triggers", 0, 0, SOON)
        .await;
}
