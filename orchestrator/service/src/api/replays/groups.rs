//! Dead letters by what they died of.

use axum::Json;
use axum::extract::State;
use baton_messages::{DeadReason, Timestamp};
use baton_store::read::HOUR_MS;
use baton_store::{DeadLetterFilter, LetterGroup, LetterRow, LetterState, Reader as _};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::auth::Viewer;
use super::super::extract::Query;
use super::super::page::Limit;
use super::super::problem::{Answer, Problem};
use super::super::{Api, Shared};
use crate::{clock, masks};

/// Groups that are looked at, in the order of their keys, which an index has; of these the largest are told first.
const GROUPS_MAX: usize = 10_000;

/// Groups that are asked for at the same time.
const SIDE_BY_SIDE: usize = 4;

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
    /// What they say, without what differs from one to the next; what looks like a secret is covered, as in every list.
    error: String,
    /// How many.
    dead: u64,
    /// When the first and the last of them were taken in.
    first_at: Timestamp,
    last_at: Timestamp,
    /// The last of them.
    sample: Uuid,
    /// How many of them were taken in in each of the last hours, oldest first, this hour last.
    hours: Vec<u64>,
}

/// Hours that are told apart.
const HOURS: u64 = 24;

/// A number for each of the last hours.
fn by_hour(found: &[(Timestamp, u64)], now: Timestamp) -> Vec<u64> {
    let this = now.0 / HOUR_MS;
    let first = this.saturating_sub(HOURS - 1);
    let of = |hour: u64| {
        let found = found.iter().find(|(at, _)| at.0 / HOUR_MS == hour);
        found.map_or(0, |(_, n)| *n)
    };
    (first..=this).map(of).collect()
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
    // each is three short steps along indexes; so many at a time leave connections to others
    let shown = stream::iter(all)
        .map(|one| shown(&api, one))
        .buffered(SIDE_BY_SIDE);
    let groups: Vec<Option<Group>> = shown.try_collect().await?;
    let groups = groups.into_iter().flatten().collect();
    Ok(Json(Groups { groups, more }))
}

/// One group with its last letter and its hours; none where all of it was moved meanwhile.
async fn shown(api: &Api, one: LetterGroup) -> Answer<Option<Group>> {
    let store = |error| Problem::store(&error);
    let filter = DeadLetterFilter {
        state: Some(LetterState::Dead),
        group: Some(one.group.clone()),
        ..DeadLetterFilter::default()
    };
    let page = api.reader.dead_letter_heads(filter, None, 1).await;
    let last = page.map_err(store)?.rows.pop();
    // all of it was moved meanwhile
    let Some(LetterRow { letter, .. }) = last else {
        return Ok(None);
    };
    let now = clock::now();
    let since = Timestamp(now.0.saturating_sub((HOURS - 1) * HOUR_MS));
    let hours = api.reader.dead_letter_hours(one.group.clone(), since).await;
    let hours = by_hour(&hours.map_err(store)?, now);
    Ok(Some(Group {
        group: one.group,
        reason: letter.reason,
        kind: letter.kind,
        error: baton_store::group::normalised(&masks::text(&letter.error)),
        dead: one.dead,
        first_at: one.first_at,
        last_at: one.last_at,
        sample: letter.id,
        hours,
    }))
}
