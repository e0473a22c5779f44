//! Dead letters in operators' hands: edited before they go back, exported and imported, taken over from other systems, looked at and moved at the broker itself; whatever they are made of, none is lost or doubled.

mod agreed;
mod at_broker;
mod command_line;
mod edits;
mod elsewhere;
mod given_back;
mod left_over;
mod losses;
mod outcomes;
mod replays;
mod together;
mod unserved;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use baton_bus::{Bus, BusConfig, Raw, Sent};
use baton_harness::{await_some, await_until};
use baton_it::sagas::Saga;
use baton_it::{Answer, SOON, Setup, System};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

async fn letters(system: &System, query: &str, count: usize) -> Vec<Value> {
    let what = format!("{count} dead letters");
    await_some(&what, SOON, async || {
        let path = format!("/v1/dead-letters?limit=100&{query}");
        let answer = system.api.ask("GET", &path, "", None).await?;
        let letters = answer.body["dead_letters"].as_array().cloned()?;
        (letters.len() >= count).then_some(letters)
    })
    .await
}

async fn post(system: &System, path: &str, body: Value) -> Answer {
    let path = format!("/v1/dead-letters/{path}");
    let answer = system.api.ask("POST", &path, "", Some(body.to_string()));
    answer.await.expect("it answers")
}

fn id(letter: &Value) -> &str {
    letter["id"].as_str().expect("a letter has an id")
}

async fn one(system: &System, letter: &str) -> Value {
    system.api.get(&format!("/v1/dead-letters/{letter}")).await
}

/// Publishes bytes by the default exchange; what is too large for the management API by AMQP.
async fn put(system: &System, queue: &str, properties: Value, body: &[u8]) {
    let text = |name: &str| properties[name].as_str().map(str::to_owned);
    if body.len() > 1_000_000 {
        let config = BusConfig {
            addresses: vec![system.vhost.url()],
            ..BusConfig::default()
        };
        let bus = Bus::start(config, CancellationToken::new()).expect("the address can be read");
        let raw = Raw {
            key: queue.to_owned(),
            body: body.to_vec(),
            message_id: text("message_id"),
            kind: text("type"),
            ..Raw::default()
        };
        assert_eq!(bus.publisher().publish_raw(raw).await, Sent::Confirmed);
        bus.shutdown(SOON).await;
        return;
    }
    let vhost = &system.vhost;
    let path = format!("/api/exchanges/{}/amq.default/publish", vhost.name());
    let mut properties = properties;
    properties["delivery_mode"] = 2.into();
    let body = json!({ "properties": properties, "routing_key": queue, "payload": BASE64.encode(body), "payload_encoding": "base64" });
    assert_eq!(vhost.management().post(&path, &body).await["routed"], true);
}

/// All that lies in a queue, taken out of it, bodies in base64.
async fn taken(system: &System, queue: &str) -> Vec<Value> {
    let path = format!("/api/queues/{}/{queue}/get", system.vhost.name());
    let body = json!({ "count": 10_000, "ackmode": "ack_requeue_false", "encoding": "base64" });
    let got = system.vhost.management().post(&path, &body).await;
    got.as_array().expect("a list").clone()
}

/// A consumer of others rejects the next message, once it is there.
async fn rejected(system: &System, queue: &str) {
    let path = format!("/api/queues/{}/{queue}/get", system.vhost.name());
    let body = json!({ "count": 1, "ackmode": "reject_requeue_false", "encoding": "auto", "truncate": 10 });
    await_until("a message to be rejected", SOON, async || {
        let got = system.vhost.management().post(&path, &body).await;
        got.as_array().map(Vec::len) == Some(1)
    })
    .await;
}

/// Orders of another system, with a dead-letter queue of its own or with ours.
async fn orders(system: &System, dead: Value) {
    system.vhost.declare("orders", "quorum").await;
    system.vhost.policy("orders", "^orders$", dead).await;
}

fn numbers(messages: &[Value]) -> Vec<u64> {
    messages
        .iter()
        .filter_map(|message| message["properties"]["headers"]["n"].as_u64())
        .collect()
}
