//! `http.request@1`: one request to a web address, and what it means when it does not go well.
//!
//! What was never sent is *failed*: nothing can have happened. What the other end refused (4xx, 429) is *failed* as well. Where a request that
//! changes something was sent and no answer came, or the answer says only that something broke (5xx, 503 included: whoever stood between may
//! have said so after it was acted upon), the attempt is *unknown*: a `probe` in its input can find out. Sent again is only what may be: GET,
//! HEAD, PUT, DELETE, and what the input calls `repeatable`; no sooner than the server wants (`Retry-After`). It is undone by a request of the saga's own: `undo: { task: http.request@1, … }`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use baton_worker::{Asked, Automation, Context, Effect, Probe, SecretText, TaskError};
use hyper::header::{HeaderName, HeaderValue, RETRY_AFTER};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::http_client::{Answer, Ask, Client, SendError};
use super::http_words::{
    Auth, BODY_BYTES_DEFAULT, BODY_BYTES_MAX, Body, Expect, HttpAnswer, Verb, Wanted,
};
use super::span::Span;

/// The header by which a server knows that two requests are one.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// How long one answer may take where the input does not say.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// Kept from the time limit, to say what was seen.
const TIME_TO_SAY: Duration = Duration::from_millis(500);
/// How often a request that may be repeated is sent within one attempt.
const SENDS_MAX: u32 = 3;
/// Pause before it is sent again; doubled each time.
const SEND_AGAIN: Duration = Duration::from_millis(500);
/// The longest `Retry-After` that is handed on: beyond it a definition's own bounds count.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Sends requests.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    client: Client,
}

/// One request.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpRequestInput {
    /// What is done. GET and HEAD change nothing; everything else may.
    #[serde(default)]
    pub method: Verb,
    /// `http://` or `https://`, without user or password. What is private, loopback or link-local has to be named in the worker's
    /// `automations.net.allow`.
    #[schemars(length(min = 8, max = 2048), extend("x-target" = true))]
    pub url: String,
    /// Further headers; a value may be a secret. `Idempotency-Key` is set to the key of the step unless it stands here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, SecretText>,
    /// Who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// What is handed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// What has to be true of the answer; any `2xx` is good when absent.
    #[serde(default)]
    pub expect: Expect,
    /// Whether the server makes one of two requests with the same `Idempotency-Key`. Such a request is sent again when its answer was
    /// lost, or is 502, 503 or 504. GET, HEAD, PUT and DELETE always are; any other never.
    #[serde(default)]
    pub repeatable: bool,
    /// How long one answer may take, such as `5s`; 30 seconds when absent. Set the step's `timeout` longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_within: Option<Span>,
    /// How many redirects GET and HEAD follow; to another host never with headers or credentials of ours.
    #[serde(default)]
    #[schemars(range(max = 5))]
    pub redirects: u8,
    /// How much of the answer's body the output keeps, in bytes; 16384 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = BODY_BYTES_MAX))]
    pub keep_bytes: Option<u32>,
    /// How to find out whether it happened, when nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeRequest>,
}

/// A question that changes nothing: did it happen?
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeRequest {
    /// Asked by GET.
    #[schemars(length(min = 8, max = 2048))]
    pub url: String,
    /// Further headers; a value may be a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, SecretText>,
    /// Who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// When this holds, it happened, and the answer is the output of the step. Any other `2xx`, and 404 and 410, say that it did not.
    #[serde(default)]
    pub expect: Expect,
}

impl HttpRequest {
    /// Sends by this client.
    pub(crate) const fn by(client: Client) -> Self {
        Self { client }
    }
}

