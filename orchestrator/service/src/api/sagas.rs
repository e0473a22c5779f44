//! Sagas: started, listed, shown, with their records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use baton_driver::SagaRow;
use baton_engine::{Definition, Input, SagaState, Status, Verdict, same_value};
use baton_messages::{InputId, SagaId, Start, TaskType, Timestamp};
use baton_store::{Reader as _, SagaFilter};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::Created;
use super::auth::{Caller, Operator, Viewer};
use super::extract::{Body, KeyHeader, Path, Query};
use super::page::{Cursor, Label, Limit, Moment};
use super::problem::{Answer, Problem};
use super::seen::{Folded, Look, folded};
use super::view::{self, DeadOfSaga, Row, Saga};
use super::{Api, Shared};
use crate::clock;

/// How long a caller waits for the commit of what he asks: longer than one that fails and is tried again takes on a machine that works.
pub(super) const COMMIT_WAIT: Duration = Duration::from_secs(30);
/// Dead letters that are named with a saga.
const DEAD_MAX: usize = 20;
/// Children whose rows are read where one saga is shown; of further ones it is told how they stood when they last said so.
const CHILDREN_MAX: usize = 64;
/// Children's rows that are read at the same time: so many leave connections to others.
const CHILDREN_AT_ONCE: usize = 4;
/// The longest a caller may have an answer held back; proxies close what is silent for longer.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Longest `Idempotency-Key`.
const KEY_BYTES_MAX: usize = 255;
/// The longest name of a label: definitions allow as much.
const LABEL_NAME_BYTES_MAX: usize = 64;

/// What a caller asks for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "StartSaga")]
pub(crate) struct Asked {
    /// A registered definition, or …
    definition: Option<String>,
    /// … its version, the newest when absent; or …
    version: Option<u32>,
    /// … a task type, run on its own.
    task: Option<TaskType>,
    /// The input; an empty object when absent.
    input: Option<Value>,
    /// Labels beside those of the definition.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Minted by the caller: the same id asked for again is the same saga.
    id: Option<InputId>,
    /// The same as the header `Idempotency-Key`.
    key: Option<String>,
    /// On whose behalf, for the record.
    by: Option<String>,
}

/// A saga that runs.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Begun {
    /// Its id.
    id: SagaId,
    /// Whether it was there already.
    duplicate: bool,
}

impl Api {
    /// Has an input decided and committed, wherever its saga is driven.
    pub(super) async fn decided(&self, saga: SagaId, input: Input, id: InputId) -> Answer<Verdict> {
        match self.router.decided(saga, input, COMMIT_WAIT).await {
            Ok(Verdict::Refused(refusal)) => Err(Problem::refused(&refusal)),
            Ok(verdict) => Ok(verdict),
            Err(not) => Err(Problem::not_taken(not, id)),
        }
    }

    /// A saga as it is in the store.
    pub(super) async fn state(&self, saga: SagaId) -> Answer<Folded> {
        let found = folded(&self.reader, saga).await;
        found
            .map_err(|error| Problem::store(&error))?
            .ok_or_else(no_saga)
    }

    /// A saga as it is shown.
    pub(super) async fn shown(&self, folded: &Folded) -> Answer<Saga> {
        let state = &folded.state;
        let definition = self.definition(&state.definition, state.version).await?;
        let purged = match state.purged_at {
            None => None,
            Some(_) => self.row(state.id).await?.and_then(|row| row.purged),
        };
        let now = clock::now();
        let definition = definition.as_deref();
        let mut shown = view::saga(state, definition, &folded.order, purged, now);
        shown.abandoned.clone_from(&folded.abandoned);
        shown.reservation = self.reserved(state).await?;
        let ids = shown.steps.iter().filter_map(|step| step.child.as_ref());
        let ids: Vec<SagaId> = ids.map(|child| child.id).take(CHILDREN_MAX).collect();
        let rows = stream::iter(ids).map(|id| self.row(id));
        let rows: Vec<Option<SagaRow>> = rows.buffered(CHILDREN_AT_ONCE).try_collect().await?;
        let children = shown.steps.iter_mut();
        let children = children.filter_map(|step| step.child.as_mut());
        for (child, row) in children.zip(rows) {
            // what it said last may be long ago
            child.status = row.map_or(child.status, |row| Some(row.status));
        }
        Ok(shown)
    }

