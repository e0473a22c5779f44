//! Alerts as they are published: `CloudEvents` of three types, whose data is one shape. The same alert opened and resolved is two events; the same event
//! published twice has one id.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::Timestamp;

/// Every type of these begins so.
pub const ALERT_EVENTS: &str = "dev.baton.alert.";
/// There is something.
pub const ALERT_OPENED: &str = "dev.baton.alert.opened";
/// It is still there.
pub const ALERT_REPEATED: &str = "dev.baton.alert.repeated";
/// It is gone.
pub const ALERT_RESOLVED: &str = "dev.baton.alert.resolved";

/// What an event of these types says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlertSaid {
    /// The alert: the same for the same cause, each time it is opened.
    pub id: Uuid,
    /// What it is about, once: `parked/<saga>/<number>`. The event's subject is the same.
    pub key: String,
    /// What kind of cause: `dead-letter`, `growing-group`, `parked`, `unserved`, `no-progress`, `silent-worker`, `overdue`, `escalated`, `replay-stopped`, `wrong-definition`, `storm`.
    pub kind: String,
    /// A sentence for people.
    pub title: String,
    /// What it is about, as a path of the API: `sagas/<id>`.
    pub object: String,
    /// Where to look.
    pub link: String,
    /// What to type next.
    pub command: String,
    /// When it was opened, this time.
    pub opened_at: Timestamp,
    /// How often it was opened.
    pub openings: u32,
    /// What else is known of it.
    pub data: Value,
}
