//! Sagas: started, listed, shown, with their records.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use baton_engine::{Definition, Input, SagaState, Status, Verdict, replay};
use baton_messages::{InputId, SagaId, Start, TaskType, Timestamp};
use baton_store::{SagaCursor, SagaFilter};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::extract::{Body, Path, Query};
use super::problem::{Answer, Problem};
use super::{Api, Shared, auth, cursor, view};
use crate::clock;
use crate::hot::mail::Request;

/// How long a caller waits for the commit of what he asks: longer than one that fails and is tried again takes on a machine that works.
pub(super) const COMMIT_WAIT: Duration = Duration::from_secs(30);
/// The longest a caller may have an answer held back; proxies close what is silent for longer.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How often a waiting caller's saga is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// Rows of a page where none are asked for.
const PAGE_ROWS: usize = 50;
/// Records of a page: each may be as large as a message.
const RECORDS_MAX: usize = 500;
/// Longest `Idempotency-Key`.
const KEY_BYTES_MAX: usize = 255;
/// Whose keys they are: all callers share the one token.
const CALLER: &str = "token";

/// What a caller asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
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
}

impl Api {
    /// Hands a request to the loop; a problem when it has no room.
    pub(super) fn send(&self, request: Request) -> Answer<()> {
        if !self.health.has_room() {
            return Err(Problem::busy());
        }
        self.post
            .requests
            .try_send(request)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => Problem::busy(),
                mpsc::error::TrySendError::Closed(_) => Problem::stopping(),
            })
    }

    /// Has an input decided and committed.
    pub(super) async fn decided(&self, saga: SagaId, input: Input, id: InputId) -> Answer<Verdict> {
        let (answer, decided) = oneshot::channel();
        self.send(Request::Input {
            saga,
            input: Box::new(input),
            answer,
        })?;
        match tokio::time::timeout(COMMIT_WAIT, decided).await {
            Err(_) => Err(Problem::not_committed(id)),
            Ok(Err(_)) => Err(Problem::stopping()),
            Ok(Ok(Verdict::Refused(refusal))) => Err(Problem::refused(&refusal)),
            Ok(Ok(verdict)) => Ok(verdict),
        }
    }

    /// A saga as it is in the store.
    pub(super) async fn state(&self, saga: SagaId) -> Answer<(SagaState, Vec<String>)> {
        let found = self.reader.saga(saga).await;
        let found = found.map_err(|error| Problem::store(&error))?;
        let Some((_, log)) = found else {
            return Err(Problem::refused(&baton_engine::Refusal::NoSaga));
        };
        let order = view::step_order(&log);
        let mut state = SagaState::new(saga);
        let entries: Vec<_> = log.into_iter().map(|(_, entry)| entry).collect();
        replay(&mut state, &entries).map_err(|error| Problem::store(&error))?;
        Ok((state, order))
    }
}

impl Api {
    /// A saga once it has ended or is parked, or as it is after `limit`. Looks again only when something was decided, and not at every
    /// turn of a busy loop.
    async fn settled(&self, saga: SagaId, limit: Duration) -> Answer<(SagaState, Vec<String>)> {
        let deadline = tokio::time::Instant::now() + limit;
        let mut turns = self.health.turns();
        loop {
            turns.mark_unchanged();
            let found = self.state(saga).await?;
            let settled = found.0.status.ended() || found.0.status == Status::Parked;
            if settled || self.stopping.is_cancelled() {
                return Ok(found);
            }
            let looked = tokio::time::Instant::now();
            let turned = async {
                let told = turns.changed().await;
                tokio::time::sleep_until(looked + LOOK_EVERY).await;
                told
            };
            match tokio::time::timeout_at(deadline, turned).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Ok(found),
            }
        }
    }
}

/// Reads a saga's id.
pub(super) fn saga_id(text: &str) -> Answer<SagaId> {
    text.parse()
        .map_err(|_| Problem::bad_request(format!("`{text}` is no saga id; they are UUIDs")))
}

/// The saga a request starts: always derived from what its caller can repeat, also where the id was minted here, since an answer that
/// names that id asks for it to be repeated.
fn saga_of(key: Option<&str>, id: InputId) -> SagaId {
    match key {
        Some(key) => SagaId::of_request(CALLER, key),
        None => SagaId::of_request("id", &id.to_string()),
    }
}

/// Starts a saga. The same `Idempotency-Key` (or id) again is the same saga.
pub(crate) async fn start(
    State(api): Shared,
    headers: HeaderMap,
    Body(asked): Body<Asked>,
) -> Answer<Response> {
    let by = auth::by(&headers);
    let key = idempotency_key(&headers)?;
    let (definition, version) = api.wanted(&asked, &by).await?;
    let id = asked.id.unwrap_or_else(|| InputId(Uuid::now_v7()));
    let saga = saga_of(key.as_deref(), id);
    let start = Start {
        id,
        saga,
        definition,
        version,
        input: asked.input.unwrap_or_else(|| json!({})),
        labels: asked.labels,
        by,
    };
    let input = Input::Start(start.clone());
    let verdict = api.decided(saga, input, id).await?;
    let duplicate = verdict == Verdict::Duplicate;
    if duplicate {
        same_request(&api.state(saga).await?.0, &start)?;
    }
    let status = if duplicate {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let place = [(header::LOCATION, format!("/v1/sagas/{saga}"))];
    let body = Json(json!({ "id": saga, "duplicate": duplicate }));
    Ok((status, place, body).into_response())
}

/// A key or id that stands for another request already is a mistake of its caller: what he asks for now would never run.
fn same_request(known: &SagaState, asked: &Start) -> Answer<()> {
    let same = known.definition == asked.definition
        && asked.version.is_none_or(|asked| asked == known.version)
        && known.input == asked.input;
    if same {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::CONFLICT,
        "key-reused",
        "The key or id stands for another request",
        format!(
            "saga {} was started under it, with another definition or input; take a new key",
            known.id
        ),
    )
    .with("saga", json!(known.id)))
}

