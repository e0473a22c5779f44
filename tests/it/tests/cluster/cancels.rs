//! An event that cancels is taken in by whoever leads, and its saga is asked wherever it is driven: each is cancelled once, whichever member was told, and however often.

use std::collections::BTreeMap;

use baton_harness::{await_some, await_until};
use baton_it::oracle::Book;
use baton_it::sagas::Saga;
use baton_it::{AFTER_A_LEASE, Api, SOON, Setup};
use serde_json::{Value, json};

use super::{Cluster, two};

/// With so many alarms some are of sagas that the leader does not drive, and some of its own.
const HOSTS: usize = 16;

/// Started by an alarm of a host, and cancelled when that is over.
const ON: &str = "on:
  - event: com.example.alarm
    when: ${ event.data.status == \"firing\" }
    input: { name: \"${ event.data.host }\" }
    key: ${ event.data.host }
    window: 1h
  - event: com.example.alarm
    when: ${ event.data.status == \"resolved\" }
    key: ${ event.data.host }
    cancel: the alarm is over
";

fn treats() -> Saga {
    Saga::named("treat")
        .effect("a", "")
        .step("  - id: held\n    wait: { event: com.example.on, timeout: 2h }\n")
        .effect("b", "")
        .step(ON)
}

/// Says that an alarm of a host has begun, or is over.
async fn says(api: &Api, host: usize, status: &str) {
    let data = json!({ "host": format!("h{host}"), "status": status });
    let event = json!({ "specversion": "1.0", "id": format!("{status}-{host}"), "source": "/alarms",
        "type": "com.example.alarm", "data": data });
    api.publish(&event).await;
}

/// What came of it, at whoever is asked.
async fn came_of(api: &Api, host: usize, status: &str) -> Value {
    let path = format!("/v1/events/one?source=/alarms&id={status}-{host}");
    let what = format!("the alarm of h{host} to be taken in as {status}");
    let shown = await_some(&what, AFTER_A_LEASE, async || {
        let answer = api.ask("GET", &path, "", None).await?;
        (answer.status == 200 && answer.body["done"] == true).then_some(answer.body)
    })
    .await;
    let effects = shown["effects"].as_array().cloned().unwrap_or_default();
    assert_eq!(effects.len(), 1, "{shown}");
    effects[0].clone()
}

/// Whether a saga is driven by whoever leads.
async fn is_the_leaders(cluster: &Cluster, saga: &str) -> bool {
    let client = cluster.system.database().client().await;
    let sql = "SELECT p.owner = (SELECT owner FROM partitions WHERE id = 0) FROM sagas s
        JOIN partitions p ON p.id = s.partition WHERE s.id = $1";
    let saga: uuid::Uuid = saga.parse().expect("a saga has a UUID");
    let row = client.query_one(sql, &[&saga]).await;
    row.expect("the database answers").get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_event_cancels_is_cancelled_once_whoever_drives_it() {
    let cluster = two(Setup::workers(2).postgres()).await;
    let [one, other] = cluster.apis();
    other.apply(treats().yaml()).await;
    let vhost = &cluster.system.vhost;
    let bindings = format!(
        "/api/bindings/{}/e/baton.events/q/baton.triggers",
        vhost.name()
    );
    await_until("alarms to come to the triggers", SOON, async || {
        let bound = vhost.management().get(&bindings).await;
        let mut bound = bound.as_array().into_iter().flatten();
        bound.any(|one| one["routing_key"] == "com.example.alarm")
    })
    .await;
    let mut sagas = BTreeMap::new();
    for host in 0..HOSTS {
        says(cluster.apis()[host % 2], host, "firing").await;
        let started = came_of(one, host, "firing").await;
        assert_eq!(started["what"], "started", "{started}");
        let saga = started["saga"].as_str().expect("it started one").to_owned();
        sagas.insert(host, saga);
    }
    let mut of_leader = 0;
    for saga in sagas.values() {
        one.await_phase(saga, "held", "listening").await;
        of_leader += usize::from(is_the_leaders(&cluster, saga).await);
    }
    assert!(
        (1..HOSTS).contains(&of_leader),
        "{of_leader} of {HOSTS} are the leader's: nothing is shown of the others"
    );
    for host in 0..HOSTS {
        // at both, and once more: it is one event
        for api in [one, other, one] {
            says(api, host, "resolved").await;
        }
    }
    for (host, saga) in &sagas {
        let asked = came_of(other, *host, "resolved").await;
        assert_eq!(asked["what"], "asked-to-cancel", "{asked}");
        assert_eq!(asked["saga"], saga.as_str(), "{asked}");
        other.await_status(saga, "compensated", SOON).await;
        let records = one.records(saga).await;
        let cancels = records.matches("\"action\":\"cancel\"").count();
        assert_eq!(cancels, 1, "{records}");
    }
    let book = Book::of(&cluster.system.ledger).await;
    for host in 0..HOSTS {
        assert_eq!(book.not_taken_back(&format!("h{host}-a")), None);
        assert_eq!(book.ever_done(&format!("h{host}-b")), None);
    }
    assert_eq!(one.dead_letters().await, Vec::<Value>::new());
}