    async fn row(&self, saga: SagaId) -> Answer<Option<SagaRow>> {
        let row = self.reader.saga_row(saga).await;
        row.map_err(|error| Problem::store(&error))
    }

    /// Of a saga that seems to have no records: whether it is there at all, and has not lost them.
    pub(super) async fn has_records(&self, saga: SagaId) -> Answer<()> {
        let row = self.row(saga).await?.ok_or_else(no_saga)?;
        row.purged
            .map_or(Ok(()), |gone| Err(Problem::purged(&gone)))
    }

    /// A saga once it has ended or is parked, or as it is after `limit`.
    async fn settled(&self, saga: SagaId, limit: Duration) -> Answer<Folded> {
        let deadline = tokio::time::Instant::now() + limit;
        let mut watching = self.watched.saga(saga);
        let mut last = None;
        loop {
            let look = tokio::select! {
                look = tokio::time::timeout_at(deadline, watching.next()) => look.ok().flatten(),
                () = self.stopping.cancelled() => None,
            };
            let Some(look) = look else {
                return match last {
                    Some(found) => Ok(Arc::unwrap_or_clone(found)),
                    None => self.state(saga).await,
                };
            };
            let found = seen(look)?;
            let status = found.state.status;
            if status.ended() || status == Status::Parked {
                return Ok(Arc::unwrap_or_clone(found));
            }
            last = Some(found);
        }
    }
}

/// What a look showed.
pub(super) fn seen(look: Look) -> Answer<Arc<Folded>> {
    match look {
        Look::Saga(found) => Ok(found),
        Look::NoSaga => Err(no_saga()),
        Look::Failed(error) => Err(Problem::store(error.as_ref())),
    }
}

pub(super) fn no_saga() -> Problem {
    Problem::refused(&baton_engine::Refusal::NoSaga)
}

/// The saga a path names.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct OneSaga {
    /// The saga.
    #[schemars(with = "Uuid")]
    pub(super) id: String,
}

/// Reads a saga's id.
pub(super) fn saga_id(text: &str) -> Answer<SagaId> {
    text.parse()
        .map_err(|_| Problem::bad_request(format!("`{text}` is no saga id; they are UUIDs")))
}

/// The saga a request starts: always derived from what its caller can repeat, also where the id was minted here, since an answer that
/// names that id asks for it to be repeated. Keys are each token's own.
fn saga_of(caller: &str, key: Option<&str>, id: InputId) -> SagaId {
    match key {
        Some(key) => SagaId::of_request(caller, key),
        None => SagaId::of_request("id", &id.to_string()),
    }
}

/// Starts a saga. The same `Idempotency-Key` (or id) again is the same saga.
pub(crate) async fn start(
    State(api): Shared,
    Operator(caller): Operator,
    KeyHeader(headers): KeyHeader,
    Body(asked): Body<Asked>,
) -> Answer<Created<Begun>> {
    let key = idempotency_key(&headers, asked.key.as_deref())?;
    labels_have_names(&asked.labels)?;
    let by = caller.by(asked.by.as_deref());
    let input = asked.input.clone().unwrap_or_else(|| json!({}));
    let (definition, version) = api.wanted(&asked, &input, &caller).await?;
    let id = asked.id.unwrap_or_else(|| InputId(Uuid::now_v7()));
    let saga = saga_of(&caller.token.name, key.as_deref(), id);
    let start = Start {
        id,
        saga,
        definition,
        version,
        input,
        labels: asked.labels,
        by,
    };
    caller.said.object(format!("sagas/{saga}"));
    if !api.router.takes_start(saga) {
        return Err(Problem::busy());
    }
    let verdict = match api.decided(saga, Input::Start(start.clone()), id).await {
        Ok(verdict) => verdict,
        Err(problem) => return Err(api.not_started(problem, &start).await),
    };
    let duplicate = verdict == Verdict::Duplicate;
    if duplicate {
        same_request(&api.state(saga).await?.state, &start)?;
    }
    let begun = Begun {
        id: saga,
        duplicate,
    };
    Ok(Created::at(begun, !duplicate, format!("/v1/sagas/{saga}")))
}