impl Api {
    /// The definition a caller wants run; that of a task type on its own is registered on the way.
    async fn wanted(&self, asked: &Asked, by: &str) -> Answer<(String, Option<u32>)> {
        match (&asked.definition, &asked.task) {
            (Some(name), None) => Ok((name.clone(), asked.version)),
            (None, Some(task_type)) if asked.version.is_none() => {
                let known = self.types.all();
                if !known.iter().any(|m| m.task_type == *task_type) {
                    return Err(Problem::not_found(format!(
                        "nobody has ever announced {task_type}; see /v1/task-types"
                    )));
                }
                let made = Definition::automation(task_type);
                let wanted = (made.saga.clone(), made.version);
                if self.definition(&wanted.0, wanted.1).await?.is_none() {
                    self.register(made, by.to_owned()).await?;
                }
                Ok((wanted.0, Some(wanted.1)))
            }
            _ => Err(Problem::bad_request(
                "give either `definition` (and `version`) or `task`, such as test.echo@1",
            )),
        }
    }
}

fn idempotency_key(headers: &HeaderMap) -> Answer<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    if text.is_empty() || text.len() > KEY_BYTES_MAX {
        return Err(Problem::bad_request(format!(
            "`Idempotency-Key` has to be 1 to {KEY_BYTES_MAX} visible ASCII characters"
        )));
    }
    Ok(Some(text.to_owned()))
}

/// Which sagas are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    status: Option<Status>,
    definition: Option<String>,
    /// `name=value`.
    label: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// Sagas, newest first.
pub(crate) async fn list(State(api): Shared, Query(which): Query<Which>) -> Answer<Json<Value>> {
    let label = match &which.label {
        None => None,
        Some(text) => Some(
            text.split_once('=')
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .ok_or_else(|| Problem::bad_request("`label` is name=value"))?,
        ),
    };
    let filter = SagaFilter {
        status: which.status,
        definition: which.definition,
        label,
        ..SagaFilter::default()
    };
    let after = match &which.cursor {
        None => None,
        Some(text) => {
            let (started_at, id, _) = cursor::read(text)?;
            Some(SagaCursor {
                started_at,
                saga: SagaId(id),
            })
        }
    };
    let limit = which.limit.unwrap_or(PAGE_ROWS);
    let page = api.reader.sagas(filter, after, limit).await;
    let page = page.map_err(|error| Problem::store(&error))?;
    let next = page
        .next
        .map(|next| cursor::write(next.started_at, next.saga.0, None));
    let rows: Vec<Value> = page.rows.iter().map(view::row).collect();
    Ok(Json(json!({ "sagas": rows, "next": next })))
}

/// How a saga is shown.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Show {
    /// Answers only when it has ended or waits for a person, or after so many seconds.
    wait_s: Option<u64>,
}

/// One saga, folded, with why it waits.
pub(crate) async fn one(
    State(api): Shared,
    Path(id): Path<String>,
    Query(show): Query<Show>,
) -> Answer<Json<Value>> {
    let saga = saga_id(&id)?;
    let (state, order) = match show.wait_s {
        None => api.state(saga).await?,
        Some(seconds) => {
            api.settled(saga, Duration::from_secs(seconds).min(WAIT_MAX))
                .await?
        }
    };
    let definition = api.definition(&state.definition, state.version).await?;
    let now = clock::now();
    Ok(Json(view::saga(&state, definition.as_deref(), &order, now)))
}

/// Which records are shown.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct From {
    /// Those after this number.
    after: Option<u64>,
    limit: Option<usize>,
}

/// What happened to a saga, as it is kept.
pub(crate) async fn records(
    State(api): Shared,
    Path(id): Path<String>,
    Query(from): Query<From>,
) -> Answer<Json<Value>> {
    let saga = saga_id(&id)?;
    let found = api.reader.saga(saga).await;
    let found = found.map_err(|error| Problem::store(&error))?;
    let Some((_, log)) = found else {
        return Err(Problem::refused(&baton_engine::Refusal::NoSaga));
    };
    let after = from.after.unwrap_or(0);
    let limit = from.limit.unwrap_or(RECORDS_MAX).clamp(1, RECORDS_MAX);
    let mut rows: Vec<Value> = Vec::new();
    let mut next = None;
    let mut number = 0_u64;
    for (_, entry) in &log {
        for record in &entry.records {
            number += 1;
            if number <= after {
                continue;
            }
            if rows.len() == limit {
                next = Some(number - 1);
                break;
            }
            let at: Timestamp = entry.at;
            rows.push(json!({ "number": number, "at": at, "record": record }));
        }
        if next.is_some() {
            break;
        }
    }
    Ok(Json(json!({ "records": rows, "next": next })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_id_twice_is_the_same_saga_and_a_key_goes_before_it() {
        let (one, other) = (InputId(Uuid::from_u128(1)), InputId(Uuid::from_u128(2)));
        assert_eq!(saga_of(None, one), saga_of(None, one));
        assert_ne!(saga_of(None, one), saga_of(None, other));
        assert_eq!(saga_of(Some("k"), one), saga_of(Some("k"), other));
        assert_ne!(saga_of(Some("k"), one), saga_of(None, one));
        let key = one.to_string();
        assert_ne!(saga_of(Some(&key), one), saga_of(None, one));
    }
}
