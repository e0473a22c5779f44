//! Many dead letters that are not wanted, or are wanted after all: a bounded number in one request. Whoever means more of them asks again until none is left: each is moved by
//! itself, so that what was cut short is begun anew where it was.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use baton_messages::Timestamp;
use baton_store::letters::Move;
use baton_store::{LetterRow, LetterState, Letters as _, Reader as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::super::Shared;
use super::super::auth::{Caller, Operator};
use super::super::dead_letters::{Beginning, LetterFilter, Stands};
use super::super::extract::Body;
use super::super::page::{Cursor, Moment};
use super::super::problem::{Answer, Problem};
use super::many::{named, newest, seen};
use super::{mover, text};
use crate::replay::LOOK;

/// Letters that are moved in one request.
const MOVED_MAX: u64 = 1_000;
/// Letters of a page that is moved.
const PAGE: usize = 200;
/// How long one request looks, where no index finds what fits: shorter than anybody waits for an answer.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Many that are not wanted, or are wanted after all.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoveMany {
    /// Which letters: of those that stand where they are moved from.
    #[serde(default)]
    filter: LetterFilter,
    /// The `as_of` of the dry run that was looked at: what died, or was moved, later than that stays as it is. A dry run needs none.
    as_of: Option<Moment>,
    /// The `died_as_of` of the same dry run: what died later than that stays as it is too.
    died_as_of: Option<Moment>,
    /// These alone, each by its id or the beginning of it, of those that fit: 500 at most.
    #[serde(default)]
    #[schemars(length(max = 500))]
    ids: Vec<Beginning>,
    /// Why, for whoever reads it later; not needed for a dry run.
    #[serde(default)]
    #[schemars(length(max = 2_000))]
    reason: String,
    /// Only say how many fit.
    #[serde(default)]
    dry_run: bool,
    /// At most so many, 1,000 at most, and the others later; without it nothing is done where more than 1,000 fit.
    #[schemars(range(min = 1, max = 1_000))]
    limit: Option<u64>,
    /// Where the request before ended: its `next`.
    cursor: Option<Cursor>,
    /// On whose behalf, for the record.
    by: Option<String>,
}

/// What was moved.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct MovedMany {
    /// How far the letters had come when it was looked, by the times that stand in them: when the last of them died or was moved, in milliseconds since 1970. As `as_of` of the
    /// next request it has only those moved that did so by then.
    as_of: Timestamp,
    /// When the last of them died. Given as well, none is moved that died after the look, as far as the clocks of the members agree: a time that one of them stamped up to a minute ahead counts.
    died_as_of: Timestamp,
    /// Letters that fitted, before any was moved; with a `cursor` they are not counted again.
    found: u64,
    /// Whether more may fit: what no index finds is counted for some seconds.
    found_is_least: bool,
    /// How many of them this request moved: others may have been moved meanwhile.
    moved: u64,
    /// The next request's `cursor`; none: this was the last.
    next: Option<String>,
    /// Of a dry run, where each of those that were named stands, in the order in which they were named.
    named: Vec<Named>,
}

/// Where a letter stands that was named.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "NamedLetter")]
pub(crate) struct Named {
    id: Uuid,
    state: Stands,
    /// By whom it was moved there; none: nobody has moved it yet.
    changed_by: Option<String>,
    /// Whether it stands where it would be moved from.
    would: bool,
}

impl Named {
    fn of(row: LetterRow, from: LetterState) -> Self {
        Self {
            id: row.letter.id,
            would: row.now.state == from,
            state: row.now.state.into(),
            changed_by: row.now.changed_by,
        }
    }
}

/// Discards many.
pub(crate) async fn discard_many(
    State(api): Shared,
    Operator(caller): Operator,
    Body(asked): Body<MoveMany>,
) -> Answer<Json<MovedMany>> {
    text("reason", &asked.reason, !asked.dry_run)?;
    moved(
        &api,
        &caller,
        asked,
        LetterState::Dead,
        LetterState::Discarded,
    )
    .await
}

