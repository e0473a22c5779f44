//! The orchestrator's HTTP API, as a patient caller uses it: an orchestrator that is away, starting or busy is asked again, with the same
//! key, until it answers.

use std::time::Duration;

use baton_harness::await_some;
use serde_json::{Value, json};

use crate::SOON;

/// One request; many are made.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// How long an orchestrator may be away before a patient caller gives up.
const AWAY_LIMIT: Duration = Duration::from_secs(120);
/// The largest page there is.
const PAGE: usize = 500;

/// A client of one orchestrator.
#[derive(Debug, Clone)]
pub struct Api {
    url: String,
    token: String,
    http: reqwest::Client,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, when it is JSON; else its text as a JSON string.
    pub body: Value,
    /// After how long it is worth while to ask again, where that was said.
    pub retry_after: Option<Duration>,
}

impl Api {
    pub(crate) fn at(url: &str, token: &str) -> Self {
        Self {
            url: url.to_owned(),
            token: token.to_owned(),
            http: client(REQUEST_LIMIT),
        }
    }

    /// The same API, whose answers may take so long.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        Self {
            http: client(limit),
            ..self.clone()
        }
    }

    /// The same API, asked with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks once; none when nobody answers.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        key: &str,
        body: Option<String>,
    ) -> Option<Answer> {
        let method = method.parse().expect("it is an HTTP method");
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(&self.token)
            .header("baton-by", "test");
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            let json = body.starts_with('{');
            let kind = if json {
                "application/json"
            } else {
                "application/yaml"
            };
            request = request.header("content-type", kind).body(body);
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let again = answer.headers().get("retry-after");
        let again = again.and_then(|seconds| seconds.to_str().ok()?.parse().ok());
        let text = answer.text().await.ok()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Some(Answer {
            status,
            body,
            retry_after: again.map(Duration::from_secs),
        })
    }

    /// Asks until somebody answers who can: not while it is away, starting, stopping or busy.
    pub async fn ask_patiently(
        &self,
        method: &str,
        path: &str,
        key: &str,
        body: Option<String>,
    ) -> Answer {
        let what = format!("an answer to {method} {path}");
        await_some(&what, AWAY_LIMIT, async || {
            let answer = self.ask(method, path, key, body.clone()).await?;
            (![429, 503].contains(&answer.status)).then_some(answer)
        })
        .await
    }

    /// What a figure of `/metrics` says now, by its name and, where it has some, its labels: `name{a="b"}`; none while it is not there.
    pub async fn figure(&self, name: &str) -> Option<u64> {
        let answer = self.ask("GET", "/metrics", "", None).await?;
        let mut lines = answer.body.as_str()?.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// Reads something that must be there.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.ask_patiently("GET", path, "", None).await;
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.body);
        answer.body
    }

    /// Registers a definition.
    pub async fn apply(&self, yaml: &str) {
        let answer = self
            .ask_patiently("PUT", "/v1/definitions", "", Some(yaml.to_owned()))
            .await;
        assert!(
            (200..300).contains(&answer.status),
            "the definition is refused: {} {}\n{yaml}",
            answer.status,
            answer.body
        );
    }

    /// Publishes a `CloudEvent`.
    pub async fn publish(&self, event: &Value) {
        let request = self.http.post(format!("{}/v1/events", self.url));
        let request = request
            .bearer_auth(&self.token)
            .header("content-type", "application/cloudevents+json")
            .body(event.to_string());
        let answer = request.send().await.expect("it answers");
        let status = answer.status().as_u16();
        assert_eq!(status, 202, "{:?}", answer.text().await);
    }

    /// Starts a saga; the same key is the same saga. Its id.
    pub async fn start(&self, definition: &str, input: &Value, key: &str) -> String {
        let body = json!({ "definition": definition, "input": input }).to_string();
        let answer = self
            .ask_patiently("POST", "/v1/sagas", key, Some(body))
            .await;
        assert!(
            (200..300).contains(&answer.status),
            "{definition} is not started: {} {}",
            answer.status,
            answer.body
        );
        text(&answer.body["id"])
    }

    /// Acts as an operator: `cancel`, `pause`, `steps/a/retry`.
    pub async fn act(&self, saga: &str, action: &str, body: Value) -> Answer {
        let key = uuid::Uuid::new_v4().to_string();
        let path = format!("/v1/sagas/{saga}/{action}");
        self.ask_patiently("POST", &path, &key, Some(body.to_string()))
            .await
    }

    /// One saga, whole.
    pub async fn saga(&self, id: &str) -> Value {
        self.get(&format!("/v1/sagas/{id}")).await
    }

    /// Where a saga stands.
    pub async fn status(&self, id: &str) -> String {
        text(&self.saga(id).await["status"])
    }

    /// Where a step of a saga stands.
    pub async fn phase(&self, id: &str, step: &str) -> String {
        let saga = self.saga(id).await;
        let steps = saga["steps"].as_array().cloned().unwrap_or_default();
        let found = steps.iter().find(|one| one["id"] == step);
        found.map_or_else(
            || format!("no step {step} in {saga}"),
            |one| text(&one["phase"]),
        )
    }

    /// All records of a saga, as text to be looked into and shown.
    pub async fn records(&self, id: &str) -> String {
        self.get(&format!("/v1/sagas/{id}/records"))
            .await
            .to_string()
    }

    /// Waits until a saga stands there. Panics at once when it has ended otherwise.
    #[track_caller]
    pub fn await_status<'a>(
        &'a self,
        id: &'a str,
        wanted: &'a str,
        limit: Duration,
    ) -> impl Future<Output = Value> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let begun = std::time::Instant::now();
            loop {
                let saga = self.saga(id).await;
                let status = text(&saga["status"]);
                if status == wanted {
                    return saga;
                }
                let ended = ["completed", "compensated", "abandoned"].contains(&status.as_str());
                if ended || begun.elapsed() > limit {
                    let records = self.records(id).await;
                    panic!("{caller}: saga {id} is {status} and not {wanted}: {saga}\n{records}");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Waits until a step of a saga stands there.
    pub async fn await_phase(&self, id: &str, step: &str, wanted: &str) {
        let what = format!("step {step} of {id} to be {wanted}");
        await_some(&what, SOON, async || {
            (self.phase(id, step).await == wanted).then_some(())
        })
        .await;
    }

    /// Every saga there is.
    pub async fn sagas(&self) -> Vec<Value> {
        self.all("/v1/sagas", "sagas").await
    }

    /// Every open work item.
    pub async fn work_items(&self) -> Vec<Value> {
        self.all("/v1/work-items", "work_items").await
    }

    /// Every dead letter, whole: a list has only the beginning of a body.
    pub async fn dead_letters(&self) -> Vec<Value> {
        let mut whole = Vec::new();
        for one in self.all("/v1/dead-letters", "dead_letters").await {
            let id = one["id"].as_str().expect("a letter has an id").to_owned();
            whole.push(self.get(&format!("/v1/dead-letters/{id}")).await);
        }
        whole
    }

    /// Whether a task type is in the catalogue.
    pub async fn is_known(&self, task_type: &str) -> bool {
        let types = self.get("/v1/task-types").await;
        types["task_types"]
            .as_array()
            .is_some_and(|types| types.iter().any(|one| one["task_type"] == task_type))
    }

    async fn all(&self, path: &str, name: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut next = String::new();
        loop {
            let page = self.get(&format!("{path}?limit={PAGE}{next}")).await;
            let rows = page[name].as_array().cloned();
            all.extend(rows.unwrap_or_else(|| panic!("GET {path} has no list {name:?}: {page}")));
            match page["next"].as_str() {
                Some(cursor) => next = format!("&cursor={cursor}"),
                None => return all,
            }
        }
    }
}

fn client(limit: Duration) -> reqwest::Client {
    let client = reqwest::Client::builder().timeout(limit).no_proxy();
    client.build().expect("an HTTP client can be built")
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
