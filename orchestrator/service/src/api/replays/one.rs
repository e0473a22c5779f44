//! One dead letter: sent back to work, discarded, restored, noted.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use baton_messages::InputId;
use baton_store::letters::{Move, Mover};
use baton_store::{LetterRow, LetterState, Letters as _, Reader as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::super::auth::Operator;
use super::super::dead_letters::{Stands, WhichLetter, found, found_head};
use super::super::extract::{Body, Path};
use super::super::problem::{Answer, Problem};
use super::super::{Api, Shared};
use super::{Because, mover, target, text};
use crate::clock;
use crate::replay::{Cure, Never, Orders, Refused};

/// How one letter is replayed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayOne {
    /// Why, for whoever reads it later; needed with `force`.
    #[serde(default)]
    #[schemars(length(max = 2_000))]
    reason: String,
    /// Send it although it was replayed three times already, its time to live was over, or nobody serves its task type.
    #[serde(default)]
    force: bool,
    /// Of a message of others: where to send it instead of where it came from, as `exchange/key`; without an exchange, to the queue `/name`.
    to: Option<String>,
    /// Minted by the caller: the same action sent again carries the same id.
    id: Option<InputId>,
    /// On whose behalf, for the record.
    by: Option<String>,
}

/// A note.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Noted {
    /// What is to be known of it; empty takes the note away.
    #[schemars(length(max = 2_000))]
    note: String,
    /// On whose behalf, for the record.
    by: Option<String>,
}

/// A letter after an action.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Acted {
    /// The letter.
    id: Uuid,
    /// Where it stands now.
    state: Stands,
    /// How often it was sent back to work.
    replays: u32,
    /// What came of it, in a sentence.
    outcome: Option<String>,
    /// Whether this action had been done already.
    duplicate: bool,
}

impl Acted {
    fn of(row: LetterRow, duplicate: bool) -> Json<Self> {
        Json(Self {
            id: row.letter.id,
            state: row.now.state.into(),
            replays: row.now.replays,
            outcome: row.now.outcome,
            duplicate,
        })
    }
}

/// That a letter is not sent back, and what helps; with the saga it speaks of.
fn refused(row: &LetterRow, refused: Refused) -> Problem {
    let problem = Problem::new(
        StatusCode::CONFLICT,
        "replay-refused",
        "It is not sent back to work",
        refused.why,
    );
    let problem = problem.curing(refused.cure);
    match row.letter.saga {
        Some(saga) => problem.with("saga", json!(saga)),
        None => problem,
    }
}

/// What a letter that does not stand where it has to says of itself.
fn stands_elsewhere(row: &LetterRow, wanted: LetterState) -> Problem {
    let now = &row.now;
    let by = now.changed_by.as_deref().unwrap_or("somebody");
    let (more, cure) = match now.state {
        LetterState::Discarded => ("; restore it first", Cure::Restore),
        LetterState::Dead | LetterState::Replaying | LetterState::Resolved => ("", Cure::Look),
    };
    Problem::not_now(format!(
        "it is {}, by {by}, and has to be {}{more}",
        now.state.as_str(),
        wanted.as_str()
    ))
    .curing(cure)
}

/// Moves a letter; true when this action had done it before.
async fn moved(
    api: &Api,
    row: &LetterRow,
    from: LetterState,
    to: LetterState,
    mover: Mover,
) -> Answer<bool> {
    let (letter, action) = (row.letter.id, mover.action);
    if row.now.action == Some(action) {
        return Ok(true);
    }
    let asked = Move {
        letter,
        from,
        to,
        mover,
    };
    let done = api.replay.letters.move_letter(asked).await;
    if done.map_err(|error| Problem::store(&error))? {
        return Ok(false);
    }
    let now = again(api, letter).await?;
    if now.now.action == Some(action) {
        return Ok(true);
    }
    Err(stands_elsewhere(&now, from))
}

async fn again(api: &Api, letter: Uuid) -> Answer<LetterRow> {
    let rows = api.reader.dead_letter_heads_between(letter, letter).await;
    let mut rows = rows.map_err(|error| Problem::store(&error))?;
    rows.pop()
        .ok_or_else(|| Problem::not_found("it is not kept any more"))
}

