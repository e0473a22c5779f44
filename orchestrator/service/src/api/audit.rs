//! What operators did: searched, and row by row as it is kept, for whoever verifies it himself.

use aide::axum::routing::{get_with, post_with};
use axum::Json;
use axum::extract::State;
use baton_messages::{AuditEntry, AuditHead, AuditPhase, AuditRow, Timestamp};
use baton_store::{AuditCursor, AuditFilter, AuditLog as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth::{Auditor, Operator};
use super::document::says;
use super::extract::{Body, Nothing, Query};
use super::page::{Limit, Moment};
use super::problem::{Answer, Problem};
use super::{READS, Routes, Shared};

/// The routes.
pub(super) fn routes(routes: Routes) -> Routes {
    let says = |id, summary| says(id, "access", summary, READS);
    routes
        .api_route(
            "/audit",
            get_with(
                list,
                says(
                    "listAudit",
                    "What operators did, newest first: each action once, with what came of it.",
                ),
            ),
        )
        .api_route(
            "/audit/rows",
            get_with(
                rows,
                says(
                    "listAuditRows",
                    "The audit log as it is kept, oldest first, to verify it: SHA-256 over `body` is `hash`, and `body` holds the hash of the row before it.",
                ),
            ),
        )
        .api_route(
            "/audit/head",
            get_with(
                head,
                says("getAuditHead", "How far the audit log is: to be kept elsewhere."),
            ),
        )
        .api_route(
            "/audit/broker-actions",
            post_with(
                at_broker,
                super::document::says(
                    "noteBrokerAction",
                    "access",
                    "Write down what is done, or was, at the broker itself, past the orchestrator.",
                    &[422, 503],
                ),
            ),
        )
}

/// What is done at the broker itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AtBroker {
    /// What.
    what: BrokerAction,
    /// On what: a queue, a virtual host, from where to where. At most 800 bytes.
    #[schemars(length(min = 1, max = 800))]
    on: String,
    /// What came of it, in a sentence; none: it is about to be begun.
    #[schemars(length(max = 500))]
    outcome: Option<String>,
    /// On whose behalf, for the record: kept beside the token's name.
    #[serde(rename = "by")]
    _by: Option<String>,
}

/// The longest `on`, in bytes: three names as long as a broker has them, and some words. The stores keep it in an index, where PostgreSQL takes some 2,700.
const ON_BYTES_MAX: usize = 800;
/// The longest `outcome`, in characters.
const OUTCOME_CHARS_MAX: usize = 500;

impl AtBroker {
    fn fits(&self) -> Answer<()> {
        let is_long = |text: &str| text.chars().count() > OUTCOME_CHARS_MAX;
        let fits = (1..=ON_BYTES_MAX).contains(&self.on.len())
            && !self.outcome.as_deref().is_some_and(is_long);
        fits.then_some(()).ok_or_else(|| {
            Problem::bad_request(format!(
                "`on` has 1 to {ON_BYTES_MAX} bytes, `outcome` at most {OUTCOME_CHARS_MAX} characters"
            ))
        })
    }
}

/// What can be done there with `baton`.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BrokerAction {
    /// `baton topology apply`.
    ApplyTopology,
    /// `baton dead move`.
    MoveMessages,
    /// `baton dead peek`.
    PeekMessages,
}

/// That it is written down.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct WrittenDown {
    /// As the row calls what it was done to.
    object: String,
}

/// The row itself is written around every action; this says what it is about.
async fn at_broker(
    Operator(caller): Operator,
    Body(asked): Body<AtBroker>,
) -> Answer<Json<WrittenDown>> {
    asked.fits()?;
    let what = match asked.what {
        BrokerAction::ApplyTopology => "topology",
        BrokerAction::MoveMessages | BrokerAction::PeekMessages => "queues",
    };
    let object = format!("broker/{what}/{}", asked.on);
    caller.said.object(object.clone());
    Ok(Json(WrittenDown { object }))
}

/// Which rows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichRows {
    /// Those of this token.
    who: Option<String>,
    /// Those about this action: the name of an operation of this API, such as `cancelSaga`.
    action: Option<String>,
    /// Those about this object: the beginning of its path, such as `sagas/<id>`, `tokens/<name>`.
    object: Option<String>,
    /// Those of then or later.
    since: Option<Moment>,
    /// Those of then or earlier.
    until: Option<Moment>,
    /// Those that say this; `asked`: of which nobody wrote down what came of it.
    phase: Option<AuditPhase>,
    /// Every row, also that in which something was asked of which another says what came of it.
    all: Option<bool>,
    limit: Option<Limit>,
    /// The `next` of the last page.
    cursor: Option<String>,
}