/// Takes many discards back.
pub(crate) async fn restore_many(
    State(api): Shared,
    Operator(caller): Operator,
    Body(asked): Body<MoveMany>,
) -> Answer<Json<MovedMany>> {
    moved(
        &api,
        &caller,
        asked,
        LetterState::Discarded,
        LetterState::Dead,
    )
    .await
}

async fn moved(
    api: &super::super::Api,
    caller: &Caller,
    asked: MoveMany,
    from: LetterState,
    to: LetterState,
) -> Answer<Json<MovedMany>> {
    let why = text("reason", &asked.reason, false)?;
    let store = |error| Problem::store(&error);
    let named = named(api, asked.ids).await?;
    let mut filter = asked.filter.filter(Some(from));
    filter.ids = named.iter().map(|row| row.letter.id).collect();
    // before anything is counted: what comes meanwhile is none of them
    let last = seen(newest(api, from).await?, asked.as_of, asked.died_as_of);
    if !asked.dry_run {
        let until = filter.until.map_or(last.died, |until| until.min(last.died));
        filter.until = Some(until);
        filter.changed_until = asked.as_of.map(|_| last.moved);
    }
    // counted once: whoever goes on knows it already
    let (found, found_is_least) = match asked.cursor {
        None => api.replay.counted(&filter, LOOK).await.map_err(store)?,
        Some(_) => (0, true),
    };
    let mut done = MovedMany {
        as_of: last.moved,
        died_as_of: last.died,
        found,
        found_is_least,
        moved: 0,
        next: None,
        named: Vec::new(),
    };
    if asked.dry_run {
        let named = named.into_iter().map(|row| Named::of(row, from));
        done.named = named.collect();
        return Ok(Json(done));
    }
    let most = asked.limit.unwrap_or(MOVED_MAX);
    if !(1..=MOVED_MAX).contains(&most) || (found > MOVED_MAX && asked.limit.is_none()) {
        return Err(too_many(found));
    }
    let mover = mover(caller, None, asked.by.as_deref(), why);
    let mut after = asked.cursor.map(Cursor::dead_letter);
    let began = Instant::now();
    let mut which = crate::audit::Which::default();
    loop {
        let left = usize::try_from(most - done.moved).unwrap_or(PAGE);
        let page = api
            .reader
            .dead_letter_heads(filter.clone(), after, PAGE.min(left));
        let page = page.await.and_then(|page| page.whole("dead letters"));
        let page = page.map_err(store)?;
        let ended = page_moved(api, page.rows, (from, to), &mover, &mut which).await;
        done.moved = which.count() as u64;
        caller
            .said
            .came(json!({ "moved": done.moved, "which": which.said() }));
        ended.map_err(store)?;
        after = page.next;
        if after.is_none() || done.moved >= most || began.elapsed() >= TIME_MAX {
            done.next = after.map(|next| Cursor::text(next.at, next.id, 0));
            return Ok(Json(done));
        }
    }
}

/// Moves those of a page that still stand there, and notes which.
async fn page_moved(
    api: &super::super::Api,
    page: Vec<LetterRow>,
    (from, to): (LetterState, LetterState),
    mover: &baton_store::letters::Mover,
    which: &mut crate::audit::Which,
) -> Result<(), baton_driver::StoreError> {
    for row in page {
        let letter = row.letter.id;
        let asked = Move {
            letter,
            from,
            to,
            mover: mover.clone(),
        };
        if api.replay.letters.move_letter(asked).await? {
            which.add(letter, row.seen_at());
        }
    }
    Ok(())
}

fn too_many(found: u64) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "too-many-letters",
        "Too many at once",
        format!(
            "{found} letters fit, and at most {MOVED_MAX} are moved at once: with a `limit` up to that so many are, and with `next` as `cursor` the next ones"
        ),
    )
}