/// Sends one back to work.
pub(crate) async fn replay(
    State(api): Shared,
    Operator(caller): Operator,
    Path(WhichLetter { id }): Path<WhichLetter>,
    Body(asked): Body<ReplayOne>,
) -> Answer<Json<Acted>> {
    let row = found(&api, id).await?;
    let id = row.letter.id;
    let orders = Orders {
        by: caller.by(asked.by.as_deref()),
        reason: text("reason", &asked.reason, asked.force)?,
        force: asked.force,
        target: target(asked.to.as_deref())?,
        redirect: Vec::new(),
    };
    let mover = mover(
        &caller,
        asked.id,
        asked.by.as_deref(),
        orders.reason.clone(),
    );
    if row.now.state == LetterState::Dead && row.now.action != Some(mover.action) {
        let foreseen = api.replay.foresee(&row, &orders).await;
        if let Err(Never::Refused(why)) = foreseen.map_err(|error| Problem::store(&error))? {
            return Err(refused(&row, why));
        }
    }
    let action = mover.action;
    let (from, to) = (LetterState::Dead, LetterState::Replaying);
    if moved(&api, &row, from, to, mover).await? {
        return Ok(Acted::of(again(&api, row.letter.id).await?, true));
    }
    let set_out = LetterRow {
        letter: row.letter,
        body_bytes: row.body_bytes,
        ..again(&api, id).await?
    };
    let replay = api.replay.clone();
    let carried = set_out.clone();
    // a task of its own, which ends by the limits of the loop and of the broker: a caller who goes away must not cut it off between the
    // broker's word and the store
    let carrying = tokio::spawn(async move { replay.carry(&carried, &orders).await });
    let not = match carrying.await {
        Ok(Ok(())) => None,
        Ok(Err(not)) => Some(not.to_string()),
        Err(failed) => Some(failed.to_string()),
    };
    if let Some(not) = not {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not-committed",
            "Not committed in time",
            format!("it is on its way, and nobody can say yet what comes of it ({not}); it is done again by itself within some minutes: look at it then"),
        )
        .with("id", json!(action.to_string()))
        .again_after_s(5));
    }
    Ok(Acted::of(again(&api, set_out.letter.id).await?, false))
}

/// Is not wanted.
pub(crate) async fn discard(
    State(api): Shared,
    Operator(caller): Operator,
    Path(WhichLetter { id }): Path<WhichLetter>,
    Body(asked): Body<Because>,
) -> Answer<Json<Acted>> {
    let why = text("reason", &asked.reason, true)?;
    let row = found_head(&api, id).await?;
    let mover = mover(&caller, asked.id, asked.by.as_deref(), why);
    let (from, to) = (LetterState::Dead, LetterState::Discarded);
    let duplicate = moved(&api, &row, from, to, mover).await?;
    Ok(Acted::of(again(&api, row.letter.id).await?, duplicate))
}

/// Is wanted after all.
pub(crate) async fn restore(
    State(api): Shared,
    Operator(caller): Operator,
    Path(WhichLetter { id }): Path<WhichLetter>,
    Body(asked): Body<Because>,
) -> Answer<Json<Acted>> {
    let why = text("reason", &asked.reason, false)?;
    let row = found_head(&api, id).await?;
    let mover = mover(&caller, asked.id, asked.by.as_deref(), why);
    let (from, to) = (LetterState::Discarded, LetterState::Dead);
    let duplicate = moved(&api, &row, from, to, mover).await?;
    Ok(Acted::of(again(&api, row.letter.id).await?, duplicate))
}

/// Notes something.
pub(crate) async fn note(
    State(api): Shared,
    Operator(caller): Operator,
    Path(WhichLetter { id }): Path<WhichLetter>,
    Body(asked): Body<Noted>,
) -> Answer<Json<Acted>> {
    let note = text("note", &asked.note, false)?;
    let row = found_head(&api, id).await?;
    let (letters, by) = (&api.replay.letters, caller.by(asked.by.as_deref()));
    let noted = letters.note(row.letter.id, note, by, clock::now()).await;
    noted.map_err(|error| Problem::store(&error))?;
    Ok(Acted::of(again(&api, row.letter.id).await?, false))
}
