//! What the management API shows, by the fields every broker from 3.10 on has.

use std::collections::BTreeMap;

use baton_messages::topology::task_queue;
use baton_messages::{PoolName, TaskType};
use serde::Deserialize;
use serde_json::Value;

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Every node of the broker; none where whoever asks may not know.
    pub(super) nodes: Vec<Node>,
    pub(super) exchanges: Vec<Exchange>,
    pub(super) queues: Vec<Queue>,
    pub(super) bindings: Vec<Binding>,
    pub(super) policies: Vec<Policy>,
    pub(super) permissions: Vec<Permission>,
    pub(super) users: Vec<User>,
}

impl Seen {
    /// How many nodes run, of how many, where that is no majority: what is asked then is answered late, wrongly or never.
    pub(crate) fn minority(&self) -> Option<(usize, usize)> {
        let running = self.nodes.iter().filter(|node| node.running).count();
        let all = self.nodes.len();
        (running * 2 <= all && all > 0).then_some((running, all))
    }

    /// The task types that have a queue, each with its pool.
    pub(crate) fn task_queues(&self) -> Vec<(PoolName, TaskType)> {
        let named = |queue: &Queue| {
            let (pool, task_type) = queue.name.strip_prefix("baton.task.")?.split_once('.')?;
            let (pool, task_type) = (PoolName::new(pool).ok()?, TaskType::new(task_type).ok()?);
            (task_queue(&pool, &task_type) == queue.name).then_some((pool, task_type))
        };
        self.queues.iter().filter_map(named).collect()
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Node {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) running: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Exchange {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) durable: bool,
    #[serde(default)]
    pub(super) internal: bool,
    #[serde(default)]
    pub(super) auto_delete: bool,
    #[serde(default)]
    pub(super) arguments: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) policy: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) durable: bool,
    #[serde(default)]
    pub(super) exclusive: bool,
    #[serde(default)]
    pub(super) arguments: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) policy: Option<String>,
    #[serde(default)]
    pub(super) operator_policy: Option<String>,
    /// On which nodes it lies; none of a queue that is no quorum queue, or where the broker does not say.
    #[serde(default)]
    pub(super) members: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Binding {
    pub(super) source: String,
    pub(super) destination: String,
    pub(super) destination_type: String,
    pub(super) routing_key: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) pattern: String,
    #[serde(rename = "apply-to")]
    pub(super) apply_to: String,
    pub(super) definition: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Permission {
    pub(super) user: String,
    pub(super) configure: String,
    pub(super) write: String,
    pub(super) read: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct User {
    pub(super) name: String,
    #[serde(default)]
    tags: Tags,
}

impl User {
    /// What it may do beyond queues and exchanges.
    pub(super) fn tags(&self) -> Vec<&str> {
        match &self.tags {
            Tags::List(tags) => tags.iter().map(String::as_str).collect(),
            Tags::Text(tags) => tags.split(',').filter(|tag| !tag.is_empty()).collect(),
        }
    }
}

/// A list; before 3.9 text with commas.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Tags {
    List(Vec<String>),
    Text(String),
}

impl Default for Tags {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}
