//! `http.poll@1`: submits a job to another system, remembers its id, and asks until it is done.
//!
//! The id is stored as soon as it is known: a second attempt, a probe and an undo find the same job and submit nothing. A job the other system
//! calls failed has failed the step: it is believed. Undo asks it to take the job back (`cancel`), whether it still runs or is done.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_worker::{Asked, Automation, Context, Done, Effect, Probe, SecretText, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::form_urlencoded::byte_serialize;

use super::http_client::{Answer, Client};
use super::http_request::{Sending, with_key};
use super::http_words::{Auth, Body, Expect, Statuses, Verb, Wanted};
use super::span::Span;

/// Pause between two questions where the input does not say.
const EVERY: Duration = Duration::from_secs(2);
/// The shortest pause: more often only keeps the other system busy.
const EVERY_MIN: Duration = Duration::from_millis(100);
/// How long one answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// What of an answer is read, in bytes.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// How long the id of a job may be, in bytes: it becomes a part of addresses.
const JOB_BYTES_MAX: usize = 512;
/// Stands for the id of the job in addresses.
const JOB: &str = "{job}";

/// Submits and asks.
#[derive(Debug, Clone)]
pub struct HttpPoll {
    client: Client,
}

/// A job of another system.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpPollInput {
    /// The request that begins the job.
    pub submit: Submit,
    /// Where the answer to it has the job's id: a JSON pointer (RFC 6901), such as `/id`.
    #[schemars(regex(pattern = "^/"), length(max = 256))]
    pub job: String,
    /// How to find out how far it is.
    pub poll: Poll,
    /// How to take it back, for an undo. Without it an undo fails, and a person is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Cancel>,
    /// Headers of every request; a value may be a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, SecretText>,
    /// Who asks, in every request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
}

/// The request that begins a job. It carries the key of the step as `Idempotency-Key`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// POST, unless it says otherwise.
    #[serde(default = "post")]
    pub method: Verb,
    /// Where to.
    #[schemars(length(min = 8, max = 2048), extend("x-target" = true))]
    pub url: String,
    /// What is handed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// Whether the server makes one of two requests with the same `Idempotency-Key`: then it is sent again when its answer was lost.
    #[serde(default)]
    pub repeatable: bool,
}

/// How to find out how far a job is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    /// Asked by GET; `{job}` stands for the job's id.
    #[schemars(length(min = 8, max = 2048))]
    pub url: String,
    /// Where the answer has the state of the job: a JSON pointer.
    #[schemars(regex(pattern = "^(/.*)?$"), length(max = 256))]
    pub state: String,
    /// The states that say that it is done.
    #[schemars(length(min = 1, max = 32))]
    pub done: Vec<Value>,
    /// The states that say that it has failed, and changed nothing that lasts. Every other state says that it is still at work.
    #[schemars(length(max = 32))]
    pub failed: Vec<Value>,
    /// Where the answer has what is returned as `result`: a JSON pointer; the whole answer when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^(/.*)?$"), length(max = 256))]
    pub result: Option<String>,
    /// How often it is asked, such as `10s`; every 2 seconds when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Span>,
}

/// How to take a job back.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    /// DELETE, unless it says otherwise.
    #[serde(default = "delete")]
    pub method: Verb,
    /// `{job}` stands for the job's id. An answer of 404 or 410 says that there is no such job, which is as good.
    #[schemars(length(min = 8, max = 2048))]
    pub url: String,
    /// What is handed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
}

/// A job that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HttpPollOutput {
    /// Its id.
    pub job: String,
    /// Its state.
    pub state: Value,
    /// What it returned.
    pub result: Value,
}

const fn post() -> Verb {
    Verb::Post
}

const fn delete() -> Verb {
    Verb::Delete
}

/// One request of the job's.
struct One<'a> {
    verb: Verb,
    url: &'a str,
    body: Option<&'a Body>,
    repeatable: bool,
    expect: Expect,
}

/// How far a job is.
enum State {
    Done(HttpPollOutput),
    Failed(Value),
    AtWork(Value),
}

