//! Dead letters: a list that is searched, and one in full, byte for byte, for those who may read it. What looks like a secret is covered in lists, and for
//! whoever may only look.

pub(super) mod edits;
pub(super) mod export;
pub(super) mod filter;
pub(super) mod import;
mod line;

use std::borrow::Cow;

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use baton_engine::state::{Phase, StepState};
use baton_engine::{Definition, Role, SagaState};
use baton_messages::{DeadReason, SagaId, StepKey, Timestamp};
use baton_store::facets::facets_of;
use baton_store::letters::HistoryRow;
use baton_store::{EditRow, LetterRow, LetterState, Reader as _};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::auth::{Caller, Viewer};
use super::extract::{Nothing, Path, Query};
use super::page::{Cursor, Limit};
use super::problem::{Answer, Problem};
use super::why::waits;
use super::{Api, Shared, folded};
use crate::clock;
use crate::dead_letters::attempt_of;
use crate::masks;
use crate::replay::route;
pub(crate) use filter::{LetterFilter, Stands, WhichLetters};

/// Dead letters of a page at most: each may have headers of a hundred kilobytes.
const LETTERS_MAX: usize = 100;

/// What happened to a letter, as far back as it is shown.
const HISTORY_MAX: usize = 200;

/// Whether somebody may read bodies as they came.
pub(super) fn may_read(caller: &Caller) -> bool {
    caller.token.role >= Role::Operator
}

/// A page of dead letters.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeadLetters {
    /// Newest first.
    dead_letters: Vec<DeadLetter>,
    /// The next page's `cursor`; none: this was the last.
    next: Option<String>,
    /// Those of the page that could not be read, by id: they hide none of the others.
    unreadable: Vec<String>,
}

/// A message nobody could use, whole.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeadLetter {
    pub(super) id: Uuid,
    /// Where it stands.
    state: Stands,
    /// Letters of one cause share it.
    group: String,
    /// Whether it is `resolved` because the broker has it: a message of others, of which it is not known what its consumer made.
    published: bool,
    /// How often it was sent back to work.
    replays: u32,
    /// When it was moved last, by whom, and why.
    changed_at: Option<Timestamp>,
    changed_by: Option<String>,
    why: Option<String>,
    /// What came of its last replay, in a sentence.
    outcome: Option<String>,
    /// What somebody noted.
    note: Option<String>,
    /// The replay of many it belongs to.
    operation: Option<Uuid>,
    /// When it was taken in.
    at: Timestamp,
    reason: DeadReason,
    /// A sentence for people.
    error: String,
    /// Where it came from.
    queue: String,
    exchange: String,
    key: String,
    message_id: Option<String>,
    kind: Option<String>,
    /// The saga it speaks of, where that can be told.
    saga: Option<SagaId>,
    /// All properties and headers.
    properties: Value,
    /// The body, where it is text; in a list only its beginning.
    body: Option<String>,
    /// The body, where it is no text and whoever asks may read it; never in a list.
    body_base64: Option<String>,
    /// How long the body is, in bytes.
    body_bytes: u64,
    /// Whether what looks like a secret is covered, and a body that is no text left out: in lists, and for whoever may only look.
    masked: bool,
    /// The pool and the type of its task.
    pool: Option<String>,
    task_type: Option<String>,
    /// The type of the event it is.
    event_type: Option<String>,
    /// The definition it asks for.
    definition: Option<String>,
    /// The worker that sent it, or put it aside.
    worker: Option<String>,
    /// How often it had been sent back to work before it died this time.
    replays_before: u32,
    /// Which copy of it is sent: 0 is this original, others stand in `edits`.
    edition: u32,
    /// How often it died after it was sent back, or came again.
    died_again: u32,
    /// When it did so the last time: lists, `since` and `until` go by that, where it did.
    died_at: Option<Timestamp>,
    /// The attempt its saga minted for it the last time.
    attempt: Option<u32>,
    /// Where its saga stands now, while that is kept; not in a list.
    saga_now: Option<SagaNow>,
    /// When it goes by itself, where letters that stand there are not kept for ever.
    expires_at: Option<Timestamp>,
    /// What happened to it since it was taken in, oldest first: the last 200 of it; not in a list.
    history: Vec<Happened>,
    /// The edited copies, oldest first; not in a list.
    edits: Vec<Edited>,
    /// The copy that is sent, where it was edited and whoever asks may read it; not in a list.
    sent: Option<SentCopy>,
}

