//! Dead letters as alerts: what comes after somebody has seen a group, groups among very many, and a group that is of alerts' own sagas in part.

use futures::StreamExt as _;

use super::kinds::is_heard;
use super::*;

/// Groups there are at once: more than one page of them.
const GROUPS: usize = 520;

/// Who has seen a group has not seen the letter that comes afterwards: it is said, and the group is nobody's again.
#[tokio::test]
async fn a_letter_that_comes_after_its_group_was_seen_is_said() {
    let setup = looking(Setup::workers(0)).orchestrator("alerts.again_min", "0");
    let system = setup.start().await;
    system.api.apply(&hears(SLEEPS)).await;
    dead(&system, "odd").await;
    let open = alert(&system, "dead-letter", "open").await;
    let (id, key) = (open["id"].as_str().unwrap(), open["key"].as_str().unwrap());
    await_heard(&system, "opened", 1).await;
    let cli = system.cli();
    let seen = ["alerts", "ack", &id[..8], "-m", "on it"];
    cli.run(&seen).await.exits(0);
    looked(&system, "seen").await;
    assert_eq!(heard_of(&system, key).await, ["opened"]);
    dead(&system, "odd").await;
    is_heard(&system, key, &["opened", "repeated"]).await;
    let open = alerts(&system, "open").await;
    let now = open.iter().find(|one| one["key"] == key).unwrap();
    assert_eq!(now["acknowledged"], Value::Null, "{now}");
    assert_eq!(now["data"]["dead"], 2, "{now}");
    cli.run(&seen).await.exits(0);
    looked(&system, "again").await;
    assert_eq!(heard_of(&system, key).await, ["opened", "repeated"]);
}

/// However many groups there are, each is looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_group_lies_behind_others() {
    let system = looking(Setup::workers(0)).start().await;
    let kinds = ('a'..='z').flat_map(|a| ('a'..='z').map(move |b| format!("kind-{a}{b}")));
    let kinds: Vec<String> = kinds.take(GROUPS).collect();
    futures::stream::iter(kinds)
        .for_each_concurrent(16, |kind| {
            let system = &system;
            async move { dead(system, &kind).await }
        })
        .await;
    await_until("every group to be seen", SOON, async || {
        let open = alerts(&system, "open").await;
        let storm = open.iter().find(|one| one["kind"] == "storm");
        storm.is_some_and(|storm| {
            storm["data"] == json!({ "kind": "dead-letter", "beyond": GROUPS - 50 })
        })
    })
    .await;
}

/// A letter of an alert's event silences none of another that lies in the same group.
#[tokio::test]
async fn a_group_is_silent_only_where_all_of_it_is_of_alerts() {
    let mut system = looking(Setup::workers(0)).start().await;
    system.end_orchestrator();
    let vhost = &system.vhost;
    let path = format!("/api/exchanges/{}/amq.default/publish", vhost.name());
    // the newest is what an alert published
    for key in ["order.placed", "dev.baton.alert.opened"] {
        let headers = json!({
            "baton-dead-reason": "other", "baton-dead-error": "nobody wants it", "baton-dead-queue": "orders", "baton-dead-exchange": "amq.topic",
            "baton-dead-key": key,
        });
        let body = json!({
            "properties": { "delivery_mode": 2, "message_id": uuid::Uuid::new_v4(), "headers": headers }, "routing_key": "baton.dead",
            "payload": "no JSON", "payload_encoding": "string",
        });
        let put = vhost.management().post(&path, &body).await;
        assert_eq!(put["routed"], true);
    }
    system.orchestrator().wait_alive_in(SOON).await;
    system.await_ready().await;
    await_until("both to be one alert that is said", SOON, async || {
        let open = alerts(&system, "open").await;
        let mut letters = open.iter().filter(|one| one["kind"] == "dead-letter");
        letters.any(|one| one["data"]["dead"] == 2 && one["silent"] == false)
    })
    .await;
    assert_eq!(alerts(&system, "open").await.len(), 1);
}

/// A consumer of another system rejects the next message of its queue, once it is there.
async fn rejected(system: &System) {
    let path = format!("/api/queues/{}/orders/get", system.vhost.name());
    let body = json!({ "count": 1, "ackmode": "reject_requeue_false", "encoding": "auto" });
    await_until("a message to be rejected", SOON, async || {
        let got = system.vhost.management().post(&path, &body).await;
        got.as_array().map(Vec::len) == Some(1)
    })
    .await;
}

/// What a replay of many sent back fails again: it stops, and somebody is told until he has seen to it.
#[tokio::test]
async fn a_replay_that_stops_by_itself_is_an_alert_until_somebody_sees_to_it() {
    let system = looking(Setup::workers(0)).start().await;
    system.api.apply(&hears(SLEEPS)).await;
    let vhost = &system.vhost;
    vhost.declare("orders", "quorum").await;
    let dies = json!({ "dead-letter-exchange": "baton.dead" });
    vhost.policy("orders", "^orders$", dies).await;
    let path = format!("/api/exchanges/{}/amq.default/publish", vhost.name());
    for n in 0..3 {
        let body = json!({
            "properties": { "delivery_mode": 2, "message_id": format!("order {n}") }, "routing_key": "orders", "payload": "an order",
            "payload_encoding": "string",
        });
        let put = vhost.management().post(&path, &body).await;
        assert_eq!(put["routed"], true);
        rejected(&system).await;
    }
    await_until("the orders to be dead", SOON, async || {
        let letters = system.api.get("/v1/dead-letters?state=dead").await;
        letters["dead_letters"].as_array().map(Vec::len) == Some(3)
    })
    .await;
    let body = json!({ "reason": "try", "wait_s": 30 }).to_string();
    let path = "/v1/dead-letters/replays";
    let begun = system.api.ask("POST", path, "", Some(body)).await.unwrap();
    let id = begun.body["operation"]["id"].as_str().unwrap();
    rejected(&system).await;
    let stopped = alert(&system, "replay-stopped", "open").await;
    assert_eq!(stopped["key"], format!("replay-stopped/{id}"), "{stopped}");
    let command = stopped["command"].as_str().unwrap();
    assert_eq!(command, format!("baton dead ops show {id}"));
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let shown = system.cli().run(&words).await.exits(0);
    assert!(shown.out.contains("stopped"), "{}", shown.out);
    let figure = "baton_orchestrator_dead_operations{state=\"stopped\"}";
    await_until("it to be counted", SOON, async || {
        system.api.figure(figure).await == Some(1)
    })
    .await;
    let key = stopped["key"].as_str().unwrap();
    is_heard(&system, key, &["opened"]).await;
    let path = format!("/v1/dead-letters/operations/{id}/cancel");
    let body = json!({ "reason": "not today" }).to_string();
    let ended = system.api.ask("POST", &path, "", Some(body)).await.unwrap();
    assert_eq!(ended.body["state"], "cancelled", "{ended:?}");
    is_heard(&system, key, &["opened", "resolved"]).await;
}