impl HttpPoll {
    /// Asks by this client.
    pub(crate) const fn by(client: Client) -> Self {
        Self { client }
    }

    async fn send(
        &self,
        context: &Context,
        input: &HttpPollInput,
        one: One<'_>,
    ) -> Result<Answer, TaskError> {
        let One {
            verb,
            url,
            body,
            repeatable,
            expect,
        } = one;
        let mut ask = Wanted {
            verb,
            url,
            headers: &input.headers,
            auth: input.auth.as_ref(),
            body,
            body_bytes_max: BODY_BYTES_MAX,
            redirects_max: 0,
        }
        .ask()?;
        with_key(&mut ask, context);
        let sending = Sending {
            client: &self.client,
            verb,
            repeatable: repeatable || verb.is_repeatable(),
            wait: ANSWER_WAIT,
            expect: &expect,
        };
        sending.send(context, &ask).await
    }

    /// Begins the job; its id, which is stored.
    async fn submit(&self, context: &Context, input: &HttpPollInput) -> Result<String, TaskError> {
        let of = &input.submit;
        let one = One {
            verb: of.method,
            url: &of.url,
            body: of.body.as_ref(),
            repeatable: of.repeatable,
            expect: Expect::default(),
        };
        let answer = self.send(context, input, one).await?;
        let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let job = match json.pointer(&input.job) {
            Some(Value::String(job)) if !job.is_empty() && job.len() <= JOB_BYTES_MAX => {
                job.clone()
            }
            Some(Value::Number(job)) => job.to_string(),
            _ => {
                let message = format!(
                    "the job was submitted, and the answer has no id at `{}`",
                    input.job
                );
                return Err(TaskError::unknown("no-job-id", message).is_final());
            }
        };
        context.checkpoint_progress(json!({ "job": job })).await?;
        Ok(job)
    }

    async fn state(
        &self,
        context: &Context,
        input: &HttpPollInput,
        job: &str,
    ) -> Result<State, TaskError> {
        let url = with_job(&input.poll.url, job);
        let one = One {
            verb: Verb::Get,
            url: &url,
            body: None,
            repeatable: true,
            expect: Expect::default(),
        };
        let answer = self.send(context, input, one).await?;
        let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let poll = &input.poll;
        let Some(state) = json.pointer(&poll.state).cloned() else {
            let message = format!("the answer has no state of the job at `{}`", poll.state);
            return Err(TaskError::failed("no-state", message));
        };
        if poll.failed.contains(&state) {
            return Ok(State::Failed(state));
        }
        if !poll.done.contains(&state) {
            return Ok(State::AtWork(state));
        }
        let result = match &poll.result {
            Some(at) => json.pointer(at).cloned().unwrap_or_default(),
            None => json,
        };
        Ok(State::Done(HttpPollOutput {
            job: job.to_owned(),
            state,
            result,
        }))
    }

    /// Asks until it is over one way or the other, or the run has to end.
    async fn wait(
        &self,
        context: &Context,
        input: &HttpPollInput,
        job: &str,
    ) -> Result<State, TaskError> {
        let every = input.poll.every.map_or(EVERY, |span| span.0).max(EVERY_MIN);
        loop {
            match self.state(context, input, job).await {
                Ok(State::AtWork(_)) => {}
                // The job goes on, whoever can be asked or not.
                Err(error) if error.may_retry() && context.still_allowed() => {}
                Err(error) => {
                    return Err(TaskError::unknown(error.code(), error.to_string()));
                }
                over => return over,
            }
            tokio::select! {
                () = context.cancelled().cancelled() => {
                    let message = format!("stopped while the job {job} was at work");
                    return Err(TaskError::unknown("stopped", message));
                }
                () = tokio::time::sleep(every) => {}
            }
        }
    }
}

