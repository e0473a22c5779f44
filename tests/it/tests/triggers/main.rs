//! What starts sagas by itself: events from an AMQP client that is not ours, schedules, signed requests. Each cause once, whoever dies.

mod cancels;
mod events;
mod hooks;
mod schedules;

use std::io::Write as _;
use std::process::{Command, Stdio};

use baton_bus::{Bus, BusConfig, Outgoing, Sent};
use baton_harness::await_some;
use baton_it::{SOON, System};
use baton_messages::MessageId;
use baton_messages::event::EVENT_KIND;
use baton_messages::headers::CLOUDEVENTS_JSON;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// A definition that needs no worker, with these triggers.
pub(crate) fn definition(name: &str, on: &str) -> String {
    format!(
        "saga: {name}\nversion: 1\non:\n{on}input:\n  type: object\n  required: [n]\n  properties: {{ n: {{ type: integer }} }}\nsteps:\n  - id: rest\n    sleep: 1ms\n"
    )
}

/// A definition that waits for an event about its input.
pub(crate) fn waiting(name: &str, since: &str) -> String {
    format!(
        "saga: {name}\nversion: 1\ninput:\n  type: object\n  required: [n]\n  properties: {{ n: {{ type: integer }} }}\nsteps:\n  - id: paid\n    wait: {{ event: com.example.paid, when: \"${{ event.data.n == input.n }}\", timeout: 2h{since} }}\n"
    )
}

pub(crate) fn event(id: &str, kind: &str, data: &Value) -> String {
    json!({ "specversion": "1.0", "id": id, "source": "/test", "type": kind, "data": data })
        .to_string()
}

/// Publishes with `amqp-publish` of rabbitmq-c: each line of `lines` is a message.
pub(crate) fn publish(
    system: &System,
    key: &str,
    content_type: &str,
    headers: &[&str],
    lines: &str,
) {
    let mut amqp = Command::new("amqp-publish");
    amqp.args([
        "--exchange",
        "baton.events",
        "--persistent",
        "--line-buffered",
    ])
    .args(["--url", &system.vhost.url(), "--routing-key", key])
    .args(["--content-type", content_type])
    .stdin(Stdio::piped());
    for header in headers {
        amqp.args(["--header", header]);
    }
    let mut amqp = amqp
        .spawn()
        .expect("amqp-publish is there: apt-get install amqp-tools");
    let mut input = amqp.stdin.take().expect("it has an input");
    input.write_all(lines.as_bytes()).expect("it reads");
    input.write_all(b"\n").expect("it reads");
    drop(input);
    let ended = amqp.wait().expect("it ends");
    assert!(ended.success(), "amqp-publish: {ended}");
}

/// Publishes each of these structured events and sees it confirmed. A sender that waits for no confirms, as `amqp-publish` is, loses messages
/// of a flood itself when it closes its channel: the queue hears of its end before it has taken all it sent.
pub(crate) async fn publish_confirmed(system: &System, key: &str, events: &[String]) {
    let config = BusConfig {
        addresses: vec![system.vhost.url()],
        role: "flood".to_owned(),
        ..BusConfig::default()
    };
    let bus = Bus::start(config, CancellationToken::new()).expect("the address is one");
    bus.ready().await;
    let messages = events.iter().map(|event| {
        let id = MessageId(uuid::Uuid::now_v7());
        let body = event.clone().into_bytes();
        let mut out = Outgoing::json("baton.events", key, EVENT_KIND, id, body, 0);
        out.content_type = CLOUDEVENTS_JSON.into();
        out
    });
    let sent = bus.publisher().publish(messages.collect()).await;
    let lost = sent.iter().filter(|sent| **sent != Sent::Confirmed).count();
    assert_eq!(lost, 0, "the broker has all of them");
    bus.shutdown(SOON).await;
}

pub(crate) fn structured(system: &System, id: &str, kind: &str, data: &Value) {
    let body = event(id, kind, data);
    publish(system, kind, "application/cloudevents+json", &[], &body);
}

pub(crate) async fn kept(system: &System, id: &str) -> Value {
    let path = format!("/v1/events/one?source=/test&id={id}");
    await_some(
        &format!("event {id} to be kept and done"),
        SOON,
        async || {
            let answer = system.api.ask("GET", &path, "", None).await?;
            (answer.status == 200 && answer.body["done"] == true).then_some(answer.body)
        },
    )
    .await
}

pub(crate) async fn sagas_of(system: &System, definition: &str) -> Vec<Value> {
    let all = system.api.sagas().await;
    all.into_iter()
        .filter(|saga| saga["definition"] == definition)
        .collect()
}

pub(crate) async fn nothing_left(system: &System) {
    system
        .vhost
        .await_messages("baton.triggers", 0, 0, SOON)
        .await;
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
