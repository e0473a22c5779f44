//! Every action that comes through the API is written down: before it is begun that it was asked for, after it what came of it. Done here, around all routes
//! that change something, by the names the document of the API gives them, so that no route is forgotten and a new one is in it from its first day.
//!
//! An action goes on to its end when its caller goes away: otherwise it might be done with nothing said of how it ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest as _, MatchedPath, OriginalUri, Request};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use baton_engine::Role;
use baton_messages::{AuditEntry, AuditOutcome, AuditPhase};
use serde_json::{Map, Value, json};

use super::auth::{Caller, cleaned};
use super::extract::{in_time, unreadable};
use super::problem::{Kind, Problem};
use super::standing::standing;
use super::{Api, document};
use crate::clock;
use crate::triggers::cloudevents::is_json;

/// Operations that are asked by `POST` and are no operator's action: a look, and the events of services, which are kept as events with who said them.
const LOOKS: [&str; 2] = ["checkDefinition", "publishEvent"];
/// What may be asked for faster than it can be done.
const START: &str = "startSaga";
/// Operations of which one can ask what they would do, without a row in the log: nothing is changed then, and what is shown in full has a row of its own. An edit of a
/// step knows `dry_run` too, and is written down even so. Where nobody looks at it, it would be a way around the log.
const REHEARSED: [&str; 5] = [
    "discardDeadLetters",
    "editDeadLetter",
    "replayDeadLetters",
    "restoreDeadLetters",
    "upgradeSagas",
];
/// What is kept of a request's body: names of things and how it is to be done. What is not here (inputs, outputs, bodies, labels) may hold secrets.
const KEPT: [&str; 29] = [
    "as",
    "as_of",
    "content_type",
    "definition",
    "died_as_of",
    "dry_run",
    "due",
    "edition",
    "expires_in",
    "filter",
    "for",
    "force",
    "from",
    "id",
    "ids",
    "key",
    "name",
    "on",
    "outcome",
    "rate",
    "redirect",
    "role",
    "saga",
    "seen",
    "stop_at",
    "task",
    "to",
    "version",
    "wait_s",
];
/// The largest value that is kept whole, in bytes of JSON.
const VALUE_BYTES_MAX: usize = 2_048;
/// Where the things stand that are meant one by one: kept whole, since nothing else says which they were.
const IDS: &str = "ids";
/// As many of them as any route takes.
const IDS_MAX: usize = 500;
/// The longest of them, in bytes: a UUID as text.
const ID_BYTES_MAX: usize = 36;
/// Longest reason that is kept, in characters: what the API takes.
const WHY_CHARS_MAX: usize = 2_000;
/// Longest path that is kept, in characters.
const PATH_CHARS_MAX: usize = 500;

/// What a handler has to say of the action it carries out; read when it has answered. Clones say the same thing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said(Arc<Mutex<Notes>>);

#[derive(Debug, Default)]
struct Notes {
    object: Option<String>,
    after: Option<Value>,
}

impl Said {
    /// What it is done to, where the path does not say it: `sagas/<id>`.
    pub(crate) fn object(&self, object: String) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.object = Some(object);
    }

    /// What came of an action on many, in numbers, however it ended: what is done to one is read from that one.
    pub(crate) fn came(&self, after: Value) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.after = Some(after);
    }

    fn take(&self) -> Notes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is known of the routes.
pub(super) struct Auditing {
    api: Arc<Api>,
    operations: HashMap<(String, String), Operation>,
}

/// A route: what it is called, and the role it wants.
#[derive(Debug, Clone)]
struct Operation {
    name: String,
    role: Role,
}

impl Auditing {
    /// By the document of the API: method and path of each operation.
    pub(super) fn new(api: Arc<Api>, document: &str) -> Self {
        let document: Value = serde_json::from_str(document).unwrap_or_default();
        let mut operations = HashMap::new();
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                let (name, role) = (&operation["operationId"], &operation["x-role"]);
                let role = role.as_str().and_then(Role::of);
                if let (Some(name), Some(role)) = (name.as_str(), role) {
                    let name = name.to_owned();
                    let key = (method.to_uppercase(), path.clone());
                    operations.insert(key, Operation { name, role });
                }
            }
        }
        Self { api, operations }
    }

    fn operation(&self, request: &Request) -> Option<Operation> {
        let path = request.extensions().get::<MatchedPath>()?.as_str();
        let key = (request.method().as_str().to_owned(), path.to_owned());
        self.operations.get(&key).cloned()
    }
}