/// A label is searched for as `name=value`, so that one whose name is none could never be found.
fn labels_have_names(labels: &BTreeMap<String, String>) -> Answer<()> {
    let is_name = |name: &str| {
        let usable = |c: char| !c.is_control() && c != '=';
        (1..=LABEL_NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(usable)
    };
    match labels.keys().find(|name| !is_name(name)) {
        None => Ok(()),
        Some(name) => Err(Problem::bad_request(format!(
            "`labels`: {name:?} is no name of a label; it is 1 to {LABEL_NAME_BYTES_MAX} bytes long, without `=` and control characters"
        ))),
    }
}

/// A key or id that stands for another request already is a mistake of its caller: what he asks for now would never run.
fn same_request(known: &SagaState, asked: &Start) -> Answer<()> {
    let labelled = |(name, value): (&String, &String)| known.labels.get(name) == Some(value);
    // of one whose records were purged nobody knows any more what it was started with, nor under which version, since it may have been moved
    let purged = known.purged_at.is_some();
    let version = known.started_version();
    let same = known.definition == asked.definition
        && (purged || asked.version.is_none_or(|asked| asked == version))
        && (purged || same_value(&known.input, &asked.input))
        && (purged || asked.labels.iter().all(labelled));
    if same {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::CONFLICT,
        "key-reused",
        "The key or id stands for another request",
        format!(
            "saga {} was started under it, with another definition, input or label; take a new key",
            known.id
        ),
    )
    .with("saga", json!(known.id)))
}

impl Api {
    /// The definition a caller wants run; that of a task type on its own is registered on the way.
    async fn wanted(
        &self,
        asked: &Asked,
        input: &Value,
        caller: &Caller,
    ) -> Answer<(String, Option<u32>)> {
        match (&asked.definition, &asked.task) {
            (Some(name), None) => Ok((name.clone(), asked.version)),
            (None, Some(task_type)) if asked.version.is_none() => {
                self.fits(task_type, input)?;
                let made = Definition::automation(task_type);
                let wanted = (made.saga.clone(), made.version);
                if self.definition(&wanted.0, wanted.1).await?.is_none() {
                    self.register(made, caller.by(asked.by.as_deref())).await?;
                }
                Ok((wanted.0, Some(wanted.1)))
            }
            _ => Err(Problem::bad_request(
                "give either `definition` (and `version`) or `task`, such as test.echo@1",
            )),
        }
    }
}

fn idempotency_key(headers: &HeaderMap, body: Option<&str>) -> Answer<Option<String>> {
    let header = headers
        .get("idempotency-key")
        .map(|value| value.to_str().unwrap_or_default());
    let key = match (header, body) {
        (Some(header), Some(body)) if header != body => {
            return Err(Problem::bad_request(
                "`Idempotency-Key` and `key` say different things; give one of them",
            ));
        }
        (header, body) => header.or(body),
    };
    let fits = |key: &str| (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(visible);
    match key {
        Some(key) if !fits(key) => Err(Problem::bad_request(format!(
            "`Idempotency-Key` has to be 1 to {KEY_BYTES_MAX} visible ASCII characters"
        ))),
        key => Ok(key.map(str::to_owned)),
    }
}

const fn visible(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte == b' '
}

/// Which sagas are listed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Those that stand there.
    status: Option<Status>,
    /// Those of this definition, any version.
    definition: Option<String>,
    /// Those with this label: `name=value`.
    label: Option<Label>,
    /// Those started then or later.
    since: Option<Moment>,
    /// Those started then or earlier.
    until: Option<Moment>,
    limit: Option<Limit>,
    cursor: Option<Cursor>,
}

/// A page of sagas.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Sagas {
    /// Newest first.
    sagas: Vec<Row>,
    /// The next page's `cursor`; none: this was the last.
    next: Option<String>,
    /// Those of the page that could not be read, by id: they hide none of the others.
    unreadable: Vec<String>,
}

/// Sagas, newest first.
pub(crate) async fn list(
    State(api): Shared,
    Viewer(_): Viewer,
    Query(which): Query<Which>,
) -> Answer<Json<Sagas>> {
    let filter = SagaFilter {
        status: which.status,
        definition: which.definition,
        label: which.label.map(|Label { name, value }| (name, value)),
        started_from: which.since.map(|Moment(at)| at),
        started_until: which.until.map(|Moment(at)| at),
    };
    let after = which.cursor.map(Cursor::saga);
    let page = api
        .reader
        .sagas(filter, after, Limit::rows(which.limit))
        .await;
    let page = page.map_err(|error| Problem::store(&error))?;
    let next = page.next;
    Ok(Json(Sagas {
        sagas: page.rows.iter().map(Row::from).collect(),
        next: next.map(|next| Cursor::text(next.started_at, next.saga.0, 0)),
        unreadable: page.unreadable,
    }))
}

