//! What is known of the two connections, for health checks, for the console, and for whoever wants to wait.

use std::fmt;

/// Both connections of a bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusState {
    /// The connection that deliveries come in on and acknowledgements go out on.
    pub consuming: Link,
    /// The connection that messages are published on. The broker blocks it when it runs out of memory or disk.
    pub publishing: Link,
}

impl BusState {
    /// Whether messages come in and go out.
    pub fn is_ready(&self) -> bool {
        matches!(self.consuming, Link::Up { .. } | Link::Blocked { .. })
            && matches!(self.publishing, Link::Up { .. })
    }
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// Not connected; it is tried again by itself.
    Down {
        /// What the last try met.
        why: String,
    },
    /// Connected.
    Up {
        /// Which connection this is, counted from 1.
        epoch: u64,
    },
    /// Connected, but the broker takes nothing that is published: it is out of memory or disk.
    Blocked {
        /// Which connection this is.
        epoch: u64,
        /// What the broker said.
        why: String,
    },
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Consuming,
    Publishing,
}

impl Use {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Consuming => "consuming",
            Self::Publishing => "publishing",
        }
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
