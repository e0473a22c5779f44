//! What needs a person: listed, shown, acknowledged, muted. What is done here is seen by whoever looks after alerts at his next look.

use aide::axum::routing::{get_with, post_with};
use axum::Json;
use axum::extract::State;
use baton_engine::definition::duration::duration_ms;
use baton_messages::Timestamp;
use baton_store::{AlertCursor, AlertRow, AlertState, Alerts as _, Answered};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::auth::{Caller, Operator, Viewer};
use super::dead_letters::Beginning;
use super::document::says;
use super::extract::{Body, Nothing, Path, Query};
use super::page::{Cursor, Limit};
use super::problem::{Answer, Problem};
use super::replays::text;
use super::{Api, READS, READS_ONE, Routes, Shared};
use crate::alerts::link;
use crate::clock;

/// The longest an alert may be muted: what is to be quiet for ever is to be mended.
const MUTE_MS_MAX: u64 = 30 * 86_400_000;
/// How often a change is tried that somebody else's change came before.
const TRIES: usize = 5;

/// What may go wrong with an action.
const ACTS: &[u16] = &[404, 409, 422, 503];

/// The routes.
pub(super) fn routes(routes: Routes) -> Routes {
    let says = |id, summary, problems| says(id, "people", summary, problems);
    routes
        .api_route(
            "/alerts",
            get_with(
                list,
                says("listAlerts", "What needs a person, or did, newest first.", READS),
            ),
        )
        .api_route(
            "/alerts/{id}",
            get_with(one, says("getAlert", "One alert.", READS_ONE)),
        )
        .api_route(
            "/alerts/{id}/acknowledge",
            post_with(
                acknowledge,
                says(
                    "acknowledgeAlert",
                    "Say that it was seen: it is not repeated until its cause has gone and come again.",
                    ACTS,
                ),
            ),
        )
        .api_route(
            "/alerts/{id}/mute",
            post_with(
                mute,
                says("muteAlert", "Have nothing published of it for a while.", ACTS),
            ),
        )
        .api_route(
            "/alerts/{id}/unmute",
            post_with(unmute, says("unmuteAlert", "Have it published again.", ACTS)),
        )
}

/// Which alerts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichAlerts {
    /// Those that are open, or those that are over.
    state: Option<AlertState>,
    limit: Option<Limit>,
    cursor: Option<Cursor>,
}

/// A page of alerts.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ShownAlerts {
    /// Newest first.
    items: Vec<Alert>,
    /// The next page's `cursor`; none: this was the last.
    next: Option<String>,
    /// Those of the page that could not be read, by id: they hide none of the others.
    unreadable: Vec<String>,
}

/// An alert.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Alert {
    /// The same for the same cause, each time it is opened.
    id: Uuid,
    /// What it is about, once: `parked/<saga>/<number>`.
    key: String,
    /// What kind of cause: `dead-letter`, `growing-group`, `parked`, `unserved`, `no-progress`, `silent-worker`, `overdue`, `escalated`, `replay-stopped`, `wrong-definition`, `storm`.
    kind: String,
    /// Whether the cause is there.
    state: AlertState,
    /// A sentence for people.
    title: String,
    /// What it is about, as a path of this API.
    object: String,
    /// Where to look.
    link: String,
    /// What to type next.
    command: String,
    /// What else is known of it.
    data: Value,
    /// Nothing is published of it: it is about what alerts themselves start.
    silent: bool,
    /// When it was opened, this time.
    opened_at: Timestamp,
    /// How often it was opened.
    openings: u32,
    /// When the cause was gone.
    resolved_at: Option<Timestamp>,
    /// When something of it was published last.
    said_at: Option<Timestamp>,
    /// Whether something of it is still to be published.
    unsaid: bool,
    /// Who has seen it.
    acknowledged: Option<Answered>,
    /// Who has muted it, and until when.
    muted: Option<Answered>,
}

impl Alert {
    fn of(api: &Api, row: AlertRow) -> Self {
        Self {
            link: link(&api.link, &row.object),
            id: row.id,
            key: row.key,
            kind: row.kind,
            state: row.state,
            title: row.title,
            object: row.object,
            command: row.command,
            data: row.data,
            silent: row.silent,
            opened_at: row.opened_at,
            openings: row.openings,
            resolved_at: row.resolved_at,
            said_at: row.said_at,
            unsaid: row.unsaid.is_some(),
            acknowledged: row.acknowledged,
            muted: row.muted,
        }
    }
}

/// Alerts, newest first.
pub(crate) async fn list(
    State(api): Shared,
    Viewer(_): Viewer,
    Query(which): Query<WhichAlerts>,
) -> Answer<Json<ShownAlerts>> {
    let after = which.cursor.map(|cursor| {
        let at = cursor.dead_letter();
        AlertCursor {
            opened_at: at.at,
            id: at.id,
        }
    });
    let limit = Limit::rows(which.limit);
    let page = api.alerts.page(which.state, after, limit).await;
    let page = page.map_err(|error| Problem::store(&error))?;
    let rows = page.rows.into_iter();
    Ok(Json(ShownAlerts {
        items: rows.map(|row| Alert::of(&api, row)).collect(),
        next: page
            .next
            .map(|next| Cursor::text(next.opened_at, next.id, 0)),
        unreadable: page.unreadable,
    }))
}