/// A row with its hash.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Shown {
    #[serde(flatten)]
    entry: AuditEntry,
    /// SHA-256 of the row's canonical form.
    hash: String,
}

/// A page of what operators did.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Shows {
    /// Newest first.
    items: Vec<Shown>,
    /// The next page's `cursor`; none: this was the last.
    next: Option<String>,
    /// Rows of the page that are no entries, by number: they hide none of the others.
    unreadable: Vec<String>,
}

fn cursor(text: &str) -> Answer<AuditCursor> {
    let parts = text.split_once('.');
    let read = parts.and_then(|(at, seq)| Some((at.parse().ok()?, seq.parse().ok()?)));
    let (at, seq) = read.ok_or_else(|| {
        Problem::bad_request("`cursor` is none of ours; give back the `next` of the last page")
    })?;
    Ok(AuditCursor {
        at: Timestamp(at),
        seq,
    })
}

/// What operators did, newest first.
pub(crate) async fn list(
    State(api): Shared,
    Auditor(_): Auditor,
    Query(which): Query<WhichRows>,
) -> Answer<Json<Shows>> {
    let after = which.cursor.as_deref().map(cursor).transpose()?;
    let filter = AuditFilter {
        who: which.who,
        action: which.action,
        object: which.object,
        from: which.since.map(|Moment(at)| at),
        until: which.until.map(|Moment(at)| at),
        phase: which.phase,
        all: which.all.unwrap_or(false),
    };
    let page = api.audit.log.page(filter, after, Limit::rows(which.limit));
    let page = page.await.map_err(|error| Problem::store(&error))?;
    let (mut items, mut unreadable) = (Vec::new(), page.unreadable);
    for row in page.rows {
        match row.entry() {
            Some(entry) => items.push(Shown {
                entry,
                hash: row.hash,
            }),
            None => unreadable.push(row.seq.to_string()),
        }
    }
    Ok(Json(Shows {
        items,
        next: page.next.map(|next| format!("{}.{}", next.at, next.seq)),
        unreadable,
    }))
}

/// Which part of the log.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Behind {
    /// Rows behind this number.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    after: Option<u64>,
    limit: Option<Limit>,
}

/// Rows as they are kept.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Kept {
    /// Oldest first.
    items: Vec<AuditRow>,
    /// The next page's `after`; none: this was the last.
    next: Option<u64>,
}

/// The log as it is kept, oldest first.
pub(crate) async fn rows(
    State(api): Shared,
    Auditor(caller): Auditor,
    Query(which): Query<Behind>,
) -> Answer<Json<Kept>> {
    tracing::debug!(by = caller.by(None), "the audit log is read as it is kept");
    let limit = Limit::most(which.limit);
    let found = api.audit.log.rows(which.after.unwrap_or(0), limit).await;
    let items = found.map_err(|error| Problem::store(&error))?;
    let full = items.len() >= limit;
    let next = items.last().filter(|_| full).map(|row| row.seq);
    Ok(Json(Kept { items, next }))
}

/// How far the log is.
pub(crate) async fn head(
    State(api): Shared,
    Auditor(_): Auditor,
    Query(Nothing {}): Query<Nothing>,
) -> Answer<Json<AuditHead>> {
    let found = api.audit.log.head().await;
    let found = found.map_err(|error| Problem::store(&error))?;
    let at = crate::clock::now();
    Ok(Json(match found {
        Some(row) => AuditHead {
            seq: row.seq,
            hash: row.hash,
            at,
        },
        None => AuditHead {
            seq: 0,
            hash: baton_messages::audit::GENESIS.to_owned(),
            at,
        },
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_name_a_broker_has_room_for_can_be_written_down() {
        let fits = |on: String| {
            let asked = json!({ "what": "move-messages", "on": on });
            let asked: AtBroker = serde_json::from_value(asked).unwrap();
            asked.fits().is_ok()
        };
        let longest = "q".repeat(255);
        assert!(fits(format!("{longest}, as they came")));
        assert!(fits(format!("{longest} to {longest}/{longest}")));
        assert!(!fits("q".repeat(ON_BYTES_MAX + 1)));
        assert!(!fits("\u{1f407}".repeat(ON_BYTES_MAX / 2)), "in bytes");
        assert!(!fits(String::new()));
    }
}
