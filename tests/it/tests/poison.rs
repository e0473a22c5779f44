//! A report over which the orchestrator dies each time it works on it takes nothing with it: neither its batch, nor what was in hand with it.

use std::path::Path;
use std::time::Duration;

use baton_it::{SOON, Setup, System};
use serde_json::{Value, json};

/// A commit that takes longer is the poison at work, even on a busy machine.
const STUCK: Duration = Duration::from_secs(2);
/// More deaths than it may take until the poison is put aside.
const DEATHS_MAX: u32 = 14;
/// Nobody has to do them: what is reported is reported by hand.
const ONE: &str = "saga: one
version: 1
input: { type: object, properties: { name: { type: string }, dir: { type: string } } }
steps:
  - id: a
    task: test.echo@1
    timeout: 10m
    queue_timeout: 10m
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_by_one_report_of_a_batch_and_only_that_report_is_put_aside() {
    let mut system = Setup::workers(1).start().await;
    system.await_served("test.echo@1").await;
    system.api.apply(ONE).await;
    system.workers[0].kill9();
    let mut sagas = Vec::new();
    for name in ["before", "poison", "after", "behind", "last"] {
        let id = system.run("one", name).await;
        system.api.await_phase(&id, "a", "trying").await;
        let report = finished(&id, &system.api.saga(&id).await);
        sagas.push((id, report));
    }
    system.orchestrator().process.kill9();
    let database = system.data_dir().join("baton.db");
    plant(&database, &sagas[1].0);
    let reports: Vec<&Value> = sagas.iter().map(|(_, report)| report).collect();
    let batch = json!({ "batch@1": { "reports": &reports[..3] } }).to_string();
    publish(&system, "together", &batch).await;
    publish(&system, "alone-1", &reports[3].to_string()).await;
    publish(&system, "alone-2", &reports[4].to_string()).await;

    let deaths = deaths_until_it_is_put_aside(&mut system, &database).await;
    assert!(deaths > 5, "it was killed by the poison: {deaths} deaths");
    for (number, (id, _)) in sagas.iter().enumerate() {
        if number != 1 {
            system.api.await_status(id, "completed", SOON).await;
        }
    }
    let letters = system.api.dead_letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    let letter = &letters[0];
    assert_eq!(letter["reason"], "delivered-too-often", "{letter}");
    assert_eq!(letter["saga"], sagas[1].0, "{letter}");
    assert_eq!(letter["message_id"], "together.2", "{letter}");
    let body: Value = serde_json::from_str(letter["body"].as_str().expect("it is text"))
        .expect("a report as it would be alone");
    assert_eq!(body, sagas[1].1);
    assert_eq!(system.api.status(&sagas[1].0).await, "running");
    system
        .vhost
        .await_messages("baton.inbox.00", 0, 0, SOON)
        .await;
    assert_eq!(system.api.dead_letters().await.len(), 1);
}

/// Starts the orchestrator, and kills it whenever it is stuck over the poison; how often that was until it was put aside.
async fn deaths_until_it_is_put_aside(system: &mut System, database: &Path) -> u32 {
    system.orchestrator().process.start_again();
    for deaths in 0..DEATHS_MAX {
        loop {
            let database = database.to_owned();
            let stuck = tokio::task::spawn_blocking(move || is_stuck(&database));
            if stuck.await.expect("the database can be asked") {
                break;
            }
            if is_put_aside(system).await {
                return deaths;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        system.orchestrator().kill9_and_start();
    }
    panic!("it died {DEATHS_MAX} times and still works on the poison");
}

async fn is_put_aside(system: &System) -> bool {
    let answer = system.api.ask("GET", "/v1/dead-letters", "", None).await;
    let letters = answer.and_then(|answer| answer.body["dead_letters"].as_array().cloned());
    letters.is_some_and(|letters| !letters.is_empty())
}

/// Whether somebody holds the database for longer than any commit takes.
fn is_stuck(database: &Path) -> bool {
    let it = rusqlite::Connection::open(database).expect("the database can be opened");
    it.busy_timeout(STUCK).expect("it can wait");
    it.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err()
}

/// From now on whoever commits a report of this saga never comes to the end of it.
fn plant(database: &Path, saga: &str) {
    let id = saga.replace('-', "");
    let it = rusqlite::Connection::open(database).expect("the database can be opened");
    let planted = it.execute_batch(&format!(
        "CREATE VIEW endless AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n;
         CREATE TRIGGER poison AFTER INSERT ON records
         WHEN NEW.saga = (SELECT number FROM sagas WHERE id = x'{id}') AND NEW.entry LIKE '%reported%'
         BEGIN SELECT count(*) FROM endless; END;"
    ));
    planted.expect("the poison can be planted");
}

async fn publish(system: &System, id: &str, body: &str) {
    let properties = json!({ "message_id": id, "delivery_mode": 2 });
    let routed = system
        .vhost
        .publish("baton.inbox", "00", properties, body)
        .await;
    assert!(routed, "the inbox is bound");
}

/// A worker's word that the only step is done.
fn finished(id: &str, saga: &Value) -> Value {
    let dispatch = &saga["steps"][0]["attempts"][0]["dispatch"];
    json!({ "finished@1": {
        "of": { "saga": id, "step": "a", "direction": "do", "round": 1, "attempt": 1, "dispatch": dispatch },
        "run": uuid::Uuid::new_v4(), "worker": "by-hand", "started": true, "sole": true,
        "result": { "succeeded": { "output": { "value": null } } }, "started_at": 1, "finished_at": 2,
    }})
}
