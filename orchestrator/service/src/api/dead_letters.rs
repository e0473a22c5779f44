//! Dead letters: a list that is searched, and one in full, byte for byte.

use std::borrow::Cow;

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use baton_messages::{DeadReason, SagaId, Timestamp};
use baton_store::{DeadLetterFilter, LetterRow, LetterState, Reader as _};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::auth::Viewer;
use super::extract::{Nothing, Path, Query};
use super::page::{Cursor, Limit, Moment};
use super::problem::{Answer, Problem};
use super::{Api, Shared};

/// Dead letters of a page at most: each may be half a mebibyte.
const LETTERS_MAX: usize = 100;

/// Where a dead letter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "LetterState")]
pub(crate) enum Stands {
    /// Nobody has done anything about it, or what was done did not help.
    Dead,
    /// It is on its way back to work.
    Replaying,
    /// It did its work after all.
    Resolved,
    /// Somebody said that it is not wanted.
    Discarded,
}

impl Stands {
    const fn state(self) -> LetterState {
        match self {
            Self::Dead => LetterState::Dead,
            Self::Replaying => LetterState::Replaying,
            Self::Resolved => LetterState::Resolved,
            Self::Discarded => LetterState::Discarded,
        }
    }
}

impl From<LetterState> for Stands {
    fn from(state: LetterState) -> Self {
        match state {
            LetterState::Dead => Self::Dead,
            LetterState::Replaying => Self::Replaying,
            LetterState::Resolved => Self::Resolved,
            LetterState::Discarded => Self::Discarded,
        }
    }
}

/// Which dead letters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhichLetters {
    /// Those that died of this.
    reason: Option<DeadReason>,
    /// Those that came from this queue.
    queue: Option<String>,
    /// Those of this kind of message: its `type`, such as `task@1`.
    kind: Option<String>,
    /// Those that speak of this saga.
    saga: Option<SagaId>,
    /// Those taken in then or later.
    since: Option<Moment>,
    /// Those taken in then or earlier.
    until: Option<Moment>,
    /// Those whose error or body has this in it, to the letter.
    text: Option<String>,
    /// Those that stand there.
    state: Option<Stands>,
    /// Those of this group (see `/v1/dead-letters/groups`).
    group: Option<String>,
    limit: Option<Limit>,
    cursor: Option<Cursor>,
}

/// A page of dead letters.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeadLetters {
    /// Newest first.
    dead_letters: Vec<DeadLetter>,
    /// The next page's `cursor`; none: this was the last.
    next: Option<String>,
}

/// A message nobody could use, whole.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeadLetter {
    pub(super) id: Uuid,
    /// Where it stands.
    state: Stands,
    /// Letters of one cause share it.
    group: String,
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
    /// The body, where it is text.
    body: Option<String>,
    /// The body, where it is not.
    body_base64: Option<String>,
}

/// What nobody could use, newest first.
pub(crate) async fn list(
    State(api): Shared,
    Viewer(_): Viewer,
    Query(which): Query<WhichLetters>,
) -> Answer<Json<DeadLetters>> {
    let after = which.cursor.map(Cursor::dead_letter);
    let limit = Limit::rows(which.limit).min(LETTERS_MAX);
    let filter = DeadLetterFilter {
        reason: which.reason,
        queue: which.queue,
        kind: which.kind,
        saga: which.saga,
        from: which.since.map(|Moment(at)| at),
        until: which.until.map(|Moment(at)| at),
        text: which.text,
        state: which.state.map(Stands::state),
        group: which.group,
        changed_until: None,
    };
    let page = api.reader.dead_letters(filter, after, limit).await;
    let page = page.map_err(|error| Problem::store(&error))?;
    let next = page.next;
    Ok(Json(DeadLetters {
        dead_letters: page.rows.into_iter().map(shown).collect(),
        next: next.map(|next| Cursor::text(next.at, next.id, 0)),
    }))
}

/// The dead letter a path names.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct WhichLetter {
    pub(super) id: Beginning,
}

/// One dead letter, whole.
pub(crate) async fn one(
    State(api): Shared,
    Viewer(_): Viewer,
    Path(WhichLetter { id }): Path<WhichLetter>,
    Query(Nothing {}): Query<Nothing>,
) -> Answer<Json<DeadLetter>> {
    found(&api, id).await.map(shown).map(Json)
}

/// The one letter whose id begins so.
pub(super) async fn found(api: &Api, id: Beginning) -> Answer<LetterRow> {
    let Beginning { first, last, typed } = id;
    let found = api.reader.dead_letters_between(first, last).await;
    let mut found = found.map_err(|error| Problem::store(&error))?.into_iter();
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
                "a dead letter's id, or at least {DIGITS_MIN} hexadecimal digits of its beginning, is needed"
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

/// The body as text where it is text, else in base64: byte for byte either way.
fn shown(row: LetterRow) -> DeadLetter {
    let (row, now) = (row.letter, row.now);
    let (body, body_base64) = match String::from_utf8(row.body) {
        Ok(text) => (Some(text), None),
        Err(bytes) => {
            let encoded = base64::engine::general_purpose::STANDARD.encode(bytes.as_bytes());
            (None, Some(encoded))
        }
    };
    DeadLetter {
        id: row.id,
        state: now.state.into(),
        group: now.group,
        replays: now.replays,
        changed_at: now.changed_at,
        changed_by: now.changed_by,
        why: now.why,
        outcome: now.outcome,
        note: now.note,
        operation: now.operation,
        at: row.at,
        reason: row.reason,
        error: row.error,
        queue: row.queue,
        exchange: row.exchange,
        key: row.key,
        message_id: row.message_id,
        kind: row.kind,
        saga: row.saga,
        properties: row.properties,
        body,
        body_base64,
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