/// How a saga is shown.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Show {
    /// Answers only when it has ended or waits for a person, or after so many seconds (at most 30).
    #[schemars(range(max = 86_400))]
    wait_s: Option<u32>,
}

/// One saga, folded, with why it waits.
pub(crate) async fn one(
    State(api): Shared,
    Viewer(_): Viewer,
    Path(of): Path<OneSaga>,
    Query(show): Query<Show>,
) -> Answer<Json<Saga>> {
    let saga = saga_id(&of.id)?;
    let folded = match show.wait_s {
        None => api.state(saga).await?,
        Some(seconds) => {
            let wait = Duration::from_secs(u64::from(seconds)).min(WAIT_MAX);
            api.settled(saga, wait).await?
        }
    };
    let mut shown = api.shown(&folded).await?;
    let dead = api.reader.dead_letters_of(saga, DEAD_MAX).await;
    let dead = dead.map_err(|error| Problem::store(&error))?.into_iter();
    shown.dead_letters = dead.map(DeadOfSaga::from).collect();
    Ok(Json(shown))
}

/// Which records are shown.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Since {
    /// Those after this number.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    after: Option<u64>,
    limit: Option<Limit>,
}

/// A page of records.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Records {
    /// Oldest first.
    records: Vec<Numbered>,
    /// The next page's `after`; none: this was the last.
    next: Option<u64>,
}

/// A record with its number.
#[derive(Debug, Serialize, JsonSchema)]
struct Numbered {
    /// From 1, without gaps.
    number: u64,
    /// When it was decided.
    at: Timestamp,
    /// As it is kept: its kind, or an object whose only key is its kind. New kinds come beside old ones.
    record: Value,
}

/// What happened to a saga, as it is kept.
pub(crate) async fn records(
    State(api): Shared,
    Viewer(_): Viewer,
    Path(of): Path<OneSaga>,
    Query(since): Query<Since>,
) -> Answer<Json<Records>> {
    let saga = saga_id(&of.id)?;
    let after = since.after.unwrap_or(0);
    let limit = Limit::most(since.limit);
    // each entry has one record at least, and the first may begin before `after`
    let entries = api.reader.entries(saga, after, limit + 2).await;
    let entries = entries.map_err(|error| Problem::store(&error))?;
    if entries.is_empty() {
        api.has_records(saga).await?;
    }
    let mut records = Vec::new();
    let mut next = None;
    'page: for (before, entry) in &entries {
        for (number, record) in (before + 1..).zip(&entry.records) {
            if number <= after {
                continue;
            }
            if records.len() == limit {
                next = Some(number - 1);
                break 'page;
            }
            let record = serde_json::to_value(record).map_err(|error| Problem::store(&error))?;
            records.push(Numbered {
                number,
                at: entry.at,
                record,
            });
        }
    }
    Ok(Json(Records { records, next }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_id_twice_is_the_same_saga_and_a_key_goes_before_it() {
        let (one, other) = (InputId(Uuid::from_u128(1)), InputId(Uuid::from_u128(2)));
        let of = |key, id| saga_of("ci", key, id);
        assert_eq!(of(None, one), of(None, one));
        assert_ne!(of(None, one), of(None, other));
        assert_eq!(of(Some("k"), one), of(Some("k"), other));
        assert_ne!(of(Some("k"), one), of(None, one));
        let key = one.to_string();
        assert_ne!(of(Some(&key), one), of(None, one));
        assert_ne!(of(Some("k"), one), saga_of("wall", Some("k"), one));
    }

    #[test]
    fn a_key_stands_in_the_header_or_in_the_body() {
        let mut headers = HeaderMap::new();
        assert_eq!(idempotency_key(&headers, None).unwrap(), None);
        let of_body = idempotency_key(&headers, Some("a")).unwrap();
        assert_eq!(of_body.as_deref(), Some("a"));
        headers.insert("idempotency-key", "b".parse().unwrap());
        assert!(idempotency_key(&headers, Some("a")).is_err());
        assert_eq!(
            idempotency_key(&headers, Some("b")).unwrap().as_deref(),
            Some("b")
        );
        headers.insert("idempotency-key", "".parse().unwrap());
        assert!(idempotency_key(&headers, None).is_err());
        assert!(idempotency_key(&HeaderMap::new(), Some("ä")).is_err());
    }
}