/// Writes down what is asked for, has it done, and writes down what came of it.
pub(super) async fn audited(
    axum::extract::State(auditing): axum::extract::State<Arc<Auditing>>,
    request: Request,
    next: Next,
) -> Response {
    let (Some(operation), Some(caller)) = (
        auditing.operation(&request),
        request.extensions().get::<Caller>().cloned(),
    ) else {
        // no route of ours, or nobody: answered as such, and nothing is done
        return next.run(request).await;
    };
    let mut entry = entry(&auditing.api, &operation, &caller, &request);
    let looks = matches!(*request.method(), Method::GET | Method::HEAD)
        || LOOKS.contains(&operation.name.as_str());
    if looks || caller.token.role < operation.role {
        let response = next.run(request).await;
        if response.status() == StatusCode::FORBIDDEN {
            refused(&auditing.api, entry, outcome(&response)).await;
        }
        return response;
    }
    let room = auditing.api.router.takes_starts() && !auditing.api.audit.is_behind();
    if operation.name == START && !room {
        // What is turned away at the door is no action. A flood of it would load the store that has too much to do already.
        return Problem::busy().into_response();
    }
    let (request, asked) = match read(request).await {
        Ok(read) => read,
        Err(problem) => return problem.into_response(),
    };
    let rehearsed = REHEARSED.contains(&operation.name.as_str());
    if rehearsed && asked.get("dry_run") == Some(&Value::Bool(true)) {
        return next.run(request).await;
    }
    asks(&mut entry, &asked);
    let api = auditing.api.clone();
    if let Some((object, before)) = standing(&api, &entry.object, entry.part.as_deref()).await {
        (entry.object, entry.before) = (object, Some(before));
    }
    let written = match api.audit.write(entry.clone()).await {
        Ok(row) => row,
        Err(error) => return unwritten(&error).into_response(),
    };
    let doing = tokio::spawn(async move {
        let response = next.run(request).await;
        let done = came_of(&api, entry, written.seq, &caller.said, outcome(&response)).await;
        if let Err(error) = api.audit.write(done).await {
            tracing::error!(row = written.seq, %error, "what came of an action could not be written into the audit log; that it was asked for is there");
        }
        response
    });
    doing.await.unwrap_or_else(|_| failed().into_response())
}

fn unwritten(error: &crate::audit::NotWritten) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "audit",
        "The action cannot be written down",
        format!("nothing was done, since nothing is done that is not in the audit log: {error}"),
    )
    .again_after_s(5)
}

fn failed() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "failed",
        "The request failed",
        "a defect ended it half way, see the orchestrator's log; look at how things stand before you ask again",
    )
}

async fn refused(api: &Api, mut entry: AuditEntry, outcome: AuditOutcome) {
    let Some(left_out) = api.audit.refusal(&entry.who, entry.at) else {
        return;
    };
    entry.phase = AuditPhase::Refused;
    entry.uncounted = (left_out > 0).then_some(left_out);
    entry.outcome = Some(outcome);
    if let Err(error) = api.audit.write(entry).await {
        tracing::error!(%error, "a refusal could not be written into the audit log");
    }
}

/// Who asks for what, from where; nothing of a body yet.
fn entry(api: &Api, operation: &Operation, caller: &Caller, request: &Request) -> AuditEntry {
    let matched = request.extensions().get::<MatchedPath>();
    let original = request.extensions().get::<OriginalUri>();
    let path = original.map_or_else(|| request.uri().path(), |OriginalUri(uri)| uri.path());
    let (object, part) = place(matched.map_or("", MatchedPath::as_str), path);
    AuditEntry {
        part,
        ..row(api, caller, AuditPhase::Asked, &operation.name, object)
    }
}

/// A row as it begins: who, from where, what, on what.
fn row(api: &Api, caller: &Caller, phase: AuditPhase, action: &str, object: String) -> AuditEntry {
    AuditEntry {
        seq: 0,
        prev: String::new(),
        at: clock::now(),
        phase,
        of: None,
        action: action.to_owned(),
        object,
        part: None,
        who: caller.token.name.clone(),
        behalf: caller.behalf.clone(),
        role: caller.token.role.as_str().to_owned(),
        why: None,
        from: caller.from.clone(),
        forwarded: caller.forwarded.clone(),
        request: caller.request.clone(),
        instance: api.me.name.clone(),
        asked: None,
        before: None,
        after: None,
        outcome: None,
        uncounted: None,
    }
}

