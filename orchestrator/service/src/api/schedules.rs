//! Schedules: shown with when each comes next, paused, resumed, fired by hand.

use baton_store::Reader as _;
use std::time::Duration;

use aide::axum::routing::{get_with, post_with};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use baton_messages::{SagaId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::auth::{Caller, Operator, Viewer};
use super::document::says;
use super::extract::Path;
use super::problem::{Answer, Problem};
use super::{Api, Routes, Shared};
use crate::triggers::{ScheduleAsked, ScheduleShown, show_schedule};

/// How long a caller waits for what he asks of a schedule.
const DONE_WAIT: Duration = Duration::from_secs(30);

/// The routes.
pub(super) fn routes(routes: Routes) -> Routes {
    let says = |id, summary, problems| says(id, "events", summary, problems);
    let acts: &[u16] = &[404, 409, 429, 503];
    routes
        .api_route(
            "/schedules",
            get_with(
                list,
                says(
                    "listSchedules",
                    "Live schedules, with when each comes next.",
                    &[503],
                ),
            ),
        )
        .api_route(
            "/schedules/{definition}/{trigger}/pause",
            post_with(pause, says("pauseSchedule", "Fire no more.", acts)),
        )
        .api_route(
            "/schedules/{definition}/{trigger}/resume",
            post_with(
                resume,
                says(
                    "resumeSchedule",
                    "Go on from now; what came meanwhile is not made up for.",
                    acts,
                ),
            ),
        )
        .api_route(
            "/schedules/{definition}/{trigger}/fire",
            post_with(
                fire,
                says(
                    "fireSchedule",
                    "Fire now, beside the nominal times and whatever else runs.",
                    acts,
                ),
            ),
        )
}

/// One schedule.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct OneSchedule {
    /// Its definition.
    definition: String,
    /// Its place in `on:`, from 0.
    trigger: u32,
}

/// Live schedules.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Schedules {
    /// By definition.
    items: Vec<Shown>,
}

/// A schedule.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Shown {
    definition: String,
    version: u32,
    /// Its place in `on:`, from 0.
    trigger: u32,
    /// The cron expression.
    schedule: String,
    /// The time zone.
    timezone: String,
    /// The next nominal time; none while it is paused.
    next_at: Option<Timestamp>,
    /// The nominal time of the last firing.
    last_at: Option<Timestamp>,
    /// The saga that one started.
    last_saga: Option<SagaId>,
    paused: bool,
    /// How many nominal times were left out.
    skipped: u32,
    /// The last of them.
    skipped_at: Option<Timestamp>,
    /// Why that was: the saga of the firing before had not ended, or nobody was there and `catch_up` does not make up for it.
    skipped_why: Option<String>,
    /// The saga just started by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    saga: Option<SagaId>,
}

fn view(shown: ScheduleShown, saga: Option<SagaId>) -> Shown {
    Shown {
        definition: shown.definition,
        version: shown.version,
        trigger: shown.trigger,
        schedule: shown.schedule,
        timezone: shown.timezone,
        next_at: shown.next_at,
        last_at: shown.last_at,
        last_saga: shown.last_saga,
        paused: shown.paused,
        skipped: shown.skipped,
        skipped_at: shown.skipped_at,
        skipped_why: shown.skipped_why,
        saga,
    }
}

/// Every live schedule.
pub(crate) async fn list(State(api): Shared, Viewer(_): Viewer) -> Answer<Json<Schedules>> {
    let rows = api.reader.schedules().await;
    let rows = rows.map_err(|error| Problem::store(&error))?;
    let live = api.triggers.live.borrow().clone();
    let items = live.schedules().into_iter().map(|one| {
        let row = rows
            .iter()
            .find(|row| row.definition == one.definition.saga && row.name == one.name);
        view(show_schedule(&one, row), None)
    });
    Ok(Json(Schedules {
        items: items.collect(),
    }))
}

/// Fires no more.
pub(crate) async fn pause(
    State(api): Shared,
    Operator(caller): Operator,
    Path(of): Path<OneSchedule>,
) -> Answer<Json<Shown>> {
    api.schedule(of, ScheduleAsked::Pause, &caller).await
}

/// Goes on.
pub(crate) async fn resume(
    State(api): Shared,
    Operator(caller): Operator,
    Path(of): Path<OneSchedule>,
) -> Answer<Json<Shown>> {
    api.schedule(of, ScheduleAsked::Resume, &caller).await
}

/// Fires now.
pub(crate) async fn fire(
    State(api): Shared,
    Operator(caller): Operator,
    Path(of): Path<OneSchedule>,
) -> Answer<Json<Shown>> {
    api.schedule(of, ScheduleAsked::Fire, &caller).await
}

impl Api {
    async fn schedule(
        &self,
        of: OneSchedule,
        what: ScheduleAsked,
        caller: &Caller,
    ) -> Answer<Json<Shown>> {
        let named = format!("{} {}", of.definition, of.trigger);
        let done = self
            .router
            .scheduled(of.definition, of.trigger, what, DONE_WAIT)
            .await;
        let done = done.map_err(|not| Problem::not_taken(not, &named))?;
        let Some(done) = done else {
            return Err(Problem::not_found(format!(
                "no live schedule is trigger {named}; see /v1/schedules"
            )));
        };
        if let Some(why) = done.refused {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "not-fired",
                "The schedule could not start its saga",
                why,
            ));
        }
        tracing::info!(schedule = named, by = caller.by(None), action = ?what, "somebody acted on a schedule");
        Ok(Json(view(done.shown, done.saga)))
    }
}