impl Automation for HttpPoll {
    const TYPE: &'static str = "http.poll@1";
    const SUMMARY: &'static str = "Submits a job over HTTP and asks until it is done";
    const EFFECT: Effect = Effect::Reversible;
    const IDEMPOTENT: bool = false;
    const HAS_UNDO: bool = true;
    const HAS_PROBE: bool = true;
    const TIMEOUT_MS_DEFAULT: u64 = 600_000;
    const TIMEOUT_MS_MAX: u64 = 24 * 3_600_000;
    const NEEDS: &'static [&'static str] = &["private targets named in automations.net.allow"];
    type Input = HttpPollInput;
    type Output = HttpPollOutput;

    fn examples() -> Vec<HttpPollInput> {
        vec![HttpPollInput {
            submit: Submit {
                method: Verb::Post,
                url: "https://ci.example/api/builds".to_owned(),
                body: Some(Body::Json(json!({ "branch": "main" }))),
                repeatable: true,
            },
            job: "/id".to_owned(),
            poll: Poll {
                url: "https://ci.example/api/builds/{job}".to_owned(),
                state: "/status".to_owned(),
                done: vec!["passed".into()],
                failed: vec!["failed".into(), "cancelled".into()],
                result: Some("/artifacts".to_owned()),
                every: Some(Span::ms(10_000)),
            },
            cancel: Some(Cancel {
                method: Verb::Delete,
                url: "https://ci.example/api/builds/{job}".to_owned(),
                body: None,
            }),
            headers: BTreeMap::new(),
            auth: Some(Auth::Bearer(SecretText::reference("ci"))),
        }]
    }

    async fn run(
        &self,
        context: &Context,
        input: HttpPollInput,
    ) -> Result<HttpPollOutput, TaskError> {
        let job = match job_of(context.progress().as_ref()) {
            Some(job) => job,
            None => self.submit(context, &input).await?,
        };
        match self.wait(context, &input, &job).await? {
            State::Done(output) => Ok(output),
            State::Failed(state) | State::AtWork(state) => {
                let message = format!("the job {job} has failed: its state is {state}");
                Err(TaskError::failed("job-failed", message))
            }
        }
    }

    async fn undo(&self, context: &Context, done: Done<Self>) -> Result<(), TaskError> {
        let input = &done.input;
        let Some(job) = job_of(done.progress.as_ref()) else {
            let message = "whether a job was submitted is not known: its id never came; look for it, and resolve this by hand";
            return Err(TaskError::failed("no-job-id", message));
        };
        let Some(cancel) = &input.cancel else {
            let message = format!("its input has no `cancel` that could take back the job {job}");
            return Err(TaskError::failed("no-cancel", message));
        };
        let good: Vec<u16> = (200..300).chain([404, 410]).collect();
        let expect = Expect {
            status: Some(Statuses::of(&good)),
            ..Expect::default()
        };
        let url = with_job(&cancel.url, &job);
        let one = One {
            verb: cancel.method,
            url: &url,
            body: cancel.body.as_ref(),
            repeatable: true,
            expect,
        };
        self.send(context, input, one).await.map(|_| ())
    }

    async fn probe(
        &self,
        context: &Context,
        asked: Asked<Self>,
    ) -> Result<Probe<HttpPollOutput>, TaskError> {
        let Some(job) = job_of(asked.progress.as_ref()) else {
            let why = "the id of the job never came".to_owned();
            return Ok(Probe::CannotTell(why));
        };
        // It is waited for: that it is at work says neither that it happened nor that it did not.
        Ok(match self.wait(context, &asked.input, &job).await {
            Ok(State::Done(output)) => Probe::Happened(output),
            Ok(State::Failed(_) | State::AtWork(_)) => Probe::DidNot,
            Err(error) => Probe::CannotTell(error.to_string()),
        })
    }
}

fn job_of(progress: Option<&Value>) -> Option<String> {
    progress?.get("job")?.as_str().map(str::to_owned)
}

/// The id as a part of the address, so written that it stays one part.
fn with_job(url: &str, job: &str) -> String {
    let plain: String = byte_serialize(job.as_bytes()).collect();
    // A space is `+` in a form only.
    url.replace(JOB, &plain.replace('+', "%20"))
}

#[cfg(test)]
mod tests;
