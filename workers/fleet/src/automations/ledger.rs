//! The ledger's HTTP contract, as `test.effect` speaks it: effects are named by a key, doing one that stands and undoing one that does not
//! change nothing.

use std::time::Duration;

use baton_worker::{Context, TaskError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How long the ledger may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Why the ledger cannot be spoken to at all.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// No client can be made.
    #[error("no HTTP client can be made")]
    Client(#[from] reqwest::Error),
    /// The address is none.
    #[error("`{0}` is no http:// address")]
    Address(String),
}

/// A ledger at an address.
#[derive(Debug, Clone)]
pub struct Ledger {
    url: String,
    http: reqwest::Client,
}

/// Which way an effect goes.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    Do,
    Undo,
}

#[derive(Serialize)]
struct Call<'a> {
    key: &'a str,
    direction: Way,
    saga: String,
    step: &'a str,
    run: String,
    value: &'a Value,
}

/// How an effect stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Never,
    Applied,
    Reverted,
}

#[derive(Deserialize)]
struct Effect {
    state: State,
}

#[derive(Deserialize)]
struct Entered {
    changed: bool,
}

impl Ledger {
    /// The ledger at this address.
    ///
    /// # Errors
    /// [`LedgerError`] when the address is none.
    pub fn at(url: &str) -> Result<Self, LedgerError> {
        let trimmed = url.trim_end_matches('/');
        let parsed = reqwest::Url::parse(trimmed).ok();
        if parsed.is_none_or(|parsed| parsed.scheme() != "http") {
            return Err(LedgerError::Address(url.to_owned()));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .no_proxy()
            .build()?;
        Ok(Self {
            url: trimmed.to_owned(),
            http,
        })
    }

    /// Makes or takes back an effect; whether that changed anything.
    pub(crate) async fn enter(
        &self,
        context: &Context,
        key: &str,
        way: Way,
        value: &Value,
    ) -> Result<bool, TaskError> {
        let of = context.of();
        let call = Call {
            key,
            direction: way,
            saga: of.saga.to_string(),
            step: of.step.as_str(),
            run: context.run().to_string(),
            value,
        };
        let sent = self
            .http
            .post(format!("{}/effects", self.url))
            .timeout(context.remaining())
            .json(&call)
            .send()
            .await;
        let answer = sent.map_err(|error| not_answered(&error))?;
        let status = answer.status();
        if status.is_client_error() {
            let code = format!("http-{}", status.as_u16());
            return Err(TaskError::failed(code, "the ledger refuses the call"));
        }
        if !status.is_success() {
            let code = format!("http-{}", status.as_u16());
            return Err(TaskError::unknown(
                code,
                "the ledger had trouble with the call",
            ));
        }
        let entered: Entered = answer.json().await.map_err(|error| not_answered(&error))?;
        Ok(entered.changed)
    }

    /// How an effect stands; changes nothing, so that whatever goes wrong has changed nothing.
    pub(crate) async fn state(&self, context: &Context, key: &str) -> Result<State, TaskError> {
        let failed = |error: reqwest::Error| {
            TaskError::failed("ledger-silent", error.without_url().to_string()).retryable()
        };
        let mut url = reqwest::Url::parse(&self.url)
            .map_err(|error| TaskError::failed("ledger-address", format!("no address: {error}")))?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.push("effects").push(key);
        }
        let asked = self.http.get(url).timeout(context.remaining()).send().await;
        let answer = asked
            .and_then(reqwest::Response::error_for_status)
            .map_err(failed)?;
        let effect: Effect = answer.json().await.map_err(failed)?;
        Ok(effect.state)
    }
}

/// Nothing was sent when there was no connection; after that nobody can say.
fn not_answered(error: &reqwest::Error) -> TaskError {
    let message = format!("the ledger did not answer: {error}");
    if error.is_connect() {
        TaskError::failed("ledger-unreachable", message).retryable()
    } else {
        TaskError::unknown("ledger-silent", message)
    }
}
