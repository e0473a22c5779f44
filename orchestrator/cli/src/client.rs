//! The way to the orchestrator: one HTTP client, the token, and problem documents made into errors.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, Url};
use serde_json::Value;

use crate::args::{Global, URL_DEFAULT};
use crate::error::CliError;
use crate::sse::Events;

/// Longer than the orchestrator takes to say that it could not commit, or holds back an answer for one who waits.
const ANSWER_WAIT: Duration = Duration::from_secs(45);
/// How long a connection may take.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How long one stream may last: as long as anybody looks.
const STREAM_WAIT: Duration = Duration::from_secs(366 * 86_400);
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
        let url = address(&global.url)?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_WAIT)
            .build()
            .map_err(|source| CliError::NoClient { source })?;
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
        self.json(self.request(Method::GET, &with_query(path, query)))
            .await
    }

    /// An answer that is no JSON.
    pub(crate) async fn get_text(&self, path: &str) -> Result<String, CliError> {
        let response = self.sent(self.request(Method::GET, path)).await?;
        response.text().await.map_err(|source| self.unread(source))
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

    /// As [`Self::post`], of what takes so much longer than other things.
    pub(crate) async fn post_long(
        &self,
        path: &str,
        body: &Value,
        longer: Duration,
    ) -> Result<Value, CliError> {
        let request = self.request(Method::POST, path).json(body);
        self.json(request.timeout(ANSWER_WAIT + longer)).await
    }

    /// A body that is no plain JSON document.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: String,
    ) -> Result<Value, CliError> {
        let request = self.request(method, path).header("content-type", kind);
        self.json(request.body(body)).await
    }

    /// An answer of any length, piece by piece.
    pub(crate) async fn stream(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Pieces, CliError> {
        let request = self
            .request(Method::GET, &with_query(path, query))
            .timeout(STREAM_WAIT);
        Ok(Pieces {
            response: self.sent(request).await?,
            url: self.url.clone(),
        })
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), CliError> {
        self.sent(self.request(Method::DELETE, path)).await?;
        Ok(())
    }

    /// Server-sent events, from after the last one heard.
    pub(crate) async fn events(
        &self,
        path: &str,
        query: &[(&str, String)],
        last: Option<&str>,
    ) -> Result<Events, CliError> {
        let mut request = self
            .request(Method::GET, &with_query(path, query))
            .timeout(STREAM_WAIT)
            .header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = self.sent(request).await?;
        Ok(Events::new(response, self.url.clone()))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .timeout(ANSWER_WAIT)
            .bearer_auth(&self.token);
        if let Some(by) = &self.by {
            request = request.header("baton-by", by);
        }
        request
    }

    async fn sent(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let response = request
            .send()
            .await
            .map_err(|source| CliError::Unreachable {
                url: self.url.clone(),
                source: source.without_url(),
            })?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(problem(response).await)
    }

    async fn json(&self, request: RequestBuilder) -> Result<Value, CliError> {
        let response = self.sent(request).await?;
        response.json().await.map_err(|source| self.unread(source))
    }

    fn unread(&self, source: reqwest::Error) -> CliError {
        CliError::Answer {
            url: self.url.clone(),
            source: source.without_url(),
        }
    }
}

/// An answer of any length.
pub(crate) struct Pieces {
    response: Response,
    url: String,
}

impl Pieces {
    /// The next piece; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, CliError> {
        let piece = self.response.chunk().await;
        let piece = piece.map_err(|source| CliError::Answer {
            url: self.url.clone(),
            source: source.without_url(),
        })?;
        Ok(piece.map(|piece| piece.to_vec()))
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
    let detail = match document["title"].as_str() {
        // who is not let in wants to know why first
        Some(title) if status == 401 => format!("{title}: {detail}"),
        _ => detail,
    };
    CliError::Problem {
        status,
        detail,
        next: next(status, &document),
        document: Box::new(document),
    }
}

/// Where somebody looks who was refused.
fn next(status: u16, document: &Value) -> Option<String> {
    let kind = document["type"].as_str().unwrap_or_default();
    let text = match (kind.rsplit(':').next().unwrap_or_default(), status) {
        ("no-saga", _) => "baton ls",
        ("key-reused", _) => {
            let saga = document["saga"].as_str().unwrap_or("SAGA");
            return Some(format!("baton show {saga}"));
        }
        ("token-taken", _) => "baton token ls; another name, or first baton token revoke NAME",
        ("token-fixed" | "too-many", _) => "baton token ls",
        ("definition-differs", _) => "raise `version:` in the file, then baton apply again",
        (_, 401) => {
            "--token-file FILE or BATON_TOKEN names another; an admin makes one: baton token create NAME --role operator"
        }
        (_, 403) => {
            "baton token whoami tells what yours may do; an admin makes another: baton token create NAME --role ROLE"
        }
        (_, 429 | 503) => "the same again in a moment; <url>/readyz tells what is wrong",
        _ => return None,
    };
    Some(text.to_owned())
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

/// A file with a token.
fn read(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .map_err(|source| CliError::File {
            path: path.to_path_buf(),
            near: None,
            next: "--token-file or BATON_TOKEN_FILE names a file with a token, BATON_TOKEN a token itself; an orchestrator keeps its first one in <data_dir>/token".to_owned(),
            source,
        })
}

/// Where the orchestrator listens, without a slash at the end.
fn address(given: &str) -> Result<String, CliError> {
    let is_one = Url::parse(given)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if is_one {
        return Ok(given.trim_end_matches('/').to_owned());
    }
    // `localhost:8470` is a URL as well, of the scheme `localhost`
    let with_scheme = format!("http://{given}");
    let meant = match Url::parse(&with_scheme) {
        Ok(_) if !given.contains("//") && given.contains(':') => with_scheme,
        _ => URL_DEFAULT.to_owned(),
    };
    Err(CliError::usage_then(
        format!("`{given}` is no URL of an orchestrator: http://HOST:PORT, or https://"),
        format!("--url {meant}, or the same in BATON_URL"),
    ))
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
    use serde_json::json;

    use super::*;

    #[test]
    fn who_is_refused_learns_where_to_look() {
        let reused = json!({"type": "urn:baton:problem:key-reused", "saga": "s1"});
        assert_eq!(next(409, &reused).unwrap(), "baton show s1");
        assert!(next(401, &json!({})).unwrap().contains("token create"));
        assert!(next(403, &json!({})).unwrap().contains("whoami"));
        assert_eq!(next(422, &json!({})), None);
    }

    #[test]
    fn what_is_no_url_says_how_one_is_written() {
        let next = |given: &str| {
            let error = address(given).unwrap_err();
            assert!(error.to_string().contains("no URL"), "{error}");
            error.next("ls").unwrap()
        };
        assert!(next("localhost:8471").starts_with("--url http://localhost:8471,"));
        assert!(next("10.0.0.7:8471").starts_with("--url http://10.0.0.7:8471,"));
        for given in ["foo", "", "http://", "ftp://a", "file:///a", "http:// a"] {
            assert!(
                next(given).starts_with(&format!("--url {URL_DEFAULT},")),
                "{given}"
            );
        }
        assert_eq!(
            address("https://a.example/b/").unwrap(),
            "https://a.example/b"
        );
    }

    #[test]
    fn what_is_asked_for_is_escaped() {
        let query = [("label", "host=a b".to_owned()), ("limit", "5".to_owned())];
        assert_eq!(
            with_query("/v1/sagas", &query),
            "/v1/sagas?label=host%3Da%20b&limit=5"
        );
    }
}
