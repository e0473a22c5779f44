//! Who sends what to which exchange and takes what from which queue: the one table, and its form in the document.

use baton_messages::topology::{CONTROL, DEAD, EVENTS, FLEET, INBOX, TASKS, TRIGGERS, UNROUTABLE};
use serde_json::{Map, Value, json};

use super::BINDING;
use super::messages::{DEAD_LETTER, RETURNED};

/// Where an operation happens.
#[derive(Clone, Copy)]
pub(super) enum At {
    Exchange(&'static str),
    Queue(&'static str),
}

/// Who does what: role, place, kinds.
pub(super) struct Operation {
    role: &'static str,
    pub(super) at: At,
    pub(super) kinds: &'static [&'static str],
    summary: &'static str,
}

const fn operation(
    role: &'static str,
    at: At,
    kinds: &'static [&'static str],
    summary: &'static str,
) -> Operation {
    Operation {
        role,
        at,
        kinds,
        summary,
    }
}

const TASKS_TAKEN: &[&str] = &["task@1", "tasks@1"];
const REPORTS: &[&str] = &["started@1", "checkpoint@1", "finished@1", "batch@1"];
const HINTS: &[&str] = &["grant@1", "cancel@1", "drain@1", "roll-call@1"];
const SAGAS_ARE_TOLD: &[&str] = &[
    "started@1",
    "checkpoint@1",
    "finished@1",
    "start@1",
    "marker@1",
    "batch@1",
    "starts@1",
    "child-wanted@1",
    "child-said@1",
];
const FLEET_SAYS: &[&str] = &["announcement@1", "heartbeat@1", "leaving@1", "canary@1"];

/// Everything anybody does on the bus.
pub(super) const OPERATIONS: &[Operation] = &[
    operation(
        "event-source",
        At::Exchange(EVENTS),
        &["event"],
        "Any service says what happened; the routing key is the event's type.",
    ),
    operation(
        "orchestrator",
        At::Exchange(EVENTS),
        &["event"],
        "A saga emits an event.",
    ),
    operation(
        "orchestrator",
        At::Queue(TRIGGERS),
        &["event"],
        "Events are stored once, then matched against triggers and waits.",
    ),
    operation(
        "orchestrator",
        At::Exchange(TASKS),
        TASKS_TAKEN,
        "One attempt of a step is offered to the workers of a pool.",
    ),
    operation(
        "worker",
        At::Queue("baton.task"),
        TASKS_TAKEN,
        "A worker takes tasks of the types it serves, one permit for each.",
    ),
    operation(
        "worker",
        At::Exchange(INBOX),
        REPORTS,
        "A worker reports; the routing key is the `inbox` of the task.",
    ),
    operation(
        "orchestrator",
        At::Exchange(INBOX),
        &[
            "start@1",
            "starts@1",
            "marker@1",
            "child-wanted@1",
            "child-said@1",
        ],
        "An orchestrator, or a service, asks for sagas; an orchestrator forwards what is another partition's, sends its marker, or tells one saga what another wants of it, or how it stands.",
    ),
    operation(
        "orchestrator",
        At::Queue(INBOX),
        SAGAS_ARE_TOLD,
        "The owner of a partition takes a batch, commits what it causes, then acknowledges.",
    ),
    operation(
        "orchestrator",
        At::Exchange(CONTROL),
        HINTS,
        "A claim is answered, a worker is given a hint, or all are asked to announce themselves.",
    ),
    operation(
        "worker",
        At::Queue(CONTROL),
        HINTS,
        "A worker hears what concerns it.",
    ),
    operation(
        "worker",
        At::Exchange(FLEET),
        &["announcement@1", "heartbeat@1", "leaving@1"],
        "A worker makes itself known.",
    ),
    operation(
        "orchestrator",
        At::Exchange(FLEET),
        &["canary@1"],
        "An orchestrator makes sure that it hears.",
    ),
    operation(
        "orchestrator",
        At::Queue(FLEET),
        FLEET_SAYS,
        "Every orchestrator hears the whole fleet.",
    ),
    operation(
        "worker",
        At::Exchange(DEAD),
        &[DEAD_LETTER],
        "A worker parks what it cannot use: body untouched, the reason in headers.",
    ),
    operation(
        "orchestrator",
        At::Exchange(DEAD),
        &[DEAD_LETTER],
        "An orchestrator parks what it cannot use: body untouched, the reason in headers.",
    ),
    operation(
        "orchestrator",
        At::Queue(DEAD),
        &[DEAD_LETTER],
        "Dead letters are taken into the store, byte for byte.",
    ),
    operation(
        "orchestrator",
        At::Queue(UNROUTABLE),
        &[RETURNED],
        "What had nowhere to go is an alarm.",
    ),
];

impl At {
    const fn name(self) -> &'static str {
        match self {
            Self::Exchange(name) | Self::Queue(name) => name,
        }
    }

    const fn action(self) -> &'static str {
        match self {
            Self::Exchange(_) => "send",
            Self::Queue(_) => "receive",
        }
    }

    /// The channel's key in the document.
    pub(super) fn channel(self) -> String {
        match self {
            Self::Exchange(name) => format!("exchange.{name}"),
            Self::Queue(name) => format!("queue.{name}"),
        }
    }
}

pub(super) fn operations() -> Value {
    let all: Map<String, Value> = OPERATIONS
        .iter()
        .map(|operation| {
            let (at, channel) = (operation.at, operation.at.channel());
            let messages: Vec<Value> = operation
                .kinds
                .iter()
                .map(|kind| json!({ "$ref": format!("#/channels/{channel}/messages/{kind}") }))
                .collect();
            let binding = match at {
                // Said to whoever hears it now: neither kept nor missed.
                At::Exchange(CONTROL | FLEET) => {
                    json!({ "deliveryMode": 1, "mandatory": false, "timestamp": true, "bindingVersion": BINDING })
                }
                At::Exchange(_) => {
                    json!({ "deliveryMode": 2, "mandatory": true, "timestamp": true, "bindingVersion": BINDING })
                }
                At::Queue(_) => json!({ "ack": true, "bindingVersion": BINDING }),
            };
            let id = format!("{}.{}.{}", operation.role, at.action(), at.name());
            let body = json!({
                "action": at.action(),
                "channel": { "$ref": format!("#/channels/{channel}") },
                "summary": operation.summary,
                "tags": [{ "name": operation.role }],
                "messages": messages,
                "bindings": { "amqp": binding },
            });
            (id, body)
        })
        .collect();
    all.into()
}