impl Automation for HttpRequest {
    const TYPE: &'static str = "http.request@1";
    const SUMMARY: &'static str = "Sends one HTTP request and returns the answer";
    const EFFECT: Effect = Effect::Reversible;
    const IDEMPOTENT: bool = false;
    const HAS_PROBE: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = 60_000;
    const NEEDS: &'static [&'static str] = &["private targets named in automations.net.allow"];
    type Input = HttpRequestInput;
    type Output = HttpAnswer;

    fn examples() -> Vec<HttpRequestInput> {
        vec![HttpRequestInput {
            method: Verb::Post,
            url: "https://tickets.example/api/tickets".to_owned(),
            auth: Some(Auth::Bearer(SecretText::reference("tickets"))),
            body: Some(Body::Json(serde_json::json!({ "title": "Host isolated" }))),
            expect: Expect {
                status: Some(super::http_words::Statuses::of(&[201])),
                ..Expect::default()
            },
            ..HttpRequestInput::default()
        }]
    }

    async fn run(
        &self,
        context: &Context,
        input: HttpRequestInput,
    ) -> Result<HttpAnswer, TaskError> {
        let mut ask = Wanted {
            verb: input.method,
            url: &input.url,
            headers: &input.headers,
            auth: input.auth.as_ref(),
            body: input.body.as_ref(),
            body_bytes_max: kept(input.keep_bytes),
            redirects_max: input.redirects,
        }
        .ask()?;
        with_key(&mut ask, context);
        let sending = Sending {
            client: &self.client,
            verb: input.method,
            repeatable: input.repeatable || input.method.is_repeatable(),
            wait: input.answer_within.map_or(ANSWER_WAIT, |span| span.0),
            expect: &input.expect,
        };
        let answer = sending.send(context, &ask).await?;
        Ok(HttpAnswer::of(&answer, &context.masks()))
    }

    async fn probe(
        &self,
        context: &Context,
        asked: Asked<Self>,
    ) -> Result<Probe<HttpAnswer>, TaskError> {
        let Some(probe) = asked.input.probe else {
            let none = "its input has no `probe` that could find out";
            return Ok(Probe::CannotTell(none.to_owned()));
        };
        let ask = Wanted {
            verb: Verb::Get,
            url: &probe.url,
            headers: &probe.headers,
            auth: probe.auth.as_ref(),
            body: None,
            body_bytes_max: kept(asked.input.keep_bytes),
            redirects_max: 0,
        }
        .ask()?;
        let deadline = deadline(context, ANSWER_WAIT);
        let answer = self.client.send(ask, deadline).await.map_err(|error| {
            let told = TaskError::failed(error.code(), error.to_string());
            if error.may_retry() {
                told.retryable()
            } else {
                told
            }
        })?;
        match (probe.expect.misses(&answer), answer.status) {
            (None, _) => Ok(Probe::Happened(HttpAnswer::of(&answer, &context.masks()))),
            (Some(_), 200..300 | 404 | 410) => Ok(Probe::DidNot),
            (Some(why), _) => {
                let message = format!("the probe was not answered: {why}");
                Err(TaskError::failed("no-answer", message).retryable())
            }
        }
    }
}

fn kept(keep_bytes: Option<u32>) -> usize {
    keep_bytes.map_or(BODY_BYTES_DEFAULT, |bytes| {
        usize::try_from(bytes.min(BODY_BYTES_MAX)).unwrap_or(BODY_BYTES_DEFAULT)
    })
}

/// The key of what this direction does: a server that remembers keys acts once, however often it is asked.
pub(crate) fn with_key(ask: &mut Ask, context: &Context) {
    if ask.headers.contains_key(&IDEMPOTENCY_KEY) {
        return;
    }
    if let Ok(key) = HeaderValue::from_str(&context.idempotency_key().to_string()) {
        ask.headers.insert(IDEMPOTENCY_KEY, key);
    }
}

fn deadline(context: &Context, wait: Duration) -> Instant {
    let left = context.remaining().saturating_sub(TIME_TO_SAY);
    Instant::now() + wait.min(left)
}

/// How one request is sent, and its answer judged.
pub(crate) struct Sending<'a> {
    pub(crate) client: &'a Client,
    pub(crate) verb: Verb,
    pub(crate) repeatable: bool,
    pub(crate) wait: Duration,
    pub(crate) expect: &'a Expect,
}