/// The object of a path, and which part of it: the object ends with the first part of the path that has a name of its own, and words that say what is
/// done belong to neither.
fn place(matched: &str, path: &str) -> (String, Option<String>) {
    let cut = |text: &str| text.chars().take(PATH_CHARS_MAX).collect::<String>();
    let own = |path: &str| -> Vec<String> {
        let path = path.strip_prefix(document::PREFIX).unwrap_or(path);
        let parts = path.trim_start_matches('/').split('/');
        parts.map(str::to_owned).collect()
    };
    let (matched, path) = (own(matched), own(path));
    let named = |part: &String| part.starts_with('{');
    let first = matched.iter().position(named);
    let last = matched.iter().rposition(named);
    let (Some(first), Some(last)) = (first, last) else {
        return (cut(&path.join("/")), None);
    };
    let upto = |from: usize, to: usize| path.get(from..to).unwrap_or_default().join("/");
    let part = upto(first + 1, last + 1);
    (
        cut(&upto(0, first + 1)),
        (!part.is_empty()).then(|| cut(&part)),
    )
}

/// The request as it was, and what is known of its body, where that is JSON.
async fn read(request: Request) -> Result<(Request, Map<String, Value>), Problem> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    if !is_json(kind.and_then(|kind| kind.to_str().ok())) {
        return Ok((request, Map::new()));
    }
    // the limit of the body is one of the request's own extensions, and stays with both of its halves
    let (parts, body) = request.into_parts();
    let reading = Request::from_parts(parts.clone(), body);
    let bytes = in_time(Bytes::from_request(reading, &())).await?;
    let bytes = bytes.map_err(|no| unreadable(no.status(), no.body_text()))?;
    let asked = match serde_json::from_slice(&bytes) {
        Ok(Value::Object(asked)) => asked,
        // whoever takes it says what is wrong with it
        Ok(_) | Err(_) => Map::new(),
    };
    Ok((Request::from_parts(parts, Body::from(bytes)), asked))
}

/// What the body says of why, on whose behalf, and how.
fn asks(entry: &mut AuditEntry, asked: &Map<String, Value>) {
    let said = |name: &str| asked.get(name).and_then(Value::as_str);
    let why = said("reason").or_else(|| said("note")).map(str::trim);
    entry.why = why
        .filter(|why| !why.is_empty())
        .map(|why| why.chars().take(WHY_CHARS_MAX).collect());
    if let Some(by) = said("by").and_then(cleaned) {
        entry.behalf = Some(by);
    }
    let kept = kept(asked);
    entry.asked = (!kept.is_empty()).then_some(Value::Object(kept));
}

/// What of a body stands in the log.
fn kept(asked: &Map<String, Value>) -> Map<String, Value> {
    let kept = asked
        .iter()
        .filter(|(name, _)| KEPT.contains(&name.as_str()));
    kept.map(|(name, value)| {
        let value = match value {
            Value::Array(ids) if name == IDS && are_ids(ids) => value.clone(),
            _ => bounded(&without_words(value)),
        };
        (name.clone(), value)
    })
    .collect()
}

fn are_ids(ids: &[Value]) -> bool {
    let is_id = |id: &Value| id.as_str().is_some_and(|id| id.len() <= ID_BYTES_MAX);
    ids.len() <= IDS_MAX && ids.iter().all(is_id)
}

/// What is looked for in errors and bodies may be a secret itself: that it was looked for is kept, and not what.
const WORDS: [&str; 2] = ["text", "error"];

/// A filter without the words that are looked for.
fn without_words(value: &Value) -> Value {
    let mut value = value.clone();
    for name in WORDS {
        if let Some(word) = value.get_mut(name).filter(|word| word.is_string()) {
            *word = "***".into();
        }
    }
    value
}