/// Where the saga of a letter stands.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SagaNow {
    definition: String,
    version: u32,
    /// As the list of sagas has it.
    status: &'static str,
    /// The step the letter was a task of, and where that stands.
    step: Option<String>,
    phase: Option<Phase>,
    /// What a person is asked of that step, or else of the saga.
    asks: Option<String>,
    /// Why that step, or else the first that waits for something, does not go on right now.
    waits: Option<String>,
}

impl SagaNow {
    /// `step`: what the letter was a task of, where it was one.
    fn of(state: &SagaState, definition: Option<&Definition>, step: Option<StepKey>) -> Self {
        let at = step.as_ref().and_then(|step| state.at(step));
        let now = clock::now();
        let why = |key: &StepKey, step: &StepState| waits(state, definition, key, step, now);
        let waits = match step.as_ref().zip(at) {
            Some((key, step)) => why(key, step),
            None => state.live().find_map(|(spot, step)| why(&spot.key(), step)),
        };
        let item = match &step {
            Some(step) => state.work_item_of(step),
            None => state.work_items.values().next(),
        };
        Self {
            definition: state.definition.clone(),
            version: state.version,
            status: state.status.as_str(),
            phase: at.map(|step| step.phase),
            step: step.map(|step| step.to_string()),
            asks: item.map(|item| item.title.clone()),
            waits: waits.map(|why| why.said(now)),
        }
    }
}

/// The copy of a letter that is sent.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SentCopy {
    properties: Value,
    /// Its body, where it is text.
    body: Option<String>,
    /// Its body, where it is not.
    body_base64: Option<String>,
}

/// Something that happened to a letter.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Happened {
    at: Timestamp,
    /// What: `sent`, `resolved`, `published`, `failed`, `refused`, `died`, `discarded`, `dead` (restored), `noted`.
    what: String,
    /// By whom; none: by nobody.
    by: Option<String>,
    /// Why somebody did it.
    why: Option<String>,
    /// What came of it, in a sentence.
    text: Option<String>,
    /// All properties and headers of the message, of one that died.
    properties: Option<Value>,
    /// Its body then, where it was another one, is text, and whoever asks may read it.
    body: Option<String>,
    /// The same, where it is no text.
    body_base64: Option<String>,
}

impl Happened {
    fn of(row: HistoryRow, whole: bool) -> Self {
        let set = |text: String| (!text.is_empty()).then_some(text);
        let covered = |text| masks::text_for(whole, text);
        let (properties, body) = row.died.map_or((None, None), |died| {
            let covered = if whole {
                died.properties
            } else {
                masks::properties(&died.properties)
            };
            (Some(covered), died.body.filter(|_| whole))
        });
        let (body, body_base64) = body.map_or((None, None), written);
        Self {
            at: row.at,
            what: row.what,
            by: set(row.by),
            why: set(row.why),
            text: set(row.text).map(covered),
            properties,
            body,
            body_base64,
        }
    }
}

/// An edited copy of a letter.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Edited {
    /// Which copy, from 1.
    edition: u32,
    at: Timestamp,
    by: String,
    why: String,
    /// What differs from the copy before it, line by line.
    difference: String,
}

impl Edited {
    fn of(row: EditRow, whole: bool) -> Self {
        Self {
            edition: row.edition,
            at: row.at,
            by: row.by,
            why: row.why,
            difference: if whole {
                row.difference
            } else {
                // by its words alone nobody can tell which of it is a secret
                let lines = row.difference.lines().count();
                format!("{lines} lines: what they say is for the role operator")
            },
        }
    }
}

/// What nobody could use, newest first. Where no index finds what is asked for, a page looks at so many letters and no more: it may be short, or empty, and
/// have a `next`.
pub(crate) async fn list(
    State(api): Shared,
    Viewer(caller): Viewer,
    Query(which): Query<WhichLetters>,
) -> Answer<Json<DeadLetters>> {
    which.allowed(&caller)?;
    let after = which.cursor.map(Cursor::dead_letter);
    let limit = Limit::rows(which.limit).min(LETTERS_MAX);
    let filter = which.filter(which.state.map(Stands::state));
    let page = api.reader.dead_letter_heads(filter, after, limit).await;
    let page = page.map_err(|error| Problem::store(&error))?;
    let next = page.next;
    let shown = |row| expiring(&api, shown(row, false, Vec::new()));
    Ok(Json(DeadLetters {
        dead_letters: page.rows.into_iter().map(shown).collect(),
        next: next.map(|next| Cursor::text(next.at, next.id, 0)),
        unreadable: page.unreadable,
    }))
}

