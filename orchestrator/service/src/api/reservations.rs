//! What sagas take before their first step: who has what, who waits in which place, and a lock taken from who has it.

use aide::axum::routing::{get_with, post_with};
use axum::Json;
use axum::extract::State;
use baton_driver::ReservationRow;
use baton_driver::reservations::ReservationState;
use baton_engine::reservation::Reservation;
use baton_engine::{Input, ReservationKind, SagaState};
use baton_messages::{InputId, SagaId, Timestamp};
use baton_store::{ReservationBook as _, ReservationCursor, ReservationFilter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::actions::{Act, operator};
use super::auth::{Admin, Operator, Viewer};
use super::document::says;
use super::extract::{Body, Path, Query};
use super::page::Limit;
use super::problem::{Answer, Problem};
use super::sagas::{OneSaga, saga_id};
use super::{Api, DECIDES, READS, Routes, Shared, actions};

/// Holders named with each thing a saga waits for: a person looks at the first ones.
const HOLDERS_MAX: usize = 5;

/// The routes.
pub(super) fn routes(routes: Routes) -> Routes {
    let says = |id, summary, problems| says(id, "sagas", summary, problems);
    routes
        .api_route(
            "/reservations",
            get_with(
                list,
                says(
                    "listReservations",
                    "What sagas take before their first step: by kind and name, who has it before who waits, in the order they came.",
                    READS,
                ),
            ),
        )
        .api_route(
            "/reservations/break",
            post_with(
                break_lock,
                says(
                    "breakLock",
                    "Take a lock from the saga that holds it, and from all below the same root; they go on without it.",
                    DECIDES,
                ),
            ),
        )
        .api_route(
            "/sagas/{id}/admit",
            post_with(
                admit,
                says(
                    "admitSaga",
                    "Let a saga through that a blast radius holds back; never past a lock or a limit of what runs at once.",
                    DECIDES,
                ),
            ),
        )
}

/// Which of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Those of a kind.
    kind: Option<ReservationKind>,
    /// Those of one thing; a lock, where no kind is named.
    name: Option<String>,
    /// Those of one saga.
    #[schemars(with = "Option<Uuid>")]
    saga: Option<String>,
    limit: Option<Limit>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// A page of them.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Shown {
    items: Vec<Taken>,
    /// The next page's `cursor`; none: this was the last.
    next: Option<String>,
}

/// One thing one saga takes.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Reservation")]
pub(crate) struct Taken {
    kind: ReservationKind,
    /// Of a lock its name; of a limit the definition's, with the key behind it.
    name: String,
    /// The saga.
    saga: SagaId,
    /// The saga at the top, in whose name a lock is held.
    root: SagaId,
    /// Where it stands.
    state: ReservationState,
    /// Its place in the line, from 1, while it waits.
    place: Option<u64>,
    /// How many may have it.
    max: u32,
    /// Within how many milliseconds, of a blast radius.
    per_ms: Option<u64>,
    /// The number of a lock that is held: every task of the saga carries it.
    fence: Option<u64>,
    /// Whether an operator has let it through.
    let_through: bool,
    /// When it was wanted.
    asked_at: Timestamp,
    /// When it was given.
    held_at: Option<Timestamp>,
    /// Until when it counts, of a blast radius.
    until: Option<Timestamp>,
}

impl Taken {
    fn of(row: ReservationRow) -> Self {
        Self {
            kind: row.want.kind,
            name: row.want.name,
            saga: row.saga,
            root: row.root,
            state: row.state,
            place: None,
            max: row.want.max,
            per_ms: row.want.per_ms,
            fence: row.fence,
            let_through: row.let_through,
            asked_at: row.asked_at,
            held_at: row.held_at,
            until: row.until,
        }
    }
}

/// A place in the list, as it travels.
#[derive(Serialize, Deserialize)]
struct At(ReservationKind, String, ReservationState, u64, SagaId);

fn cursor_of(text: &str) -> Answer<ReservationCursor> {
    let read = serde_json::from_str(text).map_err(|_| {
        Problem::bad_request("`cursor` is none that was given: take `next` of the page before")
    });
    let At(kind, name, state, ticket, saga) = read?;
    Ok(ReservationCursor {
        kind,
        name,
        state,
        ticket,
        saga,
    })
}

fn text_of(cursor: ReservationCursor) -> Option<String> {
    let at = At(
        cursor.kind,
        cursor.name,
        cursor.state,
        cursor.ticket,
        cursor.saga,
    );
    serde_json::to_string(&at).ok()
}

fn filter(which: &Which) -> Answer<ReservationFilter> {
    Ok(match (&which.saga, &which.name, which.kind) {
        (Some(saga), None, None) => ReservationFilter::Saga(saga_id(saga)?),
        (Some(_), _, _) => {
            let text = "`saga` is asked for alone: one saga takes few things";
            return Err(Problem::bad_request(text));
        }
        (None, Some(name), kind) => {
            ReservationFilter::Name(kind.unwrap_or(ReservationKind::Lock), name.clone())
        }
        (None, None, Some(kind)) => ReservationFilter::Kind(kind),
        (None, None, None) => ReservationFilter::All,
    })
}

/// What sagas take, page by page.
pub(crate) async fn list(
    State(api): Shared,
    Viewer(_): Viewer,
    Query(which): Query<Which>,
) -> Answer<Json<Shown>> {
    let filter = filter(&which)?;
    let after = which.cursor.as_deref().map(cursor_of).transpose()?;
    let limit = Limit::rows(which.limit);
    let page = api.book.reservations(filter, after, limit).await;
    let page = page.map_err(|error| Problem::store(&error))?;
    Ok(Json(Shown {
        items: api.placed(page.rows).await?,
        next: page.next.and_then(text_of),
    }))
}

