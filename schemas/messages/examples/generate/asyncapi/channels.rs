//! Exchanges and queues as channels of the document, each with the messages some operation moves there.

use baton_messages::InboxKey;
use baton_messages::topology::{
    self, CONTROL, EVENTS, Exchange, ExchangeKind, FLEET, INBOX, TASKS, Topology,
};
use serde_json::{Map, Value, json};

use super::BINDING;
use super::operations::OPERATIONS;

pub(super) fn channels(topology: &Topology) -> Value {
    let exchanges = topology
        .exchanges
        .iter()
        .map(|exchange| (format!("exchange.{}", exchange.name), of_exchange(exchange)));
    // Inboxes are one channel whose address has the number in it; so are the queues that are made for a type or a process.
    let fixed = topology
        .queues
        .iter()
        .filter(|queue| queue.name != topology::inbox_queue(&InboxKey::of(0)))
        .map(|queue| (format!("queue.{}", queue.name), durable(&queue.name)));
    let made = [
        (
            "queue.baton.inbox",
            with_parameters(
                shared(&format!("{INBOX}.{{inbox}}")),
                &[(
                    "inbox",
                    "The partition's number, two digits; one consumer is served at a time.",
                )],
            ),
        ),
        (
            "queue.baton.task",
            with_parameters(
                shared("baton.task.{pool}.{type}"),
                &[
                    ("pool", "The pool of workers."),
                    ("type", "Task type with its major version."),
                ],
            ),
        ),
        (
            "queue.baton.control",
            with_parameters(
                own(&format!("{CONTROL}.{{worker}}")),
                &[("worker", "The worker's id.")],
            ),
        ),
        (
            "queue.baton.fleet",
            with_parameters(
                own(&format!("{FLEET}.{{orchestrator}}")),
                &[("orchestrator", "The orchestrator that hears.")],
            ),
        ),
    ];
    let made = made
        .into_iter()
        .map(|(id, channel)| (id.to_owned(), channel));
    let all: Map<String, Value> = exchanges.chain(fixed).chain(made).map(carrying).collect();
    all.into()
}

fn of_exchange(exchange: &Exchange) -> Value {
    let (address, parameters): (&str, &[(&str, &str)]) = match exchange.name.as_str() {
        EVENTS => ("{type}", &[("type", "The event's `type`.")]),
        TASKS => (
            "{pool}.{type}",
            &[
                ("pool", "The pool of workers."),
                ("type", "Task type with its major version."),
            ],
        ),
        INBOX => (
            "{inbox}",
            &[("inbox", "The partition's number, two digits.")],
        ),
        CONTROL => (
            "{audience}",
            &[("audience", "`worker.<worker id>`, or `all`.")],
        ),
        _ => ("", &[]),
    };
    let kind = match exchange.kind {
        ExchangeKind::Direct => "direct",
        ExchangeKind::Fanout => "fanout",
        ExchangeKind::Topic => "topic",
    };
    let channel = json!({
        "address": address,
        "title": format!("Exchange {}", exchange.name),
        "bindings": { "amqp": {
            "is": "routingKey",
            "exchange": { "name": exchange.name, "type": kind, "durable": true, "autoDelete": false },
            "bindingVersion": BINDING,
        } },
    });
    with_parameters(channel, parameters)
}

fn durable(name: &str) -> Value {
    json!({
        "address": name,
        "title": format!("Queue {name}"),
        "description": "Durable quorum queue.",
        "bindings": { "amqp": {
            "is": "queue",
            "queue": { "name": name, "durable": true, "exclusive": false, "autoDelete": false },
            "bindingVersion": BINDING,
        } },
    })
}

/// Many durable queues of one pattern: the binding names none of them.
fn shared(pattern: &str) -> Value {
    json!({
        "address": pattern,
        "title": format!("Queues {pattern}"),
        "description": "Durable quorum queues.",
        "bindings": { "amqp": {
            "is": "queue",
            "queue": { "durable": true, "exclusive": false, "autoDelete": false },
            "bindingVersion": BINDING,
        } },
    })
}

/// A queue of one process.
fn own(pattern: &str) -> Value {
    json!({
        "address": pattern,
        "title": format!("Queues {pattern}"),
        "description": "Classic queue of one process, gone with its connection.",
        "bindings": { "amqp": {
            "is": "queue",
            "queue": { "durable": false, "exclusive": true, "autoDelete": false },
            "bindingVersion": BINDING,
        } },
    })
}

fn with_parameters(mut channel: Value, parameters: &[(&str, &str)]) -> Value {
    if !parameters.is_empty() {
        channel["parameters"] = parameters
            .iter()
            .map(|(name, about)| ((*name).to_owned(), json!({ "description": about })))
            .collect::<Map<_, _>>()
            .into();
    }
    channel
}

/// Adds the messages that some operation sends or takes there.
fn carrying((id, mut channel): (String, Value)) -> (String, Value) {
    let messages: Map<String, Value> = OPERATIONS
        .iter()
        .filter(|operation| operation.at.channel() == id)
        .flat_map(|operation| operation.kinds)
        .map(|kind| {
            (
                (*kind).to_owned(),
                json!({ "$ref": format!("#/components/messages/{kind}") }),
            )
        })
        .collect();
    channel["messages"] = messages.into();
    (id, channel)
}
