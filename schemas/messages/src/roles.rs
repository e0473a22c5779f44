//! Who connects to the broker, and the least that each may do there: the permissions of `RabbitMQ` (configure, write, read), as regular
//! expressions over names. The command-line tool grants them, a test runs a saga under them and holds what they must refuse.
//!
//! What each needs (RabbitMQ, "Access Control"): declaring is configure; binding is write on the queue and read on the exchange; publishing
//! is write on the exchange; consuming is read on the queue.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::PoolName;

/// What somebody at the broker is there for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// An orchestrator: declares the queues of the task types it hears of, reads the inboxes, publishes tasks.
    Orchestrator,
    /// A worker of certain pools: takes their tasks, and reports. It declares no task queue and publishes no task.
    Worker,
    /// Publishes events, and nothing else.
    Publisher,
    /// Sees figures, and no message.
    Monitor,
}

/// What somebody may do in a virtual host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Permissions {
    /// Which exchanges and queues he may make and delete.
    pub configure: String,
    /// Which exchanges he may publish to, and which queues he may bind.
    pub write: String,
    /// Which queues he may take from, and which exchanges he may bind to.
    pub read: String,
}

impl Role {
    /// Every one.
    pub const ALL: [Self; 4] = [
        Self::Orchestrator,
        Self::Worker,
        Self::Publisher,
        Self::Monitor,
    ];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Orchestrator => "orchestrator",
            Self::Worker => "worker",
            Self::Publisher => "publisher",
            Self::Monitor => "monitor",
        }
    }

    /// The least it needs; `pools` are those a worker takes tasks of.
    #[must_use]
    pub fn permissions(self, pools: &[PoolName]) -> Permissions {
        let (configure, write, read) = match self {
            Self::Orchestrator => (
                r"^baton\.(task|inbox|fleet|peers)\..+$".to_owned(),
                r"^baton\.(tasks|inbox|control|events|fleet|peers|dead|triggers|(task|inbox|fleet|peers)\..+)$".to_owned(),
                r"^baton\.(tasks|inbox|events|fleet|peers|triggers|dead|unroutable|(inbox|fleet|peers)\..+)$".to_owned(),
            ),
            Self::Worker => (
                r"^baton\.control\..+$".to_owned(),
                r"^baton\.(inbox|fleet|dead|control\..+)$".to_owned(),
                format!(r"^baton\.(task\.({})\..+|control|control\..+)$", alternatives(pools)),
            ),
            Self::Publisher => (NOTHING.to_owned(), r"^baton\.events$".to_owned(), NOTHING.to_owned()),
            Self::Monitor => (NOTHING.to_owned(), NOTHING.to_owned(), NOTHING.to_owned()),
        };
        Permissions {
            configure,
            write,
            read,
        }
    }

    /// The tag of the broker that it needs beside.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::Monitor => "monitoring",
            Self::Orchestrator | Self::Worker | Self::Publisher => "",
        }
    }
}

/// Fits no name: `RabbitMQ` takes an empty expression for the same, but shows nothing of it.
const NOTHING: &str = "^$";

/// The names of pools hold nothing that an expression would read otherwise.
fn alternatives(pools: &[PoolName]) -> String {
    let names: Vec<&str> = pools.iter().map(PoolName::as_str).collect();
    names.join("|")
}
