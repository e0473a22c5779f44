//! Many dead letters that are not wanted: a bounded number at once.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use baton_store::letters::Move;
use baton_store::{LetterState, Letters as _, Reader as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Shared;
use super::super::auth::Operator;
use super::super::dead_letters::LetterFilter;
use super::super::extract::Body;
use super::super::problem::{Answer, Problem};
use super::{mover, text};

/// Letters that are discarded in one request.
const DISCARDS_MAX: u64 = 1_000;
/// Letters of a page that is moved.
const PAGE: usize = 200;

/// Many that are not wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiscardMany {
    /// Which letters: of those that are dead now.
    #[serde(default)]
    filter: LetterFilter,
    /// Why, for whoever reads it later.
    #[schemars(length(min = 1, max = 2_000))]
    reason: String,
    /// On whose behalf, for the record.
    by: Option<String>,
}

/// What was discarded.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DiscardedMany {
    /// Letters that fitted.
    found: u64,
    /// How many of them this request discarded: others may have been moved meanwhile.
    discarded: u64,
}

/// Discards many.
pub(crate) async fn discard_many(
    State(api): Shared,
    Operator(caller): Operator,
    Body(asked): Body<DiscardMany>,
) -> Answer<Json<DiscardedMany>> {
    let why = text("reason", &asked.reason, true)?;
    let store = |error| Problem::store(&error);
    let mut filter = asked.filter.filter(Some(LetterState::Dead));
    let found = api.reader.dead_letters_count(filter.clone()).await;
    let found = found.map_err(store)?;
    if found > DISCARDS_MAX {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "too-many",
            "Too many at once",
            format!(
                "{found} letters fit, and at most {DISCARDS_MAX} are discarded at once; narrow it, by `since` and `until` or by `group`, and repeat it"
            ),
        ));
    }
    let mover = mover(&caller, None, asked.by.as_deref(), why);
    let until = filter.until.map_or(mover.at, |until| until.min(mover.at));
    filter.until = Some(until);
    let (mut discarded, mut after) = (0, None);
    loop {
        let page = api
            .reader
            .dead_letter_heads(filter.clone(), after, PAGE)
            .await;
        let page = page.map_err(store)?;
        for row in page.rows {
            let asked = Move {
                letter: row.letter.id,
                from: LetterState::Dead,
                to: LetterState::Discarded,
                mover: mover.clone(),
            };
            let done = api.replay.letters.move_letter(asked).await;
            discarded += u64::from(done.map_err(store)?);
        }
        after = page.next;
        if after.is_none() {
            return Ok(Json(DiscardedMany { found, discarded }));
        }
    }
}
