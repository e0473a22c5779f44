//! The way to the orchestrator: one HTTP client, the token, and problem documents made into errors.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

use crate::args::Global;
use crate::error::CliError;

/// Longer than the orchestrator takes to say that it could not commit, or holds back an answer for one who waits.
const ANSWER_WAIT: Duration = Duration::from_secs(45);
/// How long a connection may take.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Where an orchestrator of this machine keeps its token.
const TOKEN_FILES: [&str; 2] = [".data/token", "/var/lib/baton/token"];

/// The way to one orchestrator.
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
    by: Option<String>,
}

impl Client {
    pub(crate) fn new(global: &Global) -> Result<Self, CliError> {
        let url = global.url.trim_end_matches('/').to_owned();
        let http = reqwest::Client::builder()
            .timeout(ANSWER_WAIT)
            .connect_timeout(CONNECT_WAIT)
            .build()
            .map_err(|source| CliError::Answer {
                url: url.clone(),
                source,
            })?;
        Ok(Self {
            http,
            url,
            token: token(global)?,
            by: global.by.clone().or_else(|| std::env::var("USER").ok()),
        })
    }

    pub(crate) async fn get(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Value, CliError> {
        let request = self.request(Method::GET, &with_query(path, query));
        self.json(request).await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        body: &Value,
        key: Option<&str>,
    ) -> Result<Value, CliError> {
        let mut request = self.request(Method::POST, path).json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.json(request).await
    }

    pub(crate) async fn put_yaml(&self, path: &str, body: String) -> Result<Value, CliError> {
        let request = self
            .request(Method::PUT, path)
            .header("content-type", "application/yaml")
            .body(body);
        self.json(request).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(&self.token);
        if let Some(by) = &self.by {
            request = request.header("baton-by", by);
        }
        request
    }

    async fn json(&self, request: RequestBuilder) -> Result<Value, CliError> {
        let response = request
            .send()
            .await
            .map_err(|source| CliError::Unreachable {
                url: self.url.clone(),
                source,
            })?;
        if !response.status().is_success() {
            return Err(problem(response).await);
        }
        response.json().await.map_err(|source| CliError::Answer {
            url: self.url.clone(),
            source,
        })
    }
}

async fn problem(response: Response) -> CliError {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap_or_default();
    let document: Value = serde_json::from_str(&text).unwrap_or_default();
    let detail = document["detail"].as_str().map_or_else(
        || format!("the orchestrator answers {status}: {text}"),
        str::to_owned,
    );
    let kind = document["type"].as_str().unwrap_or_default();
    let next = match kind.rsplit(':').next().unwrap_or_default() {
        "no-saga" => Some("baton ls".to_owned()),
        "no-token" => Some("baton --token-file <data_dir>/token …".to_owned()),
        _ => None,
    };
    CliError::Problem {
        status,
        detail,
        next,
    }
}

fn token(global: &Global) -> Result<String, CliError> {
    if let Some(token) = &global.token {
        return Ok(token.trim().to_owned());
    }
    if let Some(path) = &global.token_file {
        return read(path);
    }
    TOKEN_FILES
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .map_or_else(
            || {
                Err(CliError::NoToken {
                    looked: TOKEN_FILES.join(", "),
                })
            },
            |path| read(&path),
        )
}

fn read(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .map_err(|source| CliError::File {
            path: path.to_path_buf(),
            source,
        })
}

/// A path with what is asked for; values are escaped.
fn with_query(path: &str, query: &[(&str, String)]) -> String {
    let mut text = path.to_owned();
    for (n, (name, value)) in query.iter().enumerate() {
        text.push(if n == 0 { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        text.push_str(&escaped(value));
    }
    text
}

/// Text as one part of a path or a query (RFC 3986, section 2.3: what is unreserved stays).
pub(crate) fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_escaped() {
        let query = [("label", "host=a b".to_owned()), ("limit", "5".to_owned())];
        assert_eq!(
            with_query("/v1/sagas", &query),
            "/v1/sagas?label=host%3Da%20b&limit=5"
        );
    }
}
