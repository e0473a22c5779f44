//! Dead letters by what they died of.

use std::borrow::Cow;
use std::cmp::Reverse;

use axum::Json;
use axum::extract::State;
use baton_driver::StoreError;
use baton_messages::{DeadReason, Timestamp};
use baton_store::read::HOUR_MS;
use baton_store::{DeadLetterFilter, LetterGroup, LetterRow, LetterState, Reader as _};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::auth::Viewer;
use super::super::extract::Query;
use super::super::page::Limit;
use super::super::problem::{Answer, Problem};
use super::super::{Api, Shared};
use crate::{clock, masks};

/// Groups that are read at a time, in the order of their keys, which an index has.
const READ_AT_ONCE: usize = 10_000;
/// Groups that are looked at, of which the largest are told first: a group is a hundred bytes, and whoever has so many has another trouble.
const GROUPS_MAX: usize = 200_000;

/// Groups that are asked for at the same time.
const SIDE_BY_SIDE: usize = 4;

/// How many groups.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichGroups {
    limit: Option<Limit>,
    cursor: Option<After>,
}

/// Where the last page ended: its last group, and how large that was. Those that grow or shrink meanwhile neither shift nor repeat others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct After {
    dead: u64,
    group: String,
}

impl After {
    fn of(one: &LetterGroup) -> Self {
        let (dead, group) = (one.dead, one.group.clone());
        Self { dead, group }
    }

    /// As text a caller gives back: `<dead>.<group>`.
    fn text(&self) -> String {
        format!("{}.{}", self.dead, self.group)
    }

    /// Whether a group comes behind it, largest first.
    fn is_before(&self, one: &LetterGroup) -> bool {
        (Reverse(self.dead), &self.group) < (Reverse(one.dead), &one.group)
    }
}

impl<'de> Deserialize<'de> for After {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let parts = text
            .split_once('.')
            .and_then(|(dead, group)| Some((dead.parse().ok()?, group.to_owned())));
        let (dead, group) = parts.ok_or_else(|| {
            D::Error::custom("`cursor` is none of ours; give back the `next` of the last page")
        })?;
        Ok(Self { dead, group })
    }
}

impl JsonSchema for After {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "GroupCursor".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": r"^[0-9]{1,15}\.[0-9a-f]{1,64}$",
            "description": "The `next` of the last page."
        })
    }
}

/// Groups.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Groups {
    /// Largest first.
    groups: Vec<Group>,
    /// How many groups come after these.
    more: u64,
    /// The next page's `cursor`; none: this was the last.
    next: Option<String>,
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
    let mut all = all_groups(&api).await.map_err(store)?;
    if let Some(after) = &which.cursor {
        all.retain(|one| after.is_before(one));
    }
    all.sort_by(|a, b| b.dead.cmp(&a.dead).then_with(|| a.group.cmp(&b.group)));
    let limit = Limit::rows(which.limit);
    let more = all.len().saturating_sub(limit) as u64;
    all.truncate(limit);
    let last = all.last().filter(|_| more > 0);
    let next = last.map(|last| After::of(last).text());
    // each is three short steps along indexes; so many at a time leave connections to others
    let shown = stream::iter(all)
        .map(|one| shown(&api, one))
        .buffered(SIDE_BY_SIDE);
    let groups: Vec<Option<Group>> = shown.try_collect().await?;
    let groups = groups.into_iter().flatten().collect();
    Ok(Json(Groups { groups, more, next }))
}

/// All there are, in the order of their keys.
async fn all_groups(api: &Api) -> Result<Vec<LetterGroup>, StoreError> {
    let (mut all, mut after) = (Vec::new(), None);
    while all.len() < GROUPS_MAX {
        let some = api.reader.dead_letter_groups(after, READ_AT_ONCE).await?;
        let is_last = some.len() < READ_AT_ONCE;
        after = some.last().map(|last| last.group.clone());
        all.extend(some);
        if is_last {
            break;
        }
    }
    Ok(all)
}

/// Letters of a group that are read for its last one: one that cannot be read hides no other.
const NEWEST: usize = 4;

/// One group with its last letter and its hours; none where all of it was moved meanwhile.
async fn shown(api: &Api, one: LetterGroup) -> Answer<Option<Group>> {
    let store = |error| Problem::store(&error);
    let filter = DeadLetterFilter {
        state: Some(LetterState::Dead),
        group: Some(one.group.clone()),
        ..DeadLetterFilter::default()
    };
    let page = api.reader.dead_letter_heads(filter, None, NEWEST).await;
    let last = page.map_err(store)?.rows.into_iter().next();
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn group(group: &str, dead: u64) -> LetterGroup {
        LetterGroup {
            group: group.to_owned(),
            dead,
            first_at: Timestamp(1),
            last_at: Timestamp(2),
        }
    }

    #[test]
    fn a_page_goes_on_behind_the_group_it_ended_with_largest_first() {
        let text = After::of(&group("bb", 5)).text();
        let after: After = serde_json::from_value(json!(text)).unwrap();
        for (one, is_behind) in [
            (group("aa", 9), false),
            (group("aa", 5), false),
            (group("bb", 5), false),
            (group("cc", 5), true),
            (group("aa", 4), true),
        ] {
            assert_eq!(after.is_before(&one), is_behind, "{one:?}");
        }
        for wrong in ["", "5", "x.bb"] {
            assert!(
                serde_json::from_value::<After>(json!(wrong)).is_err(),
                "{wrong}"
            );
        }
    }
}
