//! What needs a person, or did, as a store keeps it: one row for each cause, opened and resolved and opened again. What is still to be said of an alert
//! stands in its own row, so that it is said after a crash as well, by whoever looks after alerts then.
//!
//! Guarantee: a change is made only where nobody else has changed the row meanwhile, so that of two who look after alerts at the same moment (one of them
//! wakes up late) one does.

use std::future::Future;

use baton_driver::StoreError;
use baton_messages::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::read::Page;

/// Whether the cause is there.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum AlertState {
    /// It is.
    Open,
    /// It is gone.
    Resolved,
}

impl AlertState {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Resolved => "resolved",
        }
    }
}

/// What is said of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Saying {
    /// There is something.
    Opened,
    /// It is still there.
    Repeated,
    /// It is gone.
    Resolved,
}

/// What somebody said to an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answered {
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
    /// When.
    pub at: Timestamp,
    /// Until when it counts; none: until the cause is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// One alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertRow {
    /// Derived from the key: the same for the same cause.
    pub id: Uuid,
    /// What it is about, once: `parked/<saga>/<number>`.
    pub key: String,
    /// What kind of cause: `dead-letter`, `parked`.
    pub kind: String,
    /// Whether it is there.
    pub state: AlertState,
    /// A sentence for people.
    pub title: String,
    /// What it is about, as a path of the API.
    pub object: String,
    /// What to type next.
    pub command: String,
    /// What else is known of it.
    pub data: Value,
    /// Nothing is published of it: whoever would be told is what it is about.
    pub silent: bool,
    /// When it was opened, this time.
    pub opened_at: Timestamp,
    /// How often it was opened.
    pub openings: u32,
    /// When the cause was gone.
    pub resolved_at: Option<Timestamp>,
    /// When something of it was published last.
    pub said_at: Option<Timestamp>,
    /// How often something of it was published, or is to be: the number of what is said next, or was said last.
    pub sayings: u32,
    /// What is to be published.
    pub unsaid: Option<Saying>,
    /// Somebody has seen it: it is not repeated.
    pub acknowledged: Option<Answered>,
    /// Nothing is published of it for a while.
    pub muted: Option<Answered>,
    /// Counts changes.
    pub revision: u64,
}

/// The last alert of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertCursor {
    /// When it was opened.
    pub opened_at: Timestamp,
    /// It.
    pub id: Uuid,
}

/// Where alerts are kept. Clones mean the same place.
pub trait Alerts: Clone + Send + Sync {
    /// Writes alerts, each where its row still has the revision before (none: where there is no row yet); all in one transaction. Answers the ids of those
    /// that were written.
    fn put(
        &self,
        alerts: Vec<AlertRow>,
    ) -> impl Future<Output = Result<Vec<Uuid>, StoreError>> + Send;

    /// Those that are open or of which something is to be said, oldest first, at most `limit` of each; no further page.
    fn standing(
        &self,
        limit: usize,
    ) -> impl Future<Output = Result<Page<AlertRow, AlertCursor>, StoreError>> + Send;

    /// Those with these keys that can be read.
    fn keyed(
        &self,
        keys: Vec<String>,
    ) -> impl Future<Output = Result<Vec<AlertRow>, StoreError>> + Send;

    /// Newest first, of one state where one is named.
    fn page(
        &self,
        state: Option<AlertState>,
        after: Option<AlertCursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<AlertRow, AlertCursor>, StoreError>> + Send;

    /// Those whose ids lie between these two, which belong to it; two at most.
    fn between(
        &self,
        first: Uuid,
        last: Uuid,
    ) -> impl Future<Output = Result<Vec<AlertRow>, StoreError>> + Send;

    /// Forgets what was resolved and opened before then, at most `limit`.
    fn forget(
        &self,
        opened_before: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Where the page behind this alert begins.
pub(crate) fn cursor(row: &AlertRow) -> AlertCursor {
    AlertCursor {
        opened_at: row.opened_at,
        id: row.id,
    }
}
