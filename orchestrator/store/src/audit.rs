//! What operators did, as a store keeps it: one chain for the whole store, whoever adds to it. Rows are added and never touched again; no purge and no
//! retention knows them.
//!
//! Guarantee: whoever adds rows has read the last one in the same transaction, under a lock that all who add share, so that the chain never forks however
//! many orchestrators there are. Nothing of a saga waits for that lock: the driver's commits do not know it.

use std::future::Future;

use baton_driver::StoreError;
use baton_messages::{AuditEntry, AuditPhase, AuditRow, Timestamp};

use crate::read::{PAGE_ROWS_MAX, Page};

/// Which rows are asked for; what is not set does not restrict.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditFilter {
    /// Those of this token.
    pub who: Option<String>,
    /// Those about this action.
    pub action: Option<String>,
    /// Those about this object.
    pub object: Option<String>,
    /// Those of then or later.
    pub from: Option<Timestamp>,
    /// Those of then or earlier.
    pub until: Option<Timestamp>,
    /// Those that say this.
    pub phase: Option<AuditPhase>,
    /// Also rows in which something was asked of which another row says what came of it.
    pub all: bool,
}

/// The last row of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditCursor {
    /// When it was written.
    pub at: Timestamp,
    /// Its number.
    pub seq: u64,
}

/// Where what operators did is kept. Clones mean the same place.
pub trait AuditLog: Clone + Send + Sync {
    /// Adds rows behind the last one, all or none, in this order; answers them as they are kept. Number and hash of the row before are given here.
    fn append(
        &self,
        entries: Vec<AuditEntry>,
    ) -> impl Future<Output = Result<Vec<AuditRow>, StoreError>> + Send;

    /// Rows behind that number, oldest first, at most `limit`.
    fn rows(
        &self,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<AuditRow>, StoreError>> + Send;

    /// The last row; none when nothing was ever done.
    fn head(&self) -> impl Future<Output = Result<Option<AuditRow>, StoreError>> + Send;

    /// Rows that fit, newest first.
    fn page(
        &self,
        filter: AuditFilter,
        after: Option<AuditCursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Page<AuditRow, AuditCursor>, StoreError>> + Send;
}

/// Chains entries behind the last row.
pub(crate) fn sealed(
    entries: Vec<AuditEntry>,
    last: Option<AuditRow>,
) -> serde_json::Result<Vec<AuditRow>> {
    let mut rows: Vec<AuditRow> = Vec::with_capacity(entries.len());
    for entry in entries {
        let row = entry.sealed(rows.last().or(last.as_ref()))?;
        rows.push(row);
    }
    Ok(rows)
}

/// How many rows one call answers.
pub(crate) fn limited(limit: usize) -> usize {
    limit.clamp(1, PAGE_ROWS_MAX)
}

/// Where the page behind this row begins.
pub(crate) fn cursor(row: &AuditRow) -> AuditCursor {
    // of what is no entry the instant is there all the same: the tables read it out of the body as well
    let body = || serde_json::from_str::<serde_json::Value>(&row.body).ok();
    let at = || body().and_then(|body| body["at"].as_u64());
    AuditCursor {
        at: row
            .entry()
            .map(|entry| entry.at)
            .or_else(|| at().map(Timestamp))
            .unwrap_or_default(),
        seq: row.seq,
    }
}

/// The query of a page. Values: 1 the cursor's instant, 2 its number, 3 and 4 from and until, 5 the limit, then those of the filter in the order who,
/// action, object, phase. `parameter` writes a place for a value.
pub(crate) fn page_query(
    filter: &AuditFilter,
    index: impl Fn(&str) -> String,
    parameter: impl Fn(usize) -> String,
) -> String {
    let along = match filter {
        AuditFilter {
            object: Some(_), ..
        } => "audit_by_object",
        AuditFilter { who: Some(_), .. } => "audit_by_who",
        AuditFilter {
            action: Some(_), ..
        } => "audit_by_action",
        AuditFilter { .. } => "audit_by_age",
    };
    let mut conditions = String::new();
    for (number, column) in (6..).zip(columns(filter)) {
        conditions.push_str(&format!(" AND {column} = {}", parameter(number)));
    }
    if !filter.all {
        conditions.push_str(
            " AND NOT (phase = 'asked' AND EXISTS (SELECT 1 FROM audit d WHERE d.answers = a.seq))",
        );
    }
    let [at, seq, from, until, limit] = [1, 2, 3, 4, 5].map(parameter);
    format!(
        "SELECT seq, body, hash FROM audit a{} WHERE (at, seq) < ({at}, {seq}) AND at BETWEEN {from} AND {until}{conditions}
         ORDER BY at DESC, seq DESC LIMIT {limit}",
        index(along)
    )
}

/// The columns a filter restricts, in the order of its values.
fn columns(filter: &AuditFilter) -> Vec<&'static str> {
    let given = [
        ("who", filter.who.is_some()),
        ("action", filter.action.is_some()),
        ("object", filter.object.is_some()),
        ("phase", filter.phase.is_some()),
    ];
    given
        .into_iter()
        .filter_map(|(column, set)| set.then_some(column))
        .collect()
}

/// Their values.
pub(crate) fn values(filter: &AuditFilter) -> Vec<String> {
    let phase = filter.phase.map(|phase| phase.as_str().to_owned());
    let all = [
        filter.who.clone(),
        filter.action.clone(),
        filter.object.clone(),
        phase,
    ];
    all.into_iter().flatten().collect()
}