/// With when it goes.
fn expiring(api: &Api, mut letter: DeadLetter) -> DeadLetter {
    let is_over = matches!(letter.state, Stands::Resolved | Stands::Discarded);
    letter.expires_at = api
        .letters_stay_ms
        .filter(|_| is_over)
        .zip(letter.changed_at)
        .map(|(stay_ms, at)| at.plus_ms(stay_ms));
    letter
}

/// The dead letter a path names.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct WhichLetter {
    pub(super) id: Beginning,
}

/// One dead letter: whole for whoever may read it, which is recorded; masked for the others.
pub(crate) async fn one(
    State(api): Shared,
    Viewer(caller): Viewer,
    Path(WhichLetter { id }): Path<WhichLetter>,
    Query(Nothing {}): Query<Nothing>,
) -> Answer<Json<DeadLetter>> {
    let row = found(&api, id).await?;
    let whole = may_read(&caller);
    if whole {
        // somebody has a letter in full, secrets and all
        let object = format!("dead-letters/{}", row.letter.id);
        api.seen(&caller, "getDeadLetter", object).await?;
    }
    let edits = if row.now.edition > 0 {
        let edits = api.reader.dead_letter_edits(row.letter.id).await;
        edits.map_err(|error| Problem::store(&error))?
    } else {
        Vec::new()
    };
    let sent = if whole && row.now.edition > 0 {
        let sent = api.replay.current(&row).await;
        sent.map_err(|error| Problem::store(&error))?
    } else {
        None
    };
    let history = api.reader.dead_letter_history(row.letter.id, HISTORY_MAX);
    let history = history.await.map_err(|error| Problem::store(&error))?;
    let saga_now = saga_now(&api, &row).await;
    let mut letter = expiring(&api, shown(row, whole, edits));
    let happened = history.into_iter().map(|row| Happened::of(row, whole));
    letter.history = happened.collect();
    letter.saga_now = saga_now;
    letter.sent = sent.map(|copy| {
        let (body, body_base64) = written(copy.body);
        SentCopy {
            properties: copy.properties,
            body,
            body_base64,
        }
    });
    Ok(Json(letter))
}

/// Where the saga of a letter stands; none where there is none, or it cannot be read: the letter is shown all the same.
async fn saga_now(api: &Api, row: &LetterRow) -> Option<SagaNow> {
    let found = folded(&api.reader, row.letter.saga?).await.ok().flatten()?;
    let step = attempt_of(&row.letter).map(|of| of.key());
    let state = &found.state;
    let definition = api.definition(&state.definition, state.version).await;
    let definition = definition.ok().flatten();
    Some(SagaNow::of(state, definition.as_deref(), step))
}

/// The one letter whose id begins so.
pub(super) async fn found(api: &Api, id: Beginning) -> Answer<LetterRow> {
    let Beginning { first, last, typed } = id;
    let found = api.reader.dead_letters_between(first, last).await;
    the_one(found.map_err(|error| Problem::store(&error))?, &typed)
}

/// The same with the beginning of its body alone: for whoever only looks where it stands.
pub(super) async fn found_head(api: &Api, id: Beginning) -> Answer<LetterRow> {
    let Beginning { first, last, typed } = id;
    let found = api.reader.dead_letter_heads_between(first, last).await;
    the_one(found.map_err(|error| Problem::store(&error))?, &typed)
}

fn the_one(found: Vec<LetterRow>, typed: &str) -> Answer<LetterRow> {
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(row), None) => Ok(row),
        (Some(_), Some(_)) => Err(Problem::bad_request(format!(
            "several dead letters' ids begin with {typed}: give more of it"
        ))),
        (None, _) => Err(Problem::not_found(format!(
            "no dead letter's id begins with {typed}"
        ))),
    }
}

/// An id, or the beginning of one, as the range of ids that begin so.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Beginning {
    first: Uuid,
    last: Uuid,
    typed: String,
}

/// Digits of a whole id.
const DIGITS: usize = 32;
/// Shorter beginnings are a slip, not an id.
const DIGITS_MIN: usize = 4;

impl Beginning {
    /// The ids that begin so: the first and the last.
    pub(super) const fn range(&self) -> (Uuid, Uuid) {
        (self.first, self.last)
    }

    pub(super) fn read(typed: &str) -> Option<Self> {
        let digits: String = typed.chars().filter(|c| *c != '-').collect();
        let fits = (DIGITS_MIN..=DIGITS).contains(&digits.len());
        if !fits || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return None;
        }
        Some(Self {
            first: Uuid::parse_str(&format!("{digits:0<DIGITS$}")).ok()?,
            last: Uuid::parse_str(&format!("{digits:f<DIGITS$}")).ok()?,
            typed: typed.to_owned(),
        })
    }
}

