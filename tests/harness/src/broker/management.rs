//! The broker's management API: how tests look at queues from outside, without the client library under test.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A management call that takes longer than this has no answer: the node is stopped, paused or overloaded.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// A client of one node's management API.
#[derive(Clone, Debug)]
pub struct Management {
    base: String,
    user: String,
    password: String,
    http: reqwest::Client,
}

impl Management {
    /// A client that speaks to `base` (`http://host:port`) as `user`.
    pub fn new(base: String, user: &str, password: &str) -> Self {
        // no pool: tests of one process live on different runtimes, a pooled connection on only one
        let built = reqwest::Client::builder()
            .pool_max_idle_per_host(0)
            .timeout(CALL_LIMIT)
            .no_proxy()
            .build();
        let http = built.unwrap_or_else(|error| panic!("cannot build an HTTP client: {error}"));
        Self {
            base,
            user: user.to_owned(),
            password: password.to_owned(),
            http,
        }
    }

    /// `http://host:port`, without credentials.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// `GET`, as an error when the node does not answer with success.
    pub async fn try_get(&self, path: &str) -> Result<Value> {
        self.call(reqwest::Method::GET, path, None).await
    }

    /// `PUT` with a JSON body.
    pub async fn try_put(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(reqwest::Method::PUT, path, Some(body)).await
    }

    /// `POST` with a JSON body.
    pub async fn try_post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(reqwest::Method::POST, path, Some(body)).await
    }

    /// `DELETE`.
    pub async fn try_delete(&self, path: &str) -> Result<Value> {
        self.call(reqwest::Method::DELETE, path, None).await
    }

    /// `GET`; panics when it fails.
    pub async fn get(&self, path: &str) -> Value {
        self.try_get(path)
            .await
            .unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// `PUT`; panics when it fails.
    pub async fn put(&self, path: &str, body: &Value) -> Value {
        self.try_put(path, body)
            .await
            .unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// `POST`; panics when it fails.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        self.try_post(path, body)
            .await
            .unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// `DELETE`; panics when it fails.
    pub async fn delete(&self, path: &str) -> Value {
        self.try_delete(path)
            .await
            .unwrap_or_else(|error| panic!("{error:#}"))
    }

    async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        let what = format!("{method} {}{path}", self.base);
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        request = request.basic_auth(&self.user, Some(&self.password));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| what.clone())?;
        let status = answer.status();
        let text = answer.text().await.with_context(|| what.clone())?;
        if !status.is_success() {
            bail!("{what}: {status} {text}");
        }
        Ok(if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).with_context(|| what)?
        })
    }
}

/// Percent-encodes a name as one segment of a path; `/` included, for the default virtual host is called that.
pub(crate) fn segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
