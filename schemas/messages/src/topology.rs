//! Exchanges, queues, bindings and policies as data: the one definition from which the orchestrator declares, the command-line tool checks, and
//! the documents are drawn. Queue arguments are only those that no policy can set, so that no two versions of ours ever disagree on them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::names::{InboxKey, PoolName, TaskType, WorkerId};

/// `CloudEvents` from anybody and from us; key = event type.
pub const EVENTS: &str = "baton.events";
/// Tasks; key = `<pool>.<type>`.
pub const TASKS: &str = "baton.tasks";
/// All that sagas are told; key = inbox number.
pub const INBOX: &str = "baton.inbox";
/// What could not be used: exchange and queue of the same name.
pub const DEAD: &str = "baton.dead";
/// What had nowhere to go: exchange and queue of the same name.
pub const UNROUTABLE: &str = "baton.unroutable";
/// To workers: grants and hints.
pub const CONTROL: &str = "baton.control";
/// Workers announcing themselves.
pub const FLEET: &str = "baton.fleet";
/// What orchestrators ask each other; key = the name of one. No worker may use it.
pub const PEERS: &str = "baton.peers";
/// Queue of the events that triggers and waits need.
pub const TRIGGERS: &str = "baton.triggers";

/// What an exchange does with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExchangeKind {
    /// To the queues bound with exactly this key.
    Direct,
    /// To every queue.
    Fanout,
    /// To the queues whose pattern fits.
    Topic,
}

/// One durable exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// What it does with a key.
    pub kind: ExchangeKind,
}

/// One durable quorum queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Whether only one consumer is served at a time (`x-single-active-consumer`, which no policy can set).
    pub single_active_consumer: bool,
}

impl Queue {
    /// What it is declared with: only what no policy can set, so that whoever declares it, in whatever version, says the same.
    #[must_use]
    pub fn arguments(&self) -> BTreeMap<&'static str, Value> {
        let mut arguments = BTreeMap::from([("x-queue-type", json!("quorum"))]);
        if self.single_active_consumer {
            arguments.insert("x-single-active-consumer", json!(true));
        }
        arguments
    }
}

/// One binding of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Binding {
    /// From.
    pub exchange: String,
    /// To.
    pub queue: String,
    /// With.
    pub key: String,
}

/// One policy: a complete definition for a class of objects, with patterns that never overlap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Regular expression over names.
    pub pattern: String,
    /// `queues` or `exchanges`: the words every version of the broker knows.
    pub apply_to: String,
    /// What it sets.
    pub definition: BTreeMap<String, Value>,
}

/// Everything to be declared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Topology {
    /// Exchanges first.
    pub exchanges: Vec<Exchange>,
    /// Then queues.
    pub queues: Vec<Queue>,
    /// Then bindings.
    pub bindings: Vec<Binding>,
    /// Set by an administrator; what the promise needs does not lean on them.
    pub policies: Vec<Policy>,
}

/// The name of a partition's inbox queue.
#[must_use]
pub fn inbox_queue(inbox: &InboxKey) -> String {
    format!("{INBOX}.{inbox}")
}

/// The name of the queue of a task type in a pool.
#[must_use]
pub fn task_queue(pool: &PoolName, task_type: &TaskType) -> String {
    format!("baton.task.{pool}.{task_type}")
}

/// The routing key of a task on [`TASKS`].
#[must_use]
pub fn task_key(pool: &PoolName, task_type: &TaskType) -> String {
    format!("{pool}.{task_type}")
}

/// The name of a worker's own control queue (exclusive, gone with its connection).
#[must_use]
pub fn control_queue(worker: &WorkerId) -> String {
    format!("{CONTROL}.{worker}")
}

/// The routing key on [`CONTROL`] that reaches one worker.
#[must_use]
pub fn control_key(worker: &WorkerId) -> String {
    format!("worker.{worker}")
}

/// The routing key on [`CONTROL`] that reaches every worker.
pub const CONTROL_ALL: &str = "all";

/// The name of an orchestrator's own fleet queue (exclusive, gone with its connection).
#[must_use]
pub fn fleet_queue(orchestrator: &str) -> String {
    format!("{FLEET}.{orchestrator}")
}