impl<'de> Deserialize<'de> for Beginning {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let typed = String::deserialize(from)?;
        Self::read(&typed).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "an id, or at least {DIGITS_MIN} hexadecimal digits of its beginning, is needed"
            ))
        })
    }
}

impl JsonSchema for Beginning {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Beginning".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string", "pattern": r"^[0-9a-fA-F]{4}[0-9a-fA-F-]{0,32}$",
            "description": "Its id, or the beginning of it: four hexadecimal digits or more."
        })
    }
}

/// Bytes as text where they are text, else in base64: byte for byte either way.
fn written(bytes: Vec<u8>) -> (Option<String>, Option<String>) {
    match String::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(bytes) => {
            let encoded = base64::engine::general_purpose::STANDARD.encode(bytes.as_bytes());
            (None, Some(encoded))
        }
    }
}

pub(super) fn read(text: Option<String>, encoded: Option<&str>) -> Result<Option<Vec<u8>>, String> {
    match (text, encoded) {
        (Some(_), Some(_)) => {
            Err("`body` and `body_base64` are one and the same body: give one of them".to_owned())
        }
        (Some(text), None) => Ok(Some(text.into_bytes())),
        (None, Some(encoded)) => {
            let read = base64::engine::general_purpose::STANDARD.decode(encoded);
            read.map(Some)
                .map_err(|error| format!("`body_base64`: {error}"))
        }
        (None, None) => Ok(None),
    }
}

/// The beginning of a body as far as it is text: a character that was cut in two is left out.
fn beginning(mut bytes: Vec<u8>) -> Option<String> {
    if let Err(error) = std::str::from_utf8(&bytes)
        && error.error_len().is_none()
    {
        bytes.truncate(error.valid_up_to());
    }
    String::from_utf8(bytes).ok()
}

/// A letter as it is shown: whole, or covered.
fn shown(row: LetterRow, whole: bool, edits: Vec<EditRow>) -> DeadLetter {
    let is_whole = row.is_whole();
    // of letters of before nothing was read out at their intake; out of a beginning nothing can be
    let about = if is_whole {
        facets_of(&row.letter)
    } else {
        row.about
    };
    let body_bytes = row.body_bytes;
    let (row, now) = (row.letter, row.now);
    let published = now.state == LetterState::Resolved && route::kind(&row) == route::Kind::Foreign;
    let covered = |text| masks::text_for(whole, text);
    let (body, body_base64) = if whole {
        written(row.body)
    } else {
        let text = if is_whole {
            String::from_utf8(row.body).ok()
        } else {
            beginning(row.body)
        };
        (text.map(|text| masks::body(&text).into_owned()), None)
    };
    DeadLetter {
        id: row.id,
        state: now.state.into(),
        group: now.group,
        published,
        replays: now.replays,
        changed_at: now.changed_at,
        changed_by: now.changed_by,
        why: now.why,
        outcome: now.outcome.map(covered),
        note: now.note,
        operation: now.operation,
        at: row.at,
        reason: row.reason,
        error: covered(row.error),
        queue: row.queue,
        exchange: row.exchange,
        key: row.key,
        message_id: row.message_id,
        kind: row.kind,
        saga: row.saga,
        properties: if whole {
            row.properties
        } else {
            masks::properties(&row.properties)
        },
        body,
        body_base64,
        body_bytes,
        masked: !whole,
        pool: about.pool,
        task_type: about.task_type,
        event_type: about.event_type,
        definition: about.definition,
        worker: about.worker,
        replays_before: about.replays_before,
        edition: now.edition,
        died_again: now.died_again,
        died_at: now.died_at,
        attempt: now.attempt.map(|of| of.attempt),
        expires_at: None,
        saga_now: None,
        history: Vec::new(),
        edits: edits
            .into_iter()
            .map(|edit| Edited::of(edit, whole))
            .collect(),
        sent: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_id_is_the_range_of_those_that_begin_so() {
        let found = Beginning::read("7C2e-1").unwrap();
        assert_eq!(
            (found.first.to_string(), found.last.to_string()),
            (
                "7c2e1000-0000-0000-0000-000000000000".to_owned(),
                "7c2e1fff-ffff-ffff-ffff-ffffffffffff".to_owned()
            )
        );
        let whole = Uuid::from_u128(7);
        let found = Beginning::read(&whole.to_string()).unwrap();
        assert_eq!((found.first, found.last), (whole, whole));
        for none in [
            "",
            "7c2",
            "7c2x",
            "\u{e4}bcd",
            "7c2e100000000000000000000000000000",
        ] {
            assert_eq!(Beginning::read(none), None, "{none}");
        }
    }
}