/// A lock to be taken from who holds it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Break {
    /// The lock.
    name: String,
    /// The saga that holds it.
    saga: SagaId,
    /// Why, for whoever reads it later.
    #[schemars(length(min = 1, max = 2_000))]
    reason: String,
    /// Minted by the caller: the same action sent again carries the same id.
    id: Option<InputId>,
    /// On whose behalf, for the record.
    by: Option<String>,
}

/// Takes a lock from the saga that holds it.
pub(crate) async fn break_lock(
    State(api): Shared,
    Admin(caller): Admin,
    Body(asked): Body<Break>,
) -> Answer<Json<actions::Done>> {
    let by = asked.by.as_deref();
    let operator = operator(&caller, &asked.reason, asked.id, None, by)?;
    caller.said.object(format!("sagas/{}", asked.saga));
    let name = asked.name;
    actions::done(&api, asked.saga, operator, |operator| Input::BreakLock {
        name,
        operator,
    })
    .await
}

/// Lets a saga through.
pub(crate) async fn admit(
    State(api): Shared,
    Operator(caller): Operator,
    Path(of): Path<OneSaga>,
    Body(act): Body<Act>,
) -> Answer<Json<actions::Done>> {
    let saga = saga_id(&of.id)?;
    actions::done(&api, saga, act.operator(&caller)?, Input::Admit).await
}

/// What one saga takes, or waits for.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Reserved {
    /// When it was given all of it; none: it waits, and nothing of it has begun.
    admitted_at: Option<Timestamp>,
    /// Until when it waits at most, where it is a step of another saga.
    until: Option<Timestamp>,
    /// All of it.
    pub(super) things: Vec<Thing>,
}

/// One thing a saga takes.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Thing {
    pub(super) kind: ReservationKind,
    /// Of a lock its name; of a limit the definition's, with the key behind it.
    pub(super) name: String,
    /// How many may have it.
    max: u32,
    /// Within how many milliseconds, of a blast radius.
    per_ms: Option<u64>,
    /// The number of a lock it was given.
    fence: Option<u64>,
    /// Whether an operator has taken the lock from it.
    broken: bool,
    /// Its place in the line, from 1, while it waits.
    pub(super) place: Option<u64>,
    /// Who has it, while it waits: the first few.
    pub(super) held_by: Vec<SagaId>,
}

impl Reserved {
    /// Of a saga that takes anything, without what only the store knows.
    pub(super) fn of(taken: &Reservation) -> Self {
        let things = taken.wants.iter().map(|want| Thing {
            kind: want.kind,
            name: want.name.clone(),
            max: want.max,
            per_ms: want.per_ms,
            fence: taken.fences.get(&want.name).copied(),
            broken: taken.broken.contains(&want.name),
            place: None,
            held_by: Vec::new(),
        });
        Self {
            admitted_at: taken.admitted_at,
            until: taken.until.filter(|_| taken.admitted_at.is_none()),
            things: things.collect(),
        }
    }
}

impl Api {
    /// Rows with the places of those that wait: counted for the first of each line, the others follow it.
    async fn placed(&self, rows: Vec<ReservationRow>) -> Answer<Vec<Taken>> {
        let mut shown: Vec<Taken> = Vec::with_capacity(rows.len());
        for row in rows {
            let (state, ticket) = (row.state, row.ticket);
            let mut taken = Taken::of(row);
            if state == ReservationState::Waiting {
                let same = |last: &&Taken| last.kind == taken.kind && last.name == taken.name;
                let before = shown.last().filter(same).and_then(|last| last.place);
                taken.place = Some(match before {
                    Some(place) => place + 1,
                    None => {
                        let counted = self.book.before(taken.kind, taken.name.clone(), ticket);
                        1 + counted.await.map_err(|error| Problem::store(&error))?
                    }
                });
            }
            shown.push(taken);
        }
        Ok(shown)
    }

    /// What a saga takes, and while it waits who has it and where it stands in each line.
    pub(super) async fn reserved(&self, state: &SagaState) -> Answer<Option<Reserved>> {
        let Some(taken) = state.reservation.as_deref() else {
            return Ok(None);
        };
        let mut shown = Reserved::of(taken);
        if !state.active() || !state.waits_for_admission() {
            return Ok(Some(shown));
        }
        let failed = |error| Problem::store(&error);
        let of_it = ReservationFilter::Saga(state.id);
        let rows = self.book.reservations(of_it, None, usize::MAX).await;
        let rows = rows.map_err(failed)?.rows;
        for thing in &mut shown.things {
            let mine =
                |row: &&ReservationRow| row.want.kind == thing.kind && row.want.name == thing.name;
            let Some(row) = rows.iter().find(mine) else {
                continue;
            };
            let before = self.book.before(thing.kind, thing.name.clone(), row.ticket);
            thing.place = Some(1 + before.await.map_err(failed)?);
            let line = ReservationFilter::Name(thing.kind, thing.name.clone());
            let first = self.book.reservations(line, None, HOLDERS_MAX).await;
            let first = first.map_err(failed)?.rows.into_iter();
            let has = first.filter(|row| row.state != ReservationState::Waiting);
            thing.held_by = has.map(|row| row.saga).collect();
        }
        Ok(Some(shown))
    }
}
