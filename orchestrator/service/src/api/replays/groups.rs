//! Dead letters by what they died of.

use axum::Json;
use axum::extract::State;
use baton_messages::{DeadReason, Timestamp};
use baton_store::{DeadLetterFilter, LetterRow, LetterState, Reader as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::Shared;
use super::super::auth::Viewer;
use super::super::extract::Query;
use super::super::page::Limit;
use super::super::problem::{Answer, Problem};

/// Groups that are looked at, in the order of their keys, which an index has; of these the largest are told first.
const GROUPS_MAX: usize = 10_000;

/// How many groups.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichGroups {
    limit: Option<Limit>,
}

/// Groups.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Groups {
    /// Largest first.
    groups: Vec<Group>,
    /// How many groups there are beside these.
    more: u64,
}

/// Letters of one cause that are dead.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Group {
    /// Its key: `group` of a filter.
    group: String,
    reason: DeadReason,
    /// The kind of message.
    kind: Option<String>,
    /// What they say, without what differs from one to the next.
    error: String,
    /// How many.
    dead: u64,
    /// When the first and the last of them were taken in.
    first_at: Timestamp,
    last_at: Timestamp,
    /// The last of them.
    sample: Uuid,
}

/// Groups of letters of one cause.
pub(crate) async fn groups(
    State(api): Shared,
    Viewer(_): Viewer,
    Query(which): Query<WhichGroups>,
) -> Answer<Json<Groups>> {
    let store = |error| Problem::store(&error);
    let all = api.reader.dead_letter_groups(GROUPS_MAX).await;
    let mut all = all.map_err(store)?;
    all.sort_by(|a, b| b.dead.cmp(&a.dead).then_with(|| a.group.cmp(&b.group)));
    let limit = Limit::rows(which.limit);
    let more = all.len().saturating_sub(limit) as u64;
    all.truncate(limit);
    let mut groups = Vec::with_capacity(all.len());
    for one in all {
        let filter = DeadLetterFilter {
            state: Some(LetterState::Dead),
            group: Some(one.group.clone()),
            ..DeadLetterFilter::default()
        };
        let page = api.reader.dead_letters(filter, None, 1).await;
        let last = page.map_err(store)?.rows.pop();
        // all of it was moved meanwhile
        let Some(LetterRow { letter, .. }) = last else {
            continue;
        };
        groups.push(Group {
            group: one.group,
            reason: letter.reason,
            kind: letter.kind,
            error: baton_store::group::normalised(&letter.error),
            dead: one.dead,
            first_at: one.first_at,
            last_at: one.last_at,
            sample: letter.id,
        });
    }
    Ok(Json(Groups { groups, more }))
}