/// The alert a path names.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct WhichAlert {
    id: Beginning,
}

/// One alert.
pub(crate) async fn one(
    State(api): Shared,
    Viewer(_): Viewer,
    Path(WhichAlert { id }): Path<WhichAlert>,
    Query(Nothing {}): Query<Nothing>,
) -> Answer<Json<Alert>> {
    let row = found_alert(&api, &id).await?;
    Ok(Json(Alert::of(&api, row)))
}

/// The one alert whose id begins so.
pub(super) async fn found_alert(api: &Api, id: &Beginning) -> Answer<AlertRow> {
    let (first, last) = id.range();
    let found = api.alerts.between(first, last).await;
    let mut found = found.map_err(|error| Problem::store(&error))?.into_iter();
    match (found.next(), found.next()) {
        (Some(row), None) => Ok(row),
        (Some(_), Some(_)) => Err(Problem::bad_request(
            "several alerts' ids begin so: give more of it",
        )),
        (None, _) => Err(Problem::not_found(
            "no alert's id begins so; see /v1/alerts",
        )),
    }
}

/// An answer to an alert.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Because {
    /// Why, for whoever reads it later.
    #[schemars(length(min = 1, max = 2_000))]
    reason: String,
    /// On whose behalf, for the record.
    by: Option<String>,
}

/// For how long an alert is muted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MuteFor {
    /// Why, for whoever reads it later.
    #[schemars(length(min = 1, max = 2_000))]
    reason: String,
    /// For how long, such as `2h`; at most 30d.
    r#for: String,
    /// On whose behalf, for the record.
    by: Option<String>,
}

fn answered(
    caller: &Caller,
    by: Option<&str>,
    reason: &str,
    until: Option<Timestamp>,
) -> Answer<Answered> {
    Ok(Answered {
        by: caller.by(by),
        why: text("reason", reason, true)?,
        at: clock::now(),
        until,
    })
}

/// It was seen.
pub(crate) async fn acknowledge(
    State(api): Shared,
    Operator(caller): Operator,
    Path(WhichAlert { id }): Path<WhichAlert>,
    Body(asked): Body<Because>,
) -> Answer<Json<Alert>> {
    let seen = answered(&caller, asked.by.as_deref(), &asked.reason, None)?;
    changed(&api, &id, |row| {
        if row.state == AlertState::Resolved {
            return Err(Problem::not_now("it is over: there is nothing to be seen"));
        }
        row.acknowledged = Some(seen.clone());
        Ok(())
    })
    .await
}

/// Nothing is published of it for a while.
pub(crate) async fn mute(
    State(api): Shared,
    Operator(caller): Operator,
    Path(WhichAlert { id }): Path<WhichAlert>,
    Body(asked): Body<MuteFor>,
) -> Answer<Json<Alert>> {
    let ms = duration_ms(&asked.r#for).map_err(|why| {
        Problem::bad_request(format!("`for`: `{}` {why}; give 2h or 3d", asked.r#for))
    })?;
    if ms > MUTE_MS_MAX {
        return Err(Problem::bad_request(
            "`for` is longer than 30d: mend the cause, or leave it out of what is alerted (section [alerts] of the configuration)",
        ));
    }
    let until = Some(clock::now().plus_ms(ms));
    let muted = answered(&caller, asked.by.as_deref(), &asked.reason, until)?;
    changed(&api, &id, |row| {
        row.muted = Some(muted.clone());
        Ok(())
    })
    .await
}

/// It is published again.
pub(crate) async fn unmute(
    State(api): Shared,
    Operator(_): Operator,
    Path(WhichAlert { id }): Path<WhichAlert>,
    Body(asked): Body<Because>,
) -> Answer<Json<Alert>> {
    // it is no longer muted: that somebody did it, and why, is in the audit log
    text("reason", &asked.reason, true)?;
    changed(&api, &id, |row| {
        row.muted = None;
        Ok(())
    })
    .await
}

/// Changes an alert, again where somebody else has changed it meanwhile.
async fn changed(
    api: &Api,
    id: &Beginning,
    change: impl Fn(&mut AlertRow) -> Answer<()>,
) -> Answer<Json<Alert>> {
    for _ in 0..TRIES {
        let mut row = found_alert(api, id).await?;
        change(&mut row)?;
        row.revision += 1;
        let written = api.alerts.put(vec![row.clone()]).await;
        if !written.map_err(|error| Problem::store(&error))?.is_empty() {
            return Ok(Json(Alert::of(api, row)));
        }
    }
    Err(Problem::not_now("it changes just now; ask again"))
}
