//! Replays of many dead letters: shown, paused, resumed, cancelled.

use axum::Json;
use axum::extract::State;
use baton_store::letters::OperationStep;
use baton_store::{DeadLetterCursor, Letters as _, OperationState, Reader as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::auth::{Caller, Operator, Viewer};
use super::super::dead_letters::Beginning;
use super::super::extract::{Body, Nothing, Path, Query};
use super::super::page::{Cursor, Limit};
use super::super::problem::{Answer, Problem};
use super::super::{Api, Shared};
use super::many::Operation;
use super::text;
use crate::clock;

/// Which operations.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichOperations {
    limit: Option<Limit>,
    cursor: Option<Cursor>,
}

/// A page of operations.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Operations {
    /// Newest first.
    operations: Vec<Operation>,
    /// The next page's `cursor`; none: this was the last.
    next: Option<String>,
    /// Those of the page that could not be read, by id: they hide none of the others.
    unreadable: Vec<String>,
}

/// Replays of many.
pub(crate) async fn operations(
    State(api): Shared,
    Viewer(_): Viewer,
    Query(which): Query<WhichOperations>,
) -> Answer<Json<Operations>> {
    let after: Option<DeadLetterCursor> = which.cursor.map(Cursor::dead_letter);
    let limit = Limit::rows(which.limit);
    let page = api.reader.dead_operations(after, limit).await;
    let page = page.map_err(|error| Problem::store(&error))?;
    Ok(Json(Operations {
        operations: page.rows.into_iter().map(Operation::from).collect(),
        next: page.next.map(|next| Cursor::text(next.at, next.id, 0)),
        unreadable: page.unreadable,
    }))
}

/// Why an operation is steered. What is asked for is where it stands: asked again, it stands there already.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Steered {
    /// Why, for whoever reads it later.
    #[serde(default)]
    #[schemars(length(max = 2_000))]
    reason: String,
    /// On whose behalf, for the record.
    by: Option<String>,
}

/// The operation a path names.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct WhichOperation {
    id: Beginning,
}

/// Operations that are read at a time, and among which one is looked for by the beginning of its id: the newest.
const READ_AT_ONCE: usize = 500;
const LOOKED_AT_MAX: usize = 20 * READ_AT_ONCE;

/// The one operation whose id begins so.
async fn resolved(api: &Api, id: &Beginning) -> Answer<Uuid> {
    let (first, last) = id.range();
    if first == last {
        return Ok(first);
    }
    let (mut fit, mut after) = (Vec::new(), None);
    for _ in 0..LOOKED_AT_MAX / READ_AT_ONCE {
        let page = api.reader.dead_operations(after, READ_AT_ONCE).await;
        let page = page.map_err(|error| Problem::store(&error))?;
        let ids = page.rows.iter().map(|row| row.id);
        fit.extend(ids.filter(|id| (first..=last).contains(id)));
        after = page.next;
        if after.is_none() || fit.len() > 1 {
            break;
        }
    }
    match fit.as_slice() {
        [id] => Ok(*id),
        [_, _, ..] => Err(Problem::bad_request(
            "the ids of several replays of dead letters begin so: give more of it",
        )),
        [] => Err(Problem::not_found(format!(
            "the id of none of the newest {LOOKED_AT_MAX} replays of dead letters begins so; an older one is named by its whole id"
        ))),
    }
}

fn no_operation() -> Problem {
    Problem::not_found("no replay of dead letters has this id")
}

/// One replay of many.
pub(crate) async fn operation(
    State(api): Shared,
    Viewer(_): Viewer,
    Path(WhichOperation { id }): Path<WhichOperation>,
    Query(Nothing {}): Query<Nothing>,
) -> Answer<Json<Operation>> {
    let id = resolved(&api, &id).await?;
    operation_row(&api, id).await.map(Json)
}

macro_rules! steers {
    ($($(#[$doc:meta])* $name:ident: [$($from:ident),*] => $to:ident;)*) => {$(
        $(#[$doc])*
        pub(crate) async fn $name(
            State(api): Shared,
            Operator(caller): Operator,
            Path(WhichOperation { id }): Path<WhichOperation>,
            Body(asked): Body<Steered>,
        ) -> Answer<Json<Operation>> {
            let id = resolved(&api, &id).await?;
            steer(&api, &caller, id, &[$(OperationState::$from),*], OperationState::$to, asked).await
        }
    )*};
}

steers! {
    /// For a while.
    pause: [Running] => Paused;
    /// On.
    resume: [Paused, Stopped] => Running;
    /// For good.
    cancel: [Running, Paused, Stopped] => Cancelled;
}

async fn steer(
    api: &Api,
    caller: &Caller,
    id: Uuid,
    from: &[OperationState],
    to: OperationState,
    asked: Steered,
) -> Answer<Json<Operation>> {
    let step = OperationStep::Steer {
        from: from.to_vec(),
        to,
        why: text("reason", &asked.reason, false)?,
        by: caller.by(asked.by.as_deref()),
        at: clock::now(),
    };
    let done = api.replay.letters.step(id, step).await;
    let done = done.map_err(|error| Problem::store(&error))?;
    api.replay.poke.notify_one();
    let now = operation_row(api, id).await?;
    // asked for again, it stands there already
    if done == Some(false) && now.state() != to.as_str() {
        return Err(Problem::not_now(format!(
            "the replay is {}{}{}",
            now.state(),
            if now.why().is_empty() { "" } else { ": " },
            now.why()
        )));
    }
    Ok(Json(now))
}

/// One of them.
pub(super) async fn operation_row(api: &Api, id: Uuid) -> Answer<Operation> {
    let found = api.reader.dead_operation(id).await;
    let found = found.map_err(|error| Problem::store(&error))?;
    found.map(Operation::from).ok_or_else(no_operation)
}