/// The same of the query of an address.
fn query_without_words(query: &str) -> String {
    let parts = query.split('&').map(|part| match part.split_once('=') {
        Some((name, _)) if WORDS.contains(&name) => format!("{name}=***"),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("&")
}

fn bounded(value: &Value) -> Value {
    let bytes = value.to_string().len();
    if bytes <= VALUE_BYTES_MAX {
        return value.clone();
    }
    Value::String(format!("({bytes} bytes)"))
}

async fn came_of(
    api: &Api,
    asked: AuditEntry,
    seq: u64,
    said: &Said,
    outcome: AuditOutcome,
) -> AuditEntry {
    let notes = said.take();
    let object = notes.object.unwrap_or_else(|| asked.object.clone());
    let after = match (notes.after, outcome.status) {
        (Some(after), _) => Some(after),
        (None, 200..300) => {
            let stands = standing(api, &object, asked.part.as_deref()).await;
            stands.map(|(_, after)| after)
        }
        // what was refused changed nothing
        (None, _) => None,
    };
    AuditEntry {
        at: clock::now(),
        phase: AuditPhase::Done,
        of: Some(seq),
        object,
        after,
        outcome: Some(outcome),
        ..asked
    }
}

fn outcome(response: &Response) -> AuditOutcome {
    let kind = response.extensions().get::<Kind>();
    AuditOutcome {
        status: response.status().as_u16(),
        problem: kind.map(|Kind(kind)| (*kind).to_owned()),
    }
}

impl Api {
    /// Somebody is shown what not everybody may see: written down before it is shown, with which of many were asked for.
    pub(super) async fn seen(
        &self,
        caller: &Caller,
        action: &str,
        object: String,
    ) -> Result<(), Problem> {
        let mut entry = row(self, caller, AuditPhase::Seen, action, object);
        let which = caller.query.as_deref().map(query_without_words);
        entry.asked = which.map(|which| json!({ "filter": bounded(&which.into()) }));
        let written = self.audit.write(entry).await;
        written.map(drop).map_err(|error| unwritten(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_what_has_a_name_and_what_is_done_to_it_is_not_part_of_it() {
        let of = |matched, path| {
            let (object, part) = place(matched, path);
            (object, part.unwrap_or_default())
        };
        let pair = |object: &str, part: &str| (object.to_owned(), part.to_owned());
        assert_eq!(
            of("/v1/sagas/{id}/cancel", "/v1/sagas/0190/cancel"),
            pair("sagas/0190", "")
        );
        assert_eq!(
            of(
                "/v1/sagas/{id}/steps/{step}/retry",
                "/v1/sagas/0190/steps/a/retry"
            ),
            pair("sagas/0190", "steps/a")
        );
        assert_eq!(
            of(
                "/v1/dead-letters/operations/{id}/pause",
                "/v1/dead-letters/operations/7/pause"
            ),
            pair("dead-letters/operations/7", "")
        );
        assert_eq!(
            of(
                "/v1/schedules/{definition}/{trigger}/fire",
                "/v1/schedules/d/0/fire"
            ),
            pair("schedules/d", "0")
        );
        assert_eq!(of("/v1/tokens", "/v1/tokens"), pair("tokens", ""));
    }

    #[test]
    fn of_a_body_only_what_can_be_no_secret_is_kept() {
        let api_entry = || AuditEntry {
            seq: 0,
            prev: String::new(),
            at: clock::now(),
            phase: AuditPhase::Asked,
            of: None,
            action: "startSaga".to_owned(),
            object: "sagas".to_owned(),
            part: None,
            who: "ci".to_owned(),
            behalf: None,
            role: "operator".to_owned(),
            why: None,
            from: "::1".to_owned(),
            forwarded: None,
            request: "r".to_owned(),
            instance: "o".to_owned(),
            asked: None,
            before: None,
            after: None,
            outcome: None,
            uncounted: None,
        };
        let body = json!({
            "definition": "d", "input": { "password": "hunter2" }, "output": "hunter2", "body": "hunter2", "labels": { "a": "hunter2" },
            "reason": "  because ", "by": "anna\n", "id": "x".repeat(3_000), "filter": { "queue": "q", "text": "hunter2" },
        });
        let mut entry = api_entry();
        asks(&mut entry, body.as_object().unwrap());
        assert_eq!(entry.why.as_deref(), Some("because"));
        assert_eq!(entry.behalf.as_deref(), Some("anna"));
        assert_eq!(
            entry.asked,
            Some(
                json!({ "definition": "d", "id": "(3002 bytes)", "filter": { "queue": "q", "text": "***" } })
            )
        );
        assert!(!serde_json::to_string(&entry).unwrap().contains("hunter2"));
        let query = query_without_words("state=dead&text=hunter2&queue=q&error=hunter2");
        assert_eq!(query, "state=dead&text=***&queue=q&error=***");
    }

    #[test]
    fn what_is_meant_one_by_one_is_kept_whole_and_nothing_else_that_is_as_long() {
        let ids = |count: u128| -> Vec<Value> {
            let id = |n| json!(uuid::Uuid::from_u128(n));
            (0..count).map(id).collect()
        };
        assert!(are_ids(&ids(500)));
        assert!(!are_ids(&ids(501)));
        assert!(!are_ids(&[json!("x".repeat(37))]));
        assert!(!are_ids(&[json!(7)]));
        let body = json!({ "ids": ids(500), "to": ids(500) });
        let kept = kept(body.as_object().unwrap());
        assert_eq!(kept["ids"], body["ids"]);
        assert_eq!(kept["to"], json!("(19501 bytes)"));
    }

    #[test]
    fn every_operation_that_changes_something_is_known_by_its_name() {
        let document: Value = serde_json::from_str(&super::super::openapi().unwrap()).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let guards_itself = path.starts_with("/v1/hooks/");
                if method != "get" && !guards_itself {
                    assert!(operation["operationId"].is_string(), "{method} {path}");
                    let role = operation["x-role"].as_str().and_then(Role::of);
                    assert!(role.is_some(), "{method} {path}");
                }
            }
        }
    }
}