impl Sending<'_> {
    /// Sends it, again where its answer was lost and that does no harm.
    pub(crate) async fn send(&self, context: &Context, ask: &Ask) -> Result<Answer, TaskError> {
        // From the first request that may have been acted upon, no later refusal proves that nothing was changed.
        let mut may_have_acted = false;
        let mut pause = SEND_AGAIN;
        for number in 1.. {
            let error = match self.once(context, ask).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            may_have_acted |= !error.told.nothing_changed();
            let again = error.lost && self.repeatable && number < SENDS_MAX;
            let wait = error.after.map_or(pause, |after| after.max(pause));
            if !again || context.remaining() < wait + TIME_TO_SAY {
                return Err(if may_have_acted {
                    as_unknown(error.told)
                } else {
                    error.told
                });
            }
            tokio::select! {
                () = context.cancelled().cancelled() => return Err(as_unknown(error.told)),
                () = tokio::time::sleep(wait) => pause *= 2,
            }
        }
        Err(TaskError::failed("not-sent", "nothing was sent"))
    }

    async fn once(&self, context: &Context, ask: &Ask) -> Result<Answer, Unanswered> {
        if !context.still_allowed() {
            let told = TaskError::failed("stopped", "stopped before anything was sent");
            return Err(Unanswered::of(told.retryable()));
        }
        let sent = self.client.send(ask.clone(), deadline(context, self.wait));
        let sent = tokio::select! {
            () = context.cancelled().cancelled() => return Err(Unanswered::of(self.stopped())),
            sent = sent => sent,
        };
        match sent {
            Ok(answer) => match self.expect.misses(&answer) {
                None => Ok(answer),
                Some(why) => Err(self.unexpected(ask, &answer, &why)),
            },
            Err(error) => Err(self.no_answer(&error)),
        }
    }

    fn stopped(&self) -> TaskError {
        let said = "stopped while it waited for the answer";
        if self.verb.is_safe() {
            TaskError::failed("stopped", said).retryable()
        } else {
            TaskError::unknown("stopped", said)
        }
    }

    fn no_answer(&self, error: &SendError) -> Unanswered {
        let (code, message) = (error.code(), error.to_string());
        if error.may_be_sent() && !self.verb.is_safe() {
            return Unanswered::lost(TaskError::unknown(code, message));
        }
        let told = TaskError::failed(code, message);
        if error.may_retry() {
            Unanswered {
                lost: error.may_be_sent(),
                ..Unanswered::of(told.retryable())
            }
        } else {
            Unanswered::of(told)
        }
    }

    /// An answer that is not as expected.
    fn unexpected(&self, ask: &Ask, answer: &Answer, why: &str) -> Unanswered {
        let message = format!(
            "{} {} is not answered as expected: {why}",
            ask.method,
            super::http_client::shown(&ask.url)
        );
        let safe = self.verb.is_safe();
        match answer.status {
            503 if !safe => Unanswered {
                after: retry_after(answer),
                ..Unanswered::lost(TaskError::unknown("not-now", message))
            },
            429 | 503 => {
                let told = TaskError::failed("not-now", message).retryable();
                Unanswered::of(match retry_after(answer) {
                    Some(wait) => told.retry_after(wait),
                    None => told,
                })
            }
            408 | 425 => Unanswered::of(TaskError::failed("not-now", message).retryable()),
            400..500 => Unanswered::of(TaskError::failed("refused", message)),
            502 | 504 if safe => {
                Unanswered::lost(TaskError::failed("gateway", message).retryable())
            }
            502 | 504 => Unanswered::lost(TaskError::unknown("gateway", message)),
            500.. if safe => Unanswered::of(TaskError::failed("broken", message).retryable()),
            500.. => Unanswered::of(TaskError::unknown("broken", message)),
            _ if safe => Unanswered::of(TaskError::failed("not-as-expected", message)),
            // It was accepted, so that something was done, and it is not what was wanted.
            _ => Unanswered::of(TaskError::unknown("not-as-expected", message).is_final()),
        }
    }
}

/// One sending without the answer that was wanted.
struct Unanswered {
    told: TaskError,
    /// Whether sending it again may bring the answer.
    lost: bool,
    /// How long the server wants to be left alone before that.
    after: Option<Duration>,
}

impl Unanswered {
    const fn of(told: TaskError) -> Self {
        Self {
            told,
            lost: false,
            after: None,
        }
    }

    fn lost(told: TaskError) -> Self {
        Self {
            lost: true,
            ..Self::of(told)
        }
    }
}

fn as_unknown(told: TaskError) -> TaskError {
    if told.nothing_changed() {
        let message = format!("after a request whose answer was lost: {told}");
        return TaskError::unknown(told.code(), message);
    }
    told
}

/// When the server wants to be asked again.
fn retry_after(answer: &Answer) -> Option<Duration> {
    let said = answer.headers.get(RETRY_AFTER)?.to_str().ok()?;
    let wait = match said.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(said)
            .ok()?
            .duration_since(SystemTime::now())
            .ok()?,
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests;