/// The name of the queue on which one orchestrator hears the others (exclusive, gone with its connection).
#[must_use]
pub fn peers_queue(orchestrator: &str) -> String {
    format!("{PEERS}.{orchestrator}")
}

impl Topology {
    /// What is there whatever is automated: exchanges, inboxes, triggers, dead letters.
    #[must_use]
    pub fn base(inboxes: u8) -> Self {
        let exchange = |name: &str, kind| Exchange {
            name: name.into(),
            kind,
        };
        let plain = |name: &str| Queue {
            name: name.into(),
            single_active_consumer: false,
        };
        let binding = |exchange: &str, queue: &str, key: &str| Binding {
            exchange: exchange.into(),
            queue: queue.into(),
            key: key.into(),
        };
        let mut made = Self {
            exchanges: vec![
                exchange(UNROUTABLE, ExchangeKind::Fanout),
                exchange(DEAD, ExchangeKind::Fanout),
                exchange(EVENTS, ExchangeKind::Topic),
                exchange(TASKS, ExchangeKind::Direct),
                exchange(INBOX, ExchangeKind::Direct),
                exchange(CONTROL, ExchangeKind::Topic),
                exchange(FLEET, ExchangeKind::Fanout),
                exchange(PEERS, ExchangeKind::Direct),
            ],
            queues: vec![plain(DEAD), plain(UNROUTABLE), plain(TRIGGERS)],
            bindings: vec![binding(DEAD, DEAD, ""), binding(UNROUTABLE, UNROUTABLE, "")],
            policies: policies(),
        };
        for number in 0..inboxes {
            let key = InboxKey::of(number);
            let name = inbox_queue(&key);
            made.queues.push(Queue {
                name: name.clone(),
                single_active_consumer: true,
            });
            made.bindings.push(binding(INBOX, &name, key.as_str()));
        }
        made
    }

    /// What a task type needs in a pool: its queue, bound.
    #[must_use]
    pub fn of_task(pool: &PoolName, task_type: &TaskType) -> Self {
        let name = task_queue(pool, task_type);
        Self {
            queues: vec![Queue {
                name: name.clone(),
                single_active_consumer: false,
            }],
            bindings: vec![Binding {
                exchange: TASKS.into(),
                queue: name,
                key: task_key(pool, task_type),
            }],
            ..Self::default()
        }
    }
}

/// The policies we ship. No exchange has an alternate one: what comes back unroutable is kept by who sent it and sent again, which an alternate
/// exchange would hide behind a confirm. They are: one complete definition for each class, disjoint patterns, words that every broker from 3.10 on knows.
#[must_use]
pub fn policies() -> Vec<Policy> {
    let policy = |name: &str, pattern: &str, apply_to: &str, definition: Value| Policy {
        name: name.into(),
        pattern: pattern.into(),
        apply_to: apply_to.into(),
        definition: match definition {
            Value::Object(map) => map.into_iter().collect(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => BTreeMap::new(),
        },
    };
    let work = |limit: u32| {
        json!({
            "delivery-limit": limit, "dead-letter-exchange": DEAD, "dead-letter-strategy": "at-least-once",
            "overflow": "reject-publish", "max-length": 1_000_000, "queue-leader-locator": "balanced",
        })
    };
    vec![
        policy("baton-task", r"^baton\.task\.", "queues", work(20)),
        // Higher on inboxes: up to 3.13 a requeue keeps its place only under a limit.
        policy(
            "baton-inbox",
            r"^baton\.(inbox\.|triggers$)",
            "queues",
            work(50),
        ),
        // Nothing stands behind these two: a portable "never", since 4.x drops after 20 where nothing is set.
        policy(
            "baton-dead",
            r"^baton\.(dead|unroutable)$",
            "queues",
            json!({ "delivery-limit": 1_000_000, "overflow": "reject-publish" }),
        ),
        policy(
            "baton-control",
            r"^baton\.control\.",
            "queues",
            json!({ "max-length": 1000, "message-ttl": 60_000 }),
        ),
        policy(
            "baton-fleet",
            r"^baton\.fleet\.",
            "queues",
            json!({ "max-length": 10_000, "message-ttl": 10_000 }),
        ),
        policy(
            "baton-peers",
            r"^baton\.peers\.",
            "queues",
            json!({ "max-length": 10_000, "message-ttl": 60_000 }),
        ),
    ]
}
